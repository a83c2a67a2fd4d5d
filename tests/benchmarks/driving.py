"""The requests: apps driven directly as ASGI and WSGI callables, without a server, which would cost far more than they.

Each request gets a fresh copy of a scope or environ such as uvicorn or gunicorn make, and its response is read to the
end and closed. What that costs is in every total, and in no added cost.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Sequence
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
