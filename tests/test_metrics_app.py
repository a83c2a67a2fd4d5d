"""The metrics as an application: mounted in real frameworks, in both protocols, and never counted."""

import asyncio
from typing import Any

import flask
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware, metrics_app

from .counts import requests
from .drive import ask_asgi, ask_wsgi


@pytest.fixture
def metrics() -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)


@pytest.mark.parametrize("path", ["/stats", "/stats/"])
def test_mounted_in_flask(metrics: RedMetrics, path: str) -> None:
    """By Werkzeug's dispatcher, with and without a slash, and behind a middleware of ours that counts the rest."""
    app = flask.Flask(__name__)
    app.add_url_rule("/", "home", lambda: "home")
    mounted: Any = DispatcherMiddleware(app, {"/stats": metrics_app(metrics)})
    wrapped = RedWSGIMiddleware(mounted, metrics=metrics, metrics_path=None)
    assert ask_wsgi(wrapped, "/").status == 200
    found = ask_wsgi(wrapped, path)
    assert (found.status, "red_series" in found.text) == (200, True)
    assert requests(metrics) == {("GET", "/", "200"): 1}
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0


@pytest.mark.parametrize(("kind", "path"), [(Route, "/stats"), (Mount, "/stats/"), (Mount, "/stats/below")])
def test_mounted_in_starlette(metrics: RedMetrics, kind: Any, path: str) -> None:
    """As a route of exactly this path, or as a mount."""
    home = Route("/", lambda request: PlainTextResponse("home"))
    wrapped = RedASGIMiddleware(
        Starlette(routes=[home, kind("/stats", metrics_app(metrics))]), metrics=metrics, metrics_path=None
    )
    assert ask_asgi(wrapped, "/").status == 200
    found = ask_asgi(wrapped, path)
    assert (found.status, "red_series" in found.text) == (200, True)
    assert requests(metrics) == {("GET", "/", "200"): 1}


def test_without_metrics_it_shows_those_of_the_process() -> None:
    """The default ones, as the middlewares do."""
    assert metrics_app().endpoint.metrics == RedMetrics()


def test_what_is_no_request_is_refused(metrics: RedMetrics) -> None:
    """A server that asks for a lifespan takes that for "not supported"."""

    async def lifespan() -> None:
        await metrics_app(metrics)({"type": "lifespan"}, None, print)

    with pytest.raises(NotImplementedError, match="lifespan"):
        asyncio.run(lifespan())
