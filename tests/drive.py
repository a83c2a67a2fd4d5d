"""A WSGI and an ASGI server of a few lines: they serve one request by hand, fail where a test says, and write it down.

Every test that drives an application uses these two, except those that start real servers or measure time. Both servers
run without threads and without an event loop, so that thousands of requests take a second. `ask_wsgi` and `ask_asgi`
are clients of theirs, for a test that only looks at the response. `begin` and `begun` start a request without any
adapter. What was counted is in `counts`.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, TypeVar
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import WSGIWarning, validator

import pytest

from red_middleware import RedMetrics
from red_middleware.counting.exchange import Exchange, start
from red_middleware.metrics import recorder_of

Environ = dict[str, Any]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Any], Awaitable[None]]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[..., Iterable[bytes]]
ASGIApp = Callable[..., Any]
T = TypeVar("T")

VALIDATED_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PATCH", "PUT", "DELETE", "TRACE"})
"""`wsgiref.validate` warns of any other. To keep it quiet is not safe among threads."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def environ(path: str = "/", method: str = "GET", *, file_wrapper: Any = None, **more: Any) -> Environ:
    """Return a request as a WSGI server makes it."""
    found: Environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "SCRIPT_NAME": "", "QUERY_STRING": "", **more}
    if file_wrapper is not None:
        found["wsgi.file_wrapper"] = file_wrapper
    setup_testing_defaults(found)
    return found


_environ = environ  # for `ask_wsgi`, which has a parameter of this name


def scope(path: str = "/", method: str = "GET", **more: Any) -> Scope:
    """Return a request as an ASGI server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **more,
    }


class Body:
    """A body that counts how often it is closed, and fails where it is told to.

    Args:
        pieces: What it yields; an exception among them is raised.
        closing: What its `close` raises, if anything.
    """

    def __init__(self, *pieces: Any, closing: BaseException | None = None) -> None:
        self.pieces = pieces
        self.closing = closing
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed += 1
        if self.closing is not None:
            raise self.closing


class SizedBody(Body):
    """The same with a length."""

    def __len__(self) -> int:
        return len(self.pieces)


class WSGIServer:
    """Serves one request in the order of PEP 3333.

    Args:
        fail_at: The byte string at whose sending `fault` is raised, counted from 0 over `write()` and the body.
        fault: What is raised there, and at each sending once `gone` is set.
        stop_at: The byte string before which the server loses interest without an exception; 0: it never iterates.
        strict: Whether it refuses what is no bytes, as real servers do.

    Attributes:
        gone: Whether the client has closed its connection. A test sets it while the server serves.
    """

    def __init__(
        self,
        *,
        fail_at: int | None = None,
        fault: type[BaseException] = ConnectionResetError,
        stop_at: int | None = None,
        strict: bool = True,
    ) -> None:
        self.fail_at = fail_at
        self.fault = fault
        self.stop_at = stop_at
        self.strict = strict
        self.gone = False
        self.record: list[object] = []
        self.started = False
        self.sent = 0
        self.raised: BaseException | None = None
        self.body: Any = None

    def serve(self, app: WSGIApp, request: Environ | None = None) -> "WSGIServer":
        """Serve a request to its end and keep the exception that comes out, if any, as `raised`."""
        try:
            self.body = app(environ() if request is None else request, self.start_response)
            self.record.append(("length", length_of(self.body)))
            try:
                if self.stop_at != 0:
                    self._iterate(self.body)
                if not self.started:
                    raise AssertionError("start_response() was not called")
            finally:
                close = getattr(self.body, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            self.raised = error
            self.record.append(("raised", type(error), error.args))
        return self

    def _iterate(self, body: Iterable[bytes]) -> None:
        for number, piece in enumerate(body, 1):
            self.send(piece)
            if number == self.stop_at:
                break

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., Any]:
        self.record.append(("start", status, list(headers), exc_info and exc_info[0]))
        if exc_info:
            if self.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.started:
            raise AssertionError("start_response() was called before")
        self.started = True
        return self.send

    def send(self, piece: bytes) -> None:
        self.record.append(("send", piece))
        if not self.started:
            raise AssertionError("a body before start_response()")
        if self.strict and not isinstance(piece, bytes):
            raise TypeError(f"{piece!r} is no bytes")
        self.sent += 1
        if self.gone or self.sent - 1 == self.fail_at:
            raise self.fault("sending")


def length_of(body: Any) -> int | None:
    """Return what a server learns when it asks for a body's length."""
    try:
        return len(body)
    except TypeError:
        return None


class ASGIServer:
    """Serves one request over ASGI without an event loop: nothing that it does needs to wait.

    Args:
        fail_at: The message at whose sending `fault` is raised, counted from 0.
        fault: What is raised there, and at each sending once `gone` is set.
        leave_at: The call of `receive` that brings `http.disconnect`, counted from 0; the later ones bring it too.
        body: The request's, which the first `receive` brings.
        waits: Whether later calls of `receive` wait for the end of the response, and then say that the client is gone,
            as servers do: this needs an event loop.

    Attributes:
        gone: Whether the client has closed its connection. A test sets it while the server serves.
    """

    def __init__(
        self,
        *,
        fail_at: int | None = None,
        fault: type[BaseException] = OSError,
        leave_at: int | None = None,
        body: bytes = b"",
        waits: bool = False,
    ) -> None:
        self.fail_at = fail_at
        self.fault = fault
        self.leave_at = leave_at
        self.body = body
        self.waits = waits
        self.gone = False
        self.over = asyncio.Event()
        self.record: list[object] = []
        self.sent: list[Any] = []
        self.received = 0
        self.state = "new"
        self.raised: BaseException | None = None
        self.returned: object = None

    def serve(
        self, app: ASGIApp, request: Scope | None = None, run: Callable[[Any], object] | None = None
    ) -> "ASGIServer":
        """Serve a request to its end and keep what comes out as `returned` or `raised`.

        Args:
            app: The application.
            request: Its scope.
            run: What runs a coroutine: `asyncio.run`, or by default nothing but this thread.
        """
        try:
            self.returned = (run or by_hand)(app(scope() if request is None else request, self.receive, self.send))
        except BaseException as error:
            self.raised = error
            self.record.append(("raised", type(error), error.args))
        return self

    async def receive(self) -> Any:
        number = self.received
        self.received += 1
        self.record.append(("receive", number))
        if self.gone or (self.leave_at is not None and number >= self.leave_at):
            return {"type": "http.disconnect"}
        if number and self.waits:
            await self.over.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"" if number else self.body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.record.append(("send", dict(message) if isinstance(message, dict) else message))
        self.sent.append(message)
        if self.gone or len(self.sent) - 1 == self.fail_at:
            raise self.fault("sending")
        kind = message["type"]
        if kind == "http.response.start":
            if message.get("status") == 103:
                return
            if self.state != "new":
                raise RuntimeError("the response has begun before")
            self.state = "started"
        elif kind.startswith("http.response."):
            if self.state == "new":
                raise RuntimeError("a body before http.response.start")
            if self.state == "done":
                raise RuntimeError("the response is over")
            if kind == "http.response.body" and not message.get("more_body"):
                self.state = "done"
                self.over.set()
        else:
            raise ValueError(f"unknown message {kind}")


def by_hand(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise AssertionError(f"waits for {waits_for!r}")


class Seen(NamedTuple):
    """What a client saw of a response; its headers in lower case."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def text(self) -> str:
        return self.body.decode()


def ask_wsgi(
    app: Any,
    path: str,
    method: str = "GET",
    *,
    environ: Mapping[str, Any] | None = None,
    catch: type[BaseException] | None = None,
    validate: bool = True,
) -> Seen:
    """Ask a WSGI application under `wsgiref.validate`.

    Args:
        app: The application.
        path: What the server gives as `PATH_INFO`, with a query string.
        method: Any text.
        environ: Further keys.
        catch: An exception that must come out of the application or of its body.
        validate: Whether the standard library watches.
    """
    plain, _, query = path.partition("?")
    keys = {"HTTP_HOST": "shop.example", **(environ or {})}
    if validate:
        keys.pop("wsgi.file_wrapper", None)
    with nullcontext() if method in VALIDATED_METHODS else warnings.catch_warnings():
        if method not in VALIDATED_METHODS:
            warnings.simplefilter("ignore", WSGIWarning)
        server = WSGIServer().serve(
            validator(app) if validate else app, _environ(plain, method, QUERY_STRING=query, **keys)
        )
    _raise(server.raised, catch)
    starts = [event for event in server.record if isinstance(event, tuple) and event[0] == "start"]
    body = b"".join(event[1] for event in server.record if isinstance(event, tuple) and event[0] == "send")
    _, status, headers, _ = starts[-1] if starts else ("start", "000 nothing", [], None)
    return Seen(int(status[:3]), body, {name.lower(): text for name, text in headers})


def ask_asgi(
    app: Any,
    path: str,
    method: str = "GET",
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    root_path: str = "",
    host: str = "shop.example",
    catch: type[BaseException] | None = None,
) -> Seen:
    """Ask an ASGI application, in asyncio's event loop.

    Args:
        app: The application.
        path: What the server gives as `path`, with a query string.
        method: Any text.
        headers: Further headers.
        body: Of the request.
        root_path: Where the server mounts the application.
        host: The header `Host`.
        catch: An exception that must come out of the application.
    """
    plain, _, query = path.partition("?")
    fields = [(name.lower().encode(), text.encode("latin-1")) for name, text in (("host", host), *headers)]
    request = scope(plain, method, query_string=query.encode("latin-1"), root_path=root_path, headers=fields, state={})
    server = ASGIServer(body=body, waits=True).serve(app, request, asyncio.run)
    _raise(server.raised, catch)
    started: list[Message] = [message for message in server.sent if message["type"] == "http.response.start"]
    start: Message = started[0] if started else {"status": 0}
    sent = {name.decode().lower(): text.decode() for name, text in start.get("headers", ())}
    pieces = (message.get("body", b"") for message in server.sent if message["type"] == "http.response.body")
    return Seen(start["status"], b"".join(pieces), sent)


def _raise(raised: BaseException | None, expected: type[BaseException] | None) -> None:
    """Let out what came out of an application, unless it is what a test expects."""
    if expected is not None:
        with pytest.raises(expected):
            _raise(raised, None)
    elif raised is not None:
        raise raised


def begin(metrics: RedMetrics, method: object = "GET", source: Any = None, path: str = "") -> Exchange | None:
    """Start a request as an adapter does; `None` if the environ or scope says that it is counted already."""
    return start(recorder_of(metrics), method, {} if source is None else source, path)


def begun(metrics: RedMetrics, method: object = "GET", source: Any = None, path: str = "") -> Exchange:
    """Start a request that nobody counts yet."""
    exchange = begin(metrics, method, source, path)
    assert exchange is not None
    return exchange


def count(metrics: RedMetrics, route: str | None = "/", status: object = 200, method: object = "GET") -> None:
    """Count one request that is answered and sent to its end."""
    exchange = begun(metrics, method)
    exchange.respond(status, route)
    exchange.finish()


def declare(metrics: RedMetrics, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
    """Declare routes as a reader of a framework does."""
    recorder_of(metrics).declare(routes)


def fault(metrics: RedMetrics, kind: str, error: BaseException) -> None:
    """Report a fault of the instrumentation as the adapters do."""
    recorder_of(metrics).fault(kind, error)


def restart(metrics: RedMetrics) -> None:
    """Begin anew in this process, as a forked child does."""
    recorder_of(metrics).table.restart()
    recorder_of(metrics).restart()
