"""uWSGI: the master imports the app and forks the workers; with `--lazy-apps` each worker imports it.

Without `--master` worker 1 takes the master's part. The module `uwsgi` exists inside uWSGI only. uWSGI's fork does not
run the functions of `os.register_at_fork`.
"""

import os
import sys
from typing import Any


def is_early() -> bool:
    """Tell whether this process has still to fork its workers."""
    uwsgi: Any = sys.modules.get("uwsgi")
    return uwsgi is not None and uwsgi.worker_id() == 0


def find_master() -> int | None:
    """Return the master, or worker 1 where there is no master; 0 for a single process and for a worker's own child.

    A child that a worker forks keeps the worker's number, so the parent is compared as well. Without a master, worker 1
    has the number 0 until it has forked the others. Only worker 1 is looked up in the list of workers: the master
    writes the other pids there, perhaps after the first request.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None:
        return None
    master: int = uwsgi.masterpid()
    if not master and uwsgi.numproc == 1:
        return 0
    forker: int = master or uwsgi.workers()[0]["pid"]
    is_first = not master and uwsgi.worker_id() <= 1
    return forker if forker == (os.getpid() if is_first else os.getppid()) else 0


def find_slots() -> int:
    """Return the cores of a worker: its threads, or with `--async` and `--gevent` its greenlets."""
    uwsgi: Any = sys.modules.get("uwsgi")
    return 0 if uwsgi is None else int(uwsgi.cores)
