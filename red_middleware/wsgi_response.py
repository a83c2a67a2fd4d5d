"""One response in WSGI: what the application gets to answer with, and what the server gets in place of its body.

`wsgi` makes a response for each request, and gives the server what `shown_as` returns, or the response itself for a
list. A server must not be able to tell that the application is wrapped, so each kind of body has a stand-in of its own.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final

from .counting.exchange import Exchange, answering
from .counting.labels import SERVER_ERROR
from .routes import Routes

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]

CALLING: Final = 0
OPENING: Final = 1
ITERATING: Final = 2
"""The steps of a server: it calls the application, asks the body for an iterator, and asks that for pieces."""

STATUS_GOES_OUT: Final = {
    "uwsgi": CALLING, "a2wsgi": CALLING, "uvicorn": CALLING, "cheroot": OPENING, "granian": ITERATING,
}  # fmt: skip
"""The step at which a server keeps to a status although no byte of the body was sent; the other servers send a 500.

The server is known by the module of its `start_response`. uvicorn uses a2wsgi where that is installed.
`tests/e2e/SERVERS.md` says more.
"""


class Response(list[bytes]):
    """One response: the `start_response` and `write` that the application gets, and the body that the server gets.

    It is a list, and holds what the application's list holds: granian and others send a list without iterating it. For
    a body that is no list, the server gets a `Body`.
    """

    __slots__ = ("body", "environ", "exchange", "routes", "sent",
                 "server_start_response", "server_write")  # fmt: skip

    exchange: Exchange
    routes: Routes
    environ: Environ
    server_start_response: StartResponse
    server_write: Write
    body: Iterable[bytes]
    sent: int

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        server_start_response = self.server_start_response
        if exc_info is None:
            self.server_write = server_start_response(status, headers)
        else:
            self.server_write = server_start_response(status, headers, exc_info)
            if self.sent:  # not all servers raise here, as PEP 3333 asks for
                return self.write
            try:
                answering(self.environ, exc_info[1])  # as Bottle 0.13 does, which raises nothing
            except Exception as fault:
                self.routes.fault("exception", fault)
        exchange = self.exchange
        routes = self.routes
        try:  # what `Routes.find` does, without its calls: they cost as much as the look-up itself
            route = routes.ask(self.environ, exchange.path)
        except Exception as fault:
            route = None
            routes.fault("route", fault)
        if route is None and len(sys.modules) != routes.modules:
            route = routes.ask_others(self.environ, exchange.path)
        try:
            exchange.respond(status, route, headers)
        except Exception as fault:
            self.routes.fault("response", fault)
        return self.write

    def write(self, data: bytes) -> object:
        try:
            written = self.server_write(data)
        except OSError:
            self.exchange.disconnect()
            raise
        try:
            self.sent += len(data)
        except Exception:  # not bytes, but the server accepted it
            pass
        return written

    def shown_as(self, body: Iterable[bytes], wrapper: Any) -> Iterable[bytes]:
        """Return what the server is to send in place of the application's body: it must not see a difference."""
        try:
            # First, since waitress's file wrapper has a length too.
            if wrapper.made(body) if type(wrapper) is FileWrapper else wrapper and isinstance(body, wrapper):
                return self._watched_file(body)
        except Exception as fault:
            self.routes.fault("file wrapper", fault)
        kind = type(body)
        shown: Any
        if issubclass(kind, list):
            shown = _List(list.__iter__(body))  # type: ignore[arg-type]  # it is a list
        elif issubclass(kind, bytes):
            shown = _Bytes(body)
        else:
            shown = SizedBody() if hasattr(kind, "__len__") else Body()
        shown.response = self
        return shown  # type: ignore[no-any-return]  # one of ours

    def __iter__(self, pieces: Iterable[bytes] | None = None) -> Iterator[bytes]:
        try:
            for piece in self.body if pieces is None else pieces:
                try:
                    self.sent += len(piece)
                except Exception:  # not bytes: the server will refuse it
                    pass
                yield piece
        except GeneratorExit:  # the server left its loop: it calls `close` next, or drops this
            raise
        except BaseException as error:
            self.fail(error, ITERATING)
            raise
        exchange = self.exchange
        if exchange.outcome is None:
            self._unanswered()
        exchange.finish()
        self.__class__ = Response  # a call of `__del__` would be a thirtieth of what the middleware costs

    def close(self) -> None:
        if not self.exchange.finished:
            self._stop()

    def close_body(self, close: Callable[[], object] | None) -> None:
        """Call the `close` of the application's body, if it has one."""
        if close is not None:
            try:
                close()
            except BaseException as error:
                self.exchange.raised(error)
                raise

    def fail(self, error: BaseException, step: int) -> None:
        """An exception left the application. Most servers answer 500 if no byte was sent and the client is there.

        Args:
            error: The exception.
            step: What the server was doing.
        """
        exchange = self.exchange
        if exchange.outcome is None and isinstance(error, StopIteration) and _is_upgrade(self.environ):
            # gunicorn is told so that the socket is not its own any more
            exchange.switch(self.routes.find(self.environ, exchange.path, error))
        elif exchange.outcome is None:
            exchange.respond(SERVER_ERROR, self.routes.find(self.environ, exchange.path, error))
        elif not (exchange.finished or exchange.gone or self.sent or step >= self._status_goes_out()):
            exchange.fail()
        exchange.raised(error)
        exchange.finish(complete=False)

    def _status_goes_out(self) -> float:
        """Return the step from which on this server keeps to the status that `start_response` was given."""
        module = "uwsgi" if "uwsgi.version" in self.environ else getattr(self.server_start_response, "__module__", "")
        return STATUS_GOES_OUT.get(str(module).partition(".")[0], math.inf)

    def _stop(self) -> None:
        """The server closed the body before its end. The client left, unless the server itself is shutting down."""
        cut = self._is_cut()
        error = sys.exc_info()[1]
        unsent = isinstance(error, OSError)  # the server could not send a piece, even if it was the last one
        # A body that is cut with SystemExit was cut by the server's own end.
        if unsent or (cut and (error is None or isinstance(error, Exception | GeneratorExit))):
            self.exchange.disconnect()
        self.exchange.finish(complete=not cut)

    def _is_cut(self) -> bool:
        """Tell whether the client got a part of the body and not the rest."""
        if self.exchange.outcome is None:
            self._unanswered()
            return False
        return 0 < self.sent < self._length() and self.environ.get("REQUEST_METHOD") != "HEAD"

    def _end(self, complete: bool) -> None:
        if self.exchange.outcome is None:
            self._unanswered()
        self.exchange.finish(complete)

    def _unanswered(self) -> None:
        """The application is done, and there was no response: it has failed, unless it spoke through the socket."""
        route = self.routes.find(self.environ, self.exchange.path)
        if _is_upgrade(self.environ):
            self.exchange.switch(route)
        else:
            self.exchange.respond(SERVER_ERROR, route)

    def _length(self) -> float:
        """Return the body's length in bytes by its header, at which servers stop; infinity without a header."""
        try:
            return min(float(value) for name, value in self.exchange.headers if name.lower() == "content-length")
        except (ValueError, TypeError, AttributeError):
            return math.inf

    def _watched_file(self, body: Any) -> Iterable[bytes]:
        """Return the server's own file object, which it may send by sendfile(2). Its `close` tells us the end."""
        close = getattr(body, "close", None)
        held = getattr(body, "__dict__", {})
        own = {"close": held["close"]} if "close" in held else {}  # wsgiref and gunicorn set it on the instance

        def finish_and_close() -> None:
            held.pop("close", None)  # else the file refers to itself, and stays until the garbage collector runs
            held.update(own)
            error = sys.exc_info()[1]
            if isinstance(error, OSError):
                self.exchange.disconnect()
            self._end(complete=error is None)
            self.close_body(close)

        try:
            body.close = finish_and_close
        except Exception:  # it takes no attribute, as a type written in C: it counts as sent when the server has it
            self._end(complete=True)
        return body  # type: ignore[no-any-return]  # the server's class, known to the server only


def _is_upgrade(environ: Environ) -> bool:
    """Tell whether the client asked for a WebSocket (RFC 6455, 4.1)."""
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


class OpenResponse(Response):
    """A response that has not been sent to its end."""

    __slots__ = ()

    def __del__(self) -> None:
        """Count a response that the server dropped without calling `close`, as granian does with lists.

        An exception that is being handled at this moment tells nothing: it may be of any code.
        """
        exchange = self.exchange
        if not exchange.finished:
            cut = self._is_cut()
            if cut:
                exchange.disconnect()
            exchange.finish(complete=not cut)


class Body:
    """What the server gets in place of a body that is no list."""

    __slots__ = ("response",)

    response: Response

    def __iter__(self) -> Iterator[bytes]:
        response = self.response
        try:
            pieces = iter(response.body)  # at once: servers answer otherwise to what cannot be iterated
        except BaseException as error:
            response.fail(error, OPENING)
            raise
        return response.__iter__(pieces)

    def close(self) -> None:
        response = self.response
        response.close()
        response.close_body(getattr(response.body, "close", None))

    def __getattr__(self, name: str) -> Any:
        """Return what else the application's body has: callers of Django look at its response."""
        if name == "response":  # not filled yet
            raise AttributeError(name)
        return getattr(self.response.body, name)

    def __bytes__(self) -> bytes:
        return bytes(self.response.body)  # type: ignore[arg-type]  # what has no bytes refuses


class SizedBody(Body):
    """The same for a body that has a length: from a body of one piece, a server computes the Content-Length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.response.body)  # type: ignore[arg-type]  # made for bodies that have it


class _List(list[bytes]):
    """The same for a list of a subclass, which may have a `close`."""

    __slots__ = ("response",)

    response: Response
    __iter__ = Body.__iter__
    __getattr__ = Body.__getattr__
    close = Body.close


class _Bytes(bytes):
    """The same for one byte string, which uWSGI sends as a whole. Other servers iterate it, get numbers, and fail."""

    response: Response
    __iter__ = Body.__iter__  # type: ignore[assignment]  # it yields what the application's does
    close = Body.close


class FileWrapper:
    """The server's `wsgi.file_wrapper` where it is a function. uWSGI knows its file as what this returned last."""

    __slots__ = ("file", "wrap")

    def __init__(self, wrap: Callable[..., Any]) -> None:
        self.wrap: Callable[..., Any] = wrap
        self.file: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.file = self.wrap(*args, **options)
        return self.file

    def made(self, body: Any) -> bool:
        """Tell whether this is the file that was asked for last; it is not kept any longer."""
        file, self.file = self.file, None
        return file is not None and body is file
