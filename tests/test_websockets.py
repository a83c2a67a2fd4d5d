"""WebSockets over ASGI: each handshake counts once, each connection once, by what was seen first."""

import asyncio
import copy
import pickle
import random
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.counting.connection import Connection, connect
from red_middleware.counting.enclosing import raised
from red_middleware.counting.layout import SOCKET_ROUTES
from red_middleware.metrics import recorder_of

from .counts import counted, faults, fresh_metrics
from .drive import ASGIApp, Clock, Message, Receive, Scope, Send, by_hand, declare, restart, scope

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
HELLO = {"type": "websocket.send", "text": "hello"}
CLOSE = {"type": "websocket.close"}
DENY = {"type": "websocket.http.response.start", "status": 401, "headers": []}
DENIED = {"type": "websocket.http.response.body", "body": b"who are you?"}


def left(code: object = None) -> Message:
    """Return what a server says of a client that left, with a code or without."""
    return {"type": "websocket.disconnect", **({} if code is None else {"code": code})}


class Serving:
    """A server of a few lines: it says what it is told to say, and fails where it is told to fail.

    Args:
        says: The messages of `receive`, the first of which follows `websocket.connect`.
        fail_at: The message of the application at which `fault` is raised.
        fault: What is raised there.
    """

    def __init__(
        self, *says: Message, fail_at: str | None = None, fault: type[BaseException] = ConnectionResetError
    ) -> None:
        self.says = iter([CONNECT, *says])
        self.fail_at = fail_at
        self.fault = fault
        self.got: list[Any] = []
        self.raised: BaseException | None = None

    def serve(self, app: ASGIApp, path: str = "/ws", run: Callable[[Any], object] = by_hand, **more: Any) -> "Serving":
        """Serve a WebSocket to its end."""
        request = scope(path, **{"type": "websocket", "scheme": "ws", "subprotocols": [], **more})
        del request["method"]
        try:
            run(app(request, self.receive, self.send))
        except BaseException as error:
            self.raised = error
        return self

    async def receive(self) -> Message:
        return next(self.says)

    async def send(self, message: Message) -> None:
        self.got.append(message)
        if message["type"] == self.fail_at:
            raise self.fault


Step = Message | BaseException | type[Exception] | None
"""What an application does: sends a message, raises, lets its framework answer an exception, or receives a message."""


class Doing:
    """An application that does this, and returns."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for step in self.steps:
            if step is None:
                await receive()
            elif isinstance(step, BaseException):
                raise step
            elif isinstance(step, type):
                raised(scope, step())
            else:
                await send(dict(step))


class Case(NamedTuple):
    """How a WebSocket goes, and what it counts as."""

    says: str
    steps: Sequence[Step]
    status: str
    close_code: str | None = None
    error: bool = False
    exception: str | None = None
    hears: Sequence[Message] = ()
    fail_at: str | None = None
    fault: type[BaseException] = ConnectionResetError


class CloseCode(IntEnum):
    """As servers have it that use the package websockets."""

    ABNORMAL_CLOSURE = 1006

    def __str__(self) -> str:
        return f"CloseCode.{self.name}"


CASES = [
    Case("the client closes", [ACCEPT, None], "101", "1001", hears=[left(1001)]),
    Case("the client closes without a code", [ACCEPT, None], "101", "1005", hears=[left()]),
    Case("the client is lost", [ACCEPT, None], "101", "1006", hears=[left(1006)]),
    Case("it is lost, by a name", [ACCEPT, None], "101", "1006", hears=[left(CloseCode.ABNORMAL_CLOSURE)]),
    Case("the server shuts down", [ACCEPT, None], "101", "1012", hears=[left(1012)]),
    Case("the client says a code that is none", [ACCEPT, None], "101", "_OTHER", hears=[left(7)]),
    Case("the client says no number", [ACCEPT, None], "101", "_OTHER", hears=[left("1000")]),
    Case("the application closes", [ACCEPT, HELLO, CLOSE], "101", "1000"),
    Case("the application closes with a code", [ACCEPT, {**CLOSE, "code": 4001}], "101", "4001"),
    Case("the application closes for a fault", [ACCEPT, {**CLOSE, "code": 1011}], "101", "1011", error=True),
    Case("a framework answers it", [ACCEPT, KeyError, CLOSE], "101", "1000", error=True, exception="KeyError"),
    Case("the application closes first", [ACCEPT, CLOSE, None], "101", "1000", hears=[left(1001)]),
    Case("the client closes first", [ACCEPT, None, CLOSE], "101", "1001", hears=[left(1001)]),
    Case("the application returns", [ACCEPT, HELLO], "101", "1000"),
    Case("the application raises", [ACCEPT, KeyError()], "101", "1011", error=True, exception="KeyError"),
    Case("it raises when it has closed", [ACCEPT, CLOSE, KeyError()], "101", "1000", exception="KeyError"),
    Case("it raises when the client left", [ACCEPT, None, KeyError()], "101", "1001", hears=[left(1001)]),
    Case("it is cancelled", [ACCEPT, asyncio.CancelledError()], "101", "1012"),
    Case("the process ends", [ACCEPT, SystemExit()], "101", "1012"),
    Case("a message cannot be sent", [ACCEPT, HELLO], "101", "1006", fail_at="websocket.send"),
    Case("it cannot be closed", [ACCEPT, CLOSE], "101", "1006", fail_at="websocket.close"),
    Case("an accept cannot be sent", [ACCEPT], "499", fail_at="websocket.accept"),
    Case(
        "the server refuses a message", [ACCEPT, HELLO], "101", "1011", error=True,
        fail_at="websocket.send", fault=RuntimeError, exception="RuntimeError",
    ),
    Case("it is refused", [CLOSE], "403"),
    Case("it is refused with a response", [DENY, DENIED], "401"),
    Case("it is refused with an error", [{**DENY, "status": 503}, DENIED], "503", error=True),
    Case("it is refused with a status that is none", [{**DENY, "status": None}], "_OTHER"),
    Case("it is refused, and the server says so", [CLOSE, None], "403", hears=[left(1006)]),
    Case("the client leaves first", [None], "499", hears=[left(1006)]),
    Case("it accepts when the client has left", [None, ACCEPT, CLOSE], "499", hears=[left(1006)]),
    Case("it raises when the client has left", [None, KeyError()], "499", hears=[left(1006)]),
    Case("it raises instead", [KeyError()], "500", error=True, exception="KeyError"),
    Case("it is cancelled instead", [asyncio.CancelledError()], "500", error=True, exception="CancelledError"),
    Case("it returns instead", [], "500", error=True),
    Case("it raises when it has refused", [CLOSE, KeyError()], "403", exception="KeyError"),
]  # fmt: skip


def wanted(case: Case, route: str) -> dict[str, float]:
    """Return the samples of a case, but durations."""
    found = {f'websocket_handshakes_total{{route="{route}",status="{case.status}"}}': 1.0}
    if case.close_code is not None:
        found[f'websocket_connections_total{{close_code="{case.close_code}",route="{route}"}}'] = 1.0
    if case.error:
        found[f'websocket_errors_total{{route="{route}"}}'] = 1.0
    if case.exception is not None:
        found[f'http_exceptions_total{{exception="{case.exception}",route="{route}"}}'] = 1.0
    return found


def seen(metrics: RedMetrics) -> dict[str, float]:
    """Return every sample that is not zero but durations: there is one for each connection."""
    durations = "websocket_connection_duration_seconds"
    connections = sum(counted(metrics, "websocket_connections_total").values())
    assert sum(counted(metrics, f"{durations}_count").values()) == connections
    return {text: value for text, value in counted(metrics).items() if not text.startswith(durations)}


@pytest.mark.parametrize("case", CASES, ids=[case.says for case in CASES])
def test_a_websocket_counts_as_the_table_says(case: Case) -> None:
    """And the server and the application get the very messages that they get without the middleware."""
    metrics = fresh_metrics()
    bare, wrapped = (Serving(*case.hears, fail_at=case.fail_at, fault=case.fault) for _ in range(2))
    bare.serve(Doing(*case.steps))
    wrapped.serve(RedASGIMiddleware(Doing(*case.steps), metrics=metrics, route_of=lambda scope: "/ws"))
    assert wrapped.got == bare.got
    assert repr(wrapped.raised) == repr(bare.raised)
    assert seen(metrics) == wanted(case, "/ws")


def test_durations_are_from_the_acceptance_to_the_end() -> None:
    """Not from the beginning of the handshake, and not to the return of the application."""
    clock = Clock()
    metrics = fresh_metrics(clock=clock)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clock.seconds += 5
        await send(ACCEPT)
        assert metrics.snapshot()["websocket_connections_in_progress"] == 1.0
        clock.seconds += 42
        await send(CLOSE)
        assert metrics.snapshot()["websocket_connections_in_progress"] == 0.0
        clock.seconds += 7

    Serving().serve(RedASGIMiddleware(app, metrics=metrics, route_of=lambda scope: "/ws"))
    found = counted(metrics, "websocket_connection_duration_seconds")
    assert found['websocket_connection_duration_seconds_sum{route="/ws"}'] == 42.0
    assert 'websocket_connection_duration_seconds_bucket{le="30.0",route="/ws"}' not in found
    assert found['websocket_connection_duration_seconds_bucket{le="60.0",route="/ws"}'] == 1.0


def test_a_clock_that_fails_harms_no_connection() -> None:
    """The duration is 0 then."""
    clock = Clock()
    metrics = fresh_metrics(clock=clock)
    app = RedASGIMiddleware(Doing(ACCEPT, CLOSE), metrics=metrics, route_of=lambda scope: "/ws")
    Serving().serve(app)
    clock.seconds = "noon"  # type: ignore[assignment]  # what fails
    assert Serving().serve(app).raised is None
    clock.seconds = 100.0
    found = seen(metrics)
    assert found.pop("red_instrumentation_errors_total") >= 1.0
    assert found == dict.fromkeys(wanted(Case("", [], "101", "1000"), "/ws"), 2.0)


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_messages_and_bytes_are_counted_by_direction_if_an_option_asks_for_it(is_asked_for: bool) -> None:
    """While the connection is open, texts in UTF-8. What could not be sent is not counted, nor what comes too late."""
    metrics = fresh_metrics(websocket_messages=is_asked_for)
    seen: list[dict[str, float]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        for _ in range(3):
            await receive()
        await send({"type": "websocket.send", "bytes": b"12345", "text": None})
        seen.append(counted(metrics, "websocket_received", "websocket_sent"))
        await send(CLOSE)
        await send(HELLO)

    says: list[Message] = [
        {"type": "websocket.receive", "text": "h\u00e9"}, {"type": "websocket.receive", "text": "plain"},
        {"type": "websocket.receive", "bytes": None, "text": None},
    ]  # fmt: skip
    Serving(*says).serve(RedASGIMiddleware(app, metrics=metrics))
    expected = {
        'websocket_received_messages_total{route="_unmatched"}': 3.0,
        'websocket_received_bytes_total{route="_unmatched"}': 8.0,
        'websocket_sent_messages_total{route="_unmatched"}': 1.0,
        'websocket_sent_bytes_total{route="_unmatched"}': 5.0,
    }
    assert seen == [expected if is_asked_for else {}]
    assert counted(metrics, "websocket_received", "websocket_sent") == seen[0]
    more = 4 * (SOCKET_ROUTES + 2) if is_asked_for else 0
    assert metrics.bound().series == fresh_metrics().bound().series + more


def test_a_message_that_could_not_be_sent_is_not_counted() -> None:
    metrics = fresh_metrics(websocket_messages=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await send(HELLO)

    Serving(fail_at="websocket.send").serve(RedASGIMiddleware(app, metrics=metrics))
    assert counted(metrics, "websocket_sent") == {}


def test_nothing_of_websockets_is_shown_before_the_first() -> None:
    """Not even their names; then all of them are shown."""
    metrics = fresh_metrics()
    assert not any("websocket" in family.name for family in metrics.collect())
    Serving().serve(RedASGIMiddleware(Doing(CLOSE), metrics=metrics))
    names = {family.name for family in metrics.collect() if family.name.startswith("websocket")}
    assert names == {"websocket_handshakes", "websocket_connections_in_progress", "websocket_errors"}
    Serving().serve(RedASGIMiddleware(Doing(ACCEPT), metrics=metrics))
    names = {family.name for family in metrics.collect() if family.name.startswith("websocket")}
    assert len(names) == 5


@pytest.mark.parametrize("message", [None, 7, {}, {"type": None}, {"type": "websocket.teapot"}])
def test_what_is_no_message_is_passed_on(message: Any) -> None:
    """Whoever gets it has to refuse it."""
    metrics = fresh_metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        assert await receive() is message
        await send(message)

    async def takes_anything(message: Any) -> None:
        pass

    server = Serving(message)
    server.send = takes_anything  # type: ignore[method-assign]  # one that refuses nothing
    assert server.serve(RedASGIMiddleware(app, metrics=metrics)).raised is None
    assert faults(metrics) == 0


def socket_app() -> Starlette:
    """Return an application with WebSockets of every kind of place."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect:
            pass

    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("page")

    inner = [WebSocketRoute("/{room}", echo), WebSocketRoute("/", echo)]
    app = Starlette(routes=[WebSocketRoute("/echo", echo), Mount("/shop", routes=[Mount("/rooms", routes=inner)])])
    app.add_route("/echo", page)
    return app


def test_routes_are_templates_with_their_mounts() -> None:
    """One path may be a route of both; what no route takes is unmatched."""
    metrics = fresh_metrics()
    wrapped = RedASGIMiddleware(socket_app(), metrics=metrics)
    for path in ("/echo", "/shop/rooms/7", "/shop/rooms/8", "/shop/rooms/", "/shop/nowhere", "/nowhere"):
        Serving(left(1000)).serve(wrapped, path, asyncio.run, headers=[], state={})
    assert counted(metrics, "websocket_handshakes_total") == {
        'websocket_handshakes_total{route="/echo",status="101"}': 1.0,
        'websocket_handshakes_total{route="/shop/rooms/{room}",status="101"}': 2.0,
        'websocket_handshakes_total{route="/shop/rooms/",status="101"}': 1.0,
        'websocket_handshakes_total{route="_unmatched",status="403"}': 2.0,
    }
    assert counted(metrics, "http_requests_total") == {}


def test_declared_routes_keep_their_rows() -> None:
    """Whatever clients asked for before, and they raise the bound where they need more than there is."""
    many = [WebSocketRoute(f"/{n}", Doing(ACCEPT, None)) for n in range(SOCKET_ROUTES + 8)]
    metrics = fresh_metrics()
    named = RedASGIMiddleware(
        Starlette(routes=many), metrics=metrics, route_of=lambda scope: scope["path"] if "x" in scope["path"] else None
    )
    for n in range(100):
        Serving().serve(named, f"/x{n}")
    for n in range(SOCKET_ROUTES + 8):
        Serving(left(1000)).serve(named, f"/{n}")
    found = counted(metrics, "websocket_handshakes_total")
    assert {f'websocket_handshakes_total{{route="/{n}",status="101"}}' for n in range(SOCKET_ROUTES + 8)} <= set(found)
    assert sum(found.values()) == 100.0 + SOCKET_ROUTES + 8
    plain = fresh_metrics().bound()
    assert metrics.bound().series == plain.series + 8 * 47


def test_random_paths_and_codes_stay_within_the_bound() -> None:
    """Nothing is dropped: 20,000 connections are as many in the totals."""
    metrics = fresh_metrics()
    chance = random.Random(7)
    wrapped = RedASGIMiddleware(
        Doing(ACCEPT, None), metrics=metrics, route_of=lambda scope: scope["path"] if chance.random() < 0.5 else None
    )
    for n in range(20_000):
        Serving(left(chance.randrange(900, 5100))).serve(wrapped, f"/{n}")
    found = metrics.snapshot()
    assert len(found) == found["red_series"] <= metrics.bound().series == found["red_series_limit"]
    for family in ("websocket_handshakes_total", "websocket_connections_total"):
        assert sum(counted(metrics, family).values()) == 20_000.0
    assert 'websocket_connections_total{close_code="_OTHER",route="_unmatched"}' in found
    assert sum("handshakes" in name for name in found) == SOCKET_ROUTES + 2


def test_what_is_excluded_is_not_counted() -> None:
    """By its path, by the template that is known when it is accepted, or by a function; exceptions neither."""
    metrics = fresh_metrics()
    app = Starlette(routes=[WebSocketRoute("/room/{name}", Doing(ACCEPT, KeyError())), *socket_app().routes])
    wrapped = RedASGIMiddleware(app, metrics=metrics, exclude=["/healthz", "/room/{name}", "GET /echo"])
    Serving(left(1000)).serve(wrapped, "/healthz")
    Serving(left(1000)).serve(wrapped, "/room/7")
    Serving(left(1000)).serve(wrapped, "/echo", asyncio.run, headers=[], state={})
    assert counted(metrics, "websocket", "http") == {}
    assert metrics.snapshot()["red_series"] == len(metrics.snapshot())


def test_the_path_of_the_endpoint_is_no_websocket() -> None:
    """The application gets it, and refuses it as it would."""
    metrics = fresh_metrics()
    server = Serving().serve(RedASGIMiddleware(Doing(CLOSE), metrics=metrics), "/metrics")
    assert server.got == [CLOSE]
    assert counted(metrics, "websocket") == {}


@pytest.mark.parametrize("inner_excludes", [False, True])
def test_middlewares_inside_of_one_another_count_once(inner_excludes: bool) -> None:
    """Of one `RedMetrics` in the outermost one, of two in each; what one further in excludes counts nowhere."""
    metrics, other = fresh_metrics(), fresh_metrics()
    excludes = ["/ws"] if inner_excludes else []
    app = RedASGIMiddleware(Doing(ACCEPT, KeyError()), metrics=metrics, exclude=excludes)
    Serving().serve(RedASGIMiddleware(RedASGIMiddleware(app, metrics=other), metrics=metrics))
    case = Case("", [], "101", "1011", error=True, exception="KeyError")
    assert seen(metrics) == seen(other) == ({} if inner_excludes else wanted(case, "_unmatched"))


def test_what_an_outer_middleware_excludes_is_not_counted_inside() -> None:
    """Nor is it an exception."""
    metrics = fresh_metrics()
    app = RedASGIMiddleware(Doing(ACCEPT, KeyError()), metrics=metrics)
    Serving().serve(RedASGIMiddleware(app, metrics=metrics, exclude=["/ws"]))
    assert seen(metrics) == {}


def test_an_exception_that_a_framework_answers_itself_is_named_once() -> None:
    """Before the handshake is over it waits for the route."""
    metrics = fresh_metrics()
    error = LookupError()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raised(scope, error)
        await send(ACCEPT)
        raised(scope, error)
        raised(scope, KeyError())
        await send({**CLOSE, "code": 1011})

    Serving().serve(RedASGIMiddleware(app, metrics=metrics))
    assert counted(metrics, "http_exceptions_total") == {
        'http_exceptions_total{exception="LookupError",route="_unmatched"}': 1.0,
        'http_exceptions_total{exception="KeyError",route="_unmatched"}': 1.0,
    }


def test_a_route_that_is_no_text_harms_no_connection() -> None:
    """It is a fault of the instrumentation's own, told once."""

    class Bad(str):
        def startswith(self, *_: Any) -> bool:
            raise LookupError

    metrics = fresh_metrics()
    server = Serving(left(1000)).serve(
        RedASGIMiddleware(Doing(ACCEPT, None), metrics=metrics, route_of=lambda scope: Bad("/ws"))
    )
    assert server.raised is None
    found = seen(metrics)
    assert found.pop("red_instrumentation_errors_total") == 1.0
    assert found == wanted(Case("", [], "101", "1000"), "_unmatched")


def test_a_scope_that_is_copied_or_pickled_stays_the_applications() -> None:
    """The connection in it goes along as itself, and never into a pickle."""
    source: dict[str, Any] = {}
    connection = begun(fresh_metrics(), source)
    (key,) = source
    assert copy.deepcopy(source)[key] is copy.copy(connection) is connection
    assert pickle.loads(pickle.dumps(source)) == {key: None}


def begun(metrics: RedMetrics, source: Any = None) -> Connection:
    """Begin a handshake that nobody counts yet."""
    connection = connect(recorder_of(metrics), {} if source is None else source, "/ws")
    assert connection is not None
    return connection


def test_a_connection_that_began_before_a_fork_ends_in_peace() -> None:
    """In the child it was never open."""
    metrics = fresh_metrics()
    connection = begun(metrics)
    connection.accept(None)
    restart(metrics)
    connection.close(1000)
    assert metrics.snapshot().get("websocket_connections_in_progress", 0.0) == 0.0


def test_what_is_said_twice_counts_once() -> None:
    """A second acceptance, and an exclusion that comes too late or is of another request."""
    metrics = fresh_metrics()
    connection = begun(metrics)
    connection.forget("/another")
    connection.accept("/ws")
    connection.accept("/ws")
    connection.refuse(403, "/ws")
    connection.forget("/ws")
    connection.close(1000)
    assert seen(metrics) == wanted(Case("", [], "101", "1000"), "/ws")


def test_a_websocket_route_takes_no_row_of_requests() -> None:
    """And a request to it, which its framework does not serve, finds one all the same."""
    metrics = fresh_metrics()
    declare(metrics, [("/ws", ["websocket"]), ("/both", ["websocket", "GET"])])
    table = recorder_of(metrics).table
    assert table.row(table.methods["POST"], "/ws").key == ("POST", "/ws")
    assert table.row(table.methods["POST"], "/both").key == ("POST", "_unmatched")
    assert ("websocket", "/ws") not in table.http.reserved
    assert table.regions["handshake"].reserved == {("/ws",), ("/both",)}


def test_a_client_that_sends_the_word_as_its_method_is_another_one() -> None:
    """It is a marker of the readers, and no method."""
    metrics = fresh_metrics()
    declare(metrics, [("/ws", ["websocket"])])
    table = recorder_of(metrics).table
    assert "websocket" not in table.methods
