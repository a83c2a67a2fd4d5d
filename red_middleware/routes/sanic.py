"""Sanic (23.3 and later), by ASGI: the template of its request, with the prefixes of blueprints and groups.

Sanic sends a response itself, so its request stands on the stack. Nothing is touched. It also sends its answer to an
exception while it handles that, which names it.
"""

import sys
from typing import Any

from .marked import views_of
from .reader import WEBSOCKET, Declare, Marked, Raised, Report, Source
from .stack import answered, around
from .wrapped import of_class, wrapped

_is_sanic = of_class("sanic.app", "Sanic")
_is_http_exception = of_class("sanic.exceptions", "SanicException")


class SanicReader:
    """Reads Sanic's route. See `reader.Reader`."""

    module = "sanic.app"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.answering: Raised = report.answering
        self.apps: list[Any] = []
        self.known: set[str] = set()  # the templates that were declared

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the Sanic apps that `app` leads to."""
        self.apps = [found for found, _ in wrapped(app, _is_sanic)]
        if self.apps:
            self._walk()
        return bool(self.apps)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the route that serves the request."""
        for frame in around(sys._getframe(1), error):
            if frame.f_code.co_name == "handle_request" and frame.f_globals.get("__name__") == "sanic.app":
                break
        else:
            return None
        handled = answered(_is_http_exception)
        if handled is not None:
            self.answering(source, handled)
        template: str | None = frame.f_locals["request"].uri_template
        if template is not None and template not in self.known:  # blueprints may be applied at startup
            self._walk()
        return template

    def _walk(self) -> None:
        routes = [
            (route, (WEBSOCKET,) if getattr(route.extra, "websocket", False) else route.methods)
            for app in self.apps
            for route in app.router.routes
        ]
        declared = [(f"/{route.path}", methods) for route, methods in routes]
        self.known.update(template for template, _ in declared)
        self.declare(declared)
        for route, methods in routes:
            for each, marks in views_of(methods, route.handler, getattr(route.handler, "view_class", None)):
                self.marked(f"/{route.path}", each, marks)
