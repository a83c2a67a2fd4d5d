"""What the servers of `servers` import: an app that the environment chooses, and mounts one of the candidates on.

`/count` answers how many requests the candidate says that it has counted, and nothing where none counts.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.asgi import Receive, Scope, Send
from red_middleware.wsgi_response import Environ, StartResponse

from .driving import null_asgi, null_wsgi
from .peers import (
    Counted,
    Mount,
    opentelemetry_asgi,
    opentelemetry_wsgi,
    prometheus_fastapi_instrumentator,
    prometheus_flask_exporter,
    starlette_exporter,
)
from .tables import BARE, OURS, counted_anywhere, flask_app, starlette_app

VARIABLE: Final = "RED_BENCHMARK"
COUNT: Final = "/count"
ROUTES: Final = 50


def bare(app: Any) -> tuple[Any, Counted | None]:
    return app, None


def ours_wsgi(app: Any) -> tuple[Any, Counted]:
    metrics = RedMetrics(registry=CollectorRegistry())
    return RedWSGIMiddleware(app, metrics=metrics), counted_anywhere(metrics)


def ours_asgi(app: Any) -> tuple[Any, Counted]:
    metrics = RedMetrics(registry=CollectorRegistry())
    return RedASGIMiddleware(app, metrics=metrics), counted_anywhere(metrics)


def wsgi_app(answer: Callable[[], str]) -> Any:
    """Return the app that does nothing."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != COUNT:
            return null_wsgi(environ, start_response)
        body = answer().encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return app


def asgi_app(answer: Callable[[], str]) -> Any:
    """Return the app that does nothing; servers with a lifespan have to do without."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        if scope["path"] != COUNT:
            return await null_asgi(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        return await send({"type": "http.response.body", "body": answer().encode()})

    return app


def flask(answer: Callable[[], str]) -> Any:
    """Return a small shop in Flask."""
    app = flask_app(ROUTES)
    app.add_url_rule(COUNT, "count", answer)
    return app


def starlette(answer: Callable[[], str]) -> Any:
    """Return the same in Starlette."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response

    async def count(request: Request) -> Response:
        return PlainTextResponse(answer())

    app = starlette_app(ROUTES)
    app.add_route(COUNT, count)
    return app


class App(NamedTuple):
    """An app that is served.

    Args:
        title: What it is.
        make: Takes what `/count` answers.
        path: What is asked for.
        mounts: The candidates; the first is the app alone.
    """

    title: str
    make: Callable[[Callable[[], str]], Any]
    path: str
    mounts: Mapping[str, Mount | Callable[[Any], tuple[Any, Counted | None]]]


ITEM: Final = f"/section-{ROUTES // 2}/items/42"

WSGI_APPS: Final = (
    App("WSGI, null app", wsgi_app, "/",
        {BARE: bare, OURS: ours_wsgi, "opentelemetry-instrumentation-wsgi": opentelemetry_wsgi}),
    App(f"Flask, {ROUTES} routes", flask, ITEM,
        {BARE: bare, OURS: ours_wsgi, "prometheus_flask_exporter": prometheus_flask_exporter}),
)  # fmt: skip
ASGI_APPS: Final = (
    App("ASGI, null app", asgi_app, "/",
        {BARE: bare, OURS: ours_asgi, "opentelemetry-instrumentation-asgi": opentelemetry_asgi}),
    App(f"Starlette, {ROUTES} routes", starlette, ITEM,
        {BARE: bare, OURS: ours_asgi, "prometheus-fastapi-instrumentator": prometheus_fastapi_instrumentator,
         "starlette_exporter": starlette_exporter}),
)  # fmt: skip


def chosen(title: str, name: str) -> Any:
    """Return an app with a candidate mounted on it."""
    found = next(app for app in (*WSGI_APPS, *ASGI_APPS) if app.title == title)
    counted: Counted | None = None
    mounted, counted = found.mounts[name](found.make(lambda: "" if counted is None else f"{counted():g}"))
    return mounted


if VARIABLE in os.environ:
    app = chosen(*os.environ[VARIABLE].split("|"))
