"""The application of `sizes_wsgi_app` in ASGI, which sends its file in pieces."""

from collections.abc import Iterator
from typing import Any

from red_middleware import RedASGIMiddleware, RedMetrics

from .marks import FILE, HALF_BYTES


def pieces() -> Iterator[bytes]:
    with FILE.open("rb") as file:
        while piece := file.read(HALF_BYTES):
            yield piece


async def respond(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("only requests")
    content = b"well"
    if scope["path"] == "/upload":
        received, more = 0, True
        while more:
            message = await receive()
            received += len(message["body"])
            more = message.get("more_body", False)
        content = f"{received}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in pieces() if scope["path"] == "/file" else [content]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


app = RedASGIMiddleware(
    respond, metrics=RedMetrics(sizes=True), route_of=lambda scope: scope["path"], exclude=["/health"]
)
