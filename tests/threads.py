"""Threads that are stopped as often as the interpreter can, for what must hold wherever that is."""

import sys
import threading
import time
from collections.abc import Callable, Sequence

JOIN_SECONDS = 600
"""For what takes seconds where nothing else runs: a busy machine may let a thread wait at each of its many turns."""


def run_at_once(works: Sequence[Callable[[], None]]) -> None:
    """Run each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        sys.setswitchinterval(interval)
    assert not any(thread.is_alive() for thread in threads), "they do not end"
