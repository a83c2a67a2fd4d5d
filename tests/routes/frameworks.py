"""The application of the contract in the frameworks that are tested on few interpreters only: see `test_contract`.

Each function imports its framework, and returns an application with the same routes. Beside it stands how it takes one
more route, which answers GET. These have no types here: most of them are in few environments.
"""

import asyncio
import importlib
import inspect
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any


class HandledError(Exception):
    """Raised by a view; the app has a handler for it."""


class UnhandledError(Exception):
    """Raised by a view; nobody handles it."""


def imported(name: str) -> Any:
    """Return a module, some of which warn of what they import themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


PIECES = [b"one", b"two"]
"""A body that is sent in pieces."""


async def pieces() -> AsyncIterator[bytes]:
    """Yield a body whose length nobody knows beforehand."""
    for piece in PIECES:
        yield piece


def litestar() -> Any:
    framework = imported("litestar")
    socket_class = framework.WebSocket

    async def text() -> str:
        return "text"

    async def item(item: int) -> str:
        return str(item)

    async def gone() -> str:
        raise framework.exceptions.NotFoundException

    async def boom() -> str:
        raise HandledError

    async def bang() -> str:
        raise UnhandledError

    async def order(order: str) -> str:
        return order

    async def streamed() -> Any:
        return imported("litestar.response").Stream(pieces())

    async def socket(socket: Any, room: str) -> None:
        await socket.accept()
        await socket.close(4001)

    socket.__annotations__["socket"] = socket_class
    streamed.__annotations__["return"] = imported("litestar.response").Stream
    get = framework.get
    handlers = [
        get("/hello", name="hello")(text),
        get("/items/{item:int}")(item),
        get("/slash", name="slash")(text),
        framework.route("/asked", http_method=["OPTIONS"], status_code=200, name="asked")(text),
        get("/gone")(gone),
        get("/boom")(boom),
        get("/bang")(bang),
        get("/streamed")(streamed),
        framework.Router("/shop", route_handlers=[get("/orders/{order:str}")(order)]),
        framework.websocket("/socket/{room:str}")(socket),
    ]
    return framework.Litestar(
        handlers,
        exception_handlers={HandledError: lambda request, error: framework.Response("boom", status_code=500)},
        openapi_config=None,
        logging_config=None,
    )


def add_to_litestar(app: Any, template: str) -> None:
    async def late() -> str:
        return "late"

    app.register(imported("litestar").get(template)(late))


def pyramid() -> Any:
    config = imported("pyramid.config").Configurator()
    response = imported("pyramid.response").Response
    exceptions = imported("pyramid.httpexceptions")

    def text(request: Any) -> Any:
        return response("text")

    def gone(request: Any) -> Any:
        raise exceptions.HTTPNotFound

    def boom(request: Any) -> Any:
        raise HandledError

    def bang(request: Any) -> Any:
        raise UnhandledError

    def add(name: str, pattern: str, view: Callable[[Any], Any], **options: Any) -> None:
        config.add_route(name, pattern)
        config.add_view(view, route_name=name, **options)

    add("hello", "/hello", text, request_method="GET")
    add("item", r"/items/{item:\d+}", text, request_method="GET")
    add("slash", "/slash/", text, request_method="GET")
    add("asked", "/asked", text, request_method="OPTIONS")
    add("gone", "/gone", gone)
    add("boom", "/boom", boom)
    add("bang", "/bang", bang)
    add("any", "/any", text)
    add("streamed", "/streamed", lambda request: response(app_iter=iter(PIECES)))
    config.add_view(lambda error, request: response("boom", status=500), context=HandledError)

    def shop(inner: Any) -> None:
        inner.add_route("order", "orders/{order}")
        inner.add_view(text, route_name="order")

    config.include(shop, route_prefix="shop")
    return config.make_wsgi_app()


def add_to_pyramid(app: Any, template: str) -> None:
    config = imported("pyramid.config").Configurator(registry=app.registry)
    config.add_route(template, template)
    config.add_view(lambda request: imported("pyramid.response").Response("late"), route_name=template)
    config.commit()


def falcon(module: str) -> Any:
    framework = imported("falcon")
    is_asgi = module == "falcon.asgi"

    def resource(answer: Callable[[Any], None], **names: str) -> Any:
        def respond(self: Any, req: Any, resp: Any, **parameters: Any) -> None:
            answer(resp)

        async def respond_async(self: Any, req: Any, resp: Any, **parameters: Any) -> None:
            answer(resp)

        responders = {f"on_{name}": respond_async if is_asgi else respond for name in names or ["get"]}
        return type("Resource", (), responders)()

    def text(resp: Any) -> None:
        resp.text = "text"

    def gone(resp: Any) -> None:
        raise framework.HTTPNotFound

    def boom(resp: Any) -> None:
        raise HandledError

    def bang(resp: Any) -> None:
        raise UnhandledError

    def streamed(resp: Any) -> None:
        resp.stream = pieces() if is_asgi else iter(PIECES)

    def handled(req: Any, resp: Any, error: Exception, params: Any) -> None:
        resp.status = "500 Internal Server Error"

    async def handled_async(req: Any, resp: Any, error: Exception, params: Any) -> None:
        resp.status = "500 Internal Server Error"

    app = imported(module).App()
    app.add_error_handler(HandledError, handled_async if is_asgi else handled)
    app.add_route("/hello", resource(text, get="", head=""))
    app.add_route("/items/{item:int}", resource(text))
    app.add_route("/slash", resource(text))
    app.add_route("/asked", resource(text, options=""))
    app.add_route("/gone", resource(gone))
    app.add_route("/boom", resource(boom))
    app.add_route("/bang", resource(bang))
    app.add_route("/streamed", resource(streamed))
    app.add_route("/shop/orders/{order}", resource(text))
    if is_asgi:
        app.add_route("/socket/{room}", FalconSocket())
    return app


def add_to_falcon(app: Any, template: str) -> None:
    class Late:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = "late"

    class LateAsync:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = "late"

    app.add_route(template, LateAsync() if type(app).__module__ == "falcon.asgi.app" else Late())


class FalconSocket:
    """A resource of WebSockets."""

    async def on_websocket(self, req: Any, ws: Any, room: str) -> None:
        await ws.accept()
        await ws.close(4001)


def sanic() -> Any:
    framework = imported("sanic")
    framework.Sanic.test_mode = True
    app = framework.Sanic(f"shop{len(framework.Sanic._app_registry)}", configure_logging=False)
    text = imported("sanic.response").text

    async def answer(request: Any, **parameters: Any) -> Any:
        return text("text")

    async def gone(request: Any) -> Any:
        raise imported("sanic.exceptions").NotFound

    async def boom(request: Any) -> Any:
        raise HandledError

    async def bang(request: Any) -> Any:
        raise UnhandledError

    async def streamed(request: Any) -> None:
        response = await request.respond(content_type="text/plain")
        for piece in PIECES:
            await response.send(piece)
        await response.eof()

    app.error_handler.add(HandledError, lambda request, error: text("boom", 500))
    app.add_route(answer, "/hello", methods=["GET", "HEAD"])
    app.add_route(answer, "/items/<item:int>", name="item")
    app.add_route(answer, "/slash", name="slash")
    app.add_route(answer, "/asked", methods=["OPTIONS"], name="asked")
    app.add_route(gone, "/gone")
    app.add_route(boom, "/boom")
    app.add_route(bang, "/bang")
    app.add_route(streamed, "/streamed")
    orders = framework.Blueprint("orders", url_prefix="/orders")
    orders.add_route(answer, "/<order:str>", name="order")
    app.blueprint(framework.Blueprint.group(orders, url_prefix="/shop"))

    async def socket(request: Any, ws: Any, room: str) -> None:
        await ws.close(4001)

    app.add_websocket_route(socket, "/socket/<room:str>")
    return app


def add_to_sanic(app: Any, template: str) -> None:
    async def late(request: Any) -> Any:
        return imported("sanic.response").text("late")

    async def add() -> None:  # Sanic compiles its routes anew on an event loop
        app.add_route(late, template)

    asyncio.run(add())


def blacksheep() -> Any:
    framework = imported("blacksheep")
    application = imported("blacksheep.server").Application
    router = imported("blacksheep.server.routing").Router
    app, shop = application(router=router()), application(router=router())

    async def text(request: Any) -> Any:
        return framework.Response(200, content=framework.Content(b"text/plain", b"text"))

    async def gone(request: Any) -> Any:
        raise imported("blacksheep.exceptions").NotFound

    async def boom(request: Any) -> Any:
        raise HandledError

    async def bang(request: Any) -> Any:
        raise UnhandledError

    async def streamed(request: Any) -> Any:
        return framework.Response(200, content=framework.StreamedContent(b"text/plain", pieces))

    async def handled(self: Any, request: Any, error: Exception) -> Any:
        return framework.Response(500, content=framework.Content(b"text/plain", b"boom"))

    app.exceptions_handlers[HandledError] = handled
    app.router.add("GET", "/hello", text)
    app.router.add("HEAD", "/hello", text)
    app.router.add("GET", "/items/{int:item}", text)
    app.router.add("GET", "/slash", text)
    app.router.add("OPTIONS", "/asked", text)
    app.router.add("GET", "/gone", gone)
    app.router.add("GET", "/boom", boom)
    app.router.add("GET", "/bang", bang)
    app.router.add("GET", "/streamed", streamed)

    async def socket(ws: Any) -> None:
        await ws.accept()
        await ws.close(4001)

    socket.__annotations__["ws"] = framework.WebSocket
    app.router.add_ws("/socket/{room}", socket)
    shop.router.add("GET", "/orders/{order}", text)
    app.mount("/shop", shop)
    return app


def add_to_blacksheep(app: Any, template: str) -> None:
    framework = imported("blacksheep")

    async def late(request: Any) -> Any:
        return framework.Response(200, content=framework.Content(b"text/plain", b"late"))

    app.router.add("GET", template, late)


def werkzeug() -> Any:
    routing = imported("werkzeug.routing")
    wrappers = imported("werkzeug.wrappers")
    exceptions = imported("werkzeug.exceptions")

    class Shop:
        def __init__(self) -> None:
            rules = [
                routing.Rule("/hello", endpoint="text", methods=["GET"]),
                routing.Rule("/items/<int:item>", endpoint="text", methods=["GET"]),
                routing.Rule("/slash/", endpoint="text", methods=["GET"]),
                routing.Rule("/asked", endpoint="text", methods=["OPTIONS"]),
                routing.Rule("/gone", endpoint="gone"),
                routing.Rule("/boom", endpoint="boom"),
                routing.Rule("/bang", endpoint="bang"),
                routing.Rule("/any", endpoint="text"),
                routing.Rule("/streamed", endpoint="streamed"),
                routing.Submount("/shop", [routing.Rule("/orders/<order>", endpoint="text")]),
            ]
            self.url_map = routing.Map(rules)

        def __call__(self, environ: Any, start_response: Any) -> Any:
            try:
                endpoint, _ = self.url_map.bind_to_environ(environ).match()
                if endpoint == "gone":
                    raise exceptions.NotFound
                if endpoint == "boom":
                    raise HandledError
                if endpoint == "bang":
                    raise UnhandledError
                response: Any = wrappers.Response(iter(PIECES) if endpoint == "streamed" else "text")
            except exceptions.HTTPException as error:
                response = error
            except HandledError:
                response = wrappers.Response("boom", 500)
            return response(environ, start_response)

    return Shop()


def add_to_werkzeug(app: Any, template: str) -> None:
    app.url_map.add(imported("werkzeug.routing").Rule(template, endpoint="text", methods=["GET"]))


def started(app: Any) -> Any:
    """Return an application that lets another one start in the event loop of each request, as Sanic asks for."""

    async def start_and_serve(scope: Any, receive: Any, send: Any) -> None:
        async with running(app):
            await app(scope, receive, send)

    return start_and_serve


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """Let an application start, and stop at the end."""
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    up, down = asyncio.Event(), asyncio.Event()

    async def say(message: Any) -> None:
        (up if message["type"].startswith("lifespan.startup") else down).set()

    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, waiting.get, say))
    waiting.put_nowait({"type": "lifespan.startup"})
    await up.wait()
    try:
        yield
    finally:
        waiting.put_nowait({"type": "lifespan.shutdown"})
        await down.wait()
        await life


def cherrypy() -> Any:
    framework = imported("cherrypy")

    def text(self: Any) -> str:
        return "text"

    def items(self: Any, item: str) -> str:
        if not item.isdigit():
            raise framework.NotFound
        return item

    def order(self: Any, order: str) -> str:
        return order

    def gone(self: Any) -> str:
        raise framework.NotFound

    def bang(self: Any) -> str:
        raise UnhandledError

    def named(name: str, handler: Callable[..., str]) -> Any:
        def called(self: Any, *parts: str) -> str:
            return handler(self, *parts)

        called.__name__ = name
        called.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]  # any function may have it
        called.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler
        return called

    def streamed(self: Any) -> Any:
        return iter(PIECES)

    views: dict[str, Callable[..., Any]] = {
        "hello": text, "items": items, "gone": gone, "bang": bang, "any": text, "streamed": streamed,
    }  # fmt: skip
    orders = type("Orders", (), {"default": named("default", order)})()
    shop = type("Shop", (), {"orders": orders})()
    members: dict[str, Any] = {name: named(name, view) for name, view in views.items()}
    root = type("Root", (), {"shop": shop, **members})()
    quiet = {"log.screen": False, "request.show_tracebacks": False, "response.stream": True}
    return imported("cherrypy._cptree").Application(root, "", {"/": quiet})


def add_to_cherrypy(app: Any, template: str) -> None:
    def late(self: Any) -> str:
        return "late"

    late.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler
    setattr(type(app.root), template.removeprefix("/"), late)


OPERATIONS = {
    "/hello": {"get": "hello", "head": "hello_head"},
    "/items/{item}": {"get": "item"},
    "/asked": {"options": "asked"},
    "/gone": {"get": "gone"},
    "/boom": {"get": "boom"},
    "/bang": {"get": "bang"},
    "/shop/orders/{order}": {"get": "order"},
}


def connexion(kind: str) -> Any:
    app = getattr(imported("connexion"), kind)("shop")
    app.add_error_handler(HandledError, operation_handled)
    app.add_api(specified({**OPERATIONS, "/streamed": {"get": f"streamed_{kind}"}}))
    return app


def add_to_connexion(app: Any, template: str) -> None:
    app.add_api(specified({template: {"get": "hello"}}), name=template)


def specified(operations: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return a specification of OpenAPI, in which each path and method has one of the functions below."""
    types = {"{item}": ("item", "integer"), "{order}": ("order", "string")}
    paths = {}
    for path, methods in operations.items():
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": type_}}
            for part, (name, type_) in types.items()
            if part in path
        ]
        paths[path] = {
            method: {
                "operationId": f"{__name__}.operation_{name}",
                "parameters": parameters,
                "responses": {"200": {"description": "well"}},
            }
            for method, name in methods.items()
        }
    return {"openapi": "3.0.0", "info": {"title": "shop", "version": "1"}, "paths": paths}


def operation_hello() -> str:
    return "hello"


def operation_hello_head() -> str:
    return ""


def operation_item(item: int) -> str:
    return str(item)


def operation_asked() -> str:
    return "asked"


def operation_gone() -> Any:
    return "gone", 404


def operation_boom() -> Any:
    raise HandledError


def operation_bang() -> Any:
    raise UnhandledError


def operation_streamed_AsyncApp() -> Any:  # noqa: N802  # named by the kind of application
    return imported("starlette.responses").StreamingResponse(pieces(), media_type="text/plain")


def operation_streamed_FlaskApp() -> Any:  # noqa: N802
    return imported("flask").Response(iter(PIECES), mimetype="text/plain")


def operation_order(order: str) -> str:
    return order


def operation_handled(request: Any, error: Exception) -> Any:
    return imported("connexion.lifecycle").ConnexionResponse(status_code=500, body="boom")
