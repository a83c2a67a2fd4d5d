"""uvicorn: with `--workers` or `--reload`, the first process spawns the workers by `multiprocessing`."""

import os

from .worker_function import worker_function


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs uvicorn's function for workers."""
    return os.getppid() if worker_function() == ("uvicorn._subprocess", "subprocess_started") else None
