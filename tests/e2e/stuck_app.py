"""A WSGI application without a framework that hangs at `/hang` until the test opens the other end of a pipe."""

from collections.abc import Callable, Iterable
from typing import Any

from red_middleware import RedMetrics, RedWSGIMiddleware

from . import marks


def respond(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer, after the pipe where that is to be waited for."""
    if environ["PATH_INFO"] == "/hang":
        marks.leave("hangs")
        (marks.directory() / marks.PIPE).read_text()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"well"]


metrics = RedMetrics(in_progress_by_route=True, saturation=True)
app = RedWSGIMiddleware(respond, metrics=metrics, routes=["/hang", "/health"])
