"""Flask (2.3 and later): the rule that matched, with the prefixes of blueprints and of a `DispatcherMiddleware`.

Werkzeug leaves the request in the environ while the app runs. Where an exception left the app before a response, its
traceback still holds the request. One receiver of Flask's signal `got_request_exception`, connected once a process,
names the exceptions that Flask answers with a 500 itself.

A mount counts where its dispatcher is inside of the middleware. From within a mounted app its prefix cannot be told
from what a client sent, and is left out.
"""

import sys
import weakref
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from .wrapped import wrapped

Environ = MutableMapping[str, Any]
Raised = Callable[[Environ, BaseException], None]

MAX_FRAMES = 1000
"""How far a traceback is followed; Python's own limit of recursion."""


class FlaskReader:
    """Reads Flask's route. See `routes.Reader`."""

    def __init__(self, declare: Callable[[Iterable[tuple[str, Iterable[str] | None]]], None], raised: Raised) -> None:
        self.declare = declare
        self.raised = raised
        self.known_map: object = None
        self.plain_map: object = None  # the same, unless there are mounts
        # Weak, since an app may be made for a tenant or a request. Dead ones leave, so that an id stays its own.
        self.maps: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()
        self.mounts: set[str] = set()
        self.foreign_mounts: set[str] = set()

    def learn(self, app: object, source: Environ) -> None:
        """Declare the rules of the Flask apps that `app` leads to, and the mounts around them."""
        prefixes = set()
        places = list(wrapped(app, _is_app_or_dispatcher))
        if not any(_is_flask(found) for found, _ in places):  # a dispatcher alone may lead to functions
            places = list(wrapped(app, _is_app_or_dispatcher, by_name=True))
        for found, prefix in places:
            if _is_flask(found):
                prefixes.add(prefix)
                self._learn_map(found.url_map, prefix)  # type: ignore[attr-defined]  # _is_flask
            else:
                self.mounts |= {prefix + mount for mount in found.mounts}  # type: ignore[attr-defined]  # a dispatcher
        inner = prefixes | self.mounts
        self.foreign_mounts = {
            m for m in self.mounts if m not in prefixes and not any(p.startswith(m + "/") for p in inner)
        }
        if self.mounts:
            self.plain_map = None
        self.declare([(mount, None) for mount in self.foreign_mounts])

    def route(self, source: Environ, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that serves the request, with its mount."""
        request: Any = source.get("werkzeug.request")
        if request is not None:
            try:
                rule = request.url_rule
                if rule.map is self.plain_map:
                    return rule.rule  # type: ignore[no-any-return]  # a string, by Werkzeug's annotation
            except AttributeError:  # no rule, or not Flask's request
                pass
        elif not self.mounts and "flask.app" not in sys.modules:
            return None
        rule = getattr(request, "url_rule", None)
        if rule is None and "flask.app" in sys.modules and getattr(request, "routing_exception", None) is None:
            rule, source = _rule_elsewhere(source, error)  # else it is a 404, 405 or redirect of the router
        mount = self._mount(source, path) if self.mounts else ""
        if rule is None:
            return mount if mount in self.foreign_mounts else None
        if rule.map is not self.known_map or mount:
            self._learn_map(rule.map, mount)
        template: str = rule.rule
        return mount + template if mount else template

    def _mount(self, source: Environ, path: str) -> str:
        """Return the declared mount that the path lost on its way in. `SCRIPT_NAME` alone may come from a client."""
        rest = source.get("PATH_INFO", "")
        mount = path[: len(path) - len(rest)]
        return mount if mount in self.mounts and path == mount + rest else ""

    def _learn_map(self, url_map: Any, prefix: str) -> None:
        self.known_map = url_map
        self.plain_map = None if self.mounts else url_map
        if (id(url_map), prefix) not in self.maps:
            self.maps[id(url_map), prefix] = url_map
            rules = [rule for rule in url_map.iter_rules() if not (rule.build_only or rule.websocket)]
            self.declare([(prefix + rule.rule, rule.methods) for rule in rules])
            _watch_exceptions(self.raised)


def _is_app_or_dispatcher(found: object) -> bool:
    dispatcher = getattr(sys.modules.get("werkzeug.middleware.dispatcher"), "DispatcherMiddleware", ())
    return _is_flask(found) or issubclass(type(found), dispatcher)


def _is_flask(found: object) -> bool:
    # In `flask.app` the class stays itself: instrumentations exchange `flask.Flask`. It may be half imported as yet.
    return issubclass(type(found), getattr(sys.modules.get("flask.app"), "Flask", ()))


def _rule_elsewhere(source: Environ, error: BaseException | None) -> tuple[Any, Environ]:
    """Return the rule where the environ does not hold it, or `None`, and the environ that Flask was called with.

    It is gone once Flask has popped its context, it is hidden where a middleware copied the environ, and it is
    overwritten where the app made a second request object. An exception that a middleware between answers, as
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


def _is_of(request: Any, source: Environ) -> bool:
    """Tell by its input whose request it is: an app may ask another one, and a copied environ still has it."""
    return request.environ.get("wsgi.input") is source.get("wsgi.input")


def _request_of_traceback(error: BaseException) -> Any:
    """Return the request in whose `Flask.wsgi_app` the exception was raised, or `None`."""
    code = sys.modules["flask.app"].Flask.wsgi_app.__code__
    traceback = error.__traceback__
    for _ in range(MAX_FRAMES):
        if traceback is None:
            break
        if traceback.tb_frame.f_code is code and "ctx" in traceback.tb_frame.f_locals:
            return traceback.tb_frame.f_locals["ctx"].request
        traceback = traceback.tb_next
    return None


_watching: set[Raised] = set()


def _watch_exceptions(raised: Raised) -> None:
    if raised not in _watching:
        _watching.add(raised)
        flask = sys.modules["flask"]

        def tell(sender: Any, exception: BaseException, **extra: Any) -> None:
            if flask.has_request_context():  # else somebody else sent the signal
                raised(flask.request.environ, exception)

        flask.got_request_exception.connect(tell, weak=False)
