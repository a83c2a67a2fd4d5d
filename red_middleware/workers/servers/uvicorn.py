"""uvicorn: with `--workers` or `--reload`, the first process spawns the workers by `multiprocessing`."""

from .worker_function import master_of_worker


def is_early() -> bool:
    """Return `False`: only a worker imports the app."""
    return False


def find_master() -> int | None:
    """Return the parent of a process that runs uvicorn's function for workers."""
    return master_of_worker(lambda module, name: (module, name) == ("uvicorn._subprocess", "subprocess_started"))
