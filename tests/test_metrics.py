"""RedMetrics and Exchange: options, sharing, the verbs, the helpers for users' tests."""

import copy
import gc
import logging
import math
import pickle
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from red_middleware import Label, RedMetrics
from red_middleware.counting.connection import connect
from red_middleware.counting.rows import IS_LOCKED
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of

from .counts import counted, exceptions, faults, fresh_metrics, one_request, requests
from .drive import Clock, begin, begun, count, declare, fault
from .threads import run_at_once


class BytesPath:
    """A path that is not text, as `os.fspath` allows."""

    def __fspath__(self) -> bytes:
        return b"/run"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> RedMetrics:
    return fresh_metrics(clock=clock)


# Options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"buckets": [1, 0.5]}, ValueError, r"RedMetrics(buckets=[1, 0.5]): must be strictly increasing seconds > 0"),
        ({"buckets": [1, 1]}, ValueError, "strictly increasing"),
        ({"buckets": [0, 1]}, ValueError, "> 0"),
        ({"buckets": [-1, 1]}, ValueError, "> 0"),
        ({"buckets": [math.nan]}, ValueError, "strictly increasing"),
        ({"buckets": [math.inf]}, ValueError, "strictly increasing"),
        ({"buckets": [1, math.inf, math.inf]}, ValueError, "strictly increasing"),
        ({"buckets": []}, ValueError, "strictly increasing"),
        ({"buckets": [10**400]}, ValueError, "must be a sequence of seconds"),
        ({"buckets": "0.1"}, TypeError, "RedMetrics(buckets='0.1'): must be a sequence of seconds"),
        ({"buckets": 0.1}, TypeError, "RedMetrics(buckets=0.1): must be a sequence of seconds"),
        ({"buckets": None}, TypeError, "buckets=None"),
        ({"buckets": ["0.1"]}, TypeError, "must be a sequence of seconds"),
        ({"buckets": [True]}, TypeError, "must be a sequence of seconds"),
        ({"slo_seconds": 0.3}, TypeError, "RedMetrics(slo_seconds=0.3): must be a sequence of seconds"),
        ({"slo_seconds": [0]}, ValueError, "RedMetrics(slo_seconds=[0]): must be finite seconds > 0"),
        ({"slo_seconds": [math.inf]}, ValueError, "must be finite seconds > 0"),
        ({"slo_seconds": [math.nan]}, ValueError, "must be finite seconds > 0"),
        ({"max_label_sets": 0}, ValueError, "RedMetrics(max_label_sets=0): must be at least 1"),
        ({"max_label_sets": 1_000_001}, ValueError, "RedMetrics(max_label_sets=1000001): must be at most 1000000"),
        ({"max_label_sets": 10**12}, ValueError, "must be at most 1000000"),
        ({"max_label_sets": 1.5}, TypeError, "RedMetrics(max_label_sets=1.5): must be of type int"),
        ({"max_label_sets": True}, TypeError, "must be of type int"),
        ({"namespace": "a-b"}, ValueError, "RedMetrics(namespace='a-b'): must be letters"),
        ({"namespace": "1a"}, ValueError, "must be letters"),
        ({"namespace": "a\n"}, ValueError, "must be letters"),
        ({"namespace": None}, TypeError, "must be of type str"),
        ({"registry": None}, TypeError, "RedMetrics(registry=None): must be of type CollectorRegistry"),
        ({"multiprocess_dir": "run"}, ValueError, "RedMetrics(multiprocess_dir='run'): must be an absolute path,"),
        ({"multiprocess_dir": Path("run")}, ValueError, 'must be an absolute path, "auto" or None'),
        ({"multiprocess_dir": ""}, ValueError, "RedMetrics(multiprocess_dir=''): must be an absolute path"),
        ({"multiprocess_dir": b"/run"}, TypeError, "RedMetrics(multiprocess_dir=b'/run'): must be a path, \"auto\" or"),
        ({"multiprocess_dir": BytesPath()}, TypeError, 'must be a path, "auto" or None'),
        ({"multiprocess_dir": True}, TypeError, "RedMetrics(multiprocess_dir=True): must be a path"),
        ({"multiprocess_name": 7}, TypeError, "RedMetrics(multiprocess_name=7): must be of type str"),
        ({"own_metrics": "yes"}, ValueError, 'RedMetrics(own_metrics=\'yes\'): must be "shared" or "worker"'),
        ({"own_metrics": None}, ValueError, "RedMetrics(own_metrics=None): must be"),
        ({"own_series_limit": 0}, ValueError, "RedMetrics(own_series_limit=0): must be at least 1"),
        ({"own_series_limit": 1_000_001}, ValueError, "must be at most 1000000"),
        ({"own_series_limit": "10"}, TypeError, "RedMetrics(own_series_limit='10'): must be of type int"),
        ({"scrape_timeout_seconds": "9"}, TypeError, "RedMetrics(scrape_timeout_seconds='9'): must be seconds"),
        ({"scrape_timeout_seconds": True}, TypeError, "RedMetrics(scrape_timeout_seconds=True): must be seconds"),
        ({"scrape_timeout_seconds": 0}, ValueError, "(scrape_timeout_seconds=0): must be seconds > 0 and <= 120"),
        ({"scrape_timeout_seconds": math.nan}, ValueError, "(scrape_timeout_seconds=nan): must be seconds > 0"),
        ({"clock": 3}, TypeError, "RedMetrics(clock=3): must be callable"),
        ({"clock": lambda: None}, ValueError, "must return finite seconds, as a float, not None"),
        ({"clock": lambda: "now"}, ValueError, "must return finite seconds, as a float, not 'now'"),
        ({"clock": lambda: Decimal(1)}, ValueError, "must return finite seconds, as a float, not Decimal('1')"),
        ({"clock": lambda: math.inf}, ValueError, "must return finite seconds, as a float, not inf"),
        ({"clock": lambda: math.nan}, ValueError, "must return finite seconds, as a float, not nan"),
        ({"clock": lambda: 10**400}, ValueError, "must return finite seconds, as a float"),
        ({"clock": lambda: 1 / 0}, ValueError, "must return finite seconds, as a float"),
    ],
)
def test_a_wrong_option_is_refused_by_name_value_and_rule(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """At construction, in one form."""
    with pytest.raises(error) as refused:
        RedMetrics(**{"registry": CollectorRegistry(), **options})
    assert message in str(refused.value)
    assert str(refused.value).startswith("RedMetrics(")


def test_options_are_keyword_only() -> None:
    """A positional option would freeze their order."""
    with pytest.raises(TypeError):
        RedMetrics(CollectorRegistry())  # type: ignore[call-arg]  # the point of the test


def boundaries(metrics: RedMetrics) -> list[str]:
    """Return the boundaries of the histogram as a request shows them."""
    count(metrics)
    return [text.split('"')[1] for text in metrics.snapshot() if "_bucket{" in text]


def test_the_default_buckets_are_those_of_opentelemetry() -> None:
    """The semantic conventions' advice for HTTP server durations, in seconds."""
    metrics = RedMetrics(registry=CollectorRegistry())
    assert metrics.buckets == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert boundaries(metrics) == [*map(str, metrics.buckets), "+Inf"]


def test_objectives_become_exact_boundaries() -> None:
    """Merged with the buckets, in order, once each; an explicit +Inf is the one that is there anyway."""
    metrics = fresh_metrics(buckets=(0.1, 1, math.inf), slo_seconds=(0.3, 1, 0.2))
    assert boundaries(metrics) == ["0.1", "0.2", "0.3", "1.0", "+Inf"]


def test_a_request_as_long_as_the_objective_is_within_it(clock: Clock) -> None:
    """Buckets are `le`: less or equal."""
    metrics = fresh_metrics(buckets=[1], slo_seconds=[0.25], clock=clock)
    exchange = begun(metrics)
    exchange.respond(200, "/a")
    clock.seconds += 0.25
    exchange.finish()
    assert metrics.snapshot()['http_request_duration_seconds_bucket{le="0.25",method="GET",route="/a"}'] == 1.0


# Sharing


def test_a_second_one_with_equal_options_shares_the_numbers() -> None:
    """An app factory that runs twice."""
    registry = CollectorRegistry()
    first, second = RedMetrics(registry=registry), RedMetrics(registry=registry)
    count(first, "/a")
    assert requests(first) == requests(second) == {("GET", "/a", "200"): 1}
    assert generate_latest(registry).count(b"http_requests_total{") == 1
    source: dict[str, Any] = {}
    begun(first, source=source)
    assert begin(second, source=source) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": (1.0,)}, "RedMetrics(buckets=(1.0,)): the registry holds a RedMetrics with buckets=(0.005,"),
        ({"slo_seconds": [0.3]}, "RedMetrics(slo_seconds=(0.3,)): the registry holds a RedMetrics with slo_seconds=()"),
        ({"buckets": [1], "slo_seconds": [0.3]}, "RedMetrics(buckets=(1.0,)): the registry holds a RedMetrics with"),
        ({"max_label_sets": 7}, "RedMetrics(max_label_sets=7): the registry holds a RedMetrics with max_label_sets=1"),
        ({"multiprocess_dir": None}, "RedMetrics(multiprocess_dir=None): the registry holds a RedMetrics with"),
        ({"multiprocess_dir": "/run"}, "a RedMetrics with multiprocess_dir='auto'; pass that one as metrics=,"),
        ({"multiprocess_name": "shop"}, "RedMetrics(multiprocess_name='shop'): the registry holds a RedMetrics with"),
        ({"own_metrics": "worker"}, "RedMetrics(own_metrics='worker'): the registry holds a RedMetrics with"),
        ({"own_series_limit": 5}, "RedMetrics(own_series_limit=5): the registry holds a RedMetrics with"),
    ],
)
def test_a_second_one_with_other_options_is_refused(options: dict[str, Any], message: str) -> None:
    """The error names the option that differs, and both values."""
    registry = CollectorRegistry()
    RedMetrics(registry=registry)
    with pytest.raises(ValueError, match=r"RedMetrics") as refused:
        RedMetrics(registry=registry, **options)
    assert message in str(refused.value)


def test_those_that_share_the_numbers_are_one_collector() -> None:
    """Equal, and equal to nothing else; any of them unregisters the numbers."""
    registry = CollectorRegistry()
    first, second = RedMetrics(registry=registry), RedMetrics(registry=registry)
    other = RedMetrics(registry=CollectorRegistry())
    assert {first, second, other} == {second, other}
    assert first != other
    assert first != "first"
    registry.unregister(second)
    assert list(registry.collect()) == []
    count(first, "/a")
    third = RedMetrics(registry=registry)
    assert requests(third) == {}
    assert third != first
    assert RedMetrics(registry=registry) == third


def test_a_name_that_another_metric_took_since_is_not_shared() -> None:
    """The first one is there, but registered no more: its numbers would be seen nowhere."""
    registry = CollectorRegistry()
    first = RedMetrics(registry=registry)
    registry.unregister(first)
    mine = Counter("http_requests", "Mine.", registry=registry)
    with pytest.raises(ValueError, match=r"http_requests.*namespace="):
        RedMetrics(registry=registry)
    registry.unregister(mine)
    assert RedMetrics(registry=registry) != first


def test_a_name_that_another_metric_holds_points_to_the_namespace() -> None:
    """Two owners of one name would be two truths."""
    registry = CollectorRegistry()
    Counter("http_requests", "Mine.", registry=registry)
    with pytest.raises(ValueError, match=r"http_requests.*namespace="):
        RedMetrics(registry=registry)
    assert RedMetrics(registry=registry, namespace="red").snapshot()["red_uptime_seconds_total"] >= 0.0


def test_namespaces_live_side_by_side_in_one_registry() -> None:
    """Every family carries the prefix, our own ones too."""
    registry = CollectorRegistry()
    RedMetrics(registry=registry)
    shop = RedMetrics(registry=registry, namespace="shop")
    assert all(text.startswith("shop_") for text in shop.snapshot())


def test_after_unregistering_a_new_one_begins_at_zero() -> None:
    """Sharing ends with the registration."""
    registry = CollectorRegistry()
    first = RedMetrics(registry=registry)
    count(first, "/a")
    registry.unregister(first)
    second = RedMetrics(registry=registry, buckets=[1])
    assert requests(second) == {}
    assert second != first


def test_a_registry_that_is_gone_is_not_mistaken_for_a_new_one() -> None:
    """Two registries may have the same id, one after the other."""
    for _ in range(5):
        RedMetrics(registry=CollectorRegistry(), buckets=[1])
        gc.collect()
        RedMetrics(registry=CollectorRegistry(), buckets=[2])


def test_a_copy_is_the_same_and_a_pickle_is_refused(metrics: RedMetrics) -> None:
    """Numbers belong to their process."""
    assert copy.copy(metrics) is metrics
    assert copy.deepcopy({"m": metrics})["m"] is metrics
    with pytest.raises(TypeError, match="RedMetrics cannot be pickled"):
        pickle.dumps(metrics)


# The verbs


def test_a_request_is_counted_once_when_it_is_finished(metrics: RedMetrics, clock: Clock) -> None:
    """In progress from start to finish; counted with its status, its route, its seconds."""
    exchange = begun(metrics)
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 1.0
    exchange.respond(200, "/a")
    assert counted(metrics) == {'http_requests_in_progress{method="GET"}': 1.0}
    clock.seconds += 1.25
    exchange.finish()
    exchange.finish()
    assert counted(metrics) == one_request("200", route="/a", seconds=1.25)
    assert metrics.snapshot()['http_errors_total{method="GET",route="/a"}'] == 0.0
    assert metrics.snapshot()['http_request_duration_seconds_bucket{le="0.9",method="GET",route="/a"}'] == 0.0


@pytest.mark.parametrize(("status", "errors"), [(200, 0), (404, 0), (499, 0), (500, 1), (599, 1), (999, 0), ("x", 0)])
def test_5xx_is_an_error_and_nothing_else(metrics: RedMetrics, status: object, errors: int) -> None:
    """4xx is the client's doing."""
    count(metrics, "/a", status)
    assert metrics.snapshot()['http_errors_total{method="GET",route="/a"}'] == errors


def test_the_last_response_before_the_end_holds(metrics: RedMetrics) -> None:
    """PEP 3333 lets an application replace its response; an interim one comes before the one that counts."""
    exchange = begun(metrics)
    for status in (103, 200, 500):
        exchange.respond(status, "/a")
    exchange.finish()
    assert counted(metrics) == one_request("500", route="/a")


@pytest.mark.parametrize("status", [100, 101, 103])
def test_a_status_below_200_counts_if_it_is_the_last(metrics: RedMetrics, status: int) -> None:
    """An app may answer with any; of them only 101 is meant to be final."""
    count(metrics, "/a", status)
    assert counted(metrics) == one_request(f"{status}", route="/a")


def test_an_incomplete_response_is_an_error(metrics: RedMetrics) -> None:
    """The code that was sent stays."""
    exchange = begun(metrics)
    exchange.respond(200, "/a")
    exchange.finish(complete=False)
    assert counted(metrics) == one_request("200", route="/a", error=True)


def test_no_response_is_a_500(metrics: RedMetrics) -> None:
    """The server says so to the client."""
    begun(metrics).finish()
    assert counted(metrics) == one_request("500")


@pytest.mark.parametrize("responds", [False, True])
def test_a_client_that_left_before_the_response_is_499(metrics: RedMetrics, responds: bool) -> None:
    """Whether or not the application answers afterwards; no error."""
    exchange = begun(metrics)
    exchange.disconnect()
    if responds:
        exchange.respond(200, None)
    exchange.raised(ConnectionError())
    exchange.finish(complete=False)
    assert counted(metrics) == one_request("499", left=True)


@pytest.mark.parametrize("status", [200, 500])
def test_a_client_that_left_during_the_body_keeps_the_code(metrics: RedMetrics, status: int) -> None:
    """A disconnect wins over an error, even of a 500; what comes after the end is not seen."""
    exchange = begun(metrics)
    exchange.respond(status, "/a")
    exchange.disconnect()
    exchange.finish(complete=False)
    exchange.disconnect()
    assert counted(metrics) == one_request(str(status), route="/a", left=True)


def test_the_first_exception_of_a_request_is_named(metrics: RedMetrics) -> None:
    """With the route that served it; the framework's signal and the traceback may both tell."""
    exchange = begun(metrics)
    exchange.raised(KeyError())
    exchange.raised(ValueError())
    exchange.respond(500, "/a")
    exchange.finish(complete=False)
    assert counted(metrics) == one_request("500", route="/a", raised="KeyError")


def test_an_exception_after_the_end_is_named_once(metrics: RedMetrics) -> None:
    """A background task; the same exception again is not news."""
    exchange = begun(metrics)
    exchange.respond(200, "/a")
    exchange.finish()
    error = KeyError()
    exchange.raised(error)
    exchange.raised(error)
    exchange.raised(ValueError())
    assert exceptions(metrics) == {("/a", "KeyError"): 1, ("/a", "ValueError"): 1}


def test_the_exception_that_ended_a_request_is_not_counted_again(metrics: RedMetrics) -> None:
    """Reported by the framework, then raised through the middleware."""
    exchange = begun(metrics)
    error = KeyError()
    exchange.raised(error)
    exchange.respond(500, "/a")
    exchange.finish()
    exchange.raised(error)
    assert counted(metrics) == one_request("500", route="/a", raised="KeyError")


def test_an_event_stream_is_timed_until_its_response_began(metrics: RedMetrics, clock: Clock) -> None:
    """It counts at its end."""
    exchange = begun(metrics)
    clock.seconds += 0.125
    exchange.respond(200, "/events", [("Content-Type", "text/event-stream; charset=utf-8")])
    clock.seconds += 3600
    exchange.finish()
    assert counted(metrics) == one_request("200", route="/events", seconds=0.125)


def test_a_method_that_counts_under_another_label_leaves_its_own_gauge(metrics: RedMetrics) -> None:
    """The row is of `_OTHER`, the request was in progress as GET."""
    declare(metrics, [("/dav", ["PROPFIND"])])
    count(metrics, "/dav")
    assert counted(metrics) == one_request("200", method="_OTHER", route="/dav")


@pytest.mark.parametrize("method", ["BREW", "", None, b"GET", ["GET"]])
def test_any_method_can_be_started(metrics: RedMetrics, method: object) -> None:
    """What is no known method, no string, not even hashable, is `_OTHER`."""
    count(metrics, None, method=method)
    assert counted(metrics) == one_request("200", method="_OTHER")


def test_a_route_that_cannot_be_looked_up_is_a_fault_and_counts(metrics: RedMetrics) -> None:
    """Nothing is lost: the request is counted as unmatched."""
    count(metrics, ["/a"])  # type: ignore[arg-type]  # what a user's route_of may return
    assert counted(metrics) == {**one_request("200"), "red_instrumentation_errors_total": 1.0}


# One request, several middlewares


def test_the_outermost_of_one_table_counts(metrics: RedMetrics) -> None:
    """Inner ones pass through."""
    source: dict[str, Any] = {}
    outer = begun(metrics, source=source)
    assert begin(metrics, source=source) is None
    outer.finish()
    begun(metrics, source=source)  # the environ is used for a new request


def test_two_tables_count_one_request_each(metrics: RedMetrics) -> None:
    """Each has numbers of its own."""
    other = fresh_metrics()
    source: dict[str, Any] = {}
    outer, inner = begun(metrics, source=source), begun(other, source=source)
    assert begin(metrics, source=source) is None
    assert begin(other, source=source) is None
    for exchange in (inner, outer):
        exchange.respond(200, "/a")
        exchange.finish()
    assert counted(metrics) == counted(other) == one_request("200", route="/a")


def test_an_environ_used_for_ever_keeps_no_chain_of_requests(metrics: RedMetrics) -> None:
    """Finished exchanges are let go: of all of them the last is in memory."""
    source: dict[str, Any] = {}
    first = begun(metrics, source=source)
    kind, recorder = type(first), first.recorder
    del first

    def kept() -> int:
        gc.collect()
        return sum(type(one) is kind and one.recorder is recorder for one in gc.get_objects())

    assert kept() == 1
    source.clear()
    for _ in range(3):
        begun(metrics, source=source).finish()
    assert kept() == 1


def test_what_is_forgotten_is_not_counted_anywhere(metrics: RedMetrics) -> None:
    """The metrics endpoint of an inner middleware, seen from the outer ones."""
    other = fresh_metrics()
    source: dict[str, Any] = {}
    outer = begun(metrics, source=source, path="/api/metrics")
    inner = begun(other, source=source, path="/metrics")
    inner.forget("/metrics")
    outer.finish()
    inner.finish()
    inner.forget("/metrics")
    assert counted(metrics) == counted(other) == {}


# Faults


@pytest.mark.parametrize("broken", [lambda: 1 / 0, lambda: None, lambda: "now"])
def test_a_broken_clock_loses_no_request(broken: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """Counted with no duration; the fault is counted each time and logged once."""
    asked: list[None] = []

    def clock() -> Any:
        asked.append(None)
        return 0.0 if len(asked) == 1 else broken()  # the first time RedMetrics itself asks

    metrics = fresh_metrics(clock=clock)
    for _ in range(3):
        for status in (200, 500):
            count(metrics, "/a", status)
    assert requests(metrics) == {("GET", "/a", "200"): 3, ("GET", "/a", "500"): 3}
    found = metrics.snapshot()
    assert found['http_errors_total{method="GET",route="/a"}'] == 3.0
    assert found['http_request_duration_seconds_count{method="GET",route="/a"}'] == 6.0
    assert found['http_request_duration_seconds_sum{method="GET",route="/a"}'] == 0.0
    assert faults(metrics) > 0.0
    assert [record.name for record in caplog.records] == ["red_middleware"]


def test_a_clock_that_runs_backwards_makes_no_negative_duration(metrics: RedMetrics, clock: Clock) -> None:
    """A sum that falls would look like a restart to Prometheus."""
    exchange = begun(metrics)
    clock.seconds -= 50
    exchange.respond(200, "/a")
    exchange.finish()
    assert counted(metrics) == one_request("200", route="/a", seconds=0.0)


@pytest.mark.parametrize("is_locked", sorted({True, IS_LOCKED}))
def test_threads_that_are_stopped_wherever_they_can_be_lose_nothing(
    metrics: RedMetrics, is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With locks, as without a GIL, and with what this interpreter does: buckets, sums and statuses are exact."""
    monkeypatch.setattr("red_middleware.counting.exchange.IS_LOCKED", is_locked)

    def record(number: int) -> None:
        for n in range(10_000):
            exchange = begun(metrics)
            exchange.respond(200 + n % 2, "/a")
            exchange.finish(complete=number > 0 or n % 100 > 0)

    run_at_once([partial(record, number) for number in range(4)])
    found = metrics.snapshot()
    assert [n for text, n in found.items() if text.startswith("http_requests_total")] == [20_000.0, 20_000.0]
    assert found['http_request_duration_seconds_count{method="GET",route="/a"}'] == 40_000.0
    assert found['http_errors_total{method="GET",route="/a"}'] == 100.0
    assert found['http_requests_in_progress{method="GET"}'] == 0.0


# The bound


def test_the_bound_is_said_when_it_is_first_known(caplog: pytest.LogCaptureFixture) -> None:
    """Once, as rows x (buckets + 21) + 1878; it is also a metric and a method."""
    metrics = RedMetrics(registry=CollectorRegistry())
    with caplog.at_level(logging.INFO, "red_middleware"):
        declare(metrics, [])
        declare(metrics, [("/a", ["GET"])])
    assert [record.getMessage() for record in caplog.records] == [
        "at most 36878 time series: 1000 label sets, 35837 cells"
    ]
    assert metrics.bound()._asdict() == {"rows": 1000, "cells": 35837, "series": 1000 * (14 + 21) + 1878}
    assert metrics.snapshot()["red_series_limit"] == 36878.0


def test_a_table_that_is_too_small_for_the_routes_is_raised_once(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning that names the option, and the new bound."""
    metrics = RedMetrics(registry=CollectorRegistry(), max_label_sets=10)
    with caplog.at_level(logging.INFO, "red_middleware"):
        declare(metrics, [])
        declare(metrics, [(f"/{n}", ["GET"]) for n in range(20)])
        declare(metrics, [("/late", ["GET"])])
        declare(metrics, [("/later", ["GET"])])
    needed = "the declared routes, _unmatched and _overflow need"
    assert [record.getMessage() for record in caplog.records] == [
        f"RedMetrics(max_label_sets=10): raised to 22, which {needed}. No row is left for other routes",
        "at most 2648 time series: 22 label sets, 2585 cells",
        f"RedMetrics(max_label_sets=10): raised to 42, which {needed}. No row is left for other routes",
        "at most 3348 time series: 42 label sets, 3265 cells",
        "RedMetrics(max_label_sets=10): no rows left for 1 routes declared late; they may count as _overflow",
    ]


@pytest.mark.parametrize("options", [{"naming": "otel"}, {"labels": {"tenant": Label(max_values=9)}}])
def test_a_table_that_is_full_of_declared_routes_says_what_its_labels_show(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """With OpenTelemetry's names, no request would have a status."""
    declare(fresh_metrics(max_label_sets=1, **options), [("/a", ["GET"])])
    (record,) = caplog.records
    assert record.getMessage().endswith(" No row is left for other routes, nor for values of labels: all are _OTHER")


def test_every_row_filled_to_the_brim_makes_exactly_the_bound() -> None:
    """The formula is reached, not only respected."""
    metrics = fresh_metrics(max_label_sets=30)
    routes: Iterator[str | None] = iter([None, "/" + "x" * 300, *(f"/{n}" for n in range(8))])
    for route in routes:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY", "BREW"):
            for status in range(200, 220):
                exchange = begun(metrics, method)
                exchange.respond(status, route)
                exchange.raised(type(f"E{status}{method}{route}"[:20], (Exception,), {})())
                exchange.finish()
            exchange = begun(metrics, method)
            exchange.respond(200, route)
            exchange.disconnect()
            exchange.finish()
    for n in range(300):
        exchange = begun(metrics)
        exchange.respond(200, None)
        exchange.raised(type(f"Error{n}", (Exception,), {})())
        exchange.finish()
    for n in range(40):
        for code in range(20):
            connection = connect(recorder_of(metrics), {}, "/")
            assert connection is not None
            route = None if n == 39 else f"/{n}"
            if code:
                connection.refuse(200 + code, route)
            else:
                connection.accept(route)
                connection.close(1000)
        for code in range(20):
            connection = connect(recorder_of(metrics), {}, "/")
            assert connection is not None
            connection.accept(None if n == 39 else f"/{n}")
            connection.close(1000 + code)
    assert len(metrics.snapshot()) == metrics.bound().series == metrics.snapshot()["red_series"]
    assert len(generate_latest(metrics.registry).splitlines()) == metrics.bound().series + 2 * len(
        list(metrics.describe())
    )


# For users' tests


def test_a_snapshot_reads_like_the_exposition(metrics: RedMetrics) -> None:
    """The key of a sample is its text at the endpoint."""
    count(metrics, '/"quoted"\\\n')
    text = generate_latest(metrics.registry).decode()
    for sample in metrics.snapshot():
        assert f"\n{sample} " in text


def test_clear_begins_anew(metrics: RedMetrics) -> None:
    """For the next test; a request in progress stays in progress."""
    running = begun(metrics)
    exchange = begun(metrics)
    exchange.respond(500, "/a")
    exchange.raised(KeyError())
    exchange.finish()
    metrics.clear()
    assert counted(metrics) == {'http_requests_in_progress{method="GET"}': 1.0}
    assert not any("/a" in text for text in metrics.snapshot())
    running.finish()
    assert counted(metrics) == one_request("500")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": [1, 2]}, "RedMetrics(buckets=[1.0, 2.0]): these are seconds, and look like milliseconds"),
        ({"buckets": [5, 10, 25]}, "RedMetrics(buckets=[5.0, 10.0, 25.0]): these are seconds, and look like"),
        ({"slo_seconds": [300]}, "RedMetrics(slo_seconds=[300.0]): these are seconds, and look like milliseconds"),
        ({"slo_seconds": [60.5, 0.1]}, "RedMetrics(slo_seconds=[0.1, 60.5]): these are seconds, and look like"),
        ({"buckets": [0.99, 5000], "slo_seconds": [60]}, None),
        ({"size_buckets": [5]}, "RedMetrics(size_buckets=[5.0]): no sizes are counted without sizes=True"),
        ({"size_buckets": [5], "sizes": True}, None),
        ({"slo_latency": 0.9}, "RedMetrics(slo_latency=0.9): there is no objective to aim at without slo_seconds="),
        ({"slo_latency": 0.9, "slo_seconds": [1]}, None),
    ],
)
def test_what_looks_like_a_mistake_is_warned_of(
    options: dict[str, Any], message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for the numbers, and not for each handle on them: they may be meant."""
    registry = CollectorRegistry()
    for _ in range(2):
        RedMetrics(registry=registry, **options)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (message is not None)
    assert message is None or found[0].startswith(message)


@pytest.mark.parametrize("name", ["uptime_seconds", "uptime_seconds_total"])
@pytest.mark.parametrize("namespace", ["", "shop"])
def test_an_uptime_that_is_held_by_another_metric_is_left_out(
    name: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a name that others may have, too. One warning says so, and the rest works."""
    registry = CollectorRegistry()
    full = f"{namespace}_{name}" if namespace else name
    theirs = Gauge(full, "Held by another package.", registry=registry)
    theirs.set(7)
    metrics = RedMetrics(registry=registry, namespace=namespace)
    assert RedMetrics(registry=registry, namespace=namespace) == metrics
    count(metrics)
    shown = {sample.name for family in registry.collect() for sample in family.samples}
    ours = f"{namespace}_http_requests_total" if namespace else "http_requests_total"
    assert {full, ours} <= shown
    assert not any("uptime" in text for text in metrics.snapshot())
    assert b"uptime_seconds" not in generate_latest(registry).replace(full.encode(), b"")
    assert answer(metrics, Request()).body.count(f"\n{full} 7.0\n".encode()) == 1
    (record,) = caplog.records
    assert "uptime_seconds_total is held by another metric of the registry, and left out here" in record.getMessage()


def test_uptime_is_monotonic_seconds_since_the_numbers_began(metrics: RedMetrics, clock: Clock) -> None:
    """By the same clock as durations."""
    clock.seconds += 12.5
    assert metrics.snapshot()["uptime_seconds_total"] == 12.5


# Threads


def test_threads_lose_nothing(metrics: RedMetrics) -> None:
    """Eight threads, one row, every cell exact."""

    def work() -> None:
        for n in range(2000):
            exchange = begun(metrics)
            exchange.respond(500 if n % 4 == 0 else 200, "/a")
            if n % 8 == 0:
                exchange.raised(KeyError())
            exchange.finish()

    run_at_once([work] * 8)
    assert counted(metrics, "http_requests", "http_errors", "http_exceptions", "http_client", "red_instr") == {
        'http_requests_total{method="GET",route="/a",status="200"}': 12000.0,
        'http_requests_total{method="GET",route="/a",status="500"}': 4000.0,
        'http_errors_total{method="GET",route="/a"}': 4000.0,
        'http_exceptions_total{exception="KeyError",route="/a"}': 2000.0,
    }
    assert metrics.snapshot()['http_request_duration_seconds_count{method="GET",route="/a"}'] == 16000.0


# What the application may do with what it gets


def test_a_scope_that_is_copied_or_pickled_stays_the_applications(metrics: RedMetrics) -> None:
    """The exchange in it goes along as itself, and never into a pickle."""
    source: dict[str, Any] = {}
    exchange = begun(metrics, source=source)
    (key,) = source
    assert copy.deepcopy(source)[key] is copy.copy(exchange) is exchange
    pickled = pickle.loads(pickle.dumps(source))
    assert pickled == {key: None}
    begun(metrics, source=pickled)


def test_a_logging_filter_that_raises_harms_no_request(metrics: RedMetrics) -> None:
    """A filter may ask for a request context that is not there yet."""

    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError

    logger, broken = logging.getLogger("red_middleware"), Broken()
    logger.addFilter(broken)
    try:
        fault(metrics, "test", ValueError())
    finally:
        logger.removeFilter(broken)
    assert faults(metrics) == 1.0


def test_an_exception_whose_class_hides_its_name_is_named(metrics: RedMetrics) -> None:
    """The name is read past the metaclass."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]  # the point of the test
            raise RuntimeError

    class HiddenError(Exception, metaclass=Meta):
        pass

    exchange = begun(metrics)
    exchange.respond(500, "/a")
    exchange.raised(HiddenError())
    exchange.finish()
    assert exceptions(metrics) == {("/a", "HiddenError"): 1}
