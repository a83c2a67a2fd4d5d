"""What options ask of bodies in WSGI: how many bytes are read and sent, and when the first one is.

`wsgi` makes its responses by this where `sizes` or `first_byte` is on, and begins its requests where `sizes` is.
Servers and applications must not be able to tell the input from the server's own, nor a file that the server sends
itself.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from .counting.detailed import DetailedExchange, start_detailed
from .counting.enclosing import Recorder, Source
from .wsgi_response import OpenResponse

INPUT: Final = "wsgi.input"

READS: Final = frozenset({"read1", "readall", "readinto", "readinto1"})
"""How else a file may be read, beyond what PEP 3333 asks for."""

FILES: Final = ("filelike", "file")
"""Where the servers' file wrappers keep the application's file: wsgiref and gunicorn, and waitress."""


def start_sized(recorder: Recorder, method: object, environ: Source, path: str = "") -> DetailedExchange | None:
    """Begin a request with details, and count what the application reads of its body."""
    exchange = start_detailed(recorder, method, environ, path)
    if exchange is not None:
        body = environ.get(INPUT)
        if body is not None:  # else this is no server
            counting = environ[INPUT] = Input()  # filled here: an __init__ would cost as much as all of this
            counting._file = unwrapped(body) if type(body) is Input else body
            counting._exchange = exchange
    return exchange


class Input:
    """Stands for the server's input, and counts the bytes that are read of it."""

    __slots__ = ("__dict__", "_exchange", "_file")  # an application may set attributes of its own

    _exchange: DetailedExchange
    """The request that the bytes belong to."""
    _file: Any
    _again: int = 0
    """How many bytes from here on were read before; below 0, how many were passed over. Some servers give a file that
    goes back and forth: an app looks for its size at its end, or tries a request anew."""

    def _add(self, data: object) -> None:
        length = _length(data)
        if self._again and length:  # so it counts how far the file has been read
            length, self._again = max(0, length - self._again), max(0, self._again - length)
        self._exchange.received += length

    def __eq__(self, other: object) -> bool:
        """Tell whether the other one is the server's, or stands for it: a request is known by its input."""
        return _servers_own(self) is _servers_own(other)

    def __hash__(self) -> int:
        return hash(_servers_own(self))

    def read(self, *size: Any, **named: Any) -> Any:
        data = self._file.read(*size, **named)
        self._add(data)
        return data

    def readline(self, *size: Any, **named: Any) -> Any:
        line = self._file.readline(*size, **named)
        self._add(line)
        return line

    def readlines(self, *hint: Any, **named: Any) -> Any:
        lines = self._file.readlines(*hint, **named)
        for line in lines if isinstance(lines, list) else ():
            self._add(line)
        return lines

    def __iter__(self) -> Iterator[Any]:
        for line in self._file:
            self._add(line)
            yield line

    def __next__(self) -> Any:
        line = next(self._file)
        self._add(line)
        return line

    def __getattr__(self, name: str) -> Any:
        if name in Input.__slots__:  # not filled yet: this is being copied
            raise AttributeError(name)
        found = getattr(self._file, name)
        if name == "seek":
            return functools.partial(self._seek, found)
        if name not in READS:
            return found

        def counted(*args: Any, **named: Any) -> Any:
            result = found(*args, **named)
            self._add(result)
            return result

        return counted

    def _seek(self, seek: Callable[..., Any], *args: Any, **named: Any) -> Any:
        before = _position(self._file)
        result = seek(*args, **named)
        after = _position(self._file)
        if before is not None and after is not None:
            self._again += before - after
        return result


def _servers_own(body: object) -> object:
    while isinstance(body, Input):
        body = body._file
    return body


class SentFile(Input):
    """Stands for a file that a server reads to send it."""

    __slots__ = ()

    def _add(self, data: object) -> None:
        self._exchange.sent = (self._exchange.sent or 0) + _length(data)


def _counting(file: Any, exchange: DetailedExchange) -> SentFile:
    counting = SentFile()
    counting._file = file
    counting._exchange = exchange
    return counting


def _length(data: object) -> int:
    """Return how many bytes were read: of what `read` returns, or of what `readinto` does, which is their number."""
    if isinstance(data, bytes | bytearray | memoryview):
        return len(data)
    return data if isinstance(data, int) else 0


def unwrapped(body: Any) -> Any:
    """Return an input without what counted it for requests that are finished: an environ may be used again."""
    while type(body) is Input and body._exchange.finished:
        body = body._file
    return body


class DetailedResponse(OpenResponse):
    """A response that says when its body begins, and how many bytes of it the server took.

    A piece counts when the server comes back for the next one, or closes the body without an exception.
    """

    __slots__ = ()

    exchange: DetailedExchange

    def write(self, data: bytes) -> object:
        self._look_at((data,))
        return super().write(data)

    def __iadd__(self, pieces: Iterable[bytes]) -> "DetailedResponse":  # type: ignore[misc, override]  # as `list` does
        """Take a list, which the server may send without iterating it."""
        if self.exchange.awaits_byte:
            self._look_at(pieces)
        self.extend(pieces)
        return self

    def __iter__(self, pieces: Iterable[bytes] | None = None) -> Iterator[bytes]:
        return _iterated(self, self._taken(self.body if pieces is None else pieces))

    def _taken(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        exchange = self.exchange
        exchange.sent = self.sent  # by `write`
        for piece in pieces:
            if exchange.awaits_byte:
                self._look_at((piece,))
            yield piece
            exchange.sent = self.sent

    def _look_at(self, pieces: Iterable[object]) -> None:
        """Say that the body begins if there is a byte of it."""
        if self.exchange.awaits_byte and any(piece for piece in pieces if isinstance(piece, bytes)):
            self.exchange.begin_body()

    def fail(self, error: BaseException, step: int) -> None:
        self._end_at(self.sent)  # all that the application gave: it was asked for more
        super().fail(error, step)

    def _stop(self) -> None:
        self._tell_end(sys.exc_info()[1])
        super()._stop()

    def __del__(self) -> None:
        if not self.exchange.finished:
            self._tell_end(None)
            super().__del__()

    def _tell_end(self, error: BaseException | None) -> None:
        """Say what the server took when it ended before the body did, or without iterating that."""
        sent = self.exchange.sent
        if error is None:
            self._end_at(self.sent + (self._whole() if sent is None else 0))
        else:
            self._end_at(self.sent if sent is None else sent)

    def _end_at(self, sent: int) -> None:
        """Say how many bytes the server took in all. Without any, the first one was not sent either."""
        self.exchange.sent = sent
        if not sent:
            self.exchange.first_byte = None

    def _whole(self) -> int:
        """Return the bytes of a body that the server sends without iterating it."""
        if isinstance(self.body, list):
            return sum(map(_length, list.__iter__(self.body)))
        return len(self.body) if isinstance(self.body, bytes) else 0

    def _watched_file(self, body: Any) -> Iterable[bytes]:
        """Measure the file by its position, which moves when it is read, and by most ways to send it.

        Where that does not move, the server has sent the rest of the file, or as much as Content-Length says. A file
        without a position is read through a stand-in, which counts.
        """
        exchange = self.exchange
        if exchange.awaits_byte:
            exchange.begin_body()
        if not exchange.is_sized:
            return super()._watched_file(body)
        written = exchange.sent = self.sent
        holder, file = _file_of(body)
        position = _position(file)
        if position is None:
            if holder:
                with suppress(Exception):  # the server's class may not allow it
                    setattr(body, holder, _counting(file, exchange))
            return super()._watched_file(body)
        rest = self._limited(_end_of(file) - position)
        exchange.sent = written + rest  # for good if nobody tells the end
        shown = super()._watched_file(body)
        if not exchange.finished:
            finish = body.close

            def measure_and_finish() -> None:
                moved = (_position(file) or 0) - position
                unmoved = rest if sys.exc_info()[1] is None else 0
                exchange.sent = written + (self._limited(moved) if moved > 0 else unmoved)
                finish()

            body.close = measure_and_finish
        return shown

    def _limited(self, size: int) -> int:
        """Return as much of a size as servers send."""
        return max(0, int(min(size, self._length())))


_iterated = OpenResponse.__iter__  # `super()` would cost as much as counting


def _file_of(body: Any) -> tuple[str, Any]:
    """Return where a server's file wrapper keeps the application's file, and that; "" if it is the file itself."""
    for name in FILES:
        file = getattr(body, name, None)
        if file is not None:
            return name, file
    return "", body


def _position(file: Any) -> int | None:
    """Return where a file is read next, `None` if it has no such place."""
    try:
        return int(file.tell())
    except Exception:  # a pipe, or what can do nothing but `read`
        return None


def _end_of(file: Any) -> int:
    """Return the size of a file; 0 where the system does not know it, as of one in memory."""
    try:
        return os.fstat(file.fileno()).st_size
    except Exception:  # as above
        return 0
