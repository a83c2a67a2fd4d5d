"""`naming="otel"`: the names and labels of OpenTelemetry's semantic conventions, with the same bound and exactness."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from red_middleware import Label, RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.detailed import start_detailed
from red_middleware.counting.labels import METHODS
from red_middleware.families import otel
from red_middleware.metrics import recorder_of

from .counts import counted, faults, fresh_metrics
from .drive import ASGIServer, ask_wsgi, declare, scope
from .e2e import require_packages

DURATION = f"{otel.DURATION}_count"
ACTIVE = "http_server_active_requests"


def fresh(**options: Any) -> RedMetrics:
    return fresh_metrics(naming="otel", **options)


def count(
    metrics: RedMetrics,
    route: str | None = "/a",
    status: int = 200,
    error: BaseException | None = None,
    complete: bool = True,
    **source: Any,
) -> None:
    """Count a request."""
    exchange = start_detailed(recorder_of(metrics), "GET", {"scheme": "https", "http_version": "2", **source})
    assert exchange is not None
    if error is not None:
        exchange.raised(error)
    exchange.respond(status, route)
    exchange.finish(complete=complete)


def labels(metrics: RedMetrics, name: str = DURATION) -> list[dict[str, str]]:
    """Return the labels of the series of a name that are not zero."""
    return [dict(re.findall(r'(\w+)="([^"]*)"', text)) for text in counted(metrics, name)]


def test_a_request_has_its_attributes() -> None:
    """What an attribute has not is left out: the route of none, the error type of a success."""
    metrics = fresh()
    count(metrics)
    count(metrics, None, 404)
    known = {"http_request_method": "GET", "url_scheme": "https", "network_protocol_version": "2"}
    assert labels(metrics) == [
        {**known, "http_route": "/a", "http_response_status_code": "200"},
        {**known, "http_response_status_code": "404"},
    ]


@pytest.mark.parametrize(
    ("source", "scheme", "version"),
    [
        ({"scheme": "http", "http_version": "1.1"}, "http", "1.1"),
        ({"scheme": "https", "http_version": "3"}, "https", "3"),
        ({"scheme": "gopher", "http_version": "0.9"}, "_OTHER", "_OTHER"),
        ({"scheme": [], "http_version": []}, "_OTHER", "_OTHER"),
        ({"scheme": "", "http_version": "", "wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.0"}, "http", "1.0"),
        ({"scheme": None, "http_version": None}, "_OTHER", "_OTHER"),
        ({"http_version": "", "SERVER_PROTOCOL": "HTTP/2.0"}, "https", "2"),
        ({"http_version": "3.0"}, "https", "3"),
        ({"http_version": ["2"]}, "https", "_OTHER"),
    ],
)
def test_schemes_and_versions_are_closed(source: dict[str, Any], scheme: str, version: str) -> None:
    """Whatever a client or a proxy says of itself, in both protocols."""
    metrics = fresh()
    count(metrics, **source)
    (found,) = labels(metrics)
    assert (found["url_scheme"], found["network_protocol_version"]) == (scheme, version)
    assert [one["url_scheme"] for one in (labels(metrics, ACTIVE) or [found])] == [scheme]
    assert faults(metrics) == 0


def test_an_error_has_a_type() -> None:
    """The exception's class, else the status, else `_OTHER`: a response that was cut. A 404 is no error."""
    metrics = fresh()
    count(metrics, status=500, error=KeyError())
    count(metrics, status=503)
    count(metrics, complete=False)
    count(metrics, status=404, error=LookupError())
    exchange = start_detailed(recorder_of(metrics), "GET", {})
    assert exchange is not None
    exchange.finish(complete=False)
    found = [(one["http_response_status_code"], one.get("error_type")) for one in labels(metrics)]
    assert found == [("500", "KeyError"), ("503", "503"), ("200", "_OTHER"), ("404", None), ("500", "500")]


def test_error_types_are_bounded() -> None:
    """The first 64; then `_OTHER`."""
    metrics = fresh()
    for n in range(otel.MOST_ERRORS + 10):
        count(metrics, status=500, error=type(f"E{n}", (Exception,), {})())
    count(metrics, "/b", status=500, error=type("E3", (Exception,), {})())
    count(metrics, "/b")
    found = [one.get("error_type") for one in labels(metrics)]
    assert found == [*(f"E{n}" for n in range(otel.MOST_ERRORS)), "_OTHER", "E3", None]
    assert sum(counted(metrics, DURATION).values()) == otel.MOST_ERRORS + 12


def test_a_full_table_keeps_declared_routes_and_totals() -> None:
    """What finds no room loses its attributes first, its route only if that was not declared."""
    metrics = fresh(max_label_sets=26)
    declare(metrics, [("/a", ["GET"]), ("/b", ["GET"])])
    for n in range(100):
        count(metrics, "/a", 200 + n)
        count(metrics, "/b", 300)
        count(metrics, f"/x{n}")
    found: dict[str, float] = {}
    for text, value in counted(metrics, DURATION).items():
        route = dict(re.findall(r'(\w+)="([^"]*)"', text)).get("http_route", "")
        found[route] = found.get(route, 0.0) + value
    assert (found["/a"], found["/b"], sum(found.values())) == (100.0, 100.0, 300.0)
    assert found["_overflow"] >= 98.0
    shown = sum(1 for name in metrics.snapshot() if not name.startswith("websocket"))
    assert shown <= metrics.bound().series


def test_a_full_table_still_tells_what_failed() -> None:
    """Else an alert would take the failures of a busy app for successes. A row for those of each route is reserved."""
    metrics = fresh(max_label_sets=1)
    declare(metrics, [("/a", ["GET", "POST"])])
    assert metrics.bound().rows == 2 * len(METHODS) + 2 + 3
    for route in ("/a", "/late"):
        count(metrics, route, 200)
        count(metrics, route, 503)
        count(metrics, route, 500, KeyError())
    found = counted(metrics, DURATION)
    known = (
        'http_request_method="%s",http_response_status_code="_OTHER",http_route="%s",network_protocol_version="_OTHER"'
    )
    assert found == {
        f'{DURATION}{{{failed}{known % (method, route)},url_scheme="_OTHER"}}': n
        for route in ("/a", "_overflow")
        for failed, method, n in (("", "GET", 1.0), ('error_type="_OTHER",', "_OTHER", 2.0))
    }


def test_many_declared_routes_leave_room_for_what_tells_their_requests_apart() -> None:
    """With the default limit, 200 routes of Flask must not reserve all rows: no status would be shown."""
    metrics = fresh(max_label_sets=1000)
    declare(metrics, [(f"/{n}", ["GET", "HEAD", "OPTIONS"]) for n in range(200)])
    count(metrics, "/0", 201)
    assert metrics.bound().rows == 1000
    assert [one["http_response_status_code"] for one in labels(metrics)] == ["201"]


def test_only_what_an_attribute_has_not_is_left_out() -> None:
    """What an application or a client calls alike is a value as any other."""
    metrics = fresh(labels={"tenant": Label(max_values=1, key="tenant")})
    count(metrics, status=500, error=type("_unmatched", (Exception,), {})(), tenant="_unmatched")
    (found,) = labels(metrics)
    assert (found["error_type"], found["tenant"]) == ("_unmatched", "_unmatched")


def test_there_are_no_counters_beside_the_duration() -> None:
    """Requests, errors and exceptions are in its labels."""
    names = {family.name for family in recorder_of(fresh(sizes=True, first_byte=True)).families}
    assert not any(name.startswith(("http_requests", "http_errors", "http_exceptions")) for name in names)
    assert {otel.DURATION, ACTIVE, "http_server_request_body_size_bytes", "http_time_to_first_byte_seconds"} <= names


@pytest.mark.parametrize(
    "option", [{"duration_status": "class"}, {"status_classes": True}, {"in_progress_by_route": True}]
)
def test_options_of_our_own_labels_do_not_go_with_it(option: dict[str, Any]) -> None:
    """The conventions say which labels there are."""
    with pytest.raises(ValueError, match='does not go with naming="otel"'):
        fresh(**option)


def test_a_name_of_a_label_that_is_an_attribute_is_refused() -> None:
    """With our own names it may be one."""
    label = {"url_scheme": Label(values=["http"], key="wsgi.url_scheme")}
    assert fresh_metrics(labels=label).labels == label
    with pytest.raises(ValueError, match='url_scheme is taken with naming="otel"'):
        fresh(labels=label)
    with pytest.raises(ValueError, match='must be "red" or "otel"'):
        fresh_metrics(naming="OTel")


def test_labels_of_the_users_own_stand_beside_the_attributes() -> None:
    """On the duration, if nothing else is said."""
    metrics = fresh(labels={"tenant": Label(values=["acme"], key="tenant")}, sizes=True)
    count(metrics, tenant="acme")
    assert [one["tenant"] for one in labels(metrics)] == ["acme"]
    assert not any("tenant" in name for name in metrics.snapshot() if "size" in name)


def test_requests_in_progress_are_told_apart_by_scheme() -> None:
    """The gauge goes back to zero, under the same labels."""
    metrics = fresh()
    exchange = start_detailed(recorder_of(metrics), "GET", {"scheme": "https"})
    assert exchange is not None
    name = f'{ACTIVE}{{http_request_method="GET",url_scheme="https"}}'
    assert metrics.snapshot()[name] == 1.0
    exchange.respond(200, "/a")
    exchange.finish()
    assert metrics.snapshot()[name] == 0.0


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_both_protocols_say_the_same(protocol: str) -> None:
    """From the environ and from the scope."""
    metrics = fresh()

    def wsgi(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("201 Created", [("Content-Type", "text/plain")])
        return [b"x"]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    if protocol == "wsgi":
        wrapped = RedWSGIMiddleware(wsgi, metrics=metrics, route_of=lambda environ: "/a")
        ask_wsgi(wrapped, "/a", environ={"SERVER_PROTOCOL": "HTTP/1.1"})
    else:
        ASGIServer().serve(RedASGIMiddleware(asgi, metrics=metrics, route_of=lambda scope: "/a"), scope("/a"))
    assert labels(metrics) == [
        {
            "http_request_method": "GET",
            "http_response_status_code": "201",
            "http_route": "/a",
            "network_protocol_version": "1.1",
            "url_scheme": "http",
        }
    ]


OTHERS = """
import os
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.{protocol} import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest, CollectorRegistry
from prometheus_client import REGISTRY
provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
from tests.test_otel import serve_others
serve_others("{protocol}", lambda app: OpenTelemetryMiddleware(app, meter_provider=provider))
print(generate_latest(REGISTRY).decode())
"""


def serve_others(protocol: str, wrap: Callable[[Any], Any]) -> None:
    """Serve a success and a failure by one of the protocols."""

    def wsgi(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK" if environ["PATH_INFO"] == "/a" else "503 No", [("Content-Type", "text/plain")])
        return [b"x"]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200 if scope["path"] == "/a" else 503, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    for path in ("/a", "/b"):
        if protocol == "wsgi":
            ask_wsgi(wrap(wsgi), path, environ={"SERVER_PROTOCOL": "HTTP/1.1"}, validate=False)
        else:
            ASGIServer().serve(wrap(asgi), scope(path))


@pytest.mark.once
@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_names_and_labels_are_those_of_opentelemetrys_own_instrumentation(protocol: str) -> None:
    """Beside it: every label of its series has the same value in ours. It knows no route here, and no error of WSGI."""
    require_packages(f"opentelemetry.instrumentation.{protocol}", "opentelemetry.exporter.prometheus")
    command = [sys.executable, "-W", "ignore", "-c", OTHERS.format(protocol=protocol)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    metrics = fresh(registry=CollectorRegistry(), buckets=(0.005, 0.01))
    serve_others(
        protocol, lambda app: (RedWSGIMiddleware if protocol == "wsgi" else RedASGIMiddleware)(app, metrics=metrics)
    )
    ours = {family.name: family for family in metrics.collect()}
    compared = 0
    for family in text_string_to_metric_families(text):
        if family.name not in (otel.DURATION, ACTIVE):
            continue
        mine = ours[family.name]
        assert (mine.type, mine.documentation) == (family.type, family.documentation)
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if value and name != "le"}
            theirs = {name: value for name, value in labels.items() if not name.startswith("otel_scope")}
            if sample.name.endswith("_created"):
                continue
            same = [one for one in mine.samples if one.name == sample.name and theirs.items() <= one.labels.items()]
            assert same, (sample, mine.samples)
            compared += 1
    assert compared > 10
