"""The application of the contract in the frameworks that are tested on every interpreter: see `test_contract`.

`frameworks` has the others. Beside each application stands how it takes one more route, which answers GET.
"""

import importlib
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import bottle  # type: ignore[import-untyped]  # one file, without types
import fastapi
import flask
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.http import require_http_methods
from django.views.generic import View
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from werkzeug.routing import Rule

from . import djangos
from .asking import Receive, Scope, Send
from .frameworks import HandledError, UnhandledError


def fail(kind: type[Exception]) -> Any:
    raise kind


def pieces() -> Iterator[bytes]:
    """Yield a body whose length nobody knows beforehand."""
    yield b"one"
    yield b"two"


async def pieces_async() -> AsyncIterator[bytes]:
    """Yield the same on the event loop."""
    for piece in pieces():
        yield piece


def flask_app() -> flask.Flask:
    app: flask.Flask = with_views(flask)
    app.add_url_rule("/streamed", "streamed", lambda: flask.Response(pieces()))
    return app


def quart_app() -> Any:
    quart = importlib.import_module("quart")
    app = with_views(quart)

    async def streamed() -> Any:
        return pieces_async()

    async def socket(room: str) -> None:
        await quart.websocket.accept()
        await quart.websocket.close(4001)

    app.add_url_rule("/streamed", "streamed", streamed)
    app.add_websocket("/socket/<room>", "socket", socket)
    return app


def with_views(framework: Any) -> Any:
    """Return an app of Flask, or of Quart, which is alike."""
    kind = getattr(framework, "Quart", None) or framework.Flask
    app = kind("shop", static_folder=None)
    app.add_url_rule("/hello", "hello", lambda: "hello")
    app.add_url_rule("/items/<int:item>", "item", lambda item: str(item))
    app.add_url_rule("/slash/", "slash", lambda: "slash")
    app.add_url_rule("/asked", "asked", lambda: "asked", methods=["OPTIONS"])
    app.add_url_rule("/gone", "gone", lambda: framework.abort(404))
    app.add_url_rule("/boom", "boom", lambda: fail(HandledError))
    app.add_url_rule("/bang", "bang", lambda: fail(UnhandledError))
    app.url_map.add(Rule("/any", endpoint="any"))
    app.view_functions["any"] = lambda: "any"
    app.register_error_handler(HandledError, lambda error: ("boom", 500))
    orders = framework.Blueprint("orders", "orders", url_prefix="/orders")
    orders.add_url_rule("/<order>", "order", lambda order: str(order))
    shop = framework.Blueprint("shop", "shop", url_prefix="/shop")
    shop.register_blueprint(orders)
    app.register_blueprint(shop)
    return app


def add_view(app: Any, template: str) -> None:
    """Add a route to an app of Flask or Quart, whose `add_url_rule` refuses once it has served: its map does not."""
    app.view_functions[template] = lambda: "late"
    app.url_map.add(Rule(template, endpoint=template, methods=["GET"]))


def starlette_app() -> Starlette:
    order = Route("/{order}", lambda request: PlainTextResponse(request.path_params["order"]))
    routes = [
        Route("/hello", lambda request: PlainTextResponse("hello")),
        Route("/items/{item:int}", lambda request: PlainTextResponse(str(request.path_params["item"]))),
        Route("/slash", lambda request: PlainTextResponse("slash")),
        Route("/asked", lambda request: PlainTextResponse("asked"), methods=["OPTIONS"]),
        Route("/gone", lambda request: Response(status_code=404)),
        Route("/boom", lambda request: fail(HandledError)),
        Route("/bang", lambda request: fail(UnhandledError)),
        Route("/any", AnyMethod()),
        Route("/streamed", lambda request: StreamingResponse(pieces_async())),
        WebSocketRoute("/socket/{room}", socket),
        Mount("/shop", routes=[Mount("/orders", routes=[order])]),
    ]
    return Starlette(routes=routes, exception_handlers={HandledError: boom})


class AnyMethod:
    """An ASGI application as an endpoint: Starlette declares no methods for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("any")(scope, receive, send)


async def boom(request: Request, error: Exception) -> Response:
    return PlainTextResponse("boom", 500)


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4001)


def fastapi_app() -> fastapi.FastAPI:
    orders = fastapi.APIRouter(prefix="/orders")
    orders.add_api_route("/{order}", lambda order: order)
    shop = fastapi.APIRouter()
    shop.include_router(orders)
    app = fastapi.FastAPI(exception_handlers={HandledError: boom})
    app.add_api_route("/hello", lambda: "hello", methods=["GET", "HEAD"])
    app.add_api_route("/items/{item:int}", lambda item: item)
    app.add_api_route("/slash", lambda: "slash")
    app.add_api_route("/asked", lambda: "asked", methods=["OPTIONS"])
    app.add_api_route("/gone", lambda: Response(status_code=404))
    app.add_api_route("/boom", lambda: fail(HandledError))
    app.add_api_route("/bang", lambda: fail(UnhandledError))
    app.add_api_route("/streamed", lambda: StreamingResponse(pieces_async()))
    app.add_api_websocket_route("/socket/{room}", socket)
    app.router.routes.append(Route("/any", AnyMethod()))
    app.include_router(shop, prefix="/shop")
    return app


def add_route(app: Starlette, template: str) -> None:
    """Add a route to an app of Starlette."""
    app.router.routes.append(Route(template, lambda request: PlainTextResponse("late")))


def add_api_route(app: fastapi.FastAPI, template: str) -> None:
    """Add a route to an app of FastAPI."""
    app.add_api_route(template, lambda: "late")


def bottle_app(catchall: bool = True) -> bottle.Bottle:
    app, shop, orders = bottle.Bottle(), bottle.Bottle(), bottle.Bottle()
    app.catchall = shop.catchall = orders.catchall = catchall
    app.route("/hello", "GET", lambda: "hello")
    app.route("/items/<item:int>", "GET", lambda item: str(item))
    app.route("/slash/", "GET", lambda: "slash")
    app.route("/asked", "OPTIONS", lambda: "asked")
    app.route("/gone", "GET", lambda: bottle.abort(404))
    app.route("/boom", "GET", lambda: fail(HandledError), apply=handled)
    app.route("/bang", "GET", lambda: fail(UnhandledError))
    app.route("/any", "ANY", lambda: "any")
    app.route("/streamed", "GET", pieces)
    orders.route("/<order>", "GET", lambda order: str(order))
    shop.mount("/orders/", orders)
    app.mount("/shop/", shop)
    return app


def handled(view: Callable[[], Any]) -> Callable[[], Any]:
    """Be a plugin of Bottle that answers an exception."""

    def answered() -> Any:
        try:
            return view()
        except HandledError:
            return bottle.HTTPResponse("boom", 500)

    return answered


def add_rule(app: bottle.Bottle, template: str) -> None:
    """Add a route to an app of Bottle."""
    app.route(template, "GET", lambda: "late")


class Hello(View):  # type: ignore[misc]  # Django has no types
    """A view of Django by methods, all of which answer the same."""

    def get(self, request: Any, **parameters: Any) -> Any:
        """Answer."""
        return djangos.view(request)


def django_gone(request: Any) -> Any:
    raise Http404


def django_streamed(request: Any) -> Any:
    return StreamingHttpResponse(pieces_async() if isinstance(request, ASGIRequest) else pieces())


def django_urls() -> types.ModuleType:
    """Return a project's URLs, which are a module."""
    urls = types.ModuleType("urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("hello", Hello.as_view()),
        path("items/<int:item>", Hello.as_view()),
        path("slash/", Hello.as_view()),
        path("asked", require_http_methods(["OPTIONS"])(djangos.view)),
        path("gone", django_gone),
        path("boom", lambda request: fail(djangos.HandledError)),
        path("bang", lambda request: fail(UnhandledError)),
        path("any", djangos.view),
        path("streamed", django_streamed),
        path("shop/", include([path("orders/", include([path("<order>", djangos.view)]))])),
    ]
    return urls


def add_pattern(urls: types.ModuleType, template: str) -> None:
    """Add a route to a project of Django."""
    urls.urlpatterns.append(path(template.removeprefix("/"), lambda request: HttpResponse("late")))
