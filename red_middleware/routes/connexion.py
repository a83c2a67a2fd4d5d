"""Connexion 3: the path of the operation in its specification, with the base path of the API.

Connexion's middlewares hand on copies of the scope, and route on one of them. It keeps that copy in a context variable,
which is there in every task that a request makes. Nothing is touched. The routers are made at the first request.
"""

import functools
import re
import sys
from typing import Any, Final

from .reader import Declare, Raised, Report, Source
from .stack import answered
from .starlette_places import Place, Walk
from .wrapped import of_class, wrapped

_is_connexion = of_class("connexion.middleware.main", "ConnexionMiddleware")
_is_routing = of_class("connexion.middleware.routing", "RoutingMiddleware")
_is_problem = of_class("connexion.exceptions", "ProblemException")
_is_http_exception = of_class("starlette.exceptions", "HTTPException")

MAX_MIDDLEWARES: Final = 100
"""How many are followed to the one that routes."""

COPIED: Final = ("path", "raw_path", "client")
"""What a copied scope shares with the request that it is of."""


class ConnexionReader:
    """Reads Connexion's operation. See `reader.Reader`."""

    module = "connexion.middleware.routing"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.answering: Raised = report.answering
        self.app: object = None
        self.places: dict[str, list[Place]] = {}  # by the id of an operation, which may stand on several paths

    def learn(self, app: object, source: Source) -> bool:
        """Declare the operations of the Connexion apps that `app` leads to, as far as their routers are made."""
        self.app = app
        self._walk()
        return any(True for _ in wrapped(app, _is_connexion))

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the path of the operation that serves the request."""
        routed: Any = getattr(sys.modules.get(self.module), "_scope", None)
        scope = routed.get(None) if routed is not None else None
        if scope is None or any(scope.get(key) is not source.get(key) for key in COPIED):
            return None  # it is of a request that the app made itself meanwhile
        handled = answered(_is_problem, _is_http_exception)
        if handled is not None:
            self.answering(source, handled)
        routing = (scope.get("extensions") or {}).get("connexion_routing") or {}
        operation = routing.get("operation_id")
        if operation is None:
            return None
        if operation not in self.places:
            self.places[operation] = []
            self._walk()
        places = self.places[operation]
        place = next((place for place in places if len(places) == 1 or place.pattern.fullmatch(scope["path"])), None)
        return None if place is None or place.template is None else _plain(place.template)

    def _walk(self) -> None:
        """Learn the operations. The routers are reached through the middlewares once these are made."""
        routers = [routing.router for app, _ in wrapped(self.app, _is_connexion) for routing in _chain(app)]
        self.places = {operation: [] for operation in self.places}  # one that is not found is not looked for again
        declared = []
        for place in (place for router in routers for place in Walk(router).places):
            for holder in place.holders:
                operation = getattr(holder, "operation_id", None)
                if operation is not None and place.template is not None:
                    self.places.setdefault(operation, []).append(place)
                    declared.append((_plain(place.template), place.methods))
        if declared:
            self.declare(declared)


def _chain(app: Any) -> Any:
    """Yield the routing middlewares of a Connexion app: each middleware holds the next one as its `app`."""
    inner = app if getattr(app, "middleware_stack", None) else None
    for _ in range(MAX_MIDDLEWARES):
        inner = getattr(inner, "app", None)
        if _is_routing(inner):
            yield inner


@functools.cache
def _plain(template: str) -> str:
    """Return a template without the types that Connexion adds to parameters."""
    return re.sub(r":\w+}", "}", template)
