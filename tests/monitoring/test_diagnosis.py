"""What `check` finds in real expositions, each made by what it says is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from red_middleware import Label, RedMetrics
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.diagnosis import LARGE_BYTES, Exposition, findings, summary
from red_middleware.monitoring.installation import Installation

from ..counts import fresh_metrics
from ..drive import count, fault

AIMS: dict[str, Any] = {"slo_availability": 0.999, "slo_seconds": (0.9,)}
OPEN = {"accept": "application/openmetrics-text"}


def text(metrics: RedMetrics, headers: dict[str, str] | None = None) -> str:
    """Return what the endpoint answers."""
    return answer(metrics, Request(headers=headers or {})).body.decode()


def healthy(**options: Any) -> RedMetrics:
    """Return metrics that have counted a request of a route, with nothing wrong."""
    metrics = fresh_metrics(**{**AIMS, **options})
    count(metrics, "/items")
    return metrics


def found(shown: str, expected: RedMetrics | None = None) -> list[str]:
    """Return what is wrong with an exposition, given the metrics whose options it should have."""
    installation = None if expected is None else Installation("shop", recorder_of(expected).options)
    return findings(Exposition(shown), installation)


@pytest.mark.parametrize("headers", [{}, OPEN], ids=["text", "openmetrics"])
@pytest.mark.parametrize(
    "options", [{}, {"namespace": "shop"}, {"naming": "otel"}, {"namespace": "a_b", "saturation": True, "sizes": True}]
)
def test_nothing_is_wrong_with_what_is_well(options: dict[str, Any], headers: dict[str, str]) -> None:
    """Whatever its options are, in both formats, and by itself as well as beside what is expected of it."""
    metrics = healthy(**options)
    shown = text(metrics, headers)  # once: a second scrape would tell how long the first has taken
    assert found(shown) == []
    assert found(shown, metrics) == []


def test_before_the_first_request_nothing_is_wrong() -> None:
    """There is no route then that could be unknown."""
    metrics = fresh_metrics(**AIMS)
    assert found(text(metrics), metrics) == []


def test_label_sets_near_their_bound_are_found() -> None:
    """By the same share as the alert has it: 80 % of those that no declared route reserved, here 100."""
    metrics = fresh_metrics(**AIMS, max_label_sets=122)
    for route in range(80):
        count(metrics, f"/{route}")
    assert found(text(metrics)) == []
    metrics = fresh_metrics(**AIMS, max_label_sets=122)
    for route in range(81):
        count(metrics, f"/{route}")
    (near,) = found(text(metrics))
    assert near.startswith(
        "81 of at most 100 label sets that no declared route reserved are in use. Soon requests will count under the "
        "route _overflow: raise max_label_sets="
    )


def test_series_near_their_bound_and_overflow_are_found() -> None:
    """What overflowed is counted."""
    metrics = fresh_metrics(**AIMS, max_label_sets=1000)
    for route in range(978):
        for status in range(200, 215):
            count(metrics, f"/{route}", status)
    count(metrics, "/one")
    count(metrics, "/more")
    # Of the first scrape: a second one would tell how long the first has taken.
    series, label_sets, overflow = found(text(metrics))
    assert "of at most 24,882 series are in use. There can be no more" in series
    assert label_sets.startswith("978 of at most 978 label sets that no declared route reserved are in use.")
    assert overflow.startswith(
        "2 requests found no free row and counted under the route _overflow: raise max_label_sets="
    )


def test_faults_are_found() -> None:
    """With where to read what failed."""
    metrics = healthy()
    fault(metrics, "clock", ValueError("no time"))
    (one,) = found(text(metrics))
    assert one.startswith("The instrumentation had 1 fault. Responses were not harmed; the log of red_middleware says")


def test_an_isolated_worker_and_slow_scrapes_are_found() -> None:
    """As they are shown where a worker cannot share its numbers, and where a collector of the registry waits."""
    shown = text(healthy()).replace("red_worker_isolated 0.0", "red_worker_isolated 1.0")
    (one,) = found(shown)
    assert one.startswith("The worker that answered has other workers beside it and shares no numbers with them")
    assert "is full" in one  # a name helps nobody whose disk is
    assert "RED_MULTIPROCESS_NAME" in one
    slow = "red_scrape_duration_seconds_count 4.0\nred_scrape_duration_seconds_sum 6.0\n"
    shown = "".join(
        line
        for line in text(healthy()).splitlines(keepends=True)
        if not line.startswith("red_scrape_duration_seconds_")
    )
    (one,) = found(shown + slow)
    assert one.startswith("A scrape takes 1.5 s on average. The slow part is most likely another collector")


def test_missing_objectives_are_found() -> None:
    """With what to write."""
    metrics = fresh_metrics()
    count(metrics, "/items")
    (one,) = found(text(metrics))
    assert "RedMetrics(slo_availability=0.999, slo_seconds=[0.3])" in one


@pytest.mark.parametrize("naming", ["red", "otel"])
def test_an_app_of_which_no_route_is_known_is_found(naming: str) -> None:
    """Some requests of unknown routes are usual, all are not."""
    metrics = fresh_metrics(**AIMS, naming=naming)
    count(metrics, None, 404)
    (one,) = found(text(metrics))
    assert one.startswith("All requests count under the route _unmatched: no route of the app is known.")
    metrics = fresh_metrics(**AIMS, naming=naming)
    count(metrics, None, 404)
    count(metrics, "/items")
    assert found(text(metrics)) == []


def test_two_namings_are_found() -> None:
    """Here of two `RedMetrics`, and each is looked at by itself."""
    registry = CollectorRegistry()
    one, other = healthy(registry=registry, namespace="one"), fresh_metrics(registry=registry, naming="otel")
    fault(one, "clock", ValueError("no time"))
    count(other, "/items")
    names, faults, aims = found(text(one))
    assert names.startswith(
        "Requests are counted under two names, http_request_duration_seconds and http_server_request"
    )
    assert aims.startswith("without a namespace: There is no objective")
    assert faults.startswith("one: The instrumentation had 1 fault")


def test_what_is_no_exposition_of_ours_is_found() -> None:
    """Another program's metrics, or none at all, even where something is expected."""
    for shown in ("", "# HELP up Whether.\n# TYPE up gauge\nup 1\n"):
        (one,) = found(shown, healthy())
        assert one.startswith("There are no metrics of red_middleware: red_series_limit is missing.")


def test_a_large_scrape_is_found() -> None:
    """Before VictoriaMetrics refuses it."""
    (one,) = found(text(healthy()) + "# " + "x" * LARGE_BYTES + "\n")
    assert "VictoriaMetrics takes 16,777,216 at most by default" in one


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"saturation": True}, "Missing: http_oldest_request_seconds, red_workers_busy. Does the app run with other"),
        ({"namespace": "shop"}, "Missing: shop_http_requests_total, "),
        (
            {"buckets": (0.5, 10)},
            "The buckets of http_request_duration_seconds end at 0.9, 10.0, and at 0.5, 0.9, 10.0 with",
        ),
        ({"slo_availability": 0.5}, "availability 0.5 is missing. Alerts on it never fire."),
        (
            {"labels": {"tenant": Label(max_values=1)}},
            "http_request_duration_seconds lacks the labels tenant. Does the",
        ),
    ],
)
def test_other_options_than_expected_are_found(options: dict[str, Any], says: str) -> None:
    """What rules and dashboards of these options would ask for in vain."""
    (one,) = found(text(healthy()), fresh_metrics(**{**AIMS, **options}))
    assert says in one


def test_more_than_expected_is_no_fault() -> None:
    """The rules ask for less then."""
    assert found(text(healthy(saturation=True, sizes=True)), fresh_metrics(**AIMS)) == []


def test_the_summary_tells_the_size() -> None:
    """Of all, and of each `RedMetrics`."""
    assert summary(Exposition("up 1\n")) == "1 sample, 5 bytes"
    metrics = healthy(namespace="shop")
    shown = text(metrics)
    samples = len([line for line in shown.splitlines() if not line.startswith("#")])
    series = len(metrics.snapshot())
    assert summary(Exposition(shown)) == (
        f"{samples} samples, {len(shown):,} bytes; {series} series of shop of at most 24,882, 1 worker"
    )


@pytest.mark.parametrize(
    "shown", ["<!doctype html>\n<p>Not found", "a{ 1\n", "# TYPE a counter\n# TYPE a gauge\n# EOF\n"]
)
def test_what_is_no_exposition_is_refused(shown: str) -> None:
    with pytest.raises(ValueError, match="not in Prometheus's text format"):
        Exposition(shown)


@given(
    st.text()
    | st.lists(st.sampled_from(["red_series_limit", " ", "1", "\n", "{", 'le="', '"}', "# TYPE ", "x", "# EOF"])).map(
        "".join
    )
)
def test_any_text_is_told_or_refused(shown: str) -> None:
    """It comes from anywhere."""
    try:
        exposition = Exposition(shown)
    except ValueError:
        return
    assert summary(exposition)
    findings(exposition, Installation("shop", recorder_of(fresh_metrics(**AIMS)).options))
