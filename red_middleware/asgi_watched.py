"""An ASGI application whose responses are watched: for their first byte, and for being event streams.

Only where an option asks for it a middleware calls its application through this. It stands further in than `asgi`, so
what it says is said before the response ends.
"""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

from .counting.enclosing import KEY
from .counting.labels import is_event_stream

FILES: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages for a file that the server sends itself: its first byte follows at once."""


def kept(message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the beginning of a response with headers that can be read again: Sanic's are a generator."""
    try:
        headers = message["headers"]
    except KeyError:
        return message
    return {**message, "headers": list(headers)} if isinstance(headers, Iterator) else message


class Watched:
    """The application behind a middleware.

    Args:
        app: The application.
        fault: Takes the kind and the exception of what goes wrong.
    """

    def __init__(
        self, app: Callable[[Any, Any, Any], Awaitable[Any]], fault: Callable[[str, BaseException], None]
    ) -> None:
        self.app = app
        self.fault = fault

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: object,
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> Any:
        exchange = scope[KEY]

        async def watched(message: MutableMapping[str, Any]) -> None:
            try:
                kind = message["type"]
                if kind == "http.response.start":
                    message = kept(message)
                if message.get("body") or kind in FILES:
                    exchange.begin_body()
            except Exception:  # not a message: the server will refuse it
                kind = None
            await send(message)
            if kind == "http.response.start":
                try:
                    if is_event_stream(message.get("headers", ())):
                        exchange.stream()
                except Exception as fault:
                    self.fault("response headers", fault)

        return await self.app(scope, receive, watched)
