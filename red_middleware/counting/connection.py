"""One WebSocket connection, from its handshake to its end.

The adapter speaks these verbs: connect, accept or refuse, message, close, lose, disconnect, raised, finish. The first
of those that end a handshake, or a connection, decides what it counts as, and counts it at once. As in `exchange`,
nothing here raises at request time, and this room knows no protocol of servers.
"""

from typing import Final

from .enclosing import KEY, Enclosing, Recorder, Source, is_known, unfinished
from .labels import (
    CLIENT_GONE,
    OTHER_STATUS,
    SERVER_ERROR,
    close_code,
    exception_label,
    method_label,
    route_label,
    status_code,
)
from .layout import LIFETIME_BOUNDS
from .rows import Method
from .table import Table

METHOD: Final = "GET"
"""The method of a handshake (RFC 6455, 4.1): its lock is used, and exclusions may name it."""

ACCEPTED: Final = 101
"""The status of a handshake that the application accepted."""

NORMAL: Final = 1000
"""The close code where the application returned (RFC 6455, 7.4.1, for this and the next ones)."""

LOST: Final = 1006
"""The close code of a connection that ended without one."""

FAILED: Final = 1011
"""The close code where the application raised an exception."""

RESTARTED: Final = 1012
"""The close code where the server ended the application: it shuts down. By the registry of IANA."""


def connect(recorder: Recorder, source: Source, path: str) -> "Connection | None":
    """Begin a handshake. The arguments are those of `exchange.start`.

    Returns:
        The connection; `None` if what encloses this counts it already, or excludes it.
    """
    methods = recorder.methods or recorder.begin(source)
    outer = source.get(KEY)
    if is_known(outer, recorder, path):
        return None
    connection = source[KEY] = Connection(recorder, methods[method_label(METHOD)], path, unfinished(outer))
    return connection


class Connection:
    """A WebSocket on its way through the application.

    Args:
        recorder: What counts it.
        method: That of handshakes.
        path: The path on arrival.
        outer: What encloses it, of another recorder.
    """

    __slots__ = (
        "accepted", "answered", "error", "finished", "is_forgotten", "is_gone", "is_lost", "method", "outer", "path",
        "recorder", "route",
    )  # fmt: skip

    def __init__(self, recorder: Recorder, method: Method, path: str, outer: Enclosing | None) -> None:
        self.recorder: Recorder = recorder
        self.method: Method = method
        self.path: str = path
        self.outer: Enclosing | None = outer
        self.accepted: float | None = None  # when
        self.answered: bool = False  # whether the handshake is over
        self.finished: bool = False
        self.is_forgotten: bool = False
        self.is_gone: bool = False  # whether the client ended it
        self.is_lost: bool = False  # whether a message could not be sent any more
        self.error: tuple[int, str] | None = None  # the last exception: its id and its label
        self.route: str = ""  # as its label; known when the handshake is over

    def __copy__(self) -> "Connection":
        return self

    def __deepcopy__(self, memo: object) -> "Connection":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # as of an `Exchange`

    def accept(self, route: str | None) -> None:
        """Say that the application accepted: from here on it is a connection.

        Args:
            route: The template that serves it, or `None` where no declared one was known.
        """
        if self._shake(ACCEPTED, route):
            self.accepted = self.recorder.now()
            if route is None:
                self.recorder.unmatched(METHOD, self.path, ACCEPTED)
            self.method.table.sockets.in_progress.append(None)

    def refuse(self, status: object, route: str | None) -> None:
        """Say that the application refused.

        Args:
            status: That of the response; see `labels.status_code`.
            route: As in `accept`.
        """
        if self._shake(status_code(status), route):
            self.finished = True

    def message(self, direction: str, data: object) -> None:
        """Say that a message went through the connection.

        Args:
            direction: `received` from the client, or `sent` to it.
            data: The text or the bytes of it.
        """
        if self.accepted is not None and not self.finished:
            row = self.method.table.admit(self.method.table.regions["connection"], (self.route,))
            row.table.add(row, f"{direction}_messages")
            row.table.add(row, f"{direction}_bytes", _size_bytes(data))

    def close(self, code: object) -> None:
        """Say that the application closes the connection.

        Args:
            code: 1000 to 4999; anything else counts as `_OTHER`.
        """
        self._end(close_code(code))

    def lose(self) -> None:
        """Say that a message could not be sent. Which code the client gave, if any, may still be received."""
        self.is_lost = True

    def disconnect(self, code: object, route: str | None = None) -> None:
        """Say that the connection was seen to be over, or the client to be gone before there was one.

        Args:
            code: As in `close`: the client's, or the server's own if it shuts down.
            route: As in `accept`; needed only before that.
        """
        self.is_gone = self.is_gone or not self.finished
        self._leave_early(route)
        self._end(close_code(code))

    def raised(self, error: BaseException) -> None:
        """Say that an exception left the application. What comes of a client that left is not counted."""
        found = (id(error), exception_label(error))
        if not (self.is_gone or self.is_lost or self.is_forgotten or self.error == found):
            self.error = found
            if self.answered:
                self._name()

    def finish(self, error: BaseException | None, route: str | None = None) -> None:
        """Say that the application ended, with an exception or without.

        Args:
            error: An exception that is no `Exception` is how servers end an application.
            route: As in `disconnect`.
        """
        if self.is_lost:
            self._leave_early(route)
        if self._shake(SERVER_ERROR, route):  # it did not answer
            self.finished = True
        if error is not None and (isinstance(error, Exception) or self.accepted is None):
            self.raised(error)
        if self.is_lost:
            self._end(LOST)
        elif error is None:
            self._end(NORMAL)
        else:
            self._end(FAILED if isinstance(error, Exception) else RESTARTED)

    def forget(self, path: str) -> None:
        """Leave it, and what encloses it, uncounted. See `Exchange.forget`."""
        if self.path.endswith(path):
            if not self.answered:
                self.answered = self.finished = self.is_forgotten = True
            if self.outer is not None:
                self.outer.forget(path)

    def _leave_early(self, route: str | None) -> None:
        if self._shake(CLIENT_GONE, route):
            self.finished = True

    def _shake(self, status: int, route: str | None) -> bool:
        """Count the handshake, if it is not over yet."""
        if self.answered:
            return False
        self.answered = True
        try:
            self.route = route_label(route)
        except Exception as error:
            self.recorder.fault("route label", error)
            self.route = route_label(None)
        _count_handshake(self.method.table, self.route, status)
        self._name()
        return True

    def _name(self) -> None:
        if self.error is not None:
            self.method.table.count_exception(self.route, self.error[1])

    def _end(self, code: int) -> None:
        """Count the connection, if it is not over yet."""
        if self.finished or self.accepted is None:
            return
        self.finished = True
        try:
            self.method.table.sockets.in_progress.pop()
        except IndexError:  # begun before a fork, ended in the child
            pass
        seconds = self.recorder.now() - self.accepted
        _count_connection(self.method.table, self.route, code, seconds, failed=self.error is not None or code == FAILED)


def _size_bytes(data: object) -> int:
    """Return how many bytes a message has: a text is sent as UTF-8. What is neither text nor bytes has none."""
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "replace"))
    return len(data) if isinstance(data, bytes | bytearray | memoryview) else 0


def count_session(table: Table, route: str, seconds: float) -> None:
    """Count a connection that is known only when it is over, as over WSGI.

    Args:
        table: Where it is counted.
        route: As the label.
        seconds: How long it lasted, its handshake included.
    """
    _count_handshake(table, route, ACCEPTED)
    _count_connection(table, route, OTHER_STATUS, seconds, failed=False)


def _count_handshake(table: Table, route: str, status: int) -> None:
    table.add(table.regions["socket"].rows[0], "handshakes")  # from here on the number of open ones is shown
    row = table.count("handshake", (route,), status)
    if status >= SERVER_ERROR:
        row.table.add(row, "errors")


def _count_connection(table: Table, route: str, code: int, seconds: float, failed: bool) -> None:
    row = table.count("connection", (route,), code)
    row.table.observe(row, seconds, LIFETIME_BOUNDS)
    if failed:
        row = table.admit(table.regions["handshake"], (route,))
        row.table.add(row, "errors")
