"""What holds a number of the application, once it is shared or waits for that: prometheus_client's classes, extended.

A value changes its class in place, so whoever holds it goes on with it. `Total` and `Level` keep their number in the
cells of a table's row. An `Info` and an `Enum` keep it themselves, and say when it changes.
"""

from collections.abc import MutableSequence, Sequence
from time import monotonic
from typing import Any, Final

from prometheus_client import Enum, Info, values

from ..counting.rows import Row
from .merging import MOVED, NEVER, SUMMED, State

INHERITED: Final = "_red_inherited"
"""Attribute of a value: what it was when this process was forked."""
MOVES: Final = "_red_moves"
"""Attribute of a gauge's value that is in memory again: that it has been incremented or decremented."""

ASK: Final = "_red_ask"
"""Attribute of a value that waits for a row: what it calls when it changes."""

CHANGED: Final = "_red_changed"
"""Attribute of an `Info` or `Enum`: what it calls when it changes."""
ROW: Final = "_red_row"
"""Attribute of an `Info` or `Enum`: its row."""
IS_SET: Final = "_red_is_set"
"""Attribute of an `Info` or `Enum`: that it was set while it was watched, be it to what it was before."""

Cells = MutableSequence[float]


class Waiting(values.MutexValue):
    """A number in memory that is to be shared: it notes what becomes of it, and asks again when it changes.

    A forked child had it from its parent, or the other workers could not be told of it.
    """

    def inc(self, amount: float) -> None:
        with self._lock:
            self._value += amount
            vars(self)[MOVES] = True
        self._ask()

    def set(self, value: float, timestamp: float | None = None) -> None:
        with self._lock:
            self._value = value
            vars(self)[INHERITED] = 0.0  # nothing is left of it
        self._ask()

    def _ask(self) -> None:
        ask = vars(self).get(ASK)
        if ask is not None:
            ask()


class Total(values.MutexValue):
    """A number that only grows, in a row of `OWN_SUM`. See `merging.Sum`."""

    row: Row
    cells: Cells
    at: int
    others: float = 0.0
    """What this process had from a worker of its group, which counts it itself."""

    def inc(self, amount: float) -> None:
        self.cells[self.at] += amount  # nothing else runs in the middle of it where there is a GIL: see `IS_LOCKED`

    def set(self, value: float, timestamp: float | None = None) -> None:
        with self._lock:
            self.cells[self.at] = value
            self.cells[self.at + 2] = self.others = 0.0

    def get(self) -> float:
        return self.cells[self.at] + self.cells[self.at + 2] + self.others

    @property
    def _value(self) -> float:
        return 0.0  # to whoever was in the middle of `MutexValue.inc` when the class changed, and adds to it

    @_value.setter
    def _value(self, amount: float) -> None:
        self.inc(amount)

    def hold(self, row: Row, cells: Cells, joins: bool) -> None:
        """Go on in the cells of another table, with what this worker counted. The caller holds the lock."""
        before, at = self.cells, self.at
        self.row = row
        self.cells, self.at = cells, row.start  # at once: no increment comes between
        cells[row.start] += before[at]
        cells[row.start + 2] = 0.0 if joins else before[at + 2]
        self.others += before[at + 2] if joins else 0.0

    def move(self, cells: Cells) -> None:
        """Go on in new cells of the same row. What was counted stays in the others."""
        self.cells = cells

    def let_go(self) -> None:
        """Keep the number in memory again."""
        number, inherited = self.get(), self.cells[self.at + 2] + self.others
        self.__class__ = Waiting  # type: ignore[assignment]  # it has the same attributes
        self.__dict__.update({"_value": number, INHERITED: inherited, "others": 0.0})


class LockedTotal(Total):
    """The same where threads run at once."""

    def inc(self, amount: float) -> None:
        with self._lock:
            self.cells[self.at] += amount

    @property
    def _value(self) -> float:
        return 0.0

    @_value.setter
    def _value(self, amount: float) -> None:
        self.cells[self.at] += amount  # whoever sets it holds the lock

    def move(self, cells: Cells) -> None:
        with self._lock:
            self.cells = cells


class Level(values.MutexValue):
    """The number of a gauge, in a row of `OWN_STATE`. See `merging.State`."""

    row: Row
    cells: Cells
    at: int
    others: float = 0.0
    """See `Total`."""
    has_moved: bool
    """What its row says; to ask here costs less than to store there again."""

    def inc(self, amount: float) -> None:
        with self._lock:
            self.cells[self.at] += amount
            if not self.has_moved:
                self.has_moved = True
                self.cells[self.at + 2] = MOVED

    def set(self, value: float, timestamp: float | None = None) -> None:
        with self._lock:
            cells, at = self.cells, self.at
            cells[at] = value
            cells[at + 1] = monotonic()
            cells[at + 3] = self.others = 0.0  # nothing is left of it

    @property
    def _value(self) -> float:
        return self.cells[self.at] + self.others  # `MutexValue.get` asks for it, with the lock

    @_value.setter
    def _value(self, value: float) -> None:
        self.cells[self.at] = value - self.others  # as in `Total`

    def hold(self, row: Row, cells: Cells, joins: bool) -> None:
        """Go on in the cells of another table. The caller holds the lock."""
        state = State(*self.cells[self.at : self.at + 4])
        put(cells, row.start, joining(row.key[2], state) if joins else state)
        self.row, self.cells, self.at = row, cells, row.start

    def move(self, cells: Cells) -> None:
        """Go on in new cells of the same row."""
        with self._lock:
            put(cells, self.at, State(*self.cells[self.at : self.at + 4]))
            self.cells = cells

    def let_go(self) -> None:
        """Keep the number in memory again."""
        state = State(*self.cells[self.at : self.at + 4])
        number, inherited = state.value + self.others, state.inherited + self.others
        self.__class__ = Waiting  # type: ignore[assignment]  # it has the same attributes
        self.__dict__.update({"_value": number, INHERITED: inherited, MOVES: state.state == MOVED, "others": 0.0})


class SharedInfo(Info):
    """An `Info` that says so when its content changes. Its children are such ones, too."""

    def info(self, val: dict[str, str]) -> None:
        super().info(val)
        _changed(self)

    def __repr__(self) -> str:
        return _repr_as(Info, self)


class SharedEnum(Enum):
    """An `Enum` that says so when its state changes, or its states become known. Its children are such ones, too."""

    @property
    def _states(self) -> Sequence[str]:
        found: Sequence[str] = vars(self)["_states"]
        return found

    @_states.setter
    def _states(self, states: Sequence[str]) -> None:
        vars(self)["_states"] = states  # a registry gets an `Enum` before this
        _changed(self)

    def state(self, state: str) -> None:
        super().state(state)
        _changed(self)

    def __repr__(self) -> str:
        return _repr_as(Enum, self)


def _repr_as(original: type, metric: Any) -> str:
    """Return what a metric of this class is called in logs."""
    return f"{original.__module__}.{original.__qualname__}({metric._name})"


def _changed(metric: Any) -> None:
    metric.__dict__[IS_SET] = True
    changed = metric.__dict__.get(CHANGED)
    if changed is not None:
        changed(metric)


def metric_value(metric: Any) -> Any:
    """Return the content of an `Info`, or the number of the state of an `Enum`."""
    return metric._value


def put(cells: Cells, at: int, state: State) -> None:
    """Store what a worker says of a gauge."""
    for cell, number in enumerate(state, at):
        cells[cell] = number


def joining(mode: str, state: State) -> State:
    """Return what a process says that was forked from a worker of its group, which says what it inherited itself."""
    value = state.value - state.inherited if mode in SUMMED else state.value
    return State(value, state.seconds or NEVER, state.state, 0.0)  # of several, the one it has the value from is shown
