"""Clients that ask an application in this process, and remember in which rows their requests are to be counted.

An application of ASGI lives in one event loop from its startup to its shutdown, as on a server: several of them keep
tasks that serve all of their requests.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.validate import validator

import httpx

BASE_URL = "http://127.0.0.1:8000"
"""Some applications answer under no other host than this machine."""

SECONDS = 60
"""How long a request may take. The first one is the slowest: applications import and compile what they need for it."""


class Client:
    """Asks an application.

    Args:
        send: Sends a request by method and path, with what httpx takes besides.

    Attributes:
        expected: The requests by (method, route, status), as `counts.requests` returns them.
    """

    def __init__(self, send: Callable[..., httpx.Response]) -> None:
        self.send = send
        self.expected: dict[tuple[str, str, str], int] = {}

    def ask(self, request: str, answer: str, **more: Any) -> httpx.Response:
        """Ask once.

        Args:
            request: Method and path, with a query string: `GET /items/1`.
            answer: The status of the answer and the route under which it counts: `200 /items/<item>`.
            more: What httpx sends besides: `json`, `content`, `data`, `files`, `headers`.
        """
        method, path = request.split(" ", 1)
        status, route = answer.split(" ", 1)
        response = self.send(method, path, **more)
        assert response.status_code == int(status), (request, response.status_code, response.text[:500])
        row = (method, route, status)
        self.expected[row] = self.expected.get(row, 0) + 1
        return response

    def ask_each(self, answers: Mapping[str, str]) -> None:
        """Ask once for each request. The values are the answers."""
        for request, answer in answers.items():
            self.ask(request, answer)


def wsgi_client(app: Any) -> Client:
    """Return a client of a WSGI application, which the standard library watches."""
    return Client(httpx.Client(transport=httpx.WSGITransport(validator(app)), base_url=BASE_URL).request)


@contextmanager
def asgi_client(app: Any) -> Iterator[Client]:
    """Start an ASGI application, yield a client of it, and shut it down."""
    loop = asyncio.new_event_loop()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    life = loop.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, messages.get, said.put))

    def run(work: Any) -> Any:
        return loop.run_until_complete(asyncio.wait_for(work, SECONDS))

    def tell(message: str) -> None:
        messages.put_nowait({"type": f"lifespan.{message}"})
        assert run(said.get()) == {"type": f"lifespan.{message}.complete"}

    try:
        tell("startup")
        yield Client(lambda method, path, **more: run(client.request(method, path, **more)))
        tell("shutdown")
        run(life)
    finally:
        run(client.aclose())
        run(_cancel(asyncio.all_tasks(loop)))
        run(loop.shutdown_asyncgens())
        run(loop.shutdown_default_executor())
        loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """End the tasks of an event loop. Some applications leave theirs to the end of the process."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
