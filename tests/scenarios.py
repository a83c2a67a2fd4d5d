"""What an application does in one request, and what is counted: the table of `test_parity`.

A scenario is a tuple of steps, which `test_parity` turns into an application of either protocol.
"""

import asyncio
import sys
from typing import Any, NamedTuple

from .counts import one_request

ROUTE = "/items/{id}"


class Answer(NamedTuple):
    """The response begins. The headers are text, which the ASGI application encodes; anything else stays as it is."""

    status: int | str = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Any = None
    """In place of the content type."""


class Piece(NamedTuple):
    """A piece of the body."""

    data: bytes
    last: bool = False


class Pass(NamedTuple):
    """Time passes."""

    seconds: float


class Fail(NamedTuple):
    """An exception leaves the application; after the last piece, its background work."""

    error: type[BaseException] | BaseException


class Leave(NamedTuple):
    """The client closes its connection. The next sending fails, unless the server takes it all the same."""

    fails: bool = True


class Look(NamedTuple):
    """The application learns whether the client is there. Under WSGI it cannot ask: the server closes the body."""


class Put(NamedTuple):
    """The application, or its framework, leaves something in the environ or scope."""

    key: str
    value: object


Step = Answer | Piece | Pass | Fail | Leave | Look | Put

HELLO = (Answer(), Piece(b"hello", last=True))


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
    label = "_OTHER" if method in ("BREW", "get") else method
    return Scenario(
        f"answers {method} with {status}",
        (Pass(2), Answer(status), Piece(b"all of it", last=True)),
        one_request(code, method=label, route=ROUTE, seconds=2.0),
        method=method,
        legal=legal,
    )


def raises(error: type[BaseException] | BaseException) -> Scenario:
    """Return the scenario of an exception in place of a response."""
    name = (type(error) if isinstance(error, BaseException) else error).__name__
    return Scenario(
        f"{name} before a response",
        (Pass(2), Fail(error)),
        one_request("500", route=ROUTE, raised=name, seconds=2.0),
    )


def raises_half_way(error: type[BaseException], unseen: str = "") -> Scenario:
    """Return the scenario of an exception after a part of the body."""
    return Scenario(
        f"{error.__name__} half-way through the body",
        (Answer(), Piece(b"half"), Pass(2), Fail(error)),
        one_request("200", route=ROUTE, error=True, raised=error.__name__, seconds=2.0),
        unseen=unseen,
    )


def has_headers(name: str, headers: list[Any]) -> Scenario:
    """Return the scenario of a response with these headers, which is timed to its end."""
    return Scenario(
        f"headers: {name}",
        (Answer(headers=headers), Pass(2), Piece(b"all of it", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
        legal=False,
    )


CANNOT_ASK = "an application has no way to ask, and a server has no body to close yet"
GROUPS = [] if sys.version_info < (3, 11) else [raises(ExceptionGroup("several", [KeyError(), ValueError()]))]  # noqa: F821  # guarded

SCENARIOS = [
    *(answers(status) for status in (200, 201, 302, 404, 499, 500, 503, 599)),
    answers(101),
    answers(999),
    answers(600),
    answers("abc", legal=False),
    answers(204, "OPTIONS"),
    answers(200, "PATCH"),
    answers(200, "BREW", legal=False),
    answers(200, "get", legal=False),
    Scenario(
        "answers HEAD without a body",
        (Pass(2), Answer(), Piece(b"", last=True)),
        one_request("200", method="HEAD", route=ROUTE, seconds=2.0),
        method="HEAD",
    ),
    has_headers("none", []),
    has_headers("an empty value", [("x", "")]),
    has_headers("lengths that are none", [("Content-Length", "many"), ("CONTENT-LENGTH", "-1")]),
    has_headers("an event stream by another name", [("x-mediatypes", "text/event-stream")]),
    has_headers("an event stream by a name of the same length", [("X-Media-Type", "text/event-stream")]),
    Scenario(
        "headers: a type that begins like an event stream",
        (Pass(2), Answer(headers=[("Content-Type", "text/event-stream-not-quite")]), Piece(b"all of it", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
        legal=False,
    ),
    # What the application raises
    *(raises(error) for error in (ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, OSError)),
    raises(GeneratorExit),
    *GROUPS,
    *(raises_half_way(error) for error in (KeyError, SystemExit, KeyboardInterrupt, asyncio.CancelledError)),
    raises_half_way(GeneratorExit, unseen="a body that ends so was closed by its server"),
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
        "an exception between the status and the body",
        (Answer(), Pass(2), Fail(KeyError)),
        one_request("200", route=ROUTE, error=True, raised="KeyError", seconds=2.0),
        unseen="nothing is sent before the first byte, so the client gets the server's 500",
    ),
    # When a request ends
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
        "an event stream counts its first moment only",
        (Pass(2), Answer(content_type="text/event-stream"), Piece(b"data: 1\n\n"), Pass(100), Piece(b"", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
    ),
    Scenario(
        "an event stream with a charset, in other letters",
        (Answer(content_type="Text/Event-Stream; charset=utf-8"), Pass(100), Piece(b"data: 1\n\n", last=True)),
        one_request("200", route=ROUTE),
    ),
    Scenario(
        "an interim response, then the final one",
        (Answer(103), Pass(2), Answer(200), Piece(b"all of it", last=True)),
        one_request("200", route=ROUTE, seconds=2.0),
        unseen="start_response knows final responses only",
    ),
    Scenario(
        "the application ends half-way through the body",
        (Answer(), Piece(b"half"), Pass(2)),
        one_request("200", route=ROUTE, error=True, seconds=2.0),
        unseen="where the iteration ends, the body ends",
    ),
    # When the client leaves
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
        unseen=CANNOT_ASK,
    ),
    *(
        Scenario(
            f"the client leaves before the response, and the application raises {error.__name__}",
            (Pass(2), Leave(), Look(), Fail(error)),
            one_request("499", route=ROUTE, left=True, seconds=2.0),
            unseen=CANNOT_ASK,
        )
        for error in (KeyError, asyncio.CancelledError)
    ),
    Scenario(
        "the client leaves before the response, and the application answers all the same",
        (Pass(2), Leave(fails=False), Look(), *HELLO),
        one_request("499", route=ROUTE, left=True, seconds=2.0),
        unseen=CANNOT_ASK,
    ),
    Scenario(
        "the client leaves between the status and the body, seen by the application",
        (Answer(), Pass(2), Leave(fails=False), Look(), Piece(b"half")),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
        unseen=CANNOT_ASK,
    ),
    Scenario(
        "the client leaves at the first piece of the body",
        (Answer(), Pass(2), Leave(), Piece(b"all of it", last=True)),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
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
        "the client leaves during the body, and the application sends all of it",
        (Answer(), Piece(b"half"), Pass(2), Leave(fails=False), Look(), Piece(b"rest", last=True)),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
        unseen="a server that takes all of it says nothing of its client",
    ),
    Scenario(
        "the client leaves, and the application fails over it",
        (Answer(), Piece(b"half"), Pass(2), Leave(), Look(), Fail(KeyError)),
        one_request("200", route=ROUTE, left=True, seconds=2.0),
        unseen="the application is not told why its body is closed: what its close() raises is a failure of its own",
    ),
    Scenario(
        "the client leaves after the complete response",
        (Answer(), Pass(2), Piece(b"all of it", last=True), Leave(), Look()),
        one_request("200", route=ROUTE, seconds=2.0),
    ),
    Scenario(
        "the client leaves after the complete response, and the application fails",
        (Answer(), Pass(2), Piece(b"all of it", last=True), Leave(), Look(), Fail(KeyError)),
        one_request("200", route=ROUTE, raised="KeyError", seconds=2.0),
    ),
    # What is not counted
    Scenario("an excluded path", (Answer(), Piece(b"up", last=True)), {}, path="/health"),
    Scenario("an excluded path that fails", (Fail(KeyError),), {}, path="/health"),
    Scenario("an excluded path in another script", (Answer(), Piece(b"up", last=True)), {}, path="/santé"),
    Scenario("the metrics endpoint", (), {"red_scrape_duration_seconds_count": 1.0}, path="/metrics"),
    Scenario("the metrics endpoint, HEAD", (), {"red_scrape_duration_seconds_count": 1.0}, "HEAD", "/metrics"),
    Scenario("the metrics endpoint, refused", (), {}, "POST", "/metrics"),
]

SEEN_BY_WSGI = [scenario for scenario in SCENARIOS if not scenario.unseen]
