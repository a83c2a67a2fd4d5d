"""Threads that are stopped as often as the interpreter can, for what must hold wherever that is."""

import sys
import threading
from collections.abc import Callable, Sequence

JOIN_SECONDS = 60


def run_at_once(works: Sequence[Callable[[], None]]) -> None:
    """Run each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(JOIN_SECONDS)
    finally:
        sys.setswitchinterval(interval)
