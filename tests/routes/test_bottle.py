"""Bottle's routes: the rule as the author wrote it, with every mount, and nothing that a client sent."""

import gc
import importlib.util
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import bottle  # type: ignore[import-untyped]  # one file, without types
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.routes.bottle import BottleReader

from .asking import ask_wsgi, exceptions, faults, fresh, release, requests, routes
from .reading import Read

pytestmark = pytest.mark.filterwarnings("ignore:Warning. Use of deprecated:DeprecationWarning")  # mounts as WSGI apps


class ViewError(Exception):
    """Raised by a view."""


def fail() -> Any:
    raise ViewError


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh()


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Be a WSGI application of no framework."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def make_app(*rules: str, catchall: bool = True) -> bottle.Bottle:
    app = bottle.Bottle()
    app.catchall = catchall
    for rule in rules:
        app.route(rule, "GET", lambda **values: "hello")
    return app


def counted(app: Any, metrics: RedMetrics, *paths: str) -> dict[str, int]:
    """Ask for the paths and return what was counted, by route."""
    wrapped = RedWSGIMiddleware(app, metrics=metrics)
    for path in paths:
        ask_wsgi(wrapped, path)
    assert faults(metrics) == 0
    return routes(metrics)


def read(app: Any) -> Read:
    """Return the app behind a reader that has learned it."""
    made = Read(BottleReader, app)
    made.learn()
    return made


def test_methods_are_declared_as_bottle_serves_them() -> None:
    """HEAD comes with GET, and `ANY` names none."""
    app = make_app("/get", "/both")
    app.route("/both", ["POST", "PUT"], lambda: "both")
    app.route("/any", "ANY", lambda: "any")
    assert read(app).declarations == [{"/get": {"GET", "HEAD"}, "/both": {"GET", "HEAD", "POST", "PUT"}, "/any": None}]


def test_rules_of_every_syntax_stay_as_they_are_written(metrics: RedMetrics) -> None:
    """Filters, regular expressions, and the old syntax."""
    rules = ["/a/<x:int>", "/b/<x:re:[a-z]+>/<y:path>", "/c/:x", "/d"]
    assert counted(make_app(*rules), metrics, "/a/1", "/b/x/y/z", "/c/1", "/d", "/a/x", "/d/") == {
        **dict.fromkeys(rules, 1),
        "_unmatched": 2,
    }


class TestMounts:
    """Bottle apps and other WSGI apps in Bottle apps."""

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_nested_mounts_are_in_the_template(self, metrics: RedMetrics, slash: str) -> None:
        """Whether Bottle serves them as a part of the app or as WSGI apps; a 404 in them is unmatched."""
        shop, orders = make_app("/hello"), make_app("/<order>", "/")
        shop.mount(f"/orders{slash}", orders)
        app = make_app("/hello")
        app.mount(f"/shop{slash}", shop)
        expected = {"/hello", "/shop/hello", "/shop/orders/<order>", "/shop/orders/"}
        assert read(app).declared.keys() == expected
        paths = ("/hello", "/shop/hello", "/shop/orders/1", "/shop/orders/", "/shop/nowhere", "/shop/orders/1/2")
        assert counted(app, metrics, *paths) == {**dict.fromkeys(expected, 1), "_unmatched": 2}

    def test_one_app_mounted_twice(self, metrics: RedMetrics) -> None:
        """Each place has its template, also where one begins with the other's letters."""
        sub = make_app("/hello")
        app = make_app("/hello")
        for prefix in ("/a", "/ab"):
            app.mount(prefix, sub)
        assert counted(app, metrics, "/a/hello", "/ab/hello", "/hello") == {"/a/hello": 1, "/ab/hello": 1, "/hello": 1}

    def test_a_foreign_app_is_all_below_its_mount(self, metrics: RedMetrics) -> None:
        """Whatever its status. It is declared without methods."""
        app = make_app("/hello")
        app.mount("/wsgi", hello)
        app.mount("/slash/", hello)
        assert read(app).declared == {"/hello": {"GET", "HEAD"}, "/wsgi/*": None, "/slash/*": None}
        assert counted(app, metrics, "/wsgi", "/wsgi/any", "/slash/any") == {"/wsgi/*": 2, "/slash/*": 1}

    def test_an_app_that_is_mounted_in_itself(self, metrics: RedMetrics) -> None:
        """The walk ends, and each request counts as far as it went."""
        app = make_app("/hello")
        app.mount("/again", app)
        assert read(app).declared.keys() == {"/hello"}
        assert counted(app, metrics, "/hello", "/again/hello") == {"/hello": 2}

    def test_routes_of_another_app_that_are_merged(self, metrics: RedMetrics) -> None:
        """They are the app's own, with its prefix."""
        app = make_app("/hello")
        app.merge(make_app("/merged"))
        root = make_app()
        root.mount("/sub", app)
        assert counted(root, metrics, "/sub/merged", "/sub/hello") == {"/sub/merged": 1, "/sub/hello": 1}

    def test_a_dispatcher_around(self, metrics: RedMetrics) -> None:
        """Werkzeug's, which puts its own prefix before Bottle's."""
        inner = make_app("/x")
        inner.mount("/deep", make_app("/y"))
        app = DispatcherMiddleware(make_app("/hello"), {"/sub": inner})
        assert counted(app, metrics, "/hello", "/sub/x", "/sub/deep/y") == {"/hello": 1, "/sub/x": 1, "/sub/deep/y": 1}


class TestLater:
    """Routes and apps that come after the first request."""

    def test_routes_that_are_added(self, metrics: RedMetrics) -> None:
        """To the app, and to a mounted one."""
        app, sub = make_app("/hello"), make_app("/hello")
        app.mount("/sub", sub)
        counted(app, metrics, "/hello", "/sub/hello")
        app.route("/late", "GET", lambda: "late")
        sub.route("/late", "GET", lambda: "late")
        assert counted(app, metrics, "/late", "/sub/late")["/sub/late"] == 1

    def test_an_app_that_is_made_when_it_is_first_asked(self) -> None:
        """All of its routes are declared when it first matches one."""
        made: list[bottle.Bottle] = []

        def lazy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if not made:
                made.append(make_app("/hello", "/other"))
            return made[0](environ, start_response)  # type: ignore[no-any-return]  # Bottle's body

        app = read(lazy)
        for path in ("/nowhere", "/hello", "/other"):
            ask_wsgi(app.wsgi, path)
        assert app.labels == [None, "/hello", "/other"]
        assert [declaration.keys() for declaration in app.declarations] == [{"/hello", "/other"}]

    def test_an_app_for_every_request_makes_no_memory(self, metrics: RedMetrics) -> None:
        """Those that are gone are forgotten."""
        made: list[weakref.ref[bottle.Bottle]] = []

        def fleeting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            app = make_app("/hello")
            made.append(weakref.ref(app))
            return app(environ, start_response)  # type: ignore[no-any-return]  # Bottle's body

        assert counted(fleeting, metrics, *["/hello"] * 20) == {"/hello": 20}
        bottle.request.bind({})  # which holds the last request of its thread
        gc.collect()
        assert sum(app() is not None for app in made) <= 1


class TestExceptions:
    """Bottle tells of an exception that it answers itself from 0.13 on: it passes it to `start_response`."""

    @pytest.mark.parametrize("catchall", [True, False])
    @pytest.mark.parametrize("prefix", ["", "/sub"])
    def test_the_route_of_an_exception(self, metrics: RedMetrics, catchall: bool, prefix: str) -> None:
        """Bottle makes a 500 of it, or lets it go with `catchall=False`: then it has a name."""
        app = make_app(catchall=catchall)
        app.route("/fail", "GET", fail)
        if prefix:
            inner, app = app, make_app(catchall=catchall)
            app.mount(prefix, inner)
        wrapped = RedWSGIMiddleware(app, metrics=metrics)
        ask_wsgi(wrapped, f"{prefix}/fail", catch=None if catchall else ViewError)
        assert requests(metrics) == {("GET", f"{prefix}/fail", "500"): 1}
        is_silent = catchall and release("bottle") < (0, 13)
        assert exceptions(metrics) == ({} if is_silent else {(f"{prefix}/fail", "ViewError"): 1})

    def test_what_a_hook_answers_is_unmatched(self, metrics: RedMetrics) -> None:
        """It answers before a route is known."""
        app = make_app("/hello")
        app.add_hook("before_request", lambda: bottle.abort(403))
        assert counted(app, metrics, "/hello") == {"_unmatched": 1}


def test_a_copy_of_bottle_in_another_package_is_read(metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bottle is one file, which pypiserver has within its package."""
    name = "tests.routes.copied.bottle"
    spec = importlib.util.spec_from_file_location(name, bottle.__file__)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, copied)
    spec.loader.exec_module(copied)
    monkeypatch.delitem(sys.modules, "bottle")
    app = copied.Bottle()
    app.route("/items/<item:int>", "GET", str)
    assert counted(app, metrics, "/items/1", "/nowhere") == {"/items/<item:int>": 1, "_unmatched": 1}


def test_nothing_in_bottle_is_touched(metrics: RedMetrics) -> None:
    """Its classes and the app are the same before and after."""
    app = make_app("/hello")
    before = [dict(vars(owner)) for owner in (bottle.Bottle, bottle.Route, bottle.Router, app, *app.routes)]
    read(app)
    assert [dict(vars(owner)) for owner in (bottle.Bottle, bottle.Route, bottle.Router, app, *app.routes)] == before
