"""Two applications whose metrics need a secret, which a file holds. RED_E2E_TOKEN names it."""

import os
from typing import Any

from red_middleware import BearerToken, RedASGIMiddleware, RedWSGIMiddleware


def respond(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"well"]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"well"})


token = BearerToken(file=os.environ["RED_E2E_TOKEN"])
wsgi = RedWSGIMiddleware(respond, authorize=token)
asgi = RedASGIMiddleware(answer, authorize=token)
