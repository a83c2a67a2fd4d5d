"""One mounting: its options, the endpoint's path, exclusion, the app that keeps its own /metrics."""

import asyncio
import copy
import functools
import gc
import inspect
import logging
import pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any

import bottle  # type: ignore[import-untyped]  # it has no annotations
import fastapi
import flask
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.mounting import Mounting, Purpose
from red_middleware.options import MOUNTING_OPTIONS
from red_middleware.routes import Reader, Report, Source

from .counts import counted, faults, fresh_metrics, one_request, routes
from .drive import ask_asgi, begun, count

Middleware = type[RedASGIMiddleware] | type[RedWSGIMiddleware]
both = pytest.mark.parametrize("middleware", [RedASGIMiddleware, RedWSGIMiddleware])


def app(*_: object) -> Any:
    """Stand for an application that nobody calls."""


async def later(source: object) -> str:
    return "/later"


class Later:
    """A callable object whose call makes a coroutine."""

    async def __call__(self, source: object) -> str:
        return "/later"


class Silent:
    """A reader that finds no app, and knows no request."""

    module = __name__

    def __init__(self, report: Report) -> None:
        self.declare = report.declare

    def learn(self, app: object, source: Source) -> bool:
        return False

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        return None


def declaring(routes: Iterable[Any]) -> type[Reader]:
    """Return a reader that declares these routes, and knows no request."""

    class Declaring(Silent):
        def learn(self, app: object, source: Source) -> bool:
            self.declare(routes)
            return bool(routes)

    return Declaring


def mounting(routes: Iterable[Any] = (), **options: Any) -> Mounting:
    """Make a mounting with a registry of its own, whose app declares some routes."""
    chosen = {
        "metrics": fresh_metrics(),
        "metrics_path": "/metrics",
        "authorize": None,
        "exclude": (),
        "exclude_sizes": (),
        "routes": (),
        "route_of": None,
        **options,
    }
    return Mounting("Owner", app, **{"readers": [declaring(routes)], "takes": (), **chosen})


@both
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"app": None}, TypeError, "(app=None): must be callable"),
        ({"metrics": CollectorRegistry}, TypeError, "(metrics=<class"),
        ({"metrics_path": "metrics"}, ValueError, "(metrics_path='metrics'): must start with /"),
        ({"metrics_path": ""}, ValueError, "(metrics_path=''): must start with /"),
        ({"metrics_path": b"/metrics"}, TypeError, "(metrics_path=b'/metrics'): must be of type str"),
        ({"metrics_path": "/metrics?a=b"}, ValueError, "(metrics_path='/metrics?a=b'): must be a path without a"),
        ({"metrics_path": "/metrics/*"}, ValueError, "(metrics_path='/metrics/*'): must hold no *"),
        ({"metrics_path": "/{tenant}/metrics"}, ValueError, "(metrics_path='/{tenant}/metrics'): must be a path and"),
        ({"exclude": "/healthz"}, TypeError, "(exclude='/healthz'): must be a collection of paths"),
        ({"route_of": "/a"}, TypeError, "(route_of='/a'): must be callable"),
    ],
)
def test_a_wrong_option_is_refused_by_name_value_and_rule(
    middleware: Middleware, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """At construction, in the same form as RedMetrics."""
    with pytest.raises(error) as refused:
        middleware(**{"app": app, "metrics": fresh_metrics(), **options})
    assert str(refused.value).startswith(f"{middleware.__name__}{message}")


@both
@pytest.mark.parametrize(
    "route_of",
    [later, Later().__call__, Later(), functools.partial(later), functools.partial(Later())],
    ids=["function", "method", "object", "partial function", "partial object"],
)
def test_an_async_route_of_is_refused(middleware: Middleware, route_of: Any) -> None:
    """Nobody would await it."""
    with pytest.raises(TypeError) as refused:
        middleware(app, metrics=fresh_metrics(), route_of=route_of)
    assert str(refused.value) == f"{middleware.__name__}(route_of={route_of!r}): must be a plain function, not async"


OF_ONE = (
    "must take scope, receive, send; wrap the whole application in it, in Django in asgi.py, and do not list it in "
    "MIDDLEWARE; one of ASGI 2 needs asgiref"
)


class OfASGI2:
    def __init__(self, scope: object) -> None: ...

    async def __call__(self, receive: object, send: object) -> None: ...


@pytest.mark.parametrize(
    ("middleware", "wrong", "rule"),
    [
        (RedASGIMiddleware, lambda environ, start_response: [], "must take scope, receive, send"),
        (RedWSGIMiddleware, lambda scope, receive, send: None, "must take environ, start_response"),
        (RedASGIMiddleware, OfASGI2, OF_ONE),
        (RedASGIMiddleware, lambda scope: None, OF_ONE),
    ],
    ids=["WSGI in ASGI", "ASGI in WSGI", "class of ASGI 2", "function of ASGI 2"],
)
def test_an_app_that_no_server_of_the_protocol_could_call_is_refused(middleware: Any, wrong: Any, rule: str) -> None:
    """Where the line stands, and not with a 500 for each request."""
    with pytest.raises(TypeError) as refused:
        middleware(wrong, metrics=fresh_metrics())
    assert str(refused.value).startswith(f"{middleware.__name__}(app={wrong!r}): {rule}")


FLASK, FASTAPI = flask.Flask(__name__), fastapi.FastAPI()
NO_CLASS = "must be an application and no class: pass an instance"
OF_WSGI = "must take scope, receive, send; for a WSGI application use RedWSGIMiddleware"


async def takes_anything(*arguments: object) -> None: ...


@pytest.mark.parametrize(
    ("middleware", "wrong", "rule"),
    [
        (RedASGIMiddleware, FLASK, OF_WSGI),
        (RedASGIMiddleware, FLASK.wsgi_app, OF_WSGI),
        (RedASGIMiddleware, functools.partial(FLASK), OF_WSGI),
        (RedASGIMiddleware, bottle.Bottle(), OF_WSGI),
        (RedASGIMiddleware, RedWSGIMiddleware(FLASK, metrics=fresh_metrics()), OF_WSGI),
        (RedWSGIMiddleware, FASTAPI, "must not be async; for an ASGI one use RedASGIMiddleware"),
        (RedWSGIMiddleware, RedASGIMiddleware(FASTAPI, metrics=fresh_metrics()), "must not be async; for an ASGI one"),
        (RedWSGIMiddleware, takes_anything, "must not be async; for an ASGI one use RedASGIMiddleware"),
        (
            RedWSGIMiddleware,
            lambda scope, receive, send: None,
            "must take environ, start_response; for an ASGI one use",
        ),
        (RedASGIMiddleware, Starlette, NO_CLASS),
        (RedASGIMiddleware, fastapi.FastAPI, NO_CLASS),
        (RedASGIMiddleware, flask.Flask, NO_CLASS),
        (RedWSGIMiddleware, flask.Flask, NO_CLASS),
        (RedWSGIMiddleware, bottle.Bottle, NO_CLASS),
        (RedWSGIMiddleware, Starlette, NO_CLASS),
        (RedASGIMiddleware, lambda a, b, c, d: None, "must take scope, receive, send"),
        (
            RedWSGIMiddleware,
            lambda request: None,
            "must take environ, start_response; wrap the whole application in it",
        ),
        (RedWSGIMiddleware, lambda: FLASK, "must take environ, start_response; if it makes the application, call it"),
    ],
)
def test_an_app_of_the_other_protocol_or_none_yet_is_refused_with_what_to_do(
    middleware: Any, wrong: Any, rule: str
) -> None:
    """The error names the class to use."""
    with pytest.raises(TypeError) as refused:
        middleware(wrong, metrics=fresh_metrics())
    assert rule in str(refused.value)


class Iterated:
    """An application of WSGI as PEP 3333 shows it, which is a class."""

    def __init__(self, environ: object, start_response: object) -> None: ...

    def __iter__(self) -> Any: ...

    def __call__(self, environ: object, start_response: object) -> None: ...


class Making:
    """May return anything."""

    def __new__(cls, *arguments: object) -> Any: ...

    def __call__(self, environ: object, start_response: object) -> None: ...


class Meta(type):
    def __call__(cls, *arguments: object) -> Any: ...


class Made(metaclass=Meta):
    def __call__(self, environ: object, start_response: object) -> None: ...


class Open:
    """Tells nothing of what it takes."""

    def __init__(self, *arguments: object) -> None: ...

    def __call__(self, *arguments: object) -> Any: ...


class Plain:
    """Is no application, nor are its instances; who calls it knows why."""

    def __init__(self, *arguments: object) -> None: ...


@functools.wraps(FASTAPI.__call__)
def wraps_the_other_protocol(environ: object, start_response: object) -> Any:
    """Has the signature of what it wraps, for who follows it."""


@pytest.mark.parametrize(
    ("middleware", "right"),
    [
        (RedWSGIMiddleware, Iterated),
        (RedASGIMiddleware, HTTPEndpoint),
        (RedWSGIMiddleware, wraps_the_other_protocol),
        *((middleware, kind) for middleware in (RedASGIMiddleware, RedWSGIMiddleware) for kind in (Making, Made, Open)),
        *((middleware, Plain) for middleware in (RedASGIMiddleware, RedWSGIMiddleware)),
    ],
)
def test_what_may_be_an_app_is_accepted(middleware: Any, right: Any) -> None:
    """A wrong refusal would be worse than a wrong app that is accepted."""
    middleware(right, metrics=fresh_metrics())


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": [1]}, "(buckets=[1]): belongs to metrics=RedMetrics(buckets=...)"),
        ({"registry": 1}, "(registry=1): belongs to metrics=RedMetrics(registry=...)"),
        ({"excluded": ["/a"]}, "(excluded=['/a']): there is no such option; exclude= may be meant"),
        ({"bucket": [1]}, "(bucket=[1]): there is no such option; metrics=RedMetrics(buckets=...) may be meant"),
        ({"qqq": 1}, "(qqq=1): there is no such option"),
    ],
)
def test_an_option_that_the_middleware_does_not_have_is_refused_with_its_place(
    middleware: Middleware, options: dict[str, Any], message: str
) -> None:
    """Rather than with Python's own words, which do not say where it belongs."""
    with pytest.raises(TypeError) as refused:
        middleware(app, **options)
    assert str(refused.value) == f"{middleware.__name__}{message}"


def test_an_option_of_the_middleware_is_refused_by_the_metrics_with_its_place() -> None:
    """The other way round."""
    wrong: dict[str, Any] = {"exclude": ["/a"]}
    with pytest.raises(TypeError) as refused:
        RedMetrics(**wrong)
    assert str(refused.value) == "RedMetrics(exclude=['/a']): belongs to RedWSGIMiddleware(app, exclude=...)"


@both
def test_the_options_that_the_metrics_point_to_are_those_of_the_middleware(middleware: Middleware) -> None:
    """Both middlewares have the same."""
    named = [name for name, one in inspect.signature(middleware).parameters.items() if one.kind is one.KEYWORD_ONLY]
    assert tuple(named) == MOUNTING_OPTIONS


# Built by a framework that serves already


async def live(app: Any) -> list[str]:
    """Start an application and stop it, as a server does, and return what it said."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    said: list[str] = []

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: dict[str, str]) -> None:
        said.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


@pytest.mark.parametrize("make", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {"excluded": ["/a"]}, "(excluded=['/a']): there is no such option"),
        ((), {"exclude": "/a"}, "(exclude='/a'): must be a collection"),
        (("/a",), {}, "RedASGIMiddleware.__init__()"),  # Starlette gives the application by position or by name
        ((), {}, "held by another metric"),
    ],
)
def test_what_starlette_constructs_too_late_to_be_refused_serves_uncounted(
    make: Any, arguments: Any, options: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception would skip the startup, and be a 500 for every request. One error says what is wrong.

    It constructs its middlewares when the server starts it, or asks it the first time.
    """
    REGISTRY.unregister(RedMetrics())  # the one that middlewares share by default
    theirs = Counter("http_requests", "Held by another package.")
    try:
        wrapped = make()
        wrapped.add_route("/hello", HTTPEndpoint)
        wrapped.add_middleware(RedASGIMiddleware, *arguments, **options)
        assert asyncio.run(live(wrapped)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert ask_asgi(wrapped, "/hello").status == 405  # of the endpoint, which has no methods
        assert ask_asgi(wrapped, "/metrics").status == 404
    finally:
        REGISTRY.unregister(theirs)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert message in record.getMessage()
    assert record.getMessage().endswith(". The application is served, and nothing is counted")


@pytest.mark.parametrize("make", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize(
    ("options", "message"), [({}, "use RedASGIMiddleware"), ({"excluded": ["/a"]}, "there is no such option")]
)
def test_a_middleware_of_the_other_protocol_is_refused_even_then(
    make: Any, options: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It could pass no request on, so the log must not say that the application is served."""
    wrapped = make()
    wrapped.add_middleware(RedWSGIMiddleware, metrics=fresh_metrics(), **options)
    with pytest.raises(TypeError, match=message):
        asyncio.run(live(wrapped))
    assert caplog.records == []


def test_what_the_line_of_the_user_constructs_is_refused_there() -> None:
    """Though it may stand in a function that a framework calls."""
    wrong: Any = {"excluded": ["/a"]}

    async def startup() -> None:
        RedASGIMiddleware(FASTAPI, **wrong)

    with pytest.raises(TypeError, match="excluded"):
        asyncio.run(startup())


class Untold:
    """Stands for an application that is not there yet, as a proxy of werkzeug's does."""

    @property
    def __signature__(self) -> object:
        raise RuntimeError("not bound")

    def __call__(self, *arguments: object) -> None: ...


@both
@pytest.mark.parametrize("app", [functools.partial(app), Untold(), max], ids=["partial", "untold", "in C"])
def test_an_app_that_tells_little_is_accepted(middleware: Middleware, app: Any) -> None:
    middleware(app, metrics=fresh_metrics())


@both
def test_options_are_keyword_only(middleware: Middleware) -> None:
    """Only the application has a place."""
    with pytest.raises(TypeError):
        middleware(app, fresh_metrics())  # type: ignore[call-arg]  # the point of the test


@both
def test_without_metrics_the_process_shares_one(middleware: Middleware) -> None:
    """On prometheus_client's own registry, which the user's other metrics are on."""
    first, second = middleware(app), middleware(app)
    assert first.metrics == second.metrics
    assert first.metrics.registry is REGISTRY


@both
def test_a_copy_is_the_same_and_a_pickle_is_refused(middleware: Middleware) -> None:
    """Frameworks copy apps; numbers belong to their process."""
    wrapped = middleware(app, metrics=fresh_metrics())
    assert copy.copy(wrapped) is wrapped
    assert copy.deepcopy([wrapped])[0] is wrapped
    with pytest.raises(TypeError, match=f"{middleware.__name__} cannot be pickled"):
        pickle.dumps(wrapped)


@pytest.mark.parametrize("collection", [iter, set, list, tuple])
def test_paths_are_exact(collection: Callable[[list[str]], Iterable[str]]) -> None:
    """The endpoint and what is excluded, whatever collection names it, and nothing that looks like them."""
    mounted = mounting(exclude=collection(["/healthz", "/ready"]))
    expected = {"/metrics": Purpose.ENDPOINT, "/healthz": Purpose.EXCLUDED, "/ready": Purpose.EXCLUDED}
    for path in ("/", "", "/a/metrics", "/metrics/a", "/METRICS", "/healthz2", "/healthz/", *expected):
        assert mounted.purpose(path, {}) is expected.get(path, Purpose.APP)
    assert mounted.special == {"/metrics", "/metrics/", "/healthz", "/ready"}


@pytest.mark.parametrize("path", ["/anything", "/metrics"])
def test_the_first_request_lets_the_app_declare_whatever_its_path(path: str) -> None:
    """It is when the app's routes are learned."""
    metrics = fresh_metrics(max_label_sets=1)
    mounted = mounting([("/a", ["GET"])], metrics=metrics)
    assert metrics.bound().rows == 22  # those that are always there
    if path in mounted.special:
        assert mounted.purpose(path, {}) is Purpose.ENDPOINT
    else:
        begun(metrics, path=path)
    assert metrics.bound().rows == 22 + 1  # and GET /a


@pytest.mark.parametrize("first", ["request", "scrape", "generate_latest"])
def test_every_mounting_declares_before_the_first_answer_of_any(first: str) -> None:
    """Two apps on one RedMetrics both raise the capacity, whichever is asked first, and however it is scraped."""
    metrics = fresh_metrics(max_label_sets=1)
    one, other = (mounting([(f"/{name}/{n}", ["GET"]) for n in range(5)], metrics=metrics) for name in ("one", "other"))
    if first == "request":
        begun(metrics).finish()
    elif first == "scrape":
        assert other.purpose("/metrics", {}) is Purpose.ENDPOINT
    else:
        generate_latest(metrics.registry)
    assert metrics.bound().rows == 22 + 10
    for path in (f"/{name}/{n}" for name in ("one", "other") for n in range(5)):
        count(metrics, path)
    assert "_overflow" not in routes(metrics)
    del one


def test_a_scrape_by_another_way_does_not_fix_the_capacity_too_early() -> None:
    """Before the first request nobody may know the app: its routes raise the capacity all the same."""
    metrics = fresh_metrics(max_label_sets=1)
    generate_latest(metrics.registry)  # before anything is mounted
    mounted = mounting(metrics=metrics)
    generate_latest(metrics.registry)  # before the app behind it is found
    (reader,) = mounted.routes.readers
    reader.declare([("/a", ["GET"]), ("/b", ["GET"])])  # type: ignore[attr-defined]  # the reader of this test
    assert metrics.bound().rows == 22 + 2
    reader.declare([("/late", ["GET"])])  # type: ignore[attr-defined]  # as above
    assert metrics.bound().rows == 22 + 2


def test_a_mounting_that_is_gone_declares_nothing() -> None:
    """An app factory may make apps that nobody keeps."""
    metrics = fresh_metrics(max_label_sets=1)
    mounting([("/a", ["GET"])], metrics=metrics)
    gc.collect()
    begun(metrics).finish()
    assert metrics.bound().rows == 22


def test_no_endpoint_where_none_is_wanted() -> None:
    """`metrics_path=None`: another mounting, or another port, answers."""
    mounted = mounting(metrics_path=None)
    assert mounted.purpose("/metrics", {}) is Purpose.APP
    assert mounted.special == frozenset()


def test_an_app_that_has_the_path_itself_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """One warning says so. What the app shows there is unknown: it may be the same registry."""
    mounted = mounting([("/metrics", ["GET"])], exclude=["/healthz"])
    with caplog.at_level(logging.WARNING, "red_middleware"):
        assert mounted.purpose("/metrics", {}) is Purpose.APP
        mounted.learn({})
    assert mounted.purpose("/healthz", {}) is Purpose.EXCLUDED
    assert mounted.special == {"/healthz"}
    assert [record.getMessage() for record in caplog.records] == [
        "the application has a route /metrics of its own, which answers in place of the middleware's. If it does not "
        "show the same registry, choose another metrics_path="
    ]


@pytest.mark.parametrize(
    ("metrics_path", "twin"), [("/metrics", "/metrics/"), ("/metrics/", "/metrics"), ("/a/b", "/a/b/"), ("/", None)]
)
def test_the_endpoint_answers_with_and_without_a_slash_at_its_end(metrics_path: str, twin: str | None) -> None:
    """Scrapers of an app that was mounted there ask with one."""
    mounted = mounting(metrics_path=metrics_path)
    assert mounted.purpose(metrics_path, {}) is Purpose.ENDPOINT
    assert mounted.special == {metrics_path, twin} - {None}


def test_a_route_of_the_app_that_differs_by_a_slash_stays_the_apps(caplog: pytest.LogCaptureFixture) -> None:
    """Each of the two paths has an owner, and the one that the option names stays the endpoint's."""
    mounted = mounting([("/metrics/", ["GET"])])
    assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert mounted.purpose("/metrics/", {}) is Purpose.APP
    assert caplog.records == []


@pytest.mark.parametrize("template", ["/metrics", "/metrics/*"])
def test_an_app_that_has_the_path_itself_keeps_what_differs_by_a_slash(template: str) -> None:
    """Its framework may redirect there, and a mount answers there."""
    mounted = mounting([(template, ["GET"])])
    assert [mounted.purpose(path, {}) for path in ("/metrics", "/metrics/")] == [Purpose.APP, Purpose.APP]


def test_whose_the_endpoints_path_is_stays_as_the_first_request_found_it(caplog: pytest.LogCaptureFixture) -> None:
    """A route of the app that is seen only later takes nothing away: a scrape never meets now ours, now the app's."""
    mounted = mounting()
    assert mounted.purpose("/a", {}) is Purpose.APP
    (reader,) = mounted.routes.readers
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for _ in range(2):
            reader.declare([("/metrics", ["GET"])])  # type: ignore[attr-defined]  # the reader of this test
    assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert mounted.special == {"/metrics", "/metrics/"}
    assert [record.getMessage() for record in caplog.records] == [
        "the application has a route /metrics of its own, seen only after the first request: the metrics stay there; "
        "choose another metrics_path="
    ]


def test_paths_are_compared_as_the_protocol_spells_them_and_routes_as_the_app_does() -> None:
    """The app's own route is found by the text of the option."""
    options: dict[str, Any] = {"metrics_path": "/Métriques", "exclude": ["/Santé"], "spelled": str.lower}
    mounted = mounting(**options)
    for path, purpose in (("/métriques", Purpose.ENDPOINT), ("/santé", Purpose.EXCLUDED), ("/Santé", Purpose.APP)):
        assert mounted.purpose(path, {}) is purpose
    assert mounting([("/Métriques", ["GET"])], **options).purpose("/métriques", {}) is Purpose.APP


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_an_enclosing_middleware_does_not_count_what_is_not_counted_here(path: str) -> None:
    """The endpoint and excluded paths of an inner mounting, seen from outside."""
    mounted = mounting(exclude=["/healthz"])
    outer = fresh_metrics()
    source: dict[str, Any] = {}
    exchange = begun(outer, source=source, path=f"/api{path}")
    mounted.purpose(path, source)
    exchange.finish()
    assert counted(outer) == {}


def test_an_app_that_asks_for_the_metrics_itself_is_counted() -> None:
    """A sub-request by a copy of the environ or scope: what it is for says nothing of the request that made it."""
    mounted = mounting()
    outer = fresh_metrics()
    source: dict[str, Any] = {}
    exchange = begun(outer, source=source, path="/batch")
    assert mounted.purpose("/metrics", {**source}) is Purpose.ENDPOINT
    exchange.respond(200, "/batch")
    exchange.finish()
    assert counted(outer) == one_request("200", route="/batch")


class Broken(Silent):
    """A reader that fails."""

    def learn(self, app: object, source: Source) -> bool:
        raise LookupError

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        raise LookupError


def test_a_broken_reader_is_a_fault_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """No route is known, the next reader is not asked, the request goes on."""
    metrics = fresh_metrics()
    mounted = mounting(metrics=metrics, readers=[Broken])
    assert mounted.purpose("/a", {}) is Purpose.APP
    assert mounted.routes.find({}, "/a") is None
    assert faults(metrics) == 2.0
    assert len(caplog.records) == 2


def test_learning_that_fails_is_over_and_harms_no_response() -> None:
    """Whatever it is that fails, here the numbers themselves: paths are told apart from then on."""

    class Failing(str):
        def startswith(self, *_: object) -> bool:
            raise MemoryError

    metrics = fresh_metrics()
    mounted = mounting([("/metrics", ["GET"]), (Failing("/a"), ["GET"])], metrics=metrics, exclude=["/healthz"])
    begun(metrics, path="/a").finish()
    assert mounted.special == {"/metrics", "/metrics/", "/healthz"}
    assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert mounted.purpose("/healthz", {}) is Purpose.EXCLUDED
    assert faults(metrics) == 1.0


def test_learning_that_is_interrupted_is_over() -> None:
    """The interrupt goes its way; the next request is one as any other."""

    class Interrupted(Silent):
        def learn(self, app: object, source: Source) -> bool:
            raise KeyboardInterrupt

    metrics = fresh_metrics(max_label_sets=1)
    mounted = mounting(metrics=metrics, readers=[Interrupted])
    other = mounting([("/a", ["GET"])], metrics=metrics)
    with pytest.raises(KeyboardInterrupt):
        begun(metrics)
    assert metrics.bound().rows == 22
    assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert other.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert metrics.bound().rows == 22 + 1  # the other mounting's turn came with the next request


class Meeting:
    """Two first requests that come at once to an app that has `/metrics` itself.

    Args:
        seconds: How long the first `learn` goes on after the other request has come.
    """

    def __init__(self, seconds: float) -> None:
        self.learned = 0
        self.waited: list[bool] = []
        self.answers: list[Purpose] = []
        self.other = threading.Thread(target=self._ask)
        meeting = self

        class Waiting(Silent):
            def learn(self, app: object, source: Source) -> bool:
                meeting.learned += 1
                if meeting.learned == 1:
                    meeting.other.start()
                    meeting.other.join(seconds)
                    meeting.waited.append(meeting.other.is_alive())
                self.declare([("/metrics", ["GET"])])
                return True

        self.metrics = fresh_metrics()
        self.mounted = mounting(metrics=self.metrics, readers=[Waiting])
        self._ask()
        self.other.join()

    def _ask(self) -> None:
        self.answers.append(self.mounted.purpose("/metrics", {}))


def test_a_request_that_comes_while_the_routes_are_learned_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would not know whose the endpoint's path is. Nothing is learned twice."""
    monkeypatch.setattr("red_middleware.recorder.PATIENCE_SECONDS", 60.0)  # the machine may stall for more than it is
    meeting = Meeting(seconds=0.1)
    assert meeting.waited == [True]
    assert meeting.answers == [Purpose.APP, Purpose.APP]
    assert meeting.learned == 1


def test_nobody_waits_for_ever_for_routes_that_are_not_learned() -> None:
    """The thread that learns may be one that a fork left behind: the next request learns, and they agree."""
    meeting = Meeting(seconds=30.0)
    assert meeting.waited == [False]
    assert meeting.answers == [Purpose.APP, Purpose.APP]
    assert meeting.learned == 2
    assert faults(meeting.metrics) == 0.0


def test_a_handler_of_the_log_may_ask_the_app_while_its_routes_are_learned() -> None:
    """Its request is not held up, and learns nothing."""
    mounted = mounting([("/metrics", ["GET"])])
    asked = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(mounted.purpose("/a", {}))

    logger, handler = logging.getLogger("red_middleware"), Asking()
    logger.addHandler(handler)
    try:
        assert mounted.purpose("/metrics", {}) is Purpose.APP
    finally:
        logger.removeHandler(handler)
    assert asked == [Purpose.APP]


def test_the_users_answer_comes_first_and_may_fail() -> None:
    """`route_of` is asked once; `None` or an exception leaves the question to the readers."""
    asked = []

    def route_of(source: dict[str, Any]) -> str | None:
        asked.append(source)
        return {"a": "/mine", "b": None}[source["key"]]

    mounted = mounting(route_of=route_of)
    assert [mounted.routes.find({"key": key}, "/a") for key in "abc"] == ["/mine", None, None]
    assert len(asked) == 3
    assert faults(mounted.metrics) == 1.0


def test_the_first_reader_that_knows_answers() -> None:
    """In order."""

    class Knowing(Silent):
        def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
            return "/known"

    class Never(Silent):
        def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
            raise AssertionError

    mounted = mounting(readers=[Silent, Knowing, Never])
    assert mounted.routes.find({}, "/a") == "/known"
    assert faults(mounted.metrics) == 0.0
