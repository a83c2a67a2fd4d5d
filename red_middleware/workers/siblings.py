"""Whether other processes serve the same app, although nothing makes them a group: then a scrape shows only a part.

`membership` asks at each scrape of a process that is alone. A wrong alarm would be worse than a missed one, so the flag
`wsgi.multiprocess` proves nothing here: asgiref, a2wsgi and Django's test client set it in a single process.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Final

EPOLL: Final = "anon_inode:[eventpoll]"

MAX_SIBLINGS: Final = 64
"""How many other children of the parent are looked at."""


def sign_of_siblings() -> str | None:
    """Return what shows that this process has siblings; `None` if nothing does."""
    for sign, shows in SIGNS.items():
        with suppress(Exception):  # there is no such module, or no /proc, or it hides the others
            if shows():
                return sign
    return None


def _forks_for_each_request() -> bool:
    """Tell whether a forking `socketserver` runs this process: that of wsgiref, or Werkzeug's with `processes=`."""
    server: Any = sys.modules["socketserver"]
    code = server.ForkingMixIn.process_request.__code__
    return any(frame.f_code is code for top in sys._current_frames().values() for frame in _frames(top))


def _frames(top: FrameType | None) -> Iterator[FrameType]:
    while top is not None:
        yield top
        top = top.f_back


def _is_one_of_mod_wsgi() -> bool:
    """Tell whether mod_wsgi runs this app in several processes. The module holds this only inside of Apache."""
    return getattr(sys.modules.get("mod_wsgi"), "maximum_processes", 1) > 1


def _shares_its_sockets() -> bool:
    """Tell whether another child of the parent waits for clients at a socket at which this process listens."""
    siblings = [pid for pid in _children(os.getppid()) if pid != str(os.getpid())]
    ours = _listening() if siblings else set()
    return bool(ours) and any(not ours.isdisjoint(_awaited(pid)) for pid in siblings[:MAX_SIBLINGS])


def _children(parent: int) -> Iterator[str]:
    """Yield the children of a process: those of each of its threads."""
    for thread in os.listdir(f"/proc/{parent}/task"):
        with suppress(OSError), open(f"/proc/{parent}/task/{thread}/children") as file:
            yield from file.read().split()


def _listening() -> set[str]:
    """Return the sockets at which this process listens."""
    found = set()
    sockets = [(name, link) for name, link in _links("self") if link.startswith("socket:")]
    for name, link in sockets:
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as opened:  # it may be closed meanwhile
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.add(link)
    return found


def _awaited(pid: str) -> set[str]:
    """Return the sockets that a process awaits by epoll, as every event loop does: a child may only inherit a socket.

    None if the process is another user's, or has ended.
    """
    links: dict[str, str] = {}
    targets: set[str] = set()
    with suppress(OSError):
        links.update(_links(pid))
        for name in [name for name, link in links.items() if link == EPOLL]:
            with open(f"/proc/{pid}/fdinfo/{name}") as file:
                targets.update(line.split()[1] for line in file if line.startswith("tfd:"))
    return {link for name, link in links.items() if name in targets}


def _links(pid: str) -> Iterator[tuple[str, str]]:
    """Yield the descriptors of a process, and where they lead, a socket by its inode."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with suppress(OSError):  # closed meanwhile
            yield name, os.readlink(f"{folder}/{name}")


SIGNS: Final[Mapping[str, Callable[[], bool]]] = {
    "its server forks for each request": _forks_for_each_request,
    "mod_wsgi has several processes": _is_one_of_mod_wsgi,
    "another process waits for clients at the same socket": _shares_its_sockets,
}
