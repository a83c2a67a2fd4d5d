"""CherryPy (18.6.1 and later): where the handler hangs in the tree, and the names of its positional arguments.

The request is the thread's own, and nothing is touched to find it. CherryPy has no templates, so the trees are walked:
`index` is `/`, `default` is `/{path}`, and a handler that got segments of the path counts apart from one that got
none. One hook of requests, attached once a process, names the exceptions that CherryPy answers with a 500.
"""

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from .reader import Declare, Raised, Report, Source
from .wrapped import of_class, wrapped

_is_tree = of_class("cherrypy._cptree", "Tree")
_is_application = of_class("cherrypy._cptree", "Application")
_is_by_method = of_class("cherrypy._cpdispatch", "MethodDispatcher")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a `MethodDispatcher` looks for."""

MAX_DEPTH = 20
"""How deep a tree is followed."""


class CherryPyReader:
    """Reads the place of CherryPy's handler. See `reader.Reader`."""

    module = "cherrypy"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.raised: Raised = report.raised
        self.roots: list[tuple[Any, str]] = []
        # By the id of a handler's object, and its name: its place, and that with what it takes of the path.
        self.places: dict[tuple[int, str], tuple[str, str]] = {}
        self.held: list[object] = []  # so that no id is used again
        self.misses: int = 0

    def learn(self, app: object, source: Source) -> bool:
        """Declare the handlers of the CherryPy apps that `app` leads to."""
        places = list(wrapped(app, lambda found: _is_tree(found) or _is_application(found)))
        self.roots = places
        if places:
            _watch_exceptions(self.raised)
            self._walk()
        return bool(places)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the place of the handler that serves the request."""
        serving: Any = getattr(sys.modules.get("cherrypy"), "serving", None)
        request: Any = getattr(serving, "request", None)
        handler: Any = getattr(request, "handler", None)
        if getattr(request, "wsgi_environ", {}).get("wsgi.input") != source.get("wsgi.input"):  # see `flask`
            return None
        while getattr(handler, "oldhandler", None) is not None:  # an encoder, or another tool
            handler = handler.oldhandler
        called = getattr(handler, "callable", None)
        places = self.places.get(_key(called))
        if places is None and called is not None and self.roots:
            self.misses += 1
            if self.misses & (self.misses - 1) == 0:  # an app may make handlers as it goes: look ever more rarely
                self._walk()
                places = self.places.get(_key(called))
        return None if places is None else places[bool(getattr(handler, "args", ()))]

    def _walk(self) -> None:
        declared: list[tuple[str, Iterable[str] | None]] = []
        for found, prefix in self.roots:
            for name, application in _applications(found):
                by_method = _is_by_method(application.config.get("/", {}).get("request.dispatch"))
                for place, called, methods in _handlers(application.root, prefix + name, by_method, MAX_DEPTH, set()):
                    self.held.append(called)
                    self.places[_key(called)] = places = place or "/", (place + _arguments(called)) or "/"
                    declared += [(template, methods) for template in dict.fromkeys(places)]
        self.declare(declared)


def _applications(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield the applications of a tree, each with its place. What else is grafted there may lead to one."""
    if not _is_tree(found):
        yield found.script_name or "", found
        return
    for name, grafted in found.apps.items():
        for application, _ in wrapped(grafted, _is_application):
            yield name, application


def _key(called: Any) -> tuple[int, str]:
    """Return what tells a handler: a bound method is another object each time."""
    return id(getattr(called, "__self__", called)), getattr(called, "__name__", "")


def _handlers(
    holder: Any, prefix: str, by_method: bool, depth: int, around: set[int]
) -> Iterator[tuple[str, Any, Iterable[str] | None]]:
    """Yield the handlers below an object of a tree, each with its place and the methods that it answers, if any say."""
    if holder is None or id(holder) in around or not depth:
        return
    inside = {*around, id(holder)}
    if by_method and inspect.getattr_static(type(holder), "exposed", False):
        for method in METHODS:
            called = getattr(holder, method, None)
            if called is not None:
                yield prefix, called, (method, "HEAD") if method == "GET" else (method,)
    for name in _names(holder):
        member = inspect.getattr_static(holder, name)
        place = prefix if name == "index" else f"{prefix}/{{path}}" if name == "default" else f"{prefix}/{name}"
        if inspect.isfunction(member):
            if getattr(member, "exposed", False) and not by_method:
                yield f"{prefix}/" if name == "index" else place, getattr(holder, name), None
        elif not inspect.isclass(member) and type(member).__module__ != "builtins":
            if callable(member) and getattr(member, "exposed", False) and not by_method:
                yield place, member, None
            yield from _handlers(member, place, by_method, depth - 1, inside)


def _names(holder: Any) -> list[str]:
    """Return the names of an object's attributes that may be segments of a path."""
    found = {name for kind in type(holder).__mro__ if kind is not object for name in vars(kind)}
    with suppress(TypeError):  # it has slots only, as a lock
        found |= vars(holder).keys()
    return sorted(name for name in found if not name.startswith("_"))


def _arguments(called: Any) -> str:
    """Return what a handler takes of the path: as many segments as it names, never as many as a client sends."""
    parameters = inspect.signature(called).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = "".join(f"/{{{parameter.name}}}" for parameter in parameters if parameter.kind in kinds)
    several = "".join(f"/{{{one.name}}}" for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL)
    return "" if getattr(called, "__name__", "") == "default" else named or several


@functools.cache  # it is connected once for each whom it tells
def _watch_exceptions(raised: Raised) -> None:
    cherrypy = sys.modules["cherrypy"]

    def tell() -> None:
        error = sys.exc_info()[1]
        raised(cherrypy.serving.request.wsgi_environ, error)  # type: ignore[arg-type]  # one is being handled

    sys.modules["cherrypy._cprequest"].Request.hooks.attach("before_error_response", tell)
