"""What the reader of a framework offers, and what it is given."""

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, NamedTuple, Protocol

from ..counting.labels import WEBSOCKET

__all__ = ["WEBSOCKET", "Declare", "Marked", "Marks", "Raised", "Reader", "Report", "Source"]

Source = MutableMapping[str, Any]
"""The environ of a WSGI request, or the scope of an ASGI request."""

Declare = Callable[[Iterable[tuple[str, Iterable[str] | None]]], None]
"""Takes the templates that an app declares, each with its methods; `None` where the app names no methods.

`WEBSOCKET` among the methods stands for WebSockets.
"""

Marks = frozenset[str]
"""Those of a view: see `views`."""

Marked = Callable[[str, Iterable[str] | None, Marks], None]
"""Takes a declared template and methods of it, as in `Declare`, and the marks of the view that answers them."""

Raised = Callable[[Source, BaseException], None]
"""Takes a request and an exception."""


def _forget(template: str, app: object) -> None:
    """Take a mount that nobody looks behind."""


def _overlook(template: str, methods: Iterable[str] | None, marks: Marks) -> None:
    """Take marks that nobody asks for."""


class Report(NamedTuple):
    """Whom a reader tells what it sees."""

    declare: Declare
    """Takes what an app declares."""
    raised: Raised
    """Takes the exception that a framework is about to answer with a 500 itself."""
    answering: Raised
    """Takes the exception that is being answered, with whatever status: it is named if that is an error."""
    asks_for_socket: Callable[[Source], None]
    """Takes a WSGI request to a route of WebSockets. A response that is no error says that the session is over."""
    crosses: Callable[[], None]
    """Is called when a bridge to WSGI was found behind an ASGI application: see `bridges`."""
    mounted: Callable[[str, object], None] = _forget
    """Takes the template of a mount, which ends in `/*`, and the app there, which is not of the reader's framework."""
    marked: Marked = _overlook
    """Takes the marks of each view that is declared, and of those that have none: see `marked.views_of`."""


class Reader(Protocol):
    """Reads the routes of one framework. It imports the framework nowhere: it looks into `sys.modules`."""

    module: str
    """The framework's module that is imported where an app of it may be. Until then the reader is not asked."""

    def __init__(self, report: Report) -> None:
        """Remember whom to tell."""

    def learn(self, app: object, source: Source) -> bool:
        """Declare the templates of the apps that `app` leads to, and tell whether one is of this framework.

        Args:
            app: What the middleware wraps.
            source: Empty, or the first request to any mounting of the same numbers. It may have come to another one.
        """

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template that serves the request, in constant time.

        Args:
            source: The request, when its response begins or an exception has ended it.
            path: Its path on arrival. On the way in, mounts shorten what `source` holds.
            error: The exception that left the app before a response.

        Returns:
            The template, or `None` where the framework matched none, or where another framework serves the request.
        """
