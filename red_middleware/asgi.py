"""RedASGIMiddleware: when a request is started, answered and finished in ASGI.

It tells `counting.exchange` so, and answers the metrics endpoint. WebSockets are those of `asgi_websocket`, and
everything else passes through untouched.
"""

import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

from .asgi_bodies import FILES, body_bytes
from .asgi_websocket import serve_websocket
from .counting.detailed import DetailedExchange, start_detailed
from .counting.exchange import Exchange, start
from .counting.labels import SERVER_ERROR
from .exclusion import Exclude
from .exposition import Answer, Authorize, Endpoint, Request, answer, ask
from .metrics import RedMetrics
from .mounting import Idle, Mounting, Purpose, mounts
from .recorder import Recorder
from .routes import ASGI_READERS, RouteOf, Routes
from .settings import EXCLUDE, METRICS_PATH, Setting

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]  # users' annotations differ: Starlette's, asgiref's, their own


class RedASGIMiddleware:
    """Count every HTTP request and WebSocket of an ASGI application into per-route RED metrics, and answer `/metrics`.

    With `RED_ENABLED=false` in the environment it only passes requests on.

    Args:
        app: The ASGI application.
        metrics: The numbers that this mounting feeds; by default one `RedMetrics()` shared by the process.
        metrics_path: Where the endpoint answers, with or without a slash at its end, relative to `root_path`; `None`:
            nowhere. An application that has this route itself when the first request arrives keeps it. By default the
            environment variable `RED_METRICS_PATH`, else `/metrics`.
        authorize: Who may read the endpoint: a `BearerToken`, `BasicCredentials`, or a plain function, called with the
            scope, which returns `True` for those who may. `None`: everybody.
        exclude: Requests that are not recorded, health checks and the like: a collection of paths as plain text
            (`/healthz`), relative to `root_path`, of prefixes (`/static/*`), and of route templates as they are
            declared (`/items/{id}`). Each may stand behind one method (`OPTIONS /*`). A plain function, called with the
            scope, may be among them or in place of them. Exact paths cost a request nothing. By default the
            environment variable `RED_EXCLUDE`, separated by commas, else none.
        exclude_sizes: Requests whose sizes are not counted, which matters with `RedMetrics(sizes=True)` only: paths,
            prefixes and templates as in `exclude`, and no functions. The decorators `uncounted` and `unsized` say the
            same of views, where they are written.
        routes: Templates of an application without a router that is known here: `/users/<id>`, `/v1/{name}.json`, and
            with a parameter for several segments `/files/<path:name>`. Each may stand behind one method
            (`GET /users/<id>`). They are relative like `exclude`, and matched with the path where no framework's reader
            knows the route.
        route_of: A plain function, called with the scope when the response begins; its answer is the route, `None`
            leaves the question to the readers of frameworks. The series that it makes are bounded by
            `max_label_sets`.

    Raises:
        TypeError: An option is of the wrong type or does not exist, or the application is of WSGI.
        ValueError: A path is none that a request could have, or the registry is taken, see `RedMetrics`.
    """

    @mounts
    def __init__(
        self,
        app: ASGIApp,
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
            ASGI_READERS, ("scope", "receive", "send"),
        )  # fmt: skip
        self.metrics: RedMetrics = self.mounting.metrics
        self.recorder: Recorder = self.mounting.recorder
        options = self.recorder.options
        begin: Callable[..., Exchange | None] = start_detailed if options.asks_details() else start
        self.call_class: type[_Call] = _DetailedCall if options.sizes or options.first_byte else _Call
        self.start: Callable[..., Exchange | None] = self.mounting.starting(begin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        try:
            kind = scope["type"]
        except Exception:  # no scope at all: the application gets it as it is
            kind = None
        if kind != "http":
            if kind == "websocket":
                path = relative_path(scope.get("path", ""), scope.get("root_path") or "")
                return await serve_websocket(self.app, self.mounting, path, scope, receive, send)
            return await self.app(scope, receive, send)
        try:
            path, method, root = scope["path"], scope["method"], scope["root_path"]
        except KeyError:  # a server may leave out an empty value, and a test any
            path, method, root = scope.get("path", ""), scope.get("method"), scope.get("root_path")
        if root:
            path = relative_path(path, root)
        mounting = self.mounting
        if path in mounting.special:
            purpose = mounting.purpose(path, scope, method)
            if purpose is Purpose.ENDPOINT:
                return await answer_metrics(mounting.endpoint, scope, send)
            if purpose is Purpose.EXCLUDED:
                return await self.app(scope, receive, send)
        exchange = self.start(self.recorder, method, scope, path)
        if exchange is None:
            return await self.app(scope, receive, send)
        call = self.call_class()  # filled here: an __init__ would cost as much as all of this
        call.exchange = exchange
        call.routes = mounting.routes
        call.scope = scope
        call.receive_message = receive
        call.send_message = send
        call.trailers = call.ending = call.left = False
        app = mounting.counted
        try:
            result = await app(scope, call.receive, call.send)
        except BaseException as error:
            call.end(error)
            raise
        if not exchange.finished:
            call.end(None)
        return result  # a server looks at it: an application should return None

    def __copy__(self) -> "RedASGIMiddleware":
        return self

    def __deepcopy__(self, memo: object) -> "RedASGIMiddleware":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedASGIMiddleware cannot be pickled: its numbers belong to this process")


class _Call:
    """One request: the `receive` and `send` that the application gets, and what they saw."""

    __slots__ = ("ending", "exchange", "left", "receive_message", "routes", "scope", "send_message", "trailers")

    exchange: Exchange
    routes: Routes
    scope: Scope
    receive_message: Receive
    send_message: Send
    trailers: bool
    ending: bool
    left: bool

    async def receive(self) -> Message:
        message = await self.receive_message()
        try:
            left = message["type"] == "http.disconnect"
        except Exception:  # not a message: the application will refuse it
            left = False
        if left:
            if self.ending:  # some servers say this at the end of every response, before the last `send` returns
                self.left = True
            else:
                self.exchange.disconnect()
        return message

    async def send(self, message: Message) -> None:
        try:
            kind = message["type"]
            if kind == "http.response.start":
                begins, last = True, False
                if type(message) is not dict or type(message.get("headers")) is not list:
                    message = kept(message)
            else:
                begins = False
                if kind == "http.response.body" and not self.trailers:
                    self.ending = last = not message.get("more_body")
                else:
                    self.ending = last = kind in _ENDS and self._is_last(kind, message)
        except Exception:  # not a message: the server will refuse it
            begins = last = False
        send_message = self.send_message
        try:
            await send_message(message)
        except BaseException as error:
            self.ending = False
            if self.left and not isinstance(error, Exception):  # Starlette cancels `send` when it hears of the end
                self.exchange.finish()
            elif self.left or isinstance(error, OSError):  # OSError: ASGI 2.4, "disconnected client"
                self.exchange.disconnect()
            raise
        if last:
            self.exchange.finish()
        elif begins:
            # The look-up is what `Routes.find` does, without its calls: they cost as much as the look-up itself.
            exchange = self.exchange
            routes = self.routes
            try:
                route = routes.ask(self.scope, exchange.path)
            except Exception as fault:
                route = None
                routes.fault("route", fault)
            if route is None and len(sys.modules) != routes.modules:
                route = routes.ask_others(self.scope, exchange.path)
            try:
                exchange.respond(message.get("status"), route, message.get("headers", ()))
                if "trailers" in message:
                    self.trailers = bool(message["trailers"])
            except Exception as fault:
                self.routes.fault("response headers", fault)

    def end(self, error: BaseException | None) -> None:
        """The application ended: with an exception, or without the end of a response."""
        exchange = self.exchange
        if exchange.outcome is None and not exchange.finished:
            exchange.respond(SERVER_ERROR, self.routes.find(self.scope, exchange.path, error))
        if error is not None:
            exchange.raised(error)
        exchange.finish(complete=False)

    def _is_last(self, kind: str, message: Message) -> bool:
        if self.trailers:
            return kind == "http.response.trailers" and not message.get("more_trailers")
        return not message.get("more_body")


class _DetailedCall(_Call):
    """A request of which options ask when its response's body begins, or the sizes of its bodies."""

    __slots__ = ()

    exchange: DetailedExchange

    async def receive(self) -> Message:
        message = await _Call.receive(self)
        try:
            if message["type"] == "http.request":
                self.exchange.received += len(message.get("body", b""))
        except Exception:  # not a message: the application will refuse it
            pass
        return message

    async def send(self, message: Message) -> None:
        exchange = self.exchange
        size = body_bytes(message, exchange.is_sized)
        begins = exchange.awaits_byte and (size or _sends_file(message))
        if begins:
            exchange.begin_body()
        exchange.sent = (exchange.sent or 0) + size  # not after it: the last message finishes the request
        try:
            await _Call.send(self, message)
        except BaseException:
            exchange.sent -= size
            if begins:
                exchange.awaits_byte, exchange.first_byte = True, None
            raise


_ENDS: Final = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.zerocopysend",
    }
)


def _sends_file(message: Message) -> bool:
    try:
        return message["type"] in FILES
    except Exception:  # not a message: the server will refuse it
        return False


def kept(message: Message) -> Message:
    """Return the beginning of a response with headers that can be read again: Sanic's are a generator."""
    try:
        headers = message["headers"]
    except KeyError:
        return message
    return {**message, "headers": list(headers)} if isinstance(headers, Iterator) else message


def relative_path(path: str, root: str) -> str:
    """Return the path without `root_path`: servers differ in whether the path holds it."""
    root = root.rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope.get("headers") or ():
        key, text = name.lower().decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    query = (scope.get("query_string") or b"").decode("latin-1")
    return Request(scope.get("method", ""), query, headers)


async def _answer(metrics: RedMetrics, request: Request) -> Answer:
    """Wait for the answer, and let the event loop go on meanwhile. Without a loop, wait in this thread."""
    try:
        trio = sys.modules["trio"]
        token = trio.lowlevel.current_trio_token()
    except (KeyError, AttributeError, RuntimeError):
        # asyncio, or no loop at all; another thread may have imported trio, or half of it
        try:
            loop = sys.modules["asyncio"].get_running_loop()
        except (KeyError, AttributeError, RuntimeError):
            return answer(metrics, request)
        future, wake = loop.create_future(), loop.call_soon_threadsafe
        answered, wait = partial(_settle, future), future
    else:
        event, wake = trio.Event(), token.run_sync_soon
        answered, wait = event.set, event.wait()
    found: list[Answer] = []

    def done(result: Answer) -> None:
        found.append(result)
        with suppress(RuntimeError):  # the loop has ended
            wake(answered)

    ask(metrics, request, done)
    await wait
    return found[0]


def _settle(future: Any) -> None:
    if not future.done():  # else the request was cancelled
        future.set_result(None)


async def answer_metrics(endpoint: Endpoint, scope: Scope, send: Send) -> None:
    """Answer a request for the metrics."""
    request = _request(scope)
    found = endpoint.refusal(request, scope) or await _answer(endpoint.metrics, request)
    headers = [(name.lower().encode(), value.encode()) for name, value in found.headers]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": found.body})
