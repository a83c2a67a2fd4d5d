"""What is counted further out or further in: how exchanges and connections find each other in an environ or scope.

Middlewares may stand inside of one another. Each recorder counts a request once, in its outermost middleware.
"""

from collections.abc import Callable, Collection, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from .layout import Key
from .rows import Method

if TYPE_CHECKING:
    from .detailed import DetailedExchange

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


class LabelReader(Protocol):
    """The labels of the user's own."""

    @property
    def names(self) -> Collection[str]:
        """Those that an application may set."""

    def read(self, exchange: "DetailedExchange", failed: bool) -> Key:
        """Return their values for a request that is about to be counted, in the order of a key. It raises nothing.

        Args:
            exchange: The request.
            failed: Whether it counts as an error.
        """


class Recorder(Protocol):
    """What an exchange is counted by."""

    labels: LabelReader | None
    """`None` where there are none that a request decides."""

    clock: Callable[[], float]
    host_clock: Callable[[], float]
    """One that all processes of the host share."""
    bounds: tuple[float, ...]
    first_bound: float
    """The first of them."""
    declared_route: Callable[[str, str], str | None]
    """Returns the declared template that a method and a path ask for; `None` where there is none."""
    methods: Mapping[object, Method]
    """Empty until the first request, and whenever there is something to do before the next one: see `begin`."""

    def begin(self, source: Source) -> Mapping[object, Method]:
        """Do what is due before a request is counted, and return the methods of the table."""

    def now(self) -> float:
        """Return the clock's seconds; NaN if it fails."""

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault of the instrumentation."""

    def host_seconds(self) -> float:
        """Return the seconds of a clock that all workers share; NaN if it fails."""

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
