"""Django Channels (4.0 and later): the patterns of the `URLRouter`s that match the path, joined.

Channels leaves in the scope what a pattern took from the path, and not which pattern that was. So its patterns are
asked once more, which costs as much as the router's own look-up. This happens once for each handshake. What Django
serves behind a `ProtocolTypeRouter` is Django's.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .django import reading
from .reader import WEBSOCKET, Declare, Report, Source
from .wrapped import of_class, wrapped

_is_router = of_class("channels.routing", "URLRouter")
_is_protocol_router = of_class("channels.routing", "ProtocolTypeRouter")


class Place(NamedTuple):
    """A route of a router."""

    pattern: Any
    template: str
    inner: "list[Place] | None"
    """Those of the router that it leads to, if any."""


class ChannelsReader:
    """Reads the routes of Channels. See `reader.Reader`."""

    module = "channels.routing"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.places: dict[str, list[Place]] = {}
        """By the type of the scopes that they serve."""

    def learn(self, app: object, source: Source) -> bool:
        """Declare the patterns of the routers that `app` leads to."""
        self.places = {}
        for found, _ in wrapped(app, lambda found: _is_router(found) or _is_protocol_router(found)):
            router: Any = found
            apps = router.application_mapping if _is_protocol_router(router) else {"http": router, "websocket": router}
            for kind, inner in apps.items():
                self.places.setdefault(kind, []).extend(_places_behind(inner, "/"))
        methods: dict[str, Iterable[str] | None] = {"http": None, "websocket": (WEBSOCKET,)}
        served = [(template, methods[kind]) for kind in methods for template in _templates(self.places.get(kind, ()))]
        if served:
            self.declare(served)
        return bool(served)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the patterns that match, as the routers ask them."""
        places = self.places.get(source.get("type", ""))
        return _match(places, path.lstrip("/")) if places else None


def _places_behind(app: object, template: str) -> list[Place]:
    """Return the places of the routers that an app leads to, below a template."""
    found: list[Any] = [router for router, _ in wrapped(app, _is_router)]
    places = []
    for route in (route for router in found for route in router.routes):
        whole = template + reading(route.pattern)
        places.append(Place(route.pattern, whole, _places_behind(route.callback, whole) or None))
    return places


def _templates(places: Iterable[Place]) -> Iterator[str]:
    for place in places:
        if place.inner is None:
            yield place.template
        else:
            yield from _templates(place.inner)


def _match(places: Iterable[Place], path: str) -> str | None:
    for place in places:
        found = place.pattern.match(path)
        if found:
            return place.template if place.inner is None else _match(place.inner, found[0].lstrip("/"))
    return None
