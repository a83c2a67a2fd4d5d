"""Which processes are one group: the workers of one master, whose numbers are one scrape target's.

A common parent makes no group: a shell, honcho or a user's program may start servers that are separate targets. So
`servers` says who the master is, and for any other arrangement the user gives a name. This room names a group, and
knows nothing of its files but the texts of their records. It is asked at a process's first request.

A master may hand over to a new one (gunicorn's USR2). Both have one group, that of the first master of the line, which
is its founder. Only the records tell, once the old master has ended.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from .directory import UNJUDGED_SECONDS
from .proc import (
    PARENT,
    STARTED,
    Process,
    boot_id,
    interpreter_number,
    is_alive,
    monotonic,
    pid_namespace,
    stat_field,
)
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

    def record(self, table: str) -> str:
        """Return what a directory records that this group makes for a table: its founder, and its master."""
        masters = dict.fromkeys((self.founder, self.master))
        first, *others = (f"{self.boot} {one.namespace} {one.pid} {one.started}" for one in masters)
        return "\n".join([f"{first} {table} {monotonic()!r}", *others])


class Record(NamedTuple):
    """What a directory says of its group, in the file `owner`."""

    boot: str
    masters: tuple[Process, ...]
    """The founder, and those that came after it and had a worker here."""
    table: str
    """Which table of the group lies here. Several directories hold the same one if its options changed."""
    born: float
    """When the directory was made, in monotonic seconds."""


def parsed(text: str) -> Record:
    """Return a record by its text.

    Raises:
        Exception: The text is spoilt.
    """
    lines = [line.split() for line in text.splitlines()]
    masters = tuple(Process(int(pid), int(started), int(namespace)) for _, namespace, pid, started, *_ in lines)
    boot, _, _, _, *of_table = lines[0]
    table, born = of_table or ("", "0")  # earlier versions recorded the master only
    return Record(boot, masters, table, float(born))


def find_group(
    name: str | None = None, records: Callable[[], Mapping[str, str]] = dict, watched: int | None = None
) -> Group | None:
    """Return the group of workers that this process belongs to; `None` for a single process.

    Args:
        name: All processes of this user with the same name form one group, whoever started them and in whichever pid
            namespace: for sockets that circus or systemd share out. `None`: the server tells the group.
        records: Returns the texts of the records of all groups of this user, by directory. Asked if there is a master.
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


def founder_of(master: Process, boot: str, records: Mapping[str, str]) -> Process:
    """Return the first of the masters that handed over to one another down to the one of this process."""
    predecessor = find_predecessor()
    found = [record for record in map(_read, records.values()) if record is not None and record.boot == boot]
    for record in found:
        if master in record.masters:
            return record.masters[0]
    if predecessor is None:
        return master
    older = [
        (one.started, record.masters[0])
        for record in found
        for one in record.masters
        if (one.pid, one.namespace) == (predecessor, master.namespace) and one.started <= master.started
    ]
    if older:
        return max(older)[1]
    if stat_field(master.pid, PARENT) == predecessor:
        return Process(predecessor, stat_field(predecessor, STARTED), master.namespace)
    return master  # the old one has ended, and none of its workers has served anything


def _read(text: str) -> Record | None:
    try:
        return parsed(text)
    except Exception:
        return None


def name_for(group: Group, *marks: str) -> str:
    """Return a name that only this group's processes find, 32 hex digits: of the directory in which it keeps a table.

    Args:
        group: Whose directory.
        marks: Everything that makes the cells of two tables mean different things. After a reload old workers may
            still finish by another mark than the new ones.
    """
    return _digest(group.key, *marks)


def outdated(group: Group, name: str, table: str, records: Mapping[str, str]) -> list[str]:
    """Return the directories to which no worker of this group will come back, since its master has moved on.

    It moved on to the options of the process that asks. Whoever still lives in one of them may stay.

    Args:
        group: The group of this process.
        name: The directory for the table and options of this process.
        table: The table, as its directories record it.
        records: The texts of the records of all groups of this user, by directory.
    """
    if not group.master.pid:  # processes with the same name may have other options, side by side
        return []
    known = {other: record for other, text in records.items() if (record := _read(text)) is not None}
    born = {other: record.born for other, record in known.items() if (record.boot, record.table) == (group.boot, table)}
    ours = born.pop(name, math.inf)  # from before the master moved elsewhere, if another one is younger
    return [*born, *([name] if any(ours < theirs for theirs in born.values()) else [])]


UNSEEN_SECONDS: Final = 3600.0
"""How long a group stays whose master is in another pid namespace: shared memory may outlive containers, and fill."""


def kept_seconds(text: str) -> float:
    """Return how long a group stays in which no worker lives, and which nobody changes.

    Args:
        text: What any group on this machine records.

    Returns:
        0 if its masters have ended for certain, infinity while one lives, an hour where they cannot be seen; 7 days
        where a name makes the group, since nothing else tells when it ends.

    Raises:
        Exception: The line is spoilt, or there is no /proc.
    """
    record = parsed(text)
    if record.boot != boot_id():
        return 0.0
    return max(map(_kept_seconds, record.masters))


def _kept_seconds(master: Process) -> float:
    if not master.pid:
        return UNJUDGED_SECONDS
    if master.namespace != pid_namespace():
        return UNSEEN_SECONDS
    return math.inf if is_alive(master) else 0.0


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
