"""RedWSGIMiddleware, what only WSGI has: `start_response`, `write`, bodies that are closed, and files.

What ASGI has as well is in `test_parity`. `WSGIServer` is the server. Applications that keep to PEP 3333 run between
two checkers of `wsgiref.validate`: one watches the middleware as an application, one watches it as a server.
"""

import gc
import io
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import Client

from red_middleware import RedMetrics, RedWSGIMiddleware

from .counts import check_one_request, counted, fresh_metrics, one_request, one_session
from .drive import Body, Clock, Environ, SizedBody, StartResponse, WSGIApp, WSGIServer, environ

PLAIN = [("Content-Type", "text/plain")]


def serve(
    app: WSGIApp,
    request: Environ | None = None,
    *,
    legal: bool = True,
    server: WSGIServer | None = None,
    **options: Any,
) -> tuple[WSGIServer, dict[str, float]]:
    """Serve one request through the middleware; return what the server saw and what was counted."""
    metrics = options.setdefault("metrics", fresh_metrics())
    server = server or WSGIServer()
    if legal:
        server.serve(validator(RedWSGIMiddleware(validator(app), **options)), request)
        assert not isinstance(server.raised, AssertionError), server.raised
    else:
        server.serve(RedWSGIMiddleware(app, **options), request)
    return server, counted(metrics)


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", list(PLAIN))
    return [b"hello"]


def answering(body: Any, status: str = "200 OK", headers: Iterable[tuple[str, str]] = PLAIN) -> WSGIApp:
    """Return an application that answers with a body."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response(status, list(headers))
        return body

    return app


# start_response


def test_a_late_start_response_is_seen() -> None:
    """A generator application calls it on its first `next`."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("404 Not Found", list(PLAIN))
        yield b"none"

    assert serve(app)[1] == one_request("404")


class Answer:
    """A body with more to it than PEP 3333 asks for, as Django's response is."""

    status_code = 200

    def __iter__(self) -> Iterator[bytes]:
        yield b"hello"

    def __bytes__(self) -> bytes:
        return b"header and hello"


class Pieces(list[bytes]):
    """The same as a list."""

    status_code = 200


@pytest.mark.parametrize("body", [Answer(), Pieces([b"hello"])])
def test_what_the_server_gets_has_all_that_the_applications_body_has(body: Any) -> None:
    """Callers that know the application may look at it; what is missing there is missing here."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", list(PLAIN))
        return body

    shown: Any = RedWSGIMiddleware(app, metrics=fresh_metrics())(environ(), lambda *args: bytes)
    assert shown.status_code == 200
    if isinstance(body, Answer):
        assert bytes(shown) == b"header and hello"
    with pytest.raises(AttributeError, match="missing"):
        _ = shown.missing
    with pytest.raises(AttributeError, match="response"):
        _ = type(shown)().response
    shown.close()


def test_a_second_start_response_before_the_headers_went_out_replaces_the_first() -> None:
    """PEP 3333: with `exc_info`, the last that took effect is what the client sees. What it holds is named."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        try:
            raise KeyError("late")
        except KeyError:
            start_response("503 Service Unavailable", list(PLAIN), sys.exc_info())
        return [b"sorry"]

    server, found = serve(app)
    assert found == one_request("503", raised="KeyError")
    assert [entry[1] for entry in server.record if isinstance(entry, tuple) and entry[0] == "start"] == [
        "200 OK", "503 Service Unavailable",
    ]  # fmt: skip


def test_an_exc_info_that_is_none_is_a_fault_and_reaches_the_server() -> None:
    """What holds no exception names none."""
    got: list[object] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("500 Oops", list(PLAIN), 7)
        return [b"sorry"]

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        got.append(exc_info)

    metrics = fresh_metrics()
    RedWSGIMiddleware(app, metrics=metrics)(environ(), start_response)
    assert got == [7]
    assert counted(metrics, "red_instrumentation", "http_exceptions") == {"red_instrumentation_errors_total": 1.0}


def test_a_second_start_response_after_the_headers_went_out_raises_the_applications_error() -> None:
    """PEP 3333: the server raises what `exc_info` holds; the status that was sent stays."""
    error = KeyError("late")

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"half"
        try:
            raise error
        except KeyError:
            start_response("500 Oops", list(PLAIN), sys.exc_info())

    server, found = serve(app)
    assert server.raised is error
    assert found == one_request("200", error=True, raised="KeyError")


def test_a_second_start_response_without_exc_info_is_the_servers_to_refuse() -> None:
    """Its error reaches the application, which counts by what it makes of it."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        with pytest.raises(AssertionError, match="called before"):
            start_response("500 Oops", list(PLAIN))
        return [b"fine"]

    assert serve(app, legal=False)[1] == one_request("200")


@pytest.mark.parametrize(
    ("status", "label"),
    [("200", "200"), ("200 ", "200"), ("204 No Content", "204"), ("200OK", "_OTHER"), ("20", "_OTHER"),
     ("", "_OTHER"), ("abc", "_OTHER"), ("2000 OK", "_OTHER"), ("-200", "_OTHER")],
)  # fmt: skip
def test_a_status_counts_by_its_first_three_digits(status: str, label: str) -> None:
    """A reason phrase may be missing; what is no status is `_OTHER`, and the server gets what the app wrote."""
    server, found = serve(answering([b""], status), legal=False)
    assert found == one_request(label)
    assert server.record[0] == ("start", status, PLAIN, None)


class Unhashable:
    def __hash__(self) -> int:
        raise RuntimeError("no hash")


@pytest.mark.parametrize("status", [None, 200, b"200 OK", Unhashable()])
def test_a_status_that_is_no_text_reaches_the_server_and_counts_as_other(status: Any) -> None:
    """What a lenient server accepts cannot fail here: it is a request, counted once."""
    metrics = fresh_metrics()
    server = WSGIServer().serve(RedWSGIMiddleware(answering([b"x"], status), metrics=metrics))
    assert server.raised is None
    found = metrics.snapshot()
    assert sum(n for text, n in found.items() if text.startswith("http_requests_total")) == 1.0


# write


def test_write_works_and_the_request_is_counted() -> None:
    """The imperative way to send: pieces go to the server in order, what the body yields comes after."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", list(PLAIN))
        write(b"one")
        write(b"two")
        return [b"three"]

    server, found = serve(app)
    assert [entry[1] for entry in server.record if isinstance(entry, tuple) and entry[0] == "send"] == [
        b"one", b"two", b"three",
    ]  # fmt: skip
    assert found == one_request("200")


def test_what_write_returns_is_what_the_servers_write_returns() -> None:
    """PEP 3333 gives it no meaning; some servers do."""
    seen: list[object] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(start_response("200 OK", list(PLAIN))(b"one"))
        return []

    def start_response(status: str, headers: object) -> Callable[[bytes], str]:
        return lambda data: f"took {data!r}"

    RedWSGIMiddleware(app, metrics=fresh_metrics())(environ(), start_response)
    assert seen == ["took b'one'"]


def test_write_of_what_is_no_bytes_is_the_servers_to_judge() -> None:
    """A lenient server takes it: so does the middleware."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))(7)  # type: ignore[arg-type]  # the point of the test
        return []

    server, found = serve(app, legal=False, server=WSGIServer(strict=False))
    assert server.raised is None
    assert found == one_request("200")


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("nth", [0, 1])
def test_write_that_raises_oserror_is_a_client_that_left(swallow: bool, nth: int) -> None:
    """Whether the application lets it through or goes on; the status stays, and no exception is named."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", list(PLAIN))
        try:
            write(b"one")
            write(b"two")
        except OSError:
            if not swallow:
                raise
        return []

    server, found = serve(app, server=WSGIServer(fail_at=nth))
    assert isinstance(server.raised, ConnectionResetError) is not swallow
    assert found == one_request("200", left=True)


def test_write_that_raises_something_else_is_an_error() -> None:
    """A server's own failure is no disconnect; no byte was taken, so the client gets a 500."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))(b"one")
        return []

    server, found = serve(app, server=WSGIServer(fail_at=0, fault=MemoryError))
    assert isinstance(server.raised, MemoryError)
    assert found == one_request("500", raised="MemoryError")


def test_an_exception_after_write_keeps_the_status_that_was_sent() -> None:
    """The client has it already."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))(b"one")
        raise KeyError

    assert serve(app)[1] == one_request("200", error=True, raised="KeyError")


def test_an_exception_after_start_response_and_before_a_byte_is_a_500() -> None:
    """Nothing was sent: the server answers with a 500 of its own. In the call, and in the iteration."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        raise KeyError

    assert serve(app)[1] == one_request("500", raised="KeyError")
    assert serve(answering(Body(KeyError())))[1] == one_request("500", raised="KeyError")


# The body


class SlottedFile:
    """A server's file class like one written in C: its attributes cannot be set."""

    __slots__ = ("file",)

    def __init__(self, file: io.BytesIO, block_size: int = 8192) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        yield self.file.read()


class SizedFile(FileWrapper):
    """A server's file class with a length, as waitress has it."""

    def __len__(self) -> int:
        return 0


def sending_file(file: io.BytesIO, start: bool = True) -> WSGIApp:
    """Return an application that answers with the server's file class."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if start:
            start_response("200 OK", list(PLAIN))
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return body

    return app


@pytest.mark.parametrize("wrapper", [FileWrapper, SizedFile, SlottedFile])
def test_a_file_stays_an_instance_of_the_servers_class(wrapper: type) -> None:
    """Servers look at the class and use sendfile(2), which no wrapper around it would get."""
    server, found = serve(sending_file(io.BytesIO(b"file")), environ(file_wrapper=wrapper), legal=False)
    assert type(server.body) is wrapper
    assert ("send", b"file") in server.record
    assert found == one_request("200")


def test_a_file_is_counted_when_the_server_closes_it() -> None:
    """Its `close` is the only sign of the end; the file itself is closed as without the middleware, once."""
    metrics, file = fresh_metrics(), io.BytesIO(b"file")
    body: Any = RedWSGIMiddleware(sending_file(file), metrics=metrics)(
        environ(file_wrapper=FileWrapper), WSGIServer().start_response
    )
    assert counted(metrics) == {'http_requests_in_progress{method="GET"}': 1.0}
    metrics.clock.seconds += 2  # type: ignore[attr-defined]  # the test's clock
    body.close()
    assert file.closed
    assert counted(metrics) == one_request("200", seconds=2.0)


def test_a_file_whose_class_takes_no_attribute_is_counted_when_the_server_has_it() -> None:
    """There is no sign of its end to wait for."""
    metrics = fresh_metrics()
    for start, status in ((True, "200"), (False, "500")):
        metrics.clear()
        RedWSGIMiddleware(sending_file(io.BytesIO(b"file"), start), metrics=metrics, route_of=lambda _: "/file")(
            environ(file_wrapper=SlottedFile), WSGIServer().start_response
        )
        assert counted(metrics) == one_request(status, route="/file")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ConnectionResetError, one_request("200", left=True)),
        (ValueError, one_request("200", error=True)),
        (SystemExit, one_request("200", error=True)),
    ],
)
def test_a_file_that_was_not_sent_to_its_end(fault: type[BaseException], expected: dict[str, float]) -> None:
    """The exception in flight when the server closes it says why: the client, or the server."""
    found = serve(
        sending_file(io.BytesIO(b"file")),
        environ(file_wrapper=FileWrapper),
        legal=False,
        server=WSGIServer(fail_at=0, fault=fault),
    )[1]
    assert found == expected


def test_a_file_without_a_status_is_an_error() -> None:
    """The server's refusal, a 500, comes after its close."""
    server, found = serve(
        sending_file(io.BytesIO(b""), start=False),
        environ(file_wrapper=FileWrapper),
        legal=False,
        route_of=lambda _: "/file",
    )
    assert isinstance(server.raised, AssertionError)
    assert found == one_request("500", route="/file")


class FileWithoutClose(FileWrapper):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        if hasattr(self, "close"):
            del self.close


class FileThatFailsToClose(FileWrapper):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)

        def fail() -> None:
            raise KeyError("closing")

        self.close = fail


@pytest.mark.parametrize(("wrapper", "raised"), [(FileWithoutClose, None), (FileThatFailsToClose, "KeyError")])
def test_a_file_with_no_close_or_a_broken_one(wrapper: type, raised: str | None) -> None:
    """It is complete all the same; what `close` raises passes through and is named."""
    server, found = serve(sending_file(io.BytesIO(b"f")), environ(file_wrapper=wrapper), legal=False)
    assert isinstance(server.raised, KeyError) is (raised is not None)
    assert found == one_request("200", raised=raised)


class Reader:
    """A file that can do nothing but `read`, as uWSGI sends it."""

    def __init__(self) -> None:
        self.read = io.BytesIO(b"file").read


class SlottedReader(Reader):
    __slots__ = ("read",)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "close":
            raise KeyError("it takes none")
        super().__setattr__(name, value)


@pytest.mark.parametrize("file", [io.BytesIO(b"file"), Reader(), FileWrapper(io.BytesIO(b"file"))])
def test_a_file_of_a_wrapper_that_is_a_function_is_the_servers_own(file: Any) -> None:
    """By identity uWSGI knows it. It is counted when the server closes it."""
    metrics = fresh_metrics()
    middleware = RedWSGIMiddleware(sending_file(file), metrics=metrics)
    body: Any = middleware(environ(file_wrapper=lambda file: file), WSGIServer().start_response)
    assert body is file
    assert counted(metrics)['http_requests_in_progress{method="GET"}'] == 1
    body.close()
    assert counted(metrics) == one_request("200")


def test_a_file_that_takes_no_attribute_is_counted_when_the_server_has_it() -> None:
    """Whatever it raises; the server gets it all the same."""
    file: Any = SlottedReader()
    metrics = fresh_metrics()
    middleware = RedWSGIMiddleware(sending_file(file), metrics=metrics)
    assert middleware(environ(file_wrapper=lambda file: file), WSGIServer().start_response) is file
    assert counted(metrics) == one_request("200")


def test_what_a_function_wrapped_and_the_application_did_not_return_is_no_file() -> None:
    """The body is sent as any other."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(PLAIN))
        environ["wsgi.file_wrapper"](io.BytesIO(b"file"))
        return Body(b"no file")

    server, found = serve(app, environ(file_wrapper=lambda file: file), legal=False)
    assert ("send", b"no file") in server.record
    assert found == one_request("200")


class OwnList(list[bytes]):
    closed = 0

    def close(self) -> None:
        self.closed += 1


class OwnBytes(bytes):
    pass


@pytest.mark.parametrize("body", [[b"abc"], [], [b"a", b"b"], OwnList([b"a", b"b"]), b"bytes", OwnBytes(b"own")])
def test_a_server_that_takes_a_body_as_a_whole_gets_it(body: Any) -> None:
    """By class: granian joins a list and never closes it, and uWSGI sends one byte string."""
    metrics = fresh_metrics()
    found: Any = RedWSGIMiddleware(answering(body), metrics=metrics)(environ(), WSGIServer().start_response)
    assert isinstance(found, list) is isinstance(body, list)
    assert isinstance(found, bytes) is isinstance(body, bytes)
    assert found[:] == body[:]  # which iterates nothing
    del found
    gc.collect()
    assert counted(metrics) == one_request("200")


def test_a_list_of_a_class_of_its_own_is_closed() -> None:
    body = OwnList([b"a", b"b"])
    assert serve(answering(body))[1] == one_request("200")
    assert body.closed == 1


@pytest.mark.parametrize("body", [[b"a"], (b"a",), Body(b"a"), iter([b"a"]), b"a"])
@pytest.mark.parametrize(("answered", "status"), [(True, "200"), (False, "500")])
def test_a_body_that_is_neither_iterated_nor_closed_is_counted(body: Any, answered: bool, status: str) -> None:
    """When the server lets it go: nothing stays in progress."""
    metrics = fresh_metrics()
    app = answering(body) if answered else lambda environ, start_response: body
    found: Any = RedWSGIMiddleware(app, metrics=metrics)(environ(), WSGIServer().start_response)
    del found
    gc.collect()
    assert counted(metrics) == one_request(status)


@pytest.mark.parametrize("body", [None, 7, object()])
def test_a_body_that_cannot_be_iterated_fails_when_its_iterator_is_asked_for(body: Any) -> None:
    """Then granian answers 500, and 200 if only the first piece cannot be had."""
    metrics = fresh_metrics()
    found: Any = RedWSGIMiddleware(answering(body), metrics=metrics)(environ(), WSGIServer().start_response)
    with pytest.raises(TypeError, match="not iterable"):
        iter(found)
    assert counted(metrics) == one_request("500", raised="TypeError")


class Granian:
    """Its `start_response`, by which the middleware knows it."""

    __module__ = "granian.wsgi"

    def __call__(self, status: str, headers: object, exc_info: object = None) -> Any:
        return None


@pytest.mark.parametrize(
    ("body", "status"), [(Body(KeyError("at once")), "200"), (None, "500"), (Body(b"a", KeyError("later")), "200")]
)
def test_the_status_that_a_server_sends_before_the_body_fails_is_counted(body: Any, status: str) -> None:
    """This is granian, which sends it before it asks for the first piece, and after it asked for an iterator."""
    metrics = fresh_metrics()
    found: Any = RedWSGIMiddleware(answering(body), metrics=metrics)(environ(), Granian())
    with pytest.raises((KeyError, TypeError)) as caught:
        list(iter(found))
    assert counted(metrics) == one_request(status, error=True, raised=caught.type.__name__)


def test_uwsgi_sends_the_status_of_an_application_that_fails_after_start_response() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(PLAIN))
        raise KeyError("after the status")

    _, found = serve(app, {**environ(), "uwsgi.version": b"2.0"}, legal=False)
    assert found == one_request("200", error=True, raised="KeyError")


def test_a_second_start_response_that_comes_too_late_and_is_not_refused_changes_nothing() -> None:
    """Werkzeug's server does not raise, as PEP 3333 asks for; the client has the first status."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"half"
        start_response("500 Oops", list(PLAIN), (KeyError, KeyError("late"), None))
        yield b"the rest"

    metrics = fresh_metrics()
    found: Any = RedWSGIMiddleware(app, metrics=metrics)(environ(), Granian())
    assert list(found) == [b"half", b"the rest"]
    assert counted(metrics) == one_request("200")


@pytest.mark.parametrize(
    ("body", "length"),
    [
        ([b"a"], 1),
        ([b"a", b"b"], 2),
        ([], 0),
        ((b"a",), 1),
        (SizedBody(b"a"), 1),
        (Body(b"a"), None),
        (iter([b"a"]), None),
        ((piece for piece in [b"a"]), None),
        ({b"a": 1}, 1),
    ],
)
def test_a_body_has_a_length_exactly_if_the_applications_has_one(body: Any, length: int | None) -> None:
    """From a body of one piece a server makes the Content-Length."""
    server, found = serve(answering(body), legal=False)
    assert server.record[1] == ("length", length)
    assert found == one_request("200")


def test_a_body_with_getitem_only_is_iterated() -> None:
    """The old protocol of iteration still makes an iterable."""

    class Sequence:
        def __getitem__(self, index: int) -> bytes:
            return [b"a", b"b"][index]

    server, found = serve(answering(Sequence()), legal=False)
    assert [entry for entry in server.record if entry in (("send", b"a"), ("send", b"b"))] == server.record[2:]
    assert found == one_request("200")


@pytest.mark.parametrize("first", [None, lambda file: FileWrapper(file), SizedFile])
def test_a_file_stays_the_servers_whoever_asked_before(first: Any) -> None:
    """A client of tests knows no file wrapper, another server has one of its own."""
    middleware = RedWSGIMiddleware(sending(lambda: FileWrapper(io.BytesIO(b"a"))), metrics=fresh_metrics())
    for wrapper in (first, first, FileWrapper, FileWrapper):
        found: Any = middleware(environ(file_wrapper=wrapper), WSGIServer().start_response)
        assert (type(found) is FileWrapper) == (wrapper is FileWrapper)
        found.close()


def sending(body: Callable[[], Iterable[bytes]]) -> WSGIApp:
    """Return an application that answers with a new body each time."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(PLAIN))
        return body()

    return app


def test_an_event_stream_that_fails_before_its_first_event_is_timed_at_its_beginning() -> None:
    """However long it was quiet: the server sends a 500, but that was no latency."""
    clock = Clock()

    def quiet() -> Iterator[bytes]:
        clock.seconds += 3600
        raise KeyError
        yield b""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        clock.seconds += 0.125
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return quiet()

    server, found = serve(app, metrics=fresh_metrics(clock=clock), legal=False)
    assert type(server.raised) is KeyError
    assert found == one_request("500", raised="KeyError", seconds=0.125)


def test_each_answer_of_an_app_is_wrapped_by_its_own_kind() -> None:
    """An app that answers with a stream, a list and a file in turn, twice: length and class are those of each."""
    bodies: dict[str, Callable[[], Any]] = {
        "/stream": lambda: iter([b"a"]),
        "/list": lambda: [b"a"],
        "/tuple": lambda: (b"a", b"b"),
        "/file": lambda: FileWrapper(io.BytesIO(b"a")),
        "/body": lambda: Body(b"a"),
    }

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(PLAIN))
        body: Iterable[bytes] = bodies[environ["PATH_INFO"]]()
        return body

    middleware = RedWSGIMiddleware(app, metrics=fresh_metrics())
    for path in [*bodies, *bodies, "/stream", "/stream", "/body", "/body", "/file"]:
        found: Any = middleware(environ(path=path, file_wrapper=FileWrapper), WSGIServer().start_response)
        assert hasattr(found, "__len__") == hasattr(bodies[path](), "__len__")
        assert isinstance(found, FileWrapper) == (path == "/file")
        assert b"".join(found).startswith(b"a")
        found.close()


@pytest.mark.parametrize("body", [None, 7, b"bytes", "text", ["text"], [b"a", 7], [bytearray(b"a")]])
def test_a_body_that_is_none_fails_as_without_the_middleware(body: Any) -> None:
    """The exception is the one that the bare application gets out of the same server."""
    bare = WSGIServer().serve(answering(body))
    server, _ = serve(answering(body), legal=False)
    assert server.record == bare.record
    assert type(server.raised) is type(bare.raised) is TypeError


class Uncountable:
    def __len__(self) -> int:
        raise KeyError("no length")


def test_a_piece_whose_length_cannot_be_asked_reaches_the_server() -> None:
    """What it is worth is the server's to say."""
    piece = Uncountable()
    server, found = serve(answering(Body(piece)), legal=False, server=WSGIServer(strict=False))
    assert ("send", piece) in server.record
    assert found == one_request("200")


# The end


@pytest.mark.parametrize(
    ("body", "server", "expected"),
    [
        pytest.param(Body(b"a", b"b"), {}, one_request("200"), id="iterated to the end"),
        pytest.param(Body(), {}, one_request("200"), id="empty"),
        pytest.param(Body(b"a", b"b"), {"stop_at": 1}, one_request("200", left=True), id="half iterated"),
        pytest.param(Body(b"a"), {"stop_at": 0}, one_request("200"), id="never iterated"),
        pytest.param(Body(b"a", b"b"), {"fail_at": 1}, one_request("200", left=True), id="the client left"),
        pytest.param(Body(b"a"), {"fail_at": 0}, one_request("200", left=True), id="the client left at the only piece"),
        pytest.param(
            Body(b"a", KeyError()), {}, one_request("200", error=True, raised="KeyError"), id="raises half-way"
        ),
        pytest.param(
            Body(b"a", GeneratorExit()), {}, one_request("200", left=True), id="raises what closes generators"
        ),
        pytest.param(Body(b"a", closing=KeyError()), {}, one_request("200", raised="KeyError"), id="raises in close"),
        pytest.param(
            Body(b"a", b"b", closing=KeyError()),
            {"stop_at": 1},
            one_request("200", left=True, raised="KeyError"),
            id="half iterated, raises in close",
        ),
    ],
)
def test_close_is_called_once(body: Body, server: dict[str, Any], expected: dict[str, float]) -> None:
    """On every path, as PEP 3333 asks of servers."""
    body.closed = 0
    assert serve(answering(body), server=WSGIServer(**server))[1] == expected
    assert body.closed == 1


def test_an_exception_that_iteration_and_close_both_raise_is_named_once() -> None:
    """It is one exception."""
    error = KeyError()
    found = serve(answering(Body(b"a", error, closing=error)))[1]
    assert found == one_request("200", error=True, raised="KeyError")


def test_a_request_ends_with_its_body_and_not_with_close() -> None:
    """What comes first: test clients often never close, and what an application does in `close` is background work."""
    metrics = fresh_metrics()
    body = RedWSGIMiddleware(hello, metrics=metrics)(environ(), WSGIServer().start_response)
    assert list(body) == [b"hello"]
    assert counted(metrics) == one_request("200")
    metrics.clock.seconds += 5  # type: ignore[attr-defined]  # the test's clock
    body.close()  # type: ignore[attr-defined]  # every body of the middleware has it
    assert counted(metrics) == one_request("200")


def test_a_never_iterated_body_without_a_status_is_an_error() -> None:
    """A generator application that the server closed before its first `next`."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"never"

    server, found = serve(app, legal=False, server=WSGIServer(stop_at=0), route_of=lambda _: "/late")
    assert isinstance(server.raised, AssertionError)
    assert found == one_request("500", route="/late")


def test_a_body_of_known_length_that_the_server_could_not_send_is_a_client_that_left() -> None:
    """The application gave all of it; the exception in flight says that it did not arrive."""
    headers = [*PLAIN, ("Content-Length", "5")]
    for body in ([b"hello"], Body(b"hello")):
        assert serve(answering(body, headers=headers), server=WSGIServer(fail_at=0))[1] == one_request("200", left=True)


def test_a_server_that_goes_down_is_an_error_and_no_disconnect() -> None:
    """A worker that stops closes the body with `SystemExit` in flight; its client gets a part."""
    for fault in (SystemExit, KeyboardInterrupt):
        body = Body(b"a", b"b")
        server, found = serve(answering(body), server=WSGIServer(fail_at=0, fault=fault))
        assert isinstance(server.raised, fault)
        assert found == one_request("200", error=True)
        assert body.closed == 1


@pytest.mark.parametrize(("length", "left"), [("2", False), ("1", False), ("3", True), ("x", True), (None, True)])
def test_a_body_is_complete_where_its_content_length_is_reached(length: str | None, left: bool) -> None:
    """A server that counts stops there, and need not exhaust the iterator."""
    headers = [*PLAIN, *([("Content-Length", length)] if length else [])]
    found = serve(answering(Body(b"ab", b"c"), headers=headers), server=WSGIServer(stop_at=1))[1]
    assert found == one_request("200", left=left)


def test_the_body_of_a_head_request_need_not_be_read() -> None:
    """Servers throw it away, after a piece or before."""
    for stop_at in (0, 1):
        app = answering(Body(b"a", b"b"), headers=[])
        found = serve(app, environ(method="HEAD"), legal=False, server=WSGIServer(stop_at=stop_at))[1]
        assert found == one_request("200", method="HEAD")


@pytest.mark.parametrize(("method", "left"), [("GET", True), ("HEAD", False)])
def test_a_body_that_is_dropped_without_close_is_counted(method: str, left: bool) -> None:
    """By servers that break PEP 3333; with the application's generator closed as without the middleware."""
    closed: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append("closed")

    metrics = fresh_metrics()
    body = iter(RedWSGIMiddleware(app, metrics=metrics)(environ(method=method), WSGIServer().start_response))
    assert next(body) == b"a"
    del body
    gc.collect()
    assert closed == ["closed"]
    assert counted(metrics) == one_request("200", method=method, left=left)


def test_a_dropped_body_that_is_part_of_a_cycle_is_counted() -> None:
    """The garbage collector ends it, in an order of its own; nothing fails there, and nothing stays in progress."""
    metrics, request = fresh_metrics(), environ()
    body = RedWSGIMiddleware(answering(Body(b"a", b"b")), metrics=metrics)(request, WSGIServer().start_response)
    pieces = iter(body)
    next(pieces)
    request["cycle"] = (request, pieces, body)
    del request, pieces, body
    gc.collect()
    assert counted(metrics) == one_request("200", left=True)


class FileWithCloseOfItsClass(FileWrapper):
    """As Werkzeug's: `close` is no attribute of the instance."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        del self.close

    def close(self) -> None:
        self.filelike.close()


@pytest.mark.parametrize("wrapper", [FileWrapper, FileWithCloseOfItsClass])
def test_a_file_that_was_sent_leaves_nothing_to_the_garbage_collector(wrapper: type) -> None:
    """Its watched `close` is its own again, by which it would hold itself, and the environ with it."""

    class Marked(dict[str, Any]):
        pass

    request: Any = Marked(environ(file_wrapper=wrapper))
    gone, file = weakref.ref(request), io.BytesIO(b"file")
    body: Any = RedWSGIMiddleware(sending_file(file), metrics=fresh_metrics())(request, WSGIServer().start_response)
    gc.disable()
    try:
        body.close()
        assert file.closed
        body.close()
        body = request = None
        assert gone() is None
    finally:
        gc.enable()


def test_a_body_may_be_closed_twice() -> None:
    """PEP 3333 forbids it; the application sees what the server does, and one request is counted."""
    metrics, body = fresh_metrics(), Body(b"a", b"b")
    wrapped: Any = RedWSGIMiddleware(answering(body), metrics=metrics)(environ(), WSGIServer().start_response)
    pieces = iter(wrapped)
    next(pieces)
    wrapped.close()
    wrapped.close()
    del pieces, wrapped
    assert body.closed == 2
    assert counted(metrics) == one_request("200", left=True)


# The environ


@pytest.mark.parametrize("path", ["/gr\u00c3\u00bc\u00c3\u009fe", "", "/%2f//..", "/\x00\xff"])
def test_a_path_of_any_bytes_is_served(path: str) -> None:
    """PATH_INFO holds bytes as latin-1; none of it becomes a label."""
    assert serve(hello, environ(path, SCRIPT_NAME="/shop" if not path else ""))[1] == one_request("200")


def test_an_exception_that_flask_answers_is_named_in_every_numbers_around_it() -> None:
    """Flask makes a 500 of it and tells by a signal; in a test client it may come out instead: named once too."""
    outer, inner = fresh_metrics(), fresh_metrics()
    app = flask.Flask(__name__)

    @app.get("/broken/<int:number>")
    def broken(number: int) -> str:
        raise ZeroDivisionError

    app.logger.disabled = True
    app.wsgi_app = RedWSGIMiddleware(RedWSGIMiddleware(app.wsgi_app, metrics=inner), metrics=outer)  # type: ignore[method-assign]  # as Flask's documentation says
    assert app.test_client().get("/broken/1", buffered=True).status_code == 500
    expected = one_request("500", route="/broken/<int:number>", raised="ZeroDivisionError")
    assert counted(outer) == counted(inner) == expected
    app.testing = True
    for metrics in (outer, inner):
        metrics.clear()
    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/broken/1")
    assert counted(outer) == counted(inner) == expected


# The endpoint


def test_the_endpoint_answers_as_wsgi_asks() -> None:
    """A status line with its reason, and no body at all for HEAD."""
    metrics = fresh_metrics()
    app = validator(RedWSGIMiddleware(hello, metrics=metrics))
    for method, status in (("GET", "200 OK"), ("HEAD", "200 OK"), ("DELETE", "405 Method Not Allowed")):
        server = WSGIServer().serve(app, environ("/metrics", method, SCRIPT_NAME="/shop"))
        assert server.raised is None
        assert server.record[0][1] == status  # type: ignore[index]  # the start
        assert (server.sent == 0) is (method == "HEAD")


def test_werkzeugs_lint_has_no_complaint() -> None:
    """The second oracle: its warnings are errors here."""
    metrics = fresh_metrics()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        yield b"a"
        yield b"b"

    client = Client(LintMiddleware(RedWSGIMiddleware(LintMiddleware(app), metrics=metrics)))
    assert client.get("/").get_data() == b"ab"
    assert client.get("/metrics").status_code == 200
    del counted(metrics)["red_scrape_duration_seconds_count"]
    assert counted(metrics)['http_requests_total{method="GET",route="_unmatched",status="200"}'] == 1.0


# Invisible


def test_an_exception_of_close_keeps_its_identity_and_its_frames() -> None:
    """The application's own frame is the innermost, as without the middleware."""
    lost = KeyError("in close")
    server, _ = serve(answering(Body(b"a", closing=lost)))
    assert server.raised is lost
    assert lost.__cause__ is None
    assert lost.__context__ is None
    assert traceback.extract_tb(lost.__traceback__)[-1].name == "close"


ERRORS = {"value": ValueError, "os": ConnectionResetError, "exit": SystemExit, "generator": GeneratorExit}

faults = st.sampled_from(sorted(ERRORS))
pieces = st.sampled_from([b"", b"a", b"bcd", "text", None])
steps = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(["200 OK", "404 Not Found", "500 Oops", "204", "x"])),
    st.tuples(st.just("restart"), st.sampled_from(["500 Oops", "503 Busy"])),
    st.tuples(st.just("write"), pieces),
    st.tuples(st.just("raise"), faults),
    st.tuples(st.just("yield"), pieces),
    st.tuples(st.just("yield"), st.just(b"more")),
)
forms = st.sampled_from(
    ["list", "tuple", "generator", "iterator", "object", "getitem", "sized", "file", "slotted", "none", "late"]
)


class App:
    """An application made of random steps. Whatever it sees goes to the server's record."""

    def __init__(self, plan: dict[str, Any], record: list[object]) -> None:
        self.plan = plan
        self.record = record
        self.write: Any = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        self.start_response = start_response
        if self.plan["form"] == "late":
            return self.generate([*self.plan["call"], *self.plan["body"]])
        for step in self.plan["call"]:
            self.do(step)
        return self.body(environ)

    def do(self, step: tuple[str, Any]) -> None:
        try:
            self._do(*step)
        except BaseException as error:
            self.record.append(("app saw", type(error), error.args))
            if not self.plan["swallow"]:
                raise

    def _do(self, kind: str, argument: Any) -> None:
        if kind == "start":
            self.write = self.start_response(argument, [("X", "y")])
        elif kind == "restart":
            try:
                raise KeyError("for exc_info")
            except KeyError:
                self.write = self.start_response(argument, [], sys.exc_info())
        elif kind == "write" and self.write is not None:
            self.record.append(("wrote", self.write(argument)))
        elif kind == "raise":
            raise ERRORS[argument]("app")

    def generate(self, steps: list[tuple[str, Any]]) -> Iterator[Any]:
        try:
            for kind, argument in steps:
                if kind == "yield":
                    yield argument
                else:
                    self.do((kind, argument))
        except BaseException as error:
            self.record.append(("body ended by", type(error)))
            raise
        finally:
            self.record.append("body ended")

    def body(self, environ: Environ) -> Any:
        form, plan = self.plan["form"], self.plan["body"]
        pieces = [argument for kind, argument in plan if kind == "yield"]
        made: dict[str, Callable[[], Any]] = {
            "list": lambda: pieces,
            "tuple": lambda: tuple(pieces),
            "generator": lambda: self.generate(plan),
            "iterator": lambda: iter(pieces),
            "object": lambda: Closing(self, None),
            "sized": lambda: SizedClosing(self, len(pieces)),
            "getitem": lambda: Indexed(pieces),
            "file": lambda: environ["wsgi.file_wrapper"](io.BytesIO(b"file")),
            "slotted": lambda: SlottedFile(io.BytesIO(b"file")),
            "none": lambda: None,
        }
        return made[form]()


class Indexed:
    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces

    def __getitem__(self, index: int) -> Any:
        return self.pieces[index]


class Closing:
    def __init__(self, app: App, length: int | None) -> None:
        self.app = app
        self.length = length

    def __iter__(self) -> Iterator[Any]:
        return self.app.generate(self.app.plan["body"])

    def close(self) -> None:
        self.app.record.append("closed")
        fault = self.app.plan["closing"]
        if fault:
            raise ERRORS[fault]("closing")


class SizedClosing(Closing):
    def __len__(self) -> int:
        return self.length or 0


plans = st.fixed_dictionaries(
    {
        "call": st.lists(steps, max_size=3).flatmap(
            lambda found: st.sampled_from([found, [("start", "200 OK"), *found]])
        ),
        "body": st.lists(steps, max_size=5),
        "form": forms,
        "swallow": st.booleans(),
        "closing": st.none() | faults,
        "method": st.sampled_from(["GET", "HEAD", "BREW"]),
    }
)
servers = st.fixed_dictionaries(
    {
        "fail_at": st.none() | st.integers(0, 3),
        "fault": st.sampled_from([ConnectionResetError, ValueError, SystemExit]),
        "stop_at": st.none() | st.integers(0, 3),
        "strict": st.booleans(),
    }
)


def run(plan: dict[str, Any], faults: dict[str, Any], metrics: RedMetrics | None) -> list[object]:
    """Serve a random application, bare or wrapped, and return all that server and application saw."""
    server = WSGIServer(**faults)
    app: WSGIApp = App(plan, server.record)
    if metrics is not None:
        app = RedWSGIMiddleware(app, metrics=metrics)
    server.serve(app, environ(method=plan["method"], file_wrapper=FileWrapper))
    server.record.append(type(server.body) is FileWrapper)
    server.body = None
    return server.record


@given(plan=plans, faults=servers)
def test_a_random_application_runs_as_without_the_middleware(plan: dict[str, Any], faults: dict[str, Any]) -> None:
    """Same calls, bytes, exceptions, lengths and closing order, whatever fails; and one request is counted."""
    metrics = fresh_metrics()
    assert run(plan, faults, metrics) == run(plan, faults, None)
    check_one_request(metrics)


def test_an_excluded_path_may_be_no_text_that_utf_8_has() -> None:
    """PEP 3333: each byte of a path stands in `PATH_INFO` as if it were a character."""
    path = "/\ud800"
    sent = path.encode("utf-8", "surrogatepass").decode("latin-1")
    assert serve(hello, environ(sent), legal=False, exclude=[path])[1] == {}


class Reticent:
    """A body that fails at every question but those that are asked of any iterable."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"odd"])

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class ReticentClosing(Reticent):
    def close(self) -> None:
        pass


@pytest.mark.parametrize("kind", [Reticent, ReticentClosing])
def test_a_body_is_asked_nothing_that_the_server_would_not_ask(kind: type[Reticent]) -> None:
    """With and without a `close`: the same bytes, and the exception that the server itself would meet."""
    body = kind()
    alone = WSGIServer().serve(answering(body), environ(file_wrapper=FileWrapper))
    server, found = serve(answering(body), environ(file_wrapper=FileWrapper), legal=False)
    assert server.record == alone.record
    assert ("send", b"odd") in server.record
    assert found == one_request("200")


class Unasking(type):
    """A class of classes that fails where an instance is looked for."""

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("instance")


class UnaskingWrapper(metaclass=Unasking):
    """Stands where a server's file wrapper is expected."""


class Classless(Reticent):
    @property  # type: ignore[misc]  # writable in `object`
    def __class__(self) -> Any:
        raise RuntimeError("class")


@pytest.mark.parametrize(("kind", "wrapper"), [(Reticent, UnaskingWrapper), (Classless, FileWrapper)])
def test_a_body_that_is_not_to_be_told_from_a_file_is_sent(kind: type[Reticent], wrapper: type) -> None:
    """What fails is the instrumentation's own question."""
    server, found = serve(answering(kind()), environ(file_wrapper=wrapper), legal=False)
    assert ("send", b"odd") in server.record
    assert found.pop("red_instrumentation_errors_total") == 1.0
    assert found == one_request("200")


def taken_over(way: str) -> WSGIApp:
    """Return an app that speaks through the server's socket, and then says so as one of the servers asks it to."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if way == "gunicorn":
            raise StopIteration
        return [] if way == "gevent" else iter(())

    return app


@pytest.mark.parametrize("way", ["gunicorn", "gevent", "another"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_connection_that_the_app_took_over_is_no_request(way: str, asks: bool) -> None:
    """If the client asked for a WebSocket, it is a session, whose close code is not known; else the app has failed."""
    request = environ(HTTP_UPGRADE="WebSocket") if asks else environ()
    _, found = serve(taken_over(way), request, legal=False)
    raised = "StopIteration" if way == "gunicorn" else None
    assert found == (one_session("_unmatched") if asks else one_request("500", raised=raised))


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_who_asks_for_a_websocket_hides_no_failure(error: type[Exception]) -> None:
    """An exception is one, and a response is one, whatever the client wrote into its headers."""
    asking = environ(HTTP_UPGRADE="websocket")

    def fails(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    assert serve(fails, asking, legal=False)[1] == one_request("500", raised=error.__name__)
    assert serve(hello, environ(HTTP_UPGRADE="websocket"))[1] == one_request()
