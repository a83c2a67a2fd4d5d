"""The one line, and every option, as a type checker sees them."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import fastapi
import flask
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware

import red_middleware
from red_middleware import Label, RedASGIMiddleware, RedMetrics, RedWSGIMiddleware, set_label, uncounted, unsized

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from starlette.types import ASGIApp, Receive, Scope, Send


def test_the_public_names_are_few() -> None:
    """Sorted, and nothing else; each can be imported."""
    assert red_middleware.__all__ == [
        "BasicCredentials",
        "BearerToken",
        "Label",
        "RedASGIMiddleware",
        "RedMetrics",
        "RedWSGIMiddleware",
        "metrics_app",
        "serve_metrics",
        "set_label",
        "uncounted",
        "unsized",
    ]
    for name in (
        "serving",
        "endpoint_app",
        "wsgi",
        "asgi",
        "views",
    ):  # no module takes the place of a name when it is imported
        importlib.import_module(f"red_middleware.{name}")
    assert all(callable(getattr(red_middleware, name)) for name in red_middleware.__all__)
    assert sorted(red_middleware.__all__) == red_middleware.__all__


def test_the_package_is_typed() -> None:
    """PEP 561."""
    assert files("red_middleware").joinpath("py.typed").is_file()
    assert importlib.metadata.version("red-middleware") == red_middleware.__version__


def test_flask_is_wrapped_in_one_line() -> None:
    """As the README has it; Flask's own documentation assigns over the method as well."""
    app = flask.Flask(__name__)
    app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=fresh())  # type: ignore[method-assign]  # Flask's way
    assert app.test_client().get("/metrics").status_code == 200


def test_fastapi_and_starlette_are_wrapped_in_one_line() -> None:
    """Added last, so that it is outermost; or from outside; or in the list of middlewares."""
    api = fastapi.FastAPI()
    api.add_middleware(RedASGIMiddleware, metrics=fresh(), exclude=["/healthz"])
    site = Starlette(middleware=[Middleware(RedASGIMiddleware, metrics=fresh(), metrics_path=None)])
    outside: ASGIApp = RedASGIMiddleware(site, metrics=fresh(), route_of=lambda scope: scope["path"])
    assert callable(outside)


def test_any_callable_of_the_protocol_is_wrapped() -> None:
    """With the annotations of the standard library, of Starlette, or of the user."""

    def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b""]

    async def mine(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def starlettes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    wsgi: WSGIApplication = RedWSGIMiddleware(plain, metrics=fresh())
    asgi: list[ASGIApp] = [RedASGIMiddleware(mine, metrics=fresh()), RedASGIMiddleware(starlettes, metrics=fresh())]
    assert callable(wsgi)
    assert len(asgi) == 2


def test_a_type_checker_refuses_what_the_constructors_refuse() -> None:
    """Though they look at the names themselves: each comment below would be reported if it were not needed."""
    app = flask.Flask(__name__)
    with pytest.raises(TypeError):
        RedWSGIMiddleware(app, buckets=[1])  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(TypeError):
        RedWSGIMiddleware(app, fresh())  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(TypeError):
        RedMetrics(exclude=["/a"])  # type: ignore[call-arg]  # the point of the test
    Starlette().add_middleware(RedASGIMiddleware, excluded=["/a"])  # type: ignore[call-arg]  # the point of the test


def test_a_mark_keeps_the_type_of_the_view() -> None:
    """Of a function, an async one, a class and a method; sizes are left out by the same texts as requests."""

    @uncounted
    def plain(item: int) -> str:
        return str(item)

    @unsized
    @uncounted
    async def later(item: int) -> str:
        return str(item)

    @uncounted
    class View:
        @unsized
        def get(self) -> bytes:
            return b""

    functions: tuple[Callable[[int], str], Callable[[int], Awaitable[str]]] = plain, later
    kind: type[View] = View
    body: bytes = kind().get()
    assert (functions[0](4), body) == ("4", b"")
    RedWSGIMiddleware(flask.Flask(__name__), metrics=fresh(), exclude_sizes={"/a", "/b/*", "GET /c/<d>"})
    with pytest.raises(TypeError):
        uncounted("/healthz")  # type: ignore[type-var]  # the point of the test


def test_a_label_is_set_with_an_environ_a_scope_or_a_request() -> None:
    """Whatever the framework calls a request; what a label or an option cannot be is an error for a type checker."""
    environ: WSGIEnvironment = {}
    requests: tuple[Any, ...] = ({}, environ, object())
    for request in requests:
        set_label(request, "plan", "gold")
        set_label(request, "plan", 7)
    with pytest.raises(TypeError):
        Label(["acme"])  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(TypeError):
        Label(values=[7])  # type: ignore[list-item]  # the point of the test
    with pytest.raises(ValueError, match="must be"):
        RedMetrics(registry=CollectorRegistry(), duration_status="codes")  # type: ignore[arg-type]  # the point, too


def fresh() -> RedMetrics:
    """Return numbers of their own, with every option."""
    metrics = RedMetrics(
        registry=CollectorRegistry(),
        namespace="shop",
        buckets=(0.1, 1),
        slo_seconds=[0.3],
        slo_availability=0.999,
        slo_latency=0.95,
        max_label_sets=100,
        naming="red",
        labels={
            "tenant": Label(values={"acme", "globex"}, header="x-tenant", families=["http_requests_total"]),
            "plan": Label(max_values=8),
            "user": Label(max_values=8, of=lambda source: source.get("user")),
            "cache": Label(values=("hit", "miss"), response_header="x-cache"),
            "version": Label(constant="1.4"),
        },
        sizes=True,
        size_buckets=(100, 1e6),
        duration_status="class",
        status_classes=True,
        in_progress_by_route=True,
        saturation=True,
        clock=lambda: 0.0,
    )
    snapshot: dict[str, float] = metrics.snapshot()
    rows: int = metrics.bound().rows
    assert snapshot
    assert rows == 100
    metrics.clear()
    return metrics
