"""WebSockets on real servers: each counts once, as its client saw it end. SERVERS.md tells where servers differ."""

import asyncio
import os
import re
import signal
import socket
import struct
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import simple_websocket  # type: ignore[import-untyped,unused-ignore]  # it has no annotations
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .servers import DEADLINE_SECONDS, WEBSOCKET, Kind, Server, poll
from .test_workers import children

ASGI_KINDS = {
    "websockets": Kind("uvicorn", WEBSOCKET, ("--ws=websockets",), ("starlette",)),
    "wsproto": Kind("uvicorn", WEBSOCKET, ("--ws=wsproto",), ("starlette", "wsproto")),
    "hypercorn": Kind("hypercorn", WEBSOCKET, (), ("starlette",)),
    "granian": Kind("granian", WEBSOCKET, ("--interface=asgi",), ("starlette",)),
}
WSGI_KINDS = {
    "gthread": Kind("gunicorn", "flask_sock", ("--worker-class=gthread", "--threads=8")),
    "gevent": Kind("gunicorn", "flask_sock", ("--worker-class=gevent",), ("gevent",)),
    "werkzeug": Kind("werkzeug", "flask_sock"),
}


def talk(server: Server, path: str, then: Callable[[ClientConnection], object]) -> object:
    """Open a WebSocket, do something with it, and return the code with which it ended, or the status of a refusal."""
    try:
        url, seconds = f"ws://127.0.0.1:{server.port}{path}", DEADLINE_SECONDS
        with connect(url, open_timeout=seconds, close_timeout=seconds) as client:
            then(client)
            client.recv(timeout=DEADLINE_SECONDS)
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.rcvd and closed.rcvd.code
    raise AssertionError("it goes on")


def say(client: ClientConnection) -> None:
    client.send("well?")


def hear(client: ClientConnection) -> None:
    say(client)
    assert client.recv(timeout=DEADLINE_SECONDS) == "well?"


def leave(client: ClientConnection) -> None:
    hear(client)
    client.close(3001)


def break_off(server: Server, path: str) -> None:
    """Open a WebSocket, and reset the connection."""
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as client:
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: shop",
            "Connection: Upgrade",
            "Upgrade: websocket",
            KEY,
            VERSION,
            "",
            "",
        ]
        client.sendall("\r\n".join(lines).encode())
        assert b" 101 " in client.recv(1 << 16)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def listen(client: ClientConnection) -> None:
    """Wait for what comes."""


KEY, VERSION = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"
COUNTED = re.compile(r"^(?:websocket_(?:handshakes|connections|errors)_total|http_exceptions_total)\{.*", re.MULTILINE)


@pytest.mark.parametrize("kind", ASGI_KINDS.values(), ids=ASGI_KINDS)
def test_what_the_client_saw_is_what_was_counted(kind: Kind, tmp_path: Path) -> None:
    """By route, with the mount around it."""
    with Server(kind, tmp_path) as server:
        ends = {
            path: talk(server, path, then)
            for path, then in {
                "/ws/echo/a": leave,
                "/ws/reads": leave,
                "/ws/close/4001": listen,
                "/ws/fail": say,
                "/ws/leave": say,
                "/ws/reject": listen,
                "/ws/deny": listen,
                "/ws/fail-early": listen,
                "/nowhere": listen,
            }.items()
        }
        break_off(server, "/ws/echo/b")
        server.rest()
        poll("no WebSocket is open", lambda: "websocket_connections_in_progress 0.0" in server.read("/metrics"))
        found = set(COUNTED.findall(server.read("/metrics")))
    left = "1006" if kind.server == "hypercorn" else "3001"  # hypercorn says nothing else of any client
    lost = "1006" if kind.server == "hypercorn" or "--ws=websockets" in kind.options else "1005"
    assert ends["/ws/close/4001"] == 4001
    assert (ends["/ws/reject"], ends["/ws/deny"], ends["/nowhere"]) == (403, 401, 403)
    assert ends["/ws/fail-early"] == (403 if kind.server == "granian" else 500)  # granian answers an exception so
    assert found == {
        'websocket_handshakes_total{route="/ws/echo/{name}",status="101"} 2.0',
        *(_ended(code, "/ws/echo/{name}", 2 if left == lost else 1) for code in (left, lost)),
        'websocket_errors_total{route="/ws/echo/{name}"} 0.0',
        'websocket_handshakes_total{route="/ws/reads",status="101"} 1.0',
        _ended(left, "/ws/reads"),
        'websocket_errors_total{route="/ws/reads"} 0.0',
        'websocket_handshakes_total{route="/ws/close/{code:int}",status="101"} 1.0',
        _ended("4001", "/ws/close/{code:int}"),
        'websocket_errors_total{route="/ws/close/{code:int}"} 0.0',
        'websocket_handshakes_total{route="/ws/fail",status="101"} 1.0',
        _ended("1011", "/ws/fail"),
        'websocket_errors_total{route="/ws/fail"} 1.0',
        'http_exceptions_total{exception="LookupError",route="/ws/fail"} 1.0',
        'websocket_handshakes_total{route="/ws/leave",status="101"} 1.0',
        _ended("1000", "/ws/leave"),
        'websocket_errors_total{route="/ws/leave"} 0.0',
        'websocket_handshakes_total{route="/ws/reject",status="403"} 1.0',
        'websocket_errors_total{route="/ws/reject"} 0.0',
        'websocket_handshakes_total{route="/ws/deny",status="401"} 1.0',
        'websocket_errors_total{route="/ws/deny"} 0.0',
        'websocket_handshakes_total{route="/ws/fail-early",status="500"} 1.0',
        'websocket_errors_total{route="/ws/fail-early"} 1.0',
        'http_exceptions_total{exception="LookupError",route="/ws/fail-early"} 1.0',
        'websocket_handshakes_total{route="_unmatched",status="403"} 1.0',
        'websocket_errors_total{route="_unmatched"} 0.0',
    }


def _ended(code: str, route: str, connections: int = 1) -> str:
    return f'websocket_connections_total{{close_code="{code}",route="{route}"}} {connections}.0'


@pytest.mark.parametrize(
    "kind",
    [
        ASGI_KINDS["websockets"],
        ASGI_KINDS["wsproto"],
        pytest.param(
            ASGI_KINDS["hypercorn"],
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12),
                reason="hypercorn waits without limit: Server.wait_closed waits for connections since Python 3.12",
            ),
        ),
    ],
    ids=["websockets", "wsproto", "hypercorn"],
)
def test_those_that_a_shutdown_ends_are_counted_as_that(kind: Kind, tmp_path: Path) -> None:
    """Uvicorn says the code, hypercorn cancels the application; it is no error."""
    options = ["--graceful-timeout=1"] if kind.server == "hypercorn" else []
    with ExitStack() as open_ones, Server(kind, tmp_path, *options) as server:
        clients = [
            open_ones.enter_context(connect(f"ws://127.0.0.1:{server.port}/ws/{path}"))
            for path in ("echo/a", "reads", "reads")
        ]
        for client in clients:
            hear(client)
        server.terminate()
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=DEADLINE_SECONDS)
        assert server.last_numbers() == {
            'http_requests_total{method="GET",route="/health",status="200"}': 1.0,
            'websocket_handshakes_total{route="/ws/echo/{name}",status="101"}': 1.0,
            'websocket_handshakes_total{route="/ws/reads",status="101"}': 2.0,
            'websocket_connections_total{close_code="1012",route="/ws/echo/{name}"}': 1.0,
            'websocket_connections_total{close_code="1012",route="/ws/reads"}': 2.0,
        }


@pytest.mark.parametrize("kind", WSGI_KINDS.values(), ids=WSGI_KINDS)
def test_a_session_over_wsgi_is_no_request_and_who_only_asks_for_one_is_counted(kind: Kind, tmp_path: Path) -> None:
    """Of five good sessions all is known but the code. The header alone hides nothing."""
    with Server(kind, tmp_path) as server:
        for _ in range(5):
            client = simple_websocket.Client(f"ws://127.0.0.1:{server.port}/echo")
            client.send("well?")
            assert client.receive(timeout=60) == "well?"
            with pytest.raises(simple_websocket.ConnectionClosed):  # the server closes when the view returns
                client.receive(timeout=60)
        asking = {"Upgrade": "websocket", "Connection": "Upgrade"}
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/fail", headers=asking)
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(request, timeout=60)
        failed.value.close()
        server.rest()
        text = server.read("/metrics")
    found = {
        (sample.name, sample.labels["route"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "route" in sample.labels and sample.value and not sample.name.endswith(("_bucket", "_sum"))
    }
    assert found == {
        ("websocket_handshakes_total", "/echo"): 5.0,
        ("websocket_connections_total", "/echo"): 5.0,
        ("websocket_connection_duration_seconds_count", "/echo"): 5.0,
        ("http_requests_total", "/health"): found["http_requests_total", "/health"],
        ("http_request_duration_seconds_count", "/health"): found["http_requests_total", "/health"],
        ("http_requests_total", "/fail"): 1.0,
        ("http_errors_total", "/fail"): 1.0,
        ("http_request_duration_seconds_count", "/fail"): 1.0,
    }
    assert re.search(r'^websocket_handshakes_total\{route="/echo",status="101"\}', text, re.MULTILINE)
    assert re.search(r'^websocket_connections_total\{close_code="_OTHER",route="/echo"\}', text, re.MULTILINE)


@pytest.mark.once
def test_a_thousand_connections_count_once_each_across_a_kill_and_a_shutdown(tmp_path: Path) -> None:
    """Those of a killed worker are open no more, and have no end that anybody saw; all others have one."""
    options = ("--worker-class=uvicorn_worker.UvicornWorker", "--workers=3")
    with Server(Kind("gunicorn", WEBSOCKET, options, ("uvicorn_worker", "starlette")), tmp_path) as server:
        ended, killed = asyncio.run(_open_a_thousand(server))
        poll("nothing is open", lambda: _open(server.read("/metrics")) == 0)
        found = set(COUNTED.findall(server.read("/metrics")))
    assert 0 < killed < 500
    assert ended == Counter({1012: 500 - killed, None: killed})
    assert found == {
        'websocket_handshakes_total{route="/ws/echo/{name}",status="101"} 1000.0',
        _ended("3001", "/ws/echo/{name}", 500),
        _ended("1012", "/ws/echo/{name}", 500 - killed),
        'websocket_errors_total{route="/ws/echo/{name}"} 0.0',
    }


async def _open_a_thousand(server: Server) -> tuple[Counter[int | None], int]:
    """Open connections, close half of them, kill a worker, and let the others end.

    Returns:
        How the other half ended, and how many of those the killed worker had.
    """
    url = f"ws://127.0.0.1:{server.port}/ws/echo/x"

    async def client(is_short: bool, opened: asyncio.Queue[None]) -> int | None:
        async with async_connect(url, open_timeout=DEADLINE_SECONDS, ping_interval=None) as connection:
            await connection.send("well?")
            assert await connection.recv() == "well?"
            opened.put_nowait(None)
            if is_short:
                await connection.close(3001)
                return 3001
            try:
                await connection.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None
        raise AssertionError("it goes on")

    opened: asyncio.Queue[None] = asyncio.Queue()
    clients = []
    for _ in range(20):  # not all at once, for the sake of the queue of the listening socket
        clients += [asyncio.create_task(client(n % 2 == 0, opened)) for n in range(50)]
        for _ in range(50):
            await asyncio.wait_for(opened.get(), DEADLINE_SECONDS)
    scraped = partial(server.read, "/metrics")
    await asyncio.to_thread(poll, "half are open", lambda: _open(scraped()) == 500)
    victim = next(iter(children(server.process.pid)))
    os.kill(victim, signal.SIGKILL)
    await asyncio.to_thread(poll, "those of the killed are not", lambda: _open(scraped()) < 500)
    killed = 500 - _open(scraped())
    server.process.send_signal(signal.SIGHUP)  # all workers shut down, and new ones can be asked
    ends = Counter(await asyncio.gather(*clients))
    assert ends.pop(3001) == 500
    return ends, killed


def _open(text: str) -> int:
    found = re.search(r"^websocket_connections_in_progress (\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])
