"""The endpoint, asked through both adapters: the same table of requests, the same answers."""

import gzip
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, UntypedMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.layout import Extent
from red_middleware.counting.table import Alone, Found, Table
from red_middleware.metrics import recorder_of

from .. import drive
from ..counts import SHOWN_AT_ONCE, faults, fresh_metrics
from ..drive import Environ, Receive, Scope, Seen, Send, StartResponse

OPENMETRICS: Final = "application/openmetrics-text"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Request(NamedTuple):
    """What a client asks, at the mounting's root or below a prefix."""

    method: str = "GET"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    path: str = "/metrics"


Ask = Callable[[RedMetrics, Request], Seen]


def ask_wsgi(metrics: RedMetrics, request: Request) -> Seen:
    """Ask under `wsgiref.validate`."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"the application's"]

    fields = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers}
    return drive.ask_wsgi(
        RedWSGIMiddleware(app, metrics=metrics),
        f"{request.path}?{request.query}",
        request.method,
        environ={"SCRIPT_NAME": request.prefix, **fields},
    )


def ask_asgi(metrics: RedMetrics, request: Request) -> Seen:
    """Ask as a server does whose path holds the root path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"the application's"})

    return drive.ask_asgi(
        RedASGIMiddleware(app, metrics=metrics),
        f"{request.prefix}{request.path}?{request.query}",
        request.method,
        headers=request.headers,
        root_path=request.prefix,
    )


@pytest.fixture(params=[ask_wsgi, ask_asgi], ids=["WSGI", "ASGI"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


def request_counted(metrics: RedMetrics, route: str = "/items/{id}") -> None:
    drive.count(metrics, route)


def families(response: Seen) -> list[str]:
    """Return the names of the families in an answer, as its parser reads them: it is valid, whatever it holds."""
    open_metrics = response.headers["content-type"].startswith(OPENMETRICS)
    found = list((parse_openmetrics if open_metrics else parse_text)(response.text))
    return [family.name for family in found]


# Methods and paths


def test_get_shows_what_was_counted(ask: Ask) -> None:
    """A 200 in the text format, with the length and what the answer depends on; HEAD has the same headers alone."""
    metrics = fresh_metrics()
    request_counted(metrics)
    found = ask(metrics, Request())
    assert found.status == 200
    assert found.headers == {
        "content-type": TEXT,
        "content-length": str(len(found.body)),
        "vary": "Accept, Accept-Encoding",
    }
    assert b'http_requests_total{method="GET",route="/items/{id}",status="200"} 1.0\n' in found.body


@pytest.mark.parametrize("headers", [(), (("Accept-Encoding", "gzip"), ("Accept", OPENMETRICS))])
def test_head_is_get_without_its_body(ask: Ask, headers: tuple[tuple[str, str], ...]) -> None:
    """The headers name the body that GET would bring, its length to a few digits: the scrape itself counts."""
    metrics = fresh_metrics()
    got, head = (ask(metrics, Request(method, headers=headers)) for method in ("GET", "HEAD"))
    assert head.body == b""
    assert head.status == 200
    assert abs(int(head.headers.pop("content-length")) - int(got.headers.pop("content-length"))) < 40
    assert head.headers == got.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "get"])
def test_other_methods_are_not_allowed_and_not_counted(ask: Ask, method: str) -> None:
    """A 405 that says what is allowed, no scrape and no request."""
    metrics = fresh_metrics()
    found = ask(metrics, Request(method))
    assert found.status == 405
    assert found.headers["allow"] == "GET, HEAD"
    assert found.headers["content-length"] == str(len(found.body))
    snapshot = metrics.snapshot()
    assert snapshot["red_scrape_duration_seconds_count"] == 0
    assert not any(text.startswith("http_requests_total") for text in snapshot)


@pytest.mark.parametrize(
    ("prefix", "path", "is_ours"),
    [
        ("", "/metrics", True),
        ("/shop", "/metrics", True),
        ("/metrics", "/metrics", True),
        ("/shop", "/shop/metrics", False),
        ("", "/metrics/", True),
        ("", "/Metrics", False),
        ("/metrics", "/", False),
        ("", "/metrics\xff", False),
    ],
)
def test_the_path_is_relative_to_the_mounting(ask: Ask, prefix: str, path: str, is_ours: bool) -> None:
    """Below `SCRIPT_NAME` or `root_path`; every other path is the application's, and counts."""
    metrics = fresh_metrics()
    found = ask(metrics, Request(prefix=prefix, path=path))
    assert (found.body != b"the application's") is is_ours
    assert any(text.startswith("http_requests_total") for text in metrics.snapshot()) is not is_ours


def test_a_scrape_counts_itself_as_a_scrape_alone(ask: Ask) -> None:
    """No request, nothing in progress, no series more; its duration comes up in the next one. Uptime passes."""
    metrics = fresh_metrics()
    before = metrics.snapshot()
    assert b"red_scrape_duration_seconds_count 0.0\n" in ask(metrics, Request()).body
    metrics.clock.seconds += 2.5  # type: ignore[attr-defined]  # the test's own clock
    assert ask(metrics, Request("HEAD")).status == 200
    found = ask(metrics, Request())
    assert b"red_scrape_duration_seconds_count 2.0\n" in found.body
    assert b"uptime_seconds_total 2.5\n" in found.body
    after = metrics.snapshot()
    assert after.pop("red_scrape_duration_seconds_count") - before.pop("red_scrape_duration_seconds_count") == 3
    assert after.pop("red_scrape_duration_seconds_sum") > before.pop("red_scrape_duration_seconds_sum")
    assert after.pop("uptime_seconds_total") - before.pop("uptime_seconds_total") == 2.5
    assert after == before


@pytest.mark.parametrize(
    "headers",
    [
        (("Accept", "\xff\xfe\xe9"),),
        (("Accept", "a" * 100_000), ("Accept-Encoding", "\xe9;q=\xff")),
        (("Accept-Encoding", '"' * 1000),),
        (("X-Anything", "\xff"),),
    ],
)
def test_no_header_makes_it_fail(ask: Ask, headers: tuple[tuple[str, str], ...]) -> None:
    """Bytes that are no ASCII, and too many of them: a 200 in text."""
    found = ask(fresh_metrics(), Request(headers=headers))
    assert found.status == 200
    assert found.headers["content-type"] == TEXT


def test_gzip_brings_the_same_text(ask: Ask) -> None:
    """A compressed answer, once unpacked, is what others get."""
    metrics = fresh_metrics(namespace="shop")
    for number in range(50):
        request_counted(metrics, f"/{number}")
    found = ask(metrics, Request(headers=(("Accept-Encoding", "deflate, gzip"),)))
    assert found.headers["content-encoding"] == "gzip"
    assert found.headers["content-length"] == str(len(found.body))
    text = gzip.decompress(found.body)
    assert len(found.body) < len(text) / 5
    assert len(list(parse_text(text.decode()))) == len(SHOWN_AT_ONCE)


# name[]


NAMES: Final = {
    "name[]=http_requests_total": ["http_requests"],
    "name[]=http_requests": ["http_requests"],
    "name[]=http_request_duration_seconds": ["http_request_duration_seconds"],
    "name[]=http_request_duration_seconds_bucket": ["http_request_duration_seconds"],
    "name[]=http_request_duration_seconds_count": ["http_request_duration_seconds"],
    "name[]=http_request_duration_seconds_sum": ["http_request_duration_seconds"],
    "name[]=red_scrape_duration_seconds_sum": ["red_scrape_duration_seconds"],
    "name[]=red_series": ["red_series"],
    "name[]=uptime_seconds_total&name[]=red_series": ["uptime_seconds", "red_series"],
    "name%5B%5D=red_series": ["red_series"],
    "name[]=red%5Fseries": ["red_series"],
    "name[]=orders": ["orders"],
    "name[]=orders_total": ["orders"],
    "name[]=orders_created": ["orders"],
    "name[]=orders_total&name[]=red_series": ["red_series", "orders"],
    "name[]=basket_info": ["basket"],
    "name[]=target_info": ["target"],
    "name[]=target": ["target"],
    "name[]=no_such_metric": [],
    "name[]=http_requests_": [],
    "name[]=HTTP_REQUESTS_TOTAL": [],
    "name[]=red_series_count": [],
    "name[]=%00%ff%e2%28": [],
    "name[]=\xff\xe9": [],
    "name[]=red_series%0a": [],
    "&".join(f"name[]=x{number}" for number in range(10_000)): [],
    "&".join(f"name[]=red_series_{number}" for number in range(10_000)) + "&name[]=red_series": ["red_series"],
}

EVERYTHING: Final = ["", "name[]=", "name[]", "name=red_series", "x=1;y", "%", "&&&=", "\xff", "name%5b=1", "[]=1"]


@pytest.mark.parametrize("accept", [(), (("Accept", OPENMETRICS),)], ids=["text", "openmetrics"])
@pytest.mark.parametrize(("query", "expected"), NAMES.items(), ids=lambda value: str(value)[:60])
def test_name_chooses_families(ask: Ask, accept: tuple[tuple[str, str], ...], query: str, expected: list[str]) -> None:
    """By the family's name or by one of its samples', whole, of ours and of others; no match is a valid answer."""
    metrics = fresh_metrics(registry=CollectorRegistry(target_info={"version": "1"}))
    request_counted(metrics)
    Counter("orders", "Orders.", registry=metrics.registry).inc()
    Info("basket", "Basket.", registry=metrics.registry).info({"kind": "woven"})
    found = ask(metrics, Request(query=query, headers=accept))
    in_text = {"basket": "basket_info", "target": "target_info"}
    wanted = expected if accept else [in_text.get(name, name) for name in expected]
    assert [name for name in families(found) if name != "orders_created"] == wanted
    if expected == ["http_request_duration_seconds"]:
        assert found.text.count("http_request_duration_seconds_bucket{") == 3
        assert found.text.count("http_request_duration_seconds_sum{") == 1


@pytest.mark.parametrize("query", EVERYTHING)
def test_a_query_without_names_shows_everything(ask: Ask, query: str) -> None:
    """Whatever else stands in it; an empty name is none, as for prometheus_client."""
    assert len(families(ask(fresh_metrics(), Request(query=query)))) == len(SHOWN_AT_ONCE)


def test_name_knows_the_namespace(ask: Ask) -> None:
    """A namespaced family is asked for by its full name."""
    metrics = fresh_metrics(namespace="shop")
    assert families(ask(metrics, Request(query="name[]=shop_red_series"))) == ["shop_red_series"]
    assert families(ask(metrics, Request(query="name[]=red_series"))) == []


# What else is in the registry


class Fixed(Collector):
    """Yields what it is given, and raises what it is given."""

    def __init__(self, *yields: object) -> None:
        self.yields = yields

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Any]:
        for one in self.yields:
            if isinstance(one, BaseException):
                raise one
            yield one


def other_metrics(registry: CollectorRegistry) -> None:
    """Register one of every kind that prometheus_client knows."""
    counter = Counter("orders", "Orders,\nby \\kind.", ["kind"], registry=registry)
    counter.labels('a "quoted"\nkind\\').inc(1e6)
    Gauge("depth", "Depth.", registry=registry).set(-1.5)
    Histogram("weight", "Weight.", registry=registry).observe(3, {"trace": "1"})
    Summary("price_eur", "Price.", registry=registry, unit="eur").observe(3)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("light", "Light.", states=["red", "green"], registry=registry).state("green")
    registry.register(
        Fixed(
            GaugeHistogramMetricFamily("heap", "Heap.", buckets=[("1.0", 1), ("+Inf", 2)], gsum_value=3),
            UntypedMetricFamily("raw", "Raw.", value=4),
            GaugeMetricFamily("empty", "Empty."),
        )
    )


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_others_are_shown_as_prometheus_client_shows_them(ask: Ask, accept: str) -> None:
    """All kinds of metrics in both formats: what its writer writes, after our families; `target_info` before them.

    "It SHOULD be first in the exposition", says OpenMetrics 1.0 of the target's metadata.
    """
    theirs = CollectorRegistry(target_info={"region": "north"})
    other_metrics(theirs)
    write: Any = openmetrics.generate_latest if accept else generate_latest
    alone: bytes = write(theirs)
    metrics = RedMetrics(registry=theirs)
    found = ask(metrics, Request(headers=(("Accept", accept),) if accept else ()))
    target, ours_mark, ours_and_rest = found.body.partition(b"# HELP http_requests")
    ours, mark, rest = ours_and_rest.partition(b"# HELP orders")
    assert (ours_mark + ours).count(b"# TYPE") == len(SHOWN_AT_ONCE)
    assert target + mark + rest == alone
    assert families(found)
    assert faults(metrics) == 0


def nameless() -> Metric:
    metric = Metric("nameless", "Nameless.", "gauge")
    metric.add_sample("nameless", {"label": 1}, 1.0)  # type: ignore[dict-item]  # what the test is about
    return metric


def valueless() -> Metric:
    metric = Metric("valueless", "Valueless.", "gauge")
    metric.add_sample("valueless", {}, "many")  # type: ignore[arg-type]  # what the test is about
    return metric


BROKEN: Final[dict[str, Callable[[], tuple[object, ...]]]] = {
    "raises": lambda: (ZeroDivisionError("broken"),),
    "raises half-way": lambda: (GaugeMetricFamily("half", "Half.", value=1), RuntimeError("broken")),
    "yields garbage": lambda: ("garbage",),
    "yields None": lambda: (None,),
    "yields a label that is no string": lambda: (nameless(),),
    "yields no number": lambda: (valueless(),),
    "yields what UTF-8 cannot carry": lambda: (GaugeMetricFamily("x", "\ud800", value=1),),
    "raises what has no message": lambda: (StopAsyncIteration(),),
}


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_collector_takes_only_itself_away(
    ask: Ask, kind: str, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are all there and the answer is valid; every fault is counted, the first of its kind is logged."""
    metrics = fresh_metrics()
    Counter("before", "Before.", registry=metrics.registry)
    metrics.registry.register(Fixed(*BROKEN[kind]()))
    Counter("after", "After.", registry=metrics.registry)
    for number in (1, 2, 3):
        found = ask(metrics, Request(headers=(("Accept", accept),) if accept else ()))
        assert found.status == 200
        assert [name for name in families(found) if not name.endswith("_created")] == [
            *(family.name.removesuffix("_total") for family in SHOWN_AT_ONCE), "before", "after",
        ]  # fmt: skip
        assert faults(metrics) == number
    assert [record.getMessage() for record in caplog.records if record.name == "red_middleware"
            and record.levelno == logging.WARNING] == [
        "instrumentation fault (collector Fixed); the response is not touched"
    ]  # fmt: skip


class Unreadable(Alone):
    """Other workers whose files cannot be read."""

    def read(self, table: Table, extent: Extent) -> Found:
        raise OSError


def faults_of(metrics: RedMetrics) -> float:
    """Return the faults of numbers that cannot be shown."""
    table = recorder_of(metrics).table
    return table.regions["own"].cells[table.own.cell("faults")]


@pytest.mark.parametrize("is_asked", [True, False])
def test_numbers_that_cannot_be_read_take_only_themselves_away(ask: Ask, is_asked: bool) -> None:
    """The other families of the registry are all there, and the fault is counted."""
    broken = fresh_metrics()
    recorder_of(broken).table.sharing = Unreadable()
    whole = RedMetrics(registry=broken.registry, namespace="whole")
    Counter("other", "Other.", registry=broken.registry)
    asked = broken if is_asked else whole
    for number in (1, 2):
        found = ask(asked, Request())
        assert found.status == 200
        assert [name for name in families(found) if not name.endswith("_created")] == [
            *(f"whole_{family.name}".removesuffix("_total") for family in SHOWN_AT_ONCE), "other",
        ]  # fmt: skip
        assert faults_of(asked) == number


def test_collect_may_be_anything_that_raises_at_once(ask: Ask) -> None:
    """A `collect` that is no generator, and one that returns None."""

    class Raises(Fixed):
        def collect(self) -> Iterator[Any]:
            raise KeyError("broken")

    class ReturnsNone(Fixed):
        def collect(self) -> Any:
            return None

    metrics = fresh_metrics()
    metrics.registry.register(Raises())
    metrics.registry.register(ReturnsNone())
    assert len(families(ask(metrics, Request()))) == len(SHOWN_AT_ONCE)
    assert faults(metrics) == 2


def test_two_namespaces_stand_side_by_side(ask: Ask) -> None:
    """Each RedMetrics of a registry shows its own numbers, and each counts its own series."""
    shop = fresh_metrics(namespace="shop")
    desk = RedMetrics(registry=shop.registry, namespace="desk")
    request_counted(shop)
    found = ask(desk, Request())
    lines = [line for line in found.text.splitlines() if not line.startswith("#")]
    for metrics in (shop, desk):
        own = [line for line in lines if line.startswith(f"{metrics.namespace}_")]
        assert f"{metrics.namespace}_red_series {float(len(own))}" in own
    assert len(families(found)) == 2 * len(SHOWN_AT_ONCE)


def test_a_registry_with_a_collect_of_its_own_is_asked_for_it(ask: Ask) -> None:
    """A subclass may add to what is registered, or leave it out."""

    class Adding(CollectorRegistry):
        def collect(self) -> Iterable[Metric]:
            yield from super().collect()
            yield GaugeMetricFamily("added", "Added.", value=1)

    metrics = fresh_metrics(registry=Adding())
    request_counted(metrics)
    found = ask(metrics, Request())
    assert families(found) == [*(family.name.removesuffix("_total") for family in SHOWN_AT_ONCE), "added"]
    assert found.text.count("\nhttp_request_duration_seconds_bucket{") == 3
    assert families(ask(metrics, Request(query="name[]=added&name[]=red_series"))) == ["red_series", "added"]


def test_a_restricted_registry_shows_our_samples_too() -> None:
    """prometheus_client's own `name[]`, sample by sample, works on our collector."""
    metrics = fresh_metrics()
    request_counted(metrics)
    text = generate_latest(metrics.registry.restricted_registry(["http_request_duration_seconds_count"])).decode()
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'http_request_duration_seconds_count{method="GET",route="/items/{id}"} 1.0'
    ]


def test_collectors_come_and_go_while_threads_scrape() -> None:
    """Registering and unregistering under eight scraping threads: every answer is valid, and no fault is counted."""
    metrics = fresh_metrics()
    stop = threading.Event()
    wrong: list[str] = []

    def scrape() -> None:
        while not stop.is_set():
            found = ask_wsgi(metrics, Request())
            if families(found)[: len(SHOWN_AT_ONCE)] != [
                family.name.removesuffix("_total") for family in SHOWN_AT_ONCE
            ]:
                wrong.append(found.text)

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(300):
        collector = Gauge(f"passing_{number}", "Passing.", registry=metrics.registry)
        metrics.registry.register(extra := Fixed(GaugeMetricFamily(f"extra_{number}", "Extra.", value=1)))
        metrics.registry.unregister(collector)
        metrics.registry.unregister(extra)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert faults(metrics) == 0


def test_a_lock_that_another_thread_holds_does_not_hang_the_scrape(ask: Ask) -> None:
    """The registry's lock is not needed: in a forked child nobody would ever release it."""
    metrics = fresh_metrics(registry=CollectorRegistry(target_info={"region": "north"}))
    metrics.registry.register(Fixed(GaugeMetricFamily("other", "Other.", value=1)))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with metrics.registry._lock:
            held.set()
            release.wait(60)

    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(60)
    answers: list[Seen] = []
    scraping = threading.Thread(target=lambda: answers.append(ask(metrics, Request())), daemon=True)
    scraping.start()
    scraping.join(30)
    release.set()
    holding.join()
    (found,) = answers
    assert families(found)[0] == "target_info"
    assert families(found)[-1] == "other"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the fork is the point
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_child_scrapes_though_its_parent_held_the_registry() -> None:
    """The child of a fork under the held lock answers, with numbers of its own."""
    metrics = fresh_metrics()
    request_counted(metrics)
    with metrics.registry._lock:
        child = os.fork()
        if child == 0:
            status = 1  # whatever happens, the child must not go on as a second pytest
            try:
                signal.alarm(30)
                request_counted(metrics)
                found = ask_wsgi(metrics, Request())
                status = (
                    0 if b'requests_total{method="GET",route="/items/{id}",status="200"} 1.0\n' in found.body else 1
                )
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_name_is_quoted_in_the_query_as_clients_do(ask: Ask) -> None:
    """What urllib's `quote` makes of a parameter is understood."""
    query = f"{quote('name[]')}={quote('red_series_limit')}"
    assert families(ask(fresh_metrics(), Request(query=query))) == ["red_series_limit"]
