"""Falcon (3.0.1 and later), by WSGI and ASGI: the template of the resource, as it was added.

A middleware of ours is added to each app, by Falcon's own interface: once a resource is found it leaves the template in
the environ or scope. The handler of exceptions that Falcon has by default, which answers 500, is wrapped, so that these
are named. A sink or a directory of static files is `<its prefix>/*`.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Final

from .marked import marks_of
from .reader import WEBSOCKET, Declare, Marked, Marks, Raised, Report, Source
from .regex import readable
from .wrapped import of_class, wrapped

KEY: Final = "red_middleware.falcon.template"

_is_wsgi = of_class("falcon.app", "App")
_is_asgi = of_class("falcon.asgi.app", "App")


class FalconReader:
    """Reads Falcon's template. See `reader.Reader`."""

    module = "falcon.app"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.marked: Marked = report.marked
        self.raised: Raised = report.raised
        self.apps: list[tuple[Any, str]] = []

    def learn(self, app: object, source: Source) -> bool:
        """Declare the templates of the Falcon apps that `app` leads to, and let their requests be noted."""
        self.apps = list(wrapped(app, lambda found: _is_wsgi(found) or _is_asgi(found)))
        for falcon, prefix in self.apps:
            _note(falcon, prefix, self.raised)
        if self.apps:
            self.declare([place for falcon, prefix in self.apps for place in _declared(falcon, prefix)])
            for falcon, prefix in self.apps:
                for place in _marked(falcon, prefix):
                    self.marked(*place)
        return bool(self.apps)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the resource that serves the request."""
        template: str | None = source.get(KEY)
        return self._other(path) if template is None else template

    def _other(self, path: str) -> str | None:
        """Return the sink or the directory that a path leads to, which serves what no resource does."""
        for falcon, prefix in self.apps:
            for matcher, other, is_sink in falcon._sink_and_static_routes:
                if path.startswith(prefix) and matcher.match(path[len(prefix) :]):
                    place = readable(matcher.pattern) if is_sink else other._prefix
                    return f"{prefix}{place.rstrip('/')}/*"
        return None


class _Note:
    """A middleware of Falcon by WSGI."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def process_resource(self, req: Any, resp: Any, resource: Any, params: Any) -> None:
        if req.uri_template is not None:
            req.env[KEY] = self.prefix + req.uri_template


class _AsyncNote:
    """The same by ASGI, for requests and WebSockets."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def process_resource(self, req: Any, resp: Any, resource: Any, params: Any) -> None:
        if req.uri_template is not None:
            req.scope[KEY] = self.prefix + req.uri_template

    async def process_resource_ws(self, req: Any, ws: Any, resource: Any, params: Any) -> None:
        await self.process_resource(req, None, resource, params)


def _note(falcon: Any, prefix: str, raised: Raised) -> None:
    if any(isinstance(known, _Note | _AsyncNote) for known in falcon._unprepared_middleware):
        return
    is_asgi = _is_asgi(falcon)
    falcon.add_middleware(_AsyncNote(prefix) if is_asgi else _Note(prefix))
    handler = falcon._error_handlers.get(Exception)
    if getattr(handler, "__name__", None) != "_python_error_handler":  # the app answers exceptions in its own way
        return

    def tell(req: Any, resp: Any, error: BaseException, params: Any) -> Any:
        raised(req.env, error)
        return handler(req, resp, error, params)

    async def tell_async(req: Any, resp: Any, error: BaseException, params: Any, ws: Any = None) -> None:
        raised(req.scope, error)
        await handler(req, resp, error, params, ws=ws)  # Falcon gives a WebSocket to whose signature has it

    falcon._error_handlers[Exception] = tell_async if is_asgi else tell


def _declared(falcon: Any, prefix: str) -> Iterator[tuple[str, Iterable[str] | None]]:
    """Yield each template with the methods that its resource answers itself."""
    for node in _nodes(falcon):
        yield prefix + node.uri_template, list(_responders(node))


def _marked(falcon: Any, prefix: str) -> Iterator[tuple[str, Iterable[str], Marks]]:
    """Yield each template with each of these methods, and the marks of its resource and responder."""
    for node in _nodes(falcon):
        for method, responder in _responders(node).items():
            yield prefix + node.uri_template, (method,), marks_of(node.resource) | marks_of(responder)


def _nodes(falcon: Any) -> Iterator[Any]:
    nodes = list(getattr(falcon._router, "_roots", ()))
    for node in nodes:  # grows while it is walked
        nodes += node.children
        if node.resource is not None and node.uri_template is not None:
            yield node


def _responders(node: Any) -> dict[str, Any]:
    """Return the responders of a resource by the methods that it answers itself."""
    return {
        WEBSOCKET if name == "WEBSOCKET" else name: responder
        for name, responder in node.method_map.items()
        if not _is_falcons(responder)
    }


def _is_falcons(responder: Any) -> bool:
    """Tell a responder that Falcon made: for OPTIONS, and for what is not allowed."""
    return str(getattr(inspect.unwrap(responder), "__module__", "")).startswith("falcon.")
