"""What was counted: fresh numbers for a test, and what a test looks at in them."""

import math
from collections import Counter
from typing import Any

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.counting.layout import LIFETIME_BOUNDS
from red_middleware.families import FAMILIES, Family
from red_middleware.families.family import number

from .drive import Clock

SHOWN_AT_ONCE: tuple[Family, ...] = tuple(family for family in FAMILIES if not family.is_quiet)
"""The families without those of WebSockets, which are left out until the first one."""

BESIDE_ROWS = 1878
"""The most series beside those of the rows of requests."""


def fresh_metrics(**options: Any) -> RedMetrics:
    """Return numbers in a registry of their own, with two buckets, so that expectations can be written out."""
    return RedMetrics(**{"registry": CollectorRegistry(), "buckets": (0.9, 10), "clock": Clock(), **options})


def counted(metrics: RedMetrics, *families: str) -> dict[str, float]:
    """Return every sample that is not zero.

    Args:
        metrics: The numbers.
        families: Names to choose from; by default all, except what says how long the process runs and how much it
            shows.
    """
    passing = (
        "uptime_seconds_total", "red_series", "red_unreserved_label_sets", "red_workers",
        "red_scrape_duration_seconds_sum",
    )  # fmt: skip
    return {
        text: n
        for text, n in metrics.snapshot().items()
        if n and (text.startswith(families) if families else not text.startswith(passing))
    }


def one_session(route: str) -> dict[str, float]:
    """Return what one WebSocket session over WSGI counts, of no duration by the clock that stands."""
    connection = f'websocket_connection_duration_seconds_bucket{{le="%s",route="{route}"}}'
    return {
        f'websocket_handshakes_total{{route="{route}",status="101"}}': 1.0,
        f'websocket_connections_total{{close_code="_OTHER",route="{route}"}}': 1.0,
        f'websocket_connection_duration_seconds_count{{route="{route}"}}': 1.0,
        **{connection % number(le): 1.0 for le in (*LIFETIME_BOUNDS, math.inf)},
    }


def one_request(
    status: str = "200",
    *,
    method: str = "GET",
    route: str = "_unmatched",
    error: bool = False,
    left: bool = False,
    raised: str | None = None,
    seconds: float = 0.0,
) -> dict[str, float]:
    """Return what `counted` is to be after one request.

    Args:
        status: Its label.
        method: Its label.
        route: Its label.
        error: Whether it is an error; a status of 5xx needs no mention.
        left: Whether the client was seen to leave.
        raised: The exception that is named.
        seconds: Its duration, at most 10.
    """
    row = f'method="{method}",route="{route}"'
    duration = "http_request_duration_seconds"
    found = {
        f'http_requests_total{{{row},status="{status}"}}': 1.0,
        f"http_errors_total{{{row}}}": float(error or (status.startswith("5") and not left)),
        f'{duration}_bucket{{le="0.9",{row}}}': float(seconds <= 0.9),
        f'{duration}_bucket{{le="10.0",{row}}}': 1.0,
        f'{duration}_bucket{{le="+Inf",{row}}}': 1.0,
        f"{duration}_count{{{row}}}": 1.0,
        f"{duration}_sum{{{row}}}": seconds,
        f"http_client_disconnects_total{{{row}}}": float(left),
    }
    if raised is not None:
        found[f'http_exceptions_total{{exception="{raised}",route="{route}"}}'] = 1.0
    return {text: n for text, n in found.items() if n}


def check_one_request(metrics: RedMetrics) -> None:
    """One request was counted, once, and nothing is in progress."""
    found = counted(metrics)
    assert [n for text, n in found.items() if text.startswith("http_requests_total")] == [1.0]
    assert [n for text, n in found.items() if text.startswith("http_request_duration_seconds_count")] == [1.0]
    assert sum(n for text, n in found.items() if text.startswith("http_errors_total")) <= 1.0
    assert not any(text.startswith(("http_requests_in_progress", "red_instr")) for text in found), found


def total(metrics: RedMetrics, name: str) -> float:
    """Return the sum of all samples of one name."""
    return sum(n for text, n in metrics.snapshot().items() if text.startswith(f"{name}{{"))


def requests(metrics: RedMetrics) -> dict[tuple[str, str, str], int]:
    """Return the finished requests by (method, route, status)."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): int(sample.value)
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


def routes(metrics: RedMetrics) -> dict[str, int]:
    """Return the finished requests by route."""
    found: Counter[str] = Counter()
    for (_, route, _), times in requests(metrics).items():
        found[route] += times
    return dict(found)


def exceptions(metrics: RedMetrics) -> dict[tuple[str, str], int]:
    """Return the exceptions by (route, name)."""
    return {
        (sample.labels["route"], sample.labels["exception"]): int(sample.value)
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "http_exceptions_total"
    }


def faults(metrics: RedMetrics) -> float:
    """Return how many faults of the instrumentation there were."""
    prefix = f"{metrics.namespace}_" if metrics.namespace else ""
    return metrics.snapshot()[f"{prefix}red_instrumentation_errors_total"]
