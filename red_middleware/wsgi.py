"""RedWSGIMiddleware: when a request is started, answered and finished in WSGI (PEP 3333).

It tells `counting.exchange` so, and answers the metrics endpoint. A request is finished when its body is exhausted or
closed, whichever comes first. Servers close it right after the last byte; test clients often never do.
"""

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any, NoReturn

from .counting.detailed import start_detailed
from .counting.exchange import Exchange, start
from .exclusion import Exclude
from .exposition import Authorize, Endpoint, Request, answer
from .metrics import RedMetrics
from .mounting import Idle, Mounting, Purpose, mounts
from .recorder import Recorder
from .routes import WSGI_READERS, RouteOf
from .settings import EXCLUDE, METRICS_PATH, Setting
from .wsgi_bodies import DetailedResponse, start_sized
from .wsgi_response import CALLING, Body, Environ, FileWrapper, OpenResponse, StartResponse

WSGIApp = Callable[[Any, Any], Iterable[bytes]]  # users' annotations differ: wsgiref's, Flask's, their own


class RedWSGIMiddleware:
    """Count every request of a WSGI application into per-route RED metrics, and answer `/metrics`.

    With `RED_ENABLED=false` in the environment it only passes requests on.

    Args:
        app: The WSGI application.
        metrics: The numbers that this mounting feeds; by default one `RedMetrics()` shared by the process.
        metrics_path: Where the endpoint answers, with or without a slash at its end, relative to `SCRIPT_NAME`; `None`:
            nowhere. An application that has this route itself when the first request arrives keeps it. By default the
            environment variable `RED_METRICS_PATH`, else `/metrics`.
        authorize: Who may read the endpoint: a `BearerToken`, `BasicCredentials`, or a plain function, called with the
            environ, which returns `True` for those who may. `None`: everybody.
        exclude: Requests that are not recorded, health checks and the like: a collection of paths as plain text
            (`/healthz`), relative to `SCRIPT_NAME`, of prefixes (`/static/*`), and of route templates as they are
            declared (`/items/{id}`). Each may stand behind one method (`OPTIONS /*`). A plain function, called with the
            environ, may be among them or in place of them. Exact paths cost a request nothing. By default the
            environment variable `RED_EXCLUDE`, separated by commas, else none.
        exclude_sizes: Requests whose sizes are not counted, which matters with `RedMetrics(sizes=True)` only: paths,
            prefixes and templates as in `exclude`, and no functions. The decorators `uncounted` and `unsized` say the
            same of views, where they are written.
        routes: Templates of an application without a router that is known here: `/users/<id>`, `/v1/{name}.json`, and
            with a parameter for several segments `/files/<path:name>`. Each may stand behind one method
            (`GET /users/<id>`). They are relative like `exclude`, and matched with the path where no framework's reader
            knows the route.
        route_of: A plain function, called with the environ when the response begins; its answer is the route, `None`
            leaves the question to the readers of frameworks. The series that it makes are bounded by
            `max_label_sets`.

    Raises:
        TypeError: An option is of the wrong type or does not exist, or the application is of ASGI.
        ValueError: A path is none that a request could have, or the registry is taken, see `RedMetrics`.
    """

    @mounts
    def __init__(
        self,
        app: WSGIApp,
        *,
        metrics: RedMetrics | None = None,
        metrics_path: str | Setting[str | None] | None = METRICS_PATH,
        authorize: Authorize | None = None,
        exclude: Exclude | Setting[Exclude] = EXCLUDE,
        exclude_sizes: Collection[str] = (),
        routes: Collection[str] = (),
        route_of: RouteOf | None = None,
    ) -> None:
        self.app = app
        self.mounting: Mounting | Idle = Mounting(
            type(self).__name__, app, metrics, metrics_path, authorize, exclude, exclude_sizes, routes, route_of,
            WSGI_READERS, ("environ", "start_response"),
            lambda path: path.encode("utf-8", "surrogatepass").decode("latin-1"),  # as PEP 3333 spells PATH_INFO
        )  # fmt: skip
        self.metrics: RedMetrics = self.mounting.metrics
        self.recorder: Recorder = self.mounting.recorder
        options = self.recorder.options
        begin: Callable[..., Exchange | None] = start_detailed if options.asks_details() else start
        self.response_class: type[OpenResponse] = OpenResponse
        if options.sizes:
            begin = start_sized
        if options.sizes or options.first_byte:
            self.response_class = DetailedResponse
        self.start: Callable[..., Exchange | None] = self.mounting.starting(begin)
        self.file_class: type | None = None
        """The server's `wsgi.file_wrapper`, where it is a class: servers know their files by it."""
        self.plain_body: tuple[type | None, type | None] = None, None
        """The class of the last body without a length, and the `file_class` that it is none of.

        Most bodies of an app are of one class. Remembering it saves an eighth of what the middleware costs.
        """

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        except KeyError:  # PEP 3333: a server may leave out an empty value
            path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD")
        mounting = self.mounting
        if path in mounting.special:
            purpose = mounting.purpose(path, environ, method)
            if purpose is Purpose.ENDPOINT:
                return answer_metrics(mounting.endpoint, environ, start_response)
            if purpose is Purpose.EXCLUDED:
                return self.app(environ, start_response)
        exchange = self.start(self.recorder, method, environ, path)
        if exchange is None:
            return self.app(environ, start_response)
        response = self.response_class()  # filled here: an __init__ would cost as much as all of this
        response.exchange = exchange
        response.routes = mounting.routes
        response.environ = environ
        response.server_start_response = start_response
        response.sent = 0
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not self.file_class:
            wrapper = self._file_wrapper(environ, wrapper)
        app = self.app
        try:
            body = response.body = app(environ, response.start_response)
        except BaseException as error:
            response.fail(error, CALLING)
            raise
        kind = type(body)
        if kind is list:
            response += body  # the server may look at the list, in place of iterating it
            return response
        plain, beside = self.plain_body
        if kind is plain and wrapper is beside:
            shown = Body()
            shown.response = response
            return shown
        found = response.shown_as(body, wrapper)
        if type(found) is Body and type(wrapper) is not FileWrapper:
            self.plain_body = kind, wrapper
        return found

    def _file_wrapper(self, environ: Environ, wrapper: Any) -> Any:
        """Return how to know a file of the server: by its class, or where a function makes it, by having seen it."""
        if wrapper is None or issubclass(type(wrapper), type):
            self.file_class = wrapper
        else:
            wrapper = environ["wsgi.file_wrapper"] = FileWrapper(wrapper)
        return wrapper

    def __copy__(self) -> "RedWSGIMiddleware":
        return self

    def __deepcopy__(self, memo: object) -> "RedWSGIMiddleware":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedWSGIMiddleware cannot be pickled: its numbers belong to this process")


def answer_metrics(endpoint: Endpoint, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request for the metrics."""
    headers = {
        key[len("HTTP_") :].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    request = Request(environ.get("REQUEST_METHOD", ""), environ.get("QUERY_STRING", ""), headers)
    found = endpoint.refusal(request, environ) or answer(endpoint.metrics, request)
    start_response(f"{found.status} {HTTPStatus(found.status).phrase}", found.headers)
    return [found.body] if found.body else []
