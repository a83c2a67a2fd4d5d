"""What a metric family is: data. Which series its rows make, and where their values are, follows from its fields.

`red` names the families; `metrics` shows them to prometheus_client and in `snapshot()`; `exposition` renders them.
Everything here is a pure function of a `Reading`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.utils import floatToGoString

from ..counting.labels import OTHER_STATUS, status_label
from ..counting.layout import Kind, Unit
from ..counting.rows import Row


class Reading(NamedTuple):
    """What a scrape copied. Whatever it shows is a pure function of this."""

    rows: Mapping[str, Sequence[Row]]
    """By the name of their kind."""
    cells: Mapping[str, Sequence[float]]
    """By the name of their kind: the sums over all workers."""
    workers: int
    """How many processes are added up here."""
    states: Sequence[tuple[int, Sequence[float]]]
    """What each worker says of the application's gauges, with its pid."""
    each: Sequence[tuple[int, Sequence[float]]]
    """What each worker says of itself, with its pid."""
    unreserved: int
    """How many label sets of requests are in use that no declared route reserved."""
    unreserved_limit: int
    """How many of these there can be."""
    uptime_seconds: float
    isolated: bool
    """Whether this process has other workers beside it and shares no numbers."""
    series_limit: int
    host_seconds: float = math.nan
    """What the clock says by which `each` tells a time."""


class Constant(NamedTuple):
    """A series whose value is known at construction."""

    labels: tuple[tuple[str, str], ...]
    """Names and values."""
    value: float


class Family(NamedTuple):
    """One metric family. A counter's name ends in `_total`, here and in every format."""

    name: str
    type: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    help: str
    kind: str = ""
    """Which rows it shows; empty where `value` gives its only series, or `constants` all of them."""
    fields: tuple[str, ...] = ()
    """Of these rows: one; of a histogram its buckets and its sum, of a summary its count and its sum."""
    code_label: str = ""
    """The label for the codes of a coded field, and for the slots of a field that has several."""
    is_sparse: bool = False
    """Whether it leaves out what is zero: a code that has not come, a client that has not left."""
    is_quiet: bool = False
    """Whether it is left out as a whole while it has no series."""
    hidden: frozenset[str] = frozenset()
    """The labels of its rows that it does not show: it shows the sum over their values."""
    unknown: frozenset[tuple[str, str]] = frozenset()
    """Labels with the value that stands for none: they are left out then."""
    value: Callable[[Reading, int], float] | None = None
    """Its value, given the reading and the number of series that are shown in all."""
    constants: tuple[Constant, ...] = ()
    """Its series, where neither rows nor the reading have a say."""
    by_worker: Callable[[Reading], Sequence[tuple[int, float]]] | None = None
    """Where it has a series for each worker: their pids and values, given the reading. At most `MOST_WORKERS`."""

    def names(self, full_name: str) -> set[str]:
        """Return what the family and its samples are called in the text formats, given its name with the namespace."""
        return {full_name, full_name.removesuffix("_total"), *(full_name + suffix for suffix in _SUFFIXES[self.type])}


class Series(NamedTuple):
    """What one number is called: what follows the family's name in its own, and its labels."""

    suffix: str
    labels: Mapping[str, str]


class Sample(NamedTuple):
    """One number: as a `Series`, and its value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class Bound(NamedTuple):
    """The most that a table can hold and show, whatever clients send."""

    rows: int
    """Label sets: `max_label_sets`, or what the declared routes, `_unmatched` and `_overflow` need, if that is more."""
    cells: int
    """Numbers held, 8 bytes each in a file, beside those of the application's own metrics."""
    series: int
    """Time series exposed."""


MOST_WORKERS: Final = 256
"""Of how many workers one family shows each."""

_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "counter": (),
    "gauge": (),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}

Values = Callable[[Sequence[float], int, int], tuple[float, ...]]
"""Returns what a family shows of a row, given the cells, where the row begins, and how many codes it has: nothing of a
slot that has counted nothing."""


class Shown:
    """How one family shows the rows of a kind: the series of a row, and where their values are, in the same order.

    Args:
        family: What is shown.
        kind: Of which rows.
        slot: Of a histogram that has one for each status: which; `None` where there is one only.
    """

    def __init__(self, family: Family, kind: Kind, slot: int | None = None) -> None:
        self.family = family
        self.kind = kind
        self.slot = slot
        self.named: list[tuple[str, dict[str, str]]]
        first = kind.field(family.fields[0])
        if family.type == "histogram":
            les = [*map(number, first.bounds), "+Inf"]
            self.named = [*(("_bucket", {"le": le}) for le in les), ("_count", {}), ("_sum", {})]
        elif family.type == "summary":
            self.named = [("_count", {}), ("_sum", {})]
        else:
            self.named = [("", {})]
        self.values: Values = _values(kind, family, slot)

    def series(self, row: Row, codes: tuple[int, ...]) -> list[Series]:
        """Return the series that a row can show, given its codes: others may have come meanwhile."""
        hidden, unknown = self.family.hidden, self.family.unknown
        labels = {
            name: value
            for name, value in zip(self.kind.labels, row.key, strict=True)
            if name not in hidden and (name, value) not in unknown
        }
        if self.slot is not None:
            labels[self.family.code_label] = status_label(self._code(self.slot, codes))
        if self.kind.field(self.family.fields[0]).is_coded:
            return [Series("", {**labels, self.family.code_label: status_label(code)}) for code in (*codes, 0)]
        return [Series(suffix, {**labels, **more}) for suffix, more in self.named]

    def _code(self, slot: int, codes: tuple[int, ...]) -> int:
        """Return the code, or the class, that a slot counts; 0 of a slot that waits for one, which shows nothing."""
        if not self.kind.has_code_slots:
            return slot
        number = self.kind.slots - 1 - slot  # codes take their cells from the last one down
        return codes[number] if slot and number < len(codes) else OTHER_STATUS


def views_of(family: Family, kind: Kind) -> list[Shown]:
    """Return how a family shows the rows of a kind: as a whole, or each of their slots by itself."""
    slots = kind.field(family.fields[0]).slots
    return [Shown(family, kind)] if slots == 1 else [Shown(family, kind, slot) for slot in reversed(range(slots))]


def _values(kind: Kind, family: Family, slot: int | None) -> Values:
    offsets = [kind.offsets[name] + (slot or 0) * kind.field(name).slot_width for name in family.fields]
    start, width = offsets[0], kind.field(family.fields[0]).slot_width
    least_codes = kind.slots - slot if slot and kind.has_code_slots else 0  # with fewer, the slot waits for its code

    def single(cells: Sequence[float], row: int, codes: int) -> tuple[float, ...]:
        return (cells[row + start],)

    def several(cells: Sequence[float], row: int, codes: int) -> tuple[float, ...]:
        return tuple(
            float(cells[row + offset]) for offset in offsets
        )  # a clock may say NumPy's, whose repr is no number

    def coded(cells: Sequence[float], row: int, codes: int) -> tuple[float, ...]:
        end = row + start + width
        return (*cells[end - codes : end][::-1], cells[row + start])

    def histogram(cells: Sequence[float], row: int, codes: int) -> tuple[float, ...]:
        first = row + start
        found = [*accumulate(cells[first : first + width])]
        found += found[-1], float(cells[row + offsets[1]])  # as in `several`
        return tuple(found)

    def histogram_of_slot(cells: Sequence[float], row: int, codes: int) -> tuple[float, ...]:
        is_shown = codes >= least_codes and any(cells[row + start : row + start + width])
        return histogram(cells, row, codes) if is_shown else ()

    if family.type == "histogram":
        return histogram if slot is None else histogram_of_slot
    if kind.field(family.fields[0]).is_coded:
        return coded
    return several if kind.field(family.fields[-1]).unit is Unit.SECONDS else single


def most_series(family: Family, kind: Kind) -> int:
    """Return how many series a row of a kind can make: none of a kind that the family does not show."""
    if family.kind != kind.name:
        return 0
    field = kind.field(family.fields[0])
    if family.type == "histogram":
        return (field.slot_width + 2) * field.slots
    return 2 if family.type == "summary" else field.width


def counted_rows(kind: Kind, reading: Reading) -> Iterable[Row]:
    """Return the rows of a kind that are shown: a row that has counted nothing is space and not series."""
    width, cells, rows = kind.width, reading.cells[kind.name], reading.rows[kind.name]
    if not kind.is_quiet:
        return rows
    likely = kind.offsets[kind.coded.name] + kind.coded.width - 1 if kind.coded else 0  # that of the first code
    return [row for row in rows if cells[row.start + likely] or any(cells[row.start : row.start + width])]


def bound(families: Sequence[Family], kinds: Sequence[Kind], capacities: Mapping[str, int]) -> Bound:
    """Return the most that rows of these kinds can hold and show, given how many rows of each kind there can be."""
    series = sum((family.value is not None) + len(family.constants) for family in families)
    series += MOST_WORKERS * sum(family.by_worker is not None for family in families)
    series += sum(capacities[kind.name] * most_series(family, kind) for kind in kinds for family in families)
    cells = sum(capacities[kind.name] * kind.width for kind in kinds if not kind.is_shared)
    return Bound(capacities["http"], cells, series)


def samples(families: Sequence[Family], kinds: Iterable[Kind], reading: Reading) -> dict[Family, list[Sample]]:
    """Return every family that is shown, with its samples."""
    found: dict[Family, list[Sample]] = {
        family: [Sample("", dict(labels), value) for labels, value in family.constants] for family in families
    }
    for kind in kinds:
        views = [view for family in families if family.kind == kind.name for view in views_of(family, kind)]
        for row in counted_rows(kind, reading) if views else ():
            for view in views:
                codes = row.codes
                values = view.values(reading.cells[kind.name], row.start, len(codes))
                found[view.family] += [
                    Sample(suffix, labels, float(value))
                    for (suffix, labels), value in zip(view.series(row, codes) if values else (), values, strict=True)
                    if value or not view.family.is_sparse
                ]
    for family in families:
        if family.hidden:
            found[family] = _added_up(found[family])
        if family.by_worker is not None:
            found[family] = [Sample("", {"pid": str(pid)}, value) for pid, value in family.by_worker(reading)]
    computed = [family for family in families if family.value is not None]
    series = sum(map(len, found.values())) + len(computed)
    for family in computed:
        found[family] = [Sample("", {}, family.value(reading, series))]  # type: ignore[misc]  # it is not None
    return {family: shown for family, shown in found.items() if shown or not family.is_quiet}


def _added_up(found: Iterable[Sample]) -> list[Sample]:
    """Return samples of which each comes once, by adding up those that differ in hidden labels only."""
    totals: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
    for sample in found:
        name = sample.suffix, frozenset(sample.labels.items())
        before = totals.get(name)
        totals[name] = sample if before is None else sample._replace(value=before.value + sample.value)
    return list(totals.values())


def number(value: float) -> str:
    """Return a value as Go writes it."""
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
    return text


def sample_text(name: str, labels: Mapping[str, str]) -> str:
    """Return a sample as the text formats write it, without its value: labels in order of name, values escaped."""
    if not labels:
        return name
    pairs = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}"


def escape(value: str) -> str:
    """Return a label value as it stands between quotes: backslash, quote and newline are escaped."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
