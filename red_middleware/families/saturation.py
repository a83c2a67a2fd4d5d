"""The families of what is in flight, each by an option: by route, and how busy the workers are."""

from typing import Final

from ..counting.layout import CAPACITY, FLIGHT, WORKER
from .family import MOST_WORKERS, Family, Reading


def _ages(reading: Reading) -> list[tuple[int, float]]:
    """Return the age of the oldest request of each worker, by pid; of too many workers, of those with the oldest."""
    found: dict[int, float] = {}
    for pid, (started, *_) in reading.each:
        age = reading.host_seconds - started if started else 0.0
        # Two containers may each have a process of this number. No clock says NaN, and no age is below zero.
        found[pid] = max(found.get(pid, 0.0), age if age > 0.0 else 0.0)
    oldest = sorted(found.items(), key=lambda one: one[1], reverse=True)[:MOST_WORKERS]
    return sorted(oldest)


IN_PROGRESS: Final = (
    Family(
        "http_requests_in_progress", "gauge", "HTTP requests being served now, by the route that their path asks for.",
        kind=FLIGHT, fields=("in_progress",),
    ),
)  # fmt: skip
"""In place of the family of the same name."""

SATURATION: Final = (
    Family(
        "http_oldest_request_seconds", "gauge",
        "Age of the oldest HTTP request that a worker is serving, in seconds; 0 without any.",
        by_worker=_ages,
    ),
    Family(
        "red_workers_busy", "gauge", "Workers that are serving an HTTP request.",
        kind=WORKER, fields=("busy",),
    ),
    Family(
        "red_workers_capacity", "gauge", "HTTP requests that the workers can serve at a time, where the server tells.",
        kind=CAPACITY, fields=("slots",), is_quiet=True,
    ),
)  # fmt: skip
