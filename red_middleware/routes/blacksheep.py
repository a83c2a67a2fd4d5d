"""BlackSheep (2.0.8 and later): the pattern that matched, with the prefixes of mounts.

BlackSheep leaves nothing in the scope, so its router is asked once more, which is a look-up that it keeps itself. The
method `log_unhandled_exc` of each app is replaced, so that the exceptions that BlackSheep answers with a 500 are named.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .reader import WEBSOCKET, Declare, Raised, Report, Source
from .wrapped import of_class, wrapped

_is_blacksheep = of_class("blacksheep.server.application", "Application")

GET_WS = b"GET_WS"
"""What BlackSheep calls the method of a WebSocket."""


class BlackSheepReader:
    """Reads BlackSheep's route. See `reader.Reader`."""

    module = "blacksheep.server.application"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.mounted: Callable[[str, object], None] = report.mounted
        self.raised: Raised = report.raised
        self.apps: list[Any] = []
        self.has_started: bool = False  # routes of controllers are known only then

    def learn(self, app: object, source: Source) -> bool:
        """Declare the routes of the BlackSheep apps that `app` leads to."""
        self.apps = [found for found, _ in wrapped(app, _is_blacksheep)]
        for blacksheep in self.apps:
            _watch(blacksheep, self.raised)
        self._walk()
        return bool(self.apps)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the pattern that serves the request."""
        if not self.has_started and any(app.started for app in self.apps):
            self.has_started = True
            self._walk()
        method, asked = (str(text).encode("utf-8", "replace") for text in (source.get("method", ""), path))
        if source.get("type") == "websocket":
            method = GET_WS
        return next(filter(None, (_match(app, method, asked.decode()) for app in self.apps)), None)

    def _walk(self) -> None:
        if self.apps:
            self.declare([place for app in self.apps for place in self._declared(app, "")])

    def _declared(self, app: Any, prefix: str) -> Iterator[tuple[str, Iterable[str] | None]]:
        for method, routes in list(app.router.routes.items()):
            for route in routes:
                yield prefix + route.pattern.decode(), (WEBSOCKET,) if method == GET_WS else (method.decode(),)
        for mount, inner in _mounts(app):
            if _is_blacksheep(inner):
                yield from self._declared(inner, prefix + mount)
            else:
                yield f"{prefix}{mount}/*", None
                self.mounted(f"{prefix}{mount}/*", inner)


def _mounts(app: Any) -> Iterator[tuple[str, Any]]:
    """Yield the mounts of an app: their prefix, and what is mounted."""
    for mount in app.mount_registry.mounted_apps:
        yield mount.pattern.decode().removesuffix("/*"), mount.handler


def _match(app: Any, method: bytes, path: str) -> str | None:
    """Return the pattern that a router finds, whole."""
    for prefix, inner in _mounts(app):
        if path == prefix or path.startswith(f"{prefix}/"):
            rest = path[len(prefix) :]
            if _is_blacksheep(inner):
                found = _match(inner, method, rest) if rest else None  # else it is redirected
                return None if found is None else prefix + found
            return f"{prefix}/*"
    found = app.router.get_match_by_method_and_path(method, path)
    pattern = None if found is None else found.pattern.decode()
    return None if pattern in (None, "*") else pattern


def _watch(app: Any, raised: Raised) -> None:
    for _, inner in _mounts(app):
        if _is_blacksheep(inner):
            _watch(inner, raised)
    log = app.log_unhandled_exc
    if hasattr(log, "tells"):
        return

    async def tell(request: Any, error: BaseException) -> None:
        if request.scope is not None:
            raised(request.scope, error)
        await log(request, error)

    tell.tells = True  # type: ignore[attr-defined]  # so that it is done once
    app.log_unhandled_exc = tell
