"""One table of scenarios through both adapters: the samples are the same, and what WSGI cannot observe says so."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from wsgiref.validate import validator

import pytest

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from .counts import counted, fresh_metrics, one_request
from .drive import ASGIServer, Clock, Environ, Message, Scope, WSGIServer, environ, scope

ROUTE = "/items/{id}"


class Answer(NamedTuple):
    """The response begins."""

    status: int | str = 200
    content_type: str = "text/plain; charset=utf-8"


class Piece(NamedTuple):
    """A piece of the body."""

    data: bytes
    last: bool = False


class Pass(NamedTuple):
    """Time passes."""

    seconds: float


class Fail(NamedTuple):
    """An exception leaves the application; after the last piece, its background work."""

    error: type[BaseException]


class Leave(NamedTuple):
    """The client closes its connection. The next sending fails."""


class Look(NamedTuple):
    """The application learns whether the client is there. Under WSGI it cannot ask: the server closes the body."""


Step = Answer | Piece | Pass | Fail | Leave | Look


class Scenario(NamedTuple):
    """What an application does for one request, and the samples that this makes on both sides.

    `unseen` is why WSGI cannot observe it, where it cannot. `legal` is whether `wsgiref.validate` lets the application
    pass: some scenarios are about applications that break the protocol.
    """

    name: str
    steps: tuple[Step, ...]
    expected: dict[str, float]
    method: str = "GET"
    path: str = "/items/7"
    unseen: str = ""
    legal: bool = True


def answers(status: int | str, method: str = "GET", legal: bool = True) -> Scenario:
    """Return the scenario of a complete response after two seconds."""
    code = str(status) if str(status).isdigit() and 100 <= int(status) <= 599 else "_OTHER"
    label = "_OTHER" if method == "BREW" else method
    return Scenario(
        f"answers {method} with {status}",
        (Pass(2), Answer(status), Piece(b"all of it", last=True)),
        one_request(code, method=label, route=ROUTE, seconds=2.0),
        method=method,
        legal=legal,
    )


def raises(error: type[BaseException]) -> Scenario:
    """Return the scenario of an exception in place of a response."""
    return Scenario(
        f"{error.__name__} before a response",
        (Pass(2), Fail(error)),
        one_request("500", route=ROUTE, raised=error.__name__, seconds=2.0),
    )


SCENARIOS = [
    *(answers(status) for status in (200, 201, 302, 404, 499, 500, 503, 599)),
    answers(999),
    answers(600),
    answers("abc", legal=False),
    answers(204, "OPTIONS"),
    answers(200, "PATCH"),
    answers(200, "BREW", legal=False),
    answers(200, "get", legal=False)._replace(expected=one_request("200", method="_OTHER", route=ROUTE, seconds=2.0)),
    Scenario(
        "answers HEAD without a body",
        (Pass(2), Answer(), Piece(b"", last=True)),
        one_request("200", method="HEAD", route=ROUTE, seconds=2.0),
        method="HEAD",
    ),
    *(raises(error) for error in (ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, OSError)),
    Scenario(
        "an exception half-way through the body",
        (Answer(), Piece(b"half"), Pass(2), Fail(KeyError)),
        one_request("200", route=ROUTE, error=True, raised="KeyError", seconds=2.0),
    ),
    Scenario(
        "an exception after the complete response",
        (Answer(), Pass(2), Piece(b"all of it", last=True), Pass(100), Fail(KeyError)),
        one_request("200", route=ROUTE, raised="KeyError", seconds=2.0),
    ),
    Scenario(
        "an exception after its own complete 500",
        (Answer(500), Pass(2), Piece(b"all of it", last=True), Fail(KeyError)),
        one_request("500", route=ROUTE, raised="KeyError", seconds=2.0),
    ),
    Scenario(
        "work after the complete response",
        (Answer(), Pass(2), Piece(b"all of it", last=True), Pass(100)),
        one_request("200", route=ROUTE, seconds=2.0),
    ),
    Scenario(
        "no answer, the client still there",
        (Pass(2),),
        one_request("500", route=ROUTE, seconds=2.0),
        legal=False,
    ),
    Scenario(
        "a response that streams",
        (Answer(), Piece(b"one"), Pass(1), Piece(b"two"), Pass(1), Piece(b"", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
    ),
    Scenario(
        "the client leaves during the body, seen in sending",
        (Answer(), Piece(b"half"), Pass(2), Leave(), Piece(b"rest", last=True)),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
    ),
    Scenario(
        "the client leaves during the body of a 500",
        (Answer(500), Piece(b"half"), Pass(2), Leave(), Piece(b"rest", last=True)),
        one_request("500", route=ROUTE, left=True, seconds=2.0),
    ),
    Scenario(
        "the client leaves during the body, seen by the application (WSGI: the server closes it)",
        (Answer(), Piece(b"half"), Pass(2), Leave(), Look()),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
    ),
    Scenario(
        "the client leaves, and the application fails over it",
        (Answer(), Piece(b"half"), Pass(2), Leave(), Look(), Fail(KeyError)),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
        unseen="the application is not told why its body is closed: what its close() raises is a failure of its own",
    ),
    Scenario(
        "an event stream counts its first moment only",
        (Pass(2), Answer(content_type="text/event-stream"), Piece(b"data: 1\n\n"), Pass(100), Piece(b"", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
    ),
    Scenario(
        "an event stream with a charset, in other letters",
        (Answer(content_type="Text/Event-Stream; charset=utf-8"), Pass(100), Piece(b"data: 1\n\n", last=True)),
        one_request("200", route=ROUTE),
    ),
    Scenario("an excluded path", (Answer(), Piece(b"up", last=True)), {}, path="/health"),
    Scenario("an excluded path that fails", (Fail(KeyError),), {}, path="/health"),
    Scenario("the metrics endpoint", (), {"red_scrape_duration_seconds_count": 1.0}, path="/metrics"),
    Scenario("the metrics endpoint, HEAD", (), {"red_scrape_duration_seconds_count": 1.0}, "HEAD", "/metrics"),
    Scenario("the metrics endpoint, refused", (), {}, "POST", "/metrics"),
    Scenario(
        "the client leaves before the response, seen in sending",
        (Pass(2), Leave(), Answer()),
        one_request("499", route=ROUTE, left=True, seconds=2.0),
        unseen="the status line waits for the first byte of the body",
    ),
    Scenario(
        "the client leaves before the response, seen by the application",
        (Pass(2), Leave(), Look()),
        one_request("499", route=ROUTE, left=True, seconds=2.0),
        unseen="an application has no way to ask, and a server has no body to close yet",
    ),
    Scenario(
        "the client leaves before the response, and the application is cancelled",
        (Pass(2), Leave(), Look(), Fail(asyncio.CancelledError)),
        one_request("499", route=ROUTE, left=True, seconds=2.0),
        unseen="as above",
    ),
    Scenario(
        "an interim response, then the final one",
        (Answer(103), Pass(2), Answer(200), Piece(b"all of it", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
        unseen="start_response knows final responses only",
    ),
    Scenario(
        "an exception between the status and the body",
        (Answer(), Pass(2), Fail(KeyError)),
        one_request("200", route=ROUTE, error=True, raised="KeyError", seconds=2.0),
        unseen="nothing is sent before the first byte, so the client gets the server's 500",
    ),
    Scenario(
        "the application ends half-way through the body",
        (Answer(), Piece(b"half"), Pass(2)),
        one_request("200", route=ROUTE, error=True, seconds=2.0),
        unseen="where the iteration ends, the body ends",
    ),
]


class Client:
    """Whether there is one."""

    gone = False


def wsgi_app(steps: tuple[Step, ...], clock: Clock, client: Client) -> Callable[..., Any]:
    """Return a WSGI application that does these steps."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Any:
        waiting = list(steps)
        while waiting and not isinstance(waiting[0], Piece | Leave | Look):
            before_body(waiting.pop(0), start_response)
        return Body(waiting)

    def before_body(step: Step, start_response: Callable[..., Any]) -> None:
        if isinstance(step, Pass):
            clock.seconds += step.seconds
        elif isinstance(step, Answer):
            headers = [("X-Mediatypes", "text/event-stream"), ("Content-Type", step.content_type)]
            start_response(f"{step.status} Answer", headers[:1] if step.status == 204 else headers)
        elif isinstance(step, Fail):
            raise step.error

    class Body:
        def __init__(self, waiting: list[Step]) -> None:
            self.waiting = waiting

        def __iter__(self) -> Iterator[bytes]:
            while self.waiting:
                step = self.waiting.pop(0)
                if isinstance(step, Pass):
                    clock.seconds += step.seconds
                elif isinstance(step, Fail):
                    raise step.error
                elif isinstance(step, Leave):
                    client.gone = True
                elif isinstance(step, Piece):
                    if step.data:
                        yield step.data
                    if step.last:
                        return
                elif isinstance(step, Look):
                    yield b"unsent"

        def close(self) -> None:
            for step in self.waiting:
                if isinstance(step, Pass):
                    clock.seconds += step.seconds
                elif isinstance(step, Fail):
                    raise step.error

    return app


def asgi_app(steps: tuple[Step, ...], clock: Clock, client: Client) -> Callable[..., Awaitable[None]]:
    """Return an ASGI application that does these steps."""

    async def app(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        for step in steps:
            if isinstance(step, Pass):
                clock.seconds += step.seconds
            elif isinstance(step, Answer):
                headers = [(b"x-mediatypes", b"text/event-stream"), (b"content-type", step.content_type.encode())]
                await send({"type": "http.response.start", "status": step.status, "headers": headers})
            elif isinstance(step, Piece):
                await send({"type": "http.response.body", "body": step.data, "more_body": not step.last})
            elif isinstance(step, Leave):
                client.gone = True
            elif isinstance(step, Look):
                assert await receive() == {"type": "http.disconnect"}
            else:
                raise step.error

    return app


class LeavingWSGIServer(WSGIServer):
    """Fails to send to a client that is gone, and closes what it cannot send."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    def send(self, piece: bytes) -> None:
        super().send(piece)
        if self.client.gone:
            raise ConnectionResetError("gone")


class LeavingASGIServer(ASGIServer):
    """Fails to send to a client that is gone, and tells the application that asks."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    async def receive(self) -> Message:
        return {"type": "http.disconnect"} if self.client.gone else {"type": "http.request"}

    async def send(self, message: Message) -> None:
        if self.client.gone:
            raise OSError("gone")
        if message["type"] == "http.response.start" and message["status"] == 103:
            return
        await super().send(message)


def through_wsgi(scenario: Scenario) -> RedMetrics:
    clock, client = Clock(), Client()
    metrics = fresh_metrics(clock=clock)
    app = wsgi_app(scenario.steps, clock, client)
    wrapped: Callable[..., Any] = RedWSGIMiddleware(
        validator(app) if scenario.legal else app, metrics=metrics, exclude=["/health"], route_of=lambda _: ROUTE
    )
    if scenario.legal:
        wrapped = validator(wrapped)
    server = LeavingWSGIServer(client).serve(wrapped, environ(scenario.path, scenario.method))
    assert not (scenario.legal and isinstance(server.raised, AssertionError)), server.raised
    return metrics


def through_asgi(scenario: Scenario) -> RedMetrics:
    clock, client = Clock(), Client()
    metrics = fresh_metrics(clock=clock)
    wrapped = RedASGIMiddleware(
        asgi_app(scenario.steps, clock, client), metrics=metrics, exclude=["/health"], route_of=lambda _: ROUTE
    )
    LeavingASGIServer(client).serve(wrapped, scope(scenario.path, scenario.method))
    return metrics


def names(scenarios: list[Scenario]) -> list[Any]:
    return [pytest.param(scenario, id=scenario.name) for scenario in scenarios]


@pytest.mark.parametrize("scenario", names(SCENARIOS))
def test_asgi_counts_the_scenario(scenario: Scenario) -> None:
    """Every row of the table, with its duration."""
    assert counted(through_asgi(scenario)) == scenario.expected


@pytest.mark.parametrize("scenario", names([scenario for scenario in SCENARIOS if not scenario.unseen]))
def test_wsgi_counts_the_same(scenario: Scenario) -> None:
    """Every row that WSGI can observe, with its duration."""
    assert counted(through_wsgi(scenario)) == scenario.expected


@pytest.mark.parametrize("scenario", names([scenario for scenario in SCENARIOS if not scenario.unseen]))
def test_both_adapters_have_the_same_samples(scenario: Scenario) -> None:
    """Not only the counters that are not zero: all samples, but the time that the scrape itself took."""
    wsgi, asgi = through_wsgi(scenario).snapshot(), through_asgi(scenario).snapshot()
    for found in (wsgi, asgi):
        del found["red_scrape_duration_seconds_sum"]
    assert wsgi == asgi


def test_what_wsgi_cannot_observe_is_what_the_table_says() -> None:
    """Such rows would give other samples there; a row that gives the same belongs among the others."""
    for scenario in SCENARIOS:
        if scenario.unseen:
            unlawful = scenario._replace(legal=False)
            assert counted(through_wsgi(unlawful)) != scenario.expected, scenario.name
