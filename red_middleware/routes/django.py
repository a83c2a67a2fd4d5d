"""Django (4.2 and later, WSGI and ASGI): the pattern that matched, with those of the includes around it.

Django's handler starts the response itself, so one of the frames above holds its request; where an exception left the
app, its traceback does. One receiver of the signal `got_request_exception`, connected once a process, names the
exceptions that Django answers with a 500 itself.

Django joins the texts of patterns, and no longer tells which part was a regular expression. The walk over all patterns
does: it says how each joined text reads. A text that it has not seen (a pattern in another language, an URLconf of one
request) is read as a regular expression where it looks like one.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from .marked import views_of
from .reader import Declare, Marked, Marks, Raised, Report, Source
from .regex import readable
from .stack import above, below
from .wrapped import closed_over, of_class, wrapped

HANDLERS: Final = frozenset({"django.core.handlers.wsgi", "django.core.handlers.asgi"})
"""By name: instrumentations replace their methods."""

MAX_UNSEEN: Final = 1000
"""How many texts are remembered that the walk has not seen, with the marks of their views."""

_is_handler = of_class("django.core.handlers.base", "BaseHandler")
_is_static = of_class("django.contrib.staticfiles.handlers", "StaticFilesHandlerMixin")
_is_language = of_class("django.urls.resolvers", "LocalePrefixPattern")
_is_regex = of_class("django.urls.resolvers", "RegexPattern")

Patterns = Iterator[tuple[str, str, Callable[..., Any]]]
"""The text that Django joins, the template, and the view."""


class DjangoReader:
    """Reads Django's route. See `reader.Reader`."""

    module = "django.core.handlers.base"

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.raised: Raised = report.raised
        self.marked: Marked = report.marked
        self.templates: dict[str, str] = {}  # by the text that Django joins
        self.unseen: dict[str, str] = {}  # the same, of those that the walk has not seen
        self.mounts: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # of each handler
        self.is_mounted: bool = False  # whether one is elsewhere than at the root
        self.has_walked: bool = False

    def learn(self, app: object, source: Source) -> bool:
        """Declare all patterns if `app` leads to a handler of Django. It imports the URLconf, as a request would."""
        places = list(wrapped(app, _is_handler))
        for handler, mount in places:
            self.mounts.setdefault(handler, set()).add(mount)
            self.is_mounted = self.is_mounted or mount != ""
        if places:
            self._walk({mount for _, mount in places})
        return bool(places)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template of the pattern that matched, with its mount."""
        frame: Any = sys._getframe(2)  # mostly the handler's
        if frame.f_code.co_name == "send_response":  # which the handler of ASGI calls
            frame = frame.f_back
        variables = _serving((frame,)) or _serving(above(frame)) or _serving(below(error or sys.exc_info()[1]))
        match = getattr(variables.get("request"), "resolver_match", None)
        text = getattr(match, "route", None)
        if text is None:
            handler: Any = variables.get("self")
            return f"{handler.base_url.path}*" if _is_static(handler) else None
        template = self.templates.get(text) or self._template(text, match)
        if not self.is_mounted:
            return template
        mounts = self.mounts.get(variables["self"], ())
        return max((mount for mount in mounts if path.startswith(f"{mount}/")), key=len, default="") + template

    def _walk(self, mounts: Iterable[str]) -> None:
        """Declare all patterns, under each mount."""
        _watch_exceptions(self.raised)
        declared: list[tuple[str, Iterable[str] | None]] = []
        marked: list[tuple[str, Iterable[str] | None, Marks]] = []
        for text, template, view in _patterns(sys.modules["django.urls"].get_resolver().url_patterns):
            self.templates[text] = template
            methods = _methods(view)
            declared += [(mount + template, methods) for mount in mounts]
            marked += [(mount + template, *one) for mount in mounts for one in _views(view, methods)]
        self.has_walked = True  # not before: another thread would take all texts for unseen
        self.declare(declared)
        for one in marked:
            self.marked(*one)

    def _template(self, text: str, match: Any) -> str:
        """Return how a text reads that is not known yet. It is not declared: a request may have chosen its language."""
        if not self.has_walked:  # the app was found by a request, or had no URLconf that could be read before
            try:
                self._walk([""])
            finally:  # else an app that has none but those of its requests would be walked by each of them
                self.has_walked = True
            if text in self.templates:
                return self.templates[text]
        template = self.unseen.get(text)
        if template is None:
            looks_like_regex = any(sign in text for sign in ("^", "$", "\\", "(?"))
            template = "/" + (readable(text) if looks_like_regex else text)
            if len(self.unseen) < MAX_UNSEEN:  # else an app that makes patterns for each request would fill the memory
                self.unseen[text] = template
                for methods, marks in _views(match.func, _methods(match.func)):
                    for mount in {mount for mounts in self.mounts.values() for mount in mounts} or {""}:
                        self.marked(mount + template, methods, marks)
        return template


def _serving(frames: Iterable[FrameType]) -> Mapping[str, Any]:
    """Return the variables of the frame in which a handler has its request: `request`, and `self`, the handler."""
    for frame in frames:
        if frame.f_globals.get("__name__") in HANDLERS:
            variables = frame.f_locals  # once: up to Python 3.12 the frame makes a dictionary of them each time
            if "request" in variables:
                return variables
    return {}


def _patterns(patterns: Iterable[Any], text: str = "", template: str = "/", within: tuple[Any, ...] = ()) -> Patterns:
    """Yield what the views below some patterns are called. An URLconf that includes itself is entered once."""
    for found in patterns:
        if found in within:
            continue
        for added, read in _readings(found.pattern):
            joined = text + (added[1:] if text and added.startswith("^") else added)
            if hasattr(found, "url_patterns"):
                yield from _patterns(found.url_patterns, joined, template + read, (*within, found))
            else:
                yield joined, template + read, found.callback


def _readings(pattern: Any) -> list[tuple[str, str]]:
    """Return the texts of one pattern, each with how it reads: several where the language of the request is in it."""
    if not _is_language(pattern):
        return [(str(pattern), reading(pattern))]
    settings = sys.modules["django.conf"].settings
    readings = [(f"{language}/", "<language>/") for language, _ in settings.LANGUAGES]
    return readings if pattern.prefix_default_language else [*readings, ("", "")]


def reading(pattern: Any) -> str:
    """Return how a pattern reads. One of a regular expression is made readable."""
    return readable(str(pattern)) if _is_regex(pattern) else str(pattern)


def _methods(view: Any) -> list[str] | None:
    """Return the methods that a view takes, `None` where that cannot be told for certain."""
    actions = getattr(view, "actions", None)  # of a viewset of Django REST framework
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if isinstance(kind, type) and _dispatches_by_name(kind):
        names = [name for name in kind.http_method_names if hasattr(kind, name) or name in (actions or ())]  # type: ignore[attr-defined]  # it is a View
        if isinstance(actions, dict):
            names = [name for name in names if name in (*actions, "options")]
        return [name.upper() for name in names] + (["HEAD"] if "get" in names else [])
    while view is not None:
        function = getattr(view, "__func__", view)
        held: dict[str, Any] = closed_over(function) if isinstance(function, FunctionType) else {}
        if "request_method_list" in held:  # of `require_http_methods`
            return [str(method) for method in held["request_method_list"]]
        for value in (*held.values(), getattr(view, "__self__", None)):  # the view of a path in django-ninja
            operations = getattr(value, "operations", None)
            if isinstance(operations, list) and all(hasattr(operation, "methods") for operation in operations):
                return [method for operation in operations for method in operation.methods]
        view = getattr(view, "__wrapped__", None)
    return None


def _views(view: Any, methods: list[str] | None) -> Iterator[tuple[Iterable[str] | None, Marks]]:
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return views_of(methods, view, kind, getattr(view, "actions", None))


def _dispatches_by_name(kind: type) -> bool:
    """Tell whether a class of views answers each method by its method of that name, and all others with a 405."""
    dispatch = getattr(kind, "dispatch", None)
    return hasattr(kind, "http_method_names") and getattr(dispatch, "__module__", "").startswith(
        ("django.", "rest_framework.")
    )


@functools.cache  # it is connected once for each whom it tells
def _watch_exceptions(raised: Raised) -> None:

    def tell(sender: Any, request: Any = None, **extra: Any) -> None:
        error = sys.exc_info()[1]
        source = getattr(request, "environ", None) or getattr(request, "scope", None)
        if error is not None and source is not None:  # else somebody else sent the signal
            raised(source, error)

    sys.modules["django.core.signals"].got_request_exception.connect(tell, weak=False)
