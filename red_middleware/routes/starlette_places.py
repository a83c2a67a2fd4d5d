"""Which routes stand behind a router of Starlette or FastAPI, and where? The walk of `starlette.py`.

A walk reads routers only, never a request. It knows how mounts, hosts and `include_router` put prefixes before a path.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .reader import WEBSOCKET
from .wrapped import of_class, wrapped

_is_router = of_class("starlette.routing", "Router")
_is_app = of_class("starlette.applications", "Starlette")


@dataclass(eq=False)
class Place:
    """Where a route stands: its full path, and what a scope holds when the route serves a request."""

    holders: tuple[object, ...]
    """The route and its endpoint. FastAPI's frontends have none: they are known by their path alone."""
    path: str
    methods: Iterable[str] | None
    is_open_ended: bool = False
    """Whether it serves every path below its own."""
    is_branch: bool = False
    """Whether it is a mount with routes of its own. A request that got no further matched no declared route."""

    @property
    def template(self) -> str | None:
        """The route's label; that of a mount whose own routes are not known ends in `/*`."""
        if self.is_branch:
            return None
        return f"{self.path}/*" if self.is_open_ended else self.path or "/"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression of a path such as `/items/{id:int}`."""
        convertors = sys.modules["starlette.convertors"].CONVERTOR_TYPES
        pieces = re.split(r"{([^}]*)}", self.path)
        for n in range(1, len(pieces), 2):
            convertor = convertors.get(pieces[n].partition(":")[2] or "str")
            pieces[n] = f"(?:{convertor.regex if convertor else '.*'})"
        pieces[::2] = map(re.escape, pieces[::2])
        return re.compile("".join(pieces) + ("(?:/.*)?" if self.is_open_ended else ""), re.DOTALL)


class Walk:
    """All places behind one router, as they are now."""

    def __init__(self, root: Any) -> None:
        self.reached: list[Any] = []
        """The routers that are mounted in it, at any depth."""
        self.lengths: list[tuple[Any, str, int]] = []
        """The lists that were walked, by owner and name, and how long each was."""
        self.places: list[Place] = list(self._behind(root, "", ()))

    def grew(self) -> bool:
        """Tell whether a router has more routes or fewer by now. It asks all of them: not for every request."""
        return any(len(getattr(owner, name)) != length for owner, name, length in self.lengths)

    def _behind(self, router: Any, prefix: str, around: tuple[object, ...]) -> Iterator[Place]:
        """Yield the places behind a router that is not one of those `around` it: an app may be mounted in itself."""
        if any(router is outer for outer in around):
            return
        if around:
            self.reached.append(router)
        inside = (*around, router)
        for route in self._list(router, "routes"):
            if hasattr(route, "effective_route_contexts"):
                yield from self._included(route, prefix, inside)
            else:
                yield from self._at(route, prefix, inside)
        for group in self._list(router, "_low_priority_routes"):
            yield from self._frontends(group, prefix)

    def _included(self, inclusion: Any, prefix: str, inside: tuple[object, ...]) -> Iterator[Place]:
        """Yield what `include_router` made of the routes of another router (FastAPI >= 0.137)."""
        self._watch(inclusion.original_router)
        for context in inclusion.effective_route_contexts():
            original = context.original_route
            if context.starlette_route is not None:
                yield from self._at(context.starlette_route, prefix, inside, original)
            else:
                yield Place((original, getattr(original, "endpoint", original)), prefix + context.path, context.methods)
        for context in getattr(inclusion, "effective_low_priority_routes", list)():
            yield from self._frontends(context.original_route, prefix + context.frontend_prefix)

    def _watch(self, router: Any) -> None:
        """Notice routes that are added later to an included router, or to one that it includes."""
        for route in self._list(router, "routes"):
            if hasattr(route, "original_router"):
                self._watch(route.original_router)
        for group in self._list(router, "_low_priority_routes"):
            self._list(group, "routes")

    def _at(self, route: Any, prefix: str, inside: tuple[object, ...], *originals: object) -> Iterator[Place]:
        """Yield the place of a route, and those behind it if it is a mount or a host."""
        routing = sys.modules["starlette.routing"]
        path = prefix + getattr(route, "path", "")
        if isinstance(route, routing.Mount | routing.Host):
            inner = next((found for found in routers_behind(route.app) if _serves(route.app, found, inside)), None)
            yield Place((*originals, route, route.app), path, None, is_open_ended=True, is_branch=inner is not None)
            if inner is not None:
                yield from self._behind(inner, path, inside)
        elif isinstance(getattr(route, "path", None), str):
            is_socket = isinstance(route, routing.WebSocketRoute)
            holders = (*originals, route, getattr(route, "endpoint", route))
            yield Place(holders, path, (WEBSOCKET,) if is_socket else getattr(route, "methods", None))

    def _frontends(self, group: Any, prefix: str) -> Iterator[Place]:
        for route in self._list(group, "routes"):
            yield Place((), (prefix + route.path).rstrip("/"), route.methods, is_open_ended=True)

    def _list(self, owner: Any, name: str) -> list[Any]:
        found = list(getattr(owner, name, ()))
        if hasattr(owner, name):
            self.lengths.append((owner, name, len(found)))
        return found


def routers_behind(app: object) -> Iterator[Any]:
    """Yield the routers that an app leads to, nearest first."""
    for found, _ in wrapped(app, _is_router_or_app):
        yield getattr(found, "router", found)


def _is_router_or_app(found: object) -> bool:
    return _is_router(found) or _is_app(found)


def _serves(app: object, router: object, inside: tuple[object, ...]) -> bool:
    """Tell whether an app that leads to a router serves it, and does not only know the app around itself."""
    return _is_router_or_app(app) or not any(router is outer for outer in inside)
