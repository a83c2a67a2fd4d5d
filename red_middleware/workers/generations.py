"""Which of a group's directories a worker counts in: a new one each time that the layout of its table changes.

A master that reloads the app may get workers with other options, whose cells mean something else, while old ones still
serve. Later the earlier options may come back, but the numbers from before must not: Prometheus would take them for new
requests. So a directory is one generation of a table. A worker counts in the one of those who were started just before
or after it; its start decides, since its first request may come long after a reload.

All workers of a master must decide alike, by nothing but the records of the directories. This room knows no files. It
is asked when a worker joins.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final, NamedTuple

from .group import Group, name_for
from .proc import Process, is_alive
from .record import Record

NAME: Final = re.compile(r"[0-9a-f]{32}\.[0-9]+")
"""A layout and a number. Somebody may have copied a directory under another name."""


class Place(NamedTuple):
    """A generation in which workers of one master count."""

    since: int
    """When one of the first of them was started, in clock ticks since boot."""
    number: int
    """Of the generation: 1 for the first one of a table, whatever its layout."""
    name: str
    """Of the directory."""

    @property
    def layout(self) -> str:
        """What its cells mean, as a name."""
        return self.name.partition(".")[0]


def find_generation(group: Group, table: str, layout: str, started: float, records: Mapping[str, Record]) -> str:
    """Return the name of the directory in which a worker counts, and which it makes if there is none.

    Args:
        group: Its group.
        table: Which of its tables.
        layout: What the cells mean. Old and new workers have different ones after a change of options.
        started: When the worker was started, in clock ticks since boot; infinity for one that only reads.
        records: What the directories of this user say, by their names.
    """
    layout_name = name_for(group, table, layout)
    if not group.master.pid:  # processes with the same name may have other options, side by side
        return f"{layout_name}.1"
    ours = _ours(group, table, records)
    places = _places(_experienced(group.master, ours), ours)
    earlier = [place for place in reversed(places) if place.since <= started]
    alike = _alike(earlier, layout_name) + _alike(places[len(earlier) :], layout_name)
    if alike:
        return _last(alike)
    return f"{layout_name}.{1 + max(map(_number, ours), default=0)}"


def outdated(group: Group, table: str, records: Mapping[str, Record]) -> list[str]:
    """Return the directories of a table in which no worker of this group counts from now on: all masters moved on.

    Whoever still lives in one of them may stay.
    """
    ours = _ours(group, table, records)
    if not group.master.pid:
        return []
    current = set()
    for master in filter(is_alive, _masters(ours)):
        places = _places(master, ours)[::-1]
        current.add(_last(_alike(places, places[0].layout)))
    return [name for name in ours if name not in current]


def _ours(group: Group, table: str, records: Mapping[str, Record]) -> dict[str, Record]:
    of_table = (group.boot, name_for(group, table))
    return {
        name: record
        for name, record in records.items()
        if (record.boot, record.table) == of_table and NAME.fullmatch(name)
    }


def _masters(records: Mapping[str, Record]) -> set[Process]:
    return {master for record in records.values() for master in record.masters()}


def _experienced(master: Process, records: Mapping[str, Record]) -> Process:
    """Return a master whose workers have served: this one, or the one before it in its line."""
    known = _masters(records)
    return max(known, key=lambda one: (one == master, is_alive(one), one.started), default=master)


def _places(master: Process, records: Mapping[str, Record]) -> list[Place]:
    """Return where workers of a master have counted, in the order in which they were started."""
    return sorted(
        Place(stay.since, _number(name), name)
        for name, record in records.items()
        for stay in record.stays
        if stay.master == master
    )


def _alike(places: Iterable[Place], layout: str) -> list[Place]:
    """Return those at the front that have a layout."""
    return list(takewhile(lambda place: place.layout == layout, places))


def _last(alike: Iterable[Place]) -> str:
    """Return the directory of the last generation, where those with another layout between are gone already."""
    return max(alike, key=lambda place: place.number).name


def _number(name: str) -> int:
    return int(name.partition(".")[2])
