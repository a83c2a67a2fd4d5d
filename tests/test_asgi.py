"""RedASGIMiddleware, what only ASGI has: messages, disconnects that are received, and event loops.

What WSGI has as well is in `test_parity`. `ASGIServer` is the server, and needs no event loop; where the loop is the
point, it is asyncio's or trio's own.
"""

import asyncio
import contextlib
import contextvars
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.routes import Routes, Source

from .counts import check_one_request, counted, fresh_metrics, one_request, requests
from .drive import ASGIApp, ASGIServer, Clock, Message, Receive, Scope, Send, ask_asgi, by_hand, scope

Runner = Callable[[Callable[[], Any]], Any]

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
END: Message = {"type": "http.response.body", "body": b"all of it"}
MORE: Message = {"type": "http.response.body", "body": b"some", "more_body": True}


def serve(
    app: ASGIApp, request: Scope | None = None, *, server: ASGIServer | None = None, **options: Any
) -> tuple[ASGIServer, dict[str, float]]:
    """Serve one request through the middleware; return what the server saw and what was counted."""
    metrics = options.setdefault("metrics", fresh_metrics())
    server = (server or ASGIServer()).serve(RedASGIMiddleware(app, **options), request)
    return server, counted(metrics)


def sending(*messages: Any, then: BaseException | None = None) -> ASGIApp:
    """Return an application that sends these messages, and then raises."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


hello = sending(START, END)


class LenientServer(ASGIServer):
    """Takes any message."""

    async def send(self, message: Any) -> None:
        self.sent.append(message)


# What is no HTTP request


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "quic.next"])
def test_other_scopes_pass_through_untouched(kind: str) -> None:
    """Same objects in, same result out, nothing counted."""
    metrics = fresh_metrics()
    seen: list[object] = []

    async def app(*arguments: object) -> None:
        seen.extend(arguments)

    async def receive() -> Message:
        return {}

    async def send(message: Any) -> None:
        pass

    request = {"type": kind, "path": "/metrics"}
    by_hand(RedASGIMiddleware(app, metrics=metrics)(request, receive, send))
    assert seen[0] is request
    assert seen[1] is receive
    assert seen[2] is send
    assert request == {"type": kind, "path": "/metrics"}
    assert counted(metrics) == {}


@pytest.mark.parametrize("request_", [{}, {"path": "/"}, None, "scope"], ids=repr)
def test_what_is_no_scope_reaches_the_application_as_it_is(request_: Any) -> None:
    """A server's test may call an application with anything. An error is the application's own."""
    metrics = fresh_metrics()

    async def app(scope: Any, receive: Receive, send: Send) -> object:
        return scope

    async def receive() -> Message:
        return {}

    async def send(message: Any) -> None:
        pass

    assert by_hand(RedASGIMiddleware(app, metrics=metrics)(request_, receive, send)) is request_
    assert counted(metrics) == {}


def test_an_exception_in_another_scope_passes_through() -> None:
    """Servers learn so that an application has no lifespan."""
    error = KeyError("no lifespan here")
    server, found = serve(sending(then=error), {"type": "lifespan"})
    assert server.raised is error
    assert found == {}


# What may be missing


@pytest.mark.parametrize("key", ["headers", "root_path", "query_string", "raw_path", "client", "server", "asgi"])
def test_a_scope_without_an_optional_key_is_served(key: str) -> None:
    """By the application, and by the endpoint."""
    for path, answer in (("/", b"all of it"), ("/metrics", b"# HELP")):
        request = scope(path)
        del request[key]
        server, _ = serve(hello, request)
        assert server.raised is None
        assert server.sent[-1]["body"].startswith(answer)


@pytest.mark.parametrize(
    ("messages", "label"),
    [
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}], "200"),
        ([{"type": "http.response.start"}, END], "_OTHER"),
        ([{**START, "status": None}, END], "_OTHER"),
        ([{**START, "status": "200"}, END], "200"),
        ([{**START, "status": ["unhashable"]}, END], "_OTHER"),
        ([{**START, "trailers": False}, {**END, "more_body": None}], "200"),
    ],
)
def test_a_message_without_optional_keys_counts(messages: list[Message], label: str) -> None:
    """Headers, body and more_body have defaults; a status that the server takes and nobody knows is `_OTHER`."""
    server, found = serve(sending(*messages))
    assert server.raised is None
    assert found == one_request(label)


@pytest.mark.parametrize(
    ("headers", "faults"),
    [
        ([("content-type", "text/plain")], 0),
        ([[b"a", b"b"]], 0),
        (7, 1),
        (None, 1),
    ],
)
def test_strange_headers_reach_the_server_as_they_are(headers: Any, faults: int) -> None:
    """The instrumentation reads them where a response takes long. Pairs of text and lists are no fault."""
    clock = Clock()
    message = {**START, "headers": headers}

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send(message)
        clock.seconds += 0.125
        await send(END)

    server, found = serve(slow, metrics=fresh_metrics(clock=clock))
    assert server.raised is None
    assert server.sent[0] is message
    assert found.pop("red_instrumentation_errors_total", 0) == faults
    assert found == one_request("200", seconds=0.125)


class Subscriptable:
    """A message that is no mapping, though it can be asked for its type."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getitem__(self, key: str) -> str:
        return self.kind


JUNK: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"kind": "http.response.body"},
    {"type": None},
    {"type": ["unhashable"]},
    {"type": "http.response.unheard"},
    {"type": "websocket.accept"},
    Subscriptable("http.response.body"),
]


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_message_fails_as_without_the_middleware(junk: Any) -> None:
    """Before a response and in the middle: the server's own error, word for word; the request is counted."""
    for before in ((), (START, MORE)):
        app = sending(*before, junk)
        bare = ASGIServer().serve(app)
        server, found = serve(app)
        assert server.record == bare.record
        assert server.sent[-1] is junk
        assert sum(n for text, n in found.items() if text.startswith("http_requests_total")) == 1.0


@pytest.mark.parametrize("kind", ["http.response.start", "http.response.body"])
def test_what_a_lenient_server_takes_the_middleware_takes(kind: str) -> None:
    """A message that only a subscript can read: counted as well as it can be."""
    server, found = serve(sending(Subscriptable(kind)), server=LenientServer())
    assert server.raised is None
    found.pop("red_instrumentation_errors_total", None)
    assert found == one_request("500")


@pytest.mark.parametrize("junk", [None, 7, {}, {"type": None}])
def test_what_a_server_gives_for_a_message_reaches_the_application(junk: Any) -> None:
    """Untouched, be it no message at all."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send(START)
        await send(END)

    class Server(ASGIServer):
        async def receive(self) -> Any:
            return junk

    server, found = serve(app, server=Server())
    assert server.raised is None
    assert seen[0] is junk
    assert found == one_request("200")


# The messages of a response


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([START, MORE, MORE, END], id="pieces"),
        pytest.param(
            [{**START, "trailers": True}, END, {"type": "http.response.trailers", "headers": []}], id="trailers"
        ),
        pytest.param(
            [
                {**START, "trailers": True},
                END,
                {"type": "http.response.trailers", "more_trailers": True},
                {"type": "http.response.trailers"},
            ],
            id="trailers in two parts",
        ),
        pytest.param([START, {"type": "http.response.pathsend", "path": "/x"}], id="pathsend"),
        pytest.param([START, {"type": "http.response.zerocopysend", "file": 3}], id="zerocopysend"),
        pytest.param(
            [
                START,
                {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
                {"type": "http.response.zerocopysend", "file": 3},
            ],
            id="zerocopysend in two parts",
        ),
        pytest.param([{"type": "http.response.debug", "info": {}}, START, END], id="debug"),
        pytest.param([{"type": "http.response.early_hint", "links": []}, START, END], id="early hints"),
        pytest.param([{"type": "http.response.push", "path": "/x"}, START, END], id="push"),
        pytest.param([{**START, "status": 103}, {**START, "status": 100}, START, END], id="interim responses"),
    ],
)
def test_a_response_ends_with_its_last_message(messages: list[Message]) -> None:
    """Not before, and not after: what the application does then is background work. All pass as they are."""
    metrics = fresh_metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            assert not any(text.startswith("http_requests_total") for text in counted(metrics))
            await send(message)
        metrics.clock.seconds += 50  # type: ignore[attr-defined]  # the test's clock
        assert counted(metrics) == one_request("200")

    server, found = serve(app, server=LenientServer(), metrics=metrics)
    assert server.raised is None
    assert all(sent is message for sent, message in zip(server.sent, messages, strict=True))
    assert found == one_request("200")


def test_announced_trailers_that_never_come_are_an_incomplete_response() -> None:
    """The client waits for them."""
    assert serve(sending({**START, "trailers": True}, END))[1] == one_request("200", error=True)


def test_a_response_of_a_status_that_is_interim_is_the_answer_if_none_follows() -> None:
    """`/status/100` of httpbin, say: the code that the app sent."""
    assert serve(sending({**START, "status": 100}, END))[1] == one_request("100")
    assert serve(sending({**START, "status": 103}))[1] == one_request("103", error=True)  # the client still waits


def test_a_second_start_is_the_servers_to_refuse() -> None:
    """Refused, it took no effect: the first status holds."""
    server, found = serve(sending(START, {**START, "status": 500}))
    assert isinstance(server.raised, RuntimeError)
    assert found == one_request("200", error=True, raised="RuntimeError")


def test_a_message_after_the_end_is_the_servers_to_refuse() -> None:
    """The request is over, and counted; the exception that comes of it is named."""
    server, found = serve(sending(START, END, END))
    assert isinstance(server.raised, RuntimeError)
    assert found == one_request("200", raised="RuntimeError")


# The client leaves


def looking(*steps: Any, then: BaseException | None = None) -> ASGIApp:
    """Return an application that sends the messages among the steps and receives once for each `None`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            if step is None:
                await receive()
            else:
                await send(step)
        if then is not None:
            raise then

    return app


def test_a_body_that_is_received_is_no_disconnect() -> None:
    """Messages pass as they are."""
    assert serve(looking(None, None, START, END))[1] == one_request("200")


@pytest.mark.parametrize(
    ("fail_at", "expected"),
    [(0, one_request("499", left=True)), (1, one_request("200", left=True)), (2, one_request("200", left=True))],
)
def test_a_send_that_raises_oserror_is_a_client_that_left_though_the_application_swallows_it(
    fail_at: int, expected: dict[str, float]
) -> None:
    """ASGI 2.4, `disconnected client`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(OSError):
            await sending(START, MORE, END)(scope, receive, send)

    server, found = serve(app, server=ASGIServer(fail_at=fail_at, fault=ConnectionResetError))
    assert server.raised is None
    assert found == expected


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
@pytest.mark.parametrize("fail_at", [0, 1, 2])
def test_a_send_that_raises_something_else_is_an_error(fail_at: int, fault: type[BaseException]) -> None:
    """What was not sent did not begin, and did not end. Being cancelled there is no disconnect either."""
    server, found = serve(sending(START, MORE, END), server=ASGIServer(fail_at=fail_at, fault=fault))
    assert isinstance(server.raised, fault)
    assert found == one_request("200" if fail_at else "500", error=True, raised=fault.__name__)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (None, one_request("200")),
        (asyncio.CancelledError, one_request("200", raised="CancelledError")),
        (ValueError, one_request("200", left=True)),
        (OSError, one_request("200", left=True)),
    ],
)
def test_a_disconnect_while_the_last_message_is_on_its_way(
    outcome: type[BaseException] | None, expected: dict[str, float]
) -> None:
    """Some servers say so at the end of every response, before the last send returns: the send decides."""
    listening: list[Receive] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        listening.append(receive)
        await send(START)
        await send(END)

    class Server(ASGIServer):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message is END:
                assert await listening[0]() == {"type": "http.disconnect"}
                if outcome is not None:
                    raise outcome

    assert serve(app, server=Server(leave_at=0))[1] == expected


def test_a_send_that_failed_and_was_tried_again_ends_the_response() -> None:
    """The second last message is the last one; a disconnect between the two is one."""
    for look, left in ((False, False), (True, True)):

        async def app(scope: Scope, receive: Receive, send: Send, look: bool = look) -> None:
            await send(START)
            try:
                await send(END)
            except ValueError:
                if look:
                    await receive()
                await send(END)

        found = serve(app, server=ASGIServer(fail_at=1, fault=ValueError, leave_at=0))[1]
        assert found == one_request("200", left=left)


# Exceptions


def test_a_coroutine_that_is_closed_is_counted() -> None:
    """By an event loop that goes away: in the application `GeneratorExit` is raised, and it runs its cleanup."""
    metrics, cleaned = fresh_metrics(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Future()
        finally:
            cleaned.append(sys.exc_info()[0])

    async def main() -> None:
        server = ASGIServer()
        coroutine = RedASGIMiddleware(app, metrics=metrics)(scope(), server.receive, server.send)
        coroutine.send(None)
        assert counted(metrics) == {'http_requests_in_progress{method="GET"}': 1.0}
        coroutine.close()

    asyncio.run(main())
    assert cleaned == [GeneratorExit]
    assert counted(metrics) == one_request("500", raised="GeneratorExit")


@pytest.mark.parametrize("verb", ["send", "receive"])
def test_an_exception_of_the_server_reaches_the_application_as_it_is(verb: str) -> None:
    """Out of send and out of receive, without a new context."""
    lost = OSError("lost")

    class Server(ASGIServer):
        async def send(self, message: Any) -> None:
            raise lost

        async def receive(self) -> Any:
            raise lost

    app = sending(START) if verb == "send" else looking(None)
    server, _ = serve(app, server=Server())
    assert server.raised is lost
    assert lost.__context__ is None
    assert traceback.extract_tb(lost.__traceback__)[-1].name == verb


# Event loops


def in_asyncio(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


def in_trio(main: Callable[[], Any]) -> Any:
    return trio.run(main)


def without_a_loop(main: Callable[[], Any]) -> Any:
    return by_hand(main())


runners = pytest.mark.parametrize("run", [in_asyncio, in_trio, without_a_loop])


class Watching(Collector):
    """A collector that says in which thread it is asked, and waits there for a signal if it is given one."""

    def __init__(self, signal: threading.Event | None = None) -> None:
        self.signal = signal
        self.threads: list[int] = []
        self.in_time: bool | None = None

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        self.threads.append(threading.get_ident())
        if self.signal is not None:
            self.in_time = self.signal.wait(60)
        yield Metric("watched", "Seen.", "gauge")


@runners
def test_requests_and_the_endpoint_are_served_in_any_event_loop(run: Runner) -> None:
    """Asyncio, trio, or a coroutine that is driven by hand, though trio is imported."""
    metrics = fresh_metrics()
    app = RedASGIMiddleware(hello, metrics=metrics)

    async def main() -> list[Any]:
        servers = []
        for path in ("/", "/metrics"):
            server = ASGIServer()
            await app(scope(path), server.receive, server.send)
            servers.append(server.sent)
        return servers

    plain, endpoint = run(main)
    assert plain == [START, END]
    assert endpoint[0]["status"] == 200
    assert b"http_requests_total{" in endpoint[1]["body"]
    found = counted(metrics)
    assert found.pop("red_scrape_duration_seconds_count") == 1.0
    assert found == one_request("200")


@pytest.mark.parametrize("run", [in_asyncio, in_trio])
def test_the_endpoint_is_rendered_outside_the_event_loop(run: Runner) -> None:
    """While a collector waits, the loop goes on: it is the loop that ends the wait. In a thread of its own."""
    registry, signal = CollectorRegistry(), threading.Event()
    collector = Watching(signal)
    registry.register(collector)
    app = RedASGIMiddleware(hello, metrics=fresh_metrics(registry=registry, scrape_timeout_seconds=60))

    async def scrape(server: ASGIServer) -> None:
        await app(scope("/metrics"), server.receive, server.send)

    async def meanwhile(wait: Callable[[float], Awaitable[None]]) -> None:
        while not collector.threads:
            await wait(0.001)
        signal.set()

    async def main() -> ASGIServer:
        server = ASGIServer()
        if run is in_trio:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scrape, server)
                nursery.start_soon(meanwhile, trio.sleep)
        else:
            await asyncio.gather(scrape(server), meanwhile(asyncio.sleep))
        return server

    server = run(main)
    assert collector.in_time is True
    assert collector.threads != [threading.get_ident()]
    assert b"# TYPE watched gauge" in server.sent[1]["body"]


def test_the_endpoint_answers_where_there_is_no_loop() -> None:
    """There is nothing to hold up, so the caller waits."""
    registry, collector = CollectorRegistry(), Watching()
    registry.register(collector)
    server, _ = serve(hello, scope("/metrics"), metrics=fresh_metrics(registry=registry))
    assert b"# TYPE watched gauge" in server.sent[1]["body"]


def test_requests_that_run_at_once_in_one_loop_are_told_apart() -> None:
    """A hundred of them, each with its own status and route, all in progress at the same time."""
    metrics = fresh_metrics()
    codes = [200, 404, 500, 201]

    async def main() -> None:
        gate, waiting = asyncio.Event(), []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            waiting.append(scope)
            await gate.wait()
            await send({**START, "status": scope["wanted"]})
            await asyncio.sleep(0)
            await send(END)

        wrapped = RedASGIMiddleware(app, metrics=metrics, route_of=lambda scope: f"/{scope['wanted']}")
        servers = [ASGIServer() for _ in range(100)]
        calls = [
            asyncio.create_task(wrapped(scope(wanted=codes[n % 4]), server.receive, server.send))
            for n, server in enumerate(servers)
        ]
        while len(waiting) < 100:
            await asyncio.sleep(0)
        assert counted(metrics) == {'http_requests_in_progress{method="GET"}': 100.0}
        gate.set()
        await asyncio.gather(*calls)
        assert all(server.sent[0]["status"] == codes[n % 4] for n, server in enumerate(servers))

    asyncio.run(main())
    found = counted(metrics)
    assert {text: n for text, n in found.items() if text.startswith("http_requests")} == {
        f'http_requests_total{{method="GET",route="/{code}",status="{code}"}}': 25.0 for code in codes
    }


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_context_variables_are_where_they_would_be_without_the_middleware() -> None:
    """The application runs in its caller's context, and what it sets in a task does not reach another."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(variable.get())
        variable.set(scope["path"])
        await asyncio.sleep(0)
        seen.append(variable.get())
        await hello(scope, receive, send)

    async def main(app: ASGIApp) -> list[str]:
        server = ASGIServer()
        variable.set("server")
        await asyncio.gather(*(app(scope(path), server.receive, LenientServer().send) for path in ("/a", "/b")))
        between = variable.get()
        await app(scope("/c"), server.receive, LenientServer().send)
        return [*seen, between, variable.get()]

    seen: list[str] = []
    bare = asyncio.run(main(app))
    seen.clear()
    wrapped = asyncio.run(main(RedASGIMiddleware(app, metrics=fresh_metrics())))
    assert wrapped == bare == ["server", "server", "/a", "/b", "server", "/c", "server", "/c"]
    assert variable.get() == "unset"


# The paths that the middleware keeps for itself


@pytest.mark.parametrize(
    ("path", "root_path", "endpoint"),
    [
        ("/metrics", "", True),
        ("/shop/metrics", "/shop", True),  # the path holds the root: ASGI, uvicorn since 0.26, Starlette's mounts
        ("/metrics", "/shop", True),  # the path is what is left of it: uvicorn before, proxies that strip
        ("/shop/metrics", "/shop/", True),
        ("/metrics", "/", True),
        ("/shop/metrics", "", False),
        ("/shopping/metrics", "/shop", False),
        ("/shop/metrics/", "/shop", True),
        ("/shop/metrics/a", "/shop", False),
        ("/shop", "/shop", False),
        ("/shop/", "/shop", False),
        ("", "/shop", False),
    ],
)
def test_the_endpoint_is_relative_to_the_mounting(path: str, root_path: str, endpoint: bool) -> None:
    """Servers differ in whether the path holds `root_path`. Exclusions follow the same rule."""
    server, found = serve(hello, scope(path, root_path=root_path))
    assert (server.sent != [START, END]) is endpoint
    assert found == ({"red_scrape_duration_seconds_count": 1.0} if endpoint else one_request("200"))
    server, found = serve(hello, scope(path, root_path=root_path), metrics_path=None, exclude=["/metrics", "/metrics/"])
    assert server.sent == [START, END]
    assert found == ({} if endpoint else one_request("200"))


def test_the_endpoint_answers_as_asgi_asks() -> None:
    """Its headers are bytes in lower case. Several of one name are taken together. The body for HEAD is empty."""
    accept = [(b"Accept", b"text/html"), (b"accept", b"application/openmetrics-text"), (b"x", b"\xff")]
    for method, status in (("GET", 200), ("HEAD", 200), ("DELETE", 405)):
        server, _ = serve(hello, scope("/metrics", method, headers=accept, query_string=b"name[]=\xff"))
        start, body = server.sent
        assert start["status"] == status
        assert all(name == name.lower() and isinstance(value, bytes) for name, value in start["headers"])
        assert (body["body"] == b"") is (method == "HEAD")
        assert not body.get("more_body")
        if status == 200:
            assert dict(start["headers"])[b"content-type"].startswith(b"application/openmetrics-text")


# Invisible


ERRORS = {
    "value": ValueError,
    "os": ConnectionResetError,
    "cancelled": asyncio.CancelledError,
    "exit": SystemExit,
    "generator": GeneratorExit,
}
faults = st.sampled_from(sorted(ERRORS))
messages: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("http.response.start")},
        optional={
            "status": st.sampled_from([200, 404, 500, 103, 101, 999, "x", None]),
            "headers": st.sampled_from([[], [(b"content-type", b"text/event-stream")], ((b"a", b"b"),)]),
            "trailers": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("http.response.body")},
        optional={"body": st.sampled_from([b"", b"a", None]), "more_body": st.booleans()},
    ),
    st.fixed_dictionaries({"type": st.just("http.response.trailers")}, optional={"more_trailers": st.booleans()}),
    st.sampled_from([{"type": "http.response.pathsend"}, {"type": "http.response.debug"}, *JUNK]),
)
steps = st.one_of(
    st.tuples(st.just("send"), messages),
    st.tuples(st.just("send"), st.sampled_from([START, MORE, END])),
    st.tuples(st.just("receive"), st.none()),
    st.tuples(st.just("raise"), faults),
)
plans = st.fixed_dictionaries(
    {"steps": st.lists(steps, max_size=7), "swallow": st.booleans(), "returns": st.sampled_from([None, 7, "done"])}
)
servers = st.fixed_dictionaries(
    {
        "fail_at": st.none() | st.integers(0, 4),
        "fault": st.sampled_from([OSError, ValueError, asyncio.CancelledError]),
        "leave_at": st.none() | st.integers(0, 2),
    }
)


def run_plan(
    plan: dict[str, Any], faults: dict[str, Any], metrics: RedMetrics | None
) -> tuple[list[object], list[int]]:
    """Serve a random application, bare or wrapped, and return all that server and application saw."""
    server = ASGIServer(**faults)

    async def app(scope: Scope, receive: Receive, send: Send) -> object:
        for kind, argument in plan["steps"]:
            try:
                if kind == "send":
                    server.record.append(("send returned", await send(argument)))  # type: ignore[func-returns-value]  # the point
                elif kind == "receive":
                    server.record.append(("received", await receive()))
                else:
                    raise ERRORS[argument]("app")
            except BaseException as error:
                server.record.append(("app saw", type(error), error.args))
                if not plan["swallow"]:
                    raise
        return plan["returns"]

    server.serve(app if metrics is None else RedASGIMiddleware(app, metrics=metrics))
    return [*server.record, ("returned", server.returned)], [id(message) for message in server.sent]


@given(plan=plans, faults=servers)
def test_a_random_application_runs_as_without_the_middleware(plan: dict[str, Any], faults: dict[str, Any]) -> None:
    """Same messages, the very objects, same result, exceptions and order, whatever fails; and one request counts."""
    metrics = fresh_metrics()
    assert run_plan(plan, faults, metrics) == run_plan(plan, faults, None)
    check_one_request(metrics)


@pytest.mark.parametrize("run", [in_asyncio, without_a_loop])
def test_the_endpoint_answers_while_trio_is_half_imported(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be about to import it: there is a module of that name, and nothing in it."""
    monkeypatch.setitem(sys.modules, "trio", types.ModuleType("trio"))
    app, server = RedASGIMiddleware(hello, metrics=fresh_metrics()), ASGIServer()

    async def main() -> None:
        await app(scope("/metrics"), server.receive, server.send)

    run(main)
    assert server.sent[0]["status"] == 200


def test_an_app_with_a_route_where_the_endpoint_would_be_answers_its_first_request_there_itself() -> None:
    """No answer may change hands between the first request and the second."""
    metrics = fresh_metrics()
    own = Starlette(routes=[Route("/metrics", PlainTextResponse("the app's"))])
    app = RedASGIMiddleware(own, metrics=metrics)
    assert [ask_asgi(app, "/metrics").body for _ in range(2)] == [b"the app's"] * 2
    assert requests(metrics) == {("GET", "/metrics", "200"): 2}


class Silent:
    """A reader of a framework that is imported, and serves nothing here."""

    module = "sys"

    def learn(self, app: object, source: Source) -> bool:
        return False

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        return None


def test_another_framework_is_asked_where_the_first_does_not_know() -> None:
    """An app of one may serve an app of the other."""
    metrics = fresh_metrics()
    app = RedASGIMiddleware(Starlette(routes=[Route("/a", PlainTextResponse("a"))]), metrics=metrics)
    routes = app.mounting.routes
    app.mounting.routes = Routes([lambda report: Silent(), *routes.kinds], routes.report, routes.fault)
    ask_asgi(app, "/a")
    assert requests(metrics) == {("GET", "/a", "200"): 1}


# Headers that can be read once: "Iterable", says the specification of ASGI, and Sanic's are a generator


def streaming_once(clock: Clock) -> ASGIApp:
    """Return an application of an event stream that lives for 100 seconds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = (header for header in [(b"content-type", b"text/event-stream")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(MORE)
        clock.seconds += 100
        await send(END)

    return app


@pytest.mark.parametrize("option", ["first_byte", "event_streams"])
def test_headers_that_can_be_read_once_are_the_servers(option: str) -> None:
    """Some servers and middlewares keep the beginning of a response until they have a piece of its body."""
    clock, kept, got = Clock(), [], []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept.append(message)
        elif kept:
            got.extend(kept.pop()["headers"])

    metrics = fresh_metrics(clock=clock, **{option: True})
    by_hand(RedASGIMiddleware(streaming_once(clock), metrics=metrics)(scope(), ASGIServer().receive, send))
    assert got == [(b"content-type", b"text/event-stream")]


def test_an_event_stream_whose_headers_can_be_read_once_is_timed_to_its_beginning() -> None:
    """The server has read them when it is asked how long the response took."""
    clock = Clock()
    metrics = fresh_metrics(clock=clock)

    async def send(message: Message) -> None:
        list(message.get("headers", ()))

    by_hand(RedASGIMiddleware(streaming_once(clock), metrics=metrics)(scope(), ASGIServer().receive, send))
    assert counted(metrics) == one_request("200", seconds=0.0)
