"""RedWSGIMiddleware: when a request is started, answered and finished in WSGI (PEP 3333).

It tells `counting.exchange` so, and answers the metrics endpoint. A request is finished when its body is exhausted or
closed, whichever comes first. Servers close it right after the last byte; test clients often never do.
"""

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NoReturn

from .counting.exchange import Exchange, start, upgraded
from .counting.labels import SERVER_ERROR
from .exposition import Request, answer
from .metrics import RedMetrics
from .mounting import Mounting, Purpose
from .routes import WSGI_READERS, RouteOf, Routes

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
WSGIApp = Callable[[Any, Any], Iterable[bytes]]  # users' annotations differ: wsgiref's, Flask's, their own

CALLING: Final = 0
OPENING: Final = 1
ITERATING: Final = 2
"""What a server does, one after the other: it calls the application, asks its body for an iterator, asks this on."""

STATUS_GOES_OUT: Final = {
    "uwsgi": CALLING, "a2wsgi": CALLING, "uvicorn": CALLING, "cheroot": OPENING, "granian": ITERATING,
}  # fmt: skip
"""The step at which a server keeps to a status although no byte of the body was sent; the other servers send a 500.

The server is known by the module of its `start_response`. uvicorn uses a2wsgi where that is installed.
`tests/e2e/SERVERS.md` says more.
"""


class RedWSGIMiddleware:
    """Count every request of a WSGI application into per-route RED metrics, and answer `/metrics`.

    Args:
        app: The WSGI application.
        metrics: The numbers that this mounting feeds; by default one `RedMetrics()` shared by the process.
        metrics_path: Where the endpoint answers, relative to `SCRIPT_NAME`; `None`: nowhere. An application that has
            this route itself when the first request arrives keeps it.
        exclude: Paths that are not recorded, as plain text, exact, relative to `SCRIPT_NAME`: health checks and the
            like.
        route_of: A plain function, called with the environ when the response begins; its answer is the route, `None`
            leaves the question to the readers of Flask and Bottle. The series that it makes are bounded by
            `max_label_sets`.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: A path does not start with `/`, or the registry is taken, see `RedMetrics`.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        metrics: RedMetrics | None = None,
        metrics_path: str | None = "/metrics",
        exclude: Collection[str] = (),
        route_of: RouteOf | None = None,
    ) -> None:
        self.app = app
        self.mounting = Mounting(
            type(self).__name__, app, metrics, metrics_path, exclude, route_of,
            WSGI_READERS, ("environ", "start_response"),
            lambda path: path.encode("utf-8", "surrogatepass").decode("latin-1"),  # as PEP 3333 spells PATH_INFO
        )  # fmt: skip
        self.metrics = self.mounting.metrics
        self.recorder = self.mounting.recorder
        self.file_class: type | None = None
        """The server's `wsgi.file_wrapper`, where it is a class: servers know their files by it."""
        self.plain_body: tuple[type | None, type | None] = None, None
        """The class of the last body without a length, and the `file_class` that it is none of.

        Most bodies of an app are of one class. Remembering it saves an eighth of what the middleware costs.
        """

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        except KeyError:  # PEP 3333: a server may leave out an empty value
            path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD")
        mounting = self.mounting
        if path in mounting.special:
            purpose = mounting.purpose(path, environ)
            if purpose is Purpose.ENDPOINT:
                return _answer(self.metrics, environ, start_response)
            if purpose is Purpose.EXCLUDED:
                return self.app(environ, start_response)
        exchange = start(self.recorder, method, environ, path)
        if exchange is None:
            return self.app(environ, start_response)
        response = _OpenResponse()  # filled here: an __init__ would cost as much as all of this
        response.exchange = exchange
        response.routes = mounting.routes
        response.environ = environ
        response.server_start_response = start_response
        response.sent = 0
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not self.file_class:
            wrapper = self._file_wrapper(environ, wrapper)
        app = self.app
        try:
            body = response.body = app(environ, response.start_response)
        except BaseException as error:
            response.fail(error, CALLING)
            raise
        kind = type(body)
        if kind is list:
            response += body  # the server may look at the list, in place of iterating it
            return response
        plain, beside = self.plain_body
        if kind is plain and wrapper is beside:
            shown = _Body()
            shown.response = response
            return shown
        found = response.shown_as(body, wrapper)
        if type(found) is _Body and type(wrapper) is not _FileWrapper:
            self.plain_body = kind, wrapper
        return found

    def _file_wrapper(self, environ: Environ, wrapper: Any) -> Any:
        """Return how to know a file of the server: by its class, or where a function makes it, by having seen it."""
        if wrapper is None or issubclass(type(wrapper), type):
            self.file_class = wrapper
        else:
            wrapper = environ["wsgi.file_wrapper"] = _FileWrapper(wrapper)
        return wrapper

    def __copy__(self) -> "RedWSGIMiddleware":
        return self

    def __deepcopy__(self, memo: object) -> "RedWSGIMiddleware":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedWSGIMiddleware cannot be pickled: its numbers belong to this process")


class _Response(list[bytes]):
    """One response: the `start_response` and `write` that the application gets, and the body that the server gets.

    It is the application's list over again, since granian and others send a list as a whole. For what is no list, the
    server gets a `_Body`.
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
            if wrapper.made(body) if type(wrapper) is _FileWrapper else wrapper and isinstance(body, wrapper):
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
            shown = _SizedBody() if hasattr(kind, "__len__") else _Body()
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
        self.__class__ = _Response  # a call of `__del__` would be a thirtieth of what the middleware costs

    def close(self) -> None:
        if not self.exchange.finished:
            self._stop()

    def fail(self, error: BaseException, step: int) -> None:
        """An exception left the application. Most servers answer 500 if no byte was sent and the client is there.

        Args:
            error: The exception.
            step: What the server was doing.
        """
        exchange = self.exchange
        if exchange.outcome is None and isinstance(error, StopIteration) and _is_upgrade(self.environ):
            upgraded(self.environ)  # gunicorn is told so that the socket is not its own any more
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

    def _unanswered(self) -> None:
        """The application is done, and there was no response: it has failed, unless it spoke through the socket."""
        if _is_upgrade(self.environ):
            upgraded(self.environ)
        else:
            self.exchange.respond(SERVER_ERROR, self.routes.find(self.environ, self.exchange.path))

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
            if self.exchange.outcome is None:
                self._unanswered()
            self.exchange.finish(complete=error is None)
            if close is not None:
                try:
                    close()
                except BaseException as raised:
                    self.exchange.raised(raised)
                    raise

        try:
            body.close = finish_and_close
        except Exception:  # it takes no attribute, as a type written in C: it counts as sent when the server has it
            if self.exchange.outcome is None:
                self._unanswered()
            self.exchange.finish()
        return body  # type: ignore[no-any-return]  # the server's class, known to the server only


def _is_upgrade(environ: Environ) -> bool:
    """Tell whether the client asked for a WebSocket (RFC 6455, 4.1)."""
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


class _OpenResponse(_Response):
    """A response that has not been sent to its end."""

    __slots__ = ()

    def __del__(self) -> None:
        """Count a response that the server dropped without `close`, although PEP 3333 asks for it.

        granian closes no list. An exception that is handled at this moment may be anybody's.
        """
        exchange = self.exchange
        if not exchange.finished:
            cut = self._is_cut()
            if cut:
                exchange.disconnect()
            exchange.finish(complete=not cut)


class _Body:
    """What the server gets in place of a body that is no list."""

    __slots__ = ("response",)

    response: _Response

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
        exchange = response.exchange
        if not exchange.finished:
            response._stop()
        close = getattr(response.body, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                exchange.raised(error)
                raise


class _SizedBody(_Body):
    """The same for a body that has a length: from a body of one piece, a server computes the Content-Length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.response.body)  # type: ignore[arg-type]  # made for bodies that have it


class _List(list[bytes]):
    """The same for a list of a class of its own, which may have a `close`."""

    __slots__ = ("response",)

    response: _Response
    __iter__ = _Body.__iter__  # of what it holds, as `close`
    close = _Body.close


class _Bytes(bytes):
    """The same for one byte string, which uWSGI sends as a whole. Other servers iterate it, get numbers, and fail."""

    response: _Response
    __iter__ = _Body.__iter__  # type: ignore[assignment]  # of what it holds, as `close`
    close = _Body.close


class _FileWrapper:
    """The server's `wsgi.file_wrapper` where it is a function. uWSGI knows its file as what this returned last."""

    __slots__ = ("file", "wrap")

    def __init__(self, wrap: Callable[..., Any]) -> None:
        self.wrap = wrap
        self.file: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.file = self.wrap(*args, **options)
        return self.file

    def made(self, body: Any) -> bool:
        """Tell whether this is the file that was asked for last; it is not kept any longer."""
        file, self.file = self.file, None
        return file is not None and body is file


def _answer(metrics: RedMetrics, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    headers = {
        key[len("HTTP_") :].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    request = Request(environ.get("REQUEST_METHOD", ""), environ.get("QUERY_STRING", ""), headers)
    found = answer(metrics, request)
    start_response(f"{found.status} {HTTPStatus(found.status).phrase}", found.headers)
    return [found.body] if found.body else []
