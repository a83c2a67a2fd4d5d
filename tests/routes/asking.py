"""What the tests of routes share: clients without a framework, and the numbers that a test looks at."""

import asyncio
import io
import types
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import WSGIWarning, validator

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


Function = TypeVar("Function", bound=Callable[..., Any])


class Seen(NamedTuple):
    """What a client saw of a response."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def fresh(**options: Any) -> RedMetrics:
    """Return numbers of their own."""
    return RedMetrics(registry=CollectorRegistry(), **options)


def in_a_module(function: Function, **variables: object) -> Function:
    """Return the function as if it stood in a module of its own with these global variables."""
    assert isinstance(function, types.FunctionType)
    return types.FunctionType(function.__code__, {**function.__globals__, **variables})  # type: ignore[return-value]  # of the same code


def requests(metrics: RedMetrics) -> dict[tuple[str, str, str], int]:
    """Return the finished requests by (method, route, status)."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): int(sample.value)
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


def routes(metrics: RedMetrics) -> dict[str, int]:
    """Return the finished requests by route."""
    found: Counter[str] = Counter()
    for (_, route, _), count in requests(metrics).items():
        found[route] += count
    return dict(found)


def exceptions(metrics: RedMetrics) -> dict[tuple[str, str], int]:
    """Return the exceptions by (route, name)."""
    return {
        (sample.labels["route"], sample.labels["exception"]): int(sample.value)
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "http_exceptions_total"
    }


def faults(metrics: RedMetrics) -> float:
    """Return how many faults of the instrumentation there were."""
    return metrics.snapshot()["red_instrumentation_errors_total"]


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
    """Ask an ASGI application, as a server does.

    Args:
        app: The application.
        path: What the server gives as `path`.
        method: Any text.
        headers: Further headers.
        body: Of the request.
        root_path: Where the server mounts the application.
        host: The header `Host`.
        catch: An exception that must come out of the application.
    """
    plain, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        # 2.4, since below it Starlette sends files beside a task that waits for the client to leave, and its end
        # fails under coverage's tracer on Python 3.11, with and without a middleware.
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": [(b"host", host.encode()), *((name.lower().encode(), text.encode()) for name, text in headers)],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        "state": {},
    }

    async def call() -> None:
        parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if not parts:
                await asyncio.Event().wait()  # the client stays
            return parts.pop()

        async def send(message: Message) -> None:
            sent.append(dict(message))

        await app(scope, receive, send)

    if catch is None:
        asyncio.run(call())
    else:
        with pytest.raises(catch):
            asyncio.run(call())
    starts: list[dict[str, Any]] = [message for message in sent if message["type"] == "http.response.start"]
    start: dict[str, Any] = starts[0] if starts else {"status": 0}
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Seen(
        start["status"], content, {name.decode().lower(): text.decode() for name, text in start.get("headers", ())}
    )


def ask_wsgi(
    app: Any,
    path: str,
    method: str = "GET",
    *,
    environ: Mapping[str, Any] | None = None,
    catch: type[BaseException] | None = None,
    validate: bool = True,
) -> Seen:
    """Ask a WSGI application under `wsgiref.validate`, as a server does.

    Args:
        app: The application.
        path: What the server gives as `PATH_INFO`, with a query string.
        method: Any text.
        environ: Further keys.
        catch: An exception that must come out of the application or of its body.
        validate: Whether the standard library watches.
    """
    plain, _, query = path.partition("?")
    full: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": plain, "QUERY_STRING": query, "SCRIPT_NAME": ""}
    full.update({"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "HTTP_HOST": "shop.example"})
    full.update(environ or {})
    setup_testing_defaults(full)
    if validate:
        full.pop("wsgi.file_wrapper", None)
        app = validator(app)
    started: list[Any] = [None, ["000 nothing", []]]
    pieces: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        started[1] = [status, headers]
        return pieces.append

    def call() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WSGIWarning)  # of a method that it does not know
            found = app(full, start_response)
            try:
                for piece in found:
                    pieces.append(piece)
            finally:
                close = getattr(found, "close", None)
                if close is not None:
                    close()

    if catch is None:
        call()
    else:
        with pytest.raises(catch):
            call()
    status, headers = started[1]
    return Seen(int(status[:3]), b"".join(pieces), {name.lower(): text for name, text in headers})


def release(package: str) -> tuple[int, ...]:
    """Return a package's release, to tell where a framework itself differs."""
    return tuple(int(part) for part in version(package).split(".")[:3] if part.isdigit())


FASTAPI_INCLUDES = release("fastapi") >= (0, 137)
"""Since then `include_router` keeps the router, whose routes do not know their prefix."""
