"""A WSGI application with every option: `/items/<n>` says a plan, `/fail` raises, `/pid` says who serves."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from red_middleware import RedMetrics, RedWSGIMiddleware, set_label

from ..options import EVERY


def respond(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise LookupError
    set_label(environ, "plan", path[-1])
    content = b"well" if path == "/health" else b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(content))), ("X-Cache", "HIT")])
    return [content]


app = RedWSGIMiddleware(
    respond, metrics=RedMetrics(**EVERY), routes=["/items/<n>", "/fail", "/pid"], exclude=["/health"]
)
