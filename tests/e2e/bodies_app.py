"""Fifty answers of a WSGI application, and the same ones behind the middleware.

`/bare/<name>` asks the application itself, `/ours/<name>` the middleware around it. What they send must not differ.
"""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics, RedWSGIMiddleware

from ..drive import Body, SizedBody

Environ = dict[str, Any]
Answer = Callable[[Environ, Any], Any]

TEXT: Final = b"one line\nand another\n" * 50
PIECES: Final = [b"first, ", b"", b"second, ", b"third"]


class Unopened:
    """A body whose iterator cannot be made."""

    def __iter__(self) -> Iterator[bytes]:
        raise RuntimeError("no iterator")


class Indexed:
    """A body that is iterated as sequences once were."""

    def __getitem__(self, index: int) -> bytes:
        return PIECES[index]


class ListWithClose(list[bytes]):
    def close(self) -> None:
        pass


class Reader:
    """A file that can do nothing but `read`."""

    def __init__(self) -> None:
        self.file = io.BytesIO(b"read by pieces")

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class SlottedReader(Reader):
    __slots__ = ("file",)


def on_disk() -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the server closes it
    file.write(TEXT)
    file.seek(0)
    return file


def wrapped(environ: Environ, file: Any) -> Any:
    """Return what the server makes of a file, as Werkzeug does."""
    wrapper = environ.get("wsgi.file_wrapper")
    return iter(lambda: file.read(8192), b"") if wrapper is None else wrapper(file, 8192)


def of(
    make: Callable[[Environ], Any],
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain"),),
) -> Answer:
    """Return an application that answers with a body."""

    def answer(environ: Environ, start_response: Any) -> Any:
        start_response(status, list(headers))
        return make(environ)

    return answer


def with_length(bytes_: int, *pieces: Any) -> Answer:
    return of(lambda environ: iter(pieces), headers=(("Content-Length", str(bytes_)),))


def late(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("201 Created", [("X-Late", "yes")])
    yield b"late"


def written(environ: Environ, start_response: Any) -> Any:
    write = start_response("200 OK", [])
    write(b"written")
    return []


def written_and_returned(environ: Environ, start_response: Any) -> Any:
    write = start_response("200 OK", [])
    write(b"written, ")
    return [b"and returned"]


def second_start(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    try:
        raise KeyError("found late")
    except KeyError:
        start_response("503 Service Unavailable", [("X-Second", "yes")], sys.exc_info())
    return [b"sorry"]


def second_start_too_late(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"half"
    try:
        raise KeyError("found too late")
    except KeyError:
        start_response("500 Oops", [], sys.exc_info())
    yield b"the rest"


def second_start_without_error(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("404 Not Found", [])
    return [b"twice"]


def fails(environ: Environ, start_response: Any) -> Any:
    raise RuntimeError("before the status")


def fails_after_start(environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    raise RuntimeError("after the status")


def silent(environ: Environ, start_response: Any) -> Any:
    return []


ANSWERS: Final[dict[str, Answer]] = {
    "list": of(lambda environ: [b"abc"]),
    "list-of-many": of(lambda environ: list(PIECES)),
    "list-of-empty": of(lambda environ: [b""]),
    "list-empty": of(lambda environ: []),
    "list-with-close": of(lambda environ: ListWithClose(PIECES)),
    "list-of-text": of(lambda environ: ["text"]),
    "list-of-numbers": of(lambda environ: [b"a", 7]),
    "list-big": of(lambda environ: [TEXT * 100]),
    "tuple": of(lambda environ: (b"abc",)),
    "tuple-of-many": of(lambda environ: tuple(PIECES)),
    "tuple-empty": of(lambda environ: ()),
    "dict": of(lambda environ: {b"abc": 1}),
    "bytes": of(lambda environ: b"abc"),
    "bytes-empty": of(lambda environ: b""),
    "bytearray": of(lambda environ: bytearray(b"abc")),
    "text": of(lambda environ: "abc"),
    "none": of(lambda environ: None),
    "number": of(lambda environ: 7),
    "object": of(lambda environ: object()),
    "generator": of(lambda environ: (piece for piece in PIECES)),
    "generator-empty": of(lambda environ: iter(())),
    "iterator": of(lambda environ: iter([b"abc"])),
    "map": of(lambda environ: map(bytes, PIECES)),
    "indexed": of(lambda environ: Indexed()),
    "closing": of(lambda environ: Body(*PIECES)),
    "sized": of(lambda environ: SizedBody(b"abc")),
    "sized-of-many": of(lambda environ: SizedBody(*PIECES)),
    "close-fails": of(lambda environ: Body(*PIECES, closing=RuntimeError("closing"))),
    "no-iterator": of(lambda environ: Unopened()),
    "file": of(lambda environ: on_disk()),
    "file-in-memory": of(lambda environ: io.BytesIO(TEXT)),
    "wrapper-file": of(lambda environ: wrapped(environ, on_disk())),
    "wrapper-file-with-length": of(
        lambda environ: wrapped(environ, on_disk()), headers=(("Content-Length", str(len(TEXT))),)
    ),
    "wrapper-in-memory": of(lambda environ: wrapped(environ, io.BytesIO(TEXT))),
    "wrapper-reader": of(lambda environ: wrapped(environ, Reader())),
    "wrapper-slotted-reader": of(lambda environ: wrapped(environ, SlottedReader())),
    "wrapper-unused": of(lambda environ: wrapped(environ, io.BytesIO(TEXT)) and [b"not the file"]),
    "wrapper-twice": of(lambda environ: wrapped(environ, io.BytesIO(b"not this")) and wrapped(environ, on_disk())),
    "no-content": of(lambda environ: [], "204 No Content", ()),
    "no-content-with-body": of(lambda environ: [b"abc"], "204 No Content", ()),
    "not-modified": of(lambda environ: [], "304 Not Modified", (("ETag", '"x"'),)),
    "range": of(
        lambda environ: [TEXT[5:15]],
        "206 Partial Content",
        (("Content-Range", f"bytes 5-14/{len(TEXT)}"), ("Content-Length", "10")),
    ),
    "length-right": with_length(20, *PIECES),
    "length-shorter": with_length(9, *PIECES),
    "length-longer": with_length(40, *PIECES),
    "late": late,
    "written": written,
    "written-and-returned": written_and_returned,
    "second-start": second_start,
    "second-start-too-late": second_start_too_late,
    "second-start-without-error": second_start_without_error,
    "fails": fails,
    "fails-after-start": fails_after_start,
    "fails-before-the-first-byte": of(lambda environ: Body(RuntimeError("at once"))),
    "fails-after-the-first-byte": of(lambda environ: Body(b"half", RuntimeError("later"))),
    "silent": silent,
}


def answer(environ: Environ, start_response: Any) -> Any:
    name = environ["PATH_INFO"].rpartition("/")[2]
    return ANSWERS[name](environ, start_response)


METRICS: Final = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
counted: Final = RedWSGIMiddleware(
    answer, metrics=METRICS, metrics_path=None, route_of=lambda environ: environ["PATH_INFO"]
)


def app(environ: Environ, start_response: Any) -> Any:
    """Choose between the two, answer `/health`, and show the numbers at `/numbers`."""
    path = environ["PATH_INFO"]
    if path.startswith("/ours/"):
        return counted(environ, start_response)
    if path.startswith("/bare/"):
        return answer(environ, start_response)
    body = json.dumps(METRICS.snapshot()).encode() if path == "/numbers" else b"well"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
