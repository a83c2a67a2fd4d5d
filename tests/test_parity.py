"""One table of scenarios through both adapters: the same samples, and neither application nor server notices anything.

The table is in `scenarios`: what an application does in one request, and what is counted. What needs more than one
request, or more than one middleware, is a test here, which runs once for each protocol. `test_asgi` and `test_wsgi`
hold only what one of the protocols has.
"""

import gc
import importlib
import logging
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from wsgiref.validate import validator

import pytest

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.routes import ASGI_READERS, FRAMEWORKS, WSGI_READERS, Reader

from .counts import counted, faults, fresh_metrics, one_request, requests
from .drive import ASGIApp, ASGIServer, Clock, Environ, Receive, Scope, Send, WSGIApp, WSGIServer, environ, scope
from .scenarios import (
    HELLO,
    ROUTE,
    SCENARIOS,
    SEEN_BY_WSGI,
    Answer,
    Fail,
    Leave,
    Look,
    Pass,
    Piece,
    Put,
    Scenario,
    Step,
)


def wsgi_app(steps: Iterable[Step], clock: Clock, server: WSGIServer) -> WSGIApp:
    """Return a WSGI application that does these steps at each request. A body of pieces alone is a list."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Any:
        waiting = list(steps)
        while waiting and not isinstance(waiting[0], Piece | Leave | Look):
            before_body(waiting.pop(0), environ, start_response)
        pieces = [step for step in waiting if isinstance(step, Piece)]
        return Body(waiting) if len(pieces) < len(waiting) else [piece.data for piece in pieces if piece.data]

    def before_body(step: Step, environ: Environ, start_response: Callable[..., Any]) -> None:
        if isinstance(step, Pass):
            clock.seconds += step.seconds
        elif isinstance(step, Answer):
            headers = [("X-Mediatypes", "text/event-stream"), ("Content-Type", step.content_type)]
            headers = headers[:1] if step.status == 204 else headers
            start_response(f"{step.status} Answer", headers if step.headers is None else step.headers)
        elif isinstance(step, Put):
            environ[step.key] = step.value
        elif isinstance(step, Fail):
            raise step.error

    class Body:
        def __init__(self, waiting: list[Step]) -> None:
            self.waiting = waiting

        def __iter__(self) -> Iterator[bytes]:
            while self.waiting:
                step = self.waiting.pop(0)
                if isinstance(step, Pass):
                    clock.seconds += step.seconds
                elif isinstance(step, Fail):
                    raise step.error
                elif isinstance(step, Leave):
                    server.gone = step.fails
                elif isinstance(step, Piece):
                    if step.data:
                        yield step.data
                    if step.last:
                        return
                elif isinstance(step, Look):
                    yield b"unsent"

        def close(self) -> None:
            for step in self.waiting:
                if isinstance(step, Pass):
                    clock.seconds += step.seconds
                elif isinstance(step, Fail):
                    raise step.error

    return app


def asgi_app(steps: Iterable[Step], clock: Clock, server: ASGIServer) -> ASGIApp:
    """Return an ASGI application that does these steps at each request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            if isinstance(step, Pass):
                clock.seconds += step.seconds
            elif isinstance(step, Answer):
                headers = [("x-mediatypes", "text/event-stream"), ("content-type", step.content_type)]
                headers = [encoded(header) for header in (headers if step.headers is None else step.headers)]
                await send({"type": "http.response.start", "status": step.status, "headers": headers})
            elif isinstance(step, Piece):
                await send({"type": "http.response.body", "body": step.data, "more_body": not step.last})
            elif isinstance(step, Leave):
                server.gone = step.fails
                server.leave_at = 0
            elif isinstance(step, Look):
                assert await receive() == {"type": "http.disconnect"}
            elif isinstance(step, Put):
                scope[step.key] = step.value
            else:
                raise step.error

    return app


def encoded(header: Any) -> Any:
    """Return a header as ASGI has it, or as it is, if it is none."""
    if not isinstance(header, tuple):
        return header
    return tuple(part.encode("latin-1") if isinstance(part, str) else part for part in header)


@dataclass(frozen=True)
class Protocol:
    """One of the two: its middleware, its server, its requests, and applications that do the steps of the table."""

    name: str
    middleware: Any
    server: Any
    request: Callable[..., Any]
    """Makes an environ or a scope from a path and a method."""
    path_key: str
    """Where it has its path."""
    make: Callable[..., Any]
    """Makes an application from steps, a clock and a server."""

    def app(self, *steps: Step, clock: Clock | None = None, server: Any = None) -> Any:
        """Return an application that does these steps at each request."""
        return self.make(steps, clock or Clock(), server or self.server())

    def serve(self, app: Any, request: Any = None) -> Any:
        """Serve one request and return the server."""
        return self.server().serve(app, request)

    def count(self, app: Any, request: Any = None, **options: Any) -> dict[str, float]:
        """Serve one request through a middleware of its own and return what was counted."""
        metrics = options.setdefault("metrics", fresh_metrics())
        self.serve(self.middleware(app, **options), request)
        return counted(metrics)

    def is_as_without(self, app: Any, request: Any = None, **options: Any) -> bool:
        """Tell whether server and application see the same as without the middleware."""
        again = None if request is None else dict(request)
        wrapped = self.serve(self.middleware(app, **options), request)
        return bool(wrapped.record == self.serve(app, again).record)


def wsgi_request(path: str = "/", method: str = "GET") -> Environ:
    """Return an environ, in which each byte of the path is a character (PEP 3333)."""
    return environ(path.encode("utf-8", "surrogatepass").decode("latin-1"), method)


WSGI = Protocol("WSGI", RedWSGIMiddleware, WSGIServer, wsgi_request, "PATH_INFO", wsgi_app)
ASGI = Protocol("ASGI", RedASGIMiddleware, ASGIServer, scope, "path", asgi_app)

both = pytest.mark.parametrize("protocol", [WSGI, ASGI], ids=lambda protocol: protocol.name)


def run(
    protocol: Protocol, scenario: Scenario, wraps: bool = True, excluded: Iterable[str] = (), **options: Any
) -> tuple[RedMetrics, list[object]]:
    """Serve a scenario, with or without the middleware; return the numbers, and what the server saw.

    A legal WSGI application runs between two of `wsgiref.validate`'s checkers: one watches the middleware as an
    application, one watches it as a server.
    """
    clock, server = Clock(), protocol.server()
    metrics = fresh_metrics(clock=clock, **options)
    app = protocol.app(*scenario.steps, clock=clock, server=server)
    checked = scenario.legal and protocol is WSGI
    if checked:
        app = validator(app)
    if wraps:
        exclude = ["/health", "/santé", *excluded]
        app = protocol.middleware(app, metrics=metrics, exclude=exclude, route_of=lambda _: ROUTE)
    if checked:
        app = validator(app)
    server.serve(app, protocol.request(scenario.path, scenario.method))
    assert not (checked and isinstance(server.raised, AssertionError)), server.raised
    return metrics, server.record


def named(scenarios: Iterable[Scenario]) -> list[Any]:
    return [pytest.param(scenario, id=scenario.name) for scenario in scenarios]


def through(*, asgi: Iterable[Scenario], wsgi: Iterable[Scenario]) -> list[Any]:
    return [
        pytest.param(protocol, scenario, id=f"{protocol.name}, {scenario.name}")
        for protocol, scenarios in ((ASGI, asgi), (WSGI, wsgi))
        for scenario in scenarios
    ]


@pytest.mark.parametrize(("protocol", "scenario"), through(asgi=SCENARIOS, wsgi=SEEN_BY_WSGI))
def test_a_scenario_is_counted_as_the_table_says(protocol: Protocol, scenario: Scenario) -> None:
    """Every row of the table, with its duration; through WSGI every row that it can observe."""
    metrics, _ = run(protocol, scenario)
    assert counted(metrics) == scenario.expected


@pytest.mark.parametrize("scenario", named(SEEN_BY_WSGI))
def test_both_adapters_have_the_same_samples(scenario: Scenario) -> None:
    """All samples are equal, those at zero too, except the time that the scrape itself took."""
    wsgi, asgi = (run(protocol, scenario)[0].snapshot() for protocol in (WSGI, ASGI))
    for found in (wsgi, asgi):
        del found["red_scrape_duration_seconds_sum"]
    assert wsgi == asgi


def apart_from_the_endpoint(scenarios: Iterable[Scenario]) -> list[Scenario]:
    return [scenario for scenario in scenarios if scenario.path != "/metrics"]


@pytest.mark.parametrize(
    ("protocol", "scenario"),
    through(asgi=apart_from_the_endpoint(SCENARIOS), wsgi=apart_from_the_endpoint(SEEN_BY_WSGI)),
)
def test_nobody_notices_the_middleware(protocol: Protocol, scenario: Scenario) -> None:
    """The server sees the same calls, bytes and exceptions, in the same order, as without it."""
    assert run(protocol, scenario)[1] == run(protocol, scenario, wraps=False)[1]


@pytest.mark.parametrize("excluded", [ROUTE, "/items/*"], ids=["template", "prefix"])
@pytest.mark.parametrize(
    ("protocol", "scenario"),
    through(asgi=apart_from_the_endpoint(SCENARIOS), wsgi=apart_from_the_endpoint(SEEN_BY_WSGI)),
)
def test_nothing_is_counted_of_what_is_excluded(protocol: Protocol, scenario: Scenario, excluded: str) -> None:
    """However it ends, and though a template is known only when it has begun; and nobody notices."""
    metrics, record = run(protocol, scenario, excluded=[excluded])
    assert counted(metrics, "http_") == {}
    assert record == run(protocol, scenario, wraps=False)[1]


def test_what_wsgi_cannot_observe_is_what_the_table_says() -> None:
    """Such rows would give other samples there; a row that gives the same belongs among the others."""
    for scenario in SCENARIOS:
        if scenario.unseen:
            metrics, _ = run(WSGI, scenario._replace(legal=False))
            assert counted(metrics) != scenario.expected, scenario.name


# Requests


@both
def test_a_request_without_a_method_or_a_path_is_the_applications(protocol: Protocol) -> None:
    """The application is asked all the same. What has no method counts under `_OTHER`."""
    for keys, method in ((("path", "PATH_INFO"), "GET"), (("method", "REQUEST_METHOD"), "_OTHER")):
        request = protocol.request()
        for key in keys:
            request.pop(key, None)
        request["SCRIPT_NAME"] = "/shop"
        assert protocol.count(protocol.app(*HELLO), request) == one_request("200", method=method)


@both
@pytest.mark.parametrize(
    "steps",
    [HELLO, (Answer(), Piece(b"one"), Piece(b"two", last=True)), (*HELLO, Leave(), Look())],
    ids=["one piece", "two pieces", "a client that leaves"],
)
def test_the_application_gets_the_very_request(protocol: Protocol, steps: tuple[Step, ...]) -> None:
    """Some test clients make one of a class of their own. It is in no cycle: the garbage collector is not needed."""

    class Special(dict[str, Any]):
        pass

    metrics, server = fresh_metrics(), protocol.server()
    inner = protocol.app(*steps, server=server)
    seen: list[int] = []

    def app(request: Any, *arguments: Any) -> Any:
        seen.append(id(request))
        return inner(request, *arguments)

    request: Any = Special(protocol.request())
    gone = weakref.ref(request)
    gc.disable()
    try:
        server.serve(protocol.middleware(app, metrics=metrics), request)
        assert counted(metrics) == one_request("200")
        assert seen == [id(request)]
        server.body = request = None
        assert gone() is None
    finally:
        gc.enable()


@both
def test_the_same_request_used_again_is_a_new_one(protocol: Protocol) -> None:
    """Test clients and retrying middlewares do so."""
    metrics, request = fresh_metrics(), protocol.request()
    app = protocol.middleware(protocol.app(*HELLO), metrics=metrics)
    for _ in range(3):
        protocol.serve(app, request)
    assert requests(metrics) == {("GET", "_unmatched", "200"): 3}


@both
@pytest.mark.parametrize(("copies", "number"), [(False, 2), (True, 1)])
def test_a_request_made_inside_a_request_counts_if_it_is_no_copy(protocol: Protocol, copies: bool, number: int) -> None:
    """A sub-request with a fresh environ or scope is a request; one with a copy is a detour of the same."""
    metrics = fresh_metrics()

    def app(request: Any, *arguments: Any) -> Any:
        if request[protocol.path_key] == "/outer":
            inner = {**request, protocol.path_key: "/inner"} if copies else protocol.request("/inner")
            assert protocol.serve(wrapped, inner).raised is None
        return protocol.app(*HELLO)(request, *arguments)

    wrapped = protocol.middleware(app, metrics=metrics)
    assert protocol.serve(wrapped, protocol.request("/outer")).raised is None
    assert requests(metrics) == {("GET", "_unmatched", "200"): number}
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0


@both
@pytest.mark.parametrize("path", ["/métriques", "/μετρήσεις"])
def test_the_endpoints_path_is_text_in_any_script(protocol: Protocol, path: str) -> None:
    """The option has it as text, and each protocol spells it in its own way."""
    found = protocol.count(protocol.app(*HELLO), protocol.request(path), metrics_path=path)
    assert found == {"red_scrape_duration_seconds_count": 1.0}


# Several middlewares


@both
def test_two_middlewares_of_one_redmetrics_count_once(protocol: Protocol) -> None:
    """The outermost does, and its `route_of` is asked."""
    metrics = fresh_metrics()
    inner = protocol.middleware(protocol.app(*HELLO), metrics=metrics, route_of=lambda _: "/inner")
    found = protocol.count(inner, metrics=metrics, route_of=lambda _: "/outer")
    assert found == one_request("200", route="/outer")


@both
def test_two_middlewares_of_two_redmetrics_count_once_in_each(protocol: Protocol) -> None:
    """Each has its own numbers. A third one around both does not count what the innermost counts."""
    first, second = fresh_metrics(), fresh_metrics()
    inner = protocol.middleware(protocol.middleware(protocol.app(*HELLO), metrics=first), metrics=second)
    assert protocol.count(inner, metrics=first) == counted(second) == one_request("200")


@both
@pytest.mark.parametrize("steps", [(), (Answer(), Piece(b"half")), HELLO], ids=["at once", "half-way", "at the end"])
def test_what_an_inner_middleware_does_not_count_is_not_counted_outside(
    protocol: Protocol, steps: tuple[Step, ...]
) -> None:
    """Its endpoint and its exclusions, failing ones too, are those of everyone; in progress goes back to zero."""
    outer, inner = fresh_metrics(), fresh_metrics()
    failing = protocol.app(*steps, Fail(KeyError))
    app = protocol.middleware(
        protocol.middleware(failing, metrics=inner, metrics_path="/numbers", exclude=["/health"]), metrics=outer
    )
    assert protocol.serve(app, protocol.request("/numbers")).raised is None
    assert isinstance(protocol.serve(app, protocol.request("/health")).raised, KeyError)
    assert counted(outer) == {}
    assert counted(inner) == {"red_scrape_duration_seconds_count": 1.0}


@both
def test_what_an_outer_middleware_excludes_is_not_counted_inside(protocol: Protocol) -> None:
    """The outermost of one `RedMetrics` decides, for this request alone, and not for other numbers."""
    metrics, others, request = fresh_metrics(), fresh_metrics(), protocol.request("/health")
    inner = protocol.middleware(protocol.middleware(protocol.app(*HELLO), metrics=others), metrics=metrics)
    app = protocol.middleware(inner, metrics=metrics, exclude=["/health"])
    protocol.serve(app, request)
    assert counted(metrics) == {}
    assert counted(others) == one_request("200")
    request[protocol.path_key] = "/hello"
    protocol.serve(app, request)
    assert counted(metrics) == one_request("200")


@both
def test_an_answer_without_a_route_says_once_how_to_name_it(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    """A newcomer sees `_unmatched`, and not why: the app's router is none that is read."""
    middleware = protocol.middleware(protocol.app(*HELLO), metrics=fresh_metrics())
    for path in ("/hello", "/hello", "/other"):
        protocol.serve(middleware, protocol.request(path))
    (record,) = caplog.records
    assert record.getMessage().startswith("GET '/hello' was answered 200")
    for name in ("_unmatched", "Flask", "Bottle", "Starlette", "FastAPI", "route_of="):
        assert name in record.getMessage()


@both
def test_a_good_answer_beside_the_routes_of_an_app_says_so(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    """As Django's page for a new project: it would puzzle to read that the routes of Django are known."""
    middleware = protocol.middleware(protocol.app(*HELLO), metrics=fresh_metrics(), routes=["/other"])
    protocol.serve(middleware, protocol.request("/hello"))
    (record,) = caplog.records
    said = "counts as _unmatched: none of the routes that the app declares serves it; route_of= can name it"
    assert record.getMessage().endswith(said)


@both
def test_what_no_router_answers_says_nothing(protocol: Protocol, caplog: pytest.LogCaptureFixture) -> None:
    """Refusals, failures and preflights have no route, whatever the framework; a route that is known says it all."""
    end = Piece(b"", last=True)
    for steps, method, route in (
        ((Answer(404), end), "GET", None),
        ((Answer(308), end), "GET", None),
        ((Fail(KeyError),), "GET", None),
        ((Answer(200), end), "OPTIONS", None),
        ((Answer(200), end), "GET", ROUTE),
    ):
        app = protocol.app(*steps)
        protocol.count(app, protocol.request("/", method), route_of=lambda source, route=route: route)
    assert caplog.records == []


@pytest.mark.parametrize("reader", [*WSGI_READERS, *ASGI_READERS], ids=lambda reader: reader.__name__)
def test_every_framework_that_is_read_is_named(reader: type[Reader]) -> None:
    """In that message."""
    assert reader.__name__.removesuffix("Reader") in FRAMEWORKS


# Faults of the instrumentation


@both
@pytest.mark.parametrize(
    ("answers", "faults", "seconds", "first_seconds"),
    [
        ((RuntimeError(), 100.0, 100.0), 1.0, 0.0, 0.0),
        ((100.0, RuntimeError(), 102.0), 1.0, 2.0, 0.0),
        ((100.0, 100.0, RuntimeError()), 1.0, 0.0, 0.0),
        ((RuntimeError(), RuntimeError(), RuntimeError()), 3.0, 0.0, 0.0),
        ((None, 100.0, 100.0), 1.0, 0.0, 0.0),
        ((100.0, None, 102.0), 1.0, 2.0, 0.0),
        ((100.0, 100.0, None), 1.0, 0.0, 0.0),
        (("soon", "later", "now"), 2.0, 0.0, 0.0),
        ((100.0, 99.0, 98.0), 0.0, 0.0, 0.0),
        ((100.0, 101.0, 102.0), 0.0, 2.0, 1.0),
        ((float("nan"), 100.0, 100.0), 0.0, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream"])
def test_a_clock_that_fails_harms_no_response(
    protocol: Protocol, answers: Any, faults: float, seconds: float, first_seconds: float, content_type: str
) -> None:
    """The clock is asked at the start, at the response, where the time of an event stream ends, and at the end."""
    waiting = [0.0, *answers]  # the first for RedMetrics itself

    def clock() -> Any:
        answer = waiting.pop(0) if waiting else 100.0
        if isinstance(answer, Exception):
            raise answer
        return answer

    metrics = fresh_metrics(clock=clock)
    app = protocol.app(Answer(content_type=content_type), Piece(b"a", last=True))
    assert protocol.is_as_without(app, metrics=metrics)
    found = counted(metrics)
    assert found.pop("red_instrumentation_errors_total", 0.0) == faults
    assert found == one_request("200", seconds=seconds if content_type == "text/plain" else first_seconds)


@both
@pytest.mark.parametrize("header", [("a", "b", "c"), (None, None), None, 7])
def test_a_header_that_is_none_harms_no_response(protocol: Protocol, header: Any) -> None:
    """The instrumentation reads the headers of a response that takes long. What it cannot read is a fault."""
    metrics = fresh_metrics()
    clock: Any = metrics.clock
    app = protocol.app(Answer(headers=[header]), Pass(0.125), Piece(b"a", last=True), clock=clock)
    assert protocol.is_as_without(app, metrics=metrics)
    found = counted(metrics)
    assert found.pop("red_instrumentation_errors_total") == 1.0
    assert found == one_request("200", seconds=0.125)


@both
def test_a_route_of_that_raises_harms_no_response_and_is_logged_once(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has its traceback, the first time; the counter has every time."""

    def broken(source: object) -> str:
        raise RuntimeError("instrumentation")

    metrics, app = fresh_metrics(), protocol.app(*HELLO)
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for _ in range(3):
            assert protocol.is_as_without(app, metrics=metrics, route_of=broken)
    told = [record for record in caplog.records if "fault (route_of)" in record.getMessage()]
    assert len(told) == 1
    assert told[0].exc_info is not None
    assert faults(metrics) == 3.0
    assert requests(metrics) == {("GET", "_unmatched", "200"): 3}


@both
@pytest.mark.parametrize("route", [7, b"/bytes", ["/unhashable"], object(), "x" * 300])
def test_a_route_of_may_answer_anything(protocol: Protocol, route: Any) -> None:
    """What is no template is folded; the response is what it would be."""
    metrics, app = fresh_metrics(), protocol.app(*HELLO)
    assert protocol.is_as_without(app, metrics=metrics, route_of=lambda _: route)
    assert sum(requests(metrics).values()) == 1


@both
@pytest.mark.parametrize(
    "last",
    [HELLO, (Fail(KeyError),), (Answer(), Fail(KeyError))],
    ids=["an answer", "an exception", "an exception after the status"],
)
def test_a_route_of_is_asked_once(protocol: Protocol, last: tuple[Step, ...]) -> None:
    """It is asked when the response begins, or when an exception ends the request, with the environ or scope."""
    asked: list[object] = []

    def route_of(source: Any) -> str:
        asked.append(source["mark"])
        return "/known"

    protocol.count(protocol.app(Put("mark", "this one"), *last), route_of=route_of)
    assert asked == ["this one"]


class Hostile:
    """Stands where a framework's own object is expected, and fails at every question."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@both
@pytest.mark.parametrize(("steps", "status"), [(HELLO, "200"), ((), "500")], ids=["an answer", "none"])
def test_a_reader_that_fails_over_the_request_harms_no_response(
    protocol: Protocol, steps: tuple[Step, ...], status: str
) -> None:
    """An object of another make is where a framework has its own: the route is unknown, and the fault is counted."""
    for framework in ("werkzeug", "starlette.routing"):  # else its reader is not asked
        importlib.import_module(framework)
    metrics = fresh_metrics()
    hostile = [Put(key, Hostile()) for key in ("werkzeug.request", "router", "endpoint")]
    assert protocol.is_as_without(protocol.app(*hostile, *steps), metrics=metrics)
    found = counted(metrics)
    assert found.pop("red_instrumentation_errors_total") == 1.0
    assert found == one_request(status)


# Invisible


@both
@pytest.mark.parametrize("steps", [(), (Answer(), Piece(b"half"))], ids=["at once", "half-way"])
def test_an_exception_keeps_its_identity_its_chain_and_its_frames(protocol: Protocol, steps: tuple[Step, ...]) -> None:
    """The application's own frames are the innermost, as without the middleware."""
    cause, error = OSError("cause"), KeyError("effect")
    error.__cause__ = cause
    server = protocol.serve(protocol.middleware(protocol.app(*steps, Fail(error)), metrics=fresh_metrics()))
    assert server.raised is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    frames = traceback.extract_tb(error.__traceback__)
    assert frames[-1].filename == __file__
    assert frames[-1].name in ("app", "before_body", "__iter__")
