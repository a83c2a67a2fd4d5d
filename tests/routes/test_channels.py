"""Django Channels: WebSockets count under the patterns of its routers, and Django's requests under Django's."""

import asyncio
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.urls import path, re_path

from red_middleware import RedASGIMiddleware
from red_middleware.counting.labels import WEBSOCKET
from red_middleware.metrics import recorder_of

from ..counts import counted
from ..e2e import has_package
from ..test_websockets import Serving, left
from .asking import ask_asgi, faults, fresh, routes
from .contract import FRAMEWORKS
from .frameworks import imported
from .made import make

pytestmark = pytest.mark.skipif(not has_package("channels"), reason="pip install channels")


async def accept(self: Any) -> None:
    await self.accept()


async def refuse(self: Any) -> None:
    await self.close()


@pytest.fixture
def app() -> Any:
    routing = imported("channels.routing")
    generic = imported("channels.generic.websocket")
    rooms: Any = type("Rooms", (generic.AsyncWebsocketConsumer,), {"connect": accept})
    refusing: Any = type("Refusing", (generic.AsyncWebsocketConsumer,), {"connect": refuse})
    inner = routing.URLRouter([path("<room>/", rooms.as_asgi()), re_path(r"^n(?P<number>[0-9]+)$", rooms.as_asgi())])
    routes = [
        path("refused", refusing.as_asgi()),
        path("threaded/<int:id>", generic.WebsocketConsumer.as_asgi()),
        path("rooms/", inner),
        re_path(r"^stacked/", Behind(inner)),
    ]
    return routing.ProtocolTypeRouter({"http": ASGIHandler(), "websocket": Behind(routing.URLRouter(routes))})


class Behind:
    """A middleware, as those of AuthMiddlewareStack."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._path_routing = hasattr(inner, "_path_routing")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await self.inner(scope, receive, send)


@pytest.mark.parametrize(
    ("asked", "route", "status"),
    [
        ("/rooms/blue/", "/rooms/<room>/", "101"),
        ("/rooms/n7", "/rooms/n<number>", "101"),
        ("/stacked/blue/", "/stacked/<room>/", "101"),
        ("/threaded/7", "/threaded/<int:id>", "101"),
        ("/refused", "/refused", "403"),
        ("/rooms/nowhere/else", "_unmatched", "500"),
        ("/hello", "_unmatched", "500"),
    ],
)
def test_a_websocket_counts_under_the_patterns_that_match(app: Any, asked: str, route: str, status: str) -> None:
    """Also where the consumer answers from a thread. What Channels knows no pattern for, it raises at."""
    metrics = fresh()
    Serving(left(1000)).serve(RedASGIMiddleware(app, metrics=metrics), asked, asyncio.run)
    assert counted(metrics, "websocket_handshakes") == {
        f'websocket_handshakes_total{{route="{route}",status="{status}"}}': 1
    }
    assert faults(metrics) == 0


def test_requests_are_djangos(app: Any) -> None:
    """Even if a pattern of WebSockets has the same path. All of them are declared."""
    metrics = fresh()
    with make(next(framework for framework in FRAMEWORKS if framework.id == "django-ASGI")).holds():
        wrapped = RedASGIMiddleware(app, metrics=metrics)
        for asked in ["/hello", "/items/1", "/rooms/blue/"]:
            ask_asgi(wrapped, asked)
        declared = recorder_of(metrics).table.declared
    assert routes(metrics) == {"/hello": 1, "/items/<int:item>": 1, "_unmatched": 1}
    assert declared["/rooms/<room>/"] == {WEBSOCKET}


def test_a_router_alone_serves_both_protocols() -> None:
    """Without a `ProtocolTypeRouter` around it."""
    routing = imported("channels.routing")

    async def handle(self: Any, body: bytes) -> None:
        await self.send_response(200, b"polled")

    poll: Any = type("Poll", (imported("channels.generic.http").AsyncHttpConsumer,), {"handle": handle})
    metrics = fresh()
    app = RedASGIMiddleware(routing.URLRouter([path("poll/<int:id>", poll.as_asgi())]), metrics=metrics)
    assert ask_asgi(app, "/poll/7").body == b"polled"
    assert routes(metrics) == {"/poll/<int:id>": 1}
