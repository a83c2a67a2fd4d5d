"""Ports for servers that cannot choose one themselves."""

import contextlib
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOWEST: Final = 10_000
"""Below lie ports that services of a machine may have."""


def free_port() -> int:
    """Return a port of this machine. Nobody else takes it before the server does.

    The kernel gives none of these to clients, nor to servers that ask for port 0, and other tests that choose at the
    same time choose others.
    """
    return next(port for port in _chosen() if _is_free(port) and _is_ours(port))


def _chosen() -> Iterator[int]:
    highest = 32_767
    with contextlib.suppress(OSError):
        highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    generator = random.SystemRandom()  # of which no test sets the seed
    while True:
        yield generator.randint(min(LOWEST, highest), highest)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_ours(port: int) -> bool:
    """Tell whether a port is chosen by this process from now on to its end, by a name that Linux has once a network."""
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind(f"\0red_middleware-tests-{port}")
        except OSError:
            return False
        name.detach()
    return True
