"""hypercorn: the first process spawns the workers by `multiprocessing`, even a single one."""

from typing import Final

from .worker_function import master_of_worker

NAMES: Final = ("asyncio_worker", "uvloop_worker", "trio_worker")


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs one of hypercorn's functions for workers."""
    return master_of_worker(lambda module, name: module.partition(".")[0] == "hypercorn" and name in NAMES)
