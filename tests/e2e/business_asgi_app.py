"""An ASGI application that counts its own business, wrapped in one line."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from red_middleware import RedASGIMiddleware

from . import business_metrics


async def shop(scope: Any, receive: Any, send: Callable[[dict[str, object]], Awaitable[None]]) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("only requests")
    status, body = "200", "well"
    if scope["path"] != "/health":
        with business_metrics.in_progress.track_inprogress():
            await asyncio.sleep(0)  # other requests begin meanwhile
            status, body = business_metrics.handle(scope["path"])
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": int(status), "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body.encode()})


app = RedASGIMiddleware(shop, exclude=["/health"])
