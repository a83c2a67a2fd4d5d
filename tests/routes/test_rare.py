"""What the contract does not ask of the frameworks that are tested on one interpreter only."""

import asyncio
import importlib.util
import threading
import types
import warnings
from typing import Any

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from red_middleware import RedASGIMiddleware, RedWSGIMiddleware
from red_middleware.metrics import recorder_of
from red_middleware.routes.blacksheep import BlackSheepReader
from red_middleware.routes.cherrypy import CherryPyReader
from red_middleware.routes.connexion import ConnexionReader
from red_middleware.routes.falcon import _Note
from red_middleware.routes.litestar import LitestarReader
from red_middleware.routes.pyramid import KEY, PyramidReader

from ..counts import counted
from . import frameworks
from .asking import ask_asgi, ask_wsgi, exceptions, faults, fresh, requests, routes
from .contract import Framework
from .frameworks import UnhandledError, imported
from .made import INSTALLED, make
from .reading import Read
from .test_contract import connect


def needs(package: str) -> pytest.MarkDecorator:
    """Return a mark for a test of a framework that is in few environments."""
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"pip install {package}")


def asked(app: Any, *paths: str, protocol: str = "ASGI", **options: Any) -> dict[str, int]:
    """Return the routes that these requests count in."""
    metrics = fresh()
    for path in paths:
        if protocol == "WSGI":
            ask_wsgi(RedWSGIMiddleware(app, metrics=metrics, **options), path, validate=False)
        else:
            ask_asgi(RedASGIMiddleware(app, metrics=metrics, **options), path)
    assert faults(metrics) == 0
    return routes(metrics)


@pytest.mark.parametrize(
    "rare",
    [framework for framework in INSTALLED if framework.is_rare or framework.package == "werkzeug"],
    ids=lambda rare: rare.id,
)
def test_an_app_is_touched_once_whatever_the_number_of_mountings(rare: Framework) -> None:
    """Its exceptions are counted once in each of two numbers, and it answers as before."""
    inner, outer = fresh(), fresh()
    app: Any = make(rare).app
    for metrics in (inner, outer):
        middleware: Any = RedWSGIMiddleware if rare.protocol == "WSGI" else RedASGIMiddleware
        app = middleware(app, metrics=metrics)
    ask: Any = ask_wsgi if rare.protocol == "WSGI" else ask_asgi
    served = frameworks.started(app) if rare.package == "sanic" else app
    options: dict[str, Any] = {"validate": False} if rare.protocol == "WSGI" else {}
    for path in ("/hello", "/bang"):
        catch = UnhandledError if rare.reraises and path == "/bang" else None
        ask(served, path, catch=catch, **options)
    for metrics in (inner, outer):
        assert requests(metrics) == {("GET", "/hello", "200"): 1, ("GET", "/bang", "500"): 1}
        assert exceptions(metrics) == {("/bang", "UnhandledError"): 1}


@needs("blacksheep")
def test_mounts_of_blacksheep_are_joined() -> None:
    """A foreign application is opaque; the root of a mount is redirected to; exceptions inside are named."""
    app = frameworks.blacksheep()

    async def bang(request: Any) -> Any:
        raise UnhandledError

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    inner = imported("blacksheep.server").Application(router=imported("blacksheep.server.routing").Router())
    inner.router.add("GET", "/bang", bang)
    app.mount("/inner", inner)
    app.mount("/foreign", foreign)
    metrics = fresh()
    wrapped = RedASGIMiddleware(app, metrics=metrics)
    for path in ("/foreign/x", "/inner/bang", "/inner", "/inner/nowhere"):
        ask_asgi(wrapped, path)
    assert routes(metrics) == {"/foreign/*": 1, "/inner/bang": 1, "_unmatched": 2}
    assert exceptions(metrics) == {("/inner/bang", "UnhandledError"): 1}
    read = Read(BlackSheepReader, app)
    read.learn()
    assert read.declared["/foreign/*"] is None
    asyncio.run(app.log_unhandled_exc(imported("blacksheep").Request("GET", b"/", []), UnhandledError()))


@needs("cherrypy")
def test_cherrypys_trees_are_walked() -> None:
    """Objects in objects, handlers by method, callable objects, what takes any number of segments, an encoder."""
    dispatch = imported("cherrypy._cpdispatch")

    def index(self: Any) -> str:
        return "index"

    def several(self: Any, *parts: str) -> str:
        return "several"

    def get(self: Any, item: str = "") -> str:
        return "get"

    class Called:
        exposed = True

        def __call__(self) -> str:
            return "called"

    for handler in (index, several):
        handler.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler
    members: dict[str, Any] = {
        "index": index,
        "several": several,
        "called": Called(),
        "text": "no handler",
        "kind": Called,
    }
    plain = type("Plain", (), members)()
    plain.itself = plain
    rest = type("Rest", (), {"exposed": True, "GET": get, "POST": get})()
    tree = imported("cherrypy._cptree").Tree()
    tree.mount(plain, "/a", {"/": {"tools.encode.on": True}})
    tree.mount(rest, "/rest", {"/": {"request.dispatch": dispatch.MethodDispatcher()}})
    tree.mount(None, "/none")
    assert asked(tree, "/a/", "/a/several/1/2", "/a/several", "/a/called", "/rest/", "/rest/7", protocol="WSGI") == {
        "/a/": 1, "/a/several/{parts}": 1, "/a/several": 1, "/a/called": 1, "/rest": 1, "/rest/{item}": 1,
    }  # fmt: skip
    read = Read(CherryPyReader, tree)
    assert read.learn()
    assert read.declared["/rest"] == {"GET", "HEAD", "POST"}


@needs("cherrypy")
def test_what_else_hangs_in_a_tree_of_cherrypy_hides_no_handler() -> None:
    """A lock, which has no attributes of its own; an app of WSGI alone; and one of CherryPy behind a middleware."""

    def index(self: Any) -> str:
        return "index"

    index.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler
    root = type("Root", (), {"index": index})()
    root.lock = threading.Lock()
    cherrypy = imported("cherrypy._cptree")
    behind = cherrypy.Application(type("Behind", (), {"index": index})(), "/behind")

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"plain"]

    tree = cherrypy.Tree()
    tree.graft(plain, "/plain")
    tree.graft(lambda environ, start_response: behind(environ, start_response), "/behind")
    tree.mount(root, "/a")
    read = Read(CherryPyReader, tree)
    assert read.learn()
    assert read.declared.keys() == {"/a/", "/behind/"}
    assert asked(tree, "/a/", "/behind/", protocol="WSGI") == {"/a/": 1, "/behind/": 1}


@needs("falcon")
@pytest.mark.parametrize("module", ["falcon", "falcon.asgi"])
def test_sinks_and_static_files_of_falcon_are_opaque(module: str, tmp_path: Any) -> None:
    """What a middleware answered has no template, and an app's own handler of exceptions is left alone."""
    app = frameworks.falcon(module)

    def sink(req: Any, resp: Any) -> None:
        resp.text = "sink"

    async def sink_async(req: Any, resp: Any) -> None:
        resp.text = "sink"

    def own(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = "503 Service Unavailable"

    async def own_async(req: Any, resp: Any, error: Any, params: Any) -> None:
        resp.status = "503 Service Unavailable"

    is_asgi = module == "falcon.asgi"
    app.add_sink(sink_async if is_asgi else sink, "/proxy")
    app.add_static_route("/files", str(tmp_path))
    app.add_error_handler(Exception, own_async if is_asgi else own)
    protocol = "ASGI" if is_asgi else "WSGI"
    paths = ("/proxy/7", "/files/none.txt", "/nowhere", "/hello", "/bang")
    assert asked(app, *paths, protocol=protocol) == {
        "/proxy/*": 1, "/files/*": 1, "_unmatched": 1, "/hello": 1, "/bang": 1,
    }  # fmt: skip
    assert app._error_handlers[Exception].__name__.startswith("own")


def test_a_resource_without_a_template_leaves_no_note() -> None:
    """A router of one's own may know none."""
    request = types.SimpleNamespace(uri_template=None, env={}, scope={})
    _Note("").process_resource(request, None, None, None)
    asyncio.run(imported("red_middleware.routes.falcon")._AsyncNote("").process_resource(request, None, None, None))
    assert request.env == request.scope == {}


@needs("litestar")
def test_a_handler_of_litestar_on_two_paths_is_told_by_the_path() -> None:
    """As before 2.11, when the scope holds the handler alone; a mounted application is opaque."""
    litestar = imported("litestar")

    async def item(item: int) -> str:
        return str(item)

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    seen: list[dict[str, Any]] = []

    def keep(app: Any) -> Any:
        async def kept(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope)
            await app(scope, receive, send)

        return kept

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the handlers are of the oldest release as well
        app = litestar.Litestar(
            [
                litestar.get(["/a/{item:int}", "/b/{item:int}"])(item),
                litestar.asgi("/mount", is_mount=True, copy_scope=True)(foreign)
                if litestar_is_new()
                else litestar.asgi("/mount", is_mount=True)(foreign),
            ],
            middleware=[keep],
            openapi_config=None,
            logging_config=None,
        )
    read = Read(LitestarReader, app)
    read.learn()
    for path in ("/a/7", "/b/7", "/mount/x"):
        ask_asgi(read.asgi, path)
    assert read.labels == ["/a/{item:int}", "/b/{item:int}", "/mount/*"]
    for scope, template in zip(seen[:2], read.labels[:2], strict=True):
        without = {key: value for key, value in scope.items() if key != "path_template"}
        assert read.reader.route(without, str(template).replace("{item:int}", "7")) == template
        assert read.reader.route(without, "/c/7") is None
    other = Read(LitestarReader, lambda: None)
    assert other.reader.route({**seen[0], "path_template": "/a/{item}"}, "/a/7") == "/a/{item:int}"
    assert other.reader.route({**seen[0], "path_template": "/x", "app": None, "litestar_app": None}, "/x") == "/x"


@needs("litestar")
def test_an_exception_of_another_frameworks_request_is_not_litestars() -> None:
    """Its scope has no handler of Litestar."""
    read = Read(LitestarReader, imported("litestar").Litestar([], openapi_config=None, logging_config=None))
    read.learn()
    try:
        raise UnhandledError
    except UnhandledError:
        assert read.reader.route({"type": "http"}, "/") is None
    assert read.answering == []


def litestar_is_new() -> bool:
    """Tell whether this is a release that has warnings of its own."""
    return tuple(map(int, imported("importlib.metadata").version("litestar").split(".")[:2])) >= (2, 11)


@needs("falcon")
def test_an_exception_in_a_websocket_of_falcon_is_named_and_closes_it() -> None:
    """Falcon closes it in the handler that is wrapped, to which it gives the WebSocket."""

    class Broken:
        async def on_websocket(self, req: Any, ws: Any, room: str) -> None:
            await ws.accept()
            raise UnhandledError

    app = imported("falcon.asgi").App()
    app.add_route("/socket/{room}", Broken())
    metrics = fresh()
    asyncio.run(connect(RedASGIMiddleware(app, metrics=metrics), "/socket/7"))
    assert counted(metrics, "websocket_connections_total", "websocket_errors") == {
        'websocket_connections_total{close_code="1011",route="/socket/{room}"}': 1.0,
        'websocket_errors_total{route="/socket/{room}"}': 1.0,
    }
    assert exceptions(metrics) == {("/socket/{room}", "UnhandledError"): 1}


@needs("pyramid")
def test_pyramids_request_factory_stays_what_it_is() -> None:
    """Its `blank` makes requests by hand. A request is let go, and asked twice it is known."""
    app = frameworks.pyramid()
    read = Read(PyramidReader, app)
    read.learn()
    assert app.request_factory.blank("/x").path == "/x"
    environ = imported("pyramid.request").Request.blank("/hello").environ
    app(environ, lambda *_: None)
    assert read.reader.route(environ, "/hello") == "/hello"
    assert environ[KEY] == "/hello"
    assert read.reader.route(environ, "/hello") == "/hello"


@needs("sanic")
def test_routes_of_sanic_that_are_added_late_are_declared() -> None:
    """With the next request."""
    app = frameworks.sanic()
    metrics = fresh()
    wrapped = RedASGIMiddleware(app, metrics=metrics)

    async def late(request: Any) -> Any:
        return imported("sanic.response").text("late")

    recorder_of(metrics).begin({})  # a scrape that comes before the app has started
    app.add_route(late, "/late")
    ask_asgi(frameworks.started(wrapped), "/late")
    assert routes(metrics) == {"/late": 1}
    assert "/late" in recorder_of(metrics).table.declared


@needs("connexion")
def test_an_operation_whose_app_is_not_found_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an app that is reached by a global name, no request pays for a search again."""
    read = Read(ConnexionReader, lambda: None)
    searches: list[object] = []

    def search(app: object, wanted: object) -> list[object]:
        searches.append(app)
        return []

    monkeypatch.setattr(imported("red_middleware.routes.connexion"), "wrapped", search)
    found = {"extensions": {"connexion_routing": {"operation_id": "one"}}, "path": "/one"}
    scoped = imported("connexion.middleware.routing")._scope
    token = scoped.set(found)
    try:
        assert [read.reader.route(found, "/one") for _ in range(3)] == [None] * 3
        found["extensions"]["connexion_routing"]["operation_id"] = "two"  # type: ignore[index]  # as Connexion has it
        assert read.reader.route(found, "/two") is None
        found["extensions"]["connexion_routing"]["operation_id"] = "one"  # type: ignore[index]
        assert read.reader.route(found, "/one") is None
    finally:
        scoped.reset(token)
    assert len(searches) == 2


@needs("connexion")
def test_an_operation_on_two_paths_is_told_by_the_path() -> None:
    """Their ids need not be unique."""
    app = imported("connexion").AsyncApp("shop")
    operation = {"operationId": f"{frameworks.__name__}.operation_hello", "responses": {"200": {"description": "well"}}}
    paths = {"/one": {"get": operation}, "/two": {"get": operation}}
    app.add_api({"openapi": "3.0.0", "info": {"title": "shop", "version": "1"}, "paths": paths})
    assert asked(app, "/one", "/two", "/two") == {"/one": 1, "/two": 2}


@needs("cherrypy")
def test_a_handler_of_cherrypy_that_is_in_no_tree_is_looked_for_ever_more_rarely() -> None:
    """As one that `_cp_dispatch` makes."""
    app = frameworks.cherrypy()

    def index(self: Any) -> str:
        return "made"

    index.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler
    made = type("Made", (), {"index": index})()
    type(app.root)._cp_dispatch = lambda self, vpath: vpath.pop() and made
    metrics = fresh()
    wrapped = RedWSGIMiddleware(app, metrics=metrics)
    for _ in range(5):
        assert ask_wsgi(wrapped, "/made/", validate=False).text == "made"
    assert requests(metrics) == {("GET", "_unmatched", "200"): 5}


@needs("cherrypy")
@pytest.mark.parametrize("sizes", [False, True])
def test_a_request_of_cherrypy_is_known_where_its_input_counts_for_two(sizes: bool) -> None:
    """Further in, the copy of the environ has another object in its place."""
    outer, inner = fresh(), fresh(sizes=sizes)
    wrapped = RedWSGIMiddleware(frameworks.cherrypy(), metrics=inner)
    copying = RedWSGIMiddleware(lambda environ, start: wrapped(dict(environ), start), metrics=outer)
    assert ask_wsgi(copying, "/hello", validate=False).status == 200
    assert requests(outer) == requests(inner) == {("GET", "/hello", "200"): 1}


@needs("litestar")
def test_a_handler_of_litestar_that_was_added_later_is_found_without_a_template() -> None:
    """As before 2.11; what is no handler of the app has no route."""
    app = make(next(framework for framework in INSTALLED if framework.package == "litestar")).app
    read = Read(LitestarReader, app)
    assert read.learn()
    frameworks.add_to_litestar(app, "/late")
    route = next(route for route in app.routes if route.path == "/late")
    late = next(handler for handler in route.route_handlers if "GET" in handler.http_methods)
    for handler, expected in [(late, "/late"), (object(), None), (late, "/late")]:
        assert read.reader.route({"route_handler": handler, "app": app}, "/late") == expected


def test_a_map_of_werkzeug_below_a_mount_is_found() -> None:
    """And one of Flask's is its own reader's."""
    mounted = DispatcherMiddleware(frameworks.werkzeug(), {"/shop": frameworks.werkzeug()})
    assert asked(mounted, "/hello", "/shop/hello", protocol="WSGI") == {"/hello": 1, "/shop/hello": 1}


@pytest.mark.parametrize("error", [LookupError, ValueError], ids=lambda error: error.__name__)
def test_a_converter_of_werkzeug_that_fails_is_no_fault_of_ours(error: type[Exception]) -> None:
    """It has failed in the app already: the request counts as any other whose exception leaves the app."""
    app = frameworks.werkzeug()

    class Failing(imported("werkzeug.routing").BaseConverter):  # type: ignore[misc]  # its module has no types here
        def to_python(self, value: str) -> str:
            raise error

    app.url_map.converters["failing"] = Failing
    app.url_map.add(imported("werkzeug.routing").Rule("/failing/<failing:item>", endpoint="text"))
    metrics = fresh()
    ask_wsgi(RedWSGIMiddleware(app, metrics=metrics), "/failing/7", catch=error)
    assert requests(metrics) == {("GET", "_unmatched", "500"): 1}
    assert faults(metrics) == 0
