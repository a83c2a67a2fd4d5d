"""What a request needs of the table in hand: the row of its label set, the cells that its outcome adds to, its method.

These objects say where numbers are; the numbers themselves are in the cells of `table`, which makes these objects.
"""

import sys
from _thread import RLock
from collections.abc import Iterable, MutableSequence
from typing import TYPE_CHECKING, Final, SupportsIndex

from .labels import OTHER_STATUS, SERVER_ERROR, status_class
from .layout import Key, Kind

if TYPE_CHECKING:
    from .flights import Place
    from .table import Table

IS_LOCKED: Final = sys.implementation.name != "cpython" or "free-threading" in sys.version
"""Whether another thread may run between two lines that call nothing. Where CPython has its GIL, threads, signals and
collections wait for the next call, so a common request is counted without a lock: a twelfth of its cost. In CPython
3.10 threads and signals do not wait where a condition jumps, so no such line stands between those that belong together.
"""


class Row:
    """One label set, and where its cells begin in the cells of its kind."""

    __slots__ = ("beside", "code_cells", "codes", "key", "kind", "lock", "number", "outcomes", "start", "table")

    def __init__(self, table: "Table", kind: Kind, number: int, key: Key, lock: RLock) -> None:
        self.table: Table = table
        self.kind: Kind = kind
        self.number: int = number
        self.key: Key = key
        self.lock: RLock = lock
        self.start: int = number * kind.width
        self.codes: tuple[int, ...] = ()  # in the order in which they came
        self.code_cells: dict[int, int] = {OTHER_STATUS: self.cell(kind.coded.name)} if kind.coded else {}
        self.outcomes: dict[tuple[int, bool, int], Outcome] = {}  # by status cell, whether it is an error, and slot
        self.beside: dict[Key, Row] = {}  # of the same method and route, by the values of the user's own labels

    def cell(self, field: str) -> int:
        """Return the first cell of a field."""
        return self.start + self.kind.offsets[field]

    def slot(self, code: int, code_cell: int) -> int:
        """Return which slot of the durations a request has: that of its class, or the one beside the cell of its code.

        Args:
            code: Its status.
            code_cell: The cell that counts it.
        """
        if self.kind.slots == 1:
            return 0
        return code_cell - self.code_cells[OTHER_STATUS] if self.kind.has_code_slots else status_class(code)

    def next_code_cell(self) -> int | None:
        """Return the cell that the next new code takes, `None` where only the one of the other codes is left."""
        field = self.kind.coded
        if field is None or len(self.codes) == field.width - 1:
            return None
        return self.cell(field.name) + field.width - 1 - len(self.codes)


class Outcome:
    """How requests of one row end, with one status: all that counting a common one takes. Small, to stay in caches."""

    __slots__ = ("beside", "bucket_cell", "cells", "code", "is_error", "row", "seconds_cell", "status_cell")

    def __init__(self, row: Row, code: int, status_cell: int, cells: MutableSequence[float]) -> None:
        slot = row.slot(code, status_cell)
        self.row: Row = row
        self.code: int = OTHER_STATUS if status_cell == row.code_cells[OTHER_STATUS] else code
        """The status, or one of its class where classes are counted. Those that have no cell share this."""
        self.cells: MutableSequence[float] = cells
        self.bucket_cell: int = row.cell("buckets") + slot * row.kind.field("buckets").slot_width  # the first
        self.seconds_cell: int = row.cell("seconds") + slot
        self.status_cell: int = status_cell
        self.is_error: bool = code >= SERVER_ERROR
        self.beside: dict[Key, Outcome] = {}  # the same in rows beside this one, see `Row.beside`


class Method:
    """One value of the label `method`: its rows by route as the readers say it, their lock, its requests in progress.

    There is one lock per method rather than per row, since the interpreter's own lock keeps it free of contention.
    The number of requests in progress is the length of a list: `append` and `pop` need no lock on any build.
    """

    __slots__ = ("in_progress", "label", "lock", "outcomes", "places", "rows", "table")

    def __init__(self, table: "Table", label: str) -> None:
        self.table: Table = table
        self.label: str = label
        self.lock: RLock = RLock()
        self.in_progress: list[None] = []
        self.rows: dict[object, Row] = {}
        self.outcomes: dict[object, dict[object, Outcome]] = {}
        """By status and route as they are said. Errors are not among them: they take the longer way."""
        self.places: dict[str | None, Place] = {}
        """Where requests in flight are counted, by declared template, or by scheme. Both are bounded."""


class Open:
    """The WebSocket connections, or event streams, that are open, as `Method` has its requests."""

    __slots__ = ("in_progress", "lock")

    def __init__(self) -> None:
        self.lock: RLock = RLock()
        self.in_progress: list[None] = []


class PublishedList(list[None]):
    """What is in progress, whose number other workers read in a cell."""

    __slots__ = ("cells", "lock", "number")

    def __init__(self, requests: Iterable[None], cells: MutableSequence[float], number: int, lock: RLock) -> None:
        super().__init__(requests)
        self.number: int = number
        self.lock: RLock = lock
        self.move(cells)

    def move(self, cells: MutableSequence[float]) -> None:
        """Show the number in these cells from now on."""
        self.cells: MutableSequence[float] = cells
        self._publish()

    def append(self, request: None) -> None:
        _append(self, request)
        self.cells[self.number] = length = len(self)
        if length != len(self):
            self._publish()

    def pop(self, index: SupportsIndex = -1) -> None:
        _pop(self, index)
        self.cells[self.number] = length = len(self)
        if length != len(self):
            self._publish()

    def _publish(self) -> None:
        length = -1
        while length != len(self):  # another thread may change the list between the two, and store first
            self.cells[self.number] = length = len(self)


class LockedPublishedList(PublishedList):
    """The same where threads run at once: what one of them stores may reach the others after it looked again."""

    __slots__ = ()

    def append(self, request: None) -> None:
        with self.lock:
            super().append(request)

    def pop(self, index: SupportsIndex = -1) -> None:
        with self.lock:
            super().pop(index)

    def _publish(self) -> None:
        with self.lock:
            super()._publish()


_append, _pop = list.append, list.pop  # `super()` would cost as much as all the rest
