"""Sanic (23.3 and later), by ASGI: the template of its request, with the prefixes of blueprints and groups.

Sanic sends a response itself, so its request stands on the stack. Nothing is touched. It also sends its answer to an
exception while it handles that, which names it.
"""

import sys
from typing import Any

from .reader import WEBSOCKET, Declare, Raised, Report, Source
from .stack import above, below
from .wrapped import of_class, wrapped

_is_sanic = of_class("sanic.app", "Sanic")
_is_http_exception = of_class("sanic.exceptions", "SanicException")


class SanicReader:
    """Reads Sanic's route. See `reader.Reader`."""

    module = "sanic.app"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.answering: Raised = report.answering
        self.apps: list[Any] = []
        self.known: int = 0  # how many routes were declared

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the Sanic apps that `app` leads to."""
        self.apps = [found for found, _ in wrapped(app, _is_sanic)]
        if self.apps:
            self._walk()
        return bool(self.apps)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the route that serves the request."""
        for frame in (*above(sys._getframe(1)), *[*below(error)][::-1]):
            if frame.f_code.co_name == "handle_request" and frame.f_globals.get("__name__") == "sanic.app":
                break
        else:
            return None
        answered = sys.exc_info()[1] if error is None else error
        if answered is not None and not _is_http_exception(answered):
            self.answering(source, answered)
        template: str | None = frame.f_locals["request"].uri_template
        if sum(len(app.router.routes) for app in self.apps) != self.known:  # blueprints may be applied at startup
            self._walk()
        return template

    def _walk(self) -> None:
        routes = [route for app in self.apps for route in app.router.routes]
        self.known = len(routes)
        self.declare(
            [
                (f"/{route.path}", (WEBSOCKET,) if getattr(route.extra, "websocket", False) else route.methods)
                for route in routes
            ]
        )
