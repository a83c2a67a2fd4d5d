"""Turn scrapes of /metrics into what a person wants to know about each route: rate, share of errors, quantiles.

The arithmetic is the same as in PromQL: increases between two scrapes, and `histogram_quantile`.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Route = tuple[str, str]
"""Route template and method."""


class Scrape:
    """The samples of one answer of /metrics, as far as the demo shows them.

    Args:
        text: The answer, in Prometheus's text format.
        seconds: When it was taken, on a monotonic clock.
    """

    def __init__(self, text: str, seconds: float) -> None:
        self.seconds = seconds
        self.requests: Counter[Route] = Counter()
        self.errors: Counter[Route] = Counter()
        self.buckets: dict[Route, Counter[float]] = {}
        self.totals: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                value = math.floor(sample.value)
                self.totals[sample.name] += value
                route = sample.labels.get("route", ""), sample.labels.get("method", "")
                if sample.name == "http_requests_total":
                    self.requests[route] += value
                elif sample.name == "http_errors_total":
                    self.errors[route] += value
                elif sample.name == "http_request_duration_seconds_bucket":
                    self.buckets.setdefault(route, Counter())[float(sample.labels["le"])] += value


class Red(NamedTuple):
    """Rate, errors and durations of a route between two scrapes, and its requests in total."""

    route: str
    method: str
    total: int
    """Requests since the service began."""
    per_second: float
    error_share: float
    """From 0 to 1; NaN without requests."""
    quantiles: tuple[float, ...]
    """Seconds, one for each of the quantiles asked for; NaN without requests."""
    shortest: float
    """The lowest bound of the histogram, in seconds. The histogram does not distinguish durations below it."""


def red_between(before: Scrape, now: Scrape, quantiles: Iterable[float]) -> list[Red]:
    """Return the RED of every route in the later scrape, sorted by route."""
    seconds = now.seconds - before.seconds
    rows = []
    for key in sorted(now.requests):
        requests = now.requests[key] - before.requests[key]
        errors = now.errors[key] - before.errors[key]
        cumulative = [
            (bound, count - before.buckets.get(key, Counter())[bound])
            for bound, count in sorted(now.buckets[key].items())
        ]
        rows.append(
            Red(
                *key,
                now.requests[key],
                requests / seconds if seconds > 0 else math.nan,
                errors / requests if requests else math.nan,
                tuple(quantile(q, cumulative) for q in quantiles),
                cumulative[0][0],
            )
        )
    return rows


def quantile(q: float, cumulative: list[tuple[float, int]]) -> float:
    """Return a quantile by linear interpolation within its bucket, as PromQL's `histogram_quantile` does.

    Args:
        q: From 0 to 1.
        cumulative: Pairs of an upper bound in seconds and the number of requests within it, in ascending order. The
            last bound is infinite.
    """
    total = cumulative[-1][1]
    if not total:
        return math.nan
    rank = q * total
    place = bisect_left([count for _, count in cumulative], rank)
    if place == len(cumulative) - 1:
        return cumulative[-2][0]
    lower, below = cumulative[place - 1] if place else (0.0, 0)
    upper, within = cumulative[place]
    return lower + (upper - lower) * (rank - below) / (within - below) if within > below else upper
