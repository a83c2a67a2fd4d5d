"""The raw bytes of an answer are those of the application alone, on every WSGI server, whatever the body.

And what is counted is what the client got, on every server where that can be told.
"""

import json
import re
import socket
from collections.abc import Iterator
from typing import Final

import pytest

from . import bodies_app, messages_app
from .servers import BODIES, DEADLINE_SECONDS, MESSAGES, Kind, Server, poll

KINDS: Final = {
    "gunicorn-sync": Kind("gunicorn", BODIES, ("--worker-class=sync",)),
    "gunicorn-gthread": Kind("gunicorn", BODIES, ("--worker-class=gthread", "--threads=4")),
    "gunicorn-gevent": Kind("gunicorn", BODIES, ("--worker-class=gevent",), ("gevent",)),
    "uwsgi": Kind("uwsgi", BODIES, ("--enable-threads", "--threads=2")),
    "granian": Kind("granian", BODIES, ("--interface=wsgi",)),
    "waitress": Kind("waitress", BODIES),
    "cheroot": Kind("cheroot", BODIES),
    "werkzeug": Kind("werkzeug", BODIES),
    "wsgiref": Kind("wsgiref", BODIES),
    "uvicorn": Kind("uvicorn", BODIES, ("--interface=wsgi",)),
    "hypercorn": Kind("hypercorn", BODIES),
    "uvicorn-httptools-asgi": Kind("uvicorn", MESSAGES, ("--http=httptools",), ("httptools",)),
    "uvicorn-h11-asgi": Kind("uvicorn", MESSAGES, ("--http=h11",), ("h11",)),
    "hypercorn-asgi": Kind("hypercorn", MESSAGES),
    "granian-asgi": Kind("granian", MESSAGES, ("--interface=asginl",)),
}
UNTOLD: Final = {
    ("uwsgi", BODIES): {"second-start"},
    ("granian", BODIES): {"late", "silent", "list-of-text", "list-of-numbers"},
    ("waitress", BODIES): {"bytes", "bytearray"},
    ("wsgiref", BODIES): {"bytes", "bytearray", "text", "list-of-text"},
    ("uvicorn", BODIES): {"second-start", "second-start-without-error"},
    ("hypercorn", BODIES): {
        "list-empty",
        "tuple-empty",
        "bytes-empty",
        "generator-empty",
        "no-content",
        "not-modified",
    },
    ("granian", MESSAGES): {"begin-only", "begin-twice", "fails-after-begin", "unknown-message"},
}
"""Where the client gets another status than the application can know. SERVERS.md says why."""

ANSWERS: Final = {BODIES: list(bodies_app.ANSWERS), MESSAGES: list(messages_app.ANSWERS)}


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(KINDS[request.param], tmp_path_factory.mktemp(request.param)) as server:
        yield server


def ask(port: int, method: str, path: str) -> bytes:
    """Return all bytes of an answer; the date and what names the path are the same in each."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = bytearray()
        try:
            while piece := client.recv(65_536):
                received += piece
        except ConnectionResetError:
            received += b"(reset)"
    masked = re.sub(rb"(?im)^date: .*\r$", b"date: now\r", bytes(received))
    return masked.replace(b"/ours/", b"/bare/")


def numbers_at_rest(server: Server) -> dict[str, float] | None:
    """Return what was counted, once nothing is in progress: some servers close a body after its client has it all."""
    numbers: dict[str, float] = json.loads(server.read("/numbers"))
    is_busy = any(value for sample, value in numbers.items() if sample.startswith("http_requests_in_progress"))
    return None if is_busy else numbers


def is_broken_off(answer: bytes) -> bool:
    """Tell whether the server closed the connection before the end of the body, or before anything."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return not (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_byte_of_an_answer_tells_that_the_application_is_wrapped(server: Server, method: str) -> None:
    """Compared for each body; one that differs is named with what was sent."""
    answers = {
        name: (ask(server.port, method, f"/bare/{name}"), ask(server.port, method, f"/ours/{name}"))
        for name in ANSWERS[server.kind.framework]
    }
    different = {name: pair for name, pair in answers.items() if pair[0] != pair[1]}
    if server.kind.server == "granian" and method == "GET":  # how much it sends before it breaks off is chance
        different = {name: pair for name, pair in different.items() if not all(map(is_broken_off, pair))}
    assert different == {}


def test_the_status_that_the_client_got_is_counted(server: Server) -> None:
    """Where it got one, and the application can know it."""
    seen: dict[str, str] = {}
    for name in ANSWERS[server.kind.framework]:
        head = re.match(rb"HTTP/1\.. (\d+)", ask(server.port, "OPTIONS", f"/ours/{name}"))
        if head:
            seen[name] = head[1].decode()
    numbers = poll("no request is in progress", lambda: numbers_at_rest(server))
    assert numbers is not None  # poll does not return otherwise
    found = {
        match[1]: match[2]
        for sample, value in numbers.items()
        if value
        and (match := re.match(r'http_requests_total{method="OPTIONS",route="/ours/(.*)",status="(.*)"}', sample))
    }
    wrong = {name: (found.get(name), status) for name, status in seen.items() if found.get(name) != status}
    assert {
        name: pair
        for name, pair in wrong.items()
        if name not in UNTOLD.get((server.kind.server, server.kind.framework), ())
    } == {}
