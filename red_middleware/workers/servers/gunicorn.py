"""gunicorn: the master forks the workers; each worker imports the app, with `--preload` the master does.

The variable SERVER_SOFTWARE alone proves nothing: whatever a worker forks or starts inherits it. The master, from its
start, and each worker handle signals by their own methods, and a worker knows its pid.
"""

import os
import signal
import sys
from typing import Any, Final

from ..proc import FLAGS, FORKED_NO_EXEC, stat_field

SIGNALS: Final = [
    getattr(signal, name) for name in ("SIGUSR1", "SIGTERM", "SIGQUIT", "SIGABRT") if hasattr(signal, name)
]
"""The signals that both the master and the workers handle."""


def is_early() -> bool:
    """Tell whether this is a child of the master in its hook `post_fork`.

    The signal handlers are still the master's then, and the process has not changed to its final user.
    """
    master = _object_behind(_handlers(), "gunicorn.arbiter", "Arbiter")
    return master is not None and master.pid != os.getpid()


def find_master() -> int | None:
    """Return the parent of a worker; `None` for the master and for what a worker forked or started."""
    handlers = _handlers()
    worker = _object_behind(handlers, "gunicorn.workers.base", "Worker")
    if worker is not None:
        is_worker = worker.pid == os.getpid()
    elif _object_behind(handlers, "gunicorn.arbiter", "Arbiter") or not any(map(callable, handlers)):
        is_worker = False
    else:  # the app has replaced every handler by its own
        is_worker = bool(stat_field(os.getpid(), FLAGS) & FORKED_NO_EXEC)
    return os.getppid() if is_worker else None


def find_slots() -> int:
    """Return 1 in a worker of the class `sync`, the number of threads in one of `gthread`, else 0."""
    handlers = _handlers()
    threads = _object_behind(handlers, "gunicorn.workers.gthread", "ThreadWorker")
    worker = threads or _object_behind(handlers, "gunicorn.workers.sync", "SyncWorker")
    if worker is None or worker.pid != os.getpid():
        return 0
    return int(threads.cfg.threads) if threads else 1


def is_master() -> bool:
    """Tell whether this is the master itself."""
    master = _object_behind(_handlers(), "gunicorn.arbiter", "Arbiter")
    return master is not None and master.pid == os.getpid()


def find_predecessor(master: int) -> int | None:
    """Return the master that has re-executed itself (signal USR2) as the given one.

    It says so in the environment with which that began. Another user's cannot be read; our own is our master's, which
    forgets the old one when that has ended. What a worker starts inherits the variable.
    """
    if not _handlers():
        return None
    try:
        with open(f"/proc/{master}/environ", "rb") as file:
            pairs = (variable.partition(b"=") for variable in file.read().split(b"\0"))
            pid = next((value.decode() for name, _, value in pairs if name == b"GUNICORN_PID"), "")
    except OSError:
        pid = os.environ.get("GUNICORN_PID", "") if master == os.getppid() else ""
    return int(pid) if pid.isdecimal() else None


def _handlers() -> list[Any]:
    """Return the handlers of gunicorn's signals; none where gunicorn does not run."""
    if "gunicorn.arbiter" not in sys.modules or not os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/"):
        return []
    return [signal.getsignal(number) for number in SIGNALS]


def _object_behind(handlers: list[Any], module: str, name: str) -> Any:
    """Return the object whose bound method handles a signal, if it is an instance of `module.name`; else `None`."""
    kind = getattr(sys.modules.get(module), name, ())
    objects = (getattr(handler, "__self__", None) for handler in handlers)
    return next((found for found in objects if isinstance(found, kind)), None)
