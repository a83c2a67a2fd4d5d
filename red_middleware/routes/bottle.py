"""Bottle (0.12.25 and later): the rule that matched, with every mount.

Bottle leaves the route in the environ. The rules of a Bottle app that is mounted as a WSGI app, which 0.12 always does,
lack the prefix. The walk over the app's routes knows it, unless the mount was added after the first request. An app of
another framework stays opaque: Bottle answers when it has returned, and its route is gone by then.
"""

import sys
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from .marked import marks_of
from .reader import Declare, Marked, Report, Source
from .wrapped import wrapped


def _is_bottle(found: object) -> bool:
    return any(kind.__name__ == "Bottle" and f".{kind.__module__}".endswith(".bottle") for kind in type(found).__mro__)


def _is_copy(name: str) -> bool:
    """Tell a module that is a copy of Bottle, which is one file: pypiserver has one within its package."""
    return name.endswith(".bottle") and getattr(getattr(sys.modules[name], "Bottle", None), "__module__", None) == name


class BottleReader:
    """Reads Bottle's route. See `reader.Reader`."""

    def __init__(self, report: Report) -> None:
        self.module: str = next(filter(_is_copy, list(sys.modules)), "bottle")
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.prefixes: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # weak: an app may serve one request only

    def learn(self, app: object, source: Source) -> bool:
        """Declare the rules of the Bottle apps that `app` leads to, and of those mounted in them."""
        places = list(wrapped(app, _is_bottle))
        if places:
            self.declare([template for found, prefix in places for template in self._templates(found, prefix)])
        return bool(places)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that serves the request; the mount where a WSGI app of another kind does."""
        route = source.get("bottle.route")
        if route is None:
            return None
        if route.app not in self.prefixes:
            self.declare(list(self._templates(route.app, "")))
        prefixes = self.prefixes.get(route.app, {""})
        if len(prefixes) > 1:
            prefixes = {prefix for prefix in prefixes if f"{path}/".startswith(f"{prefix}/")} or prefixes
        target = route.config.get("mountpoint.target")  # a Bottle app that has no route for the request, or any other
        return None if target is not None and _is_bottle(target) else max(prefixes, key=len) + _rule(route, target)

    def _templates(self, app: Any, prefix: str, *around: object) -> Iterator[tuple[str, list[str] | None]]:
        for route in app.routes:
            self.prefixes.setdefault(route.app, set()).add(prefix)
            target = route.config.get("mountpoint.target")
            template = prefix + _rule(route, target)
            if not _is_bottle(target):
                methods = {"GET": ["GET", "HEAD"], "ANY": None, "PROXY": None}
                answered = methods.get(route.method, [route.method])
                self.marked(template, answered, marks_of(route.callback))
                yield template, answered
            elif not any(target is outer for outer in (app, *around)):  # an app may be mounted in itself
                yield from self._templates(target, template, app, *around)


def _rule(route: Any, target: object) -> str:
    if target is None:
        return str(route.rule)
    mount = route.rule.removesuffix("/<:re:.*>")  # Bottle adds it
    return str(mount if _is_bottle(target) else f"{mount}/*")
