"""What a real Prometheus knows of a known mix of requests to a real server: exactly what was sent."""

import subprocess

import pytest

from . import require_program
from .conftest import Watched
from .mix import Expected

pytestmark = pytest.mark.once

ELSEWHERE = 'route!~"/events|/paced"'  # asked by test_durations, at the same servers


def test_requests_are_counted_exactly_by_method_route_and_status(watched: Watched, expected: Expected) -> None:
    """Of thousands of concurrent requests every one counts once, under what its client saw, and none counts beside."""
    of = f'{{job="{watched.job}",{ELSEWHERE}}}'
    assert sum(expected.requests.values()) > 2900
    assert watched.prometheus.by("method route status", f"http_requests_total{of}") == expected.requests


def test_errors_are_counted_exactly_by_method_and_route(watched: Watched, expected: Expected) -> None:
    """Returned, raised and half-sent failures are errors; a client that left is none; routes without errors say 0."""
    of = f'{{job="{watched.job}",{ELSEWHERE}}}'
    assert watched.prometheus.by("method route", f"http_errors_total{of}") == expected.errors


def test_exceptions_are_named(watched: Watched, expected: Expected) -> None:
    """Those answered by the framework, those in the middle of a body, those after the response."""
    of = f'{{job="{watched.job}",{ELSEWHERE}}}'
    assert watched.prometheus.by("route exception", f"http_exceptions_total{of}") == expected.exceptions


def test_disconnects_are_counted_where_the_server_tells_the_application(watched: Watched, expected: Expected) -> None:
    """Every client that left and whose going the application could know; SERVERS.md says which."""
    of = f'{{job="{watched.job}",{ELSEWHERE}}}'
    assert watched.prometheus.by("method route", f"http_client_disconnects_total{of}") == expected.disconnects


def test_durations_count_the_same_requests(watched: Watched, expected: Expected) -> None:
    """At rest the histogram's count is the number of requests, in all and for each method and route."""
    of, ask = f'{{job="{watched.job}"}}', watched.prometheus
    total = f"sum(http_requests_total{of})"
    assert ask.number(total) == ask.number(f"sum(http_request_duration_seconds_count{of})")
    assert ask.by("method route", f"sum by (method, route) (http_requests_total{of})") == ask.by(
        "method route", f"http_request_duration_seconds_count{of}"
    )
    assert ask.by("method", f"http_requests_in_progress{of} != 0") == {}


def test_quantiles_are_those_of_the_route(watched: Watched, expected: Expected) -> None:
    """A route that takes 60 ms shows so; only the lower edge of its bucket and a generous upper one are sure."""
    of = f'{{job="{watched.job}",route="/slow"}}'
    for q in (0.01, 0.5, 0.99):
        found = watched.prometheus.number(f"histogram_quantile({q}, http_request_duration_seconds_bucket{of})")
        assert found is not None
        assert 0.05 <= found <= 10.0
    quick = f'{{job="{watched.job}",route="/ok",method="GET"}}'
    found = watched.prometheus.number(f"histogram_quantile(0.5, http_request_duration_seconds_bucket{quick})")
    assert found is not None
    assert found <= 10.0


def test_scrapes_succeed_and_counters_never_go_backwards(watched: Watched, expected: Expected) -> None:
    """The target is up, and no counter was reset from one scrape to the next while requests ran."""
    of = f'{{job="{watched.job}"}}'
    assert watched.prometheus.number(f"up{of}") == 1
    for counter in ("requests_total", "errors_total", "request_duration_seconds_count", "request_duration_seconds_sum"):
        resets = watched.prometheus.number(f"sum(resets(http_{counter}{of}[1h]))")
        assert resets == 0, counter


def test_the_endpoint_and_excluded_paths_are_not_counted(watched: Watched, expected: Expected) -> None:
    """Neither the scrapes themselves nor the health checks appear."""
    found = watched.prometheus.ask(f'http_requests_total{{job="{watched.job}",route=~"/metrics|/health"}}')
    assert found == []


def test_promtool_finds_nothing_to_say(watched: Watched, expected: Expected) -> None:
    """The endpoint's text passes Prometheus's own check of syntax, names, help and types."""
    promtool = require_program("promtool")
    text = watched.server.read("/metrics").encode()
    found = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
