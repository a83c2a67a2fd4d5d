"""Servers that stop while they serve: what the clients saw is what was counted. SERVERS.md tells what each does."""

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from . import servers
from .clients import NOTHING, Answer, Http1
from .mix import until
from .servers import DEADLINE_SECONDS, Kind, Server

KINDS = {
    "gthread": servers.GTHREAD,
    "sync": servers.SYNC,
    "gevent": servers.GEVENT,
    "httptools": servers.HTTPTOOLS,
    "h11": servers.H11,
    "hypercorn": servers.HYPERCORN,
}
CLIENTS = 12

PATIENT = """
def post_fork(server, worker):
    worker.cfg.set("graceful_timeout", 600)
"""
"""A worker of gunicorn that leaves it to its master how long it may take to end.

Of itself it would stop waiting after the same time, and end before a master that is late kills it.
"""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_the_clients_saw_is_what_was_counted(kind: Kind, tmp_path: Path) -> None:
    """SIGTERM under load: requests being served are answered and counted, those refused are neither."""
    with Server(kind, tmp_path) as server:
        seen = asyncio.run(_load_until_the_end(server))
        numbers = server.last_numbers()
    assert numbers is not None
    requests = {
        (route, status): numbers.pop(f'http_requests_total{{method="GET",route="{route}",status="{status}"}}')
        for route, status in [("/ok", 200), ("/slow", 200), ("/raise", 500)]
    }
    assert numbers == {
        'http_errors_total{method="GET",route="/raise"}': requests["/raise", 500],
        'http_exceptions_total{exception="ValueError",route="/raise"}': requests["/raise", 500],
    }
    if kind.server == "hypercorn":
        # It may close a connection whose next request it has read already, and serve that all the same: to nobody.
        assert all(seen[answer] <= times for answer, times in requests.items())
        assert sum(requests.values()) <= sum(seen.values()) + CLIENTS
    else:
        assert requests == seen


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (servers.HTTPTOOLS, "--timeout-graceful-shutdown=1"),
        (servers.H11, "--timeout-graceful-shutdown=1"),
        pytest.param(
            servers.HYPERCORN,
            "--graceful-timeout=1",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12),
                reason="hypercorn waits without limit: Server.wait_closed waits for connections since Python 3.12",
            ),
        ),
    ],
    ids=["httptools", "h11", "hypercorn"],
)
def test_requests_cancelled_by_the_server_are_errors(kind: Kind, option: str, tmp_path: Path) -> None:
    """Past the graceful timeout ASGI servers cancel: one client sees 500, the other a broken stream; both are named."""
    with Server(kind, tmp_path, option) as server:
        hanging, streaming = asyncio.run(_stop_between(server))
        numbers = server.last_numbers()
    assert (hanging.status, streaming) == (500, False)
    assert numbers == {
        'http_requests_total{method="GET",route="/hang",status="500"}': 1.0,
        'http_requests_total{method="GET",route="/events",status="200"}': 1.0,
        'http_errors_total{method="GET",route="/hang"}': 1.0,
        'http_errors_total{method="GET",route="/events"}': 1.0,
        'http_exceptions_total{exception="CancelledError",route="/hang"}': 1.0,
        'http_exceptions_total{exception="CancelledError",route="/events"}': 1.0,
    }


@pytest.mark.parametrize("kind", [servers.GTHREAD, servers.GEVENT], ids=["gthread", "gevent"])
def test_a_killed_worker_answers_and_counts_nothing_more(kind: Kind, tmp_path: Path) -> None:
    """Past the graceful timeout gunicorn kills its worker: its last word was the scrape before."""
    (tmp_path / "conf.py").write_text(PATIENT)
    with Server(kind, tmp_path, "--graceful-timeout=1", f"--config={tmp_path / 'conf.py'}") as server:
        hanging, streaming = asyncio.run(_stop_between(server))
        assert (hanging, streaming) == (NOTHING, False)
        assert server.last_numbers() is None


def test_a_request_interrupted_in_a_sync_worker_is_an_error(tmp_path: Path) -> None:
    """A worker told to quit raises SystemExit within the application and answers 500: an error, no disconnect."""
    with Server(servers.SYNC, tmp_path) as server:

        async def ask() -> Answer:
            client = Http1(server.port)
            await client.begin("GET", "/hang?begun=hanging")
            await until(lambda: server.has_left("hanging"))
            server.interrupt()
            try:
                return await asyncio.wait_for(client.answer("GET"), DEADLINE_SECONDS)
            finally:
                client.close()

        answer = asyncio.run(ask())
        numbers = server.last_numbers()
    assert answer.status == 500
    assert numbers == {
        'http_requests_total{method="GET",route="/hang",status="500"}': 1.0,
        'http_errors_total{method="GET",route="/hang"}': 1.0,
        'http_exceptions_total{exception="SystemExit",route="/hang"}': 1.0,
    }


async def _load_until_the_end(server: Server) -> Counter[tuple[str, int]]:
    """Ask without a pause until nobody answers, stop the server meanwhile, and return what was seen."""
    seen: Counter[tuple[str, int]] = Counter()

    async def ask(chance: random.Random) -> None:
        client = Http1(server.port)
        while True:
            path = chance.choice(["/ok", "/ok", "/ok", "/slow", "/raise"])
            answer = await asyncio.wait_for(client.ask("GET", path), DEADLINE_SECONDS)
            if answer == NOTHING:
                break
            assert answer.complete, (path, answer)  # a graceful stop breaks nothing off
            assert answer.status is not None
            seen[path, answer.status] += 1
            if path == "/raise":
                client.close()  # as uvicorn does, after its answer and without a word
        client.close()

    async def stop() -> None:
        await until(lambda: sum(seen.values()) > 20 * CLIENTS)
        server.terminate()

    await asyncio.gather(stop(), *(ask(random.Random(n)) for n in range(CLIENTS)))
    return seen


async def _stop_between(server: Server) -> tuple[Answer, bool]:
    """Stop a server while one request hangs and one streams; return the answer to one, and if the other ended well."""
    hanging, streaming = Http1(server.port), Http1(server.port)
    await hanging.begin("GET", "/hang?begun=hanging")
    await streaming.begin("GET", "/events?until=never")
    await streaming.read_until(b"first")
    await until(lambda: server.has_left("hanging"))
    server.terminate()
    try:
        answer = await asyncio.wait_for(hanging.answer("GET"), DEADLINE_SECONDS)
        try:
            await asyncio.wait_for(streaming.read_until(b"\r\n0\r\n"), DEADLINE_SECONDS)
        except (EOFError, ConnectionError):
            return answer, False
        return answer, True
    finally:
        hanging.close()
        streaming.close()
