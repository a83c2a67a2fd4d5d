"""Long answers: when their first byte comes, and how long event streams last, apart from the request's duration."""

import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final
from wsgiref.util import FileWrapper

import flask
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.detailed import DetailedExchange, start_detailed
from red_middleware.counting.layout import STREAM_ROWS
from red_middleware.counting.rows import IS_LOCKED
from red_middleware.metrics import recorder_of

from .counts import counted, faults, fresh_metrics
from .drive import (
    ASGIServer,
    Clock,
    Environ,
    Message,
    Receive,
    Scope,
    Send,
    StartResponse,
    WSGIApp,
    WSGIServer,
    ask_asgi,
    ask_wsgi,
    environ,
    restart,
    scope,
)

EVENTS: Final = "text/event-stream"
FIRST_BYTE: Final = "http_time_to_first_byte_seconds"
STREAMS: Final = "http_event_stream"


def fresh(clock: Clock | None = None, **options: Any) -> RedMetrics:
    """Return numbers that count all that can be counted, of a clock that a test moves."""
    return fresh_metrics(**{"clock": clock or Clock(), "first_byte": True, "event_streams": True, **options})


def first_byte(metrics: RedMetrics) -> dict[str, float]:
    """Return the seconds to the first bytes, by what they are labelled with."""
    return {text.partition("{")[2]: n for text, n in counted(metrics, f"{FIRST_BYTE}_sum").items()}


def observed(metrics: RedMetrics) -> float:
    """Return how many first bytes were observed."""
    return sum(counted(metrics, f"{FIRST_BYTE}_count").values())


GET_MINE: Final = 'method="GET",route="/mine"}'

Pieces = list[bytes | float]
"""What a body does in turn: it yields bytes, or time passes."""


def ask(protocol: str, metrics: RedMetrics, pieces: Pieces, headers: Any = (), method: str = "GET") -> None:
    """Send a request to an application whose body does this."""
    clock: Any = metrics.clock

    def passing() -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                clock.seconds += piece

    def wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*headers] or [("Content-Type", "text/plain")])
        return passing()

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        sent = [(name.encode(), text.encode()) for name, text in headers]
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        for piece in passing():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    if protocol == "wsgi":
        app: Any = RedWSGIMiddleware(wsgi, metrics=metrics, route_of=lambda environ: "/mine")
        assert WSGIServer().serve(app, environ("/", method)).raised is None
    else:
        app = RedASGIMiddleware(asgi, metrics=metrics, route_of=lambda scope: "/mine")
        assert ASGIServer().serve(app, scope("/", method)).raised is None


@pytest.fixture(params=["wsgi", "asgi"])
def protocol(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [
        ([2.0, b"a", 4.0, b"b"], 2.0),
        ([2.0, b"", 4.0, b"b", 8.0], 6.0),
        ([b"a"], 0.0),
        ([2.0], None),
        ([], None),
        ([b""], None),
    ],
)
def test_the_first_byte_is_that_of_the_body(protocol: str, pieces: Pieces, seconds: float | None) -> None:
    """Not the headers, and not an empty piece. A body without bytes has none. The duration is to the last byte."""
    metrics = fresh()
    ask(protocol, metrics, pieces)
    assert observed(metrics) == (seconds is not None)
    assert first_byte(metrics) == ({GET_MINE: seconds} if seconds else {})
    (duration,) = counted(metrics, "http_request_duration_seconds_sum").values() or [0.0]
    assert duration == sum(piece for piece in pieces if isinstance(piece, float))


def test_a_response_to_head_has_no_first_byte(protocol: str) -> None:
    """Whatever the application says: no server sends it."""
    metrics = fresh()
    ask(protocol, metrics, [b"a"], method="HEAD")
    assert observed(metrics) == 0
    (request,) = counted(metrics, "http_requests_total")
    assert 'method="HEAD"' in request


@pytest.mark.parametrize("is_locked", sorted({True, IS_LOCKED}))
def test_the_first_byte_has_the_buckets_of_durations(
    protocol: str, is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So both are read alike, on interpreters without a lock of their own as well."""
    monkeypatch.setattr("red_middleware.counting.table.IS_LOCKED", is_locked)
    metrics = fresh(buckets=(1.0, 3.0))
    for seconds in (0.5, 2.0, 9.0):
        ask(protocol, metrics, [seconds, b"a"])
    found = counted(metrics, f"{FIRST_BYTE}_bucket")
    assert [found[f'{FIRST_BYTE}_bucket{{le="{le}",{GET_MINE}'] for le in ("1.0", "3.0", "+Inf")] == [1.0, 2.0, 3.0]


def listed(clock: Clock) -> WSGIApp:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        clock.seconds += 2
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"", b"a"]

    return app


def written(clock: Clock) -> WSGIApp:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"")
        clock.seconds += 2
        write(b"a")
        clock.seconds += 2
        return []

    return app


def filed(clock: Clock) -> WSGIApp:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        clock.seconds += 2
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"a"))
        return body

    return app


@pytest.mark.parametrize("kind", [listed, written, filed])
@pytest.mark.parametrize("iterates", [True, False])
def test_every_way_to_answer_in_wsgi_has_a_first_byte(kind: Callable[[Clock], WSGIApp], iterates: bool) -> None:
    """A server may send a list or a file without iterating it."""
    clock = Clock()
    metrics = fresh(clock)
    wrapped = RedWSGIMiddleware(kind(clock), metrics=metrics, route_of=lambda environ: "/mine")
    WSGIServer(stop_at=None if iterates else 0).serve(wrapped, environ(file_wrapper=FileWrapper))
    assert first_byte(metrics) == {GET_MINE: 2.0}


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_a_file_that_an_asgi_server_sends_itself_begins_when_it_is_told(kind: str) -> None:
    """Its bytes are not seen here."""
    clock = Clock()
    metrics = fresh(clock)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        clock.seconds += 2
        await send({"type": kind, "path": "/a", "file": 7})

    ASGIServer().serve(RedASGIMiddleware(app, metrics=metrics, route_of=lambda scope: "/mine"))
    assert first_byte(metrics) == {GET_MINE: 2.0}


@pytest.mark.parametrize("content_type", [EVENTS, "Text/Event-Stream; charset=utf-8"])
def test_an_event_stream_shows_its_beginning_its_first_byte_and_its_life(protocol: str, content_type: str) -> None:
    """A reply in pieces, which takes three seconds: the duration alone would be nothing."""
    metrics = fresh()
    ask(protocol, metrics, [2.0, b"data: 1\n\n", 1.0, b"data: 2\n\n"], [("Content-Type", content_type)])
    assert counted(metrics, "http_request_duration_seconds_sum") == {}
    assert first_byte(metrics) == {GET_MINE: 2.0}
    found = counted(metrics, STREAMS)
    assert found[f"{STREAMS}s_total{{{GET_MINE}"] == 1.0
    assert found[f"{STREAMS}_duration_seconds_sum{{{GET_MINE}"] == 3.0
    assert f'{STREAMS}_duration_seconds_bucket{{le="2.5",{GET_MINE}' not in found
    assert found[f'{STREAMS}_duration_seconds_bucket{{le="5.0",{GET_MINE}'] == 1.0


def test_what_is_no_event_stream_is_none(protocol: str) -> None:
    """However long it takes."""
    metrics = fresh()
    ask(protocol, metrics, [2.0, b"a"], [("Content-Type", "text/html")])
    assert counted(metrics, STREAMS) == {}


def test_those_that_are_being_sent_are_in_progress() -> None:
    """From their beginning to their end, of every framework."""
    metrics = fresh()
    shown: list[float] = []

    def look() -> bytes:
        shown.append(metrics.snapshot()["http_event_streams_in_progress"])
        return b"data: 1\n\n"

    async def pieces() -> AsyncIterator[bytes]:
        yield look()

    app = flask.Flask("shop")
    app.add_url_rule("/events", "events", lambda: flask.Response((look() for _ in range(1)), content_type=EVENTS))
    ask_wsgi(RedWSGIMiddleware(app, metrics=metrics), "/events")
    starlette = Starlette(routes=[Route("/events", lambda request: StreamingResponse(pieces(), media_type=EVENTS))])
    ask_asgi(RedASGIMiddleware(starlette, metrics=metrics), "/events")
    assert shown == [1.0, 1.0]
    assert metrics.snapshot()["http_event_streams_in_progress"] == 0.0
    assert counted(metrics, f"{STREAMS}s_total") == {f'{STREAMS}s_total{{method="GET",route="/events"}}': 2.0}


def test_a_stream_whose_client_leaves_or_whose_application_fails_ends_as_well(protocol: str) -> None:
    """It counts as what it is, and it has a life."""
    clock = Clock()
    metrics = fresh(clock)
    for fault in (LookupError, OSError):

        def wsgi(environ: Environ, start_response: StartResponse, fault: Any = fault) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", EVENTS)])
            yield b"data: 1\n\n"
            clock.seconds += 2
            if fault is LookupError:
                raise fault
            yield b"data: 2\n\n"

        async def asgi(scope: Scope, receive: Receive, send: Send, fault: Any = fault) -> None:
            headers = [(b"content-type", EVENTS.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            clock.seconds += 2
            if fault is LookupError:
                raise fault
            await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})

        leaves = fault is OSError
        if protocol == "wsgi":
            wrapped: Any = RedWSGIMiddleware(wsgi, metrics=metrics)
            WSGIServer(fail_at=1 if leaves else None).serve(wrapped)
        else:
            ASGIServer(fail_at=2 if leaves else None).serve(RedASGIMiddleware(asgi, metrics=metrics))
    labels = '{method="GET",route="_unmatched"}'
    found = counted(metrics)
    assert found[f"{STREAMS}s_total{labels}"] == 2.0
    assert found[f"{STREAMS}_duration_seconds_sum{labels}"] == 4.0
    assert f"{STREAMS}s_in_progress" not in found
    assert found[f"http_client_disconnects_total{labels}"] == found[f"http_errors_total{labels}"] == 1.0


def iterated(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"a"
    yield b"b"


def written_first(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [])
    write(b"a")
    return [b"b"]


async def sent(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


@pytest.mark.parametrize("sizes", [False, True])
@pytest.mark.parametrize("app", [iterated, written_first, sent])
def test_a_first_byte_that_could_not_be_sent_was_none(app: Any, sizes: bool) -> None:
    """The client had left before it. If it left after it, there was one."""
    for piece in (0, 1):
        metrics = fresh(sizes=sizes)
        if app is sent:
            ASGIServer(fail_at=1 + piece).serve(RedASGIMiddleware(app, metrics=metrics))
        else:
            WSGIServer(fail_at=piece).serve(RedWSGIMiddleware(app, metrics=metrics))
        assert observed(metrics) == piece


def test_a_first_byte_that_is_sent_anew_is_one() -> None:
    """The application may try again."""

    async def persistent(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            with suppress(OSError):
                await send({"type": "http.response.body", "body": b"a", "more_body": True})

    metrics = fresh()
    ASGIServer(fail_at=1).serve(RedASGIMiddleware(persistent, metrics=metrics))
    assert observed(metrics) == 1


@pytest.mark.parametrize("message", [None, 7, {}, {"type": None, "body": b"a"}, {"type": "http.teapot"}])
def test_what_is_no_message_is_passed_on(message: Any) -> None:
    """The server refuses it."""
    metrics = fresh()
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": 7})
        await send(message)

    async def keep(message: Message) -> None:
        sent.append(message)

    server = ASGIServer()
    server.send = keep  # type: ignore[method-assign]  # one that refuses nothing
    assert server.serve(RedASGIMiddleware(app, metrics=metrics)).raised is None
    assert sent[1] is message
    assert faults(metrics) >= 1  # of the headers, which are none


def test_a_header_that_is_none_harms_no_response_in_wsgi() -> None:
    """Flask and others would refuse it themselves."""
    metrics = fresh()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", None)])
        return [b"a"]

    assert WSGIServer().serve(RedWSGIMiddleware(app, metrics=metrics)).raised is None
    assert faults(metrics) >= 1


def test_middlewares_of_two_redmetrics_watch_the_same_response(protocol: str) -> None:
    """Each for its own numbers."""
    inner, outer = fresh(), fresh()
    if protocol == "wsgi":

        def wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Type", EVENTS)])
            return [b"a"]

        WSGIServer().serve(RedWSGIMiddleware(RedWSGIMiddleware(wsgi, metrics=inner), metrics=outer))
    else:

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", EVENTS.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"a"})

        ASGIServer().serve(RedASGIMiddleware(RedASGIMiddleware(asgi, metrics=inner), metrics=outer))
    for metrics in (inner, outer):
        assert observed(metrics) == 1
        assert sum(counted(metrics, f"{STREAMS}s_total").values()) == 1


@pytest.mark.parametrize(("first", "streams"), [(False, False), (True, False), (False, True), (True, True)])
def test_only_what_an_option_asks_for_is_shown_and_the_bound_follows(first: bool, streams: bool) -> None:
    """Each row has a histogram more, and there are 150 rows of event streams."""
    metrics = fresh(first_byte=first, event_streams=streams)
    plain = fresh_metrics().bound()
    for _ in range(2):
        ask("asgi", metrics, [2.0, b"a"], [("content-type", EVENTS)])
    names = {family.name for family in metrics.collect()}
    assert (FIRST_BYTE in names) is first
    assert ("http_event_streams" in names) is streams
    more = plain.rows * (2 + 3) if first else 0
    more += (STREAM_ROWS + 22) * 15 + 1 if streams else 0
    assert metrics.bound().series - plain.series == more
    assert observed(metrics) == (2 if first else 0)


def started(metrics: RedMetrics) -> DetailedExchange:
    """Begin a request as an adapter does where an option asks for more."""
    exchange = start_detailed(recorder_of(metrics), "GET", {})
    assert exchange is not None
    return exchange


def test_routes_of_event_streams_are_bounded() -> None:
    """What finds no row counts under the route `_overflow`."""
    metrics = fresh()
    for n in range(STREAM_ROWS + 10):
        exchange = started(metrics)
        exchange.respond(200, f"/{n}")
        exchange.stream()
        exchange.stream()
        exchange.finish()
        exchange.stream()
    found = counted(metrics, f"{STREAMS}s_total")
    assert len(found) == STREAM_ROWS + 1
    assert found[f'{STREAMS}s_total{{method="GET",route="_overflow"}}'] == 10.0


def test_a_stream_that_began_before_a_fork_ends_in_peace() -> None:
    """In the child it was never open."""
    metrics = fresh()
    exchange = started(metrics)
    exchange.respond(200, "/a")
    exchange.stream()
    restart(metrics)
    exchange.finish()
    assert metrics.snapshot()["http_event_streams_in_progress"] == 0.0


def test_a_stream_that_is_excluded_is_none() -> None:
    """By its template, which is known when it begins."""
    metrics = fresh()
    app = flask.Flask("shop")
    app.add_url_rule("/events", "events", lambda: flask.Response([b"data: 1\n\n"], content_type=EVENTS))
    app.add_url_rule("/<x>", "x", lambda x: flask.Response([b"data: 1\n\n"], content_type=EVENTS))
    ask_wsgi(RedWSGIMiddleware(app, metrics=metrics, exclude=["/<x>"]), "/any")
    assert counted(metrics, "http", STREAMS) == {}


@pytest.mark.parametrize("option", ["first_byte", "event_streams", "websocket_messages"])
def test_the_options_are_true_or_false_and_part_of_what_is_shared(option: str) -> None:
    """A second handle with the other answer is refused."""
    with pytest.raises(TypeError, match=rf"RedMetrics\({option}=1\): must be True or False"):
        RedMetrics(registry=CollectorRegistry(), **{option: 1})  # type: ignore[arg-type]  # what is refused
    registry = CollectorRegistry()
    first = RedMetrics(registry=registry, **{option: True})  # type: ignore[arg-type]  # one of several types
    assert getattr(first, option) is True
    with pytest.raises(ValueError, match=f"with {option}=True"):
        RedMetrics(registry=registry)


def test_where_no_option_asks_for_it_nothing_watches() -> None:
    """The application is called as it is."""
    wrapped = RedASGIMiddleware(ask_nothing, metrics=fresh_metrics())
    assert wrapped.mounting.counted is ask_nothing
    assert recorder_of(fresh_metrics()).table.has_streams is False


async def ask_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing."""
