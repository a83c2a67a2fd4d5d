"""What a real Prometheus knows of a known mix of requests to a real server: exactly what was sent."""

import asyncio
import time

from . import mix
from .conftest import Watched


def test_prometheus_knows_exactly_what_was_sent(watched: Watched) -> None:
    """Rate, errors and durations, by method, route and status, of thousands of concurrent requests."""
    job, server, prometheus = watched
    expected = asyncio.run(mix.drive(server))
    server.rest()
    prometheus.scrape_after(job, time.time())
    of = f'{{job="{job}"}}'
    assert prometheus.by("method route status", f"http_requests_total{of}") == expected.requests
    assert prometheus.by("method route", f"http_errors_total{of}") == expected.errors
    assert prometheus.by("route exception", f"http_exceptions_total{of}") == expected.exceptions
    assert prometheus.by("method route", f"http_client_disconnects_total{of}") == expected.disconnects
