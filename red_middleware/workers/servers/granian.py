"""granian: the first process starts the workers by `multiprocessing`, which forks them on Linux."""

from .worker_function import master_of_worker


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs a function of granian's module for workers."""
    return master_of_worker(lambda module, name: module == "granian.server.mp")
