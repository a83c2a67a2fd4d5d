"""What the servers that start their workers by `multiprocessing` share: such a worker runs a function of the server.

That a process is a child of `multiprocessing` is not enough: a user's program may start single servers this way.
"""

import os
import sys
from collections.abc import Callable
from typing import Any


class OrphanError(OSError):
    """A worker whose master has ended before anybody asked which one it was. Its siblings may live on as it does."""


def master_of_worker(is_worker: Callable[[str, str], bool]) -> int | None:
    """Return the parent if `multiprocessing` started this process to run a server's function; else `None`.

    Args:
        is_worker: Tells from the function's module and name whether it is the one that the server's workers run.

    Raises:
        OrphanError: It did, and the parent has ended. What a worker has forked itself is no worker.
    """
    process: Any = sys.modules.get("multiprocessing.process")
    parent = process and process.parent_process()
    if not parent:
        return None
    function = process.current_process()._target
    if not is_worker(function.__module__, function.__name__):
        return None
    if parent.pid == os.getppid():
        return os.getppid()
    if not parent.is_alive():
        raise OrphanError(f"process {parent.pid}, which started this worker, has ended")
    return None
