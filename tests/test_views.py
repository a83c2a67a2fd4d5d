"""The marks of views: what can be marked, and which requests they leave out, by every framework."""

import asyncio
import functools
import types
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import fastapi
import flask
import pytest
from flask.views import MethodView
from flask.views import View as FlaskView
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Response

from red_middleware import RedASGIMiddleware, RedWSGIMiddleware, uncounted, unsized
from red_middleware.counting.detailed import start_detailed
from red_middleware.counting.enclosing import KEY
from red_middleware.counting.exchange import leave_sizes, start
from red_middleware.counting.labels import WEBSOCKET
from red_middleware.exclusion import Exclusion
from red_middleware.metrics import recorder_of
from red_middleware.mounting import Mounting
from red_middleware.views import ATTRIBUTE, UNCOUNTED, UNSIZED, marks

from .counts import counted, exceptions, faults, fresh_metrics, requests
from .drive import ask_asgi, ask_wsgi, scope


def view() -> str:
    return "seen"


async def later() -> str:
    return "seen"


class View:
    """A class of views."""

    __slots__ = ("__dict__",)

    def get(self) -> str:
        return "seen"

    @staticmethod
    def alone() -> str:
        return "seen"


class Slotted:
    """A view that holds no attributes."""

    __slots__ = ()

    def __call__(self) -> str:
        return "seen"


def copied(function: Callable[..., Any]) -> Any:
    """Return a function of the same code that nobody has marked yet."""
    return types.FunctionType(function.__code__, function.__globals__)


@pytest.mark.parametrize(
    "made",
    [
        lambda: copied(view),
        lambda: copied(later),
        lambda: functools.partial(view),
        lambda: type("Fresh", (View,), {}),
        lambda: type("Callable", (), {"__call__": lambda self: "seen"})(),
        lambda: staticmethod(copied(view)),
    ],
    ids=["function", "async function", "partial", "class", "object", "static method"],
)
def test_whatever_a_framework_takes_as_a_view_can_be_marked(made: Callable[[], Any]) -> None:
    """The same object comes back, and holds every mark that it was given."""
    found = made()
    assert uncounted(found) is found
    assert marks(getattr(found, "__func__", found)) == {UNCOUNTED}
    assert unsized(uncounted(found)) is found
    assert marks(getattr(found, "__func__", found)) == {UNCOUNTED, UNSIZED}


def test_of_a_bound_method_the_function_is_marked() -> None:
    """It holds no attributes itself; all objects of the class share the mark."""

    class Views:
        def get(self) -> str:
            return "seen"

    bound = Views().get
    assert uncounted(bound) is bound
    assert marks(Views().get) == marks(Views.get) == {UNCOUNTED}
    assert Views().get() == "seen"


def test_a_mark_survives_what_wraps_the_view_and_is_lost_otherwise() -> None:
    """`functools.wraps` copies it. Marks of what is around do not come back to the view."""
    inner = uncounted(copied(view))

    @functools.wraps(inner)
    def around() -> Any:
        return inner()

    assert marks(unsized(around)) == {UNCOUNTED, UNSIZED}
    assert marks(inner) == {UNCOUNTED}
    assert marks(lambda: inner()) == frozenset()


def test_a_class_hands_its_marks_down_and_takes_none_from_below() -> None:
    """As it does with all else that it holds."""
    above = uncounted(type("Above", (View,), {}))
    below = unsized(type("Below", (above,), {}))
    assert marks(below) == {UNCOUNTED, UNSIZED}
    assert marks(above) == {UNCOUNTED}


@pytest.mark.parametrize("mark", [uncounted, unsized])
@pytest.mark.parametrize("given", ["/healthz", 7, None, {"exclude": True}])
def test_what_is_no_view_is_refused(mark: Callable[[Any], Any], given: object) -> None:
    """By its name and value: a path belongs to `exclude=`."""
    with pytest.raises(TypeError) as refused:
        mark(given)
    rule = "must be a view: a function, a method, a class or another callable"
    assert str(refused.value) == f"{mark.__name__}({given!r}): {rule}"


@pytest.mark.parametrize("given", [Slotted(), len, int], ids=["slots", "built in", "type"])
def test_what_can_hold_no_mark_is_refused(given: Any) -> None:
    """It would be counted, though the code says that it is not."""
    with pytest.raises(TypeError, match="can hold no mark; mark the function below it, so that @uncounted stands next"):
        uncounted(given)


def test_what_does_not_let_itself_be_asked_has_no_mark() -> None:
    """A proxy raises without a request, and a mock answers anything."""

    class Proxy:
        def __getattr__(self, name: str) -> object:
            raise LookupError(name)

    assert marks(Proxy()) == frozenset()
    assert marks(type("Mock", (), {ATTRIBUTE: True})) == frozenset()


def served_by_flask() -> flask.Flask:
    """Return an app with marked views and others beside them: functions, blueprints, classes."""
    app = flask.Flask(__name__)
    shop = flask.Blueprint("shop", __name__, url_prefix="/shop")

    class Items(MethodView):
        """Only one of its methods is marked."""

        @uncounted
        def get(self, item: int) -> str:
            return f"{1 // item}"

        def post(self, item: int) -> str:
            return "posted"

    @uncounted
    class Hidden(MethodView):
        """All of it is marked."""

        def get(self) -> str:
            return "hidden"

    class Dispatched(FlaskView):
        """Its only method is marked."""

        @uncounted
        def dispatch_request(self) -> str:
            return "dispatched"

    @shop.get("/orders")
    @uncounted
    def orders() -> str:
        return "orders"

    @shop.post("/orders")
    def order() -> str:
        return "ordered"

    app.add_url_rule("/items/<int:item>", view_func=Items.as_view("items"))
    app.add_url_rule("/hidden", view_func=Hidden.as_view("hidden"))
    app.add_url_rule("/dispatched", view_func=Dispatched.as_view("dispatched"))
    app.add_url_rule("/partial", "partial", functools.partial(uncounted(copied(view))))
    app.add_url_rule("/plain", "plain", copied(view))
    app.register_blueprint(shop)
    return app


FLASK_ASKED = (
    "GET /items/1", "HEAD /items/1", "GET /items/0", "POST /items/1", "GET /hidden", "GET /shop/orders",
    "HEAD /shop/orders", "POST /shop/orders", "GET /partial", "GET /plain", "OPTIONS /shop/orders", "GET /dispatched",
)  # fmt: skip
FLASK_COUNTED = {
    ("POST", "/items/<int:item>", "200"): 1,
    ("POST", "/shop/orders", "200"): 1,
    ("OPTIONS", "/shop/orders", "200"): 1,  # Flask answers it for both views
    ("GET", "/plain", "200"): 1,
}


def test_marked_views_of_flask_are_left_out_by_their_methods() -> None:
    """With their exceptions; numbers around leave them out as well, and nothing stays in progress."""
    inner, outer = fresh_metrics(), fresh_metrics()
    wrapped = RedWSGIMiddleware(RedWSGIMiddleware(served_by_flask(), metrics=inner), metrics=outer)
    for asked in FLASK_ASKED:
        method, path = asked.split()
        ask_wsgi(wrapped, path, method)
    for metrics in (inner, outer):
        assert requests(metrics) == FLASK_COUNTED
        assert exceptions(metrics) == {}
        assert faults(metrics) == 0
        assert counted(metrics, "http_requests_in_progress") == {}


def test_marked_views_are_left_out_where_the_app_holds_the_middleware() -> None:
    """As the README has it: `app.wsgi_app` leads to the middleware, and so to what its readers hold."""
    metrics, app = fresh_metrics(), served_by_flask()
    app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=metrics)  # type: ignore[method-assign]  # Flask's own way
    for asked in FLASK_ASKED:
        method, path = asked.split()
        ask_wsgi(app, path, method)
    assert requests(metrics) == FLASK_COUNTED


def below_a_mount() -> dict[tuple[str, str, str], int]:
    """Return what is counted of the app of Flask where it is mounted."""
    return {(method, f"/old{route}", status): n for (method, route, status), n in FLASK_COUNTED.items()}


def test_a_marked_view_is_left_out_whatever_the_user_calls_its_route() -> None:
    """The mark is one of the view. What is excluded by its template is, too; the user's own name holds for the rest."""
    metrics = fresh_metrics()
    wrapped = RedWSGIMiddleware(
        served_by_flask(), metrics=metrics, route_of=lambda environ: "/mine", exclude=["POST /items/<int:item>"]
    )
    for asked in FLASK_ASKED:
        method, path = asked.split()
        ask_wsgi(wrapped, path, method)
    assert requests(metrics) == {
        ("GET", "/mine", "200"): 1,
        ("POST", "/mine", "200"): 1,
        ("OPTIONS", "/mine", "200"): 1,
    }
    assert exceptions(metrics) == {}
    assert faults(metrics) == 0


def test_a_marked_view_behind_a_dispatcher_is_left_out_below_its_mount() -> None:
    """The mark is one of the view; the mount before its template is no obstacle."""
    metrics = fresh_metrics()
    dispatching = DispatcherMiddleware(flask.Flask("root"), {"/old": served_by_flask()})
    wrapped = RedWSGIMiddleware(dispatching, metrics=metrics)
    for asked in FLASK_ASKED:
        method, path = asked.split()
        ask_wsgi(wrapped, f"/old{path}", method)
    assert requests(metrics) == below_a_mount()


def test_a_marked_view_behind_a_bridge_is_left_out_below_its_mount() -> None:
    """It is of another framework, and of another protocol."""
    a2wsgi = pytest.importorskip("a2wsgi")
    metrics = fresh_metrics()
    site = Starlette(routes=[Mount("/old", a2wsgi.WSGIMiddleware(served_by_flask()))])
    wrapped = RedASGIMiddleware(site, metrics=metrics)
    for asked in FLASK_ASKED:
        method, path = asked.split()
        ask_asgi(wrapped, f"/old{path}", method)
    assert requests(metrics) == below_a_mount()


@pytest.mark.parametrize("hides", [False, True], ids=["plain", "hidden"])
def test_an_app_of_flask_that_a_request_shows_is_known_from_then_on(hides: bool) -> None:
    """That request counts where it is answered before its marks are known. Another app may be at work around it."""
    metrics, made = fresh_metrics(), list[Any]()

    @uncounted
    def failing() -> str:
        raise ZeroDivisionError

    def lazy(environ: Any, start_response: Any) -> Any:
        if not made:
            made.append(served_by_flask())
            made[0].add_url_rule("/failing", "failing", failing)
            made[0].testing = hides
        return made[0](dict(environ) if hides else environ, start_response)

    wrapped = RedWSGIMiddleware(lambda environ, start_response: lazy(environ, start_response), metrics=metrics)
    with flask.Flask("other").app_context() if hides else nullcontext():
        ask_wsgi(wrapped, "/failing", catch=ZeroDivisionError if hides else None)
    shown = {} if hides else {("GET", "/failing", "500"): 1}
    for path in ("/hidden", "/plain"):
        ask_wsgi(wrapped, path)
    assert requests(metrics) == {("GET", "/plain", "200"): 1, **shown}
    assert sum(exceptions(metrics).values()) == len(shown)
    assert faults(metrics) == 0


async def seen(request: Any) -> PlainTextResponse:
    return PlainTextResponse("seen")


def marked(endpoint: Any, mark: Callable[[Any], Any] = uncounted) -> Any:
    """Return a marked endpoint of its own."""

    @mark
    async def fresh(request: Any) -> Any:
        return await endpoint(request)

    return fresh


def test_marked_endpoints_of_starlette_are_left_out_below_their_mounts() -> None:
    """Functions, partials, classes and single methods of these; WebSockets apart from requests."""

    class Items(HTTPEndpoint):
        """Only one of its methods is marked."""

        @uncounted
        async def get(self, request: Any) -> PlainTextResponse:
            return await seen(request)

        async def post(self, request: Any) -> PlainTextResponse:
            return await seen(request)

    class Called:
        """An application, whose only method is marked."""

        @uncounted
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (await seen(None))(scope, receive, send)

    @uncounted
    async def socket(websocket: Any) -> None:
        await websocket.accept()
        await websocket.close()

    routes = [
        Route("/called", Called()),
        Mount("/files", Called()),
        Route("/items/{x}", Items),
        Route("/orders", marked(seen)),
        Route("/orders", functools.partial(seen), methods=["POST"]),
        Route("/partial", functools.partial(marked(seen))),
        Route("/hidden", uncounted(type("Hidden", (Items,), {}))),
        Route("/both", seen),
        WebSocketRoute("/both", socket),
    ]
    metrics = fresh_metrics()
    wrapped = RedASGIMiddleware(Starlette(routes=[Mount("/shop", routes=routes)]), metrics=metrics)
    for asked in ("GET /items/1", "HEAD /items/1", "POST /items/1", "GET /orders", "POST /orders", "GET /partial",
                  "POST /hidden", "GET /both", "GET /called", "GET /files/a/b"):  # fmt: skip
        method, path = asked.split()
        ask_asgi(wrapped, f"/shop{path}", method)
    asyncio.run(wrapped({**scope("/shop/both"), "type": "websocket", "subprotocols": []}, connecting, ignoring))
    assert requests(metrics) == {
        ("POST", "/shop/items/{x}", "200"): 1,
        ("POST", "/shop/orders", "200"): 1,
        ("GET", "/shop/both", "200"): 1,
    }
    assert counted(metrics, "websocket", "red_instr") == {}


async def connecting() -> Any:
    return {"type": "websocket.connect"}


async def ignoring(message: Any) -> None:
    """Send nothing anywhere."""


def test_a_marked_endpoint_that_raises_is_left_out_whatever_the_user_calls_its_route() -> None:
    """The exception ends the request before a response."""

    async def failing(request: Any) -> Any:
        raise ZeroDivisionError

    metrics = fresh_metrics()
    app = Starlette(routes=[Route("/marked", marked(failing)), Route("/plain", failing)])
    app.add_middleware(RedASGIMiddleware, metrics=metrics, route_of=lambda scope: "/mine")
    for path in ("/marked", "/plain"):
        ask_asgi(app, path, catch=ZeroDivisionError)
    assert requests(metrics) == {("GET", "/mine", "500"): 1}
    assert exceptions(metrics) == {("/mine", "ZeroDivisionError"): 1}


def test_one_marked_operation_of_fastapi_leaves_the_other_of_its_path() -> None:
    """Behind a router with a prefix, and on an app that has routes of its own."""
    api, router = fastapi.FastAPI(), fastapi.APIRouter(prefix="/v1")

    @router.get("/items/{x}")
    @uncounted
    async def read(x: int) -> int:
        return x

    @router.post("/items/{x}")
    def write(x: int) -> int:
        return x

    api.include_router(router)
    metrics = fresh_metrics()
    api.add_middleware(RedASGIMiddleware, metrics=metrics)
    for method in ("GET", "POST"):
        assert ask_asgi(api, "/v1/items/4", method).status == 200
    assert requests(metrics) == {("POST", "/v1/items/{x}", "200"): 1}


def test_a_route_that_is_added_late_is_left_out_from_its_second_request_on() -> None:
    """The first one shows it. Until then the reader's own method answers, without a call between."""
    app, metrics = Starlette(routes=[Route("/plain", seen)]), fresh_metrics()
    wrapped = RedASGIMiddleware(app, metrics=metrics)
    ask_asgi(wrapped, "/plain")
    assert isinstance(wrapped.mounting, Mounting)
    asked = wrapped.mounting.routes
    assert asked.ask == asked.readers[0].route
    app.router.routes.append(Route("/late", marked(seen)))
    for path in ("/late", "/late", "/late", "/plain"):
        ask_asgi(wrapped, path)
    assert requests(metrics) == {("GET", "/plain", "200"): 2, ("GET", "/late", "200"): 1}
    assert asked.ask != asked.readers[0].route


@pytest.mark.parametrize("sizes", [False, True])
def test_without_marks_that_matter_the_hot_path_is_what_it_was(sizes: bool) -> None:
    """Neither an unmarked view nor, where no sizes are counted, a mark for sizes asks anything of a request."""
    metrics = fresh_metrics(sizes=sizes)
    wrapped = RedASGIMiddleware(
        Starlette(routes=[Route("/plain", marked(seen, unsized))]), metrics=metrics, exclude_sizes=["/a", "/b/{c}"]
    )
    ask_asgi(wrapped, "/plain")
    assert isinstance(wrapped.mounting, Mounting)
    routes = wrapped.mounting.routes
    assert (routes.ask == routes.readers[0].route) is not sizes
    begin = start_detailed if recorder_of(metrics).options.asks_details() else start
    assert (wrapped.start is begin) is not sizes


def test_sizes_are_left_out_by_mark_by_path_and_by_template() -> None:
    """Of the request itself and of what is counted further out; it counts in all else."""
    left: dict[str, list[bool]] = {}

    def noting(app: Any) -> Any:
        async def noted(scope: Any, receive: Any, send: Any) -> None:
            async def sent(message: Any) -> None:
                await send(message)
                exchange = scope[KEY]
                while exchange is not None:
                    left.setdefault(scope["path"], []).append(not exchange.is_sized)
                    exchange = exchange.outer

            await app(scope, receive, sent)

        return noted

    routes = [Route(path, seen, methods=["GET", "POST"]) for path in ("/exact", "/below/a", "/items/{x}", "/plain")]
    app = Starlette(routes=[*routes, Route("/marked", marked(seen, unsized))])
    inner, outer = fresh_metrics(sizes=True), fresh_metrics(sizes=True)
    excluded = ["/exact", "/below/*", "GET /items/{x}"]
    inside = RedASGIMiddleware(noting(app), metrics=inner, exclude_sizes=excluded)
    wrapped = RedASGIMiddleware(inside, metrics=outer)
    for path in ("/exact", "/below/a", "/items/4", "/marked", "/plain"):
        ask_asgi(wrapped, path)
    found = {path: set(seen[2:]) for path, seen in left.items()}  # after the response has begun
    assert found == {"/exact": {True}, "/below/a": {True}, "/items/4": {True}, "/marked": {True}, "/plain": {False}}
    assert sum(requests(inner).values()) == sum(requests(outer).values()) == 5
    assert faults(inner) == faults(outer) == 0


def test_sizes_are_left_for_the_request_itself_and_not_for_one_that_the_app_makes() -> None:
    """A copy of its environ leads to another path."""
    exchange = start_detailed(recorder_of(fresh_metrics(sizes=True)), "GET", {}, "/shop/items")
    assert exchange is not None
    leave_sizes(exchange, "/other")
    assert exchange.is_sized
    leave_sizes(exchange, "/items")
    assert not exchange.is_sized


def test_views_of_one_template_and_method_count_unless_all_are_marked() -> None:
    """Hosts may share a template. A view for HEAD alone goes before that for GET."""
    said = Exclusion("Owner", (), str)
    said.mark("/two", ["GET"], True)
    said.mark("/two", ["GET"], False)
    said.mark("/any", None, True)
    said.mark("/head", ["GET"], False)
    said.mark("/head", ["HEAD"], True)
    said.mark("/rare", ["PROPFIND"], True)
    said.mark("/socket", [WEBSOCKET], True)
    assert not said.holds_route("/two", "GET")
    assert said.holds_route("/any", "_OTHER")
    assert said.holds_route("/any", "GET", is_socket=True)
    assert said.holds_route("/head", "HEAD")
    assert not said.holds_route("/head", "GET")
    assert said.holds_route("/rare", "_OTHER")
    assert said.holds_route("/socket", "GET", is_socket=True)
    assert not said.holds_route("/socket", "GET")


@pytest.mark.parametrize("given", ["/healthz", 7, lambda environ: True])
def test_only_a_collection_of_paths_says_whose_sizes_do_not_count(given: Any) -> None:
    """No function: it would be asked for each request."""
    with pytest.raises(TypeError, match=r"exclude_sizes=.*\): must be a collection of paths$"):
        Exclusion("Owner", given, str, "exclude_sizes")
    with pytest.raises(TypeError, match=r"exclude_sizes=.*\): must be of type str$"):
        Exclusion("Owner", [lambda environ: True], str, "exclude_sizes")
    with pytest.raises(ValueError, match=r"exclude_sizes='/a\?b'\): must be a path without a query or a fragment$"):
        Exclusion("Owner", ["/a?b"], str, "exclude_sizes")


def test_what_excludes_no_sizes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """As with `exclude=`, by the name of the option."""
    app = Starlette(routes=[Route("/items/{x}", seen)])
    ask_asgi(RedASGIMiddleware(app, metrics=fresh_metrics(), exclude_sizes=["/item/{x}"]), "/items/4")
    said = "RedASGIMiddleware(exclude_sizes='/item/{x}'): may exclude nothing, since no route is declared so"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_a_view_in_a_map_of_werkzeug_is_left_out() -> None:
    """Where the endpoints of its rules are the views."""
    hidden = uncounted(lambda: Response("hidden"))
    url_map = Map([Rule("/hidden", endpoint=hidden), Rule("/plain", endpoint=lambda: Response("plain"))])

    class App:
        def __init__(self) -> None:
            self.url_map = url_map

        def __call__(self, environ: Any, start_response: Any) -> Any:
            endpoint, _ = self.url_map.bind_to_environ(environ).match()
            return endpoint()(environ, start_response)

    metrics = fresh_metrics()
    wrapped = RedWSGIMiddleware(App(), metrics=metrics)
    for path in ("/hidden", "/plain"):
        ask_wsgi(wrapped, path)
    assert requests(metrics) == {("GET", "/plain", "200"): 1}


def test_an_app_that_takes_away_what_says_who_counts_is_counted() -> None:
    """There is nothing to leave out any more."""
    app = served_by_flask()

    def forgetful(environ: Any, start_response: Any) -> Any:
        del environ[KEY]
        return app(environ, start_response)

    metrics = fresh_metrics()
    ask_wsgi(RedWSGIMiddleware(forgetful, metrics=metrics), "/hidden")
    assert requests(metrics) == {("GET", "/hidden", "200"): 1}
    assert faults(metrics) == 0
