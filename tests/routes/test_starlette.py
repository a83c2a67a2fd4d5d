"""Starlette's routes: the template with every mount around it, and nothing that a client sent."""

import contextlib
import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.routes.starlette import MAX_ROUTERS, StarletteReader

from .asking import (
    Receive,
    Scope,
    Send,
    ask_asgi,
    exceptions,
    faults,
    fresh,
    in_a_module,
    release,
    requests,
    routes,
)
from .reading import Read


class ViewError(Exception):
    """Raised by an endpoint."""


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh()


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fail(request: Request) -> Response:
    raise ViewError


def other(request: Request) -> Response:
    return PlainTextResponse("other")


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an ASGI application of no framework."""
    await PlainTextResponse("foreign")(scope, receive, send)


def wrap(app: Any, metrics: RedMetrics, **options: Any) -> RedASGIMiddleware:
    return RedASGIMiddleware(app, metrics=metrics, **options)


def read(app: Any, source: Scope | None = None) -> Read:
    """Return the app behind a reader that has learned it, before any request or with one."""
    made = Read(StarletteReader, app)
    made.learn(source)
    return made


def counted(wrapped: RedASGIMiddleware, *paths: str, **options: Any) -> dict[str, int]:
    """Ask for the paths and return what was counted, by route."""
    for path in paths:
        ask_asgi(wrapped, path, **options)
    assert faults(wrapped.metrics) == 0
    return routes(wrapped.metrics)


class PureMiddleware:
    """A middleware of ASGI alone; it hands on the scope that it got."""

    def __init__(self, app: Any, also: object = None) -> None:
        self.app = app
        self.also = also

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class CopyingMiddleware(PureMiddleware):
    """A middleware that hands on a copy of the scope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(dict(scope), receive, send)


class TestMounts:
    """`Mount`, `Host` and sub-apps."""

    def test_nested_mounts_are_in_the_template(self, metrics: RedMetrics) -> None:
        """As templates: the value of a parametrised mount never appears."""
        orders = Mount("/orders", routes=[Route("/{order:int}", hello), Route("/", hello)])
        app = Starlette(routes=[Mount("/t/{tenant}", routes=[orders])])
        assert counted(wrap(app, metrics), "/t/acme/orders/7", "/t/evil/orders/8", "/t/acme/orders/") == {
            "/t/{tenant}/orders/{order:int}": 2,
            "/t/{tenant}/orders/": 1,
        }

    def test_a_404_inside_mounts_is_unmatched(self, metrics: RedMetrics) -> None:
        """However deep; and so is the redirect to a slash, and a method that is not declared."""
        inner = [Route("/slash/", hello), Route("/get", hello)]
        app = Starlette(routes=[Mount("/a", routes=[Mount("/{b}", app=Starlette(routes=inner))])])
        wrapped = wrap(app, metrics)
        assert counted(wrapped, "/a/nowhere", "/a/b/nowhere", "/a/b/slash", "/a") == {"_unmatched": 4}
        ask_asgi(wrapped, "/a/b/get", "POST")
        assert requests(metrics)["POST", "_unmatched", "405"] == 1

    def test_hosts_are_not_in_the_template(self, metrics: RedMetrics) -> None:
        """`Host`, and `Host` inside `Mount`."""
        by_host = Host("{tenant}.example", app=Router([Route("/hello", hello), Mount("/files", app=foreign)]))
        app = Starlette(routes=[Mount("/deep", routes=[by_host]), by_host])
        wrapped = wrap(app, metrics)
        paths = ("/hello", "/files/x", "/deep/hello", "/deep/files/x", "/deep/nowhere")
        assert counted(wrapped, *paths, host="acme.example") == {
            "/hello": 1,
            "/files/*": 1,
            "/deep/hello": 1,
            "/deep/files/*": 1,
            "_unmatched": 1,
        }

    def test_a_host_that_is_an_app_itself(self, metrics: RedMetrics) -> None:
        """It has no path of its own: the root's. It is told from a home page."""
        assert counted(wrap(Starlette(routes=[Host("shop.example", app=foreign)]), metrics), "/any") == {"/*": 1}

    @pytest.mark.filterwarnings("ignore:The 'method' parameter is not used:DeprecationWarning")  # Starlette 0.35 itself
    def test_an_opaque_mount_is_its_own_template(self, metrics: RedMetrics, tmp_path: Path) -> None:
        """Static files and foreign applications, whatever their status."""
        (tmp_path / "file.txt").write_text("file")
        mounts = [Mount("/static", app=StaticFiles(directory=tmp_path)), Mount("/foreign/{kind}", app=foreign)]
        wrapped = wrap(Starlette(routes=[Mount("/sub", routes=mounts)]), metrics)
        found = counted(wrapped, "/sub/static/file.txt", "/sub/static/nothing", "/sub/foreign/x/y")
        assert found == {"/sub/static/*": 2, "/sub/foreign/{kind}/*": 1}

    def test_a_mount_that_knows_the_app_around_it_is_opaque(self, metrics: RedMetrics) -> None:
        """A plugin that is given the app, a function in an app factory: they serve by themselves."""
        sub = Starlette(routes=[Route("/hello", hello)])
        app = Starlette(routes=[Route("/hello", other)])

        async def factorys(scope: Scope, receive: Receive, send: Send) -> None:
            assert app.state is not None
            await foreign(scope, receive, send)

        class Plugin(PureMiddleware):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await foreign(scope, receive, send)

        app.mount("/function", factorys)
        app.mount("/plugin", Plugin(app))
        app.mount("/sub", PureMiddleware(sub, also=app))
        assert counted(wrap(app, metrics), "/function/x", "/plugin/x", "/sub/hello", "/sub/x", "/hello") == {
            "/function/*": 1,
            "/plugin/*": 1,
            "/sub/hello": 1,
            "_unmatched": 1,
            "/hello": 1,
        }

    @pytest.mark.parametrize("path", ["", "/"])
    def test_a_mount_at_the_root(self, metrics: RedMetrics, path: str) -> None:
        """Adds nothing to the template, and is `/*` where it is opaque: a home page has a row of its own."""
        transparent = Starlette(routes=[Mount(path, routes=[Route("/hello", hello)])])
        assert counted(wrap(transparent, metrics), "/hello") == {"/hello": 1}
        opaque = fresh()
        assert counted(wrap(Starlette(routes=[Mount(path, app=foreign)]), opaque), "/any") == {"/*": 1}

    def test_one_app_mounted_twice(self, metrics: RedMetrics) -> None:
        """Each place has its template, an opaque app's too, below a root path that the server knows."""
        sub = Starlette(routes=[Route("/hello/{name}", hello)])
        app = Starlette(
            routes=[Mount(path, app=sub) for path in ("/a", "/b/{x:int}")]
            + [Mount(path, app=foreign) for path in ("/c", "/d")]
        )
        wrapped = wrap(app, metrics)
        assert counted(wrapped, "/a/hello/x", "/b/7/hello/x", "/c/x", "/d/x", "/a/nowhere") == {
            "/a/hello/{name}": 1,
            "/b/{x:int}/hello/{name}": 1,
            "/c/*": 1,
            "/d/*": 1,
            "_unmatched": 1,
        }
        assert counted(wrapped, "/root/b/8/hello/x", root_path="/root")["/b/{x:int}/hello/{name}"] == 2

    @pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")  # Starlette 0.35's BaseHTTPMiddleware
    def test_a_mount_with_middleware(self, metrics: RedMetrics) -> None:
        """The routes behind it are found."""
        middleware = [Middleware(PureMiddleware), Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
        app = Starlette(routes=[Mount("/sub", routes=[Route("/hello", hello)], middleware=middleware)])
        assert counted(wrap(app, metrics), "/sub/hello", "/sub/nowhere") == {"/sub/hello": 1, "_unmatched": 1}
        gc.collect()  # of what is left unclosed, while it is ignored

    def test_an_app_that_is_mounted_in_itself(self, metrics: RedMetrics) -> None:
        """The walk ends; a request deeper than it went counts as the route's first place."""
        sub = Starlette(routes=[Route("/hello", hello)])
        sub.mount("/again", sub)
        app = Starlette(routes=[Mount("/a", app=sub), Mount("/b", app=sub)])
        app.mount("/app", app)
        wrapped = wrap(app, metrics)
        paths = ("/a/hello", "/b/hello", "/b/again/hello", "/app/b/again/again/hello")
        assert counted(wrapped, *paths) == {"/a/hello": 3, "/b/hello": 1}

    def test_a_middleware_inside_a_sub_app(self, metrics: RedMetrics) -> None:
        """Knows the whole template too: the outermost router stands in the scope."""
        sub = Starlette(routes=[Route("/hello", hello)], middleware=[Middleware(RedASGIMiddleware, metrics=metrics)])
        ask_asgi(Starlette(routes=[Mount("/t/{tenant}", app=sub)]), "/t/acme/hello")
        assert routes(metrics) == {"/t/{tenant}/hello": 1}


async def pass_on(request: Request, call_next: Callable[[Request], Any]) -> Response:
    answer: Response = await call_next(request)
    return answer


class TestRoutes:
    """Routes of every kind."""

    def test_one_endpoint_on_two_paths(self, metrics: RedMetrics) -> None:
        """Each path counts for itself."""
        app = Starlette(routes=[Route("/a/{x:path}", hello), Route("/b.{x:float}", hello), Route("/c", hello)])
        assert counted(wrap(app, metrics), "/a/x/y", "/b.1.5", "/c") == {"/a/{x:path}": 1, "/b.{x:float}": 1, "/c": 1}

    def test_endpoints_of_classes_and_partials(self, metrics: RedMetrics) -> None:
        """`HTTPEndpoint`, an ASGI class; both declare no methods."""

        class Orders(HTTPEndpoint):
            async def get(self, request: Request) -> Response:
                return PlainTextResponse("orders")

        wrapped = wrap(Starlette(routes=[Route("/orders/{order}", Orders)]), metrics)
        ask_asgi(wrapped, "/orders/1")
        ask_asgi(wrapped, "/orders/1", "DELETE")
        ask_asgi(wrapped, "/orders/1", "BREW")
        assert requests(metrics) == {
            ("GET", "/orders/{order}", "200"): 1,
            ("DELETE", "/orders/{order}", "405"): 1,
            ("_OTHER", "/orders/{order}", "405"): 1,
        }

    def test_a_router_without_an_app(self, metrics: RedMetrics) -> None:
        """Answers its own 404."""
        wrapped = wrap(Router([Mount("/sub", app=Router([Route("/hello", hello)]))]), metrics)
        assert counted(wrapped, "/sub/hello", "/sub/nowhere", "/") == {"/sub/hello": 1, "_unmatched": 2}

    def test_a_route_of_the_users_own_kind(self, metrics: RedMetrics) -> None:
        """With a path it is a route like any other; without one it has no template."""

        class Own(BaseRoute):
            def __init__(self, path: str | None) -> None:
                self.start = path or ""
                if path is not None:
                    self.path = path

            def matches(self, scope: Scope) -> tuple[Match, Scope]:
                if scope["path"].startswith(self.start):
                    return Match.FULL, {"endpoint": self, "path_params": {}}
                return Match.NONE, {}

            async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
                await foreign(scope, receive, send)

        wrapped = wrap(Starlette(routes=[Own("/own"), Own(None)]), metrics)
        assert counted(wrapped, "/own", "/any") == {"/own": 1, "_unmatched": 1}

    def test_websockets_are_no_routes_of_http(self, metrics: RedMetrics) -> None:
        """They are declared as what they are, and a request to one is unmatched."""

        async def socket(websocket: Any) -> None:
            raise AssertionError

        app = Starlette(routes=[WebSocketRoute("/socket", socket)])
        assert counted(wrap(app, metrics), "/socket") == {"_unmatched": 1}
        assert read(app).declared == {"/socket": {"websocket"}}

    def test_the_servers_root_path_is_no_part_of_a_template(self, metrics: RedMetrics) -> None:
        """Whether the path holds it or not."""
        app = Starlette(routes=[Route("/hello", hello), Route("/also", hello)])
        wrapped = wrap(app, metrics)
        counted(wrapped, "/hello", "/also", root_path="/api")
        assert counted(wrapped, "/api/hello", "/api/also", root_path="/api") == {"/hello": 2, "/also": 2}


class TestBetween:
    """Middlewares between the outermost and the router."""

    @pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")  # Starlette 0.35's BaseHTTPMiddleware
    def test_those_that_hand_on_the_scope(self, metrics: RedMetrics) -> None:
        """Are no hindrance, and what they hold besides their app is not taken for it."""
        app = Starlette(routes=[Route("/hello", hello)])
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
        app.add_middleware(PureMiddleware)
        outside = PureMiddleware(PureMiddleware(app, also={"mounts": 7}))
        assert counted(wrap(outside, metrics), "/hello") == {"/hello": 1}
        gc.collect()  # of what is left unclosed, while it is ignored

    def test_one_that_copies_the_scope_hides_nothing(self, metrics: RedMetrics) -> None:
        """The copy is on the stack while the response begins: of any depth, under a mount, by any framework here."""
        mounted = Starlette(routes=[Mount("/shop", routes=[Route("/{item:int}", hello)]), Route("/hello", hello)])
        app = PureMiddleware(CopyingMiddleware(PureMiddleware(CopyingMiddleware(mounted))))
        wrapped = wrap(app, metrics)
        assert counted(wrapped, "/hello", "/shop/7", "/nowhere") == {
            "/hello": 1, "/shop/{item:int}": 1, "_unmatched": 1,
        }  # fmt: skip

    def test_an_exception_behind_a_copy_keeps_its_route(self, metrics: RedMetrics) -> None:
        """Its traceback holds the copy; of two scopes the innermost that a router has been at."""
        inner = Starlette(routes=[Route("/bang", fail)])
        app = CopyingMiddleware(Router(routes=[Mount("/shop", app=CopyingMiddleware(inner.router))]))
        wrapped = wrap(app, metrics)
        ask_asgi(wrapped, "/shop/bang", catch=ViewError)
        assert requests(metrics) == {("GET", "/shop/bang", "500"): 1}
        assert exceptions(metrics) == {("/shop/bang", "ViewError"): 1}

    @pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")  # Starlette 0.35's BaseHTTPMiddleware
    def test_a_copy_behind_another_task_hides_the_route(self, metrics: RedMetrics) -> None:
        """A limit, documented: the stack of that task tells nothing. `route_of` or `routes=` may help."""
        app = Starlette(routes=[Route("/hello", hello)])
        app.add_middleware(CopyingMiddleware)
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
        assert counted(wrap(app, metrics), "/hello") == {"_unmatched": 1}
        gc.collect()

    def test_a_variable_that_is_called_so_is_no_scope(self, metrics: RedMetrics) -> None:
        """Whatever an application calls `scope` itself."""

        async def app(given: Scope, receive: Receive, send: Send) -> None:
            for scope in ("router", 7, None):
                assert scope != "/hello"
            await PlainTextResponse("hello")(given, receive, send)

        assert counted(wrap(app, metrics), "/hello") == {"_unmatched": 1}

    def test_what_is_answered_before_the_router_is_unmatched(self, metrics: RedMetrics) -> None:
        """A CORS preflight."""
        app = Starlette(routes=[Route("/hello", hello)])
        app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"])
        wrapped = wrap(app, metrics)
        headers = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")]
        ask_asgi(wrapped, "/hello", "OPTIONS", headers=headers)
        ask_asgi(wrapped, "/hello", headers=headers)
        assert requests(metrics) == {("OPTIONS", "_unmatched", "200"): 1, ("GET", "/hello", "200"): 1}


class TestExceptions:
    """Named once, on their route."""

    @pytest.mark.parametrize("inside", [True, False])
    @pytest.mark.parametrize("answer", [None, 400])
    def test_what_the_outermost_middleware_of_starlette_answers(
        self, metrics: RedMetrics, inside: bool, answer: int | None
    ) -> None:
        """Inside it, the exception comes before the response and is a 500; from outside, the response is seen."""

        async def handler(request: Request, error: Exception) -> Response:
            return PlainTextResponse("handled", answer or 500)

        handlers = {Exception: handler} if answer else None
        app = Starlette(routes=[Mount("/sub", routes=[Route("/fail", fail)])], exception_handlers=handlers)
        if inside:
            app.add_middleware(RedASGIMiddleware, metrics=metrics)
        ask_asgi(app if inside else wrap(app, metrics), "/sub/fail", catch=ViewError)
        status = str(answer) if answer and not inside else "500"
        assert requests(metrics) == {("GET", "/sub/fail", status): 1}
        assert exceptions(metrics) == {("/sub/fail", "ViewError"): 1}

    def test_a_background_task(self, metrics: RedMetrics) -> None:
        """The response was complete: its status stays."""

        async def task() -> None:
            raise ViewError

        async def endpoint(request: Request) -> Response:
            return PlainTextResponse("begun", background=BackgroundTask(task))

        ask_asgi(wrap(Starlette(routes=[Route("/task", endpoint)]), metrics), "/task", catch=ViewError)
        assert requests(metrics) == {("GET", "/task", "200"): 1}
        assert exceptions(metrics) == {("/task", "ViewError"): 1}


class TestLater:
    """Routes that come after the first request."""

    def test_routes_that_are_added(self, metrics: RedMetrics) -> None:
        """To the app, and to a router within."""
        inner = Router([])
        app = Starlette(routes=[Mount("/sub", app=inner)])
        wrapped = wrap(app, metrics)
        counted(wrapped, "/sub/first")
        inner.routes.append(Route("/first", hello))
        counted(wrapped, "/sub/first")
        app.router.routes.append(Route("/second", other))
        counted(wrapped, "/second")
        inner.routes.append(Route("/third", hello))
        counted(wrapped, "/sub/third")
        app.router.routes.append(Mount("/deep", routes=[Route("/fourth", other)]))
        assert counted(wrapped, "/deep/fourth") == {
            "_unmatched": 1,
            "/sub/first": 1,
            "/second": 1,
            "/sub/third": 1,
            "/deep/fourth": 1,
        }

    def test_an_app_that_is_mounted_in_one_more_place(self, metrics: RedMetrics) -> None:
        """Its places are known, but none of them is the request's."""
        sub = Starlette(routes=[Route("/hello", hello)])
        app = Starlette(routes=[Mount("/v1", app=sub), Mount("/v2", app=sub)])
        wrapped = wrap(app, metrics)
        counted(wrapped, "/v1/hello")
        app.mount("/v3", sub)
        assert counted(wrapped, "/v3/hello", "/v2/hello") == {"/v1/hello": 1, "/v2/hello": 1, "/v3/hello": 1}

    def test_lists_that_are_replaced(self, metrics: RedMetrics) -> None:
        """By one of the same length, too."""
        app = Starlette(routes=[Mount("/sub", app=Router([Route("/a", hello)]))])
        wrapped = wrap(app, metrics)
        counted(wrapped, "/sub/a")
        app.router.routes = [Mount("/new", app=Router([Route("/a", other)]))]
        assert counted(wrapped, "/new/a") == {"/sub/a": 1, "/new/a": 1}

    def test_an_app_that_is_made_when_it_is_first_asked(self, metrics: RedMetrics) -> None:
        """Its router is learned then."""
        made: list[Starlette] = []

        async def late(scope: Scope, receive: Receive, send: Send) -> None:
            if not made:
                made.append(Starlette(routes=[Mount("/t/{tenant}", routes=[Route("/hello", hello)])]))
            await made[0](scope, receive, send)

        wrapped = wrap(late, metrics)
        paths = ("/nowhere", "/t/acme/hello", "/t/acme", "/t/evil/hello")
        assert counted(wrapped, *paths) == {"_unmatched": 2, "/t/{tenant}/hello": 2}
        again = read(late)
        for path in paths:
            ask_asgi(again.asgi, path)
        assert again.declarations == [{"/t/{tenant}/hello": {"GET", "HEAD"}}]  # it was walked once

    def test_an_app_that_a_mount_hides(self, metrics: RedMetrics) -> None:
        """Counts under the mount, and not under the same path of the app around it."""
        hidden: dict[str, Starlette] = {}  # a dictionary is not looked into for what a mount serves

        async def by_name(scope: Scope, receive: Receive, send: Send) -> None:
            await hidden["sub"](scope, receive, send)

        hidden["sub"] = Starlette(routes=[Route("/items/{item}", hello)])
        mounts = [Mount("/{tenant}/sub", app=by_name), Mount("/sub", app=foreign)]
        app = Starlette(routes=[Route("/items/{item}", other), Mount("/deep", routes=mounts)])
        wrapped = wrap(app, metrics)
        found = counted(wrapped, "/r/items/1", "/r/deep/acme/sub/items/1", "/r/deep/acme/sub/nowhere", root_path="/r")
        if release("starlette") >= (1, 7):  # which leaves the route in the scope
            assert found == {"/items/{item}": 1, "/deep/{tenant}/sub/items/{item}": 1, "/deep/{tenant}/sub/*": 1}
        else:
            assert found == {"/items/{item}": 1, "/deep/{tenant}/sub/*": 2}

    def test_an_app_for_every_request_makes_no_memory(self, metrics: RedMetrics) -> None:
        """Nor does it walk all of them for ever: the routes' own paths do."""
        made: list[weakref.ref[Router]] = []

        async def fleeting(scope: Scope, receive: Receive, send: Send) -> None:
            app = Starlette(routes=[Mount("/sub", routes=[Route("/hello", hello)])])
            made.append(weakref.ref(app.router))
            await app(scope, receive, send)

        wrapped = wrap(fleeting, metrics)
        found = counted(wrapped, *["/sub/hello"] * (3 * MAX_ROUTERS))
        assert found.pop("/sub/hello") >= MAX_ROUTERS
        assert set(found) <= {"/hello", "_unmatched"}
        assert sum(routes(metrics).values()) == 3 * MAX_ROUTERS
        gc.collect()
        assert sum(router() is not None for router in made) == MAX_ROUTERS


class Counting(list[Any]):
    """The routes of a router, and how often their number was asked for."""

    def __init__(self, routes: list[Any]) -> None:
        super().__init__(routes)
        self.asked = 0

    def __len__(self) -> int:
        self.asked += 1
        return super().__len__()


class TestCost:
    """What a request costs does not grow with the routes."""

    def test_endpoints_that_are_new_for_every_request_do_not_make_it_walk(self) -> None:
        """It walks ever more rarely: at the misses of a power of two."""

        class Dynamic(BaseRoute):
            def matches(self, scope: Scope) -> tuple[Match, Scope]:
                return Match.FULL, {"endpoint": lambda: None, "path_params": {}}

            async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
                await foreign(scope, receive, send)

        app = read(Starlette(routes=[Route(f"/{n}", hello) for n in range(100)] + [Dynamic()]))
        for _ in range(200):
            ask_asgi(app.asgi, "/dynamic")
        assert app.labels == [None] * 200
        assert len(app.declarations) <= 1 + 8  # when it learned, and at misses 1, 2, 4 ... 128

    def test_a_route_that_is_known_is_one_look_up(self) -> None:
        """Where the release leaves the route in the scope. What matched nothing costs as little."""
        app = read(Starlette(routes=[Route(f"/{n}", lambda request: PlainTextResponse()) for n in range(500)]))
        for path in ("/1", "/7", "/nowhere"):
            ask_asgi(app.asgi, path)
        assert app.labels == ["/1", "/7", None]
        assert app.looked_up[2] == ["route", "endpoint", "fastapi", "router"]
        if release("starlette") >= (1, 7):
            assert app.looked_up[1] == ["route"]

    def test_the_routers_are_not_asked_for_what_is_known(self) -> None:
        """Nor where one app stands in two places, or nothing in a mount serves a request: there may be hundreds."""
        sub = Starlette(routes=[Route("/hello", hello)])
        routes = Counting([Mount("/v1", app=sub), Mount("/v2", app=sub)])
        root = Starlette()
        root.router.routes = routes
        app = read(root)
        ask_asgi(app.asgi, "/v1/hello")
        before = routes.asked
        for path in ("/v1/hello", "/v2/hello", "/v2/nowhere"):
            ask_asgi(app.asgi, path)
        assert app.labels == ["/v1/hello", "/v1/hello", "/v2/hello", None]
        assert routes.asked == before
        routes.append(Mount("/v3", app=sub))
        ask_asgi(app.asgi, "/v3/hello")
        assert app.labels[-1] == "/v3/hello"
        assert routes.asked > before


class TestStandingInside:
    """A middleware inside a mount: the prefix stands in the router around it, which only a request shows."""

    @pytest.mark.parametrize("kind", [Starlette, Router])
    def test_a_scrape_that_comes_first(self, kind: Any) -> None:
        """The app's routes are declared by it, and count with their prefix from the first request on."""
        sub = kind(routes=[Route("/hello", hello), Route("/other", other)])
        inside = read(sub)
        assert inside.declared.keys() == {"/hello", "/other"}
        app = Starlette(routes=[Mount("/t/{tenant}", app=inside.asgi), Route("/hello", hello)])
        for path in ("/t/a/hello", "/t/b/other", "/t/b/hello"):
            ask_asgi(app, path)
        assert inside.labels == ["/t/{tenant}/hello", "/t/{tenant}/other", "/t/{tenant}/hello"]
        assert inside.declarations[-1].keys() == {"/t/{tenant}/hello", "/t/{tenant}/other", "/hello"}
        assert len(inside.declarations) == 2

    def test_the_middleware_of_a_sub_app(self) -> None:
        """It stands between the sub-app and its router."""
        inside: list[Read] = []

        class Inside:
            def __init__(self, app: Any) -> None:
                inside.append(read(app))

            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await inside[0].asgi(scope, receive, send)

        sub = Starlette(routes=[Route("/hello", hello)], middleware=[Middleware(Inside)])
        app = Starlette(routes=[Mount("/sub", app=sub)])
        for _ in range(2):
            ask_asgi(app, "/sub/hello")
        assert inside[0].labels == ["/sub/hello"] * 2

    def test_an_app_of_no_framework(self) -> None:
        """It counts as the mount, and the first request shows which."""
        inside = read(foreign)
        assert inside.declarations == []
        app = Starlette(routes=[Mount("/foreign", app=inside.asgi)])
        ask_asgi(app, "/foreign/any")
        assert inside.labels == ["/foreign/*"]

    def test_a_request_that_comes_first(self) -> None:
        """The routes are declared with their prefix, and walked once."""
        sub = Starlette(routes=[Route("/hello", hello)])
        inside = Read(StarletteReader, sub)

        async def learning(scope: Scope, receive: Receive, send: Send) -> None:
            assert inside.learn(scope) is True
            await inside.asgi(scope, receive, send)

        learning.__dict__["leads_to"] = sub  # as a middleware's own attribute would
        ask_asgi(Starlette(routes=[Mount("/sub", app=learning)]), "/sub/hello")
        assert inside.labels == ["/sub/hello"]
        assert inside.declarations == [{"/sub/hello": {"GET", "HEAD"}}]

    def test_a_first_request_that_came_to_another_mounting(self) -> None:
        """Its router is not taken for one around this app, unless it leads here."""
        sub, around = Starlette(routes=[Route("/hello", hello)]), Starlette(routes=[Route("/around", hello)])
        apart = read(sub, {"router": around.router})
        assert apart.declared.keys() == {"/hello"}
        ask_asgi(apart.asgi, "/hello")
        around.mount("/sub", sub)
        beside = read(sub, {"router": around.router})
        assert beside.declared.keys() == {"/around", "/sub/hello"}
        ask_asgi(beside.asgi, "/hello")
        assert apart.labels == beside.labels == ["/hello"]

    def test_two_mountings_of_the_same_numbers(self, metrics: RedMetrics) -> None:
        """Each counts its routes as they are declared, whichever was asked first."""
        first = wrap(Starlette(routes=[Route("/hello", hello)]), metrics)
        second = wrap(Starlette(routes=[Route("/hello", other), Route("/more", hello)]), metrics)
        app = Starlette(routes=[Mount("/first", app=first), Mount("/second", app=second)])
        alone = wrap(Starlette(routes=[Route("/alone", hello)]), metrics)
        ask_asgi(app, "/first/hello")
        ask_asgi(alone, "/alone")
        for path in ("/second/hello", "/second/more", "/first/hello"):
            ask_asgi(app, path)
        assert routes(metrics) == {"/first/hello": 2, "/second/hello": 1, "/second/more": 1, "/alone": 1}

    @pytest.mark.parametrize("is_found", [True, False])
    def test_an_app_that_is_served_by_itself_and_behind_a_mount(self, is_found: bool) -> None:
        """Each request counts by the way that it came, also where only one of the apps is found before."""
        sub = Starlette(routes=[Route("/hello", hello)])
        around = Starlette(routes=[Route("/sub", other), Mount("/sub", app=sub)])
        hidden = {"around": around}  # a dict is not looked into

        async def by_path(scope: Scope, receive: Receive, send: Send) -> None:
            await ((around if is_found else hidden["around"]) if "/sub" in scope["path"] else sub)(scope, receive, send)

        if not is_found:
            del around
        app = read(by_path)
        paths = ["/hello", "/sub", "/sub/hello", "/hello", "/sub/hello"]
        for path in paths:
            ask_asgi(app.asgi, path)
        assert app.labels == paths


def test_the_methods_of_each_template_are_declared() -> None:
    """None where a route names none; an opaque mount does so."""
    app = Starlette(
        routes=[
            Route("/get", hello),
            Route("/both", hello, methods=["POST", "PUT"]),
            Mount("/any", app=foreign),
            Mount("/sub", routes=[Route("/get", other)]),
        ]
    )
    get = {"GET", "HEAD"}
    assert read(app).declared == {"/get": get, "/both": {"POST", "PUT"}, "/any/*": None, "/sub/get": get}


def test_undeclared_routes_leave_the_declared_ones_alone() -> None:
    """Whatever came first, and however many."""
    metrics = fresh(max_label_sets=1)
    wrapped = wrap(Starlette(routes=[Mount("/t/{x}", routes=[Route("/hello", hello)])]), metrics)
    numbers = iter(range(10**6))
    hostile = wrap(foreign, metrics, route_of=lambda scope: f"/made-up/{next(numbers)}")
    counted(wrapped, "/nowhere")
    counted(hostile, *["/"] * 100)
    found = counted(wrapped, "/t/a/hello")
    assert found["/t/{x}/hello"] == 1
    assert sum(found.values()) == 102


def test_route_of_is_asked_first(metrics: RedMetrics) -> None:
    """Its `None`, and its fault, leave the question to the readers."""

    def route_of(scope: Scope) -> str | None:
        if scope["path"] == "/fault":
            raise ViewError
        return "/mine" if scope["path"] == "/mine" else None

    app = Starlette(routes=[Route("/{any}", hello)])
    wrapped = wrap(app, metrics, route_of=route_of)
    for path in ("/mine", "/other", "/fault"):
        ask_asgi(wrapped, path)
    assert routes(metrics) == {"/mine": 1, "/{any}": 2}
    assert faults(metrics) == 1


def test_a_fault_while_the_routes_are_learned_harms_no_response(metrics: RedMetrics) -> None:
    """An app whose routes cannot be read is served as ever."""

    class Broken(Router):
        asked = 0

        @property
        def routes(self) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise ViewError
            return []

        @routes.setter
        def routes(self, value: Any) -> None:
            pass

    assert ask_asgi(wrap(Broken([]), metrics), "/any").status == 404
    assert routes(metrics) == {"_unmatched": 1}
    assert faults(metrics) == 1


def test_a_fault_of_a_reader_harms_no_response(metrics: RedMetrics) -> None:
    """The request is counted without a route."""

    class Odd(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "route":
                raise ViewError
            return super().get(key, default)

    async def odd(scope: Scope, receive: Receive, send: Send) -> None:
        await wrapped(Odd(scope), receive, send)

    wrapped = wrap(foreign, metrics)
    assert ask_asgi(odd, "/any").status == 200
    assert routes(metrics) == {"_unmatched": 1}
    assert faults(metrics) == 1


def test_nothing_in_starlette_is_touched(metrics: RedMetrics) -> None:
    """Its classes are the same before and after."""
    before = [dict(vars(kind)) for kind in (Starlette, Router, Route, Mount)]
    app = Starlette(routes=[Route("/hello", hello)])
    attributes = dict(vars(app))
    with contextlib.suppress(KeyError):
        del attributes["middleware_stack"]  # which Starlette builds at the first request
    counted(wrap(app, metrics), "/hello")
    assert [dict(vars(kind)) for kind in (Starlette, Router, Route, Mount)] == before
    assert {key: value for key, value in vars(app).items() if key != "middleware_stack"} == attributes


def shop() -> Starlette:
    return Starlette(routes=[Route("/hello", hello), Route("/metrics", other)])


def test_an_app_that_a_plain_function_calls_by_its_name_is_known_when_it_first_matches_a_route() -> None:
    """All of its routes are declared then."""
    app = read(in_a_module(calls_it, the_app=shop()))
    assert app.declarations == []
    ask_asgi(app.asgi, "/nowhere")
    ask_asgi(app.asgi, "/hello")
    assert app.labels == [None, "/hello"]
    assert app.declared.keys() == {"/hello", "/metrics"}


the_app: Any = None  # what a test says, see `in_a_module`


async def calls_it(scope: Scope, receive: Receive, send: Send) -> None:
    """Call a Starlette app that is a global variable."""
    await the_app(scope, receive, send)


def test_an_app_that_is_there_only_later_takes_no_metrics_away(
    metrics: RedMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    """Who answers stays as it was at the first request; one warning says so."""
    made: list[Starlette] = []

    async def lazy(scope: Scope, receive: Receive, send: Send) -> None:
        if not made:
            made.append(shop())
        await made[0](scope, receive, send)

    wrapped = wrap(lazy, metrics)
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for path in ("/metrics", "/hello", "/metrics", "/hello", "/metrics"):
            assert ask_asgi(wrapped, path).body != b"other"
    assert len(caplog.records) == 1
    assert "seen only after the first request" in caplog.text
    assert routes(metrics) == {"/hello": 2}
