"""A known mix of thousands of requests, what their clients must see of each, and what must be counted of it."""

import asyncio
import importlib
import inspect
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from .clients import Answer, Http1
from .servers import DEADLINE_SECONDS, Kind, Server

if TYPE_CHECKING:
    from .clients_h2 import Http2

AT_ONCE: Final = 16
ABORTS: Final = 12
"""Of each way to leave; two at a time, which leaves a server of eight threads six for all others."""


class Request(NamedTuple):
    """What is sent, what the client sees, and what is counted."""

    method: str
    path: str
    seen: int
    """The status at the client."""
    route: str | None
    """The label; `None`: not counted at all."""
    complete: bool = True
    exception: str | None = None


class Expected:
    """Every number that a mix leads to, by labels."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()  # method, route, status
        self.errors: Counter[tuple[str, ...]] = Counter()  # method, route
        self.exceptions: Counter[tuple[str, ...]] = Counter()  # route, exception
        self.disconnects: Counter[tuple[str, ...]] = Counter()  # method, route

    def count(self, request: Request) -> None:
        if request.route is None:
            return
        method = request.method if request.method in ("GET", "HEAD", "POST", "OPTIONS") else "_OTHER"
        self.requests[method, request.route, str(request.seen)] += 1
        self.errors[method, request.route] += request.seen >= 500 or not request.complete
        if request.exception:
            self.exceptions[request.route, request.exception] += 1

    def leave(self, method: str, route: str, status: int, observed: bool = True) -> None:
        """Count a request whose client left, as far as its server let the application know."""
        self.requests[method, route, str(status)] += 1
        self.errors[method, route] += 0
        if observed:
            self.disconnects[method, route] += 1


def requests(kind: Kind) -> list[Request]:
    """Return the mix for a server and a framework, in an order that is random and always the same."""
    flask = kind.framework == "flask"
    item = {"flask": "/items/<int:number>", "starlette": "/items/{number:int}", "fastapi": "/items/{number}"}[
        kind.framework
    ]
    # llhttp, which httptools is, knows a list of methods, and refuses what is not on it before there is a request.
    unknown = "PROPFIND" if "--http=httptools" in kind.options else "BREW"
    chance = random.Random(20)
    mix = [Request("GET", f"/items/{chance.randrange(1000)}", 200, item) for _ in range(500)]
    mix += [Request("GET", f"/items/{chance.randrange(1000, 10**9)}", 404, item) for _ in range(200)]
    mix += [Request("GET", f"/none/{chance.random()}", 404, "_unmatched") for _ in range(200)]
    for times, request in [
        (800, Request("GET", "/ok?said=twice", 200, "/ok")),
        (150, Request("HEAD", "/ok", 200, "/ok")),
        (100, Request("POST", "/ok", 405, "_unmatched")),
        (100, Request(unknown, "/ok", 405, "_unmatched")),
        (50, Request(unknown, "/none", 404, "_unmatched")),
        (50, Request("OPTIONS", "/ok", 200, "/ok") if flask else Request("OPTIONS", "/ok", 405, "_unmatched")),
        (50, Request("GET", "/directory", 308 if flask else 307, "_unmatched")),
        (150, Request("GET", "/fail", 503, "/fail")),
        (150, Request("GET", "/raise", 500, "/raise", exception="ValueError")),
        (200, Request("GET", "/stream", 200, "/stream")),
        (50, Request("GET", "/cut", 200, "/cut", complete=False, exception=_cut_by(kind))),
        (100, Request("GET", "/slow", 200, "/slow")),
        (100, Request("GET", "/task", 200, "/task")),
        (50, Request("GET", "/failing-task", 200, "/failing-task", exception="LookupError")),
        (50, Request("GET", "/file", 200, "/file")),
        (50, Request("GET", "/health", 200, None)),
        (20, Request("GET", "/metrics", 200, None)),
    ]:
        mix += [request] * times
    chance.shuffle(mix)
    return mix


def _cut_by(kind: Kind) -> str:
    """Return what leaves the application when its stream raises KeyError: old Starlette wraps it for anyio 4."""
    if kind.framework == "flask" or "create_collapsing_task_group" in vars(importlib.import_module("starlette._utils")):
        return "KeyError"
    return "ExceptionGroup"


def _files_listen() -> bool:
    """Return whether Starlette's FileResponse listens for its client to leave; 0.35 does not, 1.10 does."""
    responses = importlib.import_module("starlette.responses")
    return "http.disconnect" in inspect.getsource(responses.FileResponse.__call__)


async def drive(server: Server) -> Expected:
    """Send the mix, with clients that leave beside it, and return what must have been counted."""
    expected = Expected()
    clients: Sequence[Http1 | Http2]
    to_close: Sequence[Http1 | Http2]
    if server.kind.server == "hypercorn":
        connections = [_http2(server.port) for _ in range(8)]  # hypercorn ends one after 1000 requests
        clients = [connection for connection in connections for _ in range(AT_ONCE // 8)]
        leaver = _http2(server.port)
        leavers = [_leave_streams(leaver, server, expected)]
        to_close = [*connections, leaver]
    else:
        clients = [Http1(server.port) for _ in range(AT_ONCE)]
        leavers = [_leave_connections(server, expected, half) for half in range(2)]
        to_close = clients
    todo = requests(server.kind)
    try:
        await asyncio.gather(*leavers, *(_send(client, todo, expected) for client in clients))
        await asyncio.to_thread(server.rest)  # a `send` under way when its connection is closed, hypercorn never ends
    finally:
        for client in to_close:
            client.close()
    return expected


def _http2(port: int) -> "Http2":
    from .clients_h2 import Http2 as Client  # here, as it takes a package that only hypercorn's tests need

    return Client(port)


async def _send(client: "Http1 | Http2", todo: list[Request], expected: Expected) -> None:
    while todo:
        request = todo.pop()
        try:
            answer = await asyncio.wait_for(_ask(client, request), DEADLINE_SECONDS)
        except asyncio.TimeoutError:
            raise TimeoutError(f"{request}: no end of an answer") from None
        assert (answer.status, answer.complete) == (request.seen, request.complete), (request, answer)
        expected.count(request)
        if request.exception and isinstance(client, Http1):
            client.close()  # as the server does, after its answer and without a word


async def _ask(client: "Http1 | Http2", request: Request) -> Answer:
    if request.complete or isinstance(client, Http1):
        return await client.ask(request.method, request.path)
    return await client.ask_for_a_piece(request.method, request.path)  # hypercorn never ends such a stream


async def until(what: Callable[[], bool]) -> None:
    """Wait for something that a server does, in the event loop of its clients."""

    async def turn() -> None:
        while not what():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(turn(), DEADLINE_SECONDS)


async def _leave_connections(server: Server, expected: Expected, half: int) -> None:
    """Leave before a response and while it is sent, in every way that the server's application may notice or not."""
    wsgi = server.kind.framework == "flask"
    client = Http1(server.port)
    for n in range(half, ABORTS, 2):
        begun, gone = f"deaf-{n}", f"gone-{n}"
        await client.begin("GET", f"/deaf?begun={begun}&until={gone}")
        await until(partial(server.has_left, begun))
        client.leave()
        server.leave(gone)
        expected.leave("GET", "/deaf", 200, observed=wsgi)  # gunicorn's send fails; uvicorn's says nothing

        await client.begin("GET", "/endless")
        await client.read_until(b"\r\n\r\n")
        await client.read_until(b"x" * 1000)
        client.leave()
        expected.leave("GET", "/endless", 200)

        await client.begin("GET", "/big")
        await client.read_until(b"\r\n\r\n")
        client.leave()
        expected.leave("GET", "/big", 200, observed=wsgi or _files_listen())

        begun = f"upload-{n}"
        await client.begin("POST", f"/upload?begun={begun}", "Content-Length: 1000\r\n", b"half")
        await until(partial(server.has_left, begun))
        client.leave()
        if wsgi:  # the socket's error out of wsgi.input is the application's, then the server cannot send its 500
            expected.leave("POST", "/upload", 500)
            expected.exceptions["/upload", "ConnectionResetError"] += 1
        else:
            expected.leave("POST", "/upload", 499)

        if not wsgi:
            begun = f"listening-{n}"
            await client.begin("GET", f"/listening?begun={begun}")
            await until(partial(server.has_left, begun))
            client.leave()
            expected.leave("GET", "/listening", 499)


async def _leave_streams(client: "Http2", server: Server, expected: Expected) -> None:
    """Leave as above, by a reset of one stream while the connection lives on."""
    for n in range(ABORTS):
        begun, gone = f"deaf-{n}", f"gone-{n}"
        stream = await client.begin("GET", f"/deaf?begun={begun}&until={gone}")
        await until(partial(server.has_left, begun))
        client.leave(stream)
        server.leave(gone)
        expected.leave("GET", "/deaf", 200, observed=False)

        stream = await client.begin("GET", "/endless")
        await client.some_of(stream)
        client.leave(stream)
        expected.leave("GET", "/endless", 200)

        stream = await client.begin("GET", "/big")
        await client.some_of(stream)
        client.leave(stream)
        expected.leave("GET", "/big", 200, observed=_files_listen())

        begun = f"upload-{n}"
        stream = await client.begin("POST", f"/upload?begun={begun}", ended=False)
        await until(partial(server.has_left, begun))
        client.leave(stream)
        expected.leave("POST", "/upload", 499)

        begun = f"listening-{n}"
        stream = await client.begin("GET", f"/listening?begun={begun}")
        await until(partial(server.has_left, begun))
        client.leave(stream)
        expected.leave("GET", "/listening", 499)
