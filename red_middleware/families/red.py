"""The families of HTTP requests, and the middleware's own."""

from typing import Final

from ..counting.labels import OVERFLOW
from .family import Family, Reading


def _overflowed(reading: Reading, series: int) -> float:
    """Return how many requests are counted in the rows of `_overflow`."""
    cells = reading.cells["http"]
    found = 0.0
    for row in reading.rows["http"]:
        if row.key[1] == OVERFLOW:
            start = row.cell("buckets")
            found += sum(cells[start : start + row.kind.field("buckets").width])
    return found


UPTIME: Final = Family(
    "uptime_seconds_total", "counter", "Seconds since the metrics began to count.",
    value=lambda reading, series: reading.uptime_seconds,
)  # fmt: skip

FAMILIES: Final = (
    Family(
        "http_requests_total", "counter", "Finished HTTP requests.",
        kind="http", fields=("status",), code_label="status", is_sparse=True,
    ),
    Family(
        "http_errors_total", "counter", "HTTP requests that failed: answered 5xx, not at all, or not to the end.",
        kind="http", fields=("errors",),
    ),
    Family(
        "http_request_duration_seconds", "histogram",
        "Time from a request's arrival to its last byte, in seconds.",
        kind="http", fields=("buckets", "seconds"), code_label="status",
    ),
    Family(
        "http_client_disconnects_total", "counter",
        "HTTP requests whose client left before the response was complete.",
        kind="http", fields=("disconnects",), is_sparse=True,
    ),
    Family(
        "http_requests_in_progress", "gauge", "HTTP requests being served now.",
        kind="method", fields=("in_progress",),
    ),
    Family(
        "http_exceptions_total", "counter", "Exceptions raised while a request was served.",
        kind="exception", fields=("raised",), is_sparse=True,
    ),
    UPTIME,
    Family(
        "red_series", "gauge", "Time series that this middleware exposes now.",
        value=lambda reading, series: float(series),
    ),
    Family(
        "red_series_limit", "gauge", "Time series that this middleware can ever expose.",
        value=lambda reading, series: float(reading.series_limit),
    ),
    Family(
        "red_unreserved_label_sets", "gauge", "Label sets in use that no declared route reserved.",
        value=lambda reading, series: float(reading.unreserved),
    ),
    Family(
        "red_unreserved_label_sets_limit", "gauge", "Label sets that can be in use beside the reserved ones.",
        value=lambda reading, series: float(reading.unreserved_limit),
    ),
    Family(
        "red_overflow_requests_total", "counter",
        "HTTP requests counted under the route _overflow, since no row was free.",
        value=_overflowed,
    ),
    Family(
        "red_instrumentation_errors_total", "counter", "Faults of the instrumentation, kept from the application.",
        kind="own", fields=("faults",),
    ),
    Family(
        "red_workers", "gauge", "Processes whose numbers are added up here.",
        value=lambda reading, series: float(reading.workers),
    ),
    Family(
        "red_worker_isolated", "gauge",
        "Whether this process does not share all its numbers with other workers: 1 or 0.",
        value=lambda reading, series: float(reading.isolated),
    ),
    Family(
        "red_scrape_duration_seconds", "summary", "Time that finished scrapes took, in seconds.",
        kind="own", fields=("scrapes", "scrape_seconds"),
    ),
)  # fmt: skip
