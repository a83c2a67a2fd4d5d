"""Which processes are one group: the workers of one master, whose numbers are one scrape target's.

A common parent makes no group: a shell, honcho or a user's program may start servers that are separate targets. So
`servers` says who the master is, and for any other arrangement the user gives a name. This room names a group, and
knows nothing of its files. It is asked at a process's first request.

A master may hand over to a new one (gunicorn's USR2). Both have one group, that of the first master of the line, which
is its founder. Only the records tell, once the old master has ended.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .proc import PARENT, STARTED, Process, boot_id, interpreter_number, is_alive, pid_namespace, stat_field
from .record import Record
from .servers import find_master, find_predecessor


class Group(NamedTuple):
    """What all workers of one master, recycled ones too, find alike, and no other process on this machine finds."""

    key: str
    """32 hex digits."""
    master: Process
    """Its pid and start time are 0 where a name makes the group."""
    boot: str
    founder: Process
    """The first master of those that handed over to one another down to `master`."""


def find_group(
    name: str | None = None, records: Callable[[], Mapping[str, Record]] = dict, watched: int | None = None
) -> Group | None:
    """Return the group of workers that this process belongs to; `None` for a single process.

    Args:
        name: All processes of this user with the same name form one group, whoever started them and in whichever pid
            namespace: for sockets that circus or systemd share out. `None`: the server tells the group.
        records: Returns what the directories of this user's groups say, by their names. Asked if there is a master.
        watched: The pid of a master of whose workers this process tells without being one.

    Raises:
        OSError: This process belongs to a group, but cannot tell which one: /proc is missing or shows another pid
            namespace, or the master has ended. Nobody would notice a worker that kept quiet about it and showed only
            its own numbers.
    """
    pid = 0 if name is not None else watched or find_master()
    if pid is None:
        return None
    try:
        master = Process(pid, stat_field(pid, STARTED) if pid else 0, pid_namespace())
        boot = boot_id()
        founder = founder_of(master, boot, records()) if pid else master
        # A server makes the interpreters of its apps in the same order in each worker. Others may not; a name says all.
        line = (founder.namespace, founder.pid, founder.started, interpreter_number())
        return Group(_digest(boot, os.geteuid(), line if name is None else name), master, boot, founder)
    except Exception as error:
        raise OSError(f"/proc does not tell to which group of workers this process belongs: {error}") from error


def founder_of(master: Process, boot: str, records: Mapping[str, Record]) -> Process:
    """Return the first of the masters that handed over to one another down to the one of this process."""
    known = [record for record in records.values() if record.boot == boot]
    earliest = master
    while True:
        for record in known:
            if earliest in record.masters():
                return record.founder
        predecessor = find_predecessor(earliest.pid)
        if predecessor is None:
            return earliest
        is_parent = stat_field(earliest.pid, PARENT) == predecessor
        older = [
            (one, record.founder)
            for record in known
            for one in record.masters()
            if (one.pid, one.namespace) == (predecessor, master.namespace) and one.started <= earliest.started
        ]
        if older:
            old, founder = max(older, key=lambda found: found[0].started)
            if is_parent or not is_alive(old):
                return founder
        if not is_parent:  # it has only inherited the variable, or none of the workers of the old one served anything
            return earliest
        earliest = Process(predecessor, stat_field(predecessor, STARTED), master.namespace)


def name_for(group: Group, *marks: str) -> str:
    """Return a name that only this group's processes find, 32 hex digits: of the directory in which it keeps a table.

    Args:
        group: Whose directory.
        marks: Everything that makes the cells of two tables mean different things. After a reload old workers may
            still finish by another mark than the new ones.
    """
    return _digest(group.key, *marks)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
