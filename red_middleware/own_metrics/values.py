"""How prometheus_client's metrics keep their numbers, for all releases that we support.

A metric has value objects (`MutexValue`); an `Info` and an `Enum` keep theirs themselves. `numbers` finds them, and
`share` puts one into a row, where its holder (`held`) goes on with it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence, Set
from math import isfinite
from time import monotonic
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

from ..counting.layout import OWN_STATE, OWN_SUM, Key
from ..counting.rows import IS_LOCKED, Row
from . import meeting
from .held import (
    ASK,
    CHANGED,
    INHERITED,
    IS_SET,
    MOVES,
    ROW,
    Cells,
    Level,
    LockedTotal,
    SharedEnum,
    SharedInfo,
    Total,
    Waiting,
    joining,
    metric_value,
    put,
)
from .merging import ABSENT, FAMILY, FAR_FUTURE, INFO, MOVED, PRESENT, RECENT, State


class Number(NamedTuple):
    """One number of a metric: which row counts it, and what holds it."""

    kind: str
    key: Key
    value: Any
    """A `MutexValue`; an `Info` or an `Enum`."""
    made: float = 0.0
    """When the metric was made, seconds since the epoch; only with its first number."""


def is_known() -> bool:
    """Tell whether this release of prometheus_client keeps its numbers as this room knows it."""
    try:
        made: list[Any] = [Counter("a", "a", registry=None), Gauge("a", "a", registry=None)]
        made += [Summary("a", "a", registry=None), Histogram("a", "a", registry=None)]
        named: Any = Counter("a", "a", ["b"], registry=None)
        held = [number.value for metric in made for number in numbers(metric)]
        return (
            values.ValueClass is values.MutexValue
            and len(held) == 4 + len(made[3]._upper_bounds) + 1
            and all(vars(value).keys() == {"_value", "_exemplar", "_lock"} for value in held)
            and type(named._metrics) is dict
            and meeting.is_plain(CollectorRegistry())
            and metric_value(Info("a", "a", registry=None)) == {}
            and metric_value(Enum("a", "a", states=["b"], registry=None)) == 0
        )
    except Exception:
        return False


def pairs_of(metric: Any) -> tuple[str, ...]:
    """Return label names and values by turns."""
    return tuple(text for pair in zip(metric._labelnames, metric._labelvalues, strict=True) for text in pair)


def family_key(metric: Any) -> Key:
    """Return the key of the row that says that a worker has this family, and what it looks like."""
    more = tuple(metric._states or ()) if isinstance(metric, Enum) else ()
    return (metric._name, metric._type, FAMILY, metric._documentation, metric._unit, *map(str, more))


def is_made(metric: Any) -> bool:
    """Tell whether a metric is complete: a registry gets an `Enum` before its states."""
    return not isinstance(metric, Enum) or "_states" in vars(metric)


def is_computed(metric: Any) -> bool:
    """Tell whether a function gives the value of a gauge."""
    return "_child_samples" in vars(metric)


def observable(metric: Any, known: Set[Sequence[str]] = frozenset()) -> list[Any]:
    """Return those that have numbers: the metric itself, or the children of one with labels.

    Args:
        metric: A metric, or the child of one.
        known: Label values of those that are left out.
    """
    if not metric._is_parent():
        return [] if metric._labelvalues in known else [metric]
    children = metric._metrics.copy().items()  # in one step: other threads add to them
    return [child for label_values, child in children if label_values not in known]


def count(metric: Any) -> int:
    """Return how many are observable."""
    return len(metric._metrics) if metric._is_parent() else 1


def numbers(metric: Any, with_hidden: bool = False) -> Iterator[Number]:
    """Yield the numbers of a metric, or of the child of one.

    Args:
        metric: One that has numbers itself.
        with_hidden: Whether to yield that of a gauge that a function computes, too. It may have had a row before.
    """
    name, kind, pairs = metric._name, metric._type, pairs_of(metric)
    if is_computed(metric) and not with_hidden:
        return
    if isinstance(metric, Gauge):
        yield Number(OWN_STATE, (name, kind, metric._multiprocess_mode, *pairs), metric._value)
    elif isinstance(metric, Info):
        content = (str(text) for pair in metric_value(metric).items() for text in pair)
        yield Number(OWN_STATE, (name, kind, INFO, str(len(pairs)), *pairs, *content), metric)
    elif isinstance(metric, Enum):
        yield Number(OWN_STATE, (name, kind, RECENT, *pairs), metric)
    elif isinstance(metric, Counter):
        yield Number(OWN_SUM, (name, kind, "_total", *pairs), metric._value, metric._created)
    elif isinstance(metric, Summary):
        yield Number(OWN_SUM, (name, kind, "_count", *pairs), metric._count, metric._created)
        yield Number(OWN_SUM, (name, kind, "_sum", *pairs), metric._sum)
    else:  # a histogram
        yield Number(OWN_SUM, (name, kind, "_sum", *pairs), metric._sum, metric._created)
        for bound, bucket in zip(metric._upper_bounds, metric._buckets, strict=True):
            le: str = floatToGoString(bound)  # type: ignore[no-untyped-call]  # it has no annotations
            yield Number(OWN_SUM, (name, kind, "_bucket", *pairs, "le", le), bucket)


def is_in_memory(value: Any) -> bool:
    """Tell whether a value object is as prometheus_client made it."""
    return type(value) in (values.MutexValue, Waiting)


def has_cells(value: Any) -> bool:
    """Tell whether a value keeps its number in cells."""
    return isinstance(value, Total | Level)


def row_of(value: Any) -> Row | None:
    """Return the row of a value object, an `Info` or an `Enum`; `None` where it is in memory."""
    found: Row | None = value.row if has_cells(value) else vars(value).get(ROW)
    return found


def can_share(value: Any) -> bool:
    """Tell whether it can have a row: not if another package has made it."""
    return is_in_memory(value) or has_cells(value) or type(value) in (Info, Enum, SharedInfo, SharedEnum)


def share(number: Number, row: Row, cells: Cells, joins: bool) -> None:
    """Let a number be in a row from now on, with all that it was.

    Args:
        number: One that is in memory, or in the row of another table.
        row: Its row.
        cells: Those of the kind of row.
        joins: Whether what it inherited is counted in this table already, since this process was forked from a worker
            of this group.
    """
    value = number.value
    if isinstance(value, Info | Enum):
        _share_metric(value, row, cells)
        return
    with value._lock:
        if row_of(value) is row:  # another thread was faster
            return
        if has_cells(value):
            value.hold(row, cells, joins)
        elif number.kind == OWN_SUM:
            _share_total(value, row, cells, joins)
        else:
            _share_level(value, row, cells, joins)
    if number.made:
        cells[row.start + 3] = FAR_FUTURE - number.made


def _share_total(value: Any, row: Row, cells: Cells, joins: bool) -> None:
    inherited = _inherited(value)
    vars(value).pop(MOVES, None)
    vars(value).pop(ASK, None)
    cells[row.start] += value._value - inherited
    cells[row.start + 2] = 0.0 if joins else inherited
    value.others = inherited if joins else 0.0
    value.row, value.cells, value.at = row, cells, row.start
    value.__class__ = LockedTotal if IS_LOCKED else Total


def _inherited(value: Any) -> float:
    """Return what of a value is its parent's, and forget it. An infinite one could not be told from the rest."""
    inherited: float = vars(value).pop(INHERITED, 0.0)
    return inherited if isfinite(inherited) else 0.0


def _share_level(value: Any, row: Row, cells: Cells, joins: bool) -> None:
    inherited = _inherited(value)
    moved = vars(value).pop(MOVES, False)
    vars(value).pop(ASK, None)
    seconds = monotonic() if value._value != inherited else 0.0  # about: only from now on it is known
    state = State(value._value, seconds, MOVED if moved else PRESENT, inherited)
    if joins:
        state = joining(row.key[2], state)
    value.others = inherited if state.value != value._value else 0.0
    put(cells, row.start, state)
    value.row, value.cells, value.at, value.has_moved = row, cells, row.start, moved
    value.__class__ = Level


def _share_metric(metric: Any, row: Row, cells: Cells) -> None:
    """Say which content an `Info` has, or which state an `Enum`, and leave the row that said it before."""
    attributes = vars(metric)
    before = attributes.get(ROW)
    if before is not None and before is not row and before.table is row.table:
        cells[before.start + 2] = ABSENT
    content = metric_value(metric)
    was_set = IS_SET in attributes or (content and content != attributes.get(INHERITED))
    value = content if isinstance(metric, Enum) else 1.0
    put(cells, row.start, State(value, monotonic() if was_set else 0.0, PRESENT, 0.0))
    attributes[ROW] = row


def wait(value: Any, ask: Callable[[], None]) -> None:
    """Ask again when a number changes that is in memory and could not be shared. An `Info` or `Enum` does so anyway."""
    if is_in_memory(value):
        vars(value)[ASK] = ask
        value.__class__ = Waiting


def watch(metric: Any, changed: Callable[[Any], None]) -> None:
    """Be told when the content of an `Info` changes, or the state of an `Enum`."""
    if type(metric) in (Info, Enum):
        metric.__class__ = SharedInfo if type(metric) is Info else SharedEnum
    if isinstance(metric, SharedInfo | SharedEnum):
        vars(metric)[CHANGED] = changed


def forget(number: Number, cells: Cells) -> None:
    """Take a number out of its row, where this worker said something of it, and leave it to whoever holds it.

    Args:
        number: It may have no row.
        cells: Those of its kind of row.
    """
    value = number.value
    row = row_of(value)
    if has_cells(value):
        value.let_go()
    else:
        vars(value).pop(ROW, None)
    if row is not None:
        for cell in range(row.start, row.start + row.kind.width):
            cells[cell] = 0.0


def inherit(metric: Any) -> None:
    """Keep the numbers in memory again, in a forked child, where another thread may have held any lock."""
    for one in (metric, *observable(metric)):
        if "_lock" in vars(one):
            one._lock = threading.Lock()
    found = (number.value for one in observable(metric) for number in numbers(one, with_hidden=True))
    for value in filter(can_share, found):
        if isinstance(value, Info | Enum):
            vars(value)[INHERITED] = metric_value(value)
            vars(value).pop(ROW, None)
            vars(value).pop(IS_SET, None)
        else:
            value._lock = threading.Lock()
            if has_cells(value):
                value.let_go()
            vars(value)[INHERITED] = value._value
            value.__class__ = Waiting


def renew_lock(registry: Any) -> None:
    """Give a registry a new lock, in a forked child."""
    registry._lock = threading.Lock()


def is_own(collector: Any) -> bool:
    """Tell whether a collector is one of prometheus_client's metrics, as it makes them."""
    return isinstance(collector, MetricWrapperBase) and isinstance(
        collector, Counter | Gauge | Histogram | Summary | Info | Enum
    )
