"""The prefork servers: is this process a worker of one, and of which master? One file per server, none imports it.

A server whose module is not in `sys.modules` does not run this process. To add a server, write a file with the two
functions of `Server` and name it in `SERVERS`. `workers.group` and the membership ask here, at a process's first
request and never at construction, which may be before the fork.
"""

from typing import Final, Protocol

from . import granian, gunicorn, hypercorn, uvicorn, uwsgi
from .worker_function import OrphanError


class Server(Protocol):
    """What a file of this folder says about the process that asks.

    A function may raise: then the answer is no, unless it is an `OrphanError`.
    """

    def is_early(self) -> bool:
        """Tell whether this process runs the app but is not a worker yet, so that it must not join a group yet."""

    def find_master(self) -> int | None:
        """Return the pid of the master if this process is one of this server's workers, else `None`.

        0 says that this process certainly belongs to this server without being one of its workers: then no other
        server is asked.
        """


SERVERS: Final[tuple[Server, ...]] = (uwsgi, gunicorn, uvicorn, hypercorn, granian)
"""In the order in which they are asked for the master; the first answer counts."""


def is_early() -> bool:
    """Tell whether this process is not a worker yet: a uWSGI master before its forks, a gunicorn child in a hook."""
    for server in SERVERS:
        try:
            if server.is_early():
                return True
        except Exception:  # its module is half imported, or a stub
            pass
    return False


def find_master() -> int | None:
    """Return the pid of the master if this process is a worker of a known server, else `None`.

    Raises:
        OrphanError: The master has ended, and nothing tells which other processes are its workers.
    """
    try:
        for server in SERVERS:
            master = server.find_master()
            if master is not None:
                return master or None
    except OrphanError:
        raise
    except Exception:  # its module is half imported, or a stub
        pass
    return None


def find_predecessor(master: int) -> int | None:
    """Return the pid of the master that handed over to another one, if there is one. Only gunicorn's do so.

    uWSGI and others that replace their program keep the process, and so its number and its start.

    Args:
        master: The pid of this worker's master, or of one before that.
    """
    return gunicorn.find_predecessor(master)


def find_slots() -> int:
    """Return how many requests this worker serves at a time, 0 where its server does not tell.

    Only gunicorn and uWSGI do. An event loop has no such number.
    """
    for find in (uwsgi.find_slots, gunicorn.find_slots):
        try:
            slots = find()
        except Exception:  # as above
            continue
        if slots:
            return slots
    return 0
