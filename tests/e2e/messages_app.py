"""Answers of an ASGI application, in and out of order, and the same ones behind the middleware. See `bodies_app`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import RedASGIMiddleware, RedMetrics

Send = Callable[[Any], Awaitable[None]]
Answer = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Send], Awaitable[Any]]

TEXT: Final = b"one line\nand another\n" * 5_000
HEADERS: Final = ((b"content-type", b"text/plain"),)


class ToldError(Exception):
    """What an application raises here, so that its server logs one line."""


def begin(status: Any = 200, headers: Any = HEADERS, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(content: Any = b"abc", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, **more}


def of(*messages: Any, result: Any = None) -> Answer:
    """Return an application that sends messages, raises exceptions where they stand among them, and returns."""

    async def answer(scope: Any, receive: Any, send: Send) -> Any:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message() if callable(message) else message)
        return result

    return answer


async def receives(scope: Any, receive: Any, send: Send) -> None:
    message = await receive()
    await send(begin())
    await send(body(repr(sorted(message)).encode()))


async def receives_to_the_end(scope: Any, receive: Any, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(begin())
    await send(body())


async def in_tasks(scope: Any, receive: Any, send: Send) -> None:
    await asyncio.ensure_future(send(begin()))
    await asyncio.ensure_future(send(body()))


async def late(scope: Any, receive: Any, send: Send) -> None:
    """Send what a task sends after the application has returned; whether it comes through is the server's affair."""
    await send(begin())
    await send(body(b"first, ", more_body=True))
    await asyncio.sleep(0)
    await send(body(b"second"))


async def catches(scope: Any, receive: Any, send: Send) -> None:
    """Answer with the name of what `send` raises at a message that nobody knows."""
    try:
        await send({"type": "http.response.unknown"})
        found = b"nothing"
    except Exception as error:
        found = type(error).__name__.encode()
    await send(begin())
    await send(body(found))


async def extensions(scope: Any, receive: Any, send: Send) -> None:
    await send(begin())
    await send(body(repr(sorted(scope.get("extensions") or {})).encode()))


LENGTH: Final = ((b"content-length", b"7"),)

ANSWERS: Final[dict[str, Answer]] = {
    "one": of(begin(), body()),
    "empty": of(begin(), body(b"")),
    "no-body-key": of(begin(), {"type": "http.response.body"}),
    "pieces": of(begin(), body(b"first, ", more_body=True), body(b"", more_body=True), body(b"second")),
    "pieces-ended-apart": of(begin(), body(more_body=True), body(b"", more_body=False)),
    "bytearray": of(begin(), body(bytearray(b"abc"))),
    "memoryview": of(begin(), body(memoryview(b"abc"))),
    "text": of(begin(), body("abc")),
    "body-none": of(begin(), body(None)),
    "big": of(begin(), body(TEXT)),
    "length-right": of(begin(headers=LENGTH), body(b"a", more_body=True), body(b"bcdefg")),
    "length-head-only": of(begin(headers=LENGTH), body(b"")),
    "no-headers": of({"type": "http.response.start", "status": 200}, body()),
    "headers-none": of(begin(headers=None), body()),
    "headers-once": of(lambda: begin(headers=iter(HEADERS)), body()),
    "headers-of-lists": of(begin(headers=[[b"X-Case", b"Kept"], [b"x-case", b"twice"]]), body()),
    "headers-of-text": of(begin(headers=[("x", "text")]), body()),
    "created": of(begin(201), body()),
    "no-content": of(begin(204, ()), body(b"")),
    "no-content-with-body": of(begin(204, ()), body()),
    "not-modified": of(begin(304, ((b"etag", b'"x"'),)), body(b"")),
    "status-unknown": of(begin(299), body()),
    "status-text": of(begin("200"), body()),
    "trailers": of(begin(trailers=True), body(), {"type": "http.response.trailers", "headers": []}),
    "nothing": of(),
    "begin-only": of(begin()),
    "half": of(begin(), body(more_body=True)),
    "returns": of(begin(), body(), result="something"),
    "returns-only": of(result="something"),
    "fails": of(ToldError("at once")),
    "fails-after-begin": of(begin(), ToldError("after the status")),
    "fails-in-the-middle": of(begin(), body(b"half", more_body=True), ToldError("later")),
    "fails-afterwards": of(begin(), body(), ToldError("after all")),
    "body-first": of(body()),
    "begin-twice": of(begin(), begin(404), body()),
    "body-twice": of(begin(), body(), body()),
    "begin-after-body": of(begin(), body(), begin()),
    "no-type": of({"status": 200}),
    "no-message": of(lambda: None),
    "no-status": of({"type": "http.response.start", "headers": []}, body()),
    "unknown-message": of(begin(), {"type": "http.response.unknown"}, body()),
    "receives": receives,
    "receives-to-the-end": receives_to_the_end,
    "in-tasks": in_tasks,
    "late": late,
    "catches": catches,
    "extensions": extensions,
}

METRICS: Final = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)


async def answer(scope: Any, receive: Any, send: Send) -> Any:
    return await ANSWERS[scope["path"].rpartition("/")[2]](scope, receive, send)


counted: Final = RedASGIMiddleware(answer, metrics=METRICS, metrics_path=None, route_of=lambda scope: scope["path"])


async def app(scope: Any, receive: Any, send: Send) -> Any:
    """Choose between the two, answer `/health`, and show the numbers at `/numbers`."""
    if scope["type"] != "http":
        raise NotImplementedError("only requests")
    path = scope["path"]
    if path.startswith("/ours/"):
        return await counted(scope, receive, send)
    if path.startswith("/bare/"):
        return await answer(scope, receive, send)
    content = json.dumps(METRICS.snapshot()).encode() if path == "/numbers" else b"well"
    await send(begin(headers=((b"content-length", str(len(content)).encode()),)))
    return await send(body(content))
