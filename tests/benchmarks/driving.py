"""The requests: apps driven directly as ASGI and WSGI callables, without a server, which would cost far more than they.

Each request gets a fresh copy of a scope or environ such as uvicorn or gunicorn make, and its response is read to the
end and closed. What that costs is in every total, and in no added cost.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import thread_time
from typing import Any

from red_middleware.asgi import ASGIApp, Message, Receive, Scope, Send
from red_middleware.wsgi import WSGIApp
from red_middleware.wsgi_response import Environ, StartResponse, Write

Serve = Callable[[int], float]
"""Asks for every path so many times, and returns the seconds of CPU that it took."""

_BODY = b"hello"


async def null_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, with two messages."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": _BODY})


def null_wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer at once, with a body of one piece."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [_BODY]


def serve_asgi(app: ASGIApp, paths: Sequence[str], loop: asyncio.AbstractEventLoop) -> Serve:
    """Return what drives an ASGI app in an event loop."""
    scopes = [_scope(path) for path in paths]

    async def serve(times: int) -> float:
        begun = thread_time()
        for _ in range(times):
            for scope in scopes:
                await app(scope.copy(), _receive, _send)
        return thread_time() - begun

    return lambda times: loop.run_until_complete(serve(times))


def serve_wsgi(app: WSGIApp, paths: Sequence[str]) -> Serve:
    """Return what drives a WSGI app."""
    environs = [_environ(path) for path in paths]

    def serve(times: int) -> float:
        begun = thread_time()
        for _ in range(times):
            for environ in environs:
                body = app(environ.copy(), _start_response)
                for piece in body:
                    _write(piece)
                close = getattr(body, "close", None)
                if close is not None:
                    close()
        return thread_time() - begun

    return serve


@contextmanager
def started(app: ASGIApp, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let an ASGI app start in an event loop, and stop it at the end. As on a server, it may know no lifespan."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    answered = asyncio.Event()
    failures: list[Message] = []

    async def say(message: Message) -> None:
        if message["type"].endswith(".failed"):
            failures.append(message)
        answered.set()

    async def live() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, messages.get, say)
        except Exception:  # servers take this for an app without a lifespan, such as Django's
            answered.set()

    async def tell(kind: str) -> None:
        messages.put_nowait({"type": f"lifespan.{kind}"})
        await answered.wait()
        answered.clear()

    life = loop.create_task(live())
    loop.run_until_complete(tell("startup"))
    if failures:
        raise RuntimeError(f"the app does not start: {failures}")
    try:
        yield
    finally:
        if not life.done():
            loop.run_until_complete(tell("shutdown"))
        loop.run_until_complete(life)


def with_waiting_receive(app: ASGIApp) -> ASGIApp:
    """Return an app that is called with a `receive` as servers have it: after the body it waits for a disconnect.

    Some frameworks ask it in a task of its own, which would never end if each answer came at once.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, _WaitingReceive(), send)

    return serve


class _WaitingReceive:
    __slots__ = ("has_body",)

    def __init__(self) -> None:
        self.has_body = True

    async def __call__(self) -> Message:
        if not self.has_body:
            await asyncio.get_running_loop().create_future()  # nobody ever leaves: the task is cancelled
        self.has_body = False
        return {"type": "http.request", "body": b"", "more_body": False}


def _scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost:8000"), (b"user-agent", b"bench"), (b"accept", b"*/*")],
    }


def _environ(path: str) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost:8000",
        "HTTP_USER_AGENT": "bench",
        "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


def _write(data: bytes) -> None:
    pass


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Write:
    return _write
