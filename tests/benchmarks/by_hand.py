"""What an app writes that has prometheus_client only: a counter and a histogram with labels, around each request.

It takes the app's word for the route, and knows no bound, no error and no disconnect.
"""

from __future__ import annotations  # else every request would pay for the annotations of its inner function

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from red_middleware.asgi import ASGIApp, Message, Receive, Scope, Send
from red_middleware.settings import DEFAULT_BUCKETS
from red_middleware.wsgi import WSGIApp
from red_middleware.wsgi_response import Environ, StartResponse, Write

from .peers import counted_by


class Recorder:
    """The two metrics.

    Args:
        namespace: In front of their names; in multiprocess mode equal names are one metric.
    """

    def __init__(self, namespace: str) -> None:
        registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests.", ["method", "route", "status"], namespace=namespace, registry=registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds", "Seconds.", ["method", "route"],
            namespace=namespace, registry=registry, buckets=DEFAULT_BUCKETS,
        )  # fmt: skip
        self.counted = counted_by(registry, f"{namespace}_http_requests_total")

    def record(self, method: str, route: str, status: str, begun: float) -> None:
        self.requests.labels(method, route, status).inc()
        self.duration.labels(method, route).observe(perf_counter() - begun)


class ByHandASGI:
    """Wraps `send` to see the status, and records when the app has returned."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = ""

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        begun = perf_counter()
        try:
            await self.app(scope, receive, watch)
        finally:
            self.recorder.record(scope["method"], scope["path"], status, begun)


class ByHandWSGI:
    """Wraps `start_response` to see the status, and records when the body is closed."""

    def __init__(self, app: WSGIApp, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        status = ""

        def watch(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Write:
            nonlocal status
            status = line[:3]
            if exc_info is None:
                return start_response(line, headers)
            return start_response(line, headers, exc_info)

        begun = perf_counter()
        pieces = self.app(environ, watch)
        request = environ.get("werkzeug.request")  # Flask's, with the rule that it has found
        route = environ["PATH_INFO"] if request is None else request.url_rule.rule
        return _Body(pieces, self.recorder, environ["REQUEST_METHOD"], route, status, begun)


class _Body:
    __slots__ = ("pieces", "recorded", "recorder")

    def __init__(self, pieces: Iterable[bytes], recorder: Recorder, *recorded: Any) -> None:
        self.pieces = pieces
        self.recorder = recorder
        self.recorded = recorded

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)

    def close(self) -> None:
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()
        self.recorder.record(*self.recorded)
