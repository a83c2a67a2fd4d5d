"""Which processes are one group: the workers of one master, whose numbers are one scrape target's.

A common parent makes no group: a shell, honcho or a user's program may start servers that are separate targets. So
`servers` says who the master is, and for any other arrangement the user gives a name. This room names a group and
knows nothing of its files. It is asked at a process's first request and takes 0.1 ms.
"""

import hashlib
import math
import os
from typing import Final, NamedTuple

from .directory import UNJUDGED_SECONDS
from .proc import STARTED, Process, boot_id, interpreter_number, is_alive, pid_namespace, stat_field
from .servers import find_master


class Group(NamedTuple):
    """What all workers of one master, recycled ones too, find alike, and no other process on this machine finds."""

    key: str
    """32 hex digits."""
    master: Process
    """Its pid and start time are 0 where a name makes the group."""
    boot: str

    @property
    def owner(self) -> str:
        """The line that the group's directory records, for `kept_seconds`."""
        return f"{self.boot} {self.master.namespace} {self.master.pid} {self.master.started}"


def find_group(name: str | None = None) -> Group | None:
    """Return the group of workers that this process belongs to; `None` for a single process.

    Args:
        name: All processes of this user with the same name form one group, whoever started them and in whichever pid
            namespace: for sockets that circus or systemd share out. `None`: the server tells the group.

    Raises:
        OSError: This process belongs to a group, but cannot tell which one: /proc is missing or shows another pid
            namespace, or the master has ended. Nobody would notice a worker that kept quiet about it and showed only
            its own numbers.
    """
    pid = find_master() if name is None else 0
    if pid is None:
        return None
    try:
        master = Process(pid, stat_field(pid, STARTED) if pid else 0, pid_namespace())
        boot = boot_id()
        founder = (master.namespace, pid, master.started) if name is None else name
        return Group(_digest(boot, os.geteuid(), founder, interpreter_number()), master, boot)
    except Exception as error:
        raise OSError(f"/proc does not tell to which group of workers this process belongs: {error}") from error


def name_for(group: Group, mark: str) -> str:
    """Return the name of the directory in which a group keeps one table, 32 hex digits.

    Args:
        group: Whose directory.
        mark: Everything that makes the cells of two tables mean different things. After a reload old workers may
            still finish by another mark than the new ones.
    """
    return _digest(group.key, mark)


UNSEEN_SECONDS: Final = 3600.0
"""How long a group stays whose master is in another pid namespace: shared memory may outlive containers, and fill."""


def kept_seconds(owner: str) -> float:
    """Return how long a group stays in which no worker lives, and which nobody changes.

    Args:
        owner: The `Group.owner` of any group on this machine.

    Returns:
        0 if its master has ended for certain, infinity while it lives, an hour where it cannot be seen; 7 days where a
        name makes the group, since nothing else tells when it ends.

    Raises:
        Exception: The line is spoilt, or there is no /proc.
    """
    boot, namespace, pid, started = owner.split()
    master = Process(int(pid), int(started), int(namespace))
    if boot != boot_id():
        return 0.0
    if not master.pid:
        return UNJUDGED_SECONDS
    if master.namespace != pid_namespace():
        return UNSEEN_SECONDS
    return math.inf if is_alive(master) else 0.0


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
