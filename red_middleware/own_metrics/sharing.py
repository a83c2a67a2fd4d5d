"""The application's metrics of one registry, in the rows of a table that several workers share.

`membership` says when this process has joined a group: what the metrics counted until then comes along, and from then
on each number is in a row. What comes later is met when it is made. Nothing here raises: what cannot be shared stays in
the worker's memory, and is shown as this worker's.
"""

import functools
import math
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Concatenate, Final, ParamSpec

from prometheus_client import CollectorRegistry

from ..counting.layout import OWN_STATE, OWN_SUM
from ..counting.rows import Row
from ..counting.table import Table
from ..faults import Faults
from . import meeting, values
from .held import put
from .merging import ABSENT, PRESENT, State

MIN_PAUSE_SECONDS: Final = 0.01
"""How long passes, at least, before what could not be shared is tried again."""

BATCH: Final = 500
"""How many rows the other workers are told of at once."""


P = ParamSpec("P")


def _guarded(work: "Callable[Concatenate[OwnMetrics, P], None]") -> "Callable[Concatenate[OwnMetrics, P], None]":
    """Return a method: what goes wrong in it is a fault of the instrumentation, and nobody else's."""

    @functools.wraps(work)
    def guarded(self: "OwnMetrics", /, *args: P.args, **given: P.kwargs) -> None:
        try:
            work(self, *args, **given)
        except Exception as error:
            self.faults.fault("the application's own metrics", error)

    return guarded


class OwnMetrics:
    """The metrics of one registry.

    Args:
        registry: Whose. It is asked for each time, and may be gone.
        limit: How many series are shared, as an option says; for the log.
        faults: Told what goes wrong.
        clock: Returns seconds; says when what could not be shared is tried again.
    """

    def __init__(
        self,
        registry: Callable[[], CollectorRegistry | None],
        limit: int,
        faults: Faults,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.registry = registry
        self.limit = limit
        self.faults = faults
        self.table: Table | None = None  # where the numbers are
        self.group: str = ""  # in whose directory that is
        self.forked_from: str = ""  # the group of the process that this one was forked from
        self.clock = clock
        self.is_pending: bool = False  # whether something could not be shared, and can be later
        self.next_attempt: float = -math.inf
        _all.add(self)

    @_guarded
    def share(self, table: Table, group: str) -> None:
        """Keep the numbers in this table from now on, and bring along what they are.

        Args:
            table: That of a group which this process has joined.
            group: What tells the group from others.
        """
        registry: Any = self.registry()
        if registry is None or not self.limit:
            return
        if not (values.is_known() and meeting.is_plain(registry)):
            self.faults.warn_once(
                "own metrics unknown",
                "the application's own prometheus_client metrics are those of one worker: their registry, or this "
                "release of prometheus_client, keeps them in a way that is not known",
            )
        elif self._owns(registry):
            self.table, self.group = table, group
            self.look()

    @_guarded
    def look(self) -> None:
        """Share what is not shared yet."""
        registry: Any = self.registry()
        table = self.table
        if table is None or registry is None:
            return
        self.is_pending = False
        metrics = list(filter(values.is_own, list(registry._collector_to_names)))
        for metric in metrics:
            self._meet(metric)
        self._share(metrics, table)

    @_guarded
    def made(self, metric: Any) -> None:
        """Share a new metric, or a new child of one."""
        if self.table is not None and values.is_own(metric):
            self._meet(metric)
            self._share([metric], self.table)

    @_guarded
    def gone(self, metric: Any) -> None:
        """Take back what this worker said of a metric or a child that is removed."""
        table = self.table
        if table is None or not values.is_own(metric):
            return
        for one in values.observable(metric):
            for number in values.numbers(one, with_hidden=True):
                row = values.row_of(number.value)
                if row is not None:
                    table.regions[number.kind].holders.pop(row.number, None)
                values.forget(number, table.regions[number.kind].cells)
        if not metric._labelvalues:
            self._say([metric], table, ABSENT)

    def _owns(self, registry: Any) -> bool:
        """Be told what the registry gets and loses, unless another one is; tell whether this is who is told."""
        owner = owner_of(registry)
        if owner is None:
            _owners[registry] = weakref.ref(self)
            meeting.meet_collectors(registry, *_tellers(registry))
        return owner_of(registry) is self

    def _meet(self, metric: Any) -> None:
        if metric._is_parent():
            meeting.meet_children(metric, *_tellers(self.registry()))

    def _share(self, metrics: Sequence[Any], table: Table) -> None:
        """Give rows to all numbers that have none in the table; to all of a metric or child, or to none."""
        self._say(metrics, table, PRESENT)
        wanted: list[list[values.Number]] = []
        for metric in metrics:
            for one in values.observable(metric):
                found = [number for number in values.numbers(one) if self._is_wanted(number, table)]
                if found:
                    wanted.append(found)
                values.watch(one, self._changed)
            values.watch(metric, self._changed)
        rows: dict[Any, Row | None] = {}
        for kind in (OWN_SUM, OWN_STATE):
            keys = [number.key for found in wanted for number in found if number.kind == kind]
            rows.update(zip(keys, self._rows(table, kind, keys), strict=True))
        for found in wanted:
            places = [(number, row) for number in found if (row := rows[number.key]) is not None]
            if len(places) == len(found):
                for number, row in places:
                    self._put(table, number, row)
            elif self.is_pending:
                for number in found:
                    values.wait(number.value, self._again)

    def _say(self, metrics: Iterable[Any], table: Table, state: float) -> None:
        """Say whether this worker has the families of some metrics."""
        families = [values.family_key(one) for one in metrics if not one._labelvalues and values.is_made(one)]
        for row in self._rows(table, OWN_STATE, families):
            if row is not None:
                put(table.regions[OWN_STATE].cells, row.start, State(0.0, 0.0, state, 0.0))

    def _put(self, table: Table, number: values.Number, row: Row) -> None:
        region = table.regions[number.kind]
        values.share(number, row, region.cells, joins=self.forked_from == self.group)
        if values.has_cells(number.value):
            region.holders[row.number] = number.value
            number.value.move(region.cells)  # `Table.use` may have passed by meanwhile

    def _is_wanted(self, number: values.Number, table: Table) -> bool:
        row = values.row_of(number.value)
        if row is None:
            return values.can_share(number.value)
        return row.table is not table or row.key != number.key

    def _rows(self, table: Table, kind: str, keys: Sequence[Any]) -> list[Row | None]:
        rows: list[Row | None] = []
        for start in range(0, len(keys), BATCH):
            rows += table.admit_all(kind, keys[start : start + BATCH])
        if None in rows:
            if table.regions[kind].free:  # the other workers cannot be told at the moment
                self.is_pending = True
            else:
                self.faults.warn_once(
                    "own series",
                    "own_series_limit=%d: no room for more series of the application's own metrics. Each new one, "
                    "first of %s, is shown by its own worker only; raise the limit, or use fewer values of labels",
                    self.limit,
                    keys[rows.index(None)][0],
                )
        return rows

    def _again(self) -> None:
        """Try once more to share what waits. So requests spend a tenth of the time here at most, as in `Member`."""
        began = self.clock()
        if self.is_pending and began >= self.next_attempt:
            self.look()
            now = self.clock()
            self.next_attempt = now + MIN_PAUSE_SECONDS + 9 * (now - began)

    @_guarded
    def _changed(self, metric: Any) -> None:
        """Say the new content of an `Info`, or the new state of an `Enum`, or that its states are known now."""
        table = self.table
        if table is None or not values.is_made(metric):
            return
        self._say([metric], table, PRESENT)
        numbers = [] if metric._is_parent() else list(values.numbers(metric))
        rows = self._rows(table, OWN_STATE, [number.key for number in numbers])
        for number, row in zip(numbers, rows, strict=True):
            cells = table.regions[OWN_STATE].cells
            if row is not None:
                values.share(number, row, cells, joins=False)
            else:  # what it said before is no longer so
                values.forget(number, cells)

    def restart(self) -> None:
        """Keep the numbers in memory again, in a forked child: they are what it inherited."""
        registry: Any = self.registry()
        if registry is None or not self.limit:
            return
        if self.table is not None:
            self.forked_from = self.group
        self.table = None
        values.renew_lock(registry)
        for metric in filter(values.is_own, list(registry._collector_to_names)):
            values.inherit(metric)


def owner_of(registry: CollectorRegistry) -> OwnMetrics | None:
    """Return who shares the metrics of a registry."""
    owner = _owners.get(registry)
    return None if owner is None else owner()


def _tellers(registry: Any) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """Return what tells the owner of a registry, whoever that is then, of what comes and of what goes."""
    place = weakref.ref(registry)

    def owner() -> OwnMetrics | None:
        found = place()
        return None if found is None else owner_of(found)

    def made(metric: Any) -> None:
        if (found := owner()) is not None:
            found.made(metric)

    def gone(metric: Any) -> None:
        if (found := owner()) is not None:
            found.gone(metric)

    return made, gone


_owners: "weakref.WeakKeyDictionary[CollectorRegistry, weakref.ref[OwnMetrics]]" = weakref.WeakKeyDictionary()
_all: "weakref.WeakSet[OwnMetrics]" = weakref.WeakSet()


def _restart_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    for own in list(_all):
        try:
            own.restart()
        except Exception:  # metrics that another thread was about to make; this process goes on all the same
            own.table = None


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_restart_all)
