"""The sizes of bodies: what the application received and what the server took, whatever any header says."""

import array
import asyncio
import copy
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry, generate_latest
from starlette.responses import FileResponse, StreamingResponse
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import EnvironBuilder

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting import sizes as sizes_module
from red_middleware.counting.enclosing import KEY
from red_middleware.exposition import Request as Scrape
from red_middleware.exposition import answer
from red_middleware.metrics import recorder_of
from red_middleware.workers import Identity
from red_middleware.workers.carry import carry

from .counts import counted, faults, fresh_metrics, one_request, requests
from .drive import (
    ASGIServer,
    Body,
    Environ,
    Receive,
    Scope,
    Send,
    StartResponse,
    WSGIApp,
    WSGIServer,
    ask_asgi,
    ask_wsgi,
    begun,
    count,
    environ,
    scope,
)

REQUEST = "http_request_size_bytes"
RESPONSE = "http_response_size_bytes"


def fresh(**options: Any) -> RedMetrics:
    """Return numbers that count sizes, in two buckets."""
    return fresh_metrics(**{"sizes": True, "size_buckets": (10, 100), **options})


def sizes(metrics: RedMetrics) -> tuple[float, float]:
    """Return the bytes that were received and sent, by all requests, each of which was counted in both families."""
    found = metrics.snapshot()
    number = sum(n for text, n in found.items() if text.startswith("http_request_duration_seconds_count"))
    for name in (REQUEST, RESPONSE):
        assert sum(n for text, n in found.items() if text.startswith(f"{name}_count")) == number
    received, sent = (
        sum(n for text, n in found.items() if text.startswith(f"{name}_sum")) for name in (REQUEST, RESPONSE)
    )
    return received, sent


def answering(make: Callable[[Environ], Any], *headers: tuple[str, str]) -> WSGIApp:
    """Return an application that answers with a body."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        return make(environ)

    return app


def serve(app: WSGIApp, metrics: RedMetrics, request: Environ | None = None, **server: Any) -> WSGIServer:
    """Serve one request of a wrapped application."""
    return WSGIServer(**server).serve(RedWSGIMiddleware(app, metrics=metrics, route_of=lambda _: "/mine"), request)


def posted(body: Any, **more: Any) -> Environ:
    """Return an upload."""
    return environ("/", "POST", **{"wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body, **more})


@pytest.mark.parametrize("given", [[b"abc", b"", b"defgh"], (b"abc", b"defgh"), Body(b"abc", b"defgh")])
@pytest.mark.parametrize("more", [{}, {"first_byte": True, "event_streams": True}])
def test_a_response_is_as_long_as_its_pieces(given: Any, more: dict[str, bool]) -> None:
    """Of a list, a tuple, and what is iterated only; with the other options as well."""
    metrics = fresh(**more)
    for _ in range(2):
        assert serve(answering(lambda _: given), metrics).raised is None
    assert sizes(metrics) == (0, 16)


def test_the_families_are_histograms_with_their_own_buckets() -> None:
    """By method and route; all that one request counts is written out. The sum is a whole number."""
    metrics = fresh()
    serve(answering(lambda environ: [b"a" * 50, environ["wsgi.input"].read(7)]), metrics, posted(b"b" * 200))
    row = 'method="POST",route="/mine"'
    expected = {
        **one_request(method="POST", route="/mine"),
        f'{REQUEST}_bucket{{le="10.0",{row}}}': 1.0,
        f'{REQUEST}_bucket{{le="100.0",{row}}}': 1.0,
        f'{REQUEST}_bucket{{le="+Inf",{row}}}': 1.0,
        f"{REQUEST}_count{{{row}}}": 1.0,
        f"{REQUEST}_sum{{{row}}}": 7.0,
        f'{RESPONSE}_bucket{{le="100.0",{row}}}': 1.0,
        f'{RESPONSE}_bucket{{le="+Inf",{row}}}': 1.0,
        f"{RESPONSE}_count{{{row}}}": 1.0,
        f"{RESPONSE}_sum{{{row}}}": 57.0,
    }
    assert counted(metrics) == expected


def test_the_text_is_what_prometheus_client_writes() -> None:
    """Sizes among the rest."""
    metrics = fresh(buckets=(0.5,))
    serve(answering(lambda environ: [environ["wsgi.input"].read()] * 3), metrics, posted(b"b" * 12345))
    ours = answer(metrics, Scrape("GET", "name[]=" + f"{RESPONSE}_sum", {})).body
    (line,) = [line for line in ours.decode().splitlines() if line.startswith(f"{RESPONSE}_sum")]
    assert line in generate_latest(metrics.registry).decode().splitlines()
    assert line.endswith(" 37035.0")


def test_the_bound_follows_and_without_the_option_there_is_nothing() -> None:
    """Two histograms more for each row; else the classes are those of before."""
    metrics, plain = fresh(), fresh_metrics()
    assert metrics.bound().series - plain.bound().series == plain.bound().rows * 2 * (2 + 3)
    wrapped = RedWSGIMiddleware(answering(lambda _: [b"a"]), metrics=plain)
    serve(wrapped, plain)
    assert counted(plain, REQUEST, RESPONSE) == {}
    assert recorder_of(plain).table.size_cells is None


READINGS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(),
    "read in pieces": lambda file: [file.read(2), file.read(3), file.read(-1)],
    "readline": lambda file: [file.readline(), file.readline(4), file.readline(), file.readline()],
    "readlines": lambda file: file.readlines(),
    "iteration": list,
    "next": lambda file: [next(file), next(file)],
    "read1": lambda file: file.read1(100),
    "readinto": lambda file: file.readinto(bytearray(100)),
    "buffered": lambda file: io.BufferedReader(file).read(),
    "text": lambda file: io.TextIOWrapper(file).read(),
    "anew": lambda file: [file.read(), file.seek(0), file.read()],
    "sized": lambda file: [file.seek(0, io.SEEK_END), file.read(), file.seek(0), file.read(8), file.read()],
    "from its end": lambda file: [file.seek(-1, io.SEEK_END), file.read(1), file.seek(0), file.read()],
    "anew in part": lambda file: [file.read(8), file.seek(2), file.seek(2, io.SEEK_CUR), file.read(1), file.read()],
}


@pytest.mark.parametrize("name", READINGS)
def test_a_request_is_as_long_as_what_the_application_reads(name: str) -> None:
    """In every way to read."""
    metrics = fresh()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        READINGS[name](environ["wsgi.input"])
        return []

    assert serve(app, metrics, posted(b"first\nlast")).raised is None
    assert sizes(metrics) == (10, 0)


def test_a_body_that_nobody_reads_is_none_whatever_its_header_says() -> None:
    """In both directions: a length that lies is not believed."""
    metrics = fresh()
    request = posted(b"a" * 50, CONTENT_LENGTH="50")
    serve(answering(lambda _: iter([b"abc"]), ("Content-Length", "999")), metrics, request)
    assert sizes(metrics) == (0, 3)


def test_the_input_stands_for_the_servers() -> None:
    """Its other attributes are there, others can be set, what it lacks it lacks, and it can be copied."""
    seen: list[Any] = []

    class Strange:
        """Reads what is no bytes."""

        socket = 7

        def read(self, *size: Any) -> Any:
            return None

        readline = readlines = seek = read

    def look(environ: Environ) -> list[bytes]:
        file = environ["wsgi.input"]
        file.mine = 1
        seen.extend([file.socket, file.mine, hasattr(file, "readinto"), hasattr(file, "tell"), file.read(3)])
        seen.extend([file.readlines(), copy.copy(file).socket, file.seek(0)])
        return []

    metrics = fresh()
    assert serve(answering(look), metrics, posted(Strange())).raised is None
    assert seen == [7, 1, False, False, None, None, 7, None]
    request = environ()
    del request["wsgi.input"]
    assert serve(answering(lambda _: []), metrics, request).raised is None
    assert sizes(metrics) == (0, 0)
    assert "wsgi.input" not in request


def test_the_input_is_equal_to_that_which_it_stands_for() -> None:
    """So is another one that stands for the same; that of another request is not."""
    file, seen = io.BytesIO(), list[Any]()

    def look(environ: Environ) -> list[bytes]:
        seen.append(environ["wsgi.input"])
        return []

    for body in (file, file, io.BytesIO()):
        serve(answering(look), fresh(), posted(body))
    first, second, other = seen
    assert first == file == second == first
    assert len({file, first, second}) == 1
    assert first != other


@pytest.mark.parametrize("inner", [False, True])
def test_a_route_is_found_where_an_environ_is_copied_and_its_input_counts_twice(inner: bool) -> None:
    """Flask's request is known by its input, which is another object further in."""
    outer = fresh()
    wrapped = RedWSGIMiddleware(shop(), metrics=fresh(sizes=inner))
    copying = RedWSGIMiddleware(lambda environ, start: wrapped(dict(environ), start), metrics=outer)
    assert ask_wsgi(copying, "/upload", "POST", environ={"CONTENT_LENGTH": "0"}).body == b"0"
    assert [*requests(outer)] == [("POST", "/upload", "200")]


def test_an_environ_that_is_used_again_does_not_grow() -> None:
    """Its input is that of the server again, before it is counted anew."""
    metrics = fresh()
    request = posted(b"abcdef")
    file = request["wsgi.input"]
    for _ in range(3):
        serve(answering(lambda environ: [environ["wsgi.input"].read(2)]), metrics, request)
    assert sizes(metrics) == (6, 6)
    assert request["wsgi.input"]._file is file


def test_what_is_read_or_sent_after_the_end_does_not_count() -> None:
    """As in a background task."""
    metrics = fresh()
    request = posted(b"abc")
    serve(answering(lambda _: [b"a"]), metrics, request)
    assert request["wsgi.input"].read() == b"abc"
    assert sizes(metrics) == (0, 1)


def test_middlewares_of_two_redmetrics_count_the_same_bytes() -> None:
    """Each for its own numbers, of a file as well; two of one count once."""
    inner, outer = fresh(), fresh()

    def both(environ: Environ) -> Any:
        return environ["wsgi.file_wrapper"](io.BytesIO(environ["wsgi.input"].read()))

    app = RedWSGIMiddleware(RedWSGIMiddleware(answering(both), metrics=inner), metrics=inner)
    serve(app, outer, posted(b"abc", **{"wsgi.file_wrapper": FileWrapper}))
    assert sizes(inner) == sizes(outer) == (3, 3)


def test_a_response_to_head_has_no_size(tmp_path: Path) -> None:
    """Whatever the application says: no server sends it."""
    metrics = fresh()
    serve(answering(lambda _: [b"abc"]), metrics, environ("/", "HEAD"))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc"})

    ASGIServer().serve(RedASGIMiddleware(app, metrics=metrics), scope("/", "HEAD"))
    assert sizes(metrics) == (0, 0)


def test_a_request_without_an_answer_has_no_size_of_a_response() -> None:
    """It counts as one of 0 bytes."""
    metrics = fresh()

    def fails(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read(2)
        raise LookupError

    serve(fails, metrics, posted(b"abc"))

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    ASGIServer(body=b"abc").serve(RedASGIMiddleware(silent, metrics=metrics))
    assert sizes(metrics) == (5, 0)


def test_what_is_written_counts_and_what_cannot_be_written_does_not() -> None:
    """By `write`, before pieces, and by an application that fails after it."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"abc")
        if environ["PATH_INFO"] == "/fails":
            raise LookupError
        write(b"defg")
        return [b"hi"]

    metrics = fresh()
    assert serve(app, metrics).raised is None
    assert sizes(metrics) == (0, 9)
    serve(app, metrics, environ("/fails"))
    assert sizes(metrics) == (0, 12)
    serve(app, metrics, fail_at=1)
    assert sizes(metrics) == (0, 15)


@pytest.mark.parametrize(
    ("server", "sent"),
    [
        ({"fail_at": 0}, 0),
        ({"fail_at": 2}, 7),
        ({"stop_at": 1}, 3),
        ({"fail_at": 1, "fault": SystemExit}, 3),
    ],
)
@pytest.mark.parametrize("given", [list, tuple])
def test_a_body_that_is_cut_counts_what_was_sent(server: dict[str, Any], sent: int, given: Any) -> None:
    """Not the piece that could not be sent."""
    metrics = fresh()
    serve(answering(lambda _: given([b"abc", b"defg", b"hi"]), ("Content-Length", "9")), metrics, **server)
    assert sizes(metrics) == (0, sent)


def test_an_application_that_fails_within_its_body_sent_what_came_before() -> None:
    """It was asked for more."""
    metrics = fresh()
    serve(answering(lambda _: Body(b"abc", LookupError())), metrics)
    assert sizes(metrics) == (0, 3)


class Listed(list[bytes]):
    """A list of a class of its own."""


@pytest.mark.parametrize(
    ("given", "sent"),
    [([b"abc", b"d"], 4), (Listed([b"abc"]), 3), (b"abcde", 5), (Body(b"abc"), 0), (["text", None, b"a"], 1)],
)
def test_a_server_may_send_a_body_without_iterating_it(given: Any, sent: int) -> None:
    """Granian does so with lists, and uWSGI with byte strings. It may drop them without `close`."""
    metrics = fresh()
    serve(answering(lambda _: given), metrics, stop_at=0)
    assert sizes(metrics) == (0, sent)
    wrapped = RedWSGIMiddleware(answering(lambda _: given), metrics=metrics)
    wrapped(environ(), WSGIServer().start_response)
    assert sizes(metrics) == (0, 2 * sent)


def test_a_list_that_could_not_be_begun_was_not_sent() -> None:
    """The server closes it while it handles the error."""
    metrics = fresh()
    body: Any = RedWSGIMiddleware(answering(lambda _: [b"abc"]), metrics=metrics)(environ(), lambda *_: print)
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        body.close()
    assert sizes(metrics) == (0, 0)


@pytest.mark.parametrize("given", ["text", [b"ab", 7], [b"ab", "text"], None, 7])
def test_a_body_of_a_wrong_type_counts_the_bytes_that_were_sent(given: Any) -> None:
    """The server refuses the rest, as it does without the middleware."""
    metrics = fresh()
    server = serve(answering(lambda _: given), metrics)
    assert isinstance(server.raised, TypeError)
    assert sizes(metrics) == (0, 2 if isinstance(given, list) else 0)


def on_disk(data: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the server closes it
    file.write(data)
    file.seek(2)
    return file


class Reader:
    """A file that can do nothing but `read`."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data[2:])

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


def in_memory(data: bytes) -> Any:
    file = io.BytesIO(data)
    file.seek(2)
    return file


@pytest.mark.parametrize("file", [on_disk, in_memory, Reader])
@pytest.mark.parametrize(
    ("server", "sent"), [({}, 9), ({"stop_at": 2}, 8), ({"stop_at": 0}, None), ({"fail_at": 0}, 4)]
)
def test_a_file_is_measured_by_how_far_it_was_read(file: Any, server: dict[str, Any], sent: int | None) -> None:
    """Where a server sends it without reading it, the system knows the size of one on disk."""
    metrics = fresh()

    def make(environ: Environ) -> Any:
        return environ["wsgi.file_wrapper"](file(b"--abcdefghi"), 4)

    serve(answering(make), metrics, environ(file_wrapper=FileWrapper), **server)
    assert sizes(metrics) == (0, (9 if file is on_disk else 0) if sent is None else sent)
    assert faults(metrics) == 0


@pytest.mark.parametrize(("length", "sent"), [("5", 5), ("99", 9), ("many", 9), ("-1", 0)])
@pytest.mark.parametrize("stop_at", [None, 0])
def test_a_file_is_sent_as_far_as_its_header_says(length: str, sent: int, stop_at: int | None) -> None:
    """Servers stop there, and at the end of the file."""
    metrics = fresh()

    def make(environ: Environ) -> Any:
        return environ["wsgi.file_wrapper"](on_disk(b"--abcdefghi"))

    serve(answering(make, ("Content-Length", length)), metrics, environ(file_wrapper=FileWrapper), stop_at=stop_at)
    assert sizes(metrics) == (0, sent)


def test_a_file_that_could_not_be_sent_has_no_size() -> None:
    """If it was not read, nothing tells how much of it was."""
    metrics = fresh()
    request = environ(file_wrapper=FileWrapper)
    wrapped = RedWSGIMiddleware(
        answering(lambda environ: environ["wsgi.file_wrapper"](on_disk(b"--abc"))), metrics=metrics
    )
    body: Any = wrapped(request, lambda *_: print)
    try:
        raise BrokenPipeError
    except BrokenPipeError:
        body.close()
    assert sizes(metrics) == (0, 0)


class Sealed:
    """A server's file that takes no attribute, and is the application's own, as uWSGI's."""

    __slots__ = ("file",)

    def __init__(self, file: Any) -> None:
        self.file = file

    def fileno(self) -> int:
        return int(self.file.fileno())

    def tell(self) -> int:
        return int(self.file.tell())


class SealedReader:
    """The same without a position."""

    __slots__ = ("hidden",)

    def __init__(self, file: Any) -> None:
        self.hidden = file


@pytest.mark.parametrize(("kind", "sent"), [(Sealed, 3), (SealedReader, 0)])
def test_a_file_that_takes_no_attribute_counts_as_sent_when_the_server_has_it(kind: Any, sent: int) -> None:
    """Nobody will say when it ends."""
    metrics = fresh()
    with on_disk(b"--abc") as file:
        wrapped = RedWSGIMiddleware(answering(lambda environ: environ["wsgi.file_wrapper"](file)), metrics=metrics)
        body: Any = wrapped(environ(file_wrapper=kind), lambda *_: print)
        assert isinstance(body, kind)
    assert sizes(metrics) == (0, sent)
    assert faults(metrics) == 0


def test_a_wrapper_that_keeps_its_file_for_itself_stays_the_servers() -> None:
    """The stand-in cannot be put in the place of a file; the response is sent as it is."""

    class Kept:
        def __init__(self, file: Any) -> None:
            self._file = file

        @property
        def filelike(self) -> Any:
            return self._file

        def __iter__(self) -> Iterator[bytes]:
            yield self._file.read()

    metrics = fresh()
    server = serve(
        answering(lambda environ: environ["wsgi.file_wrapper"](Reader(b"--abc"))), metrics, environ(file_wrapper=Kept)
    )
    assert isinstance(server.body, Kept)
    assert sizes(metrics) == (0, 0)
    assert faults(metrics) == 0


def shop() -> flask.Flask:
    app = flask.Flask("shop")

    @app.post("/upload")
    def upload() -> str:
        return f"{len(flask.request.get_data())}"

    @app.post("/form")
    def form() -> str:
        return str(len(flask.request.files["file"].read()))

    @app.post("/ignored")
    def ignored() -> tuple[str, int]:
        return "", 304

    @app.get("/file")
    def file() -> flask.Response:
        return flask.send_file(__file__)

    return app


def builder_of_form() -> EnvironBuilder:
    """Return a form with a file."""
    return EnvironBuilder(method="POST", path="/form", data={"file": (io.BytesIO(b"b" * 70_000), "b")})


def test_flask_uploads_and_downloads() -> None:
    """Under the standard library's and Werkzeug's validators, around the middleware and inside of it."""
    metrics = fresh()
    app = shop()
    plain = app.wsgi_app
    app.wsgi_app = RedWSGIMiddleware(plain, metrics=metrics)  # type: ignore[method-assign]  # as its docs say
    client = app.test_client()
    assert client.post("/upload", data=b"a" * 1000).text == "1000"
    assert sizes(metrics) == (1000, 4)
    request = builder_of_form().get_environ()
    length = int(request["CONTENT_LENGTH"])
    bare = shop().test_client().open(builder_of_form())
    assert client.open(request).text == bare.text  # Werkzeug 2.3 adds the end of a line
    assert sizes(metrics) == (1000 + length, 9)
    assert client.post("/ignored", data=b"a" * 10).status_code == 304
    assert sizes(metrics) == (1000 + length, 9)
    with client.get("/file", environ_overrides={"wsgi.file_wrapper": FileWrapper}) as response:
        size = len(response.data)
    assert size == os.path.getsize(__file__)
    assert sizes(metrics) == (1000 + length, 9 + size)
    for lint in (validator, LintMiddleware):
        inner: Any = lint(plain)
        outer = lint(RedWSGIMiddleware(inner, metrics=fresh()))
        keys = {"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": "3"}
        assert ask_wsgi(outer, "/upload", "POST", environ=keys, validate=False).body == b"3"


def test_fastapi_uploads_in_chunks_and_streams() -> None:
    """What is read counts, what is not read does not."""
    metrics = fresh()
    app = FastAPI()

    @app.post("/upload")
    async def upload(request: Request) -> StreamingResponse:
        size = len(await request.body())

        async def pieces() -> AsyncIterator[str]:
            for _ in range(3):
                yield f"{size}"

        return StreamingResponse(pieces())

    @app.post("/ignored")
    async def ignored() -> None:
        pass

    app.add_middleware(RedASGIMiddleware, metrics=metrics)
    chunks = [b"a" * 60, b"b" * 40, b""]

    async def run() -> None:
        over = asyncio.Event()

        async def receive() -> Any:
            if not chunks:
                await over.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over.set()

        await app(scope("/upload", "POST", state={}), receive, send)

    asyncio.run(run())
    assert sizes(metrics) == (100, 9)
    assert ask_asgi(app, "/ignored", "POST", body=b"abc").body == b"null"
    assert sizes(metrics) == (100, 13)


def test_starlette_lets_the_server_send_a_file(tmp_path: Path) -> None:
    """By its path, where the server offers that and Starlette takes it, and in pieces where not."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * 12_345)
    assert sent_by_message({"type": "http.response.pathsend", "path": str(path)}) == 12_345
    numbers = memoryview(array.array("d", [0.5, 1.5]))  # two of them, of eight bytes each
    assert sent_by_message({"type": "http.response.body", "body": numbers}) == 16
    offered: list[dict[str, Any]] = [{"http.response.pathsend": {}}, {}]
    for extensions in offered:
        metrics = fresh()
        app = RedASGIMiddleware(FileResponse(path), metrics=metrics)
        server = ASGIServer(waits=True).serve(app, scope(extensions=extensions), asyncio.run)
        assert server.raised is None
        assert sizes(metrics) == (0, 12_345)


@pytest.mark.parametrize(
    ("more", "sent"),
    [({}, 8), ({"offset": 4}, 6), ({"count": 3}, 3), ({"offset": 9, "count": 3}, 1), ({"offset": 99}, 0)],
)
def test_an_asgi_server_sends_a_part_of_a_file(more: dict[str, int], sent: int, tmp_path: Path) -> None:
    """From the offset, or from where the file is, as many bytes as there are; a file or its number."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb", buffering=0) as file:
        file.seek(2)
        for given in (file, file.fileno()):
            assert sent_by_message({"type": "http.response.zerocopysend", "file": given, **more}) == sent


def sent_by_message(message: Any) -> float:
    """Return the size of a response whose body is sent with this message."""
    metrics = fresh()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(message)

    ASGIServer().serve(RedASGIMiddleware(app, metrics=metrics))
    assert faults(metrics) == 0
    return sizes(metrics)[1]


def test_a_file_that_nobody_can_measure_counts_as_many_bytes_as_are_said() -> None:
    """A pipe has no size. What is no file, or is not there, counts nothing."""
    reading, writing = os.pipe()
    try:
        message = {"type": "http.response.zerocopysend", "file": reading}
        assert sent_by_message(message) == 0
        assert sent_by_message({**message, "count": 5}) == 5
    finally:
        os.close(reading)
        os.close(writing)
    assert sent_by_message({**message, "file": "name"}) == 0
    assert sent_by_message({"type": "http.response.pathsend", "path": "/there/is/none"}) == 0


@pytest.mark.parametrize(
    "message", [None, 7, {}, {"type": "http.response.body", "body": None}, {"type": "http.teapot"}]
)
def test_what_is_no_message_is_passed_on(message: Any) -> None:
    """In both directions: the other side refuses it."""
    metrics = fresh()
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send(message)

    async def receive() -> Any:
        return message

    async def keep(message: Any) -> None:
        seen.append(message)

    server = ASGIServer()
    server.receive, server.send = receive, keep  # type: ignore[method-assign]  # one that refuses nothing
    assert server.serve(RedASGIMiddleware(app, metrics=metrics)).raised is None
    assert seen == [message, message]
    assert sizes(metrics) == (0, 0)


def test_a_message_that_could_not_be_sent_does_not_count() -> None:
    """The client left before it."""
    metrics = fresh()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    ASGIServer(fail_at=2).serve(RedASGIMiddleware(app, metrics=metrics))
    assert sizes(metrics) == (0, 3)


def test_a_request_may_leave_its_sizes_uncounted() -> None:
    """It counts as a request all the same."""
    metrics = fresh()

    def leave(environ: Environ) -> list[bytes]:
        environ[KEY].leave_sizes()
        return [b"abc"]

    serve(answering(leave), metrics)
    found = counted(metrics)
    assert not any(text.startswith((REQUEST, RESPONSE)) for text in found)
    assert found['http_requests_total{method="GET",route="/mine",status="200"}'] == 1.0
    plain = begun(metrics)  # one that counts no sizes anyway
    plain.leave_sizes()
    plain.respond(200, "/mine")
    plain.finish()
    assert counted(metrics, REQUEST) == {}


def test_a_websocket_that_came_as_a_request_has_no_sizes() -> None:
    """Whatever its route has sent through the server's socket."""
    metrics = fresh()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        environ[KEY]._set_apart().is_socket = True
        return [b"abc"]

    serve(app, metrics)
    assert counted(metrics, REQUEST, RESPONSE, "http_requests_total") == {}


def test_interpreters_without_a_lock_of_their_own_count_under_that_of_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threads run at once."""
    monkeypatch.setattr(sizes_module, "IS_LOCKED", True)
    metrics = fresh()
    serve(answering(lambda _: [b"abc"]), metrics)
    assert sizes(metrics) == (0, 3)


def shared(directory: Path, size: int) -> RedMetrics:
    """Return the numbers of a worker that has joined its group and sent a body of this size."""
    metrics = fresh(multiprocess_dir=directory, multiprocess_name="shop")
    recorder = recorder_of(metrics)
    recorder.membership.identity = Identity("sizes", repr(recorder.kinds and "sizes"))
    count(metrics)
    serve(answering(lambda _: [b"a" * size]), metrics)
    return metrics


def test_sizes_are_whole_among_workers(tmp_path: Path) -> None:
    """Either worker shows those of both."""
    workers = [shared(tmp_path, size) for size in (5, 50)]
    for metrics in workers:
        assert metrics.snapshot()["red_workers"] == 2.0
        assert counted(metrics, f"{RESPONSE}_sum", f"{RESPONSE}_count") == {
            f'{RESPONSE}_sum{{method="GET",route="/mine"}}': 55.0,
            f'{RESPONSE}_count{{method="GET",route="/mine"}}': 2.0,
        }
    for metrics in workers:
        recorder_of(metrics).table.restart()


def test_sizes_are_carried_to_another_table() -> None:
    """As a worker does that joins its group late."""
    old, new = fresh(), fresh()
    serve(answering(lambda environ: [environ["wsgi.input"].read(), b"abc"]), old, posted(b"ab"))
    carry(recorder_of(old).table, recorder_of(new).table)
    row = 'method="POST",route="/mine"'
    assert counted(new, f"{REQUEST}_sum", f"{RESPONSE}_sum") == {
        f"{REQUEST}_sum{{{row}}}": 2.0,
        f"{RESPONSE}_sum{{{row}}}": 5.0,
    }


def test_two_handles_differ_if_their_buckets_of_sizes_do() -> None:
    """The second one is refused."""
    registry = CollectorRegistry()
    RedMetrics(registry=registry, sizes=True, size_buckets=(1, 2))
    with pytest.raises(ValueError, match="size_buckets"):
        RedMetrics(registry=registry, sizes=True, size_buckets=(1, 3))
