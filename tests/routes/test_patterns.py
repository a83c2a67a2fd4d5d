"""The templates of `routes=`: what matches which path, what is refused, and how they stand beside readers."""

import re
from collections.abc import Collection
from typing import Any

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from red_middleware import RedASGIMiddleware, RedWSGIMiddleware
from red_middleware.routes.patterns import PARAMETER, PatternReader

from .asking import Receive, Scope, Send, ask_asgi, ask_wsgi, faults, fresh, in_a_module, requests, routes


def plain_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Be a WSGI application without a router."""
    start_response("404 Not Found" if "nowhere" in environ["PATH_INFO"] else "200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


the_app: Any = None  # what a test says, see `in_a_module`


def calls_it_but_once(environ: dict[str, Any], start_response: Any) -> Any:
    """Know an app by a global name only, and answer one path itself."""
    return (plain_wsgi if environ["PATH_INFO"] == "/first" else the_app)(environ, start_response)


async def plain_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an ASGI application without a router."""
    await PlainTextResponse("hello", 404 if "nowhere" in scope["path"] else 200)(scope, receive, send)


def matched(templates: Collection[str], path: str) -> str | None:
    """Return the template that a path matches."""
    return PatternReader("Owner", templates, str, lambda declared: None).route({}, path)


ALL = [
    "/",
    "/users/",
    "/users/<id>",
    "/users/me",
    "/users/{id}/edit",
    "/v<version>/x",
    "/v1<rest>/x",
    "/<name>.json",
    "/files/<path:name>",
    "/files/<path:name>/raw",
    "/files/<path:name>/<number>/raw",
    "/<int:year>/<month>",
    "/{name:path}",
]


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/users/", "/users/"),
        ("/users", "/{name:path}"),
        ("/users/7", "/users/<id>"),
        ("/users/me", "/users/me"),
        ("/users/me/edit", "/users/{id}/edit"),
        ("/users/7/edit/", "/{name:path}"),
        ("/v2/x", "/v<version>/x"),
        ("/v12/x", "/v1<rest>/x"),
        ("/v/x", "/<int:year>/<month>"),
        ("/report.json", "/<name>.json"),
        ("/.json", "/{name:path}"),
        ("/files/a", "/files/<path:name>"),
        ("/files/a/b/c", "/files/<path:name>"),
        ("/files/", "/{name:path}"),
        ("/files//a", "/files/<path:name>"),
        ("/files/a/raw", "/files/<path:name>/raw"),
        ("/files/a/b/raw", "/files/<path:name>/<number>/raw"),
        ("/files/raw", "/files/<path:name>"),
        ("/2024/05", "/<int:year>/<month>"),
        ("//", "/{name:path}"),
        ("users/7", None),
        ("", None),
        ("*", None),
    ],
)
def test_a_path_matches_the_template_that_says_most(path: str, template: str | None) -> None:
    """A text before a parameter, the longer one before the shorter one, one segment before several; no part is empty.

    The order in which they are given says nothing.
    """
    assert matched(ALL, path) == matched(ALL[::-1], path) == template


def test_a_long_path_is_no_longer_search() -> None:
    """A parameter for several segments begins and ends where the number of segments says."""
    assert matched(["/a/<path:b>/c", "/a/<path:b>/d"], "/a/x/y/d") == "/a/<path:b>/d"
    templates = ["/a/<path:b>/c/<d>/e", "/<x>/<path:y>/<z>/<u>/<v>/w", "/<path:all>/end"]
    assert matched(templates, "/a" * 100_000) is None
    assert matched(templates, "/a" * 100_000 + "/end") == "/<path:all>/end"
    assert matched(templates, "/a" * 100_000 + "/c/d/e") == "/a/<path:b>/c/<d>/e"


SEGMENT = st.one_of(st.sampled_from(["a", "b", "<x>", "a<x>", "<x>b"]))
TEMPLATE = st.tuples(st.lists(SEGMENT, max_size=3), st.sampled_from([[], ["<path:p>"]]), st.lists(SEGMENT, max_size=2))


@given(st.lists(TEMPLATE, max_size=6), st.text(alphabet="ab/", max_size=9))
def test_a_path_matches_if_any_template_does(given: list[tuple[list[str], list[str], list[str]]], path: str) -> None:
    """And the template that is told is one that matches: regular expressions say the same."""
    templates = list({"/" + "/".join([*before, *several, *after]) for before, several, after in given})
    expressions = {
        template: re.compile("".join(
            ("(?s:.+)" if "path" in part else "[^/]+") if PARAMETER.fullmatch(part) else re.escape(part)
            for part in re.split(f"({PARAMETER.pattern.replace('(', '(?:').replace('(?:?:', '(?:')})", template)
        ))
        for template in templates
    }  # fmt: skip
    wanted = {template for template in templates if expressions[template].fullmatch(f"/{path}")}
    found = matched(templates, f"/{path}")
    assert found in wanted if wanted else found is None


@pytest.mark.parametrize(
    ("routes", "rule"),
    [
        ("/users/<id>", "must be a collection of templates"),
        (7, "must be a collection of templates"),
        ([7], "must be of type str"),
        (["users/<id>"], "must start with /"),
        (["get /users"], "must start with /"),
        (["/users?id=<id>"], "must be a template without a query or a fragment"),
        (["/users/<id"], "must have parameters like <name>, <path:name> or {name}"),
        (["/users/*"], "must have parameters like <name>, <path:name> or {name}"),
        (["/caf%C3%A9/<id>"], "must be plain text, not percent-encoded"),
        (["/users/<>"], "must have parameters like <name>, <path:name> or {name}"),
        (["/<a>-<b>"], "must have one parameter in a segment at most"),
        (["/<path:a>/x/{b:path}"], "must have one parameter of the kind path at most"),
        (["/x<path:a>"], "must have nothing beside a parameter of the kind path"),
        (["/" + "é" * 200], "must have at most 256 bytes"),
        (["/users/<id>", "/users/<name>"], "matches the same paths as /users/<id>"),
    ],
)
def test_what_can_be_no_route_is_refused(routes: Any, rule: str) -> None:
    """At construction, by both middlewares, with what was given."""
    with pytest.raises((TypeError, ValueError), match=re.escape(rule)) as refused:
        RedWSGIMiddleware(plain_wsgi, routes=routes)
    with pytest.raises(refused.type, match=re.escape(str(refused.value).replace("WSGI", "ASGI"))):
        RedASGIMiddleware(plain_asgi, routes=routes)


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_an_app_without_a_router_counts_by_its_templates(protocol: str) -> None:
    """Whatever it answers; a method that is not among those of a template is no route of it."""
    metrics = fresh()
    templates = ["/users/<id>", "GET /café/<x>", "POST /café/<x>", "M-SEARCH /devices"]
    asked = [
        ("/users/7", "GET"), ("/users/nowhere", "GET"), ("/users/8", "DELETE"), ("/café/1", "GET"),
        ("/café/1", "DELETE"), ("/devices", "M-SEARCH"), ("/scanner", "GET"),
    ]  # fmt: skip
    for path, method in asked:
        if protocol == "wsgi":
            spelled = path.encode().decode("latin-1")
            ask_wsgi(RedWSGIMiddleware(plain_wsgi, metrics=metrics, routes=templates), spelled, method)
        else:
            ask_asgi(RedASGIMiddleware(plain_asgi, metrics=metrics, routes=templates), path, method)
    assert requests(metrics) == {
        ("GET", "/users/<id>", "200"): 1,
        ("GET", "/users/<id>", "404"): 1,
        ("DELETE", "/users/<id>", "200"): 1,
        ("GET", "/café/<x>", "200"): 1,
        ("DELETE", "_unmatched", "200"): 1,
        ("_OTHER", "/devices", "200"): 1,
        ("GET", "_unmatched", "200"): 1,
    }
    assert faults(metrics) == 0


def test_the_reader_of_a_framework_is_asked_first_and_route_of_before_all() -> None:
    """What both leave open is matched."""
    app = flask.Flask("shop")
    app.add_url_rule("/items/<int:item>", "item", lambda item: str(item))
    metrics = fresh()
    wrapped = RedWSGIMiddleware(
        app,
        metrics=metrics,
        routes=["/items/<anything>", "/<name>"],
        route_of=lambda environ: "/mine" if environ["PATH_INFO"] == "/mine" else None,
    )
    for path in ("/items/7", "/items/x", "/mine", "/other"):
        ask_wsgi(wrapped, path)
    assert routes(metrics) == {"/items/<int:item>": 1, "/items/<anything>": 1, "/mine": 1, "/<name>": 1}


def test_an_app_that_is_found_late_is_asked_before_the_templates() -> None:
    """A template that was the first to know a route does not stay before the framework's reader."""
    app = flask.Flask("shop")
    app.add_url_rule("/items/<int:item>", "item", lambda item: str(item))
    metrics = fresh()
    around = in_a_module(calls_it_but_once, the_app=app)
    wrapped = RedWSGIMiddleware(around, metrics=metrics, routes=["/items/<anything>", "/first"])
    for path in ("/first", "/items/7", "/items/8", "/first", "/items/x"):
        ask_wsgi(wrapped, path)
    assert routes(metrics) == {"/first": 2, "/items/<int:item>": 2, "/items/<anything>": 1}


def test_parameters_with_other_texts_around_them_are_not_tried_in_turn() -> None:
    """A thousand kinds of file cost as many look-ups as these texts have lengths."""
    reader = PatternReader("Owner", [f"/<name>.{n:04}" for n in range(1000)], str, lambda declared: None)
    assert [reader.route({}, f"/x.{n:04}") for n in (0, 999)] == ["/<name>.0000", "/<name>.0999"]
    assert reader.root.lengths == [(0, 5)]


def test_paths_are_relative_to_where_the_middleware_stands() -> None:
    """As for `exclude`."""
    metrics = fresh()
    inner = RedASGIMiddleware(plain_asgi, metrics=metrics, routes=["/users/<id>"])
    ask_asgi(inner, "/mounted/users/7", root_path="/mounted")
    assert routes(metrics) == {"/users/<id>": 1}


def test_templates_are_reserved_before_clients_fill_the_table() -> None:
    """They are declared, so a scanner pushes none of them out."""
    metrics = fresh(max_label_sets=10)
    names = iter(range(10_000))
    wrapped = RedWSGIMiddleware(
        plain_wsgi, metrics=metrics, routes=["GET /users/<id>"], route_of=lambda environ: _scanned(environ, next(names))
    )
    for _ in range(50):
        ask_wsgi(wrapped, "/scan")
    ask_wsgi(wrapped, "/users/7")
    assert routes(metrics)["/users/<id>"] == 1


def _scanned(environ: dict[str, Any], number: int) -> str | None:
    return f"/scanned/{number}" if environ["PATH_INFO"] == "/scan" else None


def test_an_endpoint_among_the_templates_is_the_apps_own(caplog: pytest.LogCaptureFixture) -> None:
    """As a route of a framework would be."""
    metrics = fresh()
    wrapped = RedWSGIMiddleware(plain_wsgi, metrics=metrics, routes=["/metrics"])
    assert ask_wsgi(wrapped, "/metrics").text == "hello"
    assert routes(metrics) == {"/metrics": 1}
    assert "has a route /metrics of its own" in caplog.text


def test_a_template_may_be_excluded_as_a_route() -> None:
    """It is known by the same text."""
    metrics = fresh()
    starlette = Starlette(routes=[Route("/hello", lambda request: PlainTextResponse("hello"))])
    wrapped = RedASGIMiddleware(starlette, metrics=metrics, routes=["/old/<id>"], exclude=["/old/<id>"])
    for path in ("/old/7", "/hello"):
        ask_asgi(wrapped, path)
    assert routes(metrics) == {"/hello": 1}
