"""What a directory records of its group: who founded it, for which table, and the masters whose workers count there.

Texts become values here, and values texts. This room knows no files: `directory` keeps the texts, `group` and
`generations` decide by the values, and a cleaner asks how long a group is kept.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from .directory import UNJUDGED_SECONDS
from .proc import Process, boot_id, is_alive, pid_namespace

UNSEEN_SECONDS: Final = 3600.0
"""How long a group stays whose master is in another pid namespace: shared memory may outlive containers, and fill."""


class Stay(NamedTuple):
    """That workers of a master count in a directory."""

    master: Process
    since: int
    """When one of the first of them was started, in clock ticks since boot."""


class Record(NamedTuple):
    """What a directory says of its group."""

    boot: str
    founder: Process
    """Its pid and start time are 0 where a name makes the group."""
    table: str
    """Which table of the group lies here. Several directories hold the same one if its options changed."""
    stays: tuple[Stay, ...] = ()

    def masters(self) -> set[Process]:
        """Return the masters whose workers count here."""
        return {stay.master for stay in self.stays}

    def text(self) -> str:
        """Return the lines from which `parsed` makes it: the founder's, then one for each stay, in any order."""
        first = f"{self.boot} {_said(self.founder)} {self.table}"
        return "\n".join([first, *(f"{_said(stay.master)} {stay.since}" for stay in self.stays)])


def parsed(text: str) -> Record:
    """Return a record by its text.

    Raises:
        Exception: The text is spoilt.
    """
    first, *others = text.splitlines()
    boot, namespace, pid, started, *table = first.split(" ")  # earlier versions recorded no table
    stays = []
    for line in others:
        *of_master, since = map(int, line.split(" "))
        stays.append(Stay(_master(*of_master), since))
    return Record(boot, _master(int(namespace), int(pid), int(started)), "".join(table), tuple(stays))


def parsed_all(texts: Mapping[str, str]) -> dict[str, Record]:
    """Return the records of all directories but those that are spoilt, by their names."""
    found = {}
    for name, text in texts.items():
        with suppress(Exception):
            found[name] = parsed(text)
    return found


def kept_seconds(text: str) -> float:
    """Return how long a group stays in which no worker lives, and which nobody changes.

    Args:
        text: What any group on this machine records.

    Returns:
        0 if its masters have ended for certain, infinity while one lives, an hour where they cannot be seen; 7 days
        where a name makes the group, since nothing else tells when it ends.

    Raises:
        Exception: The text is spoilt, or there is no /proc.
    """
    record = parsed(text)
    if record.boot != boot_id():
        return 0.0
    return max(map(_kept_seconds, {record.founder} | record.masters()))


def _kept_seconds(master: Process) -> float:
    if not master.pid:
        return UNJUDGED_SECONDS
    if master.namespace != pid_namespace():
        return UNSEEN_SECONDS
    return math.inf if is_alive(master) else 0.0


def _said(master: Process) -> str:
    return f"{master.namespace} {master.pid} {master.started}"


def _master(namespace: int, pid: int, started: int) -> Process:
    return Process(pid, started, namespace)
