"""Hostile WebSockets, and what they leave: `python -m tests.sockets [--count N]` prints it, of a million by default.

Each asks for a declared path or for one of its own, and ends in one of the ways that there are: the application closes
it, the client leaves, is lost, or says what is no close code, the application refuses it or raises. A `route_of` hands
the raw path through, the worst that a user can write. `test_cardinality` does the same with fewer.
"""

import argparse
import gc
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from red_middleware import RedASGIMiddleware, RedMetrics
from red_middleware.counting.labels import WEBSOCKET
from red_middleware.exposition import Request, answer

from .counts import faults, fresh_metrics, total
from .drive import Message, Receive, Scope, Send, by_hand, declare

MILLION: Final = 1_000_000

CODES: Final[list[Any]] = [
    1000, 1001, 1005, 1006, 1009, 1011, 1012, 1015, 3000, 4001, 4999, 0, -1, 7, 999, 5000, 70_000, 2**70, None, "1000",
    1000.0, float("nan"), True, b"1000", "\udcff",
]  # fmt: skip
"""What clients and applications close with, and what no protocol knows."""

STATUSES: Final[list[Any]] = [200, 302, 401, 403, 404, 429, 500, 503, 0, -1, 99, 1000, None, "403"]
"""What an application refuses with."""


class HostileError(Exception):
    """Raised by the application, and expected."""


ERRORS: Final = [type(f"Error{number}", (HostileError,), {}) for number in range(500)]
"""Exceptions of more classes than are named."""

ROOMS: Final = [f"/room/{number}" for number in range(32)]
"""The routes that the application declares, as many as have a place at the least."""

CONNECT: Final = {"type": "websocket.connect"}
ACCEPT: Final = {"type": "websocket.accept"}


class Figures(NamedTuple):
    """What was there before the first WebSocket, after a third of them, and after the last."""

    connections: int
    series: tuple[int, int, int]
    series_of_websockets: tuple[int, int, int]
    bound: int
    bytes_of_scrape: tuple[int, int, int]
    blocks_of_memory: tuple[int, int, int]
    seconds: float


class Sockets:
    """A server, its clients and an application, which do something else with each WebSocket.

    Args:
        metrics: What counts them.
        seed: Tells one order of random choices from another.
    """

    def __init__(self, metrics: RedMetrics, seed: int = 7) -> None:
        self.metrics = metrics
        self.wrapped = RedASGIMiddleware(self.app, metrics=metrics, route_of=lambda scope: scope["path"])
        declare(metrics, [(room, [WEBSOCKET]) for room in ROOMS])
        self.pick = random.Random(seed)
        self.accepted = 0
        self.said: Iterator[Message] = iter(())

    def connect(self, count: int) -> None:
        """Let so many clients come, one after the other."""
        for _ in range(count):
            self.said = iter([CONNECT, {"type": "websocket.disconnect", "code": self.pick.choice(CODES)}])
            path = self.pick.choice(ROOMS) if self.pick.random() < 0.8 else f"/é/{self.pick.getrandbits(60)}"
            scope = {"type": "websocket", "path": path, "root_path": "", "query_string": b"", "headers": []}
            with suppress(HostileError):
                by_hand(self.wrapped(scope, self.receive, self.send))

    async def receive(self) -> Message:
        return next(self.said)

    async def send(self, message: Message) -> None:
        pass

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do one of the things that applications do."""
        await receive()
        way = self.pick.randrange(8)
        if way == 0:
            await send({"type": "websocket.close", "code": self.pick.choice(CODES)})
            return
        if way == 1:
            await send({"type": "websocket.http.response.start", "status": self.pick.choice(STATUSES), "headers": []})
            await send({"type": "websocket.http.response.body"})
            return
        if way == 2:
            raise self.pick.choice(ERRORS)
        self.accepted += 1
        await send(ACCEPT)
        if way == 3:
            raise self.pick.choice(ERRORS)
        if way == 4:
            await send({"type": "websocket.close", "code": self.pick.choice(CODES)})
        elif way < 7:
            await receive()


def measured(count: int) -> Figures:
    """Return what so many WebSockets leave."""
    metrics = fresh_metrics(clock=time.perf_counter)
    sockets = Sockets(metrics)
    looks, seconds = [look(metrics)], 0.0
    for part in (count // 3, count - count // 3):
        began = time.perf_counter()
        sockets.connect(part)
        seconds += time.perf_counter() - began
        looks.append(look(metrics))
    assert total(metrics, "websocket_handshakes_total") == count
    assert total(metrics, "websocket_connections_total") == sockets.accepted
    assert metrics.snapshot()["websocket_connections_in_progress"] == faults(metrics) == 0
    series, sockets_only, sizes, blocks = ((before, third, last) for before, third, last in zip(*looks, strict=True))
    return Figures(count, series, sockets_only, metrics.bound().series, sizes, blocks, seconds)


def look(metrics: RedMetrics) -> tuple[int, int, int, int]:
    """Return the series, those of WebSockets, the bytes of a scrape, and the blocks of memory of the whole process."""
    found, size = metrics.snapshot(), len(answer(metrics, Request()).body)
    series, of_websockets = int(found["red_series"]), sum(text.startswith("websocket_") for text in found)
    del found
    gc.collect()
    return series, of_websockets, size, sys.getallocatedblocks()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.sockets", description="What hostile WebSockets leave.")
    parser.add_argument("--count", type=int, default=MILLION, help="how many connect, a million by default")
    found = measured(parser.parse_args().count)
    print(f"{found.connections:,} WebSockets in {found.seconds:.0f} s; at most {found.bound:,} series.\n")
    print("| | before | after a third | at the end |\n|---|---|---|---|")
    for says, figures in (
        ("series", found.series),
        ("of these, of WebSockets", found.series_of_websockets),
        ("bytes of a scrape", found.bytes_of_scrape),
        ("blocks of memory", found.blocks_of_memory),
    ):
        print(f"| {says} | {' | '.join(f'{figure:,}' for figure in figures)} |")


if __name__ == "__main__":
    main()
