"""A Starlette application of WebSockets, wrapped in one line: how each ends is told by its path."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from red_middleware import RedASGIMiddleware

from . import marks


async def health(request: Request) -> PlainTextResponse:
    return PlainTextResponse("well")


async def echo(websocket: WebSocket) -> None:
    """Answer until the client leaves; `receive` tells why, and nothing is raised."""
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await websocket.send_text(message["text"])


async def reads(websocket: WebSocket) -> None:
    """Answer until the client leaves, which Starlette makes an exception."""
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


async def close(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(websocket.path_params["code"])


async def fail(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    raise LookupError


async def leave(websocket: WebSocket) -> None:
    """Return without a word."""
    await websocket.accept()
    await websocket.receive_text()


async def reject(websocket: WebSocket) -> None:
    await websocket.close()


class Deny:
    """Refuse with a response. Starlette itself can do that from 0.37 on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})


async def fail_early(websocket: WebSocket) -> None:
    raise LookupError


async def never(websocket: WebSocket) -> None:
    """Neither accept nor refuse."""


app = RedASGIMiddleware(
    Starlette(
        routes=[
            Route("/health", health),
            Mount(
                "/ws",
                routes=[
                    WebSocketRoute("/echo/{name}", echo),
                    WebSocketRoute("/reads", reads),
                    WebSocketRoute("/close/{code:int}", close),
                    WebSocketRoute("/fail", fail),
                    WebSocketRoute("/leave", leave),
                    WebSocketRoute("/reject", reject),
                    WebSocketRoute("/deny", Deny()),
                    WebSocketRoute("/fail-early", fail_early),
                    WebSocketRoute("/never", never),
                ],
            ),
        ]
    )
)
marks.leave_numbers_at_exit()
