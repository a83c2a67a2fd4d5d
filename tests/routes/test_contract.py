"""One table of scenarios through every framework and every way to wrap it: the same rows come out."""

import asyncio
import functools
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from ..counts import counted
from ..drive import scope
from ..e2e import has_package
from ..test_websockets import CONNECT, left
from . import apps, frameworks
from .asking import ASGIApp, Message, exceptions, faults, fresh, release, requests
from .contract import ADDED_LATER, FRAMEWORKS, SCENARIOS, TWO_APPS, Framework, Scenario
from .frameworks import UnhandledError
from .made import INSTALLED, Made, Wrapped, make, served, wrap

Wrap = Callable[[RedMetrics], Wrapped]

named = {framework.id: framework for framework in FRAMEWORKS}


def flask_inside(metrics: RedMetrics) -> Wrapped:
    made = make(named["flask-WSGI"])
    made.app.wsgi_app = RedWSGIMiddleware(made.app.wsgi_app, metrics=metrics)
    return served(named["flask-WSGI"], made, made.app)


def flask_propagating(metrics: RedMetrics) -> Wrapped:
    made = make(named["flask-WSGI"])
    made.app.config["PROPAGATE_EXCEPTIONS"] = True
    return wrap(named["flask-WSGI"]._replace(reraises=True), metrics, made)


def bottle_propagating(metrics: RedMetrics) -> Wrapped:
    app = apps.bottle_app(catchall=False)
    made = Made(app, functools.partial(apps.add_rule, app))
    return wrap(named["bottle-WSGI"]._replace(reraises=True, silent_before=()), metrics, made)


def django_propagating(metrics: RedMetrics) -> Wrapped:
    framework = named["django-WSGI"]
    return wrap(framework._replace(reraises=True), metrics, make(framework, DEBUG_PROPAGATE_EXCEPTIONS=True))


def starlette_inside(metrics: RedMetrics) -> Wrapped:
    return added("starlette-ASGI", metrics)


def fastapi_inside(metrics: RedMetrics) -> Wrapped:
    return added("fastapi-ASGI", metrics)


def added(name: str, metrics: RedMetrics) -> Wrapped:
    made = make(named[name])
    made.app.add_middleware(RedASGIMiddleware, metrics=metrics)
    return served(named[name], made, made.app)


def quart_inside(metrics: RedMetrics) -> Wrapped:
    made = make(named["quart-ASGI"])
    made.app.asgi_app = RedASGIMiddleware(made.app.asgi_app, metrics=metrics)
    return served(named["quart-ASGI"], made, made.app)


WAYS: list[Wrap] = [
    flask_inside, flask_propagating, bottle_propagating, django_propagating, starlette_inside, fastapi_inside,
]  # fmt: skip
if has_package("quart"):  # no release of it works with the oldest Flask
    WAYS.append(quart_inside)

WRAPPINGS = [
    *(pytest.param(functools.partial(wrap, framework), id=framework.id) for framework in INSTALLED),
    *(pytest.param(way, id=way.__name__) for way in WAYS),
]


def is_silent(framework: Framework) -> bool:
    """Tell whether the installed release tells nobody of an exception that it answers itself."""
    return release(framework.package) < framework.silent_before


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.says for scenario in SCENARIOS])
@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_request_counts_in_the_row_of_its_declared_route(wrap: Wrap, scenario: Scenario) -> None:
    """Whatever the framework and the way it is wrapped."""
    metrics = fresh()
    wrapped = wrap(metrics)
    framework = wrapped.framework
    slash, redirect = framework.slash
    row = framework.differs.get(scenario.says, scenario.row)
    if row is None:
        return
    method, route, status = row
    route = route.replace("ORDER", framework.order).replace("ITEM", framework.item)
    raises = UnhandledError if scenario.path == "/bang" and framework.reraises else None
    seen = wrapped.ask(wrapped.app, scenario.path.replace("SLASH", slash), scenario.method, catch=raises)
    assert requests(metrics) == {(method, route, status.replace("REDIRECT", str(redirect))): 1}
    named = {("/boom", "HandledError"): 1} if framework.tells_all and scenario.path == "/boom" else scenario.exceptions
    assert exceptions(metrics) == ({} if is_silent(framework) else named)
    assert faults(metrics) == 0
    if scenario.column == "streamed":
        assert seen.body == b"onetwo"
        assert "content-length" not in seen.headers


async def connect(app: ASGIApp, path: str) -> None:
    """Open a WebSocket, as a client does that leaves when the application has closed or refused it."""
    is_connected, is_over = False, asyncio.Event()

    async def receive() -> Message:
        nonlocal is_connected
        if is_connected:
            await is_over.wait()
            return left(1006)
        is_connected = True
        return CONNECT

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close" or message.get("more_body") is False:
            is_over.set()

    headers = [(b"host", b"shop.example")]
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    request = scope(path, type="websocket", scheme="ws", subprotocols=[], headers=headers, extensions=extensions)
    del request["method"]
    await app({**request, "state": {}}, receive, send)


@pytest.mark.parametrize(
    "framework", [framework for framework in INSTALLED if framework.socket], ids=lambda framework: framework.id
)
def test_a_websocket_counts_in_the_row_of_its_declared_route(framework: Framework) -> None:
    """Whatever the framework; what has no route is unmatched."""
    metrics = fresh()
    assert framework.socket is not None
    route, code, refused = framework.socket
    wrapped = RedASGIMiddleware(make(framework).app, metrics=metrics)
    app: Any = frameworks.started(wrapped) if framework.package == "sanic" else wrapped
    for asked in ("/socket/7", "/nowhere"):
        asyncio.run(connect(app, asked))
    assert counted(metrics, "websocket_handshakes", "websocket_connections", "red_instrumentation") == {
        f'websocket_handshakes_total{{route="{route}",status="101"}}': 1.0,
        f'websocket_connections_total{{close_code="{code}",route="{route}"}}': 1.0,
        f'websocket_handshakes_total{{route="_unmatched",status="{refused}"}}': 1.0,
    }


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_route_that_is_added_later_counts_as_the_others(wrap: Wrap) -> None:
    """After the first request, if the framework takes any then."""
    metrics = fresh()
    wrapped = wrap(metrics)
    is_frozen = ADDED_LATER in wrapped.framework.differs
    wrapped.ask(wrapped.app, "/hello")
    with suppress(Exception) if is_frozen else nullcontext():
        wrapped.add("/late")
    seen = wrapped.ask(wrapped.app, "/late")
    late = ("GET", "_unmatched", "404") if is_frozen and seen.status == 404 else ("GET", "/late", "200")
    assert requests(metrics) == {("GET", "/hello", "200"): 1, late: 1}
    assert faults(metrics) == 0


@pytest.mark.parametrize("is_shared", [True, False], ids=["one RedMetrics", "two"])
@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_two_apps_of_a_framework_count_each_its_own(wrap: Wrap, is_shared: bool) -> None:
    """In one process, by turns; the second has a route more."""
    numbers = [fresh()] * 2 if is_shared else [fresh(), fresh()]
    first, second = (wrap(metrics) for metrics in numbers)
    if TWO_APPS in first.framework.differs:
        return
    second.add("/late")
    for _ in range(2):
        for wrapped in (first, second):
            for path in ("/hello", "/late", "/bang"):
                raises = UnhandledError if path == "/bang" and wrapped.framework.reraises else None
                wrapped.ask(wrapped.app, path, catch=raises)
    times = 4 if is_shared else 2
    of_both = {("GET", "/hello", "200"): times, ("GET", "/bang", "500"): times}
    of_first, of_second = {("GET", "_unmatched", "404"): 2}, {("GET", "/late", "200"): 2}
    assert requests(numbers[0]) == {**of_both, **of_first, **(of_second if is_shared else {})}
    assert requests(numbers[1]) == {**of_both, **of_second, **(of_first if is_shared else {})}
    for metrics in numbers:
        assert exceptions(metrics) == ({} if is_silent(first.framework) else {("/bang", "UnhandledError"): times})
        assert faults(metrics) == 0


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_hostile_request_is_no_fault(wrap: Wrap) -> None:
    """What UTF-8 cannot carry as a method, or as a path, and a path that is none."""
    metrics = fresh()
    wrapped = wrap(metrics)
    for asked, method in [("/hello", "\udcff"), ("/\udcff", "GET"), ("", "GET"), ("//", "GET"), ("/" * 3000, "GET")]:
        with suppress(Exception):  # the framework's own
            wrapped.ask(wrapped.app, asked, method)
    assert sum(requests(metrics).values()) == 5
    assert faults(metrics) == 0


@pytest.mark.skipif("RED_EVERY_FRAMEWORK" not in os.environ, reason="only where tox installs every framework")
@pytest.mark.parametrize("package", sorted({framework.package for framework in FRAMEWORKS if framework.is_rare}))
def test_every_framework_is_there_where_it_is_to_be_tested(package: str) -> None:
    """None is left out in silence. Connexion works with no oldest release of Starlette."""
    assert has_package(package) or (package == "connexion" and os.environ["RED_EVERY_FRAMEWORK"] == "oldest")
