"""When is a WebSocket accepted, refused, closed and lost in ASGI? `asgi` leaves scopes of the type `websocket` to this.

It tells `counting.connection` so, and touches no message.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from .counting.connection import NORMAL, Connection, connect
from .mounting import Idle, Mounting, Purpose
from .routes import Routes

Message = MutableMapping[str, Any]
Messages = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FORBIDDEN: Final = 403
"""What a server answers if the application closes before it accepts (ASGI specification, "Close")."""

NO_CODE: Final = 1005
"""The close code where the other side gave none (RFC 6455, 7.4.1)."""


async def serve_websocket(
    app: Callable[[Any, Any, Any], Awaitable[Any]],
    mounting: Mounting | Idle,
    path: str,
    scope: MutableMapping[str, Any],
    receive: Messages,
    send: Send,
) -> Any:
    """Let the application serve a WebSocket, and count it.

    Args:
        app: The application.
        mounting: What the middleware was given.
        path: The path relative to the mounting.
        scope: As in ASGI, like the next ones.
        receive: See there.
        send: See there.
    """
    if path in mounting.special and mounting.purpose(path, scope) is not Purpose.APP:
        return await app(scope, receive, send)
    connection = connect(mounting.recorder, scope, path)
    if connection is None:
        return await app(scope, receive, send)
    call = _Call(connection, mounting.routes, scope, receive, send)
    try:
        result = await app(scope, call.receive, call.send)
    except BaseException as error:
        call.end(error)
        raise
    call.end(None)
    return result


class _Call:
    """One WebSocket: the `receive` and `send` that the application gets, and what they saw."""

    def __init__(
        self, connection: Connection, routes: Routes, scope: MutableMapping[str, Any], receive: Messages, send: Send
    ) -> None:
        self.connection = connection
        self.routes = routes
        self.scope = scope
        self.receive_message = receive
        self.send_message = send
        self.counts_messages: bool = connection.method.table.has_messages
        self.closing: object = None  # the code with which the application closes, while the server sends it

    async def receive(self) -> Message:
        message = await self.receive_message()
        kind = _kind(message)
        if kind == "websocket.disconnect":
            code = message.get("code", NO_CODE) if self.closing is None else self.closing
            self.connection.disconnect(code, self._route())
        elif self.counts_messages and kind == "websocket.receive":
            self.connection.message("received", _data(message))
        return message

    async def send(self, message: Message) -> None:
        kind = _kind(message)
        if kind == "websocket.close":
            self.closing = message.get("code", NORMAL)
        try:
            await self.send_message(message)
        except OSError:  # ASGI 2.4: the client is gone
            self.connection.lose()
            raise
        finally:
            closing, self.closing = self.closing, None
        connection = self.connection
        if kind == "websocket.send":
            if self.counts_messages:
                connection.message("sent", _data(message))
        elif kind == "websocket.close" and not connection.answered:
            connection.refuse(FORBIDDEN, self._route())
        elif kind == "websocket.close":
            connection.close(closing)
        elif kind == "websocket.accept":
            connection.accept(self._route())
        elif kind == "websocket.http.response.start":
            connection.refuse(message.get("status"), self._route())

    def end(self, error: BaseException | None) -> None:
        """The application ended, with an exception or without."""
        self.connection.finish(error, self._route(error))

    def _route(self, error: BaseException | None = None) -> str | None:
        """Return the template that serves the connection, if that is not known yet."""
        if self.connection.answered:
            return None
        return self.routes.find(self.scope, self.connection.path, error)


def _data(message: Message) -> object:
    """Return the text or the bytes of a message: one of both is `None`, or missing."""
    text = message.get("text")
    return message.get("bytes") if text is None else text


def _kind(message: Message) -> object:
    """Return the type of a message; `None` where it is none: whoever gets it will refuse it."""
    try:
        return message["type"]
    except Exception:
        return None
