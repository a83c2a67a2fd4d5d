"""The marks of views in the rarer frameworks. The others are in `test_views`, and Django's beside this."""

import functools
from collections.abc import Callable
from typing import Any

import bottle  # type: ignore[import-untyped]  # it has no annotations
import pytest

from red_middleware import RedASGIMiddleware, RedWSGIMiddleware, uncounted

from .asking import ask_asgi, ask_wsgi, faults, fresh, requests
from .frameworks import imported, started
from .test_rare import needs

GET, POST = ("GET", "POST")


def quart() -> Any:
    framework = imported("quart")
    app = framework.Quart("shop", static_folder=None)

    class Items(imported("quart.views").MethodView):  # type: ignore[misc]  # it may not be installed
        @uncounted
        async def get(self) -> str:
            return "hidden"

        async def post(self) -> str:
            return "plain"

    async def plain() -> str:
        return "plain"

    app.add_url_rule("/both", "plain", plain, methods=["POST"])
    app.add_url_rule("/both", "hidden", uncounted(lambda: "hidden"))
    app.add_url_rule("/class", view_func=Items.as_view("class"))
    return app


def litestar() -> Any:
    framework = imported("litestar")

    @framework.get("/both")  # type: ignore[untyped-decorator]  # it may not be installed
    @uncounted
    async def hidden() -> str:
        return "hidden"

    @framework.post("/both", status_code=200)  # type: ignore[untyped-decorator]  # as above
    async def plain() -> str:
        return "plain"

    class Items(imported("litestar").Controller):  # type: ignore[misc]  # as above
        path = "/class"

        @framework.get()  # type: ignore[untyped-decorator]  # as above
        @uncounted
        async def shown(self) -> str:
            return "hidden"

        @framework.post(status_code=200)  # type: ignore[untyped-decorator]  # as above
        async def made(self) -> str:
            return "plain"

    return framework.Litestar([hidden, plain, Items], openapi_config=None, logging_config=None)


def falcon(module: str) -> Any:
    framework = imported(module)

    class Items:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = "hidden"

        def on_post(self, req: Any, resp: Any) -> None:
            resp.text = "plain"

    class Later:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = "hidden"

        async def on_post(self, req: Any, resp: Any) -> None:
            resp.text = "plain"

    kind: Any = Later if module == "falcon.asgi" else Items
    uncounted(kind.on_get)
    app = framework.App()
    app.add_route("/both", kind())
    app.add_route("/class", kind())
    app.add_route("/whole", uncounted(type("Whole", (kind,), {}))())
    return app


def sanic() -> Any:
    framework = imported("sanic")
    framework.Sanic.test_mode = True
    app = framework.Sanic(f"shop{len(framework.Sanic._app_registry)}", configure_logging=False)
    text = imported("sanic.response").text

    class Items(imported("sanic.views").HTTPMethodView):  # type: ignore[misc]  # it may not be installed
        @uncounted
        async def get(self, request: Any) -> Any:
            return text("hidden")

        async def post(self, request: Any) -> Any:
            return text("plain")

    async def hidden(request: Any) -> Any:
        return text("hidden")

    async def plain(request: Any) -> Any:
        return text("plain")

    app.add_route(uncounted(hidden), "/both", methods=["GET"])
    app.add_route(plain, "/both", methods=["POST"])
    app.add_route(Items.as_view(), "/class")
    return app


def bottles() -> Any:
    app = bottle.Bottle()
    app.route("/both", "GET", uncounted(lambda: "hidden"))
    app.route("/both", "POST", lambda: "plain")
    app.route("/class", "GET", functools.partial(uncounted(lambda: "hidden")))
    app.route("/class", "POST", lambda: "plain")
    return app


def pyramid() -> Any:
    config = imported("pyramid.config").Configurator()
    response = imported("pyramid.response").Response

    class Items:
        def __init__(self, request: Any) -> None:
            self.made = lambda: response("plain")  # a name that the class does not have

        @uncounted
        def shown(self) -> Any:
            return response("hidden")

    def hidden(request: Any) -> Any:
        return response("hidden")

    for name in ("both", "class", "any"):
        config.add_route(name, f"/{name}")
    config.add_view(Items, attr="made", route_name="class", request_method="POST")
    config.add_view(Items, attr="shown", route_name="class", request_method="GET")
    config.add_view(uncounted(hidden), route_name="both", request_method="GET")
    config.add_view(lambda request: response("plain"), route_name="both", request_method="POST")
    config.add_view(uncounted(type("Traversed", (Items,), {})), attr="shown", name="traversed")
    return config.make_wsgi_app()


@pytest.mark.parametrize(
    ("make", "is_asgi"),
    [
        pytest.param(quart, True, marks=needs("quart"), id="quart"),
        pytest.param(litestar, True, marks=needs("litestar"), id="litestar"),
        pytest.param(functools.partial(falcon, "falcon"), False, marks=needs("falcon"), id="falcon"),
        pytest.param(functools.partial(falcon, "falcon.asgi"), True, marks=needs("falcon"), id="falcon by ASGI"),
        pytest.param(sanic, True, marks=needs("sanic"), id="sanic"),
        pytest.param(bottles, False, id="bottle"),
        pytest.param(pyramid, False, marks=needs("pyramid"), id="pyramid"),
    ],
)
def test_of_two_views_on_one_template_the_marked_one_is_left_out(make: Callable[[], Any], is_asgi: bool) -> None:
    """Functions and classes, told apart by the method of the request."""
    metrics = fresh()
    wrapped: Any = RedASGIMiddleware(make(), metrics=metrics) if is_asgi else RedWSGIMiddleware(make(), metrics=metrics)
    if make is sanic:
        wrapped = started(wrapped)
    for path in ("/both", "/class"):
        for method, body in zip((GET, POST), (b"hidden", b"plain"), strict=True):
            assert (ask_asgi if is_asgi else ask_wsgi)(wrapped, path, method).body == body
    assert requests(metrics) == {("POST", "/both", "200"): 1, ("POST", "/class", "200"): 1}
    assert faults(metrics) == 0


@needs("falcon")
def test_a_class_of_resources_is_marked_whole() -> None:
    """Falcon is given an object of it."""
    metrics = fresh()
    wrapped = RedWSGIMiddleware(falcon("falcon"), metrics=metrics)
    for method in (GET, POST):
        assert ask_wsgi(wrapped, "/whole", method).status == 200
    assert requests(metrics) == {}
