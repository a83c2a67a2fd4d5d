"""Which route template served this request? The ordered readers, one small file a framework; the first that knows.

A reader is made with a `declare` callback and has two methods: `learn(app, source)`, once, at the first request, which
declares the templates that it finds in the app; `route(source, path, error)`, once a request, when the response begins
or an exception ended it. Readers know frameworks and nothing of ours; `wsgi` and `asgi` ask them through `Routes`.

What is touched in a framework: `flask.py` connects one receiver to Flask's signal `got_request_exception`, once a
process. Starlette and FastAPI are only read.
"""

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any, Protocol

from . import flask, starlette

Source = MutableMapping[str, Any]
Declare = Callable[[Iterable[tuple[str, Iterable[str] | None]]], None]
RouteOf = Callable[[Any], str | None]


class Reader(Protocol):
    """What a file of this folder offers for its framework."""

    def learn(self, app: object, source: Source) -> None:
        """Declare the templates of the apps that `app` leads to."""

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template that serves the request, `None` where there is none or the framework is another."""


class Routes:
    """Asks `route_of` first, then the readers. What raises is a fault, not an answer.

    Args:
        readers: In the order in which they are asked.
        route_of: The user's own answer; `None` from it, or for it, leaves the question to the readers.
        fault: Told the kind and the exception of what raised.
    """

    def __init__(
        self, readers: Sequence[Reader], route_of: RouteOf | None, fault: Callable[[str, BaseException], None]
    ) -> None:
        self.readers = readers
        self.route_of = route_of
        self.fault = fault
        self.ask = readers[0].route if route_of is None and len(readers) == 1 else self._ask_all

    def find(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template; `path` is that of the request on arrival, `error` what ended it without a response."""
        try:
            return self.ask(source, path, error)
        except Exception as fault:
            self.fault("route", fault)
            return None

    def _ask_all(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        if self.route_of is not None:
            try:
                route = self.route_of(source)
                if route is not None:
                    return route
            except Exception as fault:
                self.fault("route_of", fault)
        found = (reader.route(source, path, error) for reader in self.readers)
        return next((route for route in found if route is not None), None)

    def learn(self, app: object, source: Source) -> None:
        """Let every reader declare what it finds."""
        for reader in self.readers:
            try:
                reader.learn(app, source)
            except Exception as fault:
                self.fault("declared routes", fault)


def wsgi_readers(declare: Declare, raised: flask.Raised) -> list[Reader]:
    """Return the readers of WSGI frameworks. `raised` is told of exceptions that a framework answers with a 500."""
    return [flask.FlaskReader(declare, raised)]


def asgi_readers(declare: Declare) -> list[Reader]:
    """Return the readers of ASGI frameworks."""
    return [starlette.StarletteReader(declare)]
