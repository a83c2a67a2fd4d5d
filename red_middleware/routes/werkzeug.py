"""A `Map` of Werkzeug (2.3 and later) in an app without a framework: the rule that the path matches.

Werkzeug keeps no rule in the environ, so the map is asked once more when the response begins.
"""

from typing import Any

from .marked import views_of
from .reader import Declare, Marked, Report, Source
from .wrapped import of_class, wrapped

_is_map = of_class("werkzeug.routing.map", "Map")
_is_flask = of_class("flask.app", "Flask")


class WerkzeugReader:
    """Reads the rule from a `Map`. See `reader.Reader`."""

    module = "werkzeug.routing.map"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.maps: list[tuple[Any, str]] = []

    def learn(self, app: object, source: Source) -> bool:
        """Declare the rules of the maps that `app` holds. Flask's are those of its own reader."""
        places: list[tuple[Any, str]] = list(wrapped(app, lambda found: _is_map(found) or _is_flask(found)))
        self.maps = [(found, prefix) for found, prefix in places if _is_map(found)]
        rules = [(rule, prefix) for found, prefix in self.maps for rule in found.iter_rules()]
        if rules:
            self.declare([(prefix + rule.rule, rule.methods) for rule, prefix in rules if not rule.build_only])
        for rule, prefix in rules:
            for methods, marks in views_of(rule.methods, rule.endpoint):
                self.marked(prefix + rule.rule, methods, marks)
        return bool(self.maps)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that the request matches."""
        for url_map, prefix in self.maps:
            if path.startswith(prefix):
                try:
                    rule, _ = url_map.bind_to_environ(source).match(path[len(prefix) :] or None, return_rule=True)
                except Exception:  # 404, 405, a redirect, or what a converter raises: the app was told the same
                    continue
                return prefix + str(rule.rule)
        return None
