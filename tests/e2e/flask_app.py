"""The application of these tests in Flask, wrapped in one line."""

import time
from collections.abc import Iterator
from pathlib import Path

import flask

from red_middleware import RedWSGIMiddleware

from . import marks

PIECE = b"x" * 16_384
PIECES = 4_000  # far more than any socket buffer holds: who has not read it all is still being served

app = flask.Flask(__name__)


@app.get("/health")
def health() -> str:
    return "well"


@app.get("/ok")
def ok() -> str:
    return "ok"


@app.get("/items/<int:number>")
def item(number: int) -> str:
    if number >= 1000:
        flask.abort(404)
    return f"item {number}"


@app.get("/directory/")
def directory() -> str:
    return "a directory"


@app.get("/fail")
def fail() -> tuple[str, int]:
    return "out of order", 503


@app.get("/raise")
def fall() -> str:
    raise ValueError("as asked")


@app.get("/stream")
def stream() -> flask.Response:
    return flask.Response(PIECE[:100] for _ in range(5))


@app.get("/paced")
def paced() -> flask.Response:
    def pieces() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.05)
            yield PIECE[:100]

    return flask.Response(pieces())


@app.get("/cut")
def cut() -> flask.Response:
    def pieces() -> Iterator[bytes]:
        yield PIECE
        raise KeyError("half-way")

    return flask.Response(pieces())


@app.get("/endless")
def endless() -> flask.Response:
    def pieces() -> Iterator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    return flask.Response(pieces())


@app.get("/events")
def events() -> flask.Response:
    def lines() -> Iterator[bytes]:
        yield b"data: first\n\n"
        _wait_for(flask.request.args["until"])
        yield b"data: last\n\n"

    return flask.Response(flask.stream_with_context(lines()), mimetype="text/event-stream")


@app.get("/slow")
def slow() -> str:
    time.sleep(0.06)
    return "at last"


@app.get("/deaf")
def deaf() -> str:
    """Answer once the mark is there, whether the client is or not."""
    marks.leave(flask.request.args["begun"])
    _wait_for(flask.request.args["until"])
    return "anybody there?"


@app.get("/hang")
def hang() -> str:
    marks.leave(flask.request.args["begun"])
    time.sleep(60)
    return "too late"


@app.post("/upload")
def upload() -> str:
    marks.leave(flask.request.args["begun"])
    return f"{len(flask.request.get_data())} bytes"


@app.get("/task")
def task() -> flask.Response:
    response = flask.Response("begun")
    response.call_on_close(lambda: None)
    return response


@app.get("/failing-task")
def failing_task() -> flask.Response:
    response = flask.Response("begun")
    response.call_on_close(_fail_afterwards)
    return response


@app.get("/file")
def file() -> flask.Response:
    return flask.send_file(Path(__file__), mimetype="text/plain")


@app.get("/big")
def big() -> flask.Response:
    return flask.send_file(marks.directory() / marks.BIG_FILE, mimetype="text/plain")


def _fail_afterwards() -> None:
    raise LookupError("after the response")


def _wait_for(mark: str) -> None:
    while not marks.is_left(mark):
        time.sleep(0.005)


marks.leave_numbers_at_exit()
app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, exclude=["/health"])  # type: ignore[method-assign]  # as Flask's docs do
