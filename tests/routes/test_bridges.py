"""What stands behind a mount of another framework, or behind a bridge between ASGI and WSGI, counts under its route."""

import asyncio
import copy
import gc
from collections.abc import Callable, Iterable
from typing import Any

import a2wsgi
import bottle  # type: ignore[import-untyped]  # one file, without types
import flask
import pytest
from asgiref.wsgi import WsgiToAsgi
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.metrics import recorder_of
from red_middleware.routes import bridges

from ..e2e import has_package
from ..e2e.servers import poll
from . import frameworks
from .apps import bottle_app, flask_app, starlette_app
from .asking import Receive, Scope, Send, ask_asgi, ask_wsgi, exceptions, faults, fresh, release, requests, routes
from .contract import FRAMEWORKS
from .made import make

starlette_wsgi = frameworks.imported("starlette.middleware.wsgi")  # it warns of its end
WSGIMiddleware = starlette_wsgi.WSGIMiddleware


class OwnWSGIMiddleware:
    """A bridge of an application's own, as MLflow has one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await starlette_wsgi.WSGIResponder(self.app, scope)(receive, send)


named = {framework.id: framework for framework in FRAMEWORKS}


class OwnMiddleware:
    """An ASGI middleware that does nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


BRIDGES = [WSGIMiddleware, a2wsgi.WSGIMiddleware, WsgiToAsgi, OwnWSGIMiddleware]


@pytest.fixture(params=BRIDGES, ids=["starlette", "a2wsgi", "asgiref", "its own"])
def bridge(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def metrics() -> RedMetrics:
    return fresh()


def shop() -> flask.Flask:
    app = flask_app()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


def mounting(app: Any) -> Starlette:
    return Starlette(routes=[Route("/hello", PlainTextResponse("hello")), Mount("/shop", app)])


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"plain"]


class TestToWSGI:
    """A WSGI application behind a bridge, in an ASGI one that is wrapped."""

    def test_a_route_is_joined_to_the_mounts(self, bridge: Any, metrics: RedMetrics) -> None:
        """What the inner router does not know has no route, as anywhere."""
        app = RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics)
        for path in ["/hello", "/shop/hello", "/shop/items/1", "/shop/items/2", "/shop/gone", "/shop/nowhere"]:
            ask_asgi(app, path)
        assert requests(metrics) == {
            ("GET", "/hello", "200"): 1,
            ("GET", "/shop/hello", "200"): 1,
            ("GET", "/shop/items/<int:item>", "200"): 2,
            ("GET", "/shop/gone", "404"): 1,
            ("GET", "_unmatched", "404"): 1,
        }
        assert faults(metrics) == 0

    def test_without_a_mount_it_is_the_inner_route(self, bridge: Any, metrics: RedMetrics) -> None:
        app = RedASGIMiddleware(bridge(shop()), metrics=metrics)
        for path in ["/items/1", "/nowhere"]:
            ask_asgi(app, path)
        assert requests(metrics) == {("GET", "/items/<int:item>", "200"): 1, ("GET", "_unmatched", "404"): 1}

    def test_its_routes_are_reserved_before_a_request(self, bridge: Any, metrics: RedMetrics) -> None:
        """With the methods that the inner app declares."""
        ask_asgi(RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics), "/hello")
        assert recorder_of(metrics).table.declared["/shop/items/<int:item>"] == {"GET", "HEAD", "OPTIONS"}

    def test_wrapped_on_both_sides_a_request_counts_once(self, bridge: Any, metrics: RedMetrics) -> None:
        inner = RedWSGIMiddleware(shop(), metrics=metrics)
        app = RedASGIMiddleware(mounting(bridge(inner)), metrics=metrics)
        for path in ["/shop/items/1", "/shop/nowhere", "/shop/bang"]:
            ask_asgi(app, path)
        assert requests(metrics) == {
            ("GET", "/shop/items/<int:item>", "200"): 1,
            ("GET", "_unmatched", "404"): 1,
            ("GET", "/shop/bang", "500"): 1,
        }

    def test_two_recorders_count_once_each(self, bridge: Any, metrics: RedMetrics) -> None:
        """Each by the route that it sees."""
        inner = fresh()
        ask_asgi(
            RedASGIMiddleware(mounting(bridge(RedWSGIMiddleware(shop(), metrics=inner))), metrics=metrics),
            "/shop/items/1",
        )
        assert routes(metrics) == {"/shop/items/<int:item>": 1}
        assert routes(inner) == {"/items/<int:item>": 1}

    def test_two_middlewares_around_a_bridge_know_its_routes(self, bridge: Any, metrics: RedMetrics) -> None:
        """The one further in has numbers of its own."""
        inner = fresh()
        app = RedASGIMiddleware(mounting(bridge(shop())), metrics=inner)
        ask_asgi(RedASGIMiddleware(app, metrics=metrics), "/shop/items/1")
        assert routes(metrics) == routes(inner) == {"/shop/items/<int:item>": 1}

    def test_an_exception_that_is_answered_inside_is_named(self, bridge: Any, metrics: RedMetrics) -> None:
        ask_asgi(RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics), "/shop/bang")
        assert requests(metrics) == {("GET", "/shop/bang", "500"): 1}
        assert exceptions(metrics) == {("/shop/bang", "UnhandledError"): 1}

    @pytest.mark.parametrize("propagates", [True, False])
    def test_an_exception_that_leaves_the_app_has_its_route(
        self, bridge: Any, propagates: bool, metrics: RedMetrics
    ) -> None:
        """Whether the framework lets it out, or never gets it."""
        inner = shop()
        inner.config["PROPAGATE_EXCEPTIONS"] = propagates
        app = RedASGIMiddleware(bridge(inner), metrics=metrics)
        raised = []
        try:
            ask_asgi(app, "/bang")
        except Exception as error:  # Starlette's bridge made a group of it before 1.0
            raised.append(error)
        assert bool(raised) is propagates
        assert requests(metrics) == {("GET", "/bang", "500"): 1}
        assert exceptions(metrics) == {("/bang", "UnhandledError"): 1}

    def test_what_the_outer_one_excludes_does_not_count_inside(self, bridge: Any, metrics: RedMetrics) -> None:
        inner = RedWSGIMiddleware(shop(), metrics=metrics)
        app = RedASGIMiddleware(mounting(bridge(inner)), metrics=metrics, exclude=["/shop/hello", "/shop/items/*"])
        for path in ["/hello", "/shop/hello", "/shop/items/1", "/shop/orders/x"]:
            ask_asgi(app, path)
        assert routes(metrics) == {"/hello": 1, "_unmatched": 1}

    def test_what_the_inner_one_excludes_does_not_count_outside(self, bridge: Any, metrics: RedMetrics) -> None:
        """Nor do its metrics."""
        inner = RedWSGIMiddleware(shop(), metrics=metrics, exclude=["/hello"])
        app = RedASGIMiddleware(mounting(bridge(inner)), metrics=metrics)
        for path in ["/shop/hello", "/shop/metrics", "/shop/items/1"]:
            ask_asgi(app, path)
        assert routes(metrics) == {"/shop/items/<int:item>": 1}

    def test_a_joined_template_can_be_excluded(self, bridge: Any, metrics: RedMetrics) -> None:
        app = RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics, exclude=["/shop/items/<int:item>"])
        for path in ["/shop/items/1", "/shop/hello"]:
            ask_asgi(app, path)
        assert routes(metrics) == {"/shop/hello": 1}

    def test_a_user_names_the_route_first(self, bridge: Any, metrics: RedMetrics) -> None:
        app = RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics, route_of=lambda scope: "/mine")
        ask_asgi(app, "/shop/items/1")
        assert routes(metrics) == {"/mine": 1}

    def test_an_app_without_a_router_is_opaque_until_its_routes_are_told(
        self, bridge: Any, metrics: RedMetrics
    ) -> None:
        """The templates are those of the whole path."""
        for told in [(), ("/shop/things/<id>",)]:
            app = RedASGIMiddleware(mounting(bridge(plain)), metrics=metrics, routes=told)
            for path in ["/shop/things/1", "/shop/other"]:
                ask_asgi(app, path)
        assert routes(metrics) == {"/shop/*": 3, "/shop/things/<id>": 1}

    def test_the_options_that_watch_a_response_hold_across_it(self, bridge: Any) -> None:
        metrics = fresh(first_byte=True, event_streams=True)
        ask_asgi(RedASGIMiddleware(mounting(bridge(shop())), metrics=metrics), "/shop/items/1")
        name = 'http_time_to_first_byte_seconds_count{method="GET",route="/shop/items/<int:item>"}'
        assert metrics.snapshot()[name] == 1

    def test_a_bridge_is_touched_once_and_stays_what_it_is(self, bridge: Any) -> None:
        """Whatever the number of middlewares; those that are gone are not asked."""
        app = shop()
        held = bridge(app)
        attribute = next(name for name in bridges.HELD_AS if hasattr(held, name))
        for _ in range(3):
            ask_asgi(RedASGIMiddleware(held, metrics=fresh()), "/hello")
        inside: Any = getattr(held, attribute)
        assert inside.app is app
        assert inside.url_map is app.url_map
        assert copy.copy(inside).app is app

        def are_gone() -> bool:
            gc.collect()
            return not inside.finders

        poll("every middleware to be gone", are_gone)  # a bridge's thread lets go of its last request after the answer
        assert ask_asgi(held, "/hello").status == 200  # without a middleware

    def test_a_request_that_the_app_makes_itself_is_another_one(self, bridge: Any, metrics: RedMetrics) -> None:
        """In the same context, to another path: it relabels nothing, and counts where it is wrapped."""
        inner = RedWSGIMiddleware(shop(), metrics=metrics)
        bridged = bridge(inner)

        async def asks(scope: Scope, receive: Receive, send: Send) -> None:
            message = {"type": "http.request", "body": b"", "more_body": False}
            if scope["path"].endswith("/twice"):
                sent: list[Any] = []

                async def take(message: Any) -> None:
                    sent.append(message)

                async def give() -> Any:
                    return message

                await bridged({**scope, "path": "/items/7", "root_path": ""}, give, take)
                assert sent[0]["status"] == 200
            await bridged(scope, receive, send)

        ask_asgi(RedASGIMiddleware(asks, metrics=metrics), "/twice")
        assert requests(metrics) == {("GET", "/items/<int:item>", "200"): 1, ("GET", "_unmatched", "404"): 1}


def test_where_there_is_no_bridge_nothing_is_carried() -> None:
    """The application is called as it is."""
    app = starlette_app()
    wrapped = RedASGIMiddleware(app, metrics=fresh())
    ask_asgi(wrapped, "/hello")
    assert wrapped.mounting.counted is app
    assert bridges.CROSSING.get(None) is None


def test_a_context_that_outlives_its_request_says_nothing() -> None:
    """A finished exchange is no longer the request's."""
    metrics, inner = fresh(), fresh()
    bridged = WSGIMiddleware(RedWSGIMiddleware(shop(), metrics=inner))

    async def both() -> None:
        for app in (RedASGIMiddleware(bridged, metrics=metrics), bridged):
            scope = {"type": "http", "method": "GET", "path": "/items/1", "query_string": b"", "http_version": "1.1"}

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                pass

            await app(scope, receive, send)

    asyncio.run(both())
    assert routes(metrics) == {"/items/<int:item>": 1}
    assert routes(inner) == {"/items/<int:item>": 2}


class ForgetfulWSGIMiddleware(OwnWSGIMiddleware):
    """A bridge that passes no context to its thread."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def serve() -> list[Any]:
            sent: list[Any] = []
            start = lambda status, headers, exc_info=None: sent.append((status, headers))  # noqa: E731  # for the app
            sent.append(b"".join(self.app(starlette_wsgi.build_environ(scope, b""), start)))
            return sent

        (status, _), body = await asyncio.get_running_loop().run_in_executor(None, serve)
        await send({"type": "http.response.start", "status": int(status[:3]), "headers": []})
        await send({"type": "http.response.body", "body": body})


def test_a_bridge_without_a_context_stays_opaque(metrics: RedMetrics) -> None:
    """And each side counts for itself, if both are wrapped."""
    inner = fresh()
    bridge = ForgetfulWSGIMiddleware(RedWSGIMiddleware(shop(), metrics=inner))
    app = RedASGIMiddleware(mounting(bridge), metrics=metrics)
    for path in ["/shop/items/1", "/shop/nowhere"]:
        ask_asgi(app, path)
    assert routes(metrics) == {"/shop/*": 2}
    assert routes(inner) == {"/items/<int:item>": 1, "_unmatched": 1}


class NoWSGIHere:
    """Its name says WSGI, and what it holds is called otherwise, as in hypercorn."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_what_only_looks_like_a_bridge_is_left_alone(metrics: RedMetrics) -> None:
    inner = starlette_app()
    held = NoWSGIHere(inner)
    ask_asgi(RedASGIMiddleware(held, metrics=metrics), "/items/1")
    assert held.app is inner
    assert routes(metrics) == {"/items/{item:int}": 1}


class FrozenWSGIMiddleware(OwnWSGIMiddleware):
    """A bridge whose application cannot be replaced."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_a_bridge_that_cannot_be_touched_is_a_fault_and_stays_opaque(metrics: RedMetrics) -> None:
    seen = ask_asgi(RedASGIMiddleware(mounting(FrozenWSGIMiddleware(shop())), metrics=metrics), "/shop/items/1")
    assert seen.status == 200
    assert routes(metrics) == {"/shop/*": 1}
    assert faults(metrics) == 1


class TestToASGI:
    """An ASGI application behind a2wsgi's bridge, in a WSGI one that is wrapped."""

    def bridged(self, inner: Any) -> Any:
        return a2wsgi.ASGIMiddleware(inner)

    def wrapped(self, inner: Any, metrics: RedMetrics) -> Any:
        return RedWSGIMiddleware(self.bridged(inner), metrics=metrics)

    @pytest.mark.parametrize("both", [False, True])
    def test_a_request_counts_once_under_the_inner_route(self, both: bool, metrics: RedMetrics) -> None:
        inner: Any = starlette_app()
        app = self.wrapped(RedASGIMiddleware(inner, metrics=metrics) if both else inner, metrics)
        for path in ["/items/1", "/shop/orders/7", "/nowhere"]:
            ask_wsgi(app, path, validate=False)
        assert requests(metrics) == {
            ("GET", "/items/{item:int}", "200"): 1,
            ("GET", "/shop/orders/{order}", "200"): 1,
            ("GET", "_unmatched", "404"): 1,
        }
        assert faults(metrics) == 0

    def test_what_is_no_message_is_the_bridges_to_refuse(self, metrics: RedMetrics) -> None:
        """It gets it as the application sent it."""

        async def strange(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"no type": 1})

        with pytest.raises(KeyError, match="type"):
            ask_wsgi(self.wrapped(strange, metrics), "/", validate=False)

    def test_behind_a_dispatcher_it_is_joined(self, metrics: RedMetrics) -> None:
        dispatcher = DispatcherMiddleware(shop(), {"/asgi": self.bridged(starlette_app())})
        app = RedWSGIMiddleware(dispatcher, metrics=metrics)
        for path in ["/asgi/items/1", "/items/1", "/asgi/nowhere"]:
            ask_wsgi(app, path, validate=False)
        assert routes(metrics) == {"/asgi/items/{item:int}": 1, "/items/<int:item>": 1, "_unmatched": 1}

    def test_an_exception_that_leaves_it_has_its_route(self, metrics: RedMetrics) -> None:
        """The bridge answers it with a 500."""

        def broken(request: Any) -> Any:
            raise LookupError

        inner = Starlette(routes=[Route("/broken/{x}", broken)])
        ask_wsgi(self.wrapped(inner, metrics), "/broken/1", validate=False)
        assert requests(metrics) == {("GET", "/broken/{x}", "500"): 1}

    def test_without_a_middleware_outside_it_serves_as_before(self, metrics: RedMetrics) -> None:
        """A middleware inside counts then. What a bridge makes no scope of is passed on."""
        bridged = self.bridged(RedASGIMiddleware(starlette_app(), metrics=metrics))
        ask_wsgi(RedWSGIMiddleware(bridged, metrics=fresh()), "/items/1", validate=False)
        ask_wsgi(bridged, "/items/2", validate=False)
        assert routes(metrics) == {"/items/{item:int}": 2}


class TestMountsOfOtherFrameworks:
    """Without a bridge: both are of one protocol."""

    def test_django_in_starlette(self, metrics: RedMetrics) -> None:
        django = make(named["django-ASGI"])
        with django.holds():
            app = RedASGIMiddleware(mounting(django.app), metrics=metrics)
            for path in ["/hello", "/shop/items/1", "/shop/shop/orders/7", "/shop/nowhere"]:
                ask_asgi(app, path)
            declared = recorder_of(metrics).table.declared
        assert routes(metrics) == {
            "/hello": 1,
            "/shop/items/<int:item>": 1,
            "/shop/shop/orders/<order>": 1,
            "_unmatched": 1,
        }
        assert "/shop/items/<int:item>" in declared
        assert "/items/<int:item>" not in declared

    def test_django_and_bottle_beside_flask(self, metrics: RedMetrics) -> None:
        django = make(named["django-WSGI"])
        with django.holds():
            mounts = {"/django": django.app, "/bottle": bottle_app(catchall=True), "/plain": plain}
            app = RedWSGIMiddleware(DispatcherMiddleware(shop(), mounts), metrics=metrics)
            for path in ["/items/1", "/django/items/1", "/bottle/items/1", "/plain/x", "/bottle/no", "/django/no"]:
                ask_wsgi(app, path)
        assert routes(metrics) == {
            "/items/<int:item>": 1,
            "/django/items/<int:item>": 1,
            "/bottle/items/<item:int>": 1,
            "/plain/*": 1,
            "_unmatched": 2,
        }

    @pytest.mark.parametrize("has_opaque", [False, True])
    def test_hosts_that_share_a_template_are_told_apart(self, has_opaque: bool, metrics: RedMetrics) -> None:
        """What neither knows is unmatched, unless one of the apps is of no framework that is known."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("plain")(scope, receive, send)

        def bridged(path: str) -> Any:
            inner = flask.Flask("inner")
            inner.add_url_rule(path, "inner", lambda **parameters: "inner")
            return WSGIMiddleware(inner)

        hosts = {"a.example": bridged("/a/<x>"), "b.example": bridged("/b/<x>")}
        app = Starlette(routes=[Host(name, host) for name, host in hosts.items()])
        if has_opaque:
            app.router.routes.append(Host("c.example", answer))
        wrapped = RedASGIMiddleware(app, metrics=metrics)
        for name, path in [("a", "/a/1"), ("b", "/b/1"), ("b", "/nowhere"), ("c", "/any")][: 4 if has_opaque else 3]:
            ask_asgi(wrapped, path, host=f"{name}.example")
        opaque = {"/*": 2} if has_opaque else {"_unmatched": 1}
        assert routes(metrics) == {"/a/<x>": 1, "/b/<x>": 1, **opaque}

    def test_flask_in_bottle_is_opaque(self, metrics: RedMetrics) -> None:
        """Bottle answers when Flask has returned, and forgotten its route."""
        app = bottle.Bottle()
        app.mount("/shop/", shop().wsgi_app)
        ask_wsgi(RedWSGIMiddleware(app, metrics=metrics), "/shop/items/1")
        assert set(routes(metrics)) <= {"/shop/*", "/shop/<:re:.*>"}

    @pytest.mark.filterwarnings("ignore:.*copy_scope")
    @pytest.mark.skipif(not has_package("litestar"), reason="only where tox installs every framework")
    def test_litestar_in_starlette_and_starlette_in_litestar(self, metrics: RedMetrics) -> None:
        app = RedASGIMiddleware(mounting(make(named["litestar-ASGI"]).app), metrics=metrics)
        is_found = ask_asgi(app, "/shop/items/1").status == 200  # the oldest release does not know that it is mounted
        assert routes(metrics) == {"/shop/items/{item:int}" if is_found else "_unmatched": 1}
        assert is_found or release("litestar") < (2, 1)
        litestar = frameworks.imported("litestar")
        inner = Starlette(routes=[Route("/items/{item}/", PlainTextResponse("item"))])

        async def mounted(scope: Any, receive: Any, send: Any) -> None:
            await inner(scope, receive, send)

        mounted.__annotations__.update(scope=dict, receive=object, send=object)
        outer = litestar.Litestar(
            [litestar.asgi("/star", is_mount=True)(mounted)], openapi_config=None, logging_config=None
        )
        other = fresh()
        ask_asgi(RedASGIMiddleware(outer, metrics=other), "/star/items/1")  # Litestar adds a slash
        assert routes(other) == {"/star/items/{item}/": 1}

    @pytest.mark.skipif(not has_package("blacksheep"), reason="only where tox installs every framework")
    def test_starlette_in_blacksheep(self, metrics: RedMetrics) -> None:
        app = frameworks.blacksheep()
        app.mount("/star", starlette_app())
        ask_asgi(RedASGIMiddleware(app, metrics=metrics), "/star/items/1")
        assert routes(metrics) == {"/star/items/{item:int}": 1}

    def test_an_app_that_leads_back_to_itself_ends(self, metrics: RedMetrics) -> None:
        """Through a mount of another framework."""
        app = Starlette(routes=[Route("/hello", PlainTextResponse("hello"))])
        held: dict[str, Any] = {}

        def through(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            return held["bridge"](environ, start_response)  # type: ignore[no-any-return]  # a WSGI app

        outer = DispatcherMiddleware(shop(), {"/again": through})
        held["bridge"] = outer
        app.mount("/wsgi", WSGIMiddleware(outer))
        wrapped = RedASGIMiddleware(app, metrics=metrics)
        for path in ["/wsgi/items/1", "/wsgi/again/items/1", "/hello"]:
            ask_asgi(wrapped, path)
        assert routes(metrics)["/wsgi/items/<int:item>"] == 1
        assert faults(metrics) == 0

    def test_a_bridge_that_leads_back_to_itself_ends(self, metrics: RedMetrics) -> None:
        """Over the other protocol."""
        app = Starlette(routes=[Route("/hello", PlainTextResponse("hello"))])
        inner: Any = DispatcherMiddleware(shop(), {"/again": TestToASGI().bridged(app)})
        app.mount("/wsgi", WSGIMiddleware(inner))
        wrapped = RedASGIMiddleware(app, metrics=metrics)
        for path in ["/hello", "/wsgi/items/1", "/wsgi/again/hello"]:
            ask_asgi(wrapped, path)
        assert routes(metrics) == {"/hello": 1, "/wsgi/items/<int:item>": 1, "/wsgi/again/hello": 1}
        assert faults(metrics) == 0

    def test_bridges_that_lead_to_each_other_end(self, metrics: RedMetrics) -> None:
        """Without a mount between them."""
        held = OwnWSGIMiddleware(plain)
        inner = DispatcherMiddleware(shop())
        inner.app = TestToASGI().bridged(OwnMiddleware(held))
        held.app = inner
        app = Starlette(routes=[Route("/hello", PlainTextResponse("hello")), Mount("/shop", held)])
        wrapped = RedASGIMiddleware(app, metrics=metrics)
        ask_asgi(wrapped, "/hello")
        assert routes(metrics) == {"/hello": 1}
        assert faults(metrics) == 0

    def test_an_app_that_mounts_one_for_every_request_is_read_so_far(self, metrics: RedMetrics) -> None:
        """What comes after counts under its mount."""
        report = RedASGIMiddleware(mounting(plain), metrics=RedMetrics(registry=CollectorRegistry()))
        found = report.mounting.routes
        for number in range(1200):
            found._mount(found.kinds[0], f"/{number}/*", Starlette())
        assert len(found._mounted) == 1000
