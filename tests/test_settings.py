"""What the environment may say in place of an option that is not given."""

import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.applications import Starlette

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.settings import BUCKETS, EXCLUDE, MAX_LABEL_SETS, METRICS_PATH, NAMESPACE

from .counts import counted, fresh_metrics, requests
from .drive import ask_asgi
from .scenarios import HELLO
from .test_parity import Protocol, both


def made(**options: Any) -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry(), **options)


def test_the_options_of_the_metrics_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where code gives none. Spaces around a number are none of it."""
    monkeypatch.setenv(NAMESPACE.variable, "shop")
    monkeypatch.setenv(BUCKETS.variable, "0.1, 0.5,2")
    monkeypatch.setenv(MAX_LABEL_SETS.variable, "50")
    metrics = made()
    assert (metrics.namespace, metrics.buckets, metrics.max_label_sets) == ("shop", (0.1, 0.5, 2.0), 50)
    assert "shop_uptime_seconds_total" in metrics.snapshot()


def test_an_option_in_code_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that is the default, and whatever the variable says: nobody looks at it."""
    for setting in (NAMESPACE, BUCKETS, MAX_LABEL_SETS, METRICS_PATH, EXCLUDE):
        monkeypatch.setenv(setting.variable, "?")
    metrics = made(namespace="", buckets=BUCKETS.default, max_label_sets=1000)
    assert (metrics.namespace, metrics.buckets, metrics.max_label_sets) == ("", BUCKETS.default, 1000)
    middleware: Any = RedWSGIMiddleware(lambda *_: [], metrics=metrics, metrics_path="/metrics", exclude=())
    assert middleware.mounting.special == {"/metrics", "/metrics/"}
    middleware = RedASGIMiddleware(Starlette(), metrics=metrics, metrics_path=None, exclude=["/a"])
    assert middleware.mounting.special == {"/a"}


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is not there."""
    for setting in (NAMESPACE, BUCKETS, MAX_LABEL_SETS, METRICS_PATH, EXCLUDE):
        monkeypatch.setenv(setting.variable, "")
    metrics = made()
    assert (metrics.namespace, metrics.buckets, metrics.max_label_sets) == ("", BUCKETS.default, 1000)


@pytest.mark.parametrize(
    ("variable", "text", "rule"),
    [
        ("RED_NAMESPACE", "my-shop", "RedMetrics(namespace='my-shop'): must be letters, digits and underscores"),
        ("RED_BUCKETS", "1,0.5", "RedMetrics(buckets=[1.0, 0.5]): must be strictly increasing seconds > 0"),
        ("RED_BUCKETS", "5ms", "must be seconds, separated by commas"),
        ("RED_BUCKETS", "0.1;0.5", "must be seconds, separated by commas"),
        ("RED_BUCKETS", "nan", "RedMetrics(buckets=[nan]): must be strictly increasing seconds > 0"),
        ("RED_MAX_LABEL_SETS", "many", "must be an integer"),
        ("RED_MAX_LABEL_SETS", "0", "RedMetrics(max_label_sets=0): must be at least 1"),
        ("RED_METRICS_PATH", "metrics", "Red{}Middleware(metrics_path='metrics'): must start with /"),
        ("RED_EXCLUDE", "/a,b", "Red{}Middleware(exclude='b'): must start with /"),
        ("RED_EXCLUDE", "/a?b", "Red{}Middleware(exclude='/a?b'): must be a path without a query"),
        ("RED_ENABLED", "maybe", "must be true or false"),
    ],
)
@both
def test_a_wrong_value_is_refused_as_the_option_is_and_named(
    protocol: Protocol, variable: str, text: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At construction."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=variable) as refused:
        protocol.middleware(protocol.app(*HELLO), metrics=made())
    assert str(refused.value).startswith(f"{variable}={text!r}: {rule.format(protocol.name)}")


@both
def test_the_endpoint_and_what_is_excluded_come_from_the_environment(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every form but a function; a comma in the parameter of a template separates nothing."""
    monkeypatch.setenv("RED_METRICS_PATH", "/numbers")
    monkeypatch.setenv("RED_EXCLUDE", "/healthz, /static/* ,OPTIONS /*,/<any(a,b):x>/{y:re(c,d)},")
    metrics = fresh_metrics()
    routes: list[str | None] = [None, None, None, "/<any(a,b):x>/{y:re(c,d)}", None]
    app = protocol.middleware(protocol.app(*HELLO), metrics=metrics, route_of=lambda _: routes.pop())
    protocol.serve(app, protocol.request("/metrics"))
    protocol.serve(app, protocol.request("/b"))
    assert requests(metrics) == {("GET", "_unmatched", "200"): 1}
    for path, method in (("/healthz", "GET"), ("/static/a", "GET"), ("/b", "OPTIONS"), ("/numbers", "GET")):
        protocol.serve(app, protocol.request(path, method))
    assert requests(metrics) == {("GET", "_unmatched", "200"): 1}
    assert len(routes) == 3


@both
@pytest.mark.parametrize("text", ["false", "0", "No", " off "])
def test_a_middleware_that_is_not_enabled_passes_requests_on(
    protocol: Protocol, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is counted, and the endpoint's path is the application's."""
    metrics = fresh_metrics()
    monkeypatch.setenv("RED_ENABLED", text)
    for path in ("/hello", "/metrics"):
        assert protocol.is_as_without(protocol.app(*HELLO), protocol.request(path), metrics=metrics)
    assert counted(metrics) == {}


@both
@pytest.mark.parametrize("text", ["true", "1", "YES", "on"])
def test_a_middleware_that_is_enabled_counts(protocol: Protocol, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does without the variable."""
    monkeypatch.setenv("RED_ENABLED", text)
    metrics = fresh_metrics()
    protocol.serve(protocol.middleware(protocol.app(*HELLO), metrics=metrics))
    assert sum(requests(metrics).values()) == 1


@pytest.mark.parametrize("middleware", [RedASGIMiddleware, RedWSGIMiddleware])
def test_what_is_not_enabled_registers_nothing_and_is_checked(middleware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default numbers are shown nowhere. A wrong option would only come to light when it is enabled again."""
    monkeypatch.setenv("RED_ENABLED", "false")
    off = middleware(lambda *_: None)
    assert off.metrics.registry is not REGISTRY
    assert off.metrics.snapshot()["red_series"] > 0
    with pytest.raises(ValueError, match="must start with /"):
        middleware(lambda *_: None, exclude=["healthz"])


def test_a_wrong_variable_makes_no_500_in_starlette(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It constructs its middlewares when it serves already."""
    monkeypatch.setenv("RED_BUCKETS", "5ms")
    app = Starlette()
    app.add_middleware(RedASGIMiddleware)
    assert ask_asgi(app, "/metrics").status == 404
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("RED_BUCKETS='5ms': must be seconds, separated by commas. ")


def test_a_setting_reads_well_where_help_shows_it() -> None:
    """The default of an option, in a signature."""
    assert repr(NAMESPACE) == "$RED_NAMESPACE or ''"
