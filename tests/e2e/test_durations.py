"""When the clock of a streamed response stops."""

import asyncio
import re
import time

import pytest

from .clients import Http1
from .conftest import Watched
from .servers import Server

pytestmark = pytest.mark.once


def test_an_event_stream_is_timed_at_its_start(watched: Watched) -> None:
    """Its lifetime is no latency: the duration is over before the first event is at the client."""

    async def listen() -> float:
        client = Http1(watched.server.port)
        begun = time.perf_counter()
        await client.begin("GET", f"/events?until={watched.job}")
        await client.read_until(b"first")
        seconds = time.perf_counter() - begun
        watched.server.leave(watched.job)
        await client.read_until(b"last")
        client.close()
        return seconds

    seconds = asyncio.run(listen())
    watched.server.rest()
    count, duration = _durations(watched.server, "/events")
    assert count == 1
    assert duration <= seconds


def test_a_stream_is_timed_at_its_end(watched: Watched) -> None:
    """Four pieces, 50 ms before each: the duration holds them all."""
    client = Http1(watched.server.port)
    answer = asyncio.run(client.ask("GET", "/paced"))
    client.close()
    assert answer.complete
    watched.server.rest()
    count, duration = _durations(watched.server, "/paced")
    assert count == 1
    assert duration > 0.19  # a timer of an event loop may be early by its clock's resolution


def _durations(server: Server, route: str) -> tuple[float, float]:
    """Return count and sum of the latency histogram of a route."""
    text = server.read("/metrics")
    count, total = (
        re.findall(rf'^http_request_duration_seconds_{part}{{method="GET",route="{route}"}} (\S+)$', text, re.MULTILINE)
        for part in ("count", "sum")
    )
    return float(count[0]), float(total[0])
