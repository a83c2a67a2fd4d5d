"""Starlette (0.35 and later) and FastAPI (0.109 and later): the template of the innermost route, with every mount.

Routers leave the route (Starlette 1.7, FastAPI) or at least the endpoint in the scope, without the prefixes of mounts
and `include_router`. So the routers are walked once, and full templates are kept by the identity of what a scope holds.

The first router that a request comes to stays in its scope as `router`. Where the middleware stands inside a mount,
that router holds the prefix, and the app that the middleware wraps does not lead there. So no template is trusted
until a request has shown its outermost router.

Where a middleware between hands on a copy of the scope, no router has been at ours. Then the copy is looked for on the
stack; behind a bridge between tasks (`BaseHTTPMiddleware`) it is not there, and the request counts as `_unmatched`.
"""

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

from .marked import views_of
from .reader import Declare, Marked, Report, Source
from .stack import around
from .starlette_places import Place, Walk, routers_behind

MAX_ROUTERS: Final = 64
"""How many outermost routers are learned: an app may make one for every request."""


class StarletteReader:
    """Reads the route of Starlette and FastAPI. See `reader.Reader`."""

    module = "starlette.routing"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.mounted: Callable[[str, object], None] = report.mounted
        # By id, as routers and routes may define no hash. The objects are held, so that no id is reused.
        self.own: dict[int, Any] = {}  # the routers that the app leads to
        self.outermost: dict[int, Any] = {}  # the routers that requests came to first
        self.is_guess: bool = True  # no request to this mounting has shown its outermost router yet
        self.walks: list[Walk] = []
        self.by_holder: dict[int, list[Place]] = {}
        self.unambiguous: dict[int, str | None] = {}  # the templates of holders that have one only
        self.templates: dict[int, str | None] = {}  # the same, as soon as they can be trusted
        self.frontends: list[Place] = []  # FastAPI's, which leave nothing in the scope but their path
        self.opaque_mounts: list[Place] = []
        self.misses: int = 0

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the routers that `app` leads to, and of a router around it."""
        routers = [*routers_behind(app)][:MAX_ROUTERS]
        self.own = {id(router): router for router in routers}
        outer = source.get("router")
        stands_inside = outer is not None and (not routers or any(id(r) in self.own for r in Walk(outer).reached))
        self.outermost = {id(outer): outer} if stands_inside else {}
        if self.own or self.outermost:
            self._walk()
        return bool(self.own or self.outermost)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the route that the routers chose."""
        route = source.get("route")
        if route is not None:
            template = self.templates.get(id(route))
            if template is not None:
                return template
        elif "endpoint" not in source and "fastapi" not in source:
            if not self.own or "router" in source:  # no router is known that could be elsewhere, or one has been here
                return None
            copy = _copied(sys._getframe(2), error)
            return None if copy is None else self.route(copy, path)
        return self._look_further(source)

    def _look_further(self, scope: Source) -> str | None:
        """Answer where the scope holds no route, or one that stands in several places, or one that is new."""
        self._meet(scope.get("router"))
        if "frontend_path" in scope.get("fastapi", ()):  # a frontend leads nowhere else
            if self._grew():
                self._walk()
            place = _first_match(self.frontends, scope) or next(iter(self.frontends), None)
            return place.template if place else None
        holders = [scope[key] for key in ("route", "endpoint") if scope.get(key) is not None]
        is_known, matches, template = self._template(holders, scope)
        if not matches and holders and self._may_have_changed(is_known):
            self._walk()
            is_known, _, template = self._template(holders, scope)
        if not is_known:
            mount = self._opaque_mount(scope)
            path = getattr(scope.get("route"), "path", None)
            if isinstance(path, str):
                return (mount.path if mount else "") + path or None
            return mount.template if mount else None
        return template

    def _meet(self, router: Any) -> None:
        """Take the outermost router of a request into account, if it is new."""
        met: dict[int, Any] = {} if self.is_guess else self.outermost
        if router is None or id(router) in met or len(met) == MAX_ROUTERS:
            return
        before, self.outermost = self.outermost, {**met, id(router): router}
        self.is_guess = False
        if before.keys() - self.own.keys() == self.outermost.keys() - self.own.keys():
            self.templates = self.unambiguous
        else:
            self._walk()

    def _template(self, holders: Iterable[object], scope: Source) -> tuple[bool, bool, str | None]:
        """Tell whether the innermost holder is known, whether a place of it matches the path, and its template.

        FastAPI leaves the route of the mount around it in the scope where a plain Starlette route serves the request.
        The endpoint is always the innermost, but it may serve several routes.
        """
        is_known, matches, template = False, False, None
        for holder in holders:
            found = self.by_holder.get(id(holder))
            is_known = found is not None
            if found is not None:
                place = _first_match(found, scope)
                matches = place is not None
                template = (place or found[0]).template
                if template is not None:
                    break
        return is_known, is_known and matches, template

    def _opaque_mount(self, scope: Source) -> Place | None:
        """Return the opaque mount behind which a router serves the request that no walk came to."""
        if scope.get("root_path", "") == scope.get("app_root_path", scope.get("root_path", "")):
            return None  # it went through no mount
        return _first_match(self.opaque_mounts, scope)

    def _may_have_changed(self, is_known: bool) -> bool:
        """Tell whether to walk again, where no place is known that serves the request."""
        if self._grew():
            return True
        if is_known:
            return False
        self.misses += 1
        return self.misses & (self.misses - 1) == 0  # routes may be exchanged one for one: look ever more rarely

    def _grew(self) -> bool:
        return any(walk.grew() for walk in self.walks)

    def _walk(self) -> None:
        around = [Walk(router) for key, router in self.outermost.items() if key not in self.own]
        inside = {id(router) for walk in around for router in walk.reached} - self.outermost.keys()
        self.walks = [Walk(router) for key, router in self.own.items() if key not in inside] + around
        places = [place for walk in self.walks for place in walk.places]
        by_holder: dict[int, list[Place]] = {}
        for place in places:
            for holder in place.holders:
                by_holder.setdefault(id(holder), []).append(place)
        self.frontends = sorted((place for place in places if not place.holders), key=lambda place: -len(place.path))
        self.opaque_mounts = [p for p in places if p.is_open_ended and p.holders and not p.is_branch]
        self.by_holder = by_holder
        self.unambiguous = {
            key: found[0].template for key, found in by_holder.items() if len({place.template for place in found}) == 1
        }
        self.templates = {} if self.is_guess else self.unambiguous
        self.declare([(place.template, place.methods) for place in places if place.template is not None])
        for place in places:
            if place.holders and place.template is not None:
                for methods, marks in views_of(place.methods, place.holders[-1]):
                    self.marked(place.template, methods, marks)
        for place in self.opaque_mounts:
            self.mounted(f"{place.path}/*", place.holders[-1])


def _copied(innermost: FrameType, error: BaseException | None) -> Source | None:
    """Return the scope that a router has been at, if one is on the stack or in a traceback."""
    for frame in around(innermost, error):
        if "scope" in frame.f_code.co_varnames:
            scope = frame.f_locals.get("scope")
            if isinstance(scope, dict) and "router" in scope:
                return scope
    return None


def _first_match(candidates: Iterable[Place], scope: Source) -> Place | None:
    """Return the first of a few candidates that the request's path matches."""
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
        path = path[len(root) :]
    return next((place for place in candidates if place.pattern.fullmatch(path)), None)
