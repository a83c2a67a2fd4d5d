"""What a metric family is: data. Which series its rows make, and where their values are, follows from its fields.

`red` names the families; `metrics` shows them to prometheus_client and in `snapshot()`; `exposition` renders them.
Everything here is a pure function of a `Reading`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.utils import floatToGoString

from ..counting.labels import status_label
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
    uptime_seconds: float
    isolated: bool
    """Whether this process has other workers beside it and shares no numbers."""
    series_limit: int
    host_seconds: float = math.nan
    """What the clock says by which `each` tells a time."""


class Family(NamedTuple):
    """One metric family. A counter's name ends in `_total`, here and in every format."""

    name: str
    type: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    help: str
    kind: str = ""
    """Which rows it shows; empty where `value` gives its only series."""
    fields: tuple[str, ...] = ()
    """Of these rows: one; of a histogram its buckets and its sum, of a summary its count and its sum."""
    code_label: str = ""
    """The label for the codes of a coded field."""
    is_sparse: bool = False
    """Whether it leaves out what is zero: a code that has not come, a client that has not left."""
    is_quiet: bool = False
    """Whether it is left out as a whole while it has no series."""
    value: Callable[[Reading, int], float] | None = None
    """Its value, given the reading and the number of series that are shown in all."""
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
"""Returns what a family shows of a row, given the cells, where the row begins, and how many codes it has."""


class Shown:
    """How one family shows the rows of a kind: the series of a row, and where their values are, in the same order."""

    def __init__(self, family: Family, kind: Kind) -> None:
        self.family = family
        self.kind = kind
        self.named: list[tuple[str, dict[str, str]]]
        first = kind.field(family.fields[0])
        if family.type == "histogram":
            les = [*map(number, first.bounds), "+Inf"]
            self.named = [*(("_bucket", {"le": le}) for le in les), ("_count", {}), ("_sum", {})]
        elif family.type == "summary":
            self.named = [("_count", {}), ("_sum", {})]
        else:
            self.named = [("", {})]
        self.values: Values = _values(kind, family)

    def series(self, row: Row, codes: tuple[int, ...]) -> list[Series]:
        """Return the series that a row can show, given its codes: others may have come meanwhile."""
        labels = dict(zip(self.kind.labels, row.key, strict=True))
        if self.kind.field(self.family.fields[0]).is_coded:
            return [Series("", {**labels, self.family.code_label: status_label(code)}) for code in (*codes, 0)]
        return [Series(suffix, {**labels, **more}) for suffix, more in self.named]


def _values(kind: Kind, family: Family) -> Values:
    offsets = [kind.offsets[name] for name in family.fields]
    start, width = offsets[0], kind.field(family.fields[0]).width

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

    if family.type == "histogram":
        return histogram
    if kind.field(family.fields[0]).is_coded:
        return coded
    return several if kind.field(family.fields[-1]).unit is Unit.SECONDS else single


def most_series(family: Family, kind: Kind) -> int:
    """Return how many series a row of a kind can make: none of a kind that the family does not show."""
    if family.kind != kind.name:
        return 0
    width = kind.field(family.fields[0]).width
    return width + 2 if family.type == "histogram" else 2 if family.type == "summary" else width


def counted_rows(kind: Kind, reading: Reading) -> Iterable[Row]:
    """Return the rows of a kind that are shown: a row that has counted nothing is space and not series."""
    width, cells, rows = kind.width, reading.cells[kind.name], reading.rows[kind.name]
    if not kind.is_quiet:
        return rows
    likely = kind.offsets[kind.coded.name] + kind.coded.width - 1 if kind.coded else 0  # that of the first code
    return [row for row in rows if cells[row.start + likely] or any(cells[row.start : row.start + width])]


def bound(families: Sequence[Family], kinds: Sequence[Kind], capacities: Mapping[str, int]) -> Bound:
    """Return the most that rows of these kinds can hold and show, given how many rows of each kind there can be."""
    series = sum(family.value is not None for family in families)
    series += MOST_WORKERS * sum(family.by_worker is not None for family in families)
    series += sum(capacities[kind.name] * most_series(family, kind) for kind in kinds for family in families)
    cells = sum(capacities[kind.name] * kind.width for kind in kinds if not kind.is_shared)
    return Bound(capacities["http"], cells, series)


def samples(families: Sequence[Family], kinds: Iterable[Kind], reading: Reading) -> dict[Family, list[Sample]]:
    """Return every family that is shown, with its samples."""
    found: dict[Family, list[Sample]] = {family: [] for family in families}
    for kind in kinds:
        views = [Shown(family, kind) for family in families if family.kind == kind.name]
        for row in counted_rows(kind, reading) if views else ():
            for view in views:
                codes = row.codes
                values = view.values(reading.cells[kind.name], row.start, len(codes))
                found[view.family] += [
                    Sample(suffix, labels, float(value))
                    for (suffix, labels), value in zip(view.series(row, codes), values, strict=True)
                    if value or not view.family.is_sparse
                ]
    for family in families:
        if family.by_worker is not None:
            found[family] = [Sample("", {"pid": str(pid)}, value) for pid, value in family.by_worker(reading)]
    computed = [family for family in families if family.value is not None]
    series = sum(map(len, found.values())) + len(computed)
    for family in computed:
        found[family] = [Sample("", {}, family.value(reading, series))]  # type: ignore[misc]  # it is not None
    return {family: shown for family, shown in found.items() if shown or not family.is_quiet}


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
