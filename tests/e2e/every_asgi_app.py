"""An ASGI application with every option: `/items/<n>` says a plan, `/fail` raises, `/pid` says who serves."""

import os
from typing import Any

from red_middleware import RedASGIMiddleware, RedMetrics, set_label

from ..options import EVERY


async def respond(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/fail":
        raise LookupError
    set_label(scope, "plan", scope["path"][-1])
    content = b"well" if scope["path"] == "/health" else b"%d" % os.getpid()
    headers = [(b"content-length", b"%d" % len(content)), (b"x-cache", b"HIT")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


app = RedASGIMiddleware(
    respond, metrics=RedMetrics(**EVERY), routes=["/items/<n>", "/fail", "/pid"], exclude=["/health"]
)
