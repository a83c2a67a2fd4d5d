"""Flask (2.3 and later): the rule that matched, with the prefixes of blueprints and of a `DispatcherMiddleware`.

Werkzeug leaves the request in the environ while the app runs. Where an exception left the app before a response, its
traceback still holds the request. One receiver of Flask's signal `got_request_exception`, connected once a process,
names the exceptions that Flask answers with a 500 itself.

A mount counts where its dispatcher is inside of the middleware. From within a mounted app its prefix cannot be told
from what a client sent, and is left out.
"""

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .marked import views_of
from .reader import Declare, Marked, Raised, Report, Source
from .stack import below
from .wrapped import of_class, wrapped

_is_flask = of_class("flask.app", "Flask")  # not from `flask`, where instrumentations exchange the class
_is_dispatcher = of_class("werkzeug.middleware.dispatcher", "DispatcherMiddleware")


class FlaskReader:
    """Reads Flask's route. See `reader.Reader`."""

    module = "werkzeug"  # whose dispatcher may mount what is not Flask

    def __init__(self, report: Report) -> None:
        self.declare: Declare = report.declare
        self.answering: Raised = report.answering
        self.mounted: Callable[[str, object], None] = report.mounted
        self.marked: Marked = report.marked
        self.asks_for_socket: Callable[[Source], None] = report.asks_for_socket
        self.known_map: object = None
        self.plain_map: object = None  # the same, unless there are mounts, or routes of WebSockets
        # Weak, since an app may be made for a tenant or a request. Maps that are gone leave, so no id is reused.
        self.maps: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()
        self.maps_with_sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        self.mounts: set[str] = set()
        self.foreign_mounts: set[str] = set()

    def learn(self, app: object, source: Source) -> bool:
        """Declare the rules of the Flask apps that `app` leads to, and the mounts around them."""
        places = list(wrapped(app, lambda found: _is_flask(found) or _is_dispatcher(found)))
        flasks: list[tuple[Any, str]] = [(found, prefix) for found, prefix in places if _is_flask(found)]
        dispatchers: list[tuple[Any, str]] = [(found, prefix) for found, prefix in places if not _is_flask(found)]
        self.mounts |= {prefix + mount for found, prefix in dispatchers for mount in found.mounts}
        prefixes = {prefix for _, prefix in flasks}
        inner = prefixes | self.mounts
        self.foreign_mounts = {
            m for m in self.mounts if m not in prefixes and not any(p.startswith(m + "/") for p in inner)
        }
        if places:
            rules = [rule for found, prefix in flasks for rule in self._learn_map(found.url_map, prefix)]
            self.declare([*rules, *((f"{mount}/*", None) for mount in self.foreign_mounts)])
        for found, prefix in flasks:
            self._tell_marks(found, prefix)
        for found, prefix in dispatchers:
            for mount, mounted in found.mounts.items():
                if prefix + mount in self.foreign_mounts:
                    self.mounted(f"{prefix}{mount}/*", mounted)
        return bool(flasks)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that serves the request, with its mount."""
        request: Any = source.get("werkzeug.request")
        rule: Any = None
        if request is not None:
            rule = getattr(request, "url_rule", None)  # Werkzeug's own request has none
            if rule is not None and rule.map is self.plain_map:
                return rule.rule  # type: ignore[no-any-return]  # a string, by Werkzeug's annotation
        elif not self.mounts and "flask.app" not in sys.modules:
            return None
        if rule is None and "flask.app" in sys.modules and getattr(request, "routing_exception", None) is None:
            rule, source = _rule_elsewhere(source, error)  # else it is a 404, a 405 or a redirect of the router
        mount = self._mount(source, path) if self.mounts else ""
        if rule is None:
            return f"{mount}/*" if mount in self.foreign_mounts else None
        if rule.map is not self.known_map or mount:
            rules = self._learn_map(rule.map, mount)
            if rules:
                self.declare(rules)
                for app in _serving(error):
                    if app.url_map is rule.map:
                        self._tell_marks(app, mount)
        if rule.websocket:  # Werkzeug's own server is given a response when the session is over
            self.asks_for_socket(source)
        template: str = rule.rule
        return mount + template if mount else template

    def _mount(self, source: Source, path: str) -> str:
        """Return the declared mount that the path lost on its way in. `SCRIPT_NAME` alone may come from a client."""
        rest = source.get("PATH_INFO", "")
        mount = path[: len(path) - len(rest)]
        return mount if mount in self.mounts and path == mount + rest else ""

    def _learn_map(self, url_map: Any, prefix: str) -> list[tuple[str, Iterable[str] | None]]:
        """Return the templates of a map that has not been seen under this prefix."""
        is_new = (id(url_map), prefix) not in self.maps
        if is_new and any(rule.websocket for rule in url_map.iter_rules()):
            self.maps_with_sockets.add(url_map)
        self.known_map = url_map
        self.plain_map = None if self.mounts or url_map in self.maps_with_sockets else url_map
        if not is_new:
            return []
        self.maps[id(url_map), prefix] = url_map
        _watch_exceptions(self.answering)
        rules = [rule for rule in url_map.iter_rules() if not (rule.build_only or rule.websocket)]
        return [(prefix + rule.rule, rule.methods) for rule in rules]

    def _tell_marks(self, app: Any, prefix: str) -> None:
        for rule in app.url_map.iter_rules():
            view = app.view_functions.get(rule.endpoint)
            methods = ("GET",) if rule.websocket else rule.methods  # such a session begins as a request
            for answered, marks in views_of(methods, view, getattr(view, "view_class", None)):
                self.marked(prefix + rule.rule, answered, marks)


def _rule_elsewhere(source: Source, error: BaseException | None) -> tuple[Any, Source]:
    """Return the rule where the environ does not hold it, or `None`, and the environ that Flask was called with.

    The environ loses the rule once Flask has popped its context. A middleware that copies the environ hides it, and a
    second request object that the app makes overwrites it. An exception that a middleware between answers, as
    Werkzeug's debugger does, is being handled while that response begins.
    """
    flask: Any = sys.modules.get("flask")
    if not hasattr(flask, "has_request_context"):  # another thread is about to import it
        return None, source
    if error is None:
        if flask.has_request_context() and _is_of(flask.request, source):
            return flask.request.url_rule, flask.request.environ
        error = sys.exc_info()[1]
    if error is not None:
        request = _request_of_traceback(error)
        if request is not None and _is_of(request, source):
            return request.url_rule, request.environ
    return None, source


def _is_of(request: Any, source: Source) -> bool:
    """Tell by the input whose request it is: an app may ask another one, and a copied environ has the same input.

    It is compared as equal, since something may stand for it that counts what is read.
    """
    return bool(request.environ.get("wsgi.input") == source.get("wsgi.input"))


def _serving(error: BaseException | None) -> Iterator[Any]:
    """Yield the Flask apps that serve the request at hand, or that the exception left."""
    flask = sys.modules["flask"]
    if flask.has_app_context():
        yield flask.current_app
    code = sys.modules["flask.app"].Flask.wsgi_app.__code__
    yield from (frame.f_locals["self"] for frame in below(error or sys.exc_info()[1]) if frame.f_code is code)


def _request_of_traceback(error: BaseException) -> Any:
    """Return the request in whose `Flask.wsgi_app` the exception was raised, or `None`."""
    code = sys.modules["flask.app"].Flask.wsgi_app.__code__
    for frame in below(error):
        if frame.f_code is code and "ctx" in frame.f_locals:
            return frame.f_locals["ctx"].request
    return None


def _is_answer(error: BaseException) -> bool:
    """Tell whether an exception is only a way to answer: Flask-RESTful sends the signal for `abort(404)` as well.

    Flask itself sends it only for what becomes a 500, which is an HTTP exception where the app traps those.
    """
    if not isinstance(error, sys.modules["werkzeug.exceptions"].HTTPException):
        return False
    if sys.modules["flask"].current_app.trap_http_exception(error):
        return False
    code = error.code if error.response is None else error.response.status_code
    return code is None or code < 500


@functools.cache  # it is connected once for each whom it tells
def _watch_exceptions(answering: Raised) -> None:
    flask = sys.modules["flask"]

    def tell(sender: Any, exception: BaseException, **extra: Any) -> None:
        if flask.has_request_context() and not _is_answer(exception):  # else somebody else sent the signal
            answering(flask.request.environ, exception)

    flask.got_request_exception.connect(tell, weak=False)
