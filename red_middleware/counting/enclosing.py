"""What is counted further out or further in: how exchanges and connections find each other in an environ or scope.

Middlewares may stand inside of one another. Each recorder counts a request once, in its outermost middleware.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol

from .rows import Method

Source = MutableMapping[str, Any]
"""An environ or a scope."""

KEY: Final = "red_middleware.exchange"
"""Where a request's exchange, or a WebSocket's connection, stands in its environ or scope: the innermost one."""


class Enclosing(Protocol):
    """What is counted further out: an exchange, or a connection."""

    recorder: "Recorder"
    method: Method
    path: str
    finished: bool

    @property
    def outer(self) -> "Enclosing | None":
        """What encloses this, of another recorder."""

    @property
    def is_forgotten(self) -> bool:
        """Whether it is not counted: it was excluded."""

    def raised(self, error: BaseException) -> None:
        """Name an exception."""

    def forget(self, path: str) -> None:
        """Leave it, and what encloses it, uncounted."""


class Recorder(Protocol):
    """What an exchange is counted by."""

    clock: Callable[[], float]
    bounds: tuple[float, ...]
    first_bound: float
    """The first of them."""
    methods: Mapping[object, Method]
    """Empty until the first request, and whenever there is something to do before the next one: see `begin`."""
    newly_marked: "dict[int, Callable[[Any, str], None]]"
    """By thread, what takes the exchange and the route of the request at hand, while which a first mark was seen."""

    def begin(self, source: Source) -> Mapping[object, Method]:
        """Do what is due before a request is counted, and return the methods of the table."""

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault of the instrumentation."""

    def unmatched(self, method: str, path: str, status: object) -> None:
        """Say that a request was answered well and no route is known."""


def raised(source: Source, error: BaseException) -> None:
    """Name an exception that the framework is about to answer itself."""
    exchange: Enclosing | None = source.get(KEY)
    while exchange is not None:
        exchange.raised(error)
        exchange = exchange.outer


def is_known(found: Enclosing | None, recorder: Recorder, path: str) -> bool:
    """Tell whether this recorder counts a request already, or is not to count it, given what stands in its scope.

    The path tells a request that is excluded from another one with the same environ or scope.
    """
    if found is not None and found.is_forgotten and found.recorder is recorder and found.path.endswith(path):
        return True
    while found is not None:
        if found.recorder is recorder and not found.finished:
            return True
        found = found.outer
    return False


def unfinished(exchange: Enclosing | None) -> Enclosing | None:
    """Return the nearest one that still counts: an environ that is used again holds finished ones."""
    while exchange is not None and exchange.finished:
        exchange = exchange.outer
    return exchange
