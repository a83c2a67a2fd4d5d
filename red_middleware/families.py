"""What the table's numbers are called: the metric families, their help, and their samples.

`metrics` collects through this for any prometheus_client writer and for `snapshot()`; `exposition` renders the same
families by a faster path and is held against this one by tests. Reads the table, never writes it.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.utils import floatToGoString

from .labels import METHODS, OTHER, OVERFLOW, status_label
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


class Sample(NamedTuple):
    """One number: what follows the family's name in its own, its labels, its value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


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
SCRAPED: Final = Family("red_scrape_duration_seconds", "summary", "Time that finished scrapes took, in seconds.")

ROW_FAMILIES: Final = (REQUESTS, ERRORS, DURATION, DISCONNECTS)
SMALL_FAMILIES: Final = (IN_FLIGHT, RAISED, UPTIME, SERIES, LIMIT, OVERFLOWED, FAULTED, SCRAPED)
FAMILIES: Final = (*ROW_FAMILIES, *SMALL_FAMILIES)

SELF_SERIES: Final = 7
"""Series of the small families that carry no labels; the summary has two."""


class Bound(NamedTuple):
    """The most that a table can hold and show, whatever clients send."""

    rows: int
    """Label sets: `max_label_sets`, or what the declared routes need, if that is more."""
    cells: int
    """Numbers held, 8 bytes each in a file."""
    series: int
    """Time series exposed: rows x (buckets + 21) + 275, with buckets counted without +Inf."""


def bound(table: Table) -> Bound:
    """Return the bound of a table: a row shows its buckets with +Inf, sum, count, errors, disconnects and statuses."""
    rows = table.capacity
    row_series = table.bucket_cells + 4 + STATUS_CELLS
    small_series = len(METHODS) + EXCEPTION_PAIRS + 1 + SELF_SERIES
    return Bound(rows, table.size(rows), rows * row_series + small_series)


def bucket_labels(bounds: tuple[float, ...]) -> list[str]:
    """Return the values of the label `le`, as Go writes them, +Inf last."""
    return [number(bound) for bound in (*bounds, float("inf"))]


def number(value: float) -> str:
    """Return a value as Go writes it."""
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
    return text


def samples(table: Table, uptime_seconds: float) -> dict[Family, list[Sample]]:
    """Return every family with its samples, from one reading of the table.

    Rows that have counted nothing, and codes and disconnects at zero, are space and not series: they are left out.
    """
    reading = table.read()
    cells = reading.cells
    les = bucket_labels(table.bounds)
    found: dict[Family, list[Sample]] = {family: [] for family in ROW_FAMILIES}
    overflowed = 0.0
    for row in reading.rows:
        buckets = list(accumulate(cells[row.buckets : row.seconds]))
        count = buckets[-1]
        if not count:
            continue
        labels = {"method": row.method.label, "route": row.route}
        for code, cell in row_statuses(row):
            if cells[cell]:
                found[REQUESTS].append(Sample("", {**labels, "status": status_label(code)}, cells[cell]))
        found[ERRORS].append(Sample("", labels, cells[row.errors]))
        found[DURATION] += [Sample("_bucket", {**labels, "le": le}, n) for le, n in zip(les, buckets, strict=True)]
        found[DURATION] += [Sample("_count", labels, count), Sample("_sum", labels, cells[row.seconds])]
        if cells[row.disconnects]:
            found[DISCONNECTS].append(Sample("", labels, cells[row.disconnects]))
        if row.route == OVERFLOW:
            overflowed += count
    found.update(small_samples(table, reading, uptime_seconds, overflowed, sum(map(len, found.values()))))
    return {family: found[family] for family in FAMILIES}


def small_samples(
    table: Table, reading: Reading, uptime_seconds: float, overflowed: float, row_series: int
) -> dict[Family, list[Sample]]:
    """Return the families that are not of a row, given what the rows came to: overflowed requests, series shown."""
    cells = reading.cells
    in_progress = [
        Sample("", {"method": method}, float(n)) for method, n in zip(METHODS, reading.in_progress, strict=True)
    ]
    pairs = [*reading.pairs, (OVERFLOW, OTHER)]
    places = [*range(EXCEPTIONS, EXCEPTIONS + len(reading.pairs)), EXCEPTIONS + EXCEPTION_PAIRS]
    raised = [
        Sample("", {"exception": exception, "route": route}, cells[cell])
        for (route, exception), cell in zip(pairs, places, strict=True)
        if cells[cell]
    ]
    series = row_series + len(in_progress) + len(raised) + SELF_SERIES
    return {
        IN_FLIGHT: in_progress,
        RAISED: raised,
        UPTIME: [Sample("", {}, uptime_seconds)],
        SERIES: [Sample("", {}, float(series))],
        LIMIT: [Sample("", {}, float(bound(table).series))],
        OVERFLOWED: [Sample("", {}, overflowed)],
        FAULTED: [Sample("", {}, cells[FAULTS])],
        SCRAPED: [Sample("_count", {}, cells[SCRAPES]), Sample("_sum", {}, cells[SCRAPE_SECONDS])],
    }


def row_statuses(row: Row) -> list[tuple[int, int]]:
    """Return the status codes of a row with their cells, in the order in which they came, `_OTHER` last."""
    return [*((code, row.disconnects + n) for n, code in enumerate(row.codes, 1)), (0, row.other)]


def sample_text(name: str, labels: Mapping[str, str]) -> str:
    """Return a sample as the text formats write it, without its value: labels in order of name, values escaped."""
    if not labels:
        return name
    pairs = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}"


def escape(value: str) -> str:
    """Return a label value as it stands between quotes: backslash, quote and newline are escaped."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
