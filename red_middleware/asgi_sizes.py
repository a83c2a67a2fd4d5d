"""An ASGI application the sizes of whose bodies are counted: the bytes that it receives, and those that it sends.

Only where the option `sizes` asks for it a middleware calls its application through this. It stands further in than
`asgi`, so what it counts is known before the response ends.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .asgi_watched import FILES
from .counting.enclosing import KEY

Message = MutableMapping[str, Any]


class Sized:
    """The application behind a middleware.

    Args:
        app: The application.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[Any]]) -> None:
        self.app = app

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> Any:
        exchange = scope[KEY]
        exchange.sent = 0

        async def received() -> Message:
            message = await receive()
            try:
                if message["type"] == "http.request":
                    exchange.received += len(message.get("body", b""))
            except Exception:  # not a message: the application will refuse it
                pass
            return message

        def sent(message: Message) -> Awaitable[None]:
            try:
                kind = message["type"]
                if kind == "http.response.body":
                    size = len(message.get("body", b""))
                else:
                    size = file_bytes(message) if kind in FILES else 0
            except Exception:  # not a message: the server will refuse it
                size = 0
            return taken(message, size) if size else send(message)  # a coroutine less for what has no bytes

        async def taken(message: Message, size: int) -> None:
            exchange.sent += size  # not after it: the last message finishes the request
            try:
                await send(message)
            except BaseException:
                exchange.sent -= size
                raise

        return await self.app(scope, received, sent)


def file_bytes(message: Message) -> int:
    """Return how many bytes of a file the server is going to send itself; 0 where nobody can tell.

    Args:
        message: `http.response.pathsend` or `http.response.zerocopysend` (ASGI extensions).
    """
    if message["type"] == "http.response.pathsend":
        return os.stat(message["path"]).st_size
    file, offset, count = message["file"], message.get("offset"), message.get("count")
    try:
        number = file if isinstance(file, int) else file.fileno()
        if offset is None:
            offset = os.lseek(number, 0, os.SEEK_CUR)
        rest = max(0, os.fstat(number).st_size - offset)
    except OSError:  # a pipe has neither
        return count or 0
    return rest if count is None else min(count, rest)
