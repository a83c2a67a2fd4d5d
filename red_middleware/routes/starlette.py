"""Starlette (0.35 and later) and FastAPI (0.109 and later): the template of the innermost route, with every mount.

Routers leave the route (Starlette 1.7, FastAPI) or at least the endpoint in the scope, without the prefixes of mounts
and `include_router`. So the routers are walked once, and full templates are kept by the identity of what a scope holds.
Nothing is touched in either framework.

A middleware between that hands on a copy of the scope hides the route: the request counts as `_unmatched`.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

from .wrapped import wrapped

Scope = MutableMapping[str, Any]

MAX_ROUTERS: Final = 64
"""How many routers are learned; an app may make one for every request."""


class Place(NamedTuple):
    """Where a route stands: what a scope may hold for it, its full path, its methods.

    A `branch` is a mount with routes of its own: a request that got no further matched no declared route. What has no
    `holders` is known by its path alone.
    """

    holders: tuple[object, ...]
    path: str
    methods: Iterable[str] | None
    open_ended: bool = False
    branch: bool = False

    @property
    def template(self) -> str | None:
        """The route's label."""
        return None if self.branch else self.path or "/"


class StarletteReader:
    """Reads the route of Starlette and FastAPI. See `routes.Reader`."""

    def __init__(self, declare: Callable[[Iterable[tuple[str, Iterable[str] | None]]], None]) -> None:
        self.declare = declare
        self.routers: list[Any] = []
        self.known: set[int] = set()  # ids of the routers
        self.by_holder: dict[int, list[Place]] = {}  # by id, since routes define no hash
        self.templates: dict[int, str | None] = {}  # of what has one template only
        self.frontends: list[Place] = []  # FastAPI's static frontends leave nothing in the scope but their path
        self.patterns: dict[tuple[str, bool], re.Pattern[str]] = {}  # made when first needed
        self.places: list[Place] = []  # holds the objects, so that their ids stay theirs
        self.lengths: list[tuple[Any, str, int]] = []  # the lists walked, by owner and name, and how long they were
        self.misses = 0

    def learn(self, app: object, source: Scope) -> None:
        """Declare the routes of the routers that `app` leads to."""
        router = source.get("router")
        found = [router] if router is not None else [inner for inner, _ in wrapped(app, _is_router)]
        found = found or [inner for inner, _ in wrapped(app, _is_router, by_name=True)]
        if found:
            self.routers += [getattr(inner, "router", inner) for inner in found[:MAX_ROUTERS]]
            self._walk()

    def route(self, source: Scope, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the route that the routers chose."""
        route = source.get("route")
        if route is not None:
            template = self.templates.get(id(route))
            if template is not None:
                return template
        elif "endpoint" not in source and "fastapi" not in source:
            return None
        return self._look_further(source)

    def _look_further(self, scope: Scope) -> str | None:
        """Answer where the scope holds no route, or one that stands in several places, or one added since."""
        if self._is_new(scope.get("router")):
            self._walk()
        if "frontend_path" in scope.get("fastapi", ()):  # the end of the way: a frontend leads nowhere else
            if self._grew():
                self._walk()
            place = self._match(self.frontends, scope) or next(iter(self.frontends), None)
            return place.template if place else None
        holders = [scope[key] for key in ("route", "endpoint") if scope.get(key) is not None]
        known, matches, template = self._template(holders, scope)
        if not matches and holders and self._has_changed(known):
            self._walk()
            known, _, template = self._template(holders, scope)
        if not known:
            path = getattr(scope.get("route"), "path", None)
            return self._mount(scope) + (path if isinstance(path, str) else "") or None
        return template

    def _template(self, holders: Iterable[object], scope: Scope) -> tuple[bool, bool, str | None]:
        """Tell whether the innermost holder is known, whether a place of it matches the path, and its template.

        FastAPI leaves the route of the mount around it in the scope where a plain Starlette route serves the request;
        the endpoint is always the innermost, but may serve several routes.
        """
        known, matches, template = False, False, None
        for holder in holders:
            found = self.by_holder.get(id(holder))
            known = found is not None
            if found is not None:
                place = self._match(found, scope)
                matches = place is not None
                template = (place or found[0]).template
                if template is not None:
                    break
        return known, known and matches, template

    def _match(self, candidates: Iterable[Place], scope: Scope) -> Place | None:
        """Return the first of a few candidates that the request's path matches."""
        path: str = scope["path"]
        root: str = scope.get("app_root_path", scope.get("root_path", ""))
        if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
            path = path[len(root) :]
        for place in candidates:
            key = (place.path, place.open_ended)
            pattern = self.patterns.get(key)
            if pattern is None:
                pattern = self.patterns[key] = _pattern(place)
            if pattern.fullmatch(path):
                return place
        return None

    def _mount(self, scope: Scope) -> str:
        """Return the template of the opaque mount behind which a router serves the request that no walk came to."""
        if scope.get("root_path", "") == scope.get("app_root_path", scope.get("root_path", "")):
            return ""  # it went through no mount
        place = self._match((p for p in self.places if p.open_ended and p.holders and not p.branch), scope)
        return place.path if place else ""

    def _has_changed(self, known: bool) -> bool:
        """Tell whether to walk again, where no place is known that serves the request."""
        if self._grew():
            return True
        if known:
            return False
        self.misses += 1
        return self.misses & (self.misses - 1) == 0  # routes were exchanged one for one; ever more rarely looked for

    def _is_new(self, router: Any) -> bool:
        """Tell whether there is a router that was not walked yet."""
        if id(router) not in self.known and router is not None and len(self.routers) < MAX_ROUTERS:
            self.routers.append(router)
            return True
        return False

    def _grew(self) -> bool:
        """Tell whether a router has other routes than when it was walked. It asks all: not for every request."""
        return any(len(getattr(owner, name)) != length for owner, name, length in self.lengths)

    def _walk(self) -> None:
        self.lengths = []
        self.known = {id(router) for router in self.routers}
        places = [place for router in self.routers for place in self._places(router, "", ())]
        by_holder: dict[int, list[Place]] = {}
        for place in places:
            for holder in place.holders:
                by_holder.setdefault(id(holder), []).append(place)
        templates: dict[int, str | None] = {}
        for holder_id, found in by_holder.items():
            if len({place.template for place in found}) == 1:
                templates[holder_id] = found[0].template
        self.frontends = sorted((place for place in places if not place.holders), key=lambda place: -len(place.path))
        self.patterns = {}
        self.places, self.templates, self.by_holder = places, templates, by_holder
        self.declare([(place.template, place.methods) for place in places if place.template is not None])

    def _places(self, router: Any, prefix: str, enclosing: Sequence[object]) -> Iterator[Place]:
        """Yield the places behind a router that is not one of those `enclosing` it: an app may be mounted in itself."""
        if any(router is outer for outer in enclosing):
            return
        inside = (*enclosing, router)
        for route in self._list(router, "routes"):
            if hasattr(route, "effective_route_contexts"):
                yield from self._included(route, prefix, inside)
            else:
                yield from self._place(route, prefix, inside)
        for group in self._list(router, "_low_priority_routes"):
            yield from self._frontends(group, prefix)

    def _included(self, inclusion: Any, prefix: str, inside: Sequence[object]) -> Iterator[Place]:
        """Yield what `include_router` made of the routes of another router (FastAPI >= 0.137)."""
        self._watch(inclusion.original_router)
        for context in inclusion.effective_route_contexts():
            original = context.original_route
            if context.starlette_route is not None:
                yield from self._place(context.starlette_route, prefix, inside, original)
            else:
                yield Place((original, getattr(original, "endpoint", original)), prefix + context.path, context.methods)
        for context in getattr(inclusion, "effective_low_priority_routes", list)():
            yield from self._frontends(context.original_route, prefix + context.frontend_prefix)

    def _watch(self, router: Any) -> None:
        """Notice routes that are added to a router later, or to one that it includes."""
        for route in self._list(router, "routes"):
            if hasattr(route, "original_router"):
                self._watch(route.original_router)
        for group in self._list(router, "_low_priority_routes"):
            self._list(group, "routes")

    def _place(self, route: Any, prefix: str, inside: Sequence[object], *originals: object) -> Iterator[Place]:
        routing = sys.modules["starlette.routing"]
        path = prefix + getattr(route, "path", "")
        if isinstance(route, routing.Mount | routing.Host):
            inner = next(
                (found for found, _ in wrapped(route.app, _is_router) if _leads_on(found, route, inside)), None
            )
            holders = (*originals, route, route.app)
            yield Place(holders, path, None, open_ended=True, branch=inner is not None)
            if inner is not None:
                yield from self._places(getattr(inner, "router", inner), path, inside)
        elif not isinstance(route, routing.WebSocketRoute) and isinstance(getattr(route, "path", None), str):
            holders = (*originals, route, getattr(route, "endpoint", route))
            yield Place(holders, path, getattr(route, "methods", None))

    def _frontends(self, group: Any, prefix: str) -> Iterator[Place]:
        for route in self._list(group, "routes"):
            yield Place((), (prefix + route.path).rstrip("/"), route.methods, open_ended=True)

    def _list(self, owner: Any, name: str) -> list[Any]:
        found = list(getattr(owner, name, ()))
        if hasattr(owner, name):
            self.lengths.append((owner, name, len(found)))
        return found


def _is_router(found: object) -> bool:
    routing, applications = sys.modules.get("starlette.routing"), sys.modules.get("starlette.applications")
    kinds = (getattr(routing, "Router", ()), getattr(applications, "Starlette", ()))
    return any(isinstance(kind, type) and issubclass(type(found), kind) for kind in kinds)


def _leads_on(found: Any, mount: Any, inside: Sequence[object]) -> bool:
    """Tell whether a mount serves an app that it holds, and does not only know the app around it."""
    return found is mount.app or not any(getattr(found, "router", found) is outer for outer in inside)


def _pattern(place: Place) -> re.Pattern[str]:
    """Return the regular expression of a path such as `/items/{id:int}`."""
    convertors = sys.modules["starlette.convertors"].CONVERTOR_TYPES
    pieces = re.split(r"{([^}]*)}", place.path)
    for n in range(1, len(pieces), 2):
        convertor = convertors.get(pieces[n].partition(":")[2] or "str")
        pieces[n] = f"(?:{convertor.regex if convertor else '.*'})"
    pieces[::2] = map(re.escape, pieces[::2])
    return re.compile("".join(pieces) + ("(?:/.*)?" if place.open_ended else ""), re.DOTALL)
