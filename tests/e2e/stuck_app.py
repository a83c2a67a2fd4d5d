"""A WSGI application without a framework that hangs at `/hang` until the test leaves a mark."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from red_middleware import RedMetrics, RedWSGIMiddleware

from . import marks


def respond(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer, after the mark where one is to be waited for."""
    if environ["PATH_INFO"] == "/hang":
        marks.leave("hangs")
        while not marks.is_left("go"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"well"]


metrics = RedMetrics(in_progress_by_route=True, saturation=True)
app = RedWSGIMiddleware(respond, metrics=metrics, routes=["/hang", "/health"])
