"""What the table's numbers are called: the metric families, their help, and their samples.

`metrics` collects through this for any prometheus_client writer and for `snapshot()`; `exposition` renders the same
families by a faster path and is held against this one by tests. Reads the table, never writes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.utils import floatToGoString

from .labels import METHODS, OTHER, OTHER_STATUS, OVERFLOW, status_label
from .table import (
    EXCEPTION_PAIRS,
    EXCEPTIONS,
    FAULTS,
    SCRAPE_SECONDS,
    SCRAPES,
    STATUS_CELLS,
    Reading,
    Row,
    Table,
)


class Family(NamedTuple):
    """One metric family. A counter's name ends in `_total`, here and in every format."""

    name: str
    kind: str
    help: str

    def names(self, full_name: str) -> set[str]:
        """Return what the family and its samples are called in the text formats, given its name with the namespace."""
        return {full_name, full_name.removesuffix("_total"), *(full_name + suffix for suffix in _SUFFIXES[self.kind])}


class Series(NamedTuple):
    """What one number is called: what follows the family's name in its own, and its labels."""

    suffix: str
    labels: Mapping[str, str]


class Sample(NamedTuple):
    """One number: as a `Series`, and its value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


RowValues = tuple[tuple[float, ...], ...]
"""The numbers of one row, a tuple for each of `ROW_FAMILIES`."""

_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "counter": (),
    "gauge": (),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}


REQUESTS: Final = Family("http_requests_total", "counter", "Finished HTTP requests.")
ERRORS: Final = Family(
    "http_errors_total", "counter", "HTTP requests that failed: answered 5xx, not at all, or not to the end."
)
DURATION: Final = Family(
    "http_request_duration_seconds", "histogram", "Time from a request's arrival to its last byte, in seconds."
)
IN_FLIGHT: Final = Family("http_requests_in_progress", "gauge", "HTTP requests being served now.")
RAISED: Final = Family("http_exceptions_total", "counter", "Exceptions raised while a request was served.")
DISCONNECTS: Final = Family(
    "http_client_disconnects_total", "counter", "HTTP requests whose client left before the response was complete."
)
UPTIME: Final = Family("uptime_seconds_total", "counter", "Seconds since the metrics began to count.")
SERIES: Final = Family("red_series", "gauge", "Time series that this middleware exposes now.")
LIMIT: Final = Family("red_series_limit", "gauge", "Time series that this middleware can ever expose.")
OVERFLOWED: Final = Family(
    "red_overflow_requests_total", "counter", "HTTP requests counted under the route _overflow for want of a free row."
)
FAULTED: Final = Family(
    "red_instrumentation_errors_total", "counter", "Faults of the instrumentation, kept from the application."
)
WORKERS: Final = Family("red_workers", "gauge", "Processes whose numbers are added up here.")
ISOLATED: Final = Family(
    "red_worker_isolated", "gauge", "Whether this process has other workers beside it and shares no numbers: 1 or 0."
)
SCRAPED: Final = Family("red_scrape_duration_seconds", "summary", "Time that finished scrapes took, in seconds.")

ROW_FAMILIES: Final = (REQUESTS, ERRORS, DURATION, DISCONNECTS)
SMALL_FAMILIES: Final = (IN_FLIGHT, RAISED, UPTIME, SERIES, LIMIT, OVERFLOWED, FAULTED, WORKERS, ISOLATED, SCRAPED)
FAMILIES: Final = (*ROW_FAMILIES, *SMALL_FAMILIES)

SPARSE_FAMILIES: Final = (REQUESTS, DISCONNECTS)
"""Families of a row that leave out what is zero: a code that has not come, a client that has not left."""

SELF_SERIES: Final = 9
"""Series of the small families that carry no labels; the summary has two."""


class Bound(NamedTuple):
    """The most that a table can hold and show, whatever clients send."""

    rows: int
    """Label sets: `max_label_sets`, or what the declared routes, `_unmatched` and `_overflow` need, if that is more."""
    cells: int
    """Numbers held, 8 bytes each in a file."""
    series: int
    """Time series exposed: rows x (buckets + 21) + 277, with buckets counted without +Inf."""


def bound(table: Table) -> Bound:
    """Return the bound of a table: a row shows its buckets with +Inf, sum, count, errors, disconnects and statuses."""
    capacity = table.capacity
    of_a_row = table.bucket_cells + 4 + STATUS_CELLS
    of_no_row = len(METHODS) + EXCEPTION_PAIRS + 1 + SELF_SERIES
    return Bound(capacity, table.size(capacity), capacity * of_a_row + of_no_row)


def bucket_labels(bounds: tuple[float, ...]) -> list[str]:
    """Return the values of the label `le`, as Go writes them, +Inf last."""
    return [number(bound) for bound in (*bounds, float("inf"))]


def number(value: float) -> str:
    """Return a value as Go writes it."""
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
    return text


def samples(table: Table, uptime_seconds: float) -> dict[Family, list[Sample]]:
    """Return every family with its samples, from one reading of the table."""
    reading = table.read()
    les = bucket_labels(table.bounds)
    found: dict[Family, list[Sample]] = {family: [] for family in ROW_FAMILIES}
    for row, codes, values in counted_rows(reading):
        for family, series, numbers in zip(ROW_FAMILIES, row_series(row, codes, les), values, strict=True):
            found[family] += [
                Sample(suffix, labels, value)
                for (suffix, labels), value in zip(series, numbers, strict=True)
                if value or family not in SPARSE_FAMILIES
            ]
    found.update(small_samples(table, reading, uptime_seconds, sum(map(len, found.values()))))
    return found


def counted_rows(reading: Reading) -> Iterator[tuple[Row, tuple[int, ...], RowValues]]:
    """Yield the rows that have counted something, each with its codes and its values, in the order of `row_series`.

    A row that has counted nothing is space and not series.
    """
    cells = reading.cells
    for row in reading.rows:
        buckets = tuple(accumulate(cells[row.buckets : row.errors]))
        if buckets[-1]:
            codes = row.codes
            by_code = (*reversed(cells[row.seconds - len(codes) : row.seconds]), cells[row.other])
            seconds = float(cells[row.seconds])  # a clock may say NumPy's, whose repr is no number
            duration = (*buckets, buckets[-1], seconds)
            yield row, codes, (by_code, (cells[row.errors],), duration, (cells[row.disconnects],))


def row_series(row: Row, codes: tuple[int, ...], les: Iterable[str]) -> tuple[list[Series], ...]:
    """Return the series that a row can show, a list for each of `ROW_FAMILIES`, in the order of its values."""
    labels = {"method": row.method.label, "route": row.route}
    return (
        [Series("", {**labels, "status": status_label(code)}) for code in (*codes, OTHER_STATUS)],
        [Series("", labels)],
        [*(Series("_bucket", {**labels, "le": le}) for le in les), Series("_count", labels), Series("_sum", labels)],
        [Series("", labels)],
    )


def small_samples(
    table: Table, reading: Reading, uptime_seconds: float, row_series_shown: int
) -> dict[Family, list[Sample]]:
    """Return `SMALL_FAMILIES` with their samples, given how many series the rows show."""
    cells = reading.cells
    in_progress = [
        Sample("", {"method": method}, float(n)) for method, n in zip(METHODS, reading.in_progress, strict=True)
    ]
    raised = dict(zip(reading.pairs, cells[EXCEPTIONS:], strict=False))
    rest = (OVERFLOW, OTHER)  # may be a pair of its own, too: a name too long to show, on a route without a row
    raised[rest] = raised.get(rest, 0.0) + cells[EXCEPTIONS + EXCEPTION_PAIRS]
    exceptions = [
        Sample("", {"exception": exception, "route": route}, n) for (route, exception), n in raised.items() if n
    ]
    overflowed = sum(sum(cells[row.buckets : row.errors]) for row in reading.rows if row.route == OVERFLOW)
    series = row_series_shown + len(in_progress) + len(exceptions) + SELF_SERIES
    return {
        IN_FLIGHT: in_progress,
        RAISED: exceptions,
        UPTIME: [Sample("", {}, uptime_seconds)],
        SERIES: [Sample("", {}, float(series))],
        LIMIT: [Sample("", {}, float(bound(table).series))],
        OVERFLOWED: [Sample("", {}, float(overflowed))],
        FAULTED: [Sample("", {}, cells[FAULTS])],
        WORKERS: [Sample("", {}, float(reading.workers))],
        ISOLATED: [Sample("", {}, float(table.isolated))],
        SCRAPED: [Sample("_count", {}, cells[SCRAPES]), Sample("_sum", {}, cells[SCRAPE_SECONDS])],
    }


def sample_text(name: str, labels: Mapping[str, str]) -> str:
    """Return a sample as the text formats write it, without its value: labels in order of name, values escaped."""
    if not labels:
        return name
    pairs = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}"


def escape(value: str) -> str:
    """Return a label value as it stands between quotes: backslash, quote and newline are escaped."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
