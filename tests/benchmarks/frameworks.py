"""Every framework that is read: what a request costs with our middleware, with few and with many routes.

Each app has the same routes, as plain as the framework lets one declare them, and its smallest handler. Some frameworks
look for a route in one after the other, so that the bare app costs more with each route. What we add must not.
`python -m tests.benchmarks frameworks`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from red_middleware.routes import ASGI_READERS, WSGI_READERS

from .peers import module
from .rounds import Figure
from .tables import (
    BARE,
    DJANGO,
    LEAST,
    MANY_ROUTES,
    OURS,
    Framework,
    Table,
    Target,
    django_app,
    fastapi_app,
    flask_app,
    starlette_app,
)

FLASK: Final = "Flask"
STARLETTE: Final = "Starlette"
ALL_IMPORTED: Final = ", all frameworks imported"


class Row(NamedTuple):
    """What one middleware adds on one framework: with few and with many routes."""

    name: str
    few: Figure
    many: Figure
    ratio: float
    """What it adds with many routes, by what it adds with few."""
    bare: Sequence[Figure] = ()
    """The bare apps; nothing where the row above has them."""
    least: Sequence[Figure] = ()


class FrameworkTable(NamedTuple):
    """All frameworks, measured."""

    title: str
    rows: Sequence[Row]
    targets: Sequence[Target]
    missing: Sequence[str]


def bottle_app(routes: int) -> Any:
    app = module("bottle").Bottle()
    for n in range(routes):
        app.route(f"/section-{n}/items/<item:int>", callback=_endpoint())
    return app


def pyramid_app(routes: int) -> Any:
    config = module("pyramid.config").Configurator()
    response = module("pyramid.response").Response

    def view() -> Callable[[Any], Any]:
        return lambda request: response(f"item {request.matchdict['item']}")

    for n in range(routes):
        config.add_route(f"item_{n}", f"/section-{n}/items/{{item}}")
        config.add_view(view(), route_name=f"item_{n}")
    return config.make_wsgi_app()


class _FalconItem:
    def on_get(self, req: Any, resp: Any, item: int) -> None:
        resp.text = f"item {item}"


class _AsyncFalconItem:
    async def on_get(self, req: Any, resp: Any, item: int) -> None:
        resp.text = f"item {item}"


def falcon_app(routes: int, is_asgi: bool = False) -> Any:
    app = module("falcon.asgi" if is_asgi else "falcon").App()
    for n in range(routes):
        app.add_route(f"/section-{n}/items/{{item:int}}", _AsyncFalconItem() if is_asgi else _FalconItem())
    return app


class _CherryPySection:
    def items(self, item: str) -> str:
        return f"item {item}"

    items.exposed = True  # type: ignore[attr-defined]  # so CherryPy knows a handler


def cherrypy_app(routes: int) -> Any:
    root = type("Root", (), {f"section_{n}": _CherryPySection() for n in range(routes)})()  # it reads `-` as `_`
    module("cherrypy").config.update({"log.screen": False})  # else it would print a line for each request
    return module("cherrypy._cptree").Application(root)


class _WerkzeugApp:
    def __init__(self, routes: int) -> None:
        routing = module("werkzeug.routing")
        self.response = module("werkzeug.wrappers").Response
        self.url_map = routing.Map(
            [routing.Rule(f"/section-{n}/items/<int:item>", endpoint=_endpoint()) for n in range(routes)]
        )

    def __call__(self, environ: Any, start_response: Any) -> Any:
        endpoint, found = self.url_map.bind_to_environ(environ).match()
        return self.response(endpoint(**found))(environ, start_response)


def django_asgi_app(routes: int) -> Any:
    """Return an app without Django's threads.

    Django starts one for each request, to close the response in it and to call synchronous receivers of signals. That
    costs a hundred times what the middleware does, and sways by more. Here these are called in the event loop.
    """

    def in_the_loop(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return function(*arguments, **named)

        return call

    for name in ("django.core.handlers.asgi", "django.dispatch.dispatcher"):
        module(name).sync_to_async = in_the_loop
    return django_app(routes, is_asgi=True)


def quart_app(routes: int) -> Any:
    app = module("quart").Quart("bench")
    for n in range(routes):
        app.add_url_rule(f"/section-{n}/items/<int:item>", f"item_{n}", _async_endpoint())
    return app


def litestar_app(routes: int) -> Any:
    framework = module("litestar")
    handlers = [framework.get(f"/section-{n}/items/{{item:int}}")(_async_endpoint()) for n in range(routes)]
    return framework.Litestar(handlers, openapi_config=None, logging_config=None)


_sanic_names = (f"bench{n}" for n in count())  # Sanic keeps its apps by name, for the whole process


def sanic_app(routes: int) -> Any:
    kind = module("sanic").Sanic
    kind.test_mode = True  # else a process could start one app only; a request does not look at it
    app = kind(next(_sanic_names), configure_logging=False)
    text = module("sanic.response").text

    def handler() -> Callable[..., Any]:
        async def answer(request: Any, item: int) -> Any:
            return text(f"item {item}")

        return answer

    for n in range(routes):
        app.add_route(handler(), f"/section-{n}/items/<item:int>", name=f"item_{n}")
    return app


def blacksheep_app(routes: int) -> Any:
    framework = module("blacksheep")
    app = module("blacksheep.server").Application(router=module("blacksheep.server.routing").Router())

    def handler() -> Callable[[Any], Any]:
        async def answer(request: Any) -> Any:
            return framework.Response(200, content=framework.TextContent(f"item {request.route_values['item']}"))

        return answer

    for n in range(routes):
        app.router.add("GET", f"/section-{n}/items/{{int:item}}", handler())
    return app


def connexion_app(routes: int) -> Any:
    parameter = {"name": "item", "in": "path", "required": True, "schema": {"type": "integer"}}
    paths = {
        f"/section-{n}/items/{{item}}": {
            "get": {
                "operationId": f"item_{n}",
                "parameters": [parameter],
                "responses": {"200": {"description": "well"}},
            }
        }
        for n in range(routes)
    }
    app = module("connexion").AsyncApp("bench")
    resolver = module("connexion.resolver").Resolver(lambda operation: _async_endpoint())
    app.add_api({"openapi": "3.0.0", "info": {"title": "bench", "version": "1"}, "paths": paths}, resolver=resolver)
    return app


def _endpoint() -> Callable[[int], str]:
    return lambda item: f"item {item}"


def _async_endpoint() -> Callable[[int], Any]:
    async def read(item: int) -> str:
        return f"item {item}"

    return read


def _among_all(app_of: Callable[[int], Any], routes: int) -> Any:
    """Return an app in a process that has imported every framework that is read."""
    for reader in (*WSGI_READERS, *ASGI_READERS):
        module(reader.module)
    return app_of(routes)


FRAMEWORKS: Final[Sequence[Framework]] = (
    Framework(FLASK, flask_app),
    Framework(f"{FLASK}{ALL_IMPORTED}", partial(_among_all, flask_app)),
    DJANGO,
    Framework("Bottle", bottle_app),
    Framework("Pyramid", pyramid_app, is_touched=True),
    Framework("Falcon", falcon_app, is_touched=True),
    Framework("CherryPy", cherrypy_app),
    Framework("Werkzeug, a Map", _WerkzeugApp),
    Framework(STARLETTE, starlette_app, is_asgi=True),
    Framework(f"{STARLETTE}{ALL_IMPORTED}", partial(_among_all, starlette_app), is_asgi=True),
    Framework("FastAPI", fastapi_app, is_asgi=True),
    Framework("Django, ASGI", django_asgi_app, is_asgi=True),
    Framework("Quart", quart_app, is_asgi=True, is_touched=True),
    Framework("Litestar", litestar_app, is_asgi=True),
    Framework("Falcon, ASGI", partial(falcon_app, is_asgi=True), is_asgi=True, is_touched=True),
    Framework("Sanic", sanic_app, is_asgi=True),
    Framework("BlackSheep", blacksheep_app, is_asgi=True, is_touched=True),
    Framework("Connexion", connexion_app, is_asgi=True),
)


def summary(measured: Mapping[str, Sequence[Table]], missing: Sequence[str]) -> FrameworkTable:
    """Return one table of those of all frameworks, which are by the framework's name."""
    rows, targets = [], []
    for name, tables in measured.items():
        few, many = ({figure.name: figure for figure in table.figures} for table in tables)
        *promised, flat = (target for table in tables for target in table.targets)
        rows.append(Row(name, few[OURS], many[OURS], flat.ratio, (few[BARE], many[BARE]), (few[LEAST], many[LEAST])))
        for peer in [key for key in few if key not in (BARE, LEAST, OURS)]:
            rows.append(Row(f"{name}: {peer}", few[peer], many[peer], many[peer].added / few[peer].added))
        targets += [*promised, flat._replace(what=f"{name}: {flat.what}")]
        missing = [*missing, *tables[0].missing]
    by_name = {row.name: row for row in rows}
    for name in (FLASK, STARLETTE):
        alone, among = by_name.get(name), by_name.get(f"{name}{ALL_IMPORTED}")
        if alone is not None and among is not None:
            for routes, one, other in (
                (MANY_ROUTES[0], alone.few, among.few),
                (MANY_ROUTES[1], alone.many, among.many),
            ):
                what = f"{name}, {routes} routes: cost added, all frameworks imported / this one"
                targets.append(Target(what, other.added / one.added, 1.05))
    return FrameworkTable("Frameworks", rows, targets, missing)
