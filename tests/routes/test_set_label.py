"""`set_label` with the request objects of the frameworks themselves, each handed to a view of its own."""

import functools
from collections.abc import Callable
from typing import Any

import bottle  # type: ignore[import-untyped]  # it has no annotations
import pytest

from red_middleware import Label, RedASGIMiddleware, RedWSGIMiddleware, set_label

from ..counts import counted
from .asking import ask_asgi, ask_wsgi, fresh
from .frameworks import imported, started
from .test_rare import needs


def view(request: Any) -> str:
    set_label(request, "plan", "gold")
    return "seen"


def quart() -> Any:
    framework = imported("quart")
    app = framework.Quart("shop", static_folder=None)
    app.add_url_rule("/seen", "seen", lambda: view(framework.request))
    return app


def litestar() -> Any:
    framework = imported("litestar")

    async def seen(request: Any) -> str:
        return view(request)

    seen.__annotations__["request"] = framework.Request
    return framework.Litestar([framework.get("/seen")(seen)], openapi_config=None, logging_config=None)


def falcon(module: str) -> Any:
    class Seen:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = view(req)

    class SeenLater:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = view(req)

    app = imported(module).App()
    app.add_route("/seen", SeenLater() if module == "falcon.asgi" else Seen())
    return app


def sanic() -> Any:
    framework = imported("sanic")
    framework.Sanic.test_mode = True
    app = framework.Sanic(f"shop{len(framework.Sanic._app_registry)}", configure_logging=False)

    async def seen(request: Any) -> Any:
        return imported("sanic.response").text(view(request))

    app.add_route(seen, "/seen")
    return app


def blacksheep() -> Any:
    framework = imported("blacksheep")
    app = framework.Application()

    async def seen(request: Any) -> Any:
        return framework.text(view(request))

    seen.__annotations__["request"] = framework.Request
    app.router.add_get("/seen", seen)
    return app


def bottles() -> Any:
    app = bottle.Bottle()
    app.route("/seen", "GET", lambda: view(bottle.request))
    return app


def pyramid() -> Any:
    config = imported("pyramid.config").Configurator()
    config.add_route("seen", "/seen")
    config.add_view(lambda request: imported("pyramid.response").Response(view(request)), route_name="seen")
    return config.make_wsgi_app()


def cherrypy() -> Any:
    framework = imported("cherrypy")

    class Root:
        @framework.expose  # type: ignore[untyped-decorator]  # it may not be installed
        def seen(self) -> str:
            return view(framework.request)

    return framework.Application(Root(), "", {})


def django_by_wsgi() -> Any:
    request_class = imported("django.core.handlers.wsgi").WSGIRequest

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [view(request_class(environ)).encode()]

    return app


def django_by_asgi() -> Any:
    request_class = imported("django.core.handlers.asgi").ASGIRequest

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": view(request_class(scope, None)).encode()})

    return app


@pytest.mark.parametrize(
    ("make", "is_asgi"),
    [
        pytest.param(quart, True, marks=needs("quart"), id="quart"),
        pytest.param(litestar, True, marks=needs("litestar"), id="litestar"),
        pytest.param(functools.partial(falcon, "falcon"), False, marks=needs("falcon"), id="falcon"),
        pytest.param(functools.partial(falcon, "falcon.asgi"), True, marks=needs("falcon"), id="falcon by ASGI"),
        pytest.param(sanic, True, marks=needs("sanic"), id="sanic"),
        pytest.param(blacksheep, True, marks=needs("blacksheep"), id="blacksheep"),
        pytest.param(bottles, False, id="bottle"),
        pytest.param(pyramid, False, marks=needs("pyramid"), id="pyramid"),
        pytest.param(cherrypy, False, marks=needs("cherrypy"), id="cherrypy"),
        pytest.param(django_by_wsgi, False, marks=needs("django"), id="django"),
        pytest.param(django_by_asgi, True, marks=needs("django"), id="django by ASGI"),
    ],
)
def test_a_view_says_a_value_with_the_request_of_its_framework(make: Callable[[], Any], is_asgi: bool) -> None:
    """It need not know where the environ or scope is. Flask, Starlette and FastAPI are in `test_labels`."""
    metrics = fresh(labels={"plan": Label(values=["gold"])})
    wrapped: Any = RedASGIMiddleware(make(), metrics=metrics) if is_asgi else RedWSGIMiddleware(make(), metrics=metrics)
    if make in (sanic, blacksheep):
        wrapped = started(wrapped)
    assert (ask_asgi if is_asgi else ask_wsgi)(wrapped, "/seen").body == b"seen"
    (found,) = counted(metrics, "http_requests_total")
    assert 'plan="gold"' in found
