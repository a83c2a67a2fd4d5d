"""The least that any RED wrapper must do, as a baseline: stand in between, read the clock twice, add to two numbers.

They know no route and close no label, count no error and no disconnect, and are not exact. Nothing useful is cheaper.
"""

from __future__ import annotations  # else every request would pay for the annotations of its inner function

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from red_middleware.asgi import ASGIApp, Message, Receive, Scope, Send
from red_middleware.wsgi import WSGIApp
from red_middleware.wsgi_response import Environ, StartResponse, Write


class LeastASGI:
    """Wraps `send` to see the status, and adds the time that the app took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.sums = [0, 0.0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        code = 0

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        begun = perf_counter()
        try:
            await self.app(scope, receive, watch)
        finally:
            sums = self.sums
            sums[0] += 1
            sums[1] += perf_counter() - begun


class LeastWSGI:
    """Wraps `start_response` to see the status, and the body to see its end."""

    def __init__(self, app: WSGIApp) -> None:
        self.app = app
        self.sums = [0, 0.0]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        code = ""

        def watch(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Write:
            nonlocal code
            code = status[:3]
            if exc_info is None:
                return start_response(status, headers)
            return start_response(status, headers, exc_info)

        begun = perf_counter()
        return _Body(self.app(environ, watch), self.sums, begun)


class _Body:
    __slots__ = ("begun", "pieces", "sums")

    def __init__(self, pieces: Iterable[bytes], sums: list[float], begun: float) -> None:
        self.pieces = pieces
        self.sums = sums
        self.begun = begun

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()
        sums = self.sums
        sums[0] += 1
        sums[1] += perf_counter() - self.begun
