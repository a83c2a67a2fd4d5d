"""Hostile clients through every framework: they see what they see without the middleware, and make no routes.

`test_cardinality` asks more of two frameworks, and of an application that hands the raw path through.
"""

import asyncio
import io
import logging
import random
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest

from red_middleware.metrics import recorder_of

from ..drive import ASGIServer, Message, WSGIServer, environ, scope
from ..options import EVERY
from . import frameworks
from .asking import faults, fresh, requests, routes
from .contract import Framework
from .made import INSTALLED, Made, make, middleware

pytestmark = pytest.mark.once

REQUESTS = 1000
WITH_OPTIONS = 100
FEWER = {"django-ASGI": 150}
"""What takes longest: Django makes a thread for each request by ASGI."""

METHODS = ["GET"] * 8 + [
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "get",
    "BREW",
    "",
    "\udcff\udcfe",
    "A" * 500,
]
PATHS = [
    "/hello", "/hello/", "/HELLO", "//hello", "/hello;a=1", "/hello%2f", "/items/{n}", "/items/{n}/", "/items/-1",
    "/items/{text}", "/items/%37", "/shop/orders/{n}", "/shop/orders/{text}", "/shop/orders/", "/shop//orders/{n}",
    "/shop/{n}", "/any", "/asked", "/gone", "/slash", "/slash/", "/streamed", "/boom", "/bang", "/{n}", "/{text}", "/",
    "", "//", "*", "hello", "/../hello", "/shop/../hello", "/shop/%2e%2e/hello", "/%2e%2e%2f{n}", "/./hello", "/..",
    "/{n}/../../etc/passwd", "http://evil.example/hello", "http://evil.example/{n}", "//evil.example/{n}",
    "https://[::1/{n}", "evil.example:443", "/%", "/%zz", "/%ff%fe", "/%00", "/\x00{n}", "/\x7f", "/\r\nX-Evil: {n}",
    "/\udcff{n}", "/items/\udcff", "/shop/orders/\udcfe\udcff", "/ä{n}", "/shop/orders/€{n}", "/\ufffd{n}",
    "/metrics/..", "//metrics", "/Metrics", "/socket/{n}", "/_unmatched", "/_overflow", "/<int:item>", "/{order}",
    "/static/{n}",
]  # fmt: skip
LONG = [
    lambda n: "/" + "a" * n,
    lambda n: "/a" * n,
    lambda n: "/items/" + "9" * n,
    lambda n: "/shop/orders/" + "%41" * n,
]
QUERIES = ["", "", "a=1", "a=%ff", "a=%", "&&&=", "{n}", "{n}={text}", "route=/hello&_method=DELETE", "é", "a" * 3000]
HEADERS = [
    ("Host", "evil.example:{n}"), ("Host", ""), ("Host", "{text}"), ("Content-Type", "text/plain; charset={text}"),
    ("Content-Type", "application/json"), ("Content-Type", "multipart/form-data"), ("Cookie", "{text}={n}; ;;="),
    ("Accept", "{text}"), ("Accept-Encoding", "gzip;q={n}"), ("Accept-Language", "de;q=x, {text}"),
    ("Range", "bytes={n}-"), ("X-Forwarded-For", "{text}"), ("X-Forwarded-Prefix", "/{n}"), ("X-Script-Name", "/{n}"),
    ("Forwarded", "for={text}"), ("X-HTTP-Method-Override", "DELETE"), ("Authorization", "Basic {text}"),
    ("Upgrade", "websocket"), ("Connection", "upgrade, {n}"), ("If-None-Match", "*"), ("If-Modified-Since", "{text}"),
    ("X-{n}", "{text}"), ("Expect", "100-continue"), ("Traceparent", "00-{n}"), ("Origin", "null"),
    ("Access-Control-Request-Method", "{text}"),
]  # fmt: skip


class Asked(NamedTuple):
    """A request, each part as a client may write it. The path is what a server hands on."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes


def hostile(count: int) -> Iterator[Asked]:
    """Yield random requests, the same in every run."""
    pick = random.Random(7)
    texts = ["".join(pick.choices(string.ascii_letters + string.punctuation + " äé€\x80", k=9)) for _ in range(200)]

    def filled(template: str) -> str:
        return template.replace("{n}", str(pick.getrandbits(60))).replace("{text}", pick.choice(texts))

    for _ in range(count):
        path = filled(pick.choice(PATHS)) if pick.random() < 0.98 else pick.choice(LONG)(pick.choice((300, 5000)))
        headers = [(filled(name), filled(text)) for name, text in pick.sample(HEADERS, pick.choice((0, 0, 1, 3)))]
        method = pick.choice(METHODS) if pick.random() < 0.95 else pick.choice(texts)
        yield Asked(method, path, filled(pick.choice(QUERIES)), headers, pick.randbytes(pick.choice((0, 0, 0, 40))))


class Answer(NamedTuple):
    """What a server was given for a request, apart from the header `Date`."""

    started: object
    sent: bytes
    raised: object


def answers_of_wsgi(app: Any, made: Made, asked: Sequence[Asked]) -> list[Answer]:
    """Ask by WSGI, where each byte of the path is a character."""
    answers = []
    for one in asked:
        headers = {f"HTTP_{name.upper().replace('-', '_')}": latin(text) for name, text in one.headers}
        given = {key.replace("HTTP_CONTENT_", "CONTENT_"): text for key, text in headers.items()}
        body = {"wsgi.input": io.BytesIO(one.body), "CONTENT_LENGTH": str(len(one.body))}
        request = environ(latin(one.path), one.method, QUERY_STRING=latin(one.query), **given, **body)
        server = WSGIServer().serve(app, request)
        events = [event for event in server.record if isinstance(event, tuple)]
        started = [(event[1], undated(event[2])) for event in events if event[0] == "start"]
        sent = b"".join(event[1] for event in events if event[0] == "send")
        answers.append(Answer(started, sent, type(server.raised)))
    return answers


def answers_of_asgi(app: Any, made: Made, asked: Sequence[Asked]) -> list[Answer]:
    """Ask by ASGI, on one event loop."""

    async def serve() -> list[Answer]:
        async with frameworks.running(app) if type(made.app).__name__ == "Sanic" else nullcontext():
            return [await answer(one) for one in asked]

    async def answer(one: Asked) -> Answer:
        fields = [(name.lower().encode(), latin(text).encode("latin-1")) for name, text in one.headers]
        raw = one.path.encode("utf-8", "surrogateescape")
        more = {"query_string": one.query.encode(), "raw_path": raw, "headers": fields, "state": {}}
        server, raised = ASGIServer(body=one.body, waits=True), None
        started: list[object] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":  # servers read the headers at once
                started.append((message["status"], undated(message.get("headers", ()))))
            await server.send(message)

        try:
            await app(scope(one.path, one.method, **more), server.receive, send)
        except Exception as error:
            raised = error
        sent = b"".join(message.get("body", b"") for message in server.sent)
        return Answer(started, sent, type(raised))

    return asyncio.run(serve(), debug=False)


def latin(text: str) -> str:
    """Return a text as WSGI has it: a character for each byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def undated(headers: Any) -> list[tuple[Any, Any]]:
    """Return headers without the time, and the methods of `Allow` in an order: some frameworks have none."""
    return [
        (name, sorted(text) if name.lower() in ("allow", b"allow") else text)
        for name, text in headers
        if name.lower() not in ("date", b"date")
    ]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep frameworks from writing tracebacks: two thousand take longer than the requests."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("framework", INSTALLED, ids=lambda framework: framework.id)
def test_every_option_changes_nothing_of_that(framework: Framework) -> None:
    """Fewer requests, which are counted under labels, statuses, sizes and all else that can be asked for."""
    asked = list(hostile(WITH_OPTIONS))
    ask: Callable[[Any, Made, Sequence[Asked]], list[Answer]]
    ask = answers_of_wsgi if framework.protocol == "WSGI" else answers_of_asgi
    metrics = fresh(**EVERY)
    without, within = make(framework), make(framework)
    with without.holds():
        wanted = ask(without.app, without, asked)
    with within.holds():
        found = ask(middleware(framework)(within.app, metrics=metrics), within, asked)
    assert [pair for pair in zip(asked, wanted, found, strict=True) if pair[1] != pair[2]][:1] == []
    shown = metrics.snapshot()
    for name in ("http_requests_total", "http_request_duration_seconds_count", "http_response_size_bytes_count"):
        assert sum(value for text, value in shown.items() if text.startswith(f"{name}{{")) == WITH_OPTIONS
    assert shown["red_series"] <= metrics.bound().series
    assert shown["red_workers_busy"] == faults(metrics) == 0


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("framework", INSTALLED, ids=lambda framework: framework.id)
def test_hostile_clients_see_what_they_see_without_and_make_no_routes(framework: Framework) -> None:
    """Byte for byte; each request counts once; nothing is a route but what the app declares."""
    count = FEWER.get(framework.id, REQUESTS)
    asked = list(hostile(count))
    ask: Callable[[Any, Made, Sequence[Asked]], list[Answer]]
    ask = answers_of_wsgi if framework.protocol == "WSGI" else answers_of_asgi
    metrics = fresh()
    without, within = make(framework), make(framework)
    with without.holds():
        wanted = ask(without.app, without, asked)
    with within.holds():
        found = ask(middleware(framework)(within.app, metrics=metrics), within, asked)
    differing = [pair for pair in zip(asked, wanted, found, strict=True) if pair[1] != pair[2]]
    assert differing[:1] == []
    assert sum(requests(metrics).values()) == count
    declared = set(recorder_of(metrics).table.declared)
    assert set(routes(metrics)) <= declared | {"_unmatched"}
    assert len(routes(metrics)) > 5
    assert metrics.snapshot()["red_overflow_requests_total"] == 0
    assert metrics.snapshot()["red_series"] <= metrics.bound().series
    assert faults(metrics) == 0
