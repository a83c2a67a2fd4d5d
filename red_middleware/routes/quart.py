"""Quart (0.20 and later): the rule that matched, with the prefixes of blueprints.

Nothing outside of Quart leads to its request: up to Python 3.11 a response is sent in a task of its own. So the app's
attributes `request_class` and `websocket_class` are replaced by subclasses, which leave a weak reference to each
request in its scope. One receiver of Quart's signals `got_request_exception` and `got_websocket_exception`, connected
once a process, names the exceptions that Quart answers itself.

An app that is reached by a global name only is not found. Neither is the rule where a middleware copies the scope.
"""

import functools
import sys
import weakref
from typing import Any, Final

from .marked import views_of
from .reader import WEBSOCKET, Declare, Marked, Raised, Report, Source
from .wrapped import of_class, wrapped

KEY: Final = "red_middleware.quart.request"

_is_quart = of_class("quart.app", "Quart")


class QuartReader:
    """Reads Quart's route. See `reader.Reader`."""

    module = "quart.app"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.raised: Raised = report.raised
        self.marked: Marked = report.marked

    def learn(self, app: object, source: Source) -> bool:
        """Declare the rules of the Quart apps that `app` leads to, and let their requests be found."""
        found: list[tuple[Any, str]] = list(wrapped(app, _is_quart))
        rules = []
        for quart, _ in found:
            for name in ("request_class", "websocket_class"):
                kind = getattr(quart, name)
                if not hasattr(kind, KEY):
                    setattr(quart, name, _noted(kind))
            rules += [rule for rule in quart.url_map.iter_rules() if not rule.build_only]
        if found:
            _watch_exceptions(self.raised)
            self.declare([(rule.rule, (WEBSOCKET,) if rule.websocket else rule.methods) for rule in rules])
            for quart, _ in found:
                self._tell_marks(quart)
        return bool(found)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that serves the request."""
        noted = source.get(KEY)
        rule = None if noted is None else getattr(noted(), "url_rule", None)
        return None if rule is None else str(rule.rule)

    def _tell_marks(self, app: Any) -> None:
        for rule in app.url_map.iter_rules():
            view = app.view_functions.get(rule.endpoint)
            methods = (WEBSOCKET,) if rule.websocket else rule.methods
            for answered, marks in views_of(methods, view, getattr(view, "view_class", None)):
                self.marked(rule.rule, answered, marks)


def _noted(kind: Any) -> type:
    """Return a class of requests, each of which can be found by its scope."""

    class Noted(kind):  # type: ignore[misc]  # whatever the app has chosen
        def __init__(self, *arguments: Any, **given: Any) -> None:
            super().__init__(*arguments, **given)
            self.scope[KEY] = weakref.ref(self)

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Noted, name, getattr(kind, name))
    setattr(Noted, KEY, True)
    return Noted


@functools.cache  # it is connected once for each whom it tells
def _watch_exceptions(raised: Raised) -> None:
    quart = sys.modules["quart"]

    async def tell(sender: Any, exception: BaseException, **extra: Any) -> None:
        if quart.has_request_context():
            raised(quart.request.scope, exception)
        elif quart.has_websocket_context():  # else somebody else sent the signal
            raised(quart.websocket.scope, exception)

    quart.got_request_exception.connect(tell, weak=False)
    quart.got_websocket_exception.connect(tell, weak=False)
