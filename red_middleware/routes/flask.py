"""Flask (2.3 and later): the rule that matched, with the prefixes of blueprints and of a `DispatcherMiddleware`.

Werkzeug leaves the request in the environ while the app runs. Where an exception left the app before a response, its
traceback still holds the request. One receiver of Flask's signal `got_request_exception`, connected once a process,
names the exceptions that Flask answers with a 500 itself.
"""

import sys
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
        self.maps: dict[int, object] = {}
        self.mounts: set[str] = set()
        self.foreign_mounts: set[str] = set()

    def learn(self, app: object, source: Environ) -> None:
        """Declare the rules of the Flask apps that `app` leads to, and the mounts around them."""
        prefixes = set()
        for found, prefix in wrapped(app, _is_app_or_dispatcher):
            if _is_flask(found):
                prefixes.add(prefix)
                self._learn_map(found.url_map, prefix)  # type: ignore[attr-defined]  # _is_flask
            else:
                self.mounts |= {prefix + mount for mount in found.mounts}  # type: ignore[attr-defined]  # a dispatcher
        self.foreign_mounts = {mount for mount in self.mounts if not any(p.startswith(mount) for p in prefixes)}
        self.declare([(mount, None) for mount in self.foreign_mounts])

    def route(self, source: Environ, path: str, error: BaseException | None = None) -> str | None:
        """Return the rule that serves the request, with its mount."""
        request = source.get("werkzeug.request")
        if request is not None and hasattr(request, "url_rule"):
            rule = request.url_rule
        elif not self.maps:
            return None
        else:
            rule = _rule_elsewhere(source, error)
        mount = self._mount(source, path) if self.mounts else ""
        if rule is None:
            return mount if mount in self.foreign_mounts else None
        if rule.map is not self.known_map:
            self._learn_map(rule.map, mount)
            self.known_map = rule.map
        template: str = rule.rule
        return mount + template if mount else template

    def _mount(self, source: Environ, path: str) -> str:
        """Return the declared mount that the path lost on its way in. `SCRIPT_NAME` alone may come from a client."""
        rest = source.get("PATH_INFO", "")
        mount = path[: len(path) - len(rest)]
        return mount if mount in self.mounts and path == mount + rest else ""

    def _learn_map(self, url_map: Any, prefix: str) -> None:
        if id(url_map) not in self.maps:
            self.maps[id(url_map)] = url_map  # held, so that the id stays its own
            rules = [rule for rule in url_map.iter_rules() if not (rule.build_only or rule.websocket)]
            self.declare([(prefix + rule.rule, rule.methods) for rule in rules])
            _watch_exceptions(self.raised)


def _is_app_or_dispatcher(found: object) -> bool:
    dispatcher = sys.modules.get("werkzeug.middleware.dispatcher")
    return _is_flask(found) or (dispatcher is not None and isinstance(found, dispatcher.DispatcherMiddleware))


def _is_flask(found: object) -> bool:
    flask = sys.modules.get("flask")
    return flask is not None and isinstance(found, flask.Flask)


def _rule_elsewhere(source: Environ, error: BaseException | None) -> Any:
    """Return the rule where the environ does not hold it, or `None`.

    It is gone once Flask has popped its context, it is hidden where a middleware copied the environ, and it is
    overwritten where the app made a second request object.
    """
    flask = sys.modules.get("flask")
    if flask is None:
        return None
    if error is not None:
        return _rule_of_traceback(error, flask)
    if flask.has_request_context() and flask.request.environ.get("wsgi.input") is source.get("wsgi.input"):
        return flask.request.url_rule
    return None


def _rule_of_traceback(error: BaseException, flask: Any) -> Any:
    """Return the rule of the request in whose `Flask.wsgi_app` the exception was raised, or `None`."""
    traceback = error.__traceback__
    for _ in range(MAX_FRAMES):
        if traceback is None:
            break
        frame = traceback.tb_frame
        if frame.f_code is flask.Flask.wsgi_app.__code__ and "ctx" in frame.f_locals:
            return frame.f_locals["ctx"].request.url_rule
        traceback = traceback.tb_next
    return None


_watching: set[Raised] = set()


def _watch_exceptions(raised: Raised) -> None:
    if raised not in _watching:
        _watching.add(raised)

        def tell(sender: Any, exception: BaseException, **extra: Any) -> None:
            raised(sys.modules["flask"].request.environ, exception)

        sys.modules["flask"].got_request_exception.connect(tell, weak=False)
