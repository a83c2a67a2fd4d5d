"""hypercorn: the first process spawns the workers by `multiprocessing`, even a single one."""

import os
from typing import Final

from .worker_function import worker_function

NAMES: Final = ("asyncio_worker", "uvloop_worker", "trio_worker")


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs one of hypercorn's functions for workers."""
    module, name = worker_function()
    return os.getppid() if module.partition(".")[0] == "hypercorn" and name in NAMES else None
