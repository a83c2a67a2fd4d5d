"""Quart's routes: the rule as the author wrote it, with the prefixes of blueprints."""

import asyncio
import gc
from typing import Any

import pytest

pytest.importorskip("quart", reason="no release of Quart works with the oldest Flask")

from quart import Blueprint, Quart, Request, abort, got_request_exception, websocket
from starlette.applications import Starlette
from starlette.routing import Mount

from red_middleware import RedASGIMiddleware
from red_middleware.routes.quart import KEY, QuartReader

from ..counts import counted
from ..drive import Message, scope
from .asking import Receive, Scope, Send, ask_asgi, exceptions, faults, fresh, requests, routes
from .reading import Read


class ViewError(Exception):
    """Raised by a view."""


def make_app() -> Quart:
    app = Quart("shop", static_folder=None)
    shop = Blueprint("shop", "shop", url_prefix="/shop/<tenant>")

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.route("/items/<int:item>", methods=["GET", "DELETE"])
    async def item(item: int) -> str:
        return str(item)

    @app.get("/slash/")
    async def slash() -> str:
        return "slash"

    @app.get("/bang")
    async def bang() -> str:
        raise ViewError

    @app.get("/gone")
    async def gone() -> str:
        abort(404)

    @app.get("/stream")
    async def stream() -> Any:
        async def parts() -> Any:
            for part in (b"one", b"two"):
                yield part

        return parts()

    @app.websocket("/socket/<room>")
    async def socket(room: str) -> None:
        await websocket.send(room)
        if room == "broken":
            raise ViewError
        await websocket.close(4001)

    @shop.get("/orders/<order>")
    async def order(tenant: str, order: str) -> str:
        return order

    app.register_blueprint(shop)
    return app


def test_a_request_counts_under_its_rule() -> None:
    """A 404 of the router, a 405 and a redirect have none; a 404 of a view has."""
    metrics = fresh()
    app = make_app()
    app.asgi_app = RedASGIMiddleware(app.asgi_app, metrics=metrics)  # type: ignore[method-assign, assignment]  # as Quart says
    for path in ("/hello", "/items/7", "/shop/acme/orders/7", "/stream", "/gone", "/nowhere", "/slash"):
        ask_asgi(app, path)
    ask_asgi(app, "/items/7", "DELETE")
    ask_asgi(app, "/hello", "POST")
    ask_asgi(app, "/hello", "HEAD")
    assert requests(metrics) == {
        ("GET", "/hello", "200"): 1,
        ("HEAD", "/hello", "200"): 1,
        ("GET", "/items/<int:item>", "200"): 1,
        ("DELETE", "/items/<int:item>", "200"): 1,
        ("GET", "/shop/<tenant>/orders/<order>", "200"): 1,
        ("GET", "/stream", "200"): 1,
        ("GET", "/gone", "404"): 1,
        ("GET", "_unmatched", "404"): 1,
        ("GET", "_unmatched", "308"): 1,
        ("POST", "_unmatched", "405"): 1,
    }
    assert faults(metrics) == 0


def test_rules_are_declared_with_their_methods() -> None:
    """Those of WebSockets as what they are."""
    read = Read(QuartReader, make_app())
    assert read.learn()
    assert read.declared["/items/<int:item>"] == {"GET", "HEAD", "DELETE", "OPTIONS"}
    assert read.declared["/socket/<room>"] == {"websocket"}
    assert not Read(QuartReader, Starlette()).learn()


def test_an_exception_that_quart_answers_is_named() -> None:
    """Once, whatever the number of mountings; one that nobody sends for a request is none."""
    metrics = fresh()
    for _ in range(2):
        ask_asgi(RedASGIMiddleware(make_app(), metrics=metrics), "/bang")
    assert requests(metrics) == {("GET", "/bang", "500"): 2}
    assert exceptions(metrics) == {("/bang", "ViewError"): 2}
    send: Any = getattr(got_request_exception, "send_async", got_request_exception.send)
    asyncio.run(send(None, exception=ViewError()))
    assert exceptions(metrics) == {("/bang", "ViewError"): 2}


@pytest.mark.parametrize(
    ("path", "status", "close_code", "named"),
    [
        ("/socket/blue", "101", "4001", {}),
        ("/socket/broken", "101", "1000", {("/socket/<room>", "ViewError"): 1}),
        ("/hello", "400", None, {}),
        ("/nowhere", "404", None, {}),
    ],
)
def test_a_websocket_counts_under_its_rule(path: str, status: str, close_code: str | None, named: Any) -> None:
    """One whose exception Quart answers with a plain close is an error all the same; what has no rule is unmatched."""
    metrics = fresh()
    app = make_app()
    app.asgi_app = RedASGIMiddleware(app.asgi_app, metrics=metrics)  # type: ignore[method-assign, assignment]  # as Quart says

    async def talk() -> None:
        waiting = asyncio.Queue[Message]()
        waiting.put_nowait({"type": "websocket.connect"})

        async def send(message: Message) -> None:
            if message["type"] == "websocket.close" or message.get("more_body") is False:
                waiting.put_nowait({"type": "websocket.disconnect", "code": 1006})  # as servers say then

        asked = scope(path, type="websocket", scheme="ws", extensions={"websocket.http.response": {}}, subprotocols=[])
        await app(asked, waiting.get, send)  # type: ignore[arg-type]  # its types are hypercorn's

    asyncio.run(talk())
    route = "/socket/<room>" if close_code else "_unmatched"
    wanted = {f'websocket_handshakes_total{{route="{route}",status="{status}"}}': 1.0}
    if close_code:
        wanted[f'websocket_connections_total{{close_code="{close_code}",route="{route}"}}'] = 1.0
    if named:
        wanted[f'websocket_errors_total{{route="{route}"}}'] = 1.0
    names = ("websocket_handshakes", "websocket_connections", "websocket_errors")
    assert counted(metrics, *names) == wanted
    assert exceptions(metrics) == named


def test_a_class_of_requests_is_replaced_once_and_stays_what_it_is() -> None:
    """Its name, its own constructor and the answers are the app's."""

    class Own(Request):
        pass

    app = make_app()
    app.request_class = Own
    read = Read(QuartReader, app)
    read.learn()
    once = app.request_class
    read.learn()
    assert app.request_class is once
    assert issubclass(once, Own)
    assert once.__name__ == "Own"
    assert ask_asgi(read.asgi, "/hello").text == "hello"
    assert read.labels == ["/hello"]


def test_a_request_is_not_kept() -> None:
    """Its scope holds a weak reference only."""
    scopes: list[Scope] = []
    app = make_app()
    Read(QuartReader, app).learn()

    async def keeping(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await app(scope, receive, send)  # type: ignore[arg-type]  # its types are hypercorn's

    ask_asgi(keeping, "/hello")
    gc.collect()
    assert scopes[0][KEY]() is None


@pytest.mark.parametrize("prefix", ["", "/mounted"])
def test_a_mounted_app_counts_under_its_mount(prefix: str) -> None:
    """Starlette's reader knows the mount, and Quart's what is in it."""
    metrics = fresh()
    app: Any = make_app()
    if prefix:
        app = Starlette(routes=[Mount(prefix, app=app)])
    ask_asgi(RedASGIMiddleware(app, metrics=metrics), f"{prefix}/hello")
    assert routes(metrics) == {f"{prefix}/hello": 1}
