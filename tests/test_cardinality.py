"""Hostile clients: 300,000 requests of any kind, and the series, the scrape and the memory stay within the bound.

So do 100,000 WebSockets; `python -m tests.sockets` lets a million come. `routes/test_hostile` has every framework.
"""

import asyncio
import gc
import random
import string
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Host, Mount, Route

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.exposition import Request, answer

from .counts import faults, fresh_metrics, total
from .counts import routes as counted_routes
from .drive import ASGIServer, Receive, Scope, Send, StartResponse, WSGIServer, declare, environ, scope
from .sockets import measured

pytestmark = pytest.mark.once

REQUESTS = 300_000
THIRD = REQUESTS // 3
SOCKETS = 100_000

METHODS = ["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "get", "BREW", "\udcff\udcfe", ""]
STATUSES = [*range(200, 600, 7), 100, 0, 999, -1]


class Hostile:
    """Random requests, the same in every run."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.texts = ["".join(self.random.choices(string.printable + "äé\x00€", k=12)) for _ in range(500)]

    def method(self) -> str:
        """Return a known method, or one that is not."""
        pick = self.random
        return pick.choice(METHODS) if pick.random() < 0.9 else pick.choice(self.texts)

    def path(self) -> str:
        """Return a path that is new, or of a declared route with new parameters, sometimes a long one."""
        n = self.random.getrandbits(60)
        shape = self.random.choice(
            (
                "/{0}",
                "/items/{0}",
                "/t/{0}/x",
                "/t/{0}/nope",
                "/hello",
                "/hello/",
                "/{0}{1}",
                "/echo/{0}",
                "/" + "a" * 300,
            )
        )
        return shape.format(n, self.random.choice(self.texts))

    def status(self) -> int:
        """Return a status, mostly one that exists."""
        status: int = self.random.choice(STATUSES)
        return status


def drive_wsgi(app: Callable[..., Any], hostile: Hostile, count: int) -> None:
    """Send requests as a server does that lets everything through."""
    for _ in range(count):
        path = hostile.path().encode("utf-8", "surrogateescape").decode("latin-1")  # as PEP 3333 has it
        host, status = hostile.random.choice(hostile.texts), f"{hostile.status()} x"
        request = environ(path, hostile.method(), **{"HTTP_HOST": host, "shop.status": status})
        check(WSGIServer().serve(app, request).raised)


def drive_asgi(
    app: Callable[..., Any], hostile: Hostile, count: int, run: Callable[[Any], object] | None = None
) -> None:
    """Send requests as a server does that lets everything through."""
    for _ in range(count):
        host = [(b"host", hostile.random.choice(hostile.texts).encode("latin-1", "replace"))]
        request = scope(hostile.path(), hostile.method(), headers=host, **{"shop.status": hostile.status()})
        check(ASGIServer().serve(app, request, run=run).raised)


def drive_asgi_in_a_loop(app: Callable[..., Any], hostile: Hostile, count: int) -> None:
    """Send requests to an app that may wait: releases of Starlette answer an error in a thread."""
    with closing(asyncio.new_event_loop()) as loop:
        drive_asgi(app, hostile, count, loop.run_until_complete)


def check(raised: BaseException | None) -> None:
    if raised is not None:
        raise raised


def plain_wsgi(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    """Answer any status that the client likes."""
    start_response(environ["shop.status"], [])
    return [b"x"]


async def plain_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer any status that the client likes."""
    await send({"type": "http.response.start", "status": scope["shop.status"], "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def test_300_000_hostile_requests_through_wsgi_stay_within_the_bound() -> None:
    """With a route_of that hands the raw path through, the worst that a user can write."""
    metrics = fresh_metrics(max_label_sets=100)
    app = RedWSGIMiddleware(plain_wsgi, metrics=metrics, route_of=lambda environ: environ["PATH_INFO"])
    declare(metrics, [("/hello", ["GET", "POST"]), ("/items/<id>", ["GET"])])
    hold_the_bound(metrics, lambda hostile, count: drive_wsgi(app, hostile, count))
    assert metrics.snapshot()["red_overflow_requests_total"] > REQUESTS / 2
    assert any(text.startswith("http_requests_total") and 'route="/hello"' in text for text in metrics.snapshot())


def test_300_000_hostile_requests_through_asgi_stay_within_the_bound() -> None:
    """With a route_of that hands the raw path through, the worst that a user can write."""
    metrics = fresh_metrics(max_label_sets=100)
    app = RedASGIMiddleware(plain_asgi, metrics=metrics, route_of=lambda scope: scope["path"])
    declare(metrics, [("/hello", ["GET", "POST"]), ("/items/{id}", ["GET"])])
    hold_the_bound(metrics, lambda hostile, count: drive_asgi(app, hostile, count))
    assert metrics.snapshot()["red_overflow_requests_total"] > REQUESTS / 2
    assert any(text.startswith("http_requests_total") and 'route="/hello"' in text for text in metrics.snapshot())


def hold_the_bound(metrics: RedMetrics, drive: Callable[[Hostile, int], None]) -> None:
    """Drive three thirds: all are counted, and the last leaves series, scrape and memory as the first did."""
    hostile = Hostile()
    series, sizes, blocks = [], [], []
    for _ in range(3):
        drive(hostile, THIRD)
        series.append(metrics.snapshot()["red_series"])
        sizes.append(len(answer(metrics, Request()).body))
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    limit = metrics.bound().series
    assert series[-1] <= limit
    assert series[-1] == series[0]
    assert sizes[-1] < sizes[0] * 1.02  # the same lines, longer numbers
    assert blocks[-1] < blocks[0] + THIRD // 100  # not one object is kept a hundred requests
    assert total(metrics, "http_requests_total") == REQUESTS
    assert total(metrics, "http_request_duration_seconds_count") == REQUESTS
    assert total(metrics, "http_requests_in_progress") == 0


def test_100_000_hostile_websockets_stay_within_the_bound() -> None:
    """Of any path, close code, status and exception; a third of them makes all of the series that ever are."""
    found = measured(SOCKETS)
    _, after_a_third, at_the_end = found.series
    assert at_the_end == after_a_third <= found.bound
    assert found.series_of_websockets[2] <= 1599  # as `RedMetrics.bound` says: the routes are no more than have a place
    assert found.bytes_of_scrape[2] < found.bytes_of_scrape[1] * 1.02  # the same lines, longer numbers
    assert found.blocks_of_memory[2] < found.blocks_of_memory[1] + SOCKETS // 100


def flask_app() -> flask.Flask:
    """Return a shop with reflected statuses."""
    app = flask.Flask(__name__)
    app.add_url_rule("/hello", view_func=lambda: "hello", endpoint="hello")
    app.add_url_rule("/items/<int:item_id>", view_func=lambda item_id: ("x", 200 + item_id % 9), endpoint="item")
    app.add_url_rule("/echo/<path:text>", view_func=lambda text: (text, 201), methods=["GET", "POST"], endpoint="echo")
    return app


def starlette_app() -> Starlette:
    """Return a shop with tenants and hosts."""

    async def ok(request: StarletteRequest) -> Response:
        return Response("x", status_code=200 + len(request.path_params.get("id", "")) % 9)

    return Starlette(
        routes=[
            Route("/hello", ok),
            Route("/items/{id}", ok),
            Mount("/t/{tenant}", routes=[Route("/x", ok, methods=["GET", "POST"])]),
            Host("{sub}.example.org", Starlette(routes=[Route("/echo/{id}", ok)])),
            Route("/echo/{any:path}", ok),
        ]
    )


def frameworks() -> Iterator[Any]:
    """Yield name, wrapped app, driver and declared routes of each framework."""
    metrics = fresh_metrics(max_label_sets=60)
    flask_routes = {"/hello", "/items/<int:item_id>", "/echo/<path:text>", "/static/<path:filename>"}
    yield pytest.param(RedWSGIMiddleware(flask_app(), metrics=metrics), metrics, drive_wsgi, flask_routes, id="flask")
    metrics = fresh_metrics(max_label_sets=60)
    starlette_routes = {"/hello", "/items/{id}", "/t/{tenant}/x", "/echo/{id}", "/echo/{any:path}"}
    yield pytest.param(
        RedASGIMiddleware(starlette_app(), metrics=metrics),
        metrics,
        drive_asgi_in_a_loop,
        starlette_routes,
        id="starlette",
    )


@pytest.mark.parametrize(("app", "metrics", "drive", "declared"), list(frameworks()))
def test_a_real_framework_makes_no_more_routes_than_it_declares(
    app: Callable[..., Any],
    metrics: RedMetrics,
    drive: Callable[[Callable[..., Any], Hostile, int], None],
    declared: set[str],
) -> None:
    """Raw paths, tenants and hosts never reach a label; no row overflows; every request is counted."""
    count = 4_000
    drive(app, Hostile(), count)
    routes = counted_routes(metrics)
    assert set(routes) - {"_unmatched"} <= declared
    assert len(routes) >= 4
    assert total(metrics, "http_requests_total") == count
    assert metrics.snapshot()["red_overflow_requests_total"] == 0
    assert faults(metrics) == 0
    assert metrics.snapshot()["red_series"] <= metrics.bound().series
