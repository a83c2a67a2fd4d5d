"""Pyramid (1.10.8 and later): the pattern of the route that matched, with the prefixes of includes.

Nothing in the environ leads to Pyramid's request, and it is gone when the response begins. So the attribute
`request_factory` of each router is replaced by a function, which leaves the request in its environ until then. An
application that works by traversal has no routes. An exception that an exception view answers is named; others leave
the router.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from .marked import marks_of
from .reader import Declare, Marked, Marks, Raised, Report, Source
from .wrapped import of_class, wrapped

KEY: Final = "red_middleware.pyramid.request"

_is_router = of_class("pyramid.router", "Router")
_is_http_exception = of_class("pyramid.httpexceptions", "HTTPException")


class PyramidReader:
    """Reads Pyramid's route. See `reader.Reader`."""

    module = "pyramid.router"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.answering: Raised = report.answering

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the Pyramid apps that `app` leads to, and let their requests be found."""
        found: list[tuple[Any, str]] = list(wrapped(app, _is_router))
        for router, prefix in found:
            noting = router.request_factory if isinstance(router.request_factory, _Noting) else None
            router.request_factory = noting or _Noting(router.request_factory)
            router.request_factory.prefix = prefix
        if found:
            self.declare([route for router, prefix in found for route in _declared(router.registry, prefix)])
            for router, prefix in found:
                for view in _marked(router.registry, prefix):
                    self.marked(*view)
        return bool(found)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the pattern that serves the request."""
        noted = source.get(KEY)
        if noted is None or isinstance(noted, str):  # the latter if it was asked for before
            return noted or None
        request, prefix = noted
        answered = getattr(request, "exception", None)
        if answered is not None and not _is_http_exception(answered):
            self.answering(source, answered)
        route = getattr(request, "matched_route", None)
        template = "" if route is None else prefix + _spelled(route.pattern)
        source[KEY] = template  # the request holds its environ: else they would stay for the garbage collector
        return template or None


class _Noting:
    """A router's `request_factory`, which leaves each request in its environ."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make
        self.prefix = ""

    def __call__(self, environ: Source) -> Any:
        request = self.make(environ)
        environ[KEY] = request, self.prefix
        return request

    def __getattr__(self, name: str) -> Any:
        return getattr(self.make, name)  # `blank`, and whatever else the class offers


def _spelled(pattern: str) -> str:
    return pattern if pattern.startswith("/") else f"/{pattern}"


def _declared(registry: Any, prefix: str) -> Iterator[tuple[str, Iterable[str] | None]]:
    """Yield each route with its methods: its own, or those of its views."""
    mapper = registry.queryUtility(sys.modules["pyramid.interfaces"].IRoutesMapper)
    by_route = {item["introspectable"]["name"]: item["introspectable"] for item in _introspected(registry, "routes")}
    views: dict[str, list[Any]] = {}
    for item in _introspected(registry, "views"):
        view = item["introspectable"]
        views.setdefault(view.get("route_name"), []).append(view.get("request_methods"))
    for route in mapper.get_routes(include_static=True) if mapper is not None else ():
        own = by_route.get(route.name, {}).get("request_methods")
        asked = [own] if own else views.get(route.name, [None])
        yield prefix + _spelled(route.pattern), None if None in asked else _with_head(asked)


def _marked(registry: Any, prefix: str) -> Iterator[tuple[str, Iterable[str] | None, Marks]]:
    """Yield each view with the pattern of its route, the methods that it answers, and its marks."""
    patterns = {item["introspectable"]["name"]: item["introspectable"] for item in _introspected(registry, "routes")}
    for item in _introspected(registry, "views"):
        view = item["introspectable"]
        route = patterns.get(view.get("route_name"))
        if route is not None:
            methods = view.get("request_methods")
            method = getattr(view["callable"], view.get("attr") or "__call__", None)  # an instance may have made it
            marks = marks_of(view["callable"]) | marks_of(method)
            yield prefix + _spelled(route["pattern"]), None if methods is None else _with_head([methods]), marks


def _introspected(registry: Any, category: str) -> Any:
    return registry.introspector.get_category(category) or ()


def _with_head(asked: Iterable[Any]) -> set[str]:
    """Return these methods, each one or several; where GET is answered, so is HEAD."""
    methods = {name for one in asked for name in ([one] if isinstance(one, str) else one)}
    return methods | ({"HEAD"} if "GET" in methods else set())
