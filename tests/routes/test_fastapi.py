"""FastAPI's routes: the template with every prefix of routers and mounts, in each of its generations."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastapi
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.routes.starlette import StarletteReader

from .asking import FASTAPI_INCLUDES, Receive, Scope, Send, ask_asgi, exceptions, faults, fresh, requests, routes
from .reading import Read


class ViewError(Exception):
    """Raised by an endpoint or by what it depends on."""


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh()


async def hello() -> str:
    return "hello"


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an ASGI application of no framework."""
    await PlainTextResponse("foreign")(scope, receive, send)


def wrap(app: Any, metrics: RedMetrics) -> RedASGIMiddleware:
    return RedASGIMiddleware(app, metrics=metrics)


def declared_by(app: Any) -> dict[str, set[str] | None]:
    """Return what is declared before the first request."""
    read = Read(StarletteReader, app)
    assert read.learn() is True
    return read.declared


def counted(wrapped: RedASGIMiddleware, *paths: str, **options: Any) -> dict[str, int]:
    """Ask for the paths and return what was counted, by route."""
    for path in paths:
        ask_asgi(wrapped, path, **options)
    assert faults(wrapped.metrics) == 0
    return routes(wrapped.metrics)


def router(*paths: str, **options: Any) -> APIRouter:
    """Return a router with these paths."""
    made = APIRouter(**options)
    for path in paths:
        made.add_api_route(path, lambda: "hello")
    return made


class TestRouters:
    """`include_router`."""

    def test_prefixes_of_nested_routers(self, metrics: RedMetrics) -> None:
        """The router's own and those given at inclusion, parametrised ones too."""
        orders = router("/{order}", "", prefix="/orders")
        shop = router("/hello", prefix="/shop")
        shop.include_router(orders, prefix="/{tenant}")
        app = FastAPI()
        app.include_router(shop, prefix="/v1")
        assert counted(wrap(app, metrics), "/v1/shop/hello", "/v1/shop/a/orders/7", "/v1/shop/a/orders", "/v1/x") == {
            "/v1/shop/hello": 1,
            "/v1/shop/{tenant}/orders/{order}": 1,
            "/v1/shop/{tenant}/orders": 1,
            "_unmatched": 1,
        }

    def test_one_router_included_twice(self, metrics: RedMetrics) -> None:
        """Each inclusion counts for itself, all of its routes."""
        both = router("/hello", "/{item}/{rest:path}")
        app = FastAPI()
        for version in ("/v1", "/v2/{x}"):
            app.include_router(both, prefix=version)
        assert counted(wrap(app, metrics), "/v1/hello", "/v2/x/hello", "/v1/a/b/c", "/v2/x/a/b/c") == {
            "/v1/hello": 1,
            "/v2/{x}/hello": 1,
            "/v1/{item}/{rest:path}": 1,
            "/v2/{x}/{item}/{rest:path}": 1,
        }

    def test_one_endpoint_on_two_paths(self, metrics: RedMetrics) -> None:
        """Each route counts for itself."""
        app = FastAPI()
        app.add_api_route("/a", hello)
        app.add_api_route("/b", hello, methods=["POST", "GET"])
        assert counted(wrap(app, metrics), "/a", "/b") == {"/a": 1, "/b": 1}

    def test_plain_routes_of_an_included_router(self, metrics: RedMetrics) -> None:
        """Starlette's routes, mounts and hosts in it have the prefix, as far as FastAPI includes them."""
        inner = router("/hello")
        inner.routes.append(Route("/plain/{x}", plain))
        if FASTAPI_INCLUDES:  # earlier releases leave mounts and hosts of an included router out
            inner.routes.append(Mount("/mount", routes=[Route("/{y}", plain)]))
            inner.routes.append(Mount("/opaque", app=foreign))
            inner.routes.append(Host("shop.example", app=Starlette(routes=[Route("/host", plain)])))
        app = FastAPI()
        app.include_router(inner, prefix="/v1")
        wrapped = wrap(app, metrics)
        expected = {"/v1/hello": 1, "/v1/plain/{x}": 1, "_unmatched": 1}
        assert counted(wrapped, "/v1/hello", "/v1/plain/1", "/v1") == expected
        if FASTAPI_INCLUDES:
            expected |= {"/v1/mount/{y}": 1, "/v1/opaque/*": 1, "/v1/host": 1}
            assert counted(wrapped, "/v1/mount/1", "/v1/opaque/1", "/v1/host") == expected

    def test_websockets_answer_no_requests(self, metrics: RedMetrics) -> None:
        """They are declared as what they are."""

        async def socket(websocket: fastapi.WebSocket) -> None:
            raise AssertionError

        inner = APIRouter()
        inner.add_api_websocket_route("/socket", socket)
        app = FastAPI(openapi_url=None)
        app.include_router(inner, prefix="/v1")
        app.add_api_websocket_route("/socket", socket)
        assert counted(wrap(app, metrics), "/socket", "/v1/socket") == {"_unmatched": 2}
        assert declared_by(app) == {"/v1/socket": {"websocket"}, "/socket": {"websocket"}}

    def test_routes_that_are_added_later(self, metrics: RedMetrics) -> None:
        """To the app, to an included router, to one that this includes; and routers included later."""
        innermost, inner = router(), router()
        inner.include_router(innermost, prefix="/b")
        app = FastAPI()
        app.include_router(inner, prefix="/a")
        wrapped = wrap(app, metrics)
        expected = {"_unmatched": 3}
        assert counted(wrapped, "/a/x", "/a/b/x", "/late") == expected
        app.add_api_route("/late", lambda: "late")
        app.include_router(router("/x"), prefix="/c")
        if FASTAPI_INCLUDES:  # earlier releases copy the routes when a router is included
            inner.add_api_route("/x", lambda: "late")
            innermost.add_api_route("/x", lambda: "late")
            expected |= {"/a/x": 1, "/a/b/x": 1}
        else:
            expected["_unmatched"] = 5
        assert counted(wrapped, "/late", "/a/x", "/a/b/x", "/c/x") == expected | {"/late": 1, "/c/x": 1}

    def test_included_routes_are_declared(self) -> None:
        """Before any of them is asked for."""
        app = FastAPI(openapi_url=None)
        app.include_router(router("/a", "/b"), prefix="/v1")
        app.include_router(router("/a", "/b"), prefix="/v2")
        assert declared_by(app) == {path: {"GET"} for path in ("/v1/a", "/v1/b", "/v2/a", "/v2/b")}


class TestSubApps:
    """FastAPI in Starlette, Starlette in FastAPI, and each in its own kind."""

    @pytest.mark.parametrize("outer", [FastAPI, Starlette])
    @pytest.mark.parametrize("inner", [FastAPI, Starlette])
    @pytest.mark.parametrize("inside", [True, False])
    def test_mounts(self, metrics: RedMetrics, outer: type[Starlette], inner: type[Starlette], inside: bool) -> None:
        """API routes, plain routes and the documentation's have the prefix; what nothing matched is unmatched."""
        sub = inner()
        sub.router.routes.append(Route("/plain/{x}", plain))
        sub.mount("/opaque", foreign)
        if isinstance(sub, FastAPI):
            sub.include_router(router("/{x}", prefix="/included"))
        app = outer()
        app.mount("/t/{tenant}", sub)
        app.router.routes.append(Route("/plain", plain))
        if inside:
            app.add_middleware(RedASGIMiddleware, metrics=metrics)
        paths = (
            "/t/a/plain/1",
            "/t/a/opaque/1",
            "/t/a/included/1",
            "/t/a/docs",
            "/t/a/openapi.json",
            "/t/a/x",
            "/plain",
        )
        for path in paths:
            ask_asgi(app if inside else wrap(app, metrics), path)
        expected = {"/t/{tenant}/plain/{x}": 1, "/t/{tenant}/opaque/*": 1, "_unmatched": 4, "/plain": 1}
        if inner is FastAPI:
            expected |= {"/t/{tenant}/included/{x}": 1, "/t/{tenant}/docs": 1, "/t/{tenant}/openapi.json": 1}
            expected["_unmatched"] = 1
        assert routes(metrics) == expected
        assert faults(metrics) == 0

    def test_the_documentation_is_routes_like_others(self, metrics: RedMetrics) -> None:
        """FastAPI adds them to the app."""
        found = counted(wrap(FastAPI(), metrics), "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect")
        assert found == {"/docs": 1, "/redoc": 1, "/openapi.json": 1, "/docs/oauth2-redirect": 1}

    def test_a_sub_app_mounted_twice_with_a_router_included_twice(self, metrics: RedMetrics) -> None:
        """Every combination has its template."""
        both = router("/hello")
        sub = FastAPI()
        sub.include_router(both, prefix="/v1")
        sub.include_router(both, prefix="/v2")
        app = FastAPI()
        app.mount("/a", sub)
        app.mount("/b", sub)
        places = [f"/{mount}/{version}/hello" for mount in "ab" for version in ("v1", "v2")]
        assert counted(wrap(app, metrics), *places) == dict.fromkeys(places, 1)

    @pytest.mark.filterwarnings("ignore:The .root_path. parameter is deprecated")  # in the newest releases
    @pytest.mark.parametrize("path", ["/hello/1", "/api/hello/1"])
    def test_the_apps_own_root_path(self, metrics: RedMetrics, path: str) -> None:
        """`FastAPI(root_path=)` is where a proxy mounts it, and no part of a template."""
        app = FastAPI(root_path="/api")
        app.add_api_route("/hello/{x}", hello)
        app.add_api_route("/also/{x}", hello)
        assert counted(wrap(app, metrics), path) == {"/hello/{x}": 1}

    def test_a_wsgi_application(self, metrics: RedMetrics) -> None:
        """Is opaque: its mount's template."""
        a2wsgi = pytest.importorskip("a2wsgi")

        def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"wsgi"]

        app = FastAPI()
        app.mount("/wsgi", a2wsgi.WSGIMiddleware(wsgi))
        assert counted(wrap(app, metrics), "/wsgi/any", "/wsgi/") == {"/wsgi/*": 2}


class TestAnswers:
    """What FastAPI answers itself is its route's."""

    def test_validation_and_dependencies(self, metrics: RedMetrics) -> None:
        """422, an `HTTPException` and an exception out of a dependency."""

        def refuse() -> None:
            raise HTTPException(403)

        def fail() -> None:
            raise ViewError

        async def item(item: int) -> int:
            return item

        app = FastAPI()
        app.add_api_route("/items/{item}", item)
        inner = router("/refused", dependencies=[Depends(refuse)])
        app.include_router(inner, prefix="/v1")
        app.include_router(router("/failed"), prefix="/v1", dependencies=[Depends(fail)])
        wrapped = wrap(app, metrics)
        ask_asgi(wrapped, "/items/text")
        ask_asgi(wrapped, "/v1/refused")
        ask_asgi(wrapped, "/v1/failed", catch=ViewError)
        assert requests(metrics) == {
            ("GET", "/items/{item}", "422"): 1,
            ("GET", "/v1/refused", "403"): 1,
            ("GET", "/v1/failed", "500"): 1,
        }
        assert exceptions(metrics) == {("/v1/failed", "ViewError"): 1}

    @pytest.mark.parametrize("inside", [True, False])
    def test_a_handler_for_every_exception(self, metrics: RedMetrics, inside: bool) -> None:
        """Through `add_middleware` the exception passes us before its response is made: a 500."""

        async def handler(request: Request, error: Exception) -> Response:
            return PlainTextResponse("sorry", 418)

        async def fail() -> None:
            raise ViewError

        app = FastAPI(exception_handlers={Exception: handler})
        app.add_api_route("/fail", fail)
        if inside:
            app.add_middleware(RedASGIMiddleware, metrics=metrics)
        ask_asgi(app if inside else wrap(app, metrics), "/fail", catch=ViewError)
        assert requests(metrics) == {("GET", "/fail", "500" if inside else "418"): 1}
        assert exceptions(metrics) == {("/fail", "ViewError"): 1}

    def test_a_background_task(self, metrics: RedMetrics) -> None:
        """Fails after its response."""

        def fail() -> None:
            raise ViewError

        async def begin(tasks: BackgroundTasks) -> str:
            tasks.add_task(fail)
            return "begun"

        app = FastAPI()
        app.add_api_route("/begin", begin)
        ask_asgi(wrap(app, metrics), "/begin", catch=ViewError)
        assert requests(metrics) == {("GET", "/begin", "200"): 1}
        assert exceptions(metrics) == {("/begin", "ViewError"): 1}


@pytest.mark.skipif(not hasattr(FastAPI, "frontend"), reason="this release has no frontends")
class TestFrontends:
    """Static frontends, which FastAPI serves where no route matched, and which leave no route in the scope."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("index.html", "app.js"):
            (tmp_path / name).write_text(name)
        return tmp_path

    def test_a_frontend_is_its_own_template(self, metrics: RedMetrics, folder: Path) -> None:
        """As an opaque mount is, the nearest of several, in routers and mounts too; its 404 as well."""
        inner = router("/hello")
        inner.frontend("/ui", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        outer = router()
        outer.include_router(inner, prefix="/v1")
        sub = FastAPI()
        sub.frontend("/", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        app = FastAPI()
        app.include_router(outer, prefix="/o")
        app.mount("/t/{tenant}", sub)
        app.frontend("/app", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        app.frontend("/app/admin", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        wrapped = wrap(app, metrics)
        paths = ("/app/app.js", "/app/no.js", "/app/admin/app.js", "/o/v1/ui/app.js", "/o/v1/hello", "/t/a/app.js")
        assert counted(wrapped, *paths, "/app.js") == {
            "/app/*": 2,
            "/app/admin/*": 1,
            "/o/v1/ui/*": 1,
            "/o/v1/hello": 1,
            "/t/{tenant}/*": 1,
            "_unmatched": 1,
        }
        assert {"/app/*", "/app/admin/*", "/o/v1/ui/*", "/t/{tenant}/*"} <= declared_by(app).keys()

    def test_a_frontend_that_is_added_later(self, metrics: RedMetrics, folder: Path) -> None:
        """To the app and to an included router."""
        app, inner = FastAPI(), router()
        app.include_router(inner, prefix="/v1")
        wrapped = wrap(app, metrics)
        counted(wrapped, "/app.js")
        app.frontend("/", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        inner.frontend("/ui", directory=folder)  # type: ignore[attr-defined,unused-ignore]  # of newer releases
        assert counted(wrapped, "/app.js", "/v1/ui/app.js") == {"_unmatched": 1, "/*": 1, "/v1/ui/*": 1}
        ask_asgi(wrapped, "/app.js", "POST")
        assert requests(metrics)["POST", "_unmatched", "405"] == 1


def test_a_known_route_is_one_look_up() -> None:
    """However many there are: the reader asks a scope for its route and for nothing else."""
    app = FastAPI()
    app.include_router(router(*(f"/{n}" for n in range(300))), prefix="/v1")
    read = Read(StarletteReader, app)
    read.learn()
    for path in ("/v1/1", "/v1/299"):
        ask_asgi(read.asgi, path)
    assert read.labels == ["/v1/1", "/v1/299"]
    assert read.looked_up[-1] == ["route"]


def test_no_warning_of_fastapi_comes_from_reading_it(metrics: RedMetrics) -> None:
    """Nothing deprecated is asked for."""
    app = FastAPI()
    app.include_router(router("/hello"), prefix="/v1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counted(wrap(app, metrics), "/v1/hello") == {"/v1/hello": 1}
