"""granian: the first process starts the workers by `multiprocessing`, which forks them on Linux."""

import os

from .worker_function import worker_function


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs a function of granian's module for workers."""
    module, _ = worker_function()
    return os.getppid() if module == "granian.server.mp" else None
