"""Bridges between ASGI and WSGI: which request is it on the other side, and which route serves it there?

A bridge makes a new environ of a scope, or a new scope of an environ, and answers from another thread or task. So the
app behind it is wrapped, once. The wrapper puts the request's exchange into the new environ or scope, asks the readers
of that side for the route, and notes the route on the exchange. A middleware further in sees that the request counts
already.

a2wsgi leaves the environ in the scope that it makes. In the other direction a context variable carries the exchange,
which only apps with a bridge behind them pay for. A bridge that passes no context to its threads stays opaque, as
uvicorn's own and hypercorn's.
"""

import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol

from ..application import can_take
from ..counting.enclosing import KEY, Enclosing
from ..counting.exchange import serves
from ..options import is_async
from .reader import Source
from .wrapped import of_class, wrapped

CROSSING: Final[ContextVar[Enclosing]] = ContextVar("red_middleware.crossing")
"""The exchange of the request that this context serves, where a bridge may be on its way."""


class Finder(Protocol):
    """Knows the routes of an app: see `routes.Routes`."""

    def find(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the route that serves a request."""


class Bridge(NamedTuple):
    """A bridge that was found."""

    held: Any
    """The bridge itself."""
    attribute: str
    """Where it holds the application."""
    is_to_asgi: bool

    def enter(self) -> "Inside":
        """Return what stands around the application, which is put there once."""
        app = getattr(self.held, self.attribute)
        if isinstance(app, Inside):
            return app
        inside = InsideASGI(app) if self.is_to_asgi else InsideWSGI(app)
        setattr(self.held, self.attribute, inside)
        return inside


HELD_AS: Final = ("app", "wsgi_application")
"""Where bridges to WSGI hold their application: those of Starlette, a2wsgi and MLflow, and asgiref's."""

_is_to_asgi = of_class("a2wsgi.asgi", "ASGIMiddleware")


def bridges_behind(app: object) -> Iterator[Bridge]:
    """Yield the bridges that an application leads to."""
    for found, _ in wrapped(app, lambda found: _is_to_asgi(found) or _is_to_wsgi(found)):
        if _is_to_asgi(found):
            yield Bridge(found, "app", is_to_asgi=True)
        else:
            yield from (Bridge(found, name, is_to_asgi=False) for name in HELD_AS if _is_wsgi(vars(found).get(name)))


def _is_to_wsgi(found: object) -> bool:
    """Tell a bridge by its name, since apps have bridges of their own: an ASGI application that is called WSGI."""
    is_named = any("wsgi" in base.__name__.lower() for base in type(found).__mro__)
    return is_named and is_async(found) and hasattr(found, "__dict__")


def _is_wsgi(app: object) -> bool:
    """Tell whether an object may be called as PEP 3333 says."""
    try:
        return can_take(inspect.signature(app), 2) and not is_async(app)  # type: ignore[arg-type]  # anything
    except Exception:  # it cannot be called, or does not tell
        return False


class Carrying:
    """An ASGI application that leads to a bridge. It tells the context which request it serves.

    Args:
        app: The application, which is called with requests that have an exchange.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[Any]]) -> None:
        self.app = app

    async def __call__(self, scope: Source, receive: object, send: object) -> Any:
        CROSSING.set(scope[KEY])
        return await self.app(scope, receive, send)


class Inside:
    """Stands for an application behind a bridge.

    Args:
        app: The application.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        self.finders: weakref.WeakSet[Finder] = weakref.WeakSet()
        """Those that know its routes: one for each middleware that leads here."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self).get("app"), name)


class InsideWSGI(Inside):
    """Stands for an application of WSGI."""

    app: Callable[[Any, Any], Iterable[bytes]]

    def __call__(self, environ: Source, start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        exchange = CROSSING.get(None)
        if exchange is None or not _is_of(exchange, path.encode("latin-1", "replace").decode("utf-8", "replace")):
            return self.app(environ, start_response)
        environ[KEY] = exchange
        serves(environ, "")

        def answer(*args: Any, **options: Any) -> object:
            note(self.finders, environ, path)
            return start_response(*args, **options)

        try:
            return self.app(environ, answer)
        except BaseException as error:
            note(self.finders, environ, path, error)
            raise


class InsideASGI(Inside):
    """Stands for an application of ASGI."""

    app: Callable[[Any, Any, Any], Awaitable[Any]]

    async def __call__(self, scope: Source, receive: object, send: Callable[[Any], Awaitable[object]]) -> Any:
        exchange = (scope.get("wsgi_environ") or {}).get(KEY)
        if exchange is None:
            return await self.app(scope, receive, send)
        scope[KEY] = exchange
        serves(scope, "")
        path = str(scope.get("path", "")).removeprefix(str(scope.get("root_path", "")))

        async def answer(message: Any) -> None:
            try:
                if message["type"] == "http.response.start":
                    note(self.finders, scope, path)
            except Exception:  # not a message: the bridge will refuse it
                pass
            await send(message)

        try:
            return await self.app(scope, receive, answer)
        except BaseException as error:
            note(self.finders, scope, path, error)
            raise


def _is_of(exchange: Enclosing, path: str) -> bool:
    """Tell whether a request with this path is the exchange's: a context may outlive it, or ask for another path.

    On the way in, mounts shorten a path from the left.
    """
    return (not exchange.finished or exchange.is_forgotten) and str(exchange.path).endswith(path)


def note(finders: Iterable[Finder], source: Source, path: str, error: BaseException | None = None) -> None:
    """Note on the exchange which route serves a request, where one is known."""
    route = next(filter(None, (finder.find(source, path, error) for finder in list(finders))), None)
    if route is not None:
        serves(source, route)
