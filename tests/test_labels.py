"""Labels of the user's own: where a value comes from, how many there can be, and what they leave as it was."""

import concurrent.futures
import enum
import gc
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import flask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from red_middleware import Label, RedASGIMiddleware, RedMetrics, RedWSGIMiddleware, labelling, set_label
from red_middleware.counting.detailed import start_detailed
from red_middleware.counting.labels import METHODS, OVERFLOW
from red_middleware.exposition.formats.text import Text, text_metadata
from red_middleware.metrics import recorder_of

from .counts import counted, faults, fresh_metrics, total
from .drive import ASGIServer, Clock, ask_asgi, ask_wsgi, environ, restart, scope

PLANS = Label(max_values=2, header="x-plan")
TENANTS = Label(values=["acme", "globex"], header="X-Tenant")
ALL = ("http_requests_total", "http_errors_total", "http_request_duration_seconds", "http_client_disconnects_total")


def labels_of(metrics: RedMetrics, family: str = "http_requests_total", *names: str) -> dict[tuple[str, ...], float]:
    """Return what a family counted, by the values of these labels."""
    found: dict[tuple[str, ...], float] = {}
    for text, value in counted(metrics, family).items():
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        key = tuple(labels.get(name, "") for name in names)
        found[key] = found.get(key, 0.0) + value
    return found


def count(metrics: RedMetrics, given: Mapping[str, object], route: str | None = "/a", status: int = 200) -> None:
    """Count a request for which the application says these values."""
    exchange = start_detailed(recorder_of(metrics), "GET", {})
    assert exchange is not None
    for name, value in given.items():
        exchange.label(name, value)
    exchange.respond(status, route)
    exchange.finish()


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({}, ValueError, "needs exactly one of values=, max_values= and constant="),
        ({"values": ["a"], "constant": "a"}, ValueError, "exactly one of"),
        ({"values": "acme"}, TypeError, "collection of texts"),
        ({"values": 7}, TypeError, "collection of texts"),
        ({"values": [7]}, TypeError, "collection of texts"),
        ({"values": []}, ValueError, "at least one"),
        ({"values": [""]}, ValueError, "1 to 256 bytes"),
        ({"values": ["é" * 129]}, ValueError, "1 to 256 bytes"),
        ({"values": ["a\ud800"]}, ValueError, "UTF-8"),
        ({"values": ["_OTHER"]}, ValueError, "_OTHER"),
        ({"max_values": 0}, ValueError, "at least 1"),
        ({"max_values": 10_001}, ValueError, "at most 10000"),
        ({"max_values": True}, TypeError, "int"),
        ({"constant": 1}, TypeError, "str"),
        ({"constant": ""}, ValueError, "1 to 256 bytes"),
        ({"constant": "1", "header": "x"}, ValueError, "no constant="),
        ({"values": ["a"], "header": "x", "key": "y"}, ValueError, "one place only"),
        ({"values": ["a"], "header": "x y"}, ValueError, "name of a header"),
        ({"values": ["a"], "response_header": ""}, ValueError, "name of a header"),
        ({"values": ["a"], "header": b"x"}, TypeError, "str"),
        ({"values": ["a"], "key": 7}, TypeError, "str"),
        ({"values": ["a"], "of": "x"}, TypeError, "callable"),
        ({"values": ["a"], "families": "http_requests_total"}, TypeError, "collection of texts"),
    ],
)
def test_a_label_that_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], rule: str) -> None:
    """At once, with the argument and the rule."""
    with pytest.raises(error, match=re.escape(rule)) as raised:
        Label(**options)
    assert str(raised.value).startswith("Label(")


def test_an_async_function_is_refused() -> None:
    """Nobody would wait for it."""

    async def of(source: object) -> str:
        raise AssertionError

    with pytest.raises(TypeError, match="not async"):
        Label(values=["a"], of=of)


@pytest.mark.parametrize(
    ("labels", "error", "rule"),
    [
        ([("tenant", TENANTS)], TypeError, "mapping of names"),
        ({"tenant": "acme"}, TypeError, "mapping of names"),
        ({7: TENANTS}, TypeError, "mapping of names"),
        ({"ten-ant": TENANTS}, ValueError, "letters, digits and underscores"),
        ({"": TENANTS}, ValueError, "letters, digits and underscores"),
        ({"__tenant": TENANTS}, ValueError, "not with __"),
        *(({name: TENANTS}, ValueError, "is taken") for name in ("method", "route", "status", "le", "job", "instance")),
        ({"a": Label(values=["a"], families=["http_requests"])}, ValueError, "families= knows no http_requests;"),
        ({"a": Label(values=["a"], families=["red_workers"])}, ValueError, "families= knows no red_workers;"),
    ],
)
def test_names_that_are_held_are_refused(labels: Any, error: type[Exception], rule: str) -> None:
    """Those that Prometheus or we hold, and what Prometheus could not read."""
    with pytest.raises(error, match=re.escape(rule)) as raised:
        fresh_metrics(labels=labels)
    assert str(raised.value).startswith("RedMetrics(labels=")


def test_metrics_of_other_labels_are_no_handles_on_the_same_numbers() -> None:
    """Equal labels are, in whatever order they are given."""
    registry, clock = CollectorRegistry(), Clock()
    two = {"tenant": TENANTS, "plan": PLANS}
    first = fresh_metrics(registry=registry, labels=two, clock=clock)
    assert fresh_metrics(registry=registry, labels=dict(reversed(two.items())), clock=clock) == first
    with pytest.raises(ValueError, match="labels="):
        fresh_metrics(registry=registry, labels={"plan": PLANS}, clock=clock)


def test_an_app_factory_that_runs_twice_makes_the_same_labels_twice() -> None:
    """A function is the same if it is written the same, and depends on nothing else."""

    def made(plan: str) -> dict[str, Label]:
        return {"tenant": Label(max_values=3, of=lambda source: source["tenant"])}

    def closed_over(plan: str) -> Label:
        return Label(max_values=3, of=lambda source: plan)

    registry, clock = CollectorRegistry(), Clock()
    metrics = fresh_metrics(registry=registry, labels=made("a"), clock=clock)
    assert fresh_metrics(registry=registry, labels=made("b"), clock=clock) == metrics
    assert closed_over("a") != closed_over("a")
    assert Label(max_values=3, of=str) == Label(max_values=3, of=str)
    assert repr(Label(max_values=3, of=len)) == "Label(max_values=3, of=<built-in function len>)"
    with pytest.raises(ValueError, match="labels="):
        fresh_metrics(registry=registry, labels={"tenant": Label(max_values=3, of=lambda source: 1)}, clock=clock)


def test_a_function_that_depends_on_more_than_its_code_is_another_one() -> None:
    """The method of another object, or another default: the second function would never be asked."""

    class Tenants:
        def find(self, source: Any) -> str:
            raise AssertionError

    def with_default(tenant: str) -> Label:
        def find(source: Any, *, given: str = tenant) -> str:
            raise AssertionError

        return Label(max_values=3, of=find)

    one = Tenants()
    assert Label(max_values=3, of=one.find) == Label(max_values=3, of=one.find)
    assert Label(max_values=3, of=one.find) != Label(max_values=3, of=Tenants().find)
    assert with_default("a") != with_default("b")


VALUES = {
    "by_header": (Label(values=["acme"], header="X-Tenant"), "acme"),
    "by_header_twice": (Label(values=["a,b"], header="x-twice"), "a,b"),
    "by_no_header": (Label(values=["acme"], header="x-none"), "_OTHER"),
    "by_content_type": (Label(max_values=1, header="content-type"), "text/csv"),
    "by_response": (Label(max_values=1, response_header="X-Cache"), "HIT"),
    "by_key": (Label(values=["alice"], key="user"), "alice"),
    "by_no_key": (Label(values=["alice"], key="nobody"), "_OTHER"),
    "by_function": (Label(max_values=1, of=lambda source: source["user"].upper()), "ALICE"),
    "by_the_app": (Label(max_values=1), "gold"),
    "by_nobody": (Label(max_values=1), "_OTHER"),
    "constant": (Label(constant="1.4"), "1.4"),
    "of_others": (Label(values=["bob"], key="user"), "_OTHER"),
    "too_long": (Label(max_values=1, of=lambda source: "x" * 257), "_OTHER"),
    "empty": (Label(max_values=1, of=lambda source: ""), "_OTHER"),
    "number": (Label(values=["7"], of=lambda source: 7), "7"),
    "bytes": (Label(values=["b"], of=lambda source: b"b"), "b"),
    "surrogate": (Label(max_values=1, of=lambda source: "a\udc80"), "a?"),
}


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_values_come_from_where_the_label_says(protocol: str) -> None:
    """Both protocols say the same. Whatever is no value of a label is `_OTHER`."""
    metrics = fresh_metrics(labels={name: label for name, (label, _) in VALUES.items()})

    def wsgi(source: Any, start_response: Any) -> list[bytes]:
        set_label(source, "by_the_app", "silver")
        set_label(source, "by_the_app", "gold")
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Cache", "HIT")])
        return [b"x"]

    async def asgi(source: Any, receive: Any, send: Any) -> None:
        set_label(source, "by_the_app", "silver")
        set_label(source, "by_the_app", "gold")
        headers = [(b"content-type", b"text/plain"), (b"x-cache", b"HIT")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    if protocol == "wsgi":
        more = {"HTTP_X_TENANT": "acme", "HTTP_X_TWICE": "a,b", "CONTENT_TYPE": "text/csv", "user": "alice"}
        ask_wsgi(RedWSGIMiddleware(wsgi, metrics=metrics, route_of=lambda source: "/mine"), "/", environ=more)
    else:
        headers = [(b"x-tenant", b"acme"), (b"x-twice", b"a"), (b"X-Twice", b"b"), (b"content-type", b"text/csv")]
        app = RedASGIMiddleware(asgi, metrics=metrics, route_of=lambda source: "/mine")
        ASGIServer().serve(app, scope(headers=headers, user="alice"))
    for family in ALL[:3]:
        shown = labels_of(metrics, family, *VALUES)
        assert list(shown) in ([tuple(value for _, value in VALUES.values())], [])
    assert labels_of(metrics, ALL[0], *VALUES) == {tuple(value for _, value in VALUES.values()): 1.0}
    assert faults(metrics) == 0


def test_a_function_that_raises_is_a_fault_and_the_request_counts() -> None:
    """So is a value whose text cannot be had. The application sees nothing of it."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    metrics = fresh_metrics(
        labels={"a": Label(max_values=3, of=lambda source: source["nothing"]), "b": Label(max_values=3), "c": TENANTS}
    )
    for value in (Mute(), ["unhashable"]):
        count(metrics, {"b": value, "c": ["unhashable"]})
    assert labels_of(metrics, ALL[0], "a", "b", "c") == {
        ("_OTHER", "_OTHER", "_OTHER"): 1.0,
        ("_OTHER", "['unhashable']", "_OTHER"): 1.0,
    }
    assert faults(metrics) == 3


class Plan(enum.Enum):
    GOLD = 1

    def __str__(self) -> str:
        return "gold"


def test_the_first_values_count_and_the_rest_are_other() -> None:
    """`_OTHER` is none of them; what comes later is folded, each label by itself."""
    metrics = fresh_metrics(labels={"plan": Label(max_values=2), "tenant": Label(max_values=1)})
    for plan, tenant in ((None, "a"), (Plan.GOLD, "b"), ("x", "a"), ("y", "a"), ("gold", "b"), ("_OTHER", "a")):
        count(metrics, {"plan": plan, "tenant": tenant})
    assert labels_of(metrics, ALL[0], "plan", "tenant") == {
        ("_OTHER", "a"): 3.0,
        ("gold", "_OTHER"): 2.0,
        ("x", "a"): 1.0,
    }


def test_values_cannot_push_a_declared_route_out() -> None:
    """A client that invents them takes free rows only; then its requests count without them, on their routes."""
    metrics = fresh_metrics(max_label_sets=30, labels={"plan": Label(max_values=1000), "tenant": Label(constant="me")})
    recorder = recorder_of(metrics)
    recorder.declare([("/a", ["GET"]), ("/late", ["GET"])])
    for n in range(1000):
        count(metrics, {"plan": f"p{n}"}, "/a")
    for n in range(5):
        count(metrics, {"plan": f"q{n}"}, "/late")
        count(metrics, {"plan": f"q{n}"}, "/undeclared")
    found = labels_of(metrics, ALL[0], "route", "plan", "tenant")
    assert metrics.bound().rows == 30
    assert sum(n for (route, _, _), n in found.items() if route == "/a") == 1000
    assert found["/late", "_OTHER", "me"] == 5.0
    assert found[OVERFLOW, "_OTHER", "me"] == 5.0
    assert len(found) == 30 - 2 * len(METHODS) + 1
    assert total(metrics, "red_series") <= metrics.bound().series


FAMILIES = st.sampled_from([None, *([family] for family in ALL), ALL, ()])


@settings(max_examples=60)
@given(
    shown=st.tuples(FAMILIES, FAMILIES),
    requests=st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from("xyz"), st.sampled_from(["/a", "/b", None]), st.integers(199, 599)
        ),
        max_size=40,
    ),
)
def test_a_family_without_a_label_shows_the_sum_over_its_values(
    shown: tuple[Any, Any], requests: list[tuple[str, str, str | None, int]]
) -> None:
    """Each family shows the labels that are chosen for it. No series comes twice, and all ways of showing agree."""
    labels = {"one": Label(max_values=3, families=shown[0]), "two": Label(values=["x", "y"], families=shown[1])}
    metrics = fresh_metrics(labels=labels, max_label_sets=28)
    for one, two, route, status in requests:
        count(metrics, {"one": one, "two": two}, route, status)
    recorder = recorder_of(metrics)
    text = b"".join(Text(recorder.families, recorder.names, recorder.kinds).render(recorder.read(), text_metadata))
    lines = [line for line in text.decode().splitlines() if "uptime" not in line]
    names = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(set(names)) == len(names)
    assert lines == [line for line in generate_latest(metrics.registry).decode().splitlines() if "uptime" not in line]
    for family in (ALL[0], f"{ALL[2]}_count"):
        assert sum(labels_of(metrics, family, "route").values()) == len(requests)
    for name, chosen in zip(labels, shown, strict=True):
        for family in ALL:
            is_shown = family in (ALL[:3] if chosen is None else chosen)
            of_family = [name for name in names if re.match(rf"{family}(_\w+)?{{", name)]
            assert all((f'{name}="' in text) == is_shown for text in of_family)


def test_what_is_asked_of_a_family_shows_its_labels_only() -> None:
    """Exceptions and methods in progress have none of them."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})
    exchange = start_detailed(recorder_of(metrics), "GET", {"HTTP_X_TENANT": "acme"})
    assert exchange is not None
    exchange.raised(KeyError())
    exchange.respond(500, "/a")
    exchange.finish()
    found = counted(metrics, "http_exceptions_total", "http_errors_total")
    assert found == {
        'http_exceptions_total{exception="KeyError",route="/a"}': 1.0,
        'http_errors_total{method="GET",route="/a",tenant="acme"}': 1.0,
    }


def test_a_label_is_said_while_another_thread_has_the_lock() -> None:
    """It takes none: what runs under it could start the garbage collector, whose finalisers record."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})
    exchange = start_detailed(recorder_of(metrics), "GET", {})
    assert exchange is not None
    with concurrent.futures.ThreadPoolExecutor(1) as pool, exchange.method.lock:
        pool.submit(exchange.label, "tenant", "acme").result(timeout=60)
    exchange.respond(200, "/a")
    exchange.finish()
    assert labels_of(metrics, ALL[0], "tenant") == {("acme",): 1.0}


def test_requests_that_nobody_answers_have_their_labels() -> None:
    """A client that leaves early, and an application that says nothing."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})
    for leave in (True, False):
        exchange = start_detailed(recorder_of(metrics), "GET", {"HTTP_X_TENANT": "acme"})
        assert exchange is not None
        if leave:
            exchange.disconnect()
            exchange.respond(200, "/a")
        exchange.finish(complete=False)
    assert labels_of(metrics, ALL[0], "route", "status", "tenant") == {
        ("/a", "499", "acme"): 1.0,
        ("_unmatched", "500", "acme"): 1.0,
    }


def test_a_response_that_is_replaced_has_no_header() -> None:
    """The server sends a 500 of its own in its place."""
    metrics = fresh_metrics(labels={"cache": Label(values=["HIT"], response_header="x-cache")})

    def app(source: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Cache", "HIT")])
        if source["PATH_INFO"] == "/fails":
            raise KeyError
        return [b"x"]

    wrapped = RedWSGIMiddleware(app, metrics=metrics)
    ask_wsgi(wrapped, "/", validate=False)
    ask_wsgi(wrapped, "/fails", validate=False, catch=KeyError)
    assert labels_of(metrics, ALL[0], "status", "cache") == {("200", "HIT"): 1.0, ("500", "_OTHER"): 1.0}


def test_a_status_counts_under_its_code_where_the_row_of_its_route_has_no_room() -> None:
    """Which codes a row tells apart is its own matter."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})
    for n in range(20):
        count(metrics, {}, status=300 + n)
    count(metrics, {"tenant": "acme"}, status=503)
    assert labels_of(metrics, ALL[0], "status", "tenant")["503", "acme"] == 1.0
    assert labels_of(metrics, ALL[1], "tenant") == {("acme",): 1.0}


def test_constants_cost_a_request_nothing() -> None:
    """They begin as common requests do, and nobody reads a value."""
    metrics = fresh_metrics(labels={"version": Label(constant="1.4")})
    assert not recorder_of(metrics).options.asks_details()
    assert recorder_of(metrics).labels is None
    ask_wsgi(RedWSGIMiddleware(flask.Flask(__name__).wsgi_app, metrics=metrics), "/")
    assert labels_of(metrics, ALL[0], "version", "route") == {("1.4", "_unmatched"): 1.0}


def test_set_label_knows_the_requests_of_flask() -> None:
    """A view, a hook, and another thread, each with the request object."""
    metrics = fresh_metrics(labels={"tenant": Label(max_values=9), "plan": Label(max_values=9)})
    app = flask.Flask(__name__)

    @app.get("/a/<name>")
    def view(name: str) -> str:
        set_label(flask.request, "tenant", name)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(set_label, flask.request.environ, "plan", "gold").result()
        return "a"

    app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=metrics)  # type: ignore[method-assign]  # Flask's way
    with app.test_client().get("/a/x") as response:
        assert response.data == b"a"
    assert labels_of(metrics, ALL[0], "route", "tenant", "plan") == {("/a/<name>", "x", "gold"): 1.0}


def test_set_label_knows_the_requests_of_starlette() -> None:
    """Also from a thread of its pool, behind a mount that copies the scope, and while a body is being sent."""
    metrics = fresh_metrics(labels={"tenant": Label(max_values=9), "plan": Label(max_values=9)})

    def in_thread(request: Request) -> PlainTextResponse:
        set_label(request, "tenant", request.path_params["name"])
        return PlainTextResponse("a")

    async def streamed(request: Request) -> StreamingResponse:
        async def body() -> Any:
            yield b"a"
            set_label(request, "tenant", "streamed")
            yield b"b"

        return StreamingResponse(body())

    routes = [Route("/t/{name}", in_thread), Route("/s", streamed)]
    app = RedASGIMiddleware(Starlette(routes=[Mount("/m", routes=routes)]), metrics=metrics)
    for path in ("/m/t/x", "/m/s"):
        ask_asgi(app, path)
    assert labels_of(metrics, ALL[0], "route", "tenant") == {
        ("/m/t/{name}", "x"): 1.0,
        ("/m/s", "streamed"): 1.0,
    }


class Held:
    """A request object as frameworks have it."""

    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)


@pytest.mark.parametrize("name", ["scope", "environ", "META", "env", "wsgi_environ"])
def test_set_label_finds_the_environ_or_scope_of_a_request_object(name: str) -> None:
    """Wherever a framework keeps it. Real ones are in `routes.test_set_label`."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})
    source: dict[str, Any] = {}
    exchange = start_detailed(recorder_of(metrics), "GET", source)
    assert exchange is not None
    set_label(Held(**{name: source}), "tenant", "acme")
    exchange.respond(200, "/a")
    exchange.finish()
    assert labels_of(metrics, ALL[0], "tenant") == {("acme",): 1.0}


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what is logged, with nothing said before."""
    labelling._doubted.clear()
    return lambda: [said for record in caplog.records if "set_label" in (said := record.getMessage())]


def test_set_label_raises_nothing_and_says_once_what_has_no_effect(warnings: Callable[[], list[str]]) -> None:
    """An unknown name, a constant, a request that is counted already, and what is no request."""

    class Broken:
        @property
        def scope(self) -> object:
            raise RuntimeError("no scope")

    metrics = fresh_metrics(labels={"tenant": TENANTS, "version": Label(constant="1")})
    source: dict[str, Any] = {}
    exchange = start_detailed(recorder_of(metrics), "GET", source)
    assert exchange is not None
    for _ in range(2):
        set_label(source, "tennant", "acme")
        set_label(source, "version", "2")
        set_label(Broken(), "tenant", "acme")
    exchange.respond(200, "/a")
    exchange.finish()
    set_label(source, "tenant", "acme")
    assert [said.partition("has no effect: ")[2] for said in warnings()] == [
        "no RedMetrics(labels=) that counts this request has such a label, or it is a constant",
        "no RedMetrics(labels=) that counts this request has such a label, or it is a constant",
        "RuntimeError: no scope",
        "the request has been counted already",
    ]
    for n in range(labelling.MAX_DOUBTS):
        set_label(source, f"n{n}", "")
    assert len(warnings()) == labelling.MAX_DOUBTS


def test_set_label_does_nothing_where_nothing_counts_the_request(warnings: Callable[[], list[str]]) -> None:
    """In a unit test of a view, for an excluded request, a WebSocket, and `None`."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})

    def app(source: Any, start_response: Any) -> list[bytes]:
        set_label(source, "tenant", "acme")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]

    ask_wsgi(RedWSGIMiddleware(app, metrics=metrics, exclude=["/"]), "/")
    nothings: list[Any] = [{}, None, Held(), Held(scope=None)]
    for nothing in nothings:
        set_label(nothing, "tenant", "acme")
    assert warnings() == []
    assert counted(metrics, ALL[0]) == {}


def test_each_of_stacked_middlewares_reads_its_own_labels(warnings: Callable[[], list[str]]) -> None:
    """The application says a value once; who has a label of that name takes it."""
    outer, inner = fresh_metrics(labels={"tenant": TENANTS}), fresh_metrics(labels={"tenant": TENANTS, "plan": PLANS})
    plain = fresh_metrics()

    def app(source: Any, start_response: Any) -> list[bytes]:
        set_label(source, "tenant", "acme")
        set_label(source, "plan", "gold")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]

    wrapped = RedWSGIMiddleware(app, metrics=inner)
    ask_wsgi(RedWSGIMiddleware(RedWSGIMiddleware(wrapped, metrics=plain), metrics=outer), "/")
    assert labels_of(outer, ALL[0], "tenant", "plan") == {("acme", ""): 1.0}
    assert labels_of(inner, ALL[0], "tenant", "plan") == {("acme", "gold"): 1.0}
    assert labels_of(plain, ALL[0], "tenant", "plan") == {("", ""): 1.0}
    assert warnings() == []


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_a_request_is_let_go_when_it_is_counted(protocol: str) -> None:
    """No cycle keeps the environ or scope, and all that it holds, for the garbage collector."""
    metrics = fresh_metrics(labels={"tenant": TENANTS})

    class Source(dict[str, Any]):
        pass

    async def asgi(source: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    def wsgi(source: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"x"]

    gc.collect()
    gc.disable()
    try:
        for exclude in ((), ["/{x}"]):
            if protocol == "wsgi":
                source = Source(environ())
                app = RedWSGIMiddleware(wsgi, metrics=metrics, exclude=exclude, route_of=lambda s: "/{x}")
                body = app(source, lambda *started: lambda data: None)  # by hand: the server of the tests keeps a cycle
                list(body)
                body.close()  # type: ignore[attr-defined]  # it has one
                del body
            else:
                source = Source(scope())
                wrapped = RedASGIMiddleware(asgi, metrics=metrics, exclude=exclude, route_of=lambda s: "/{x}")
                ASGIServer().serve(wrapped, source)
            gone = weakref.ref(source)
            del source
            assert gone() is None
    finally:
        gc.enable()


def test_a_child_of_a_fork_counts_under_the_labels_of_its_parent() -> None:
    """The index stays, the numbers are its own."""
    metrics = fresh_metrics(labels={"plan": Label(max_values=1)})
    count(metrics, {"plan": "gold"})
    restart(metrics)
    for plan in ("gold", "silver"):
        count(metrics, {"plan": plan})
    assert labels_of(metrics, ALL[0], "plan") == {("gold",): 1.0, ("_OTHER",): 1.0}
