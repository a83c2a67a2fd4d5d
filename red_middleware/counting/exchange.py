"""One request, from start to finish. The hot path is `start`, `Exchange.respond` and `Exchange.finish`.

The adapters speak these verbs: start, respond, fail, raised, disconnect, finish, forget. Only they know when each is
due; this room knows neither WSGI nor ASGI nor any framework. Nothing here raises at request time: a fault of the
instrumentation is told to the recorder, and kept from the application.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from .connection import count_session
from .enclosing import KEY, Enclosing, Recorder, Source, is_known, unfinished
from .labels import (
    CLIENT_ERROR,
    CLIENT_GONE,
    REGISTERED_CODES,
    SERVER_ERROR,
    STATUS_CODES,
    Headers,
    exception_label,
    is_event_stream,
    method_label,
    route_label,
    status_code,
)
from .rows import IS_LOCKED, Method, Outcome, Row

INSTANT_SECONDS: Final = 0.0001
"""A response that was sent within this is not asked whether it is an event stream: it would end where it began."""


def exclude(recorder: Recorder, source: Source, path: str) -> None:
    """Tell middlewares further in that a request is not counted. See `start`."""
    exchange = Exchange()
    exchange.recorder = recorder
    exchange.path = path
    exchange.apart = Apart(unfinished(source.get(KEY)))
    exchange.apart.forgotten = exchange.finished = True
    exchange.outcome = None
    source[KEY] = exchange


def answering(source: Source, error: BaseException) -> None:
    """Say which exception the response that begins is the answer to: it is named if the status is an error."""
    for exchange in exchanges(source):
        exchange._set_apart().answering = error


def leave_sizes(exchange: Enclosing | None, path: str) -> None:
    """Count no sizes for a request, nor further out. The path tells it from another one, as in `Exchange.forget`."""
    while isinstance(exchange, Exchange):
        if str(exchange.path).endswith(path):
            exchange.leave_sizes()
        exchange = exchange.outer


def asks_for_socket(source: Source) -> None:
    """Say that a request came to a route of WebSockets: it is counted as one only if it is refused."""
    for exchange in exchanges(source):
        exchange._set_apart().is_socket = True


def serves(source: Source, route: str) -> None:
    """Say which route serves a request on the other side of a bridge between ASGI and WSGI: "" while it has none."""
    for exchange in exchanges(source):
        exchange._set_apart().served = route


def served(source: Source) -> str | None:
    """Return the route that serves a request on the other side of a bridge, `None` if it did not come there."""
    return next((exchange.apart.served for exchange in exchanges(source) if exchange.apart is not None), None)


def exchanges(source: Source) -> Iterator["Exchange"]:
    """Yield the exchanges of a request, the innermost first. A WebSocket has connections instead."""
    exchange = source.get(KEY)
    while isinstance(exchange, Exchange):
        yield exchange
        exchange = exchange.outer


class Exchange:
    """One request on its way through the application, from `start` to `finish`."""

    __slots__ = ("answered", "apart", "finished", "headers", "method", "outcome", "path", "recorder", "started",
                 "status")  # fmt: skip

    recorder: Recorder
    method: Method
    path: str
    """The path on arrival; mounts on the way in shorten what the environ or scope holds."""
    started: float
    answered: float
    """When the response began."""
    headers: Headers
    """Of the response, as the adapter has them. They are looked at only where the request took long."""
    outcome: Outcome | None
    """Where it will be counted; `None` until a response begins."""
    apart: "Apart | None"
    """What happened beyond the common case, which is a response that is sent to its end."""
    finished: bool
    status: int
    """The code that was said last to a row, which `Outcome.code` does not tell where it is `_OTHER`."""

    def __copy__(self) -> "Exchange":
        return self

    def __deepcopy__(self, memo: object) -> "Exchange":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # an app may pickle its scope; the request stays here

    @property
    def outer(self) -> Enclosing | None:
        """What encloses this one, of another recorder."""
        return None if self.apart is None else self.apart.outer

    @property
    def is_forgotten(self) -> bool:
        """Whether it is not counted: it was excluded."""
        return self.apart is not None and self.apart.forgotten

    @property
    def gone(self) -> bool:
        """Whether the client was seen to be gone."""
        return self.apart is not None and self.apart.gone

    def respond(self, status: object, route: str | None, headers: Headers = ()) -> None:
        """Say that the response begins. The last call before `finish` holds, so that an interim one (1xx) may precede.

        Args:
            status: See `labels.status_code`; anything but 100 to 599 counts as `_OTHER`.
            route: The template that serves the request, or `None` where no declared one was known.
            headers: The response's. The duration of an event stream ends here: its lifetime is no latency.
        """
        self.headers = headers
        clock = self.recorder.clock
        try:
            self.outcome = self.method.outcomes[status][route]
            self.answered = clock()
        except Exception:  # a label that is new, or a clock that fails
            self._respond_anew(status, route)

    def fail(self) -> None:
        """Say that the server sends a 500 in place of the response that had begun, of which no byte was sent."""
        row = self.outcome.row  # type: ignore[union-attr]  # one had begun
        self._set_apart().replaced = True
        self._settle(row, SERVER_ERROR)

    def leave_sizes(self) -> None:
        """Count no sizes for this request: none are."""

    def raised(self, error: BaseException) -> None:
        """Say that an exception left the application, or that its framework made a response of it.

        Of several before `finish`, the first is counted, unless the client left before it. One that comes later is
        counted at once, unless it is the same.
        """
        found = (id(error), exception_label(error))
        apart = self._set_apart()
        if not self.finished:
            apart.error = apart.error or (None if apart.gone else found)
        elif self.outcome is not None and apart.error != found and not apart.forgotten:
            apart.error = found
            self.outcome.row.table.count_exception(self.outcome.row.key[1], found[1])

    def disconnect(self) -> None:
        """Say that the client was seen to be gone. It wins over an error; without a response the status is 499."""
        if not self.finished:
            apart = self._set_apart()
            apart.unanswered = apart.unanswered or (self.outcome is None and not apart.gone)
            apart.gone = True

    def finish(self, complete: bool = True) -> None:
        """Count the request, once. Later calls do nothing.

        Args:
            complete: Whether the response reached its end; one that did not is an error, unless the client left.
        """
        if self.finished:
            return
        outcome = self.outcome
        if outcome is None or self.apart is not None or not complete:
            self._finish_apart(complete)
            return
        self.finished = True
        recorder = self.recorder
        clock = recorder.clock
        try:
            now = clock()
            seconds = now - self.started
            if now - self.answered <= INSTANT_SECONDS and 0.0 <= seconds <= recorder.first_bound:
                bucket_cell = outcome.bucket_cell
            else:
                seconds, bucket_cell = self._observe(outcome, seconds)
        except Exception as error:
            recorder.fault("clock", error)
            seconds, bucket_cell = 0.0, outcome.bucket_cell
        if IS_LOCKED:
            _add(outcome, bucket_cell, seconds)
        else:  # the same additions as in `_add`: a call and a lock would be a sixth of the cost
            cells = outcome.cells
            cells[bucket_cell] += 1.0
            cells[outcome.seconds_cell] += seconds
            cells[outcome.status_cell] += 1.0
        try:  # as `_leave`, without the call
            self.method.in_progress.pop()
        except IndexError:
            pass

    def forget(self, path: str) -> None:
        """Leave the request, and what encloses it, uncounted: it is for an endpoint, excluded further in, or none.

        Args:
            path: Its path there. Mounts only shorten a path from the left. A path that does not fit belongs to another
                request, which the application made itself with a copy of its environ or scope.
        """
        if str(self.path).endswith(path):
            if not self.finished:
                self.finished = True
                self._set_apart().forgotten = True
                self._leave()
            if self.outer is not None:
                self.outer.forget(path)

    def switch(self, route: str | None) -> None:
        """Say that this was a WebSocket session over the server's socket, which is over: no request, but a connection.

        Args:
            route: As in `respond`.
        """
        if not self.finished:
            self.finished = True
            self._count_session(route_label(route))

    def _count_session(self, route: str) -> None:
        self._leave()
        count_session(self.method.table, route, self.recorder.now() - self.started)

    def _respond_anew(self, status: object, route: str | None) -> None:
        """Respond with a row, or with a status of it, that is new, or with an error."""
        method = self.method
        table = method.table
        try:
            row = method.rows.get(route) or table.row(method, route)
        except Exception as error:
            self.recorder.fault("route label", error)
            route = None
            row = table.row(method, route)
        self.answered = self.recorder.now()
        outcome = self._settle(row, status_code(status))
        row = outcome.row
        if outcome.is_error:
            apart = self._set_apart()
            if apart.answering is not None:
                self.raised(apart.answering)
        elif (
            outcome.status_cell != row.code_cells[0]
            and status in STATUS_CODES
            and method.rows.get(route) is row
            # The cells of a row bound its codes, but not those of its classes.
            and (not table.has_classes or status_code(status) in REGISTERED_CODES)
        ):
            method.outcomes.setdefault(status, {})[route] = outcome
        if route is None and 200 <= status_code(status) < 300:
            self.recorder.unmatched(method.label, self.path, status)

    def _settle(self, row: Row, code: int) -> Outcome:
        """Choose what counts a status of a row."""
        self.outcome = outcome = row.table.outcome(row, code)
        self.status = code
        return outcome

    def _labelled(self, outcome: Outcome, failed: bool) -> Outcome:
        """Return what counts the same with the values of the user's own labels, where there are any."""
        return outcome

    def _finish_apart(self, complete: bool) -> None:
        """Count what is not the common case: an error, a disconnect, half a response."""
        self.finished = True
        recorder = self.recorder
        apart = self._set_apart()
        outcome = self.outcome
        if outcome is None:  # never answered
            self.headers = ()
            row = self.method.table.row(self.method, None)
            outcome = self._settle(row, SERVER_ERROR)
        elif apart.is_socket and apart.error is None and _is_accepted(outcome):
            self._count_session(outcome.row.key[1])
            return
        failed = 1.0 if not apart.gone and (outcome.is_error or not complete) else 0.0
        left = 1.0 if apart.gone else 0.0
        if apart.unanswered:
            outcome = self._settle(outcome.row, CLIENT_GONE)
        self.outcome = outcome = self._labelled(outcome, failed > 0.0)
        try:
            seconds, bucket_cell = self._observe(outcome, recorder.clock() - self.started)
        except Exception as error:
            recorder.fault("clock", error)
            seconds, bucket_cell = 0.0, outcome.bucket_cell
        _add(outcome, bucket_cell, seconds, failed, left)
        self._leave()
        if apart.error is not None:
            outcome.row.table.count_exception(outcome.row.key[1], apart.error[1])

    def _observe(self, outcome: Outcome, seconds: float) -> tuple[float, int]:
        """Return the duration as it enters the row's sum, and the cell of its bucket."""
        try:
            if is_event_stream(self.headers):
                seconds = self.answered - self.started
        except Exception as error:
            self.recorder.fault("response headers", error)
        if not 0.0 < seconds < math.inf:  # no clock, or one that runs backwards
            return 0.0, outcome.bucket_cell
        return seconds, outcome.bucket_cell + bisect_left(self.recorder.bounds, seconds)

    def _leave(self) -> None:
        """Count the request as in progress no longer."""
        try:
            self.method.in_progress.pop()
        except IndexError:  # begun before a fork, ended in the child
            pass

    def _set_apart(self) -> "Apart":
        if self.apart is None:
            self.apart = Apart()
        return self.apart


def start(
    recorder: Recorder, method: object, source: Source, path: str = "", kind: type[Exchange] = Exchange
) -> Exchange | None:
    """Begin a request.

    Args:
        recorder: What counts it.
        method: Its method as the client wrote it.
        source: Its environ or scope. The exchange is left there for middlewares further in.
        path: Its path, relative to the mounting.
        kind: The class of its exchange.

    Returns:
        The exchange; `None` if one that encloses this counts the request already, or excludes it.
    """
    try:
        entry = recorder.methods[method]
    except (KeyError, TypeError):  # the first request, or a method outside of its closed set, or none at all
        entry = None
    if entry is None:  # not above: what a user's log shows of a fault would begin with that KeyError
        entry = (recorder.methods or recorder.begin(source))[method_label(method)]
    apart = None
    if KEY in source:
        if is_known(source[KEY], recorder, path):
            return None
        apart = Apart(unfinished(source[KEY]))
    clock = recorder.clock
    try:
        started = clock()
    except Exception as error:
        recorder.fault("clock", error)
        started = math.nan
    exchange = source[KEY] = kind()  # filled here: an __init__ would cost as much as all of this
    exchange.recorder = recorder
    exchange.method = entry
    exchange.path = path
    exchange.started = started
    exchange.apart = apart
    exchange.outcome = None
    exchange.finished = False
    entry.in_progress.append(None)
    return exchange


def _add(outcome: Outcome, bucket_cell: int, seconds: float, failed: float = 0.0, left: float = 0.0) -> None:
    """Add one request to its row."""
    row = outcome.row
    errors_cell, disconnects_cell = row.cell("errors"), row.cell("disconnects")
    with row.lock:
        cells = outcome.cells  # not before: `Table.use` exchanges them
        cells[bucket_cell] += 1.0
        cells[outcome.seconds_cell] += seconds
        cells[outcome.status_cell] += 1.0
        cells[errors_cell] += failed
        cells[disconnects_cell] += left


def _is_accepted(outcome: Outcome) -> bool:
    return 0 < outcome.code < CLIENT_ERROR


class Apart:
    """What happened to a request beyond the common case."""

    __slots__ = ("answering", "error", "forgotten", "gone", "is_socket", "outer", "replaced", "served", "unanswered")

    def __init__(self, outer: Enclosing | None = None) -> None:
        self.outer: Enclosing | None = outer
        self.error: tuple[int, str] | None = None
        self.answering: BaseException | None = None
        self.gone: bool = False
        self.unanswered: bool = False  # when the client left
        self.replaced: bool = False  # by a response of the server's own, whose headers nobody knows
        self.is_socket: bool = False
        self.served: str | None = None  # by which route, behind a bridge
        self.forgotten: bool = False  # not counted, nor are its exceptions: it may still respond and fail
