"""The clients themselves, where a server of another Python or another release would show what they get wrong."""

import asyncio
import socket
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from .clients import Answer, Http1
from .servers import DEADLINE_SECONDS, get


def test_an_empty_line_may_end_with_lf_alone() -> None:
    """The error pages of gunicorn end their head so from Python 3.14 on."""
    with answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\nno") as port:
        assert asyncio.run(ask(port)) == Answer(400, b"no", True)


def test_an_answer_that_is_an_error_is_closed() -> None:
    """Python 3.14 warns of one that is collected while it is open, in whichever test runs then."""
    with (
        answering(b"HTTP/1.1 503 Not yet\r\nContent-Length: 7\r\n\r\nnot yet") as port,
        pytest.raises(urllib.error.HTTPError) as error,
    ):
        get(f"http://127.0.0.1:{port}/-/ready")
    assert error.value.closed


async def ask(port: int) -> Answer:
    client = Http1(port)
    try:
        return await asyncio.wait_for(client.ask("GET", "/"), DEADLINE_SECONDS)
    finally:
        client.close()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer one request with these bytes, then close; yields the port."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        yield server.getsockname()[1]
        served.result(DEADLINE_SECONDS)
