"""Flask's routes: the rule as the author wrote it, with every prefix, and nothing that a client sent."""

import gc
import io
import logging
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
import pytest
from flask.views import MethodView
from prometheus_client import make_wsgi_app
from werkzeug.debug import DebuggedApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request, Response

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.routes.flask import FlaskReader
from red_middleware.routes.stack import MAX_RAISED

from .asking import WSGIApp, ask_wsgi, exceptions, faults, fresh, in_a_module, requests, routes
from .reading import Read


class ViewError(Exception):
    """Raised by a view."""


def fail(kind: type[BaseException] = ViewError) -> Any:
    raise kind


@pytest.fixture
def app() -> flask.Flask:
    return make_app()


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh()


def make_app(name: str = "shop") -> flask.Flask:
    app = flask.Flask(name, static_folder=None)
    app.add_url_rule("/items/<int:item>", "item", lambda item: str(item))
    app.add_url_rule("/fail", "fail", fail)
    app.add_url_rule("/exit", "exit", lambda: fail(SystemExit))
    return app


def wrap(app: Any, metrics: RedMetrics, **options: Any) -> RedWSGIMiddleware:
    return RedWSGIMiddleware(app, metrics=metrics, **options)


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Be a WSGI application of no framework."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_prefixes_of_nested_blueprints_are_in_the_route(app: flask.Flask, metrics: RedMetrics) -> None:
    """With the prefix given at registration in place of the blueprint's own."""
    inner = flask.Blueprint("inner", "inner", url_prefix="/never")
    inner.add_url_rule("/<path:rest>", "rest", lambda tenant, rest: f"{tenant} {rest}")
    outer = flask.Blueprint("outer", "outer", url_prefix="/<tenant>")
    outer.register_blueprint(inner, url_prefix="/files")
    app.register_blueprint(outer)
    assert ask_wsgi(wrap(app, metrics), "/acme/files/a/b").body == b"acme a/b"
    assert routes(metrics) == {"/<tenant>/files/<path:rest>": 1}


def test_what_is_refused_before_the_router_has_no_route(app: flask.Flask, metrics: RedMetrics) -> None:
    """Also where the app holds the middleware, as the README has it, and so leads to the map that was read."""
    inner = app.wsgi_app

    def refusing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_AUTHORIZATION" in environ:
            return inner(environ, start_response)
        start_response("401 Unauthorized", [])
        return []

    app.wsgi_app = wrap(refusing, metrics)  # type: ignore[method-assign]  # Flask's own way
    client = app.test_client()
    client.get("/items/1", headers={"Authorization": "Bearer token"}, buffered=True)
    client.get("/items/1", buffered=True)
    assert requests(metrics) == {("GET", "/items/<int:item>", "200"): 1, ("GET", "_unmatched", "401"): 1}


def test_a_class_of_methods_is_one_route(app: flask.Flask, metrics: RedMetrics) -> None:
    """`MethodView` declares the methods that it has."""

    class Orders(MethodView):
        def get(self, order: str) -> str:
            return order

        def put(self, order: str) -> str:
            return order

    app.add_url_rule("/orders/<order>", view_func=Orders.as_view("orders"))
    wrapped = wrap(app, metrics)
    for method in ("GET", "PUT", "HEAD", "OPTIONS", "DELETE"):
        ask_wsgi(wrapped, "/orders/7", method)
    assert requests(metrics) == {
        ("GET", "/orders/<order>", "200"): 1,
        ("PUT", "/orders/<order>", "200"): 1,
        ("HEAD", "/orders/<order>", "200"): 1,
        ("OPTIONS", "/orders/<order>", "200"): 1,
        ("DELETE", "_unmatched", "405"): 1,
    }


def test_converters_defaults_and_static_files_keep_their_rule(metrics: RedMetrics) -> None:
    """The rule that matched counts, as it was written."""
    app = flask.Flask(__name__, static_url_path="/static", static_folder=".")
    app.add_url_rule("/<any(a, b):letter>/<uuid:key>", "letter", lambda letter, key: letter)
    app.add_url_rule("/pages/", "pages", lambda page: str(page), defaults={"page": 1})
    app.add_url_rule("/pages/<int:page>", "pages")
    wrapped = wrap(app, metrics)
    ask_wsgi(wrapped, "/b/12345678-1234-5678-1234-567812345678")
    ask_wsgi(wrapped, "/pages/")
    ask_wsgi(wrapped, "/pages/2")
    assert ask_wsgi(wrapped, "/pages/1").status == 308
    ask_wsgi(wrapped, "/static/test_flask.py")
    ask_wsgi(wrapped, "/static/nothing.py")
    assert requests(metrics) == {
        ("GET", "/<any(a, b):letter>/<uuid:key>", "200"): 1,
        ("GET", "/pages/", "200"): 1,
        ("GET", "/pages/<int:page>", "200"): 1,
        ("GET", "_unmatched", "308"): 1,
        ("GET", "/static/<path:filename>", "200"): 1,
        ("GET", "/static/<path:filename>", "404"): 1,
    }


def test_rules_of_hosts_and_subdomains_count_by_their_path(metrics: RedMetrics) -> None:
    """No host is ever in a route."""
    app = flask.Flask("shop", static_folder=None, host_matching=True)
    app.add_url_rule("/hello", "hello", lambda tenant: str(tenant), host="<tenant>.example")
    ask_wsgi(wrap(app, metrics), "/hello", environ={"HTTP_HOST": "acme.example"})
    ask_wsgi(wrap(app, metrics), "/hello", environ={"HTTP_HOST": "acme.invalid"})
    assert routes(metrics) == {"/hello": 1, "_unmatched": 1}


def test_rules_that_serve_nothing_over_http_are_not_declared(app: flask.Flask) -> None:
    """Rules for WebSockets, and rules that only build URLs."""
    app.add_url_rule("/only-built", "built", build_only=True)
    app.url_map.add(app.url_rule_class("/socket", endpoint="socket", websocket=True))
    read = Read(FlaskReader, app)
    assert read.learn() is True
    assert read.declared == {path: {"GET", "HEAD", "OPTIONS"} for path in ("/items/<int:item>", "/fail", "/exit")}


class TestMounts:
    """Werkzeug's `DispatcherMiddleware`."""

    def test_mounted_apps_have_their_prefix(self, metrics: RedMetrics) -> None:
        """As the author wrote it, nested too, and also where nothing of theirs was asked before."""
        shop, admin, root = make_app("a"), make_app("b"), make_app("c")
        inner = DispatcherMiddleware(shop, {"/admin": admin})
        wrapped = wrap(DispatcherMiddleware(root, {"/shop": inner}), metrics)
        for path in ("/items/1", "/shop/items/2", "/shop/admin/items/3", "/shop/admin/nowhere"):
            ask_wsgi(wrapped, path)
        assert routes(metrics) == {
            "/items/<int:item>": 1,
            "/shop/items/<int:item>": 1,
            "/shop/admin/items/<int:item>": 1,
            "_unmatched": 1,
        }
        assert faults(metrics) == 0

    def test_one_app_mounted_twice_has_both_prefixes_declared(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Before any request came to either, and all at once."""
        dispatcher = DispatcherMiddleware(hello, {"/a": app, "/b": app})
        read = Read(FlaskReader, dispatcher)
        read.learn()
        assert {"/a/fail", "/b/fail"} < read.declared.keys()
        assert len(read.declarations) == 1
        wrapped = wrap(dispatcher, metrics)
        ask_wsgi(wrapped, "/")
        ask_wsgi(wrapped, "/a/items/1")
        ask_wsgi(wrapped, "/b/items/1")
        assert routes(metrics) == {"_unmatched": 1, "/a/items/<int:item>": 1, "/b/items/<int:item>": 1}

    def test_a_foreign_app_under_a_mount_is_its_mount(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Also where another mount begins with the same letters."""
        wrapped = wrap(DispatcherMiddleware(app, {"/api": hello, "/api2": make_app("other")}), metrics)
        for path in ("/api", "/api/any/thing", "/apis", "/api2/items/1"):
            ask_wsgi(wrapped, path)
        assert routes(metrics) == {"/api/*": 2, "_unmatched": 1, "/api2/items/<int:item>": 1}

    def test_a_mounted_exposition_is_left_alone(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """An app that mounts prometheus_client's own at /metrics keeps it."""
        wrapped = wrap(DispatcherMiddleware(app, {"/metrics": make_wsgi_app(metrics.registry)}), metrics)
        assert b"python_info" not in ask_wsgi(wrapped, "/metrics").body
        assert routes(metrics) == {"/metrics/*": 1}

    def test_a_middleware_within_a_mounted_app_leaves_the_prefix_out(
        self, app: flask.Flask, metrics: RedMetrics
    ) -> None:
        """A limit, documented: what lies around the middleware is the server's or a client's word."""
        app.wsgi_app = wrap(app.wsgi_app, metrics)  # type: ignore[method-assign]  # Flask's own way
        ask_wsgi(DispatcherMiddleware(hello, {"/shop": app}), "/shop/items/1")
        assert routes(metrics) == {"/items/<int:item>": 1}

    def test_a_propagated_exception_keeps_its_prefix(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """The environ still tells which mount it was."""
        app.testing = True
        ask_wsgi(wrap(DispatcherMiddleware(hello, {"/shop": app}), metrics), "/shop/fail", catch=ViewError)
        assert requests(metrics) == {("GET", "/shop/fail", "500"): 1}


class TestClientsText:
    """What a client sends never comes into a label."""

    def test_a_forwarded_prefix(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """`ProxyFix` makes `SCRIPT_NAME` of it."""
        app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)  # type: ignore[method-assign]  # Flask's own way
        mounted = DispatcherMiddleware(app, {"/shop": ProxyFix(make_app("inner"), x_prefix=1)})
        wrapped = wrap(mounted, metrics)
        for path in ("/items/1", "/shop/items/1"):
            for prefix in ("/evil", "/shop", "/shop/items", "/items"):
                ask_wsgi(wrapped, path, environ={"HTTP_X_FORWARDED_PREFIX": prefix})
        assert routes(metrics) == {"/items/<int:item>": 4, "/shop/items/<int:item>": 4}

    def test_a_forwarded_prefix_outside(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Wherever `ProxyFix` stands."""
        app.wsgi_app = wrap(app.wsgi_app, metrics)  # type: ignore[method-assign]  # Flask's own way
        ask_wsgi(ProxyFix(app, x_prefix=1), "/items/1", environ={"HTTP_X_FORWARDED_PREFIX": "/evil"})
        assert routes(metrics) == {"/items/<int:item>": 1}

    def test_the_servers_own_mount(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """`SCRIPT_NAME` from the server is where the whole app lies, and no part of its routes."""
        ask_wsgi(wrap(app, metrics), "/items/1", environ={"SCRIPT_NAME": "/anywhere"})
        assert routes(metrics) == {"/items/<int:item>": 1}


class TestHidden:
    """Where the environ does not hold the request."""

    @pytest.mark.parametrize("mount", ["", "/shop"])
    def test_a_copied_environ(self, app: flask.Flask, metrics: RedMetrics, mount: str) -> None:
        """A middleware between may hand on a copy; Flask's context and the traceback still know."""

        def copying(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            return inner(dict(environ), start_response)

        inner: WSGIApp = DispatcherMiddleware(hello, {mount: app}) if mount else app
        wrapped = wrap(copying, metrics)
        ask_wsgi(wrapped, f"{mount}/items/1")
        ask_wsgi(wrapped, f"{mount}/nowhere")
        app.testing = True
        ask_wsgi(wrapped, f"{mount}/fail", catch=ViewError)
        assert requests(metrics) == {
            ("GET", f"{mount}/items/<int:item>", "200"): 1,
            ("GET", "_unmatched", "404"): 1,
            ("GET", f"{mount}/fail", "500"): 1,
        }

    @pytest.mark.parametrize("kind", [Request, flask.Request])
    def test_a_second_request_object(self, app: flask.Flask, metrics: RedMetrics, kind: type[Request]) -> None:
        """An app may build another one from the environ, which takes the first one's place there."""
        app.add_url_rule("/second", "second", lambda: kind(flask.request.environ).path)
        assert ask_wsgi(wrap(app, metrics), "/second").body == b"/second"
        assert routes(metrics) == {"/second": 1}

    def test_an_app_that_asks_another_one(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Its own request counts, under its own route, whatever became of the other."""
        other = make_app("other")
        other.testing = True
        app.add_url_rule("/asks", "asks", lambda: Response.from_app(other, flask.request.environ))
        app.add_url_rule("/tests", "tests", lambda: other.test_client().get("/items/1").data)
        app.add_url_rule("/tests-and-fails", "tests_fail", lambda: other.test_client().get("/fail").data)
        app.testing = True
        wrapped = wrap(app, metrics)
        ask_wsgi(wrapped, "/asks", validate=False)
        ask_wsgi(wrapped, "/tests")
        ask_wsgi(wrapped, "/tests-and-fails", catch=ViewError)
        assert routes(metrics) == {"/asks": 1, "/tests": 1, "/tests-and-fails": 1}

    def test_a_foreign_app_that_asks_a_flask_app_aside(self, metrics: RedMetrics) -> None:
        """The route of a request that is not this one is not taken for it."""
        app = make_app()
        app.testing = True

        def foreign(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/flask":
                return app(environ, start_response)
            app.test_client().get("/fail")
            raise AssertionError

        wrapped = wrap(foreign, metrics)
        ask_wsgi(wrapped, "/flask")
        ask_wsgi(wrapped, "/other", catch=ViewError)
        assert requests(metrics) == {("GET", "_unmatched", "404"): 1, ("GET", "_unmatched", "500"): 1}

    def test_an_exception_that_no_flask_app_saw(self, metrics: RedMetrics) -> None:
        """There is no route, however long the traceback."""

        def foreign(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if environ["PATH_INFO"] in depths:
                return deep(environ, depths[environ["PATH_INFO"]])
            return make_app()(environ, start_response)

        def deep(environ: object, depth: int) -> Iterable[bytes]:
            return deep(environ, depth - 1) if depth else fail()

        depths = {"/shallow": 0, "/deep": 2 * MAX_RAISED}
        wrapped = wrap(foreign, metrics)
        ask_wsgi(wrapped, "/items/1")
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(4 * MAX_RAISED)
        try:
            for path in depths:
                ask_wsgi(wrapped, path, catch=ViewError)
        finally:
            sys.setrecursionlimit(limit)
        assert requests(metrics) == {("GET", "/items/<int:item>", "200"): 1, ("GET", "_unmatched", "500"): 2}


class TestExceptions:
    """Each is named once, on its route, and comes out as it was."""

    @pytest.mark.parametrize("option", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
    @pytest.mark.parametrize("inside", [True, False])
    def test_propagated(self, app: flask.Flask, metrics: RedMetrics, option: str, inside: bool) -> None:
        """Flask gives no response then, and has popped its context: the traceback tells."""
        app.config[option] = True
        if inside:
            app.wsgi_app = wrap(app.wsgi_app, metrics)  # type: ignore[method-assign]  # Flask's own way
        ask_wsgi(app if inside else wrap(app, metrics), "/fail", catch=ViewError)
        assert requests(metrics) == {("GET", "/fail", "500"): 1}
        assert exceptions(metrics) == {("/fail", "ViewError"): 1}

    def test_what_is_no_exception_to_flask(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """`SystemExit` and the like pass through Flask without its signal."""
        ask_wsgi(wrap(app, metrics), "/exit", catch=SystemExit)
        assert requests(metrics) == {("GET", "/exit", "500"): 1}
        assert exceptions(metrics) == {("/exit", "SystemExit"): 1}

    def test_made_a_500_by_flask(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Flask's signal names it, whatever the app answers."""
        assert ask_wsgi(wrap(app, metrics), "/fail").status == 500
        other = make_app("other")
        other.register_error_handler(500, lambda error: ("sorry", 503))
        assert ask_wsgi(wrap(other, metrics), "/fail").status == 503
        assert requests(metrics) == {("GET", "/fail", "500"): 1, ("GET", "/fail", "503"): 1}
        assert exceptions(metrics) == {("/fail", "ViewError"): 2}

    def test_handled_by_the_app(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """What the app answers by a handler of its own is a response as any other."""
        app.register_error_handler(Exception, lambda error: ("your fault", 400))
        ask_wsgi(wrap(app, metrics), "/fail")
        assert requests(metrics) == {("GET", "/fail", "400"): 1}
        assert exceptions(metrics) == {}

    def test_before_and_after_the_view(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """The route is known by then."""
        app.before_request(lambda: fail() if flask.request.args.get("when") == "before" else None)
        app.after_request(lambda response: fail() if flask.request.args.get("when") == "after" else response)
        wrapped = wrap(app, metrics)
        ask_wsgi(wrapped, "/items/1?when=before")
        ask_wsgi(wrapped, "/items/1?when=after")
        assert requests(metrics) == {("GET", "/items/<int:item>", "500"): 2}
        assert exceptions(metrics) == {("/items/<int:item>", "ViewError"): 2}

    def test_in_a_teardown(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Flask has begun the response by then; the exception ends it."""
        app.teardown_request(lambda error: fail())
        ask_wsgi(wrap(app, metrics), "/items/1", catch=ViewError)
        ((row, count),) = requests(metrics).items()
        assert row[:2] == ("GET", "/items/<int:item>")
        assert count == 1
        assert exceptions(metrics) == {("/items/<int:item>", "ViewError"): 1}

    @pytest.mark.parametrize("option", ["TRAP_HTTP_EXCEPTIONS", "TRAP_BAD_REQUEST_ERRORS"])
    def test_an_answer_that_the_app_traps_is_an_exception(self, metrics: RedMetrics, option: str) -> None:
        """The client gets a 500 of it, so it has a name."""
        app = flask.Flask(__name__)
        app.config[option] = True
        app.add_url_rule("/bad", "bad", lambda: flask.request.args["missing"])
        assert ask_wsgi(wrap(app, metrics), "/bad").status == 500
        assert exceptions(metrics) == {("/bad", "BadRequestKeyError"): 1}

    @pytest.mark.parametrize("extension", ["flask_restful", "flask_restx"])
    def test_an_http_exception_below_500_is_an_answer(self, metrics: RedMetrics, extension: str) -> None:
        """Extensions that answer every exception themselves send Flask's signal for each of them."""
        rest: Any = pytest.importorskip(extension)

        class Resource(rest.Resource):  # type: ignore[misc]  # a class without types
            def get(self, what: str) -> None:
                if what == "view":
                    raise ViewError
                flask.abort(flask.Response("made", 404) if what == "response" else int(what))

        app = flask.Flask(extension)
        rest.Api(app).add_resource(Resource, "/abort/<what>")
        wrapped = wrap(app, metrics)
        for code in ("400", "404", "409", "503"):
            assert ask_wsgi(wrapped, f"/abort/{code}").status == int(code)
        ask_wsgi(wrapped, "/abort/response")
        assert ask_wsgi(wrapped, "/abort/404", "POST").status == 405
        assert exceptions(metrics) == {("/abort/<what>", "ServiceUnavailable"): 1}
        assert ask_wsgi(wrapped, "/abort/view").status == 500
        assert exceptions(metrics) == {("/abort/<what>", "ServiceUnavailable"): 1, ("/abort/<what>", "ViewError"): 1}

    def test_the_route_of_a_websocket_is_no_request(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Werkzeug's own server is given a response when the session is over. Who asks elsewhere is counted."""
        app.add_url_rule("/socket", "socket", lambda: "over", websocket=True)
        wrapped = wrap(app, metrics)
        asking = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"}
        for _ in range(2):
            assert ask_wsgi(wrapped, "/socket", environ=asking).body == b"over"
        assert requests(metrics) == {}
        ask_wsgi(wrapped, "/socket")
        ask_wsgi(wrapped, "/items/1", environ=asking)
        assert sum(requests(metrics).values()) == 2

    def test_what_a_route_of_websockets_refuses_or_fails_at_is_counted(
        self, app: flask.Flask, metrics: RedMetrics
    ) -> None:
        """Else a client could hide there."""

        def fail() -> str:
            raise ViewError

        app.add_url_rule("/refusing", "refusing", lambda: flask.abort(403), websocket=True)
        app.add_url_rule("/failing", "failing", fail, websocket=True)
        wrapped = wrap(app, metrics)
        for path in ("/refusing", "/failing"):
            ask_wsgi(wrapped, path, environ={"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"})
        assert requests(metrics) == {("GET", "/refusing", "403"): 1, ("GET", "/failing", "500"): 1}
        assert exceptions(metrics) == {("/failing", "ViewError"): 1}

    def test_in_the_middle_of_a_stream(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """With and without Flask's context kept."""

        def half() -> Iterator[str]:
            yield "half"
            raise ViewError

        app.add_url_rule("/half", "half", lambda: app.response_class(half()))
        app.add_url_rule("/kept", "kept", lambda: app.response_class(flask.stream_with_context(half())))
        wrapped = wrap(app, metrics)
        for path in ("/half", "/kept"):
            assert ask_wsgi(wrapped, path, catch=ViewError).body == b"half"
        assert requests(metrics) == {("GET", "/half", "200"): 1, ("GET", "/kept", "200"): 1}
        assert exceptions(metrics) == {("/half", "ViewError"): 1, ("/kept", "ViewError"): 1}
        assert metrics.snapshot()['http_errors_total{method="GET",route="/half"}'] == 1

    def test_under_the_debugger(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Outside it gets the exception, inside it has made a 500 of it."""
        app.testing = True
        assert ask_wsgi(DebuggedApplication(wrap(app, metrics)), "/fail").status == 500
        assert ask_wsgi(wrap(DebuggedApplication(app), metrics), "/fail").status == 500
        assert requests(metrics) == {("GET", "/fail", "500"): 2}
        assert exceptions(metrics) == {("/fail", "ViewError"): 2}

    def test_a_signal_that_somebody_else_sends(self, app: flask.Flask, metrics: RedMetrics) -> None:
        """Outside a request it concerns nobody, and raises nothing."""
        ask_wsgi(wrap(app, metrics), "/items/1")
        flask.got_request_exception.send(app, exception=ViewError())
        assert exceptions(metrics) == {}
        assert faults(metrics) == 0

    def test_one_receiver_a_process(self, metrics: RedMetrics) -> None:
        """However many apps and middlewares there are."""
        ask_wsgi(wrap(make_app(), metrics), "/items/1")
        before = len(flask.got_request_exception.receivers)
        for _ in range(20):
            ask_wsgi(wrap(wrap(make_app(), metrics), fresh()), "/items/1")
        assert len(flask.got_request_exception.receivers) == before


def test_each_of_several_apps_feeds_its_own_numbers() -> None:
    """Several Flask apps in one process, each with a `RedMetrics` of its own, exceptions too."""
    first, second = fresh(), fresh()
    one, two = wrap(make_app("a"), first), wrap(make_app("b"), second)
    ask_wsgi(one, "/fail")
    ask_wsgi(two, "/items/1")
    assert (routes(first), routes(second)) == ({"/fail": 1}, {"/items/<int:item>": 1})
    assert (exceptions(first), exceptions(second)) == ({("/fail", "ViewError"): 1}, {})


def test_an_exception_is_named_in_the_numbers_of_every_middleware_around() -> None:
    """One request through middlewares of different numbers counts in each."""
    inner, outer = fresh(), fresh()
    ask_wsgi(wrap(wrap(make_app(), inner), outer), "/fail")
    assert exceptions(inner) == exceptions(outer) == {("/fail", "ViewError"): 1}


def test_an_app_factory_run_twice_shares_the_numbers(metrics: RedMetrics) -> None:
    """Nothing is reserved twice."""
    bounds = []
    for _ in range(2):
        ask_wsgi(wrap(make_app(), RedMetrics(registry=metrics.registry, clock=metrics.clock)), "/items/1")
        bounds.append(metrics.bound())
    assert routes(metrics) == {"/items/<int:item>": 2}
    assert bounds[0] == bounds[1]


def test_a_dropped_app_is_freed(metrics: RedMetrics) -> None:
    """Nothing that lives as long as the process holds it, nor does a middleware that stays."""
    apps = [make_app()]
    held = weakref.ref(apps[0])

    def newest(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return apps[0](environ, start_response)

    staying = wrap(newest, metrics)
    ask_wsgi(wrap(apps[0], metrics), "/items/1")
    ask_wsgi(staying, "/items/1")
    apps[0] = make_app()
    ask_wsgi(staying, "/items/1")
    gc.collect()
    assert held() is None
    assert routes(metrics) == {"/items/<int:item>": 3}


def test_an_app_for_every_request_makes_no_memory(metrics: RedMetrics) -> None:
    """Those that are gone are forgotten, and so are their maps, but for the last."""
    maps: weakref.WeakSet[object] = weakref.WeakSet()

    def dispatch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = make_app()
        maps.add(app.url_map)
        return app(environ, start_response)

    wrapped = wrap(dispatch, metrics)
    for _ in range(50):
        ask_wsgi(wrapped, "/items/1")
    gc.collect()
    assert len(maps) <= 1
    assert routes(metrics) == {"/items/<int:item>": 50}


def test_declared_routes_are_reserved_before_the_first_request_is_counted(metrics: RedMetrics) -> None:
    """So that nothing that clients ask for takes their place."""
    metrics = fresh(max_label_sets=1)
    guess = iter(range(10**6))
    wrapped = wrap(
        make_app(), metrics, route_of=lambda environ: f"/made-up/{next(guess)}" if flask.g.get("x") else None
    )
    hostile = wrap(hello, metrics, route_of=lambda environ: f"/made-up/{next(guess)}")
    ask_wsgi(wrapped, "/nowhere")
    for _ in range(100):
        ask_wsgi(hostile, "/")
    ask_wsgi(wrapped, "/items/1")
    ask_wsgi(wrapped, "/fail")
    found = routes(metrics)
    assert found.pop("/items/<int:item>") == 1
    assert found.pop("/fail") == 1
    assert found.pop("_unmatched") == 1
    assert found == {"_overflow": 100}


def test_a_file_is_sent_by_the_servers_own_wrapper(app: flask.Flask, metrics: RedMetrics) -> None:
    """`send_file` hands out `wsgi.file_wrapper`'s object, which must reach the server as it is."""

    class FileWrapper:
        def __init__(self, file: Any, size: int = 8192) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter([self.file.read()])

        def close(self) -> None:
            self.file.close()

    app.add_url_rule("/file", "file", lambda: flask.send_file(io.BytesIO(b"bytes"), mimetype="text/plain"))
    bodies: list[object] = []

    def server(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        bodies.append(wrap(app, metrics)(environ, start_response))
        return bodies[0]  # type: ignore[return-value]  # the middleware's body

    answer = ask_wsgi(server, "/file", environ={"wsgi.file_wrapper": FileWrapper}, validate=False)
    assert answer.body == b"bytes"
    assert routes(metrics) == {"/file": 1}


def test_async_views_are_views(app: flask.Flask, metrics: RedMetrics) -> None:
    """Where asgiref is installed."""
    pytest.importorskip("asgiref")

    async def view() -> str:
        return "later"

    async def failing() -> str:
        raise ViewError

    app.add_url_rule("/later", "later", view)
    app.add_url_rule("/failing", "failing", failing)
    wrapped = wrap(app, metrics)
    assert ask_wsgi(wrapped, "/later").body == b"later"
    ask_wsgi(wrapped, "/failing")
    assert routes(metrics) == {"/later": 1, "/failing": 1}
    assert exceptions(metrics) == {("/failing", "ViewError"): 1}


def test_flasks_test_client_keeps_sessions_and_contexts(app: flask.Flask, metrics: RedMetrics) -> None:
    """A context that the client preserves is not taken for that of the next request."""
    app.secret_key = "secret"
    app.add_url_rule("/set", "set", lambda: flask.session.setdefault("seen", "yes"))
    app.add_url_rule("/get", "get", lambda: flask.session["seen"])
    app.wsgi_app = wrap(app.wsgi_app, metrics)  # type: ignore[method-assign]  # Flask's own way
    with app.test_client() as client:
        client.get("/set")
        assert client.get("/get").text == "yes"
        assert flask.session["seen"] == "yes"
        assert flask.request.path == "/get"
        with client.session_transaction() as session:
            session["seen"] = "again"
        assert client.get("/get").text == "again"
        ask_wsgi(wrap(hello, metrics), "/foreign")
    assert routes(metrics) == {"/set": 1, "/get": 2, "_unmatched": 1}


def test_threads_do_not_mix_their_routes(app: flask.Flask, metrics: RedMetrics) -> None:
    """Each request finds its own."""
    wrapped = wrap(app, metrics)

    def many(path: str) -> None:
        for _ in range(50):
            ask_wsgi(wrapped, path, validate=False)

    threads = [threading.Thread(target=many, args=(path,)) for path in ("/items/1", "/fail", "/nowhere")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert routes(metrics) == {"/items/<int:item>": 50, "/fail": 50, "_unmatched": 50}


def test_an_app_that_was_made_a_middleware_itself_keeps_its_metrics_route(metrics: RedMetrics) -> None:
    """An app that declares /metrics itself keeps it."""
    app = make_app()
    app.add_url_rule("/metrics", "metrics", lambda: "mine")
    assert ask_wsgi(wrap(app, metrics), "/metrics").body == b"mine"
    assert routes(metrics) == {"/metrics": 1}


def test_a_route_of_the_apps_own_at_the_endpoints_path_is_found_in_any_script(metrics: RedMetrics) -> None:
    """`PATH_INFO` is not spelled as a rule is (PEP 3333)."""
    app = make_app()
    app.add_url_rule("/métriques", "metrics", lambda: "mine")
    path = "/métriques".encode().decode("latin-1")
    assert ask_wsgi(wrap(app, metrics, metrics_path="/métriques"), path).body == b"mine"
    assert b"uptime" in ask_wsgi(wrap(make_app(), metrics, metrics_path="/métriques"), path).body


def test_a_route_may_be_named_by_its_endpoint(app: flask.Flask, metrics: RedMetrics) -> None:
    """As `docs/migration.md` says: Werkzeug leaves its request in the environ."""
    wrapped = wrap(app, metrics, route_of=lambda environ: environ["werkzeug.request"].endpoint)
    for path in ("/items/1", "/items/2", "/nowhere"):
        ask_wsgi(wrapped, path)
    assert routes(metrics) == {"/item": 2, "_unmatched": 1}
    assert faults(metrics) == 0


the_app: Any = None  # what a test says, see `in_a_module`


def calls_it(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call a Flask app that is a global variable."""
    return the_app(environ, start_response)  # type: ignore[no-any-return]  # Flask's body


def calls_one_of_them(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call a Flask app by the host that was asked."""
    return the_app[environ["HTTP_HOST"]](environ, start_response)  # type: ignore[no-any-return]  # Flask's body


class TestPlainFunctions:
    """A function that knows a Flask app only by its name, or makes it."""

    @pytest.mark.parametrize("around", [calls_it, calls_one_of_them, DispatcherMiddleware])
    def test_the_app_is_known_when_it_first_matches_a_route(self, app: flask.Flask, around: Callable[..., Any]) -> None:
        """All of its routes are declared then."""
        if around is calls_one_of_them:
            application: WSGIApp = in_a_module(calls_one_of_them, the_app={"shop.example": app})
        else:
            application = in_a_module(calls_it, the_app=app)
        read = Read(FlaskReader, DispatcherMiddleware(application) if around is DispatcherMiddleware else application)
        assert read.learn() is False
        assert read.declared == {}
        ask_wsgi(read.wsgi, "/nowhere")
        ask_wsgi(read.wsgi, "/items/1")
        assert read.labels == [None, "/items/<int:item>"]
        assert read.declared.keys() == {"/items/<int:item>", "/fail", "/exit"}

    def test_an_app_that_is_there_only_later_takes_no_metrics_away(
        self, metrics: RedMetrics, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Who answers stays as it was at the first request; one warning says so."""
        made: list[flask.Flask] = []

        def lazy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if not made:
                made.append(make_app())
                made[0].add_url_rule("/metrics", "metrics", lambda: "mine")
            return made[0](environ, start_response)

        wrapped = wrap(lazy, metrics)
        with caplog.at_level(logging.WARNING, "red_middleware"):
            for path in ("/metrics", "/items/1", "/metrics", "/items/1", "/metrics"):
                assert ask_wsgi(wrapped, path).body != b"mine"
        assert len(caplog.records) == 1
        assert "seen only after the first request" in caplog.text
        assert routes(metrics) == {"/items/<int:item>": 2}

    def test_the_first_route_is_found_where_it_is_hidden(self, metrics: RedMetrics) -> None:
        """An app that is made for the request, called with a copy of the environ."""

        def hiding(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            app = make_app()
            app.testing = True
            return app(dict(environ), start_response)

        ask_wsgi(wrap(hiding, metrics), "/items/1")
        ask_wsgi(wrap(hiding, metrics), "/fail", catch=ViewError)
        assert requests(metrics) == {("GET", "/items/<int:item>", "200"): 1, ("GET", "/fail", "500"): 1}

    def test_flask_half_imported_is_no_fault(self, metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another thread may be about to import it while a request is served."""
        for name in ("flask", "flask.app", "werkzeug.middleware.dispatcher"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        ask_wsgi(wrap(hello, metrics), "/any")
        assert routes(metrics) == {"_unmatched": 1}
        assert faults(metrics) == 0
