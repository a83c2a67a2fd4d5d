"""Litestar (2.0.1 and later): the path of the handler that serves the request, as it was declared.

From 2.11 on Litestar leaves the template in the scope, without the types of its parameters; before, the handler alone.
Nothing is touched. Litestar sends its answer to an exception while it handles that, which names it.
"""

from collections.abc import Callable
from typing import Any

from .marked import marks_of
from .reader import WEBSOCKET, Declare, Marked, Raised, Report, Source
from .stack import answered
from .wrapped import of_class, wrapped

_is_litestar = of_class("litestar.app", "Litestar")
_is_http_exception = of_class("litestar.exceptions", "HTTPException")


class LitestarReader:
    """Reads Litestar's route. See `reader.Reader`."""

    module = "litestar.app"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.mounted: Callable[[str, object], None] = report.mounted
        self.answering: Raised = report.answering
        self.templates: dict[str, str] = {}  # declared paths, by the same without types
        self.places: dict[int, list[Any]] = {}  # the routes of a handler, by its id
        self.apps: list[Any] = []  # held, so that no id is used again, like the next ones
        self.held: list[Any] = []

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the Litestar apps that `app` leads to."""
        found = [litestar for litestar, _ in wrapped(app, _is_litestar)]
        for litestar in found:
            self._walk(litestar)
        return bool(found)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the declared path of the handler that serves the request."""
        handler = source.get("route_handler")
        if handler is None:  # no route, or another framework's request
            return None
        handled = answered(_is_http_exception)
        if handled is not None:
            self.answering(source, handled)
        template = source.get("path_template")
        if template:
            return self.templates.get(template) or self._learn_late(source, template)
        if id(handler) not in self.places:
            self._learn_late(source, "")
            self.places.setdefault(id(handler), [])
            self.held.append(handler)
        places = self.places[id(handler)]
        place = next((place for place in places if len(places) == 1 or _fits(place, path)), None)
        return None if place is None else _template(place)

    def _learn_late(self, source: Source, template: str) -> str:
        """Return the declared path where the app was not found before, or has a new route."""
        app = source.get("litestar_app") or source.get("app")
        if _is_litestar(app):
            self._walk(app)
        return self.templates.setdefault(template, template)

    def _walk(self, app: Any) -> None:
        self.apps = [*(known for known in self.apps if known is not app), app]
        declared: list[tuple[str, Any]] = []
        mounts: list[tuple[str, Any]] = []
        views: list[tuple[str, Any, Any]] = []
        for route in app.routes:
            template = _template(route)
            self.templates[route.path_format] = template
            kind = type(route).__name__  # Litestar 3 has no `scope_type`
            methods = route.methods if kind == "HTTPRoute" else (WEBSOCKET,) if kind == "WebSocketRoute" else None
            declared.append((template, methods))
            if template.endswith("/*"):
                mounts.append((template, route.route_handler))
            for handler in getattr(route, "route_handlers", None) or [route.route_handler]:
                views.append((template, getattr(handler, "http_methods", methods), handler))
                places = self.places.get(id(handler), [])
                self.places[id(handler)] = [*(place for place in places if place is not route), route]
        self.declare(declared)
        for template, methods, handler in views:
            view = getattr(handler.fn, "value", handler.fn)  # a reference to it, before 2.3
            self.marked(template, methods, marks_of(view) | marks_of(getattr(handler, "owner", None)))
        for template, mounted in mounts:
            self.mounted(template, mounted)


def _template(route: Any) -> str:
    """Return the route's label: that of a mounted ASGI application ends in `/*`."""
    is_mount = getattr(getattr(route, "route_handler", None), "is_mount", False)
    return f"{route.path.rstrip('/')}/*" if is_mount else str(route.path)


def _fits(route: Any, path: str) -> bool:
    """Tell whether a path may be one of a route: by its texts, and by the number of its segments."""
    parts = [part for part in path.split("/") if part]
    components = route.path_components
    return len(parts) == len(components) and all(
        not isinstance(component, str) or component == part for component, part in zip(components, parts, strict=True)
    )
