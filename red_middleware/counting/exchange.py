"""One request, from start to finish. The hot path is `start`, `Exchange.respond` and `Exchange.finish`.

The adapters speak these verbs: start, respond, fail, raised, disconnect, finish, forget. Only they know when each is
due; this room knows neither WSGI nor ASGI nor any framework. Nothing here raises at request time: a fault of the
instrumentation is told to the recorder, and kept from the application.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol

from .labels import (
    CLIENT_ERROR,
    SERVER_ERROR,
    STATUS_CODES,
    Headers,
    exception_label,
    is_event_stream,
    method_label,
    status_code,
)
from .rows import IS_LOCKED, Method, Outcome

KEY: Final = "red_middleware.exchange"
"""Where a request's outermost exchange stands in its environ or scope."""

CLIENT_GONE: Final = 499
"""The status of a request whose client left before a response began; nginx's number."""

INSTANT_SECONDS: Final = 0.0001
"""A response that was sent within this is not asked whether it is an event stream: it would end where it began."""

Source = MutableMapping[str, Any]
"""An environ or a scope."""


class Recorder(Protocol):
    """What an exchange is counted by."""

    clock: Callable[[], float]
    bounds: tuple[float, ...]
    first_bound: float
    """The first of them."""
    methods: Mapping[object, Method]
    """Empty until the first request, and whenever there is something to do before the next one: see `begin`."""

    def begin(self, source: Source) -> Mapping[object, Method]:
        """Do what is due before a request is counted, and return the methods of the table."""

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault of the instrumentation."""

    def unmatched(self, method: str, path: str, status: object) -> None:
        """Say that a request was answered well and no route is known."""


def start(recorder: Recorder, method: object, source: Source, path: str = "") -> "Exchange | None":
    """Begin a request.

    Args:
        recorder: What counts it.
        method: Its method as the client wrote it.
        source: Its environ or scope. The exchange is left there for middlewares further in.
        path: Its path, relative to the mounting.

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
        outer = unfinished(source[KEY])
        if counts(outer, recorder) or excludes(source[KEY], recorder, path):
            return None
        apart = Apart(outer)
    clock = recorder.clock
    try:
        started = clock()
    except Exception as error:
        recorder.fault("clock", error)
        started = math.nan
    exchange = source[KEY] = Exchange()  # filled here: an __init__ would cost as much as all of this
    exchange.recorder = recorder
    exchange.method = entry
    exchange.path = path
    exchange.started = started
    exchange.apart = apart
    exchange.outcome = None
    exchange.finished = False
    entry.in_progress.append(None)
    return exchange


def exclude(recorder: Recorder, source: Source, path: str) -> None:
    """Tell middlewares further in that a request is not counted. See `start`."""
    exchange = Exchange()
    exchange.recorder = recorder
    exchange.path = path
    exchange.apart = Apart(unfinished(source.get(KEY)))
    exchange.apart.forgotten = exchange.finished = True
    exchange.outcome = None
    source[KEY] = exchange


def raised(source: Source, error: BaseException) -> None:
    """Name an exception that the framework is about to answer itself."""
    exchange: Exchange | None = source.get(KEY)
    while exchange is not None:
        exchange.raised(error)
        exchange = exchange.outer


def asks_for_socket(source: Source) -> None:
    """Say that a request came to a route of WebSockets: it is counted only if it fails, since a session is none."""
    exchange: Exchange | None = source.get(KEY)
    while exchange is not None:
        exchange._set_apart().is_socket = True
        exchange = exchange.outer


class Exchange:
    """One request on its way through the application, from `start` to `finish`."""

    __slots__ = ("answered", "apart", "finished", "headers", "method", "outcome", "path", "recorder", "started")

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

    def __copy__(self) -> "Exchange":
        return self

    def __deepcopy__(self, memo: object) -> "Exchange":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # an app may pickle its scope; the request stays here

    @property
    def outer(self) -> "Exchange | None":
        """The exchange that encloses this one, of another recorder."""
        return None if self.apart is None else self.apart.outer

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
        self.outcome = row.table.outcome(row, SERVER_ERROR)
        self._set_apart()

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
            self.outcome.row.table.count_exception(self.outcome.row, found[1])

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
        exchange: Exchange | None = self
        while exchange is not None and str(exchange.path).endswith(path):
            if not exchange.finished:
                exchange.finished = True
                exchange._set_apart().forgotten = True
                exchange._leave()
            exchange = exchange.outer

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
        self.outcome = outcome = row.table.outcome(row, status_code(status))
        row = outcome.row
        if outcome.is_error:
            self._set_apart()
        elif outcome.status_cell != row.code_cells[0] and status in STATUS_CODES and method.rows.get(route) is row:
            method.outcomes.setdefault(status, {})[route] = outcome
        if route is None and 200 <= status_code(status) < 300:
            self.recorder.unmatched(method.label, self.path, status)

    def _finish_apart(self, complete: bool) -> None:
        """Count what is not the common case: an error, a disconnect, half a response."""
        self.finished = True
        recorder = self.recorder
        apart = self._set_apart()
        outcome = self.outcome
        if outcome is None:  # never answered
            self.headers = ()
            row = self.method.table.row(self.method, None)
            self.outcome = outcome = row.table.outcome(row, SERVER_ERROR)
        elif apart.is_socket and apart.error is None and _is_accepted(outcome):
            self._leave()
            return
        failed = 1.0 if not apart.gone and (outcome.is_error or not complete) else 0.0
        left = 1.0 if apart.gone else 0.0
        if apart.unanswered:
            outcome = outcome.row.table.outcome(outcome.row, CLIENT_GONE)
        try:
            seconds, bucket_cell = self._observe(outcome, recorder.clock() - self.started)
        except Exception as error:
            recorder.fault("clock", error)
            seconds, bucket_cell = 0.0, outcome.bucket_cell
        _add(outcome, bucket_cell, seconds, failed, left)
        self._leave()
        if apart.error is not None:
            outcome.row.table.count_exception(outcome.row, apart.error[1])

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
    return 0 < outcome.row.code_of(outcome.status_cell) < CLIENT_ERROR


class Apart:
    """What happened to a request beyond the common case."""

    __slots__ = ("error", "forgotten", "gone", "is_socket", "outer", "unanswered")

    def __init__(self, outer: Exchange | None = None) -> None:
        self.outer: Exchange | None = outer
        self.error: tuple[int, str] | None = None
        self.gone: bool = False
        self.unanswered: bool = False  # when the client left
        self.is_socket: bool = False
        self.forgotten: bool = False  # not counted, nor are its exceptions: it may still respond and fail


def counts(exchange: Exchange | None, recorder: Recorder) -> bool:
    """Tell whether this recorder counts one of these requests already."""
    while exchange is not None:
        if exchange.recorder is recorder and not exchange.finished:
            return True
        exchange = exchange.outer
    return False


def excludes(exchange: Exchange | None, recorder: Recorder, path: str) -> bool:
    """Tell whether this recorder is not to count the request; the path tells it from one with the same environ."""
    if exchange is None or exchange.apart is None or not exchange.apart.forgotten:
        return False
    return exchange.recorder is recorder and exchange.path.endswith(path)


def unfinished(exchange: Exchange | None) -> Exchange | None:
    """Return the nearest exchange that still counts: an environ that is used again holds finished ones."""
    while exchange is not None and exchange.finished:
        exchange = exchange.outer
    return exchange
