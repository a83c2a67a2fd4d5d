"""Starlette (0.35 and later) and FastAPI (0.109 and later): the template of the innermost route, with every mount.

Routers leave the route (Starlette 1.7, FastAPI) or at least the endpoint in the scope, without the prefixes of mounts
and `include_router`. So the routers are walked once, and full templates are kept by the identity of what a scope holds.
Nothing is touched in either framework.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

from .wrapped import wrapped

Scope = MutableMapping[str, Any]


MAX_DEPTH: Final = 32
"""How deep mounts are followed; an app mounted in itself has no end."""


class Place(NamedTuple):
    """Where a route stands: what a scope may hold for it, its full path, its methods.

    A `branch` is a mount with routes of its own: a request that got no further matched no declared route.
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
        self.templates: dict[int, str | None] = {}  # by id, since routes define no hash
        self.several: dict[int, list[tuple[re.Pattern[str], str | None]]] = {}  # what stands in several places
        self.places: list[Place] = []  # holds the objects, so that their ids stay theirs
        self.lengths: list[tuple[Any, int]] = []  # the routers walked, and how many routes they had
        self.misses = 0

    def learn(self, app: object, source: Scope) -> None:
        """Declare the routes of the routers that `app` leads to."""
        router = source.get("router")
        found = [router] if router is not None else [inner for inner, _ in wrapped(app, _is_router)]
        if found:
            self.routers += [getattr(inner, "router", inner) for inner in found]
            self._walk()

    def route(self, source: Scope, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the route that the routers chose."""
        found = source.get("route")
        if found is None and "endpoint" not in source:
            return None
        try:
            return self.templates[id(found)]
        except KeyError:
            return self._look_further(source)

    def _look_further(self, scope: Scope) -> str | None:
        """Answer where the scope holds no route, or one that stands in several places, or one added since."""
        router = scope.get("router")
        holders = [scope[key] for key in ("route", "endpoint") if scope.get(key) is not None]
        if router is None or not holders:
            return None
        if not any(router is known for known in self.routers):
            self.routers.append(router)
            self._walk()
        elif any(len(walked.routes) != length for walked, length in self.lengths):
            self._walk()
        for holder in holders:
            if id(holder) in self.templates:
                return self.templates[id(holder)]
            if id(holder) in self.several:
                return _best(self.several[id(holder)], scope)
        self.misses += 1
        if self.misses & (self.misses - 1) == 0:  # routes were exchanged one for one; ever more rarely looked for
            self._walk()
        path = getattr(holders[0], "path", None)
        return path if isinstance(path, str) else None

    def _walk(self) -> None:
        self.lengths = []
        places = [place for router in self.routers for place in self._places(router, "", 0)]
        by_holder: dict[int, list[Place]] = {}
        for place in places:
            for holder in place.holders:
                by_holder.setdefault(id(holder), []).append(place)
        templates: dict[int, str | None] = {}
        several = {}
        for holder_id, found in by_holder.items():
            if len({place.template for place in found}) == 1:
                templates[holder_id] = found[0].template
            else:
                several[holder_id] = [(_pattern(place), place.template) for place in found]
        self.places, self.templates, self.several = places, templates, several
        self.declare([(place.template, place.methods) for place in places if place.template is not None])

    def _places(self, router: Any, prefix: str, depth: int) -> Iterator[Place]:
        routes = list(getattr(router, "routes", ()))
        self.lengths.append((router, len(routes)))
        for route in routes if depth < MAX_DEPTH else ():
            if not hasattr(route, "effective_route_contexts"):
                yield from self._place(route, prefix, depth)
                continue
            self.lengths.append((route.original_router, len(route.original_router.routes)))
            for context in route.effective_route_contexts():  # FastAPI >= 0.137: what include_router made of a route
                original = context.original_route
                if context.starlette_route is not None:
                    yield from self._place(context.starlette_route, prefix, depth, original)
                elif hasattr(original, "endpoint"):
                    yield Place((original, original.endpoint), prefix + context.path, context.methods)

    def _place(self, route: Any, prefix: str, depth: int, *originals: object) -> Iterator[Place]:
        routing = sys.modules["starlette.routing"]
        path = prefix + getattr(route, "path", "")
        if isinstance(route, routing.Mount | routing.Host):
            inner = next((found for found, _ in wrapped(route.app, _is_router)), None)
            holders = (*originals, route, route.app)
            yield Place(holders, path, None, open_ended=True, branch=inner is not None)
            if inner is not None:
                yield from self._places(inner, path, depth + 1)
        elif hasattr(route, "endpoint") and not isinstance(route, routing.WebSocketRoute):
            yield Place((*originals, route, route.endpoint), path, getattr(route, "methods", None))


def _is_router(found: object) -> bool:
    routing, applications = sys.modules.get("starlette.routing"), sys.modules.get("starlette.applications")
    kinds = (getattr(routing, "Router", ()), getattr(applications, "Starlette", ()))
    return isinstance(found, kinds)


def _best(candidates: Sequence[tuple[re.Pattern[str], str | None]], scope: Scope) -> str | None:
    """Return the template of the first of a few candidates that the request's path matches."""
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
        path = path[len(root) :]
    return next((template for pattern, template in candidates if pattern.fullmatch(path)), candidates[0][1])


def _pattern(place: Place) -> re.Pattern[str]:
    """Return the regular expression of a path such as `/items/{id:int}`."""
    convertors = sys.modules["starlette.convertors"].CONVERTOR_TYPES
    pieces = re.split(r"{([^}]*)}", place.path)
    for n in range(1, len(pieces), 2):
        convertor = convertors.get(pieces[n].partition(":")[2] or "str")
        pieces[n] = f"(?:{convertor.regex if convertor else '.*'})"
    pieces[::2] = map(re.escape, pieces[::2])
    return re.compile("".join(pieces) + ("(?:/.*)?" if place.open_ended else ""), re.DOTALL)
