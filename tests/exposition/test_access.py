"""Who may read the endpoint: those with the secret, at every way to the metrics, and nobody by accident."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import (
    BasicCredentials,
    BearerToken,
    RedASGIMiddleware,
    RedMetrics,
    RedWSGIMiddleware,
    metrics_app,
)
from red_middleware.exposition import Authorize

from ..drive import Seen, ask_asgi, ask_wsgi

TOKEN = "s3cr3t"


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"the application's"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the application's"})


def by_wsgi(served: Any, authorization: list[str], method: str = "GET") -> Seen:
    more = {"HTTP_AUTHORIZATION": ",".join(authorization)} if authorization else {}
    return ask_wsgi(served, "/metrics", method, environ=more)


def by_asgi(served: Any, authorization: list[str], method: str = "GET") -> Seen:
    return ask_asgi(served, "/metrics", method, headers=[("authorization", value) for value in authorization])


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


Way = Callable[[RedMetrics, Authorize], Callable[..., Seen]]

WAYS: dict[str, Way] = {
    "WSGI": lambda metrics, authorize: (
        lambda *given: by_wsgi(RedWSGIMiddleware(app, metrics=metrics, authorize=authorize), *given)
    ),
    "ASGI": lambda metrics, authorize: (
        lambda *given: by_asgi(RedASGIMiddleware(asgi_app, metrics=metrics, authorize=authorize), *given)
    ),
    "metrics_app, WSGI": lambda metrics, authorize: (
        lambda *given: by_wsgi(metrics_app(metrics, authorize=authorize), *given)
    ),
    "metrics_app, ASGI": lambda metrics, authorize: (
        lambda *given: by_asgi(metrics_app(metrics, authorize=authorize), *given)
    ),
}


@pytest.fixture
def metrics() -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_only_those_with_the_secret_may_read(way: Way, method: str, metrics: RedMetrics) -> None:
    """Whatever the method, a refusal says how to ask and nothing else, and nobody is counted."""
    for authorize, right, challenge in (
        (BearerToken(TOKEN), f"Bearer {TOKEN}", 'Bearer realm="metrics"'),
        (BasicCredentials("prometheus", "pass:wörd"), basic("prometheus:pass:wörd"), 'Basic realm="metrics", charset='),
    ):
        ask = way(metrics, authorize)
        found = ask([right], method)
        assert found.status == (405 if method == "POST" else 200)
        assert (b"red_series" in found.body) == (method == "GET")
        for wrong in ([], ["Bearer wrong"], [basic("prometheus:wrong")], [right, right], [right + "x"], [right[:-1]]):
            found = ask(wrong, method)
            assert (found.status, found.body) == (401, b""), wrong
            assert found.headers["www-authenticate"].startswith(challenge)
            assert found.headers["content-length"] == "0"
    assert not [name for name, value in metrics.snapshot().items() if name.startswith("http_") and value]


HOSTILE = [
    "", " ", "Bearer", "Bearer ", "bearer", "Basic", "Basic =", "Basic !!!!", "Digest username=x",
    TOKEN, f"Token {TOKEN}", "Basic " + "A" * 10_000, "Bearer " + "x" * 100_000, basic("no colon"), "Basic w7bDtg",
    "Bearer \xff\xfe",
    f"Bearer {TOKEN}\x00", basic(":"), basic("prometheus:"), basic(":password"),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_header_opens_the_endpoint_by_accident_or_makes_it_fail(way: Way, metrics: RedMetrics) -> None:
    """Wrong schemes, no secret, no base64, bytes of any kind, and a great many of them."""
    for authorize in (BearerToken(TOKEN), BasicCredentials("prometheus", "password")):
        ask = way(metrics, authorize)
        for header in HOSTILE:
            assert ask([header]).status == 401, header
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 0.0


def test_a_scheme_is_known_in_any_case(metrics: RedMetrics) -> None:
    """RFC 9110, 11.1."""
    ask = WAYS["WSGI"](metrics, BearerToken(TOKEN))
    for scheme in ("bearer", "BEARER", "Bearer"):
        assert ask([f"{scheme} {TOKEN}"]).status == 200


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_file_may_be_rotated(way: Way, metrics: RedMetrics, tmp_path: Path) -> None:
    """The next request needs the new secret. Without a file, or with an empty one, nobody reads."""
    file = tmp_path / "token"
    file.write_text("first\n")
    for authorize, header in ((BearerToken(file=file), "Bearer {}"), (BasicCredentials("p", file=str(file)), "")):
        ask = way(metrics, authorize)

        def says(secret: str, ask: Any = ask, header: str = header) -> int:
            found: Seen = ask([header.format(secret) if header else basic(f"p:{secret}")])
            return found.status

        file.write_text("first\n")
        assert (says("first"), says("second")) == (200, 401)
        file.write_text("  second \n")
        assert (says("first"), says("second")) == (401, 200)
        file.write_text("")
        assert (says(""), says("second")) == (401, 401)
        file.unlink()
        assert (says(""), says("second")) == (401, 401)
        file.write_text("third")
        assert says("third") == 200
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 4.0


def test_a_variable_holds_the_secret_at_construction(metrics: RedMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orchestrator sets it before the process starts."""
    monkeypatch.setenv("SCRAPE_TOKEN", f"{TOKEN}\n")  # as files of variables often end
    ask = WAYS["ASGI"](metrics, BearerToken(variable="SCRAPE_TOKEN"))
    monkeypatch.delenv("SCRAPE_TOKEN")
    assert ask([f"Bearer {TOKEN}"]).status == 200
    assert ask(["Bearer "]).status == 401


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_function_decides(way: Way, metrics: RedMetrics) -> None:
    """It gets the environ or scope. Only `True` opens: what is true by accident, or raises, refuses and is a fault."""
    answers: list[Any] = [True, False, 1, "yes", None, object(), ValueError("no")]

    def authorize(source: Any) -> bool:
        assert source.get("PATH_INFO", source.get("path")) == "/metrics"
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]  # as users may err

    ask = way(metrics, authorize)
    assert ask([]).status == 200
    for _ in range(6):
        found = ask([])
        assert (found.status, found.body) == (403, b"")
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 5.0


token: Any = BearerToken
credentials: Any = BasicCredentials
served: Any = metrics_app
middleware: Any = RedWSGIMiddleware


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: token(), ValueError, "needs one of value, file= and variable="),
        (lambda: token("a", variable="B"), ValueError, "and has 2"),
        (lambda: token(""), ValueError, "holds no secret"),
        (lambda: token(b"a"), TypeError, "must be of type str"),
        (lambda: token(variable="RED_TEST_NOT_SET"), ValueError, "RED_TEST_NOT_SET"),
        (lambda: token(variable=7), TypeError, "variable=7"),
        (lambda: token(file="/nowhere/token"), ValueError, "/nowhere/token"),
        (lambda: token(file="/dev/null"), ValueError, "holds no secret"),
        (lambda: credentials("", "a"), ValueError, "must not be empty"),
        (lambda: credentials("a:b", "c"), ValueError, "colon"),
        (lambda: credentials(7, "c"), TypeError, "username=7"),
        (lambda: credentials("a"), ValueError, "needs one of password"),
        (lambda: served(authorize="s3cr3t"), TypeError, "BearerToken"),
        (lambda: served(authorize=BearerToken), TypeError, "instance"),
        (lambda: served(authorize=7), TypeError, "authorize=7"),
        (lambda: served("metrics"), TypeError, "metrics='metrics'"),
        (lambda: middleware(app, authorize=asyncio.sleep), TypeError, "not async"),
    ],
)  # fmt: skip
def test_a_mistake_is_an_error_at_construction_and_shows_no_secret(
    make: Any, error: type[Exception], says: str
) -> None:
    """It names what is wrong."""
    with pytest.raises(error, match=says) as raised:
        make()
    assert TOKEN not in str(raised.value)


def test_no_secret_is_shown() -> None:
    """Neither by a traceback with local variables nor by a debugger's view of the middleware."""
    for one in (BearerToken(TOKEN), BasicCredentials("prometheus", TOKEN)):
        assert TOKEN not in repr(one)
