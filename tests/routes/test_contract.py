"""One table of scenarios through every framework and every way to wrap it: the same rows come out."""

import asyncio
import functools
import importlib
import os
import types
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import bottle  # type: ignore[import-untyped]  # one file, without types
import fastapi
import flask
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import Http404
from django.test import override_settings
from django.urls import include, path
from django.views.decorators.http import require_http_methods
from django.views.generic import View
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from werkzeug.routing import Rule

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from ..counts import counted
from ..e2e import has_package
from ..test_websockets import Serving, left
from . import djangos, frameworks
from .asking import Receive, Scope, Seen, Send, ask_asgi, ask_wsgi, exceptions, faults, fresh, release, requests
from .frameworks import HandledError, UnhandledError


class Wrapped(NamedTuple):
    """An app behind the middleware."""

    ask: Callable[..., Seen]
    app: Any
    order: str
    item: str
    slash: tuple[str, int]
    """A path that lacks a slash or has one too many, and what the framework answers: a redirect, if it knows any."""
    reraises: bool = False
    is_silent: bool = False
    """Whether the framework tells nobody of an exception that it answers itself."""
    tells_all: bool = False
    """Whether an exception that the app answers with an error is named as well."""
    differs: Mapping[str, tuple[str, str, str] | None] = {}
    """The rows of scenarios in which the framework itself answers otherwise; `None` where there is no such thing."""


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


def fail(kind: type[Exception]) -> Any:
    raise kind


def starlette_routes(order: Any) -> list[Any]:
    return [
        Route("/hello", lambda request: PlainTextResponse("hello")),
        Route("/items/{item:int}", lambda request: PlainTextResponse(str(request.path_params["item"]))),
        Route("/slash", lambda request: PlainTextResponse("slash")),
        Route("/asked", lambda request: PlainTextResponse("asked"), methods=["OPTIONS"]),
        Route("/gone", lambda request: Response(status_code=404)),
        Route("/boom", lambda request: fail(HandledError)),
        Route("/bang", lambda request: fail(UnhandledError)),
        Route("/any", AnyMethod()),
        *order,
    ]


class AnyMethod:
    """An ASGI application as an endpoint: Starlette declares no methods for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("any")(scope, receive, send)


async def boom(request: Request, error: Exception) -> Response:
    return PlainTextResponse("boom", 500)


def starlette_app() -> Starlette:
    order = Route("/{order}", lambda request: PlainTextResponse(request.path_params["order"]))
    nested = [Mount("/shop", routes=[Mount("/orders", routes=[order])])]
    return Starlette(routes=starlette_routes(nested), exception_handlers={HandledError: boom})


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
    app.router.routes.append(Route("/any", AnyMethod()))
    app.include_router(shop, prefix="/shop")
    return app


def bottle_app(catchall: bool) -> bottle.Bottle:
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


class Hello(View):  # type: ignore[misc]  # Django has no types
    """A view of Django by methods, all of which answer the same."""

    def get(self, request: Any, **parameters: Any) -> Any:
        """Answer."""
        return djangos.view(request)


def django_gone(request: Any) -> Any:
    raise Http404


def django_project() -> Any:
    """Return settings that hold while Django serves a request."""
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
        path("shop/", include([path("orders/", include([path("<order>", djangos.view)]))])),
    ]
    return override_settings(ROOT_URLCONF=urls)


def flask_inside(metrics: RedMetrics) -> Wrapped:
    app = with_views(flask)
    app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=metrics)
    return of_flask(app)


def flask_whole(metrics: RedMetrics) -> Wrapped:
    return of_flask(RedWSGIMiddleware(with_views(flask), metrics=metrics))


def flask_propagating(metrics: RedMetrics) -> Wrapped:
    app = with_views(flask)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return of_flask(RedWSGIMiddleware(app, metrics=metrics), reraises=True)


def of_flask(app: Any, *, reraises: bool = False) -> Wrapped:
    return Wrapped(ask_wsgi, app, "<order>", "<int:item>", ("/slash", 308), reraises)


def bottle_answering(metrics: RedMetrics) -> Wrapped:
    return of_bottle(RedWSGIMiddleware(bottle_app(catchall=True), metrics=metrics))


def bottle_propagating(metrics: RedMetrics) -> Wrapped:
    return of_bottle(RedWSGIMiddleware(bottle_app(catchall=False), metrics=metrics), reraises=True)


TELLS = release("bottle") >= (0, 13)
"""Whether Bottle passes an exception that it answers itself to `start_response`."""


def of_bottle(app: Any, *, reraises: bool = False) -> Wrapped:
    return Wrapped(ask_wsgi, app, "<order>", "<item:int>", ("/slash", 404), reraises, is_silent=not (reraises or TELLS))


def django_by_wsgi(metrics: RedMetrics) -> Wrapped:
    return of_django(ask_wsgi, RedWSGIMiddleware(WSGIHandler(), metrics=metrics))


def django_by_asgi(metrics: RedMetrics) -> Wrapped:
    return of_django(ask_asgi, RedASGIMiddleware(ASGIHandler(), metrics=metrics))


def django_propagating(metrics: RedMetrics) -> Wrapped:
    wrapped = django_by_wsgi(metrics)
    return wrapped._replace(
        ask=override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True)(wrapped.ask), reraises=True, is_silent=False
    )


def of_django(ask: Callable[..., Seen], app: Any) -> Wrapped:
    return Wrapped(django_project()(ask), app, "<order>", "<int:item>", ("/slash", 301))


def starlette_outside(metrics: RedMetrics) -> Wrapped:
    return of_starlette(RedASGIMiddleware(starlette_app(), metrics=metrics))


def starlette_inside(metrics: RedMetrics) -> Wrapped:
    app = starlette_app()
    app.add_middleware(RedASGIMiddleware, metrics=metrics)
    return of_starlette(app)


def quart_inside(metrics: RedMetrics) -> Wrapped:
    app = with_views(importlib.import_module("quart"))
    app.asgi_app = RedASGIMiddleware(app.asgi_app, metrics=metrics)
    return of_quart(app)


def quart_outside(metrics: RedMetrics) -> Wrapped:
    return of_quart(RedASGIMiddleware(with_views(importlib.import_module("quart")), metrics=metrics))


def of_quart(app: Any) -> Wrapped:
    return Wrapped(ask_asgi, app, "<order>", "<int:item>", ("/slash", 308))


def fastapi_outside(metrics: RedMetrics) -> Wrapped:
    return of_starlette(RedASGIMiddleware(fastapi_app(), metrics=metrics))


def fastapi_inside(metrics: RedMetrics) -> Wrapped:
    app = fastapi_app()
    app.add_middleware(RedASGIMiddleware, metrics=metrics)
    return of_starlette(app)


def of_starlette(app: Any) -> Wrapped:
    return Wrapped(ask_asgi, app, "{order}", "{item:int}", ("/slash/", 307), reraises=True)


WRAPPINGS = [
    flask_inside,
    flask_whole,
    flask_propagating,
    bottle_answering,
    bottle_propagating,
    django_by_wsgi,
    django_by_asgi,
    django_propagating,
    starlette_outside,
    starlette_inside,
    fastapi_outside,
    fastapi_inside,
]
if has_package("quart"):  # no release of it works with the oldest Flask
    WRAPPINGS += [quart_outside, quart_inside]


class Rare(NamedTuple):
    """A framework that is tested on one interpreter with its newest release, and on one with its oldest."""

    package: str
    build: Callable[[], Any]
    protocol: str
    order: str
    item: str
    slash: tuple[str, int] = ("/slash/", 404)
    reraises: bool = False
    tells_all: bool = False
    socket: tuple[str, str] | None = None
    """The template of its WebSocket, and the code with which that closes."""
    differs: Mapping[str, tuple[str, str, str] | None] = {}

    def made(self) -> Any:
        """Return a new application. Litestar warns of handlers that its oldest release takes as well."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return self.build()

    def wrap(self, metrics: RedMetrics) -> Wrapped:
        """Wrap a new application."""
        app = self.made()
        if self.protocol == "WSGI":
            ask: Callable[..., Seen] = functools.partial(ask_wsgi, validate=self.package != "cherrypy")
            wrapped: Any = RedWSGIMiddleware(app, metrics=metrics)
        else:
            ask, wrapped = ask_asgi, RedASGIMiddleware(app, metrics=metrics)
        if self.package == "sanic":
            wrapped = frameworks.started(wrapped)
        texts = self.order, self.item, self.slash
        return Wrapped(ask, wrapped, *texts, self.reraises, tells_all=self.tells_all, differs=self.differs)


NO_ANY: Mapping[str, None] = dict.fromkeys(
    ["no methods declared", "no methods declared, a rare one", "no methods declared, an unknown one"]
)
REFUSED = {"405": ("DELETE", "_unmatched", "404"), "405 of an unknown method": ("_OTHER", "_unmatched", "404")}
LENIENT = {"slash redirect": ("GET", "/slash", "200")}
UNKNOWN_METHOD = {"405 of an unknown method": ("_OTHER", "_unmatched", "400")}
RARE = [
    Rare(
        "litestar", frameworks.litestar, "ASGI", "{order:str}", "{item:int}", ("/slash/", 200), tells_all=True,
        socket=("/socket/{room:str}", "4001"), differs={**NO_ANY, **LENIENT, "HEAD": ("HEAD", "_unmatched", "405")},
    ),
    Rare(
        "pyramid", frameworks.pyramid, "WSGI", "{order}", r"{item:\d+}", ("/slash", 404), reraises=True, tells_all=True,
        differs=REFUSED,
    ),
    Rare(
        "falcon", lambda: frameworks.falcon("falcon"), "WSGI", "{order}", "{item:int}",
        differs={**NO_ANY, **UNKNOWN_METHOD},
    ),
    Rare(
        "falcon", lambda: frameworks.falcon("falcon.asgi"), "ASGI", "{order}", "{item:int}",
        socket=("/socket/{room}", "4001"), differs={**NO_ANY, **UNKNOWN_METHOD},
    ),
    Rare(
        "sanic", frameworks.sanic, "ASGI", "<order:str>", "<item:int>", ("/slash/", 200), tells_all=True,
        socket=("/socket/<room:str>", "1000"), differs={**NO_ANY, **LENIENT},
    ),
    Rare(
        "blacksheep", frameworks.blacksheep, "ASGI", "{order}", "{int:item}", ("/slash/", 200),
        socket=("/socket/{room}", "4001"), differs={**NO_ANY, **LENIENT, **REFUSED},
    ),
    Rare(
        "cherrypy", frameworks.cherrypy, "WSGI", "{path}", "{item}",
        differs={
            **dict.fromkeys(["OPTIONS", "an exception that the app handles"]),
            "a query is no route": ("GET", "/hello", "404"),
            "a converter refuses": ("GET", "/items/{item}", "404"),
            "405": ("DELETE", "/hello", "200"),
            "405 of an unknown method": ("_OTHER", "/hello", "200"),
        },
    ),
    Rare(
        "connexion", lambda: frameworks.connexion("AsyncApp"), "ASGI", "{order}", "{item}", tells_all=True,
        differs=NO_ANY,
    ),
    Rare(
        "connexion", lambda: frameworks.connexion("FlaskApp"), "ASGI", "{order}", "{item}", tells_all=True,
        differs=NO_ANY,
    ),
    Rare("werkzeug", frameworks.werkzeug, "WSGI", "<order>", "<int:item>", ("/slash", 308), reraises=True),
]  # fmt: skip
WRAPPINGS += [rare.wrap for rare in RARE if has_package(rare.package)]


class Scenario(NamedTuple):
    """A request, the row that it counts in, and the exceptions that it counts."""

    says: str
    method: str
    path: str
    row: tuple[str, str, str]
    exceptions: dict[tuple[str, str], int]


SCENARIOS = [
    Scenario("a route", "GET", "/hello", ("GET", "/hello", "200"), {}),
    Scenario("a query is no route", "GET", "/hello?a=1", ("GET", "/hello", "200"), {}),
    Scenario("HEAD", "HEAD", "/hello", ("HEAD", "/hello", "200"), {}),
    Scenario("OPTIONS", "OPTIONS", "/asked", ("OPTIONS", "/asked", "200"), {}),
    Scenario("a nested prefix", "GET", "/shop/orders/7", ("GET", "/shop/orders/ORDER", "200"), {}),
    Scenario("a parameter", "GET", "/items/7", ("GET", "/items/ITEM", "200"), {}),
    Scenario("a converter refuses", "GET", "/items/x", ("GET", "_unmatched", "404"), {}),
    Scenario("404 of the router", "GET", "/nowhere", ("GET", "_unmatched", "404"), {}),
    Scenario("404 under a prefix", "GET", "/shop/nowhere", ("GET", "_unmatched", "404"), {}),
    Scenario("404 of a view", "GET", "/gone", ("GET", "/gone", "404"), {}),
    Scenario("405", "DELETE", "/hello", ("DELETE", "_unmatched", "405"), {}),
    Scenario("405 of an unknown method", "BREW", "/hello", ("_OTHER", "_unmatched", "405"), {}),
    Scenario("slash redirect", "GET", "SLASH", ("GET", "_unmatched", "REDIRECT"), {}),
    Scenario("no methods declared", "GET", "/any", ("GET", "/any", "200"), {}),
    Scenario("no methods declared, a rare one", "TRACE", "/any", ("_OTHER", "/any", "200"), {}),
    Scenario("no methods declared, an unknown one", "BREW", "/any", ("_OTHER", "/any", "200"), {}),
    Scenario("an exception that the app handles", "GET", "/boom", ("GET", "/boom", "500"), {}),
    Scenario("an exception", "GET", "/bang", ("GET", "/bang", "500"), {("/bang", "UnhandledError"): 1}),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.says for scenario in SCENARIOS])
@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_request_counts_in_the_row_of_its_declared_route(
    wrap: Callable[[RedMetrics], Wrapped], scenario: Scenario
) -> None:
    """Whatever the framework and the way it is wrapped."""
    metrics = fresh()
    wrapped = wrap(metrics)
    slash, redirect = wrapped.slash
    row = wrapped.differs.get(scenario.says, scenario.row)
    if row is None:
        return
    method, route, status = row
    route = route.replace("ORDER", wrapped.order).replace("ITEM", wrapped.item)
    raises = UnhandledError if scenario.path == "/bang" and wrapped.reraises else None
    wrapped.ask(wrapped.app, scenario.path.replace("SLASH", slash), scenario.method, catch=raises)
    assert requests(metrics) == {(method, route, status.replace("REDIRECT", str(redirect))): 1}
    named = {("/boom", "HandledError"): 1} if wrapped.tells_all and scenario.path == "/boom" else scenario.exceptions
    assert exceptions(metrics) == ({} if wrapped.is_silent else named)
    assert faults(metrics) == 0


@pytest.mark.parametrize("rare", [rare for rare in RARE if rare.socket], ids=lambda rare: rare.package)
def test_a_websocket_counts_in_the_row_of_its_declared_route(rare: Rare) -> None:
    """Whatever the framework; what has no route is unmatched."""
    if not has_package(rare.package):
        pytest.skip(f"{rare.package} is not installed: pip install {rare.package}")
    metrics = fresh()
    assert rare.socket is not None
    route, code = rare.socket
    served = frameworks.started(RedASGIMiddleware(rare.made(), metrics=metrics))
    for asked in ("/socket/7", "/nowhere"):
        Serving(left(1001)).serve(served, asked, asyncio.run, headers=[(b"host", b"shop.example")], state={})
    refused = "500" if rare.package == "sanic" else "403"  # Sanic sends a response of HTTP
    assert counted(metrics, "websocket_handshakes", "websocket_connections", "red_instrumentation") == {
        f'websocket_handshakes_total{{route="{route}",status="101"}}': 1.0,
        f'websocket_connections_total{{close_code="{code}",route="{route}"}}': 1.0,
        f'websocket_handshakes_total{{route="_unmatched",status="{refused}"}}': 1.0,
    }


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_hostile_request_is_no_fault(wrap: Callable[[RedMetrics], Wrapped]) -> None:
    """What UTF-8 cannot carry as a method, or as a path, and a path that is none."""
    metrics = fresh()
    wrapped = wrap(metrics)
    for asked, method in [("/hello", "\udcff"), ("/\udcff", "GET"), ("", "GET"), ("//", "GET"), ("/" * 3000, "GET")]:
        with suppress(Exception):  # the framework's own
            wrapped.ask(wrapped.app, asked, method)
    assert sum(requests(metrics).values()) == 5
    assert faults(metrics) == 0


@pytest.mark.skipif("RED_EVERY_FRAMEWORK" not in os.environ, reason="only where tox installs every framework")
@pytest.mark.parametrize("package", sorted({rare.package for rare in RARE}))
def test_every_framework_is_there_where_it_is_to_be_tested(package: str) -> None:
    """None is left out in silence. Connexion works with no oldest release of Starlette."""
    assert has_package(package) or (package == "connexion" and os.environ["RED_EVERY_FRAMEWORK"] == "oldest")
