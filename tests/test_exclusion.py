"""What `exclude=` accepts, and which requests it leaves out."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from red_middleware import RedASGIMiddleware, RedWSGIMiddleware
from red_middleware.exclusion import EVERYTHING, Exclusion
from red_middleware.mounting import Purpose

from .counts import counted, exceptions, faults, fresh_metrics, requests
from .drive import ask_asgi, ask_wsgi
from .test_mounting import mounting


def exclusion(exclude: Any) -> Exclusion:
    """Return what an option says, in a protocol that spells paths in capitals."""
    return Exclusion("Owner", exclude, str.upper)


def excluded(said: Exclusion, *requests: str) -> list[str]:
    """Return which of these requests, methods and paths, are excluded by their paths."""
    found = []
    for request in requests:
        method, path = request.split(" ")
        if said.holds(path, method, {}, lambda kind, error: pytest.fail(kind)):
            assert path in said.special
            found.append(request)
    return found


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("healthz", "must start with /"),
        ("", "must start with /"),
        ("*", "must start with /"),
        ("get /healthz", "must start with /"),
        ("GET  /healthz", "must start with /"),
        ("items/<int:x>", "must start with /"),
        ("/x?y=1", "must be a path without a query or a fragment"),
        ("/x#y", "must be a path without a query or a fragment"),
        ("/x?*", "must be a path without a query or a fragment"),
        ("/items/*/edit", "must hold no * but at the end of a prefix"),
        ("/static/**", "must hold no * but at the end of a prefix"),
        ("/caf%C3%A9", "must be plain text, not percent-encoded"),
        ("/healthz ", "must not end in a space"),
        ("/healthz\n", "must not end in a space"),
    ],
)
def test_a_text_that_would_exclude_nothing_is_refused(given: str, rule: str) -> None:
    """Rather than accepted, and without effect."""
    with pytest.raises(ValueError, match="Owner") as refused:
        exclusion([given])
    assert str(refused.value).startswith("Owner(exclude=")
    assert str(refused.value).endswith(f"): {rule}")


async def later(source: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("/healthz", "must be a collection of paths, or a function"),
        (b"/healthz", "must be a collection of paths, or a function"),
        (7, "must be a collection of paths, or a function"),
        ([None], "must be of type str"),
        ([("GET", "/healthz")], "must be of type str"),
        (later, "must be a plain function, not async"),
        ([functools.partial(later)], "must be a plain function, not async"),
    ],
)
def test_what_is_no_text_and_no_plain_function_is_refused(given: Any, rule: str) -> None:
    """A single string is a collection of characters, and nobody would await a coroutine."""
    with pytest.raises(TypeError) as refused:
        exclusion(given)
    assert str(refused.value).endswith(f"): {rule}")


@pytest.mark.parametrize("collection", [iter, set, list, tuple])
def test_exact_paths_are_one_set(collection: Callable[[list[str]], Iterable[str]]) -> None:
    """A request costs one look-up, whatever collection names them, with a method or without one."""
    said = exclusion(collection(["/healthz", "HEAD /ready", "/a:b", "/slash/"]))
    assert said.special == {"/HEALTHZ", "/READY", "/A:B", "/SLASH/"}
    asked = [f"{method} {path}" for path in ("/HEALTHZ", "/READY", "/SLASH", "/healthz") for method in ("GET", "HEAD")]
    assert excluded(said, *asked) == ["GET /HEALTHZ", "HEAD /HEALTHZ", "HEAD /READY"]


def test_a_star_at_the_end_is_a_prefix() -> None:
    """With the slash before it, it is what lies below; `/*` is everything, the empty path of a mount too."""
    said = exclusion(["/static/*", "/v1*", "OPTIONS /*"])
    assert said.special is EVERYTHING
    assert excluded(said, "GET /STATIC/A/B", "GET /STATIC/", "GET /STATIC", "GET /A/STATIC/") == [
        "GET /STATIC/A/B",
        "GET /STATIC/",
    ]
    assert excluded(said, "GET /V10", "GET /V1", "GET /V") == ["GET /V10", "GET /V1"]
    assert excluded(said, "OPTIONS /ANY", "OPTIONS ", "GET /ANY", "GET ") == ["OPTIONS /ANY", "OPTIONS "]


def test_a_function_is_asked_with_the_request() -> None:
    """Alone or among paths."""

    def asked(source: dict[str, str]) -> str:
        return source.get("probe", "")

    for said in (exclusion(asked), exclusion(["/a", asked])):
        assert said.special is EVERYTHING
        assert said.holds("/b", "GET", {"probe": "yes"}, lambda kind, error: pytest.fail(kind))
        assert not said.holds("/b", "GET", {}, lambda kind, error: pytest.fail(kind))


def test_a_template_is_what_the_route_is_labelled() -> None:
    """It is no path: what it looks like is never compared with one."""
    said = exclusion(["/items/<int:x>", "DELETE /shops/{shop}/*", "/re/<x:re:[a-z?]*>"])
    assert said.special == frozenset()
    assert said.holds_route("/items/<int:x>", "GET")
    assert said.holds_route("items/<int:x>", "GET")  # as Django declares it
    assert said.holds_route("/re/<x:re:[a-z?]*>", "GET")
    assert said.holds_route("/shops/{shop}/*", "DELETE")
    assert not said.holds_route("/shops/{shop}/*", "GET")
    assert not said.holds_route("/items", "GET")


def test_a_function_that_raises_is_a_fault_and_excludes_nothing() -> None:
    """The request is the application's, and counted."""

    def failing(source: object) -> bool:
        raise LookupError

    metrics = fresh_metrics()
    mounted = mounting(metrics=metrics, exclude=failing)
    assert mounted.purpose("/a", {}) is Purpose.APP
    assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert faults(metrics) == 1.0


def test_any_method_can_come_to_a_path_that_is_excluded_for_one() -> None:
    """Even one that no dictionary could hold."""
    mounted = mounting(exclude=["GET /healthz"])
    for method, purpose in (("GET", Purpose.EXCLUDED), ("POST", Purpose.APP), (None, Purpose.APP), ([], Purpose.APP)):
        assert mounted.purpose("/healthz", {}, method) is purpose


@pytest.mark.parametrize(
    ("exclude", "doubt"),
    [
        ("/items/{id}", "Owner(exclude='/items/{id}'): may exclude nothing, since no route is declared so"),
        (
            "/static/",
            "Owner(exclude='/static/'): may exclude nothing, since it is one path only; what lies below it is "
            "/static/*",
        ),
    ],
)
def test_what_excludes_nothing_that_is_declared_is_said(
    exclude: str, doubt: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When the routes are learned, once, where the app declares any."""
    for routes in ([("/items/{id:int}", ["GET"]), ("/static/{path}", ["GET"])], []):
        metrics = fresh_metrics()
        mounted = mounting(routes, metrics=metrics, exclude=[exclude])
        for _ in range(2):
            assert mounted.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert [record.getMessage() for record in caplog.records] == [doubt]


def test_what_excludes_a_declared_route_is_not_doubted(caplog: pytest.LogCaptureFixture) -> None:
    """Nor a path with a slash at its end that is a route, nor any where the user names the routes."""
    routes = [("/items/{id}", ["GET"]), ("/healthz/", ["GET"]), ("/healthz/deep", ["GET"])]
    mounted = mounting(routes, exclude=["/items/{id}", "/healthz/", "/other/", "/items/*"])
    named = mounting(routes, exclude=["/mine/{id}"], route_of=lambda source: "/mine/{id}")
    for asked in (mounted, named):
        assert asked.purpose("/metrics", {}) is Purpose.ENDPOINT
    assert caplog.records == []
    assert counted(mounted.metrics) == {}


def test_a_template_of_flask_is_excluded_with_its_exceptions() -> None:
    """By method too. Numbers around and inside, which exclude nothing, follow the rule for paths."""
    app = flask.Flask(__name__)

    @app.route("/items/<int:x>", methods=["GET", "DELETE"])
    @app.route("/other/<int:x>")
    def item(x: int) -> str:
        return f"{1 // x}"

    outer, inner = fresh_metrics(), fresh_metrics()
    excluding = RedWSGIMiddleware(app, metrics=inner, exclude=["GET /items/<int:x>"])
    wrapped = RedWSGIMiddleware(excluding, metrics=outer)
    for method, path in (("GET", "/items/1"), ("GET", "/items/0"), ("DELETE", "/items/0"), ("GET", "/other/1")):
        ask_wsgi(wrapped, path, method)
    expected = {("DELETE", "/items/<int:x>", "500"): 1, ("GET", "/other/<int:x>", "200"): 1}
    for metrics in (outer, inner):
        assert requests(metrics) == expected
        assert exceptions(metrics) == {("/items/<int:x>", "ZeroDivisionError"): 1}
        assert not any("in_progress" in sample for sample in counted(metrics))


def test_a_template_of_starlette_is_excluded_below_its_mount() -> None:
    """As the author declared it, and as the label would have it."""

    async def item(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{1 // request.path_params['x']}")

    routes = [Route("/items/{x:int}", item), Route("/other/{x:int}", item)]
    metrics, others = fresh_metrics(), fresh_metrics()
    inside = RedASGIMiddleware(Starlette(routes=[Mount("/shop", routes=routes)]), metrics=others)
    wrapped = RedASGIMiddleware(inside, metrics=metrics, exclude=["/shop/items/{x:int}"])
    ask_asgi(wrapped, "/shop/items/1")
    ask_asgi(wrapped, "/shop/items/0", catch=ZeroDivisionError)
    ask_asgi(wrapped, "/shop/other/1")
    assert requests(metrics) == {("GET", "/shop/other/{x:int}", "200"): 1}
    assert counted(metrics, "http_exceptions", "http_requests_in_progress") == {}
    assert sum(requests(others).values()) == 3
