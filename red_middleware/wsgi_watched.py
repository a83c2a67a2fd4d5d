"""A response in WSGI that is watched: for its first byte, and for being an event stream.

Only where an option asks for it `wsgi` makes its responses of this class.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from .counting.labels import is_event_stream
from .wsgi_response import ExcInfo, OpenResponse, Write


class WatchedResponse(OpenResponse):
    """A response that tells when its body begins, and whether it is an event stream."""

    __slots__ = ()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        write = super().start_response(status, headers, exc_info)
        try:
            if is_event_stream(headers):
                self.exchange.stream()
        except Exception as fault:
            self.routes.fault("response headers", fault)
        return write

    def write(self, data: bytes) -> object:
        self._look_at(data)
        return super().write(data)

    def __iadd__(self, pieces: Iterable[bytes]) -> "WatchedResponse":  # type: ignore[misc, override]  # as `list` does
        """Take a list, which the server may send without iterating it."""
        super().__iadd__(pieces)
        for piece in list.__iter__(self):
            self._look_at(piece)
        return self

    def __iter__(self, pieces: Iterable[bytes] | None = None) -> Iterator[bytes]:
        return super().__iter__(self._seen(self.body if pieces is None else pieces))

    def _seen(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._look_at(piece)
            yield piece

    def _watched_file(self, body: Any) -> Iterable[bytes]:
        self.exchange.begin_body()
        return super()._watched_file(body)

    def _look_at(self, piece: object) -> None:
        if isinstance(piece, bytes) and piece:
            self.exchange.begin_body()
