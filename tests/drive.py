"""A WSGI and an ASGI server of a few lines: they serve one request by hand, fail where a test says, and write it down.

Shared by the tests of the adapters. Both drive without threads and without an event loop, so that thousands of requests
cost a second.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar
from wsgiref.util import setup_testing_defaults

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics

Environ = dict[str, Any]
Scope = dict[str, Any]
Message = dict[str, Any]
WSGIApp = Callable[..., Any]
ASGIApp = Callable[..., Any]
T = TypeVar("T")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def fresh_metrics(**options: Any) -> RedMetrics:
    """Return numbers in a registry of their own, with two buckets, so that expectations can be written out."""
    return RedMetrics(**{"registry": CollectorRegistry(), "buckets": (1, 10), "clock": Clock(), **options})


def counted(metrics: RedMetrics) -> dict[str, float]:
    """Return every sample that is not zero, but those that say how long the process runs and how much is shown."""
    passing = ("uptime_seconds_total", "red_series", "red_workers", "red_scrape_duration_seconds_sum")
    return {text: n for text, n in metrics.snapshot().items() if n and not text.startswith(passing)}


def one_request(
    status: str = "200",
    *,
    method: str = "GET",
    route: str = "_unmatched",
    error: bool = False,
    left: bool = False,
    raised: str | None = None,
    seconds: float = 0.0,
) -> dict[str, float]:
    """Return what `counted` is to be after one request.

    Args:
        status: Its label.
        method: Its label.
        route: Its label.
        error: Whether it is an error; a status of 5xx needs no mention.
        left: Whether the client was seen to leave.
        raised: The exception that is named.
        seconds: Its duration, at most 10.
    """
    row = f'method="{method}",route="{route}"'
    duration = "http_request_duration_seconds"
    found = {
        f'http_requests_total{{{row},status="{status}"}}': 1.0,
        f"http_errors_total{{{row}}}": float(error or (status.startswith("5") and not left)),
        f'{duration}_bucket{{le="1.0",{row}}}': float(seconds <= 1.0),
        f'{duration}_bucket{{le="10.0",{row}}}': 1.0,
        f'{duration}_bucket{{le="+Inf",{row}}}': 1.0,
        f"{duration}_count{{{row}}}": 1.0,
        f"{duration}_sum{{{row}}}": seconds,
        f"http_client_disconnects_total{{{row}}}": float(left),
    }
    if raised is not None:
        found[f'http_exceptions_total{{exception="{raised}",route="{route}"}}'] = 1.0
    return {text: n for text, n in found.items() if n}


def check_one_request(metrics: RedMetrics) -> None:
    """One request was counted, once, and nothing is in progress."""
    found = counted(metrics)
    assert [n for text, n in found.items() if text.startswith("http_requests_total")] == [1.0]
    assert [n for text, n in found.items() if text.startswith("http_request_duration_seconds_count")] == [1.0]
    assert sum(n for text, n in found.items() if text.startswith("http_errors_total")) <= 1.0
    assert not any(text.startswith(("http_requests_in_progress", "red_instr")) for text in found), found


def environ(path: str = "/", method: str = "GET", *, file_wrapper: Any = None, **more: Any) -> Environ:
    """Return a request as a WSGI server makes it."""
    found: Environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "SCRIPT_NAME": "", "QUERY_STRING": "", **more}
    if file_wrapper is not None:
        found["wsgi.file_wrapper"] = file_wrapper
    setup_testing_defaults(found)
    return found


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


class WSGIServer:
    """Serves one request in the order of PEP 3333.

    Args:
        fail_at: The byte string at whose sending `fault` is raised, counted from 0 over `write()` and the body.
        fault: What is raised there.
        stop_at: The byte string before which the server loses interest without an exception; 0: it never iterates.
        strict: Whether it refuses what is no bytes, as real servers do.
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
        if self.sent - 1 == self.fail_at:
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
        fault: What is raised there.
        leave_at: The call of `receive` that brings `http.disconnect`, counted from 0; the later ones bring it too.
    """

    def __init__(
        self,
        *,
        fail_at: int | None = None,
        fault: type[BaseException] = OSError,
        leave_at: int | None = None,
    ) -> None:
        self.fail_at = fail_at
        self.fault = fault
        self.leave_at = leave_at
        self.record: list[object] = []
        self.sent: list[Any] = []
        self.received = 0
        self.state = "new"
        self.raised: BaseException | None = None

    def serve(self, app: ASGIApp, request: Scope | None = None) -> "ASGIServer":
        """Serve a request to its end and keep the exception that comes out, if any, as `raised`."""
        try:
            by_hand(app(scope() if request is None else request, self.receive, self.send))
        except BaseException as error:
            self.raised = error
            self.record.append(("raised", type(error), error.args))
        return self

    async def receive(self) -> Any:
        number = self.received
        self.received += 1
        self.record.append(("receive", number))
        if self.leave_at is not None and number >= self.leave_at:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        self.record.append(("send", dict(message) if isinstance(message, dict) else message))
        self.sent.append(message)
        if len(self.sent) - 1 == self.fail_at:
            raise self.fault("sending")
        kind = message["type"]
        if kind == "http.response.start":
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
