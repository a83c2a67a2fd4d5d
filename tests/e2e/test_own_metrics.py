"""The workers of a prefork server answer with one truth, whichever is asked; so do the application's own metrics.

The application leaves marks of which processes have imported it and which have served, so that what it must have
counted is known although nobody knows which worker serves what.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from .business import BEGUN, IMPORTED, ITEMS, LAST_SET, LEVEL, MODES, PHASES, PRICES, TICKED, TICKS, TIP
from .clients import Answer, Http1
from .prometheus import Prometheus
from .servers import BUSINESS_ASGI, BUSINESS_WSGI, Kind, Server, poll
from .test_workers import (
    AT_ONCE,
    DEBUG,
    GRANIAN,
    RECYCLES,
    SCRAPES,
    WORKERS,
    Series,
    assert_in_order,
    by_status,
    counters,
    killer,
    reload,
    scrape,
    send,
    send_and_scrape,
    workers,
)

pytestmark = pytest.mark.once

REQUESTS: Final = 480
"""Of a half, some worker serves as many as it may before it is replaced."""
PARTS: Final = 2
"""In which the requests come, with a reload between them."""

GUNICORN: Final = (f"--workers={WORKERS}", f"--{RECYCLES}=30")
UWSGI: Final = (f"--processes={WORKERS}", "--master", "--enable-threads", f"--{RECYCLES}=30")

KINDS: Final = {
    "gunicorn sync": Kind("gunicorn", BUSINESS_WSGI, GUNICORN),
    "gunicorn sync, preload": Kind("gunicorn", BUSINESS_WSGI, (*GUNICORN, "--preload")),
    "gunicorn gthread, preload": Kind("gunicorn", BUSINESS_WSGI, (*GUNICORN, "--threads=4", "--preload")),
    "gunicorn gevent": Kind(
        "gunicorn",
        BUSINESS_WSGI,
        # A worker that is to end waits so long for connections that are kept alive, as Prometheus keeps them.
        (*GUNICORN, "--worker-class=gevent", "--graceful-timeout=1"),
        ("gevent",),
    ),
    "gunicorn uvicorn": Kind(
        "gunicorn", BUSINESS_ASGI, (*GUNICORN, "--worker-class=uvicorn_worker.UvicornWorker"), ("uvicorn_worker",)
    ),
    "uvicorn": Kind("uvicorn", BUSINESS_ASGI, (f"--workers={WORKERS}", f"--limit-{RECYCLES}=30")),
    "hypercorn": Kind("hypercorn", BUSINESS_ASGI, (f"--workers={WORKERS}",)),
    "granian asgi": Kind("granian", BUSINESS_ASGI, (*GRANIAN, "--interface=asgi")),
    "granian wsgi": Kind("granian", BUSINESS_WSGI, (*GRANIAN, "--interface=wsgi")),
    "uwsgi": Kind("uwsgi", BUSINESS_WSGI, (*UWSGI, "--min-worker-lifetime=0", "--forkbomb-delay=0")),
}
SYNC: Final = Kind("gunicorn", BUSINESS_WSGI, (f"--workers={WORKERS}",))

COUNTERS: Final = (
    "http_requests_total",
    "http_errors_total",
    "http_request_duration_seconds_bucket",
    "http_request_duration_seconds_count",
    "http_request_duration_seconds_sum",
    "process_cpu_seconds_total",
    "red_scrape_duration_seconds_count",
    "uptime_seconds_total",
    "business_handled_total",
    "business_imports_total",
    "business_purchases_total",
    "business_tips_euros_total",
    "business_price_euros_bucket",
    "business_price_euros_count",
    "business_price_euros_sum",
    "business_tip_size_euros_count",
    "business_tip_size_euros_sum",
    "business_ticks_total",
)
GROWS_AT_REST: Final = ("business_handled_total", "business_imports_total")
"""A scrape may be the first request of a new worker, which has counted its import."""

TYPES: Final = {
    "business_handled": "counter",
    "business_imports": "counter",
    "business_purchases": "counter",
    "business_tips_euros": "counter",
    "business_price_euros": "histogram",
    "business_tip_size_euros": "summary",
    "business_ticks": "counter",
    "business_in_progress": "gauge",
    "business_sessions": "gauge",
    "business_answering_process": "gauge",
    "business_build": "info",
    "business_setting": "info",
    "business_phase": "stateset",
    **{f"business_{mode}_level": "gauge" for mode in MODES},
}
IN_TEXT: Final = {
    f"{name}_info" if kind == "info" else name: "gauge" if kind in ("info", "stateset") else kind
    for name, kind in TYPES.items()
}
"""The same in the text format, which has fewer types."""
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


class Sent(Counter[str]):
    """How often each status was seen, "" for connections that broke: a worker may have counted those requests."""

    def item(self, name: str) -> int:
        """Return how many purchases were answered."""
        return self[ITEMS[name].status]

    def allow(self, counted: float, answered: int) -> bool:
        """Tell whether as much was counted as was answered, or a bit more where connections broke."""
        return answered <= counted <= answered + self[""]


def recycles(kind: Kind) -> bool:
    """Tell whether the server replaces its workers after some requests."""
    return RECYCLES in " ".join(kind.options)


def marked(server: Server, mark: str) -> set[int]:
    """Return the processes that have left a mark."""
    return {int(file.name.rpartition("-")[2]) for file in server.directory.glob(f"{mark}-*")}


def by(label: str, series: Series, name: str) -> Series:
    """Return the samples of a family by the value of one label."""
    found = {}
    for sample, value in series.items():
        if match := re.fullmatch(rf'{name}{{(?:.*,)?{label}="([^"]*)".*}}', sample):
            found[match[1]] = value
    return found


def shown(series: Series, name: str) -> list[str]:
    """Return the samples of a name that are not zero."""
    return [sample for sample, value in series.items() if sample.startswith(f"{name}{{") and value]


def requests_handled(series: Series) -> float:
    """Return how many requests the application counted that has counted its imports as well."""
    return series["business_handled_total"] - sum(by("process", series, "business_imports_total").values())


def purchases() -> Iterator[tuple[str, str]]:
    """Yield requests without an end."""
    while True:
        for name in ITEMS:
            yield "GET", f"/buy/{name}"


def some(number: int) -> Iterator[tuple[str, str]]:
    """Yield so many requests."""
    return (request for request, _ in zip(purchases(), range(number), strict=False))


async def ask(server: Server, path: str, headers: str = "") -> Answer:
    """Send one request, with a connection of its own."""
    with closing(Http1(server.port)) as connection:
        await connection.begin("GET", path, f"Connection: close\r\n{headers}")
        return await connection.answer("GET")


def set_level(server: Server, number: int, sent: Sent) -> bool:
    """Have some worker set what shows the last, and check it; tell whether that one still lived then."""
    try:
        answer = asyncio.run(ask(server, f"/level/{number}"), debug=DEBUG)
    except ConnectionError:
        answer = Answer(None, b"", False)
    sent[LEVEL if answer.complete else ""] += 1
    if not answer.complete:
        return False
    server.rest()
    found = scrape(server)
    last = {mode: by("by", found, f"business_{mode}_level").get("request") for mode in LAST_SET}
    assert last["all"] == last["mostrecent"] == number
    assert shown(found, "business_setting_info") == [f'business_setting_info{{number="{number}"}}']
    assert shown(found, "business_phase") == [f'business_phase{{business_phase="{PHASES[number % len(PHASES)]}"}}']
    lives = answer.body.decode() in by("pid", found, "business_liveall_level")
    if lives:
        assert last["livemostrecent"] == number
    return lives


def settle(server: Server) -> None:
    """Wait until no thread of a worker counts any more, and all workers have joined, unless new ones come all the time.

    A new worker joins when it is asked.
    """

    def have_joined() -> bool:
        asyncio.run(send(server, iter([("GET", "/metrics")] * AT_ONCE)), debug=DEBUG)
        return scrape(server)["red_workers"] == WORKERS

    poll("threads rest", lambda: marked(server, BEGUN) & workers(server) <= marked(server, TICKED))
    if not recycles(server.kind):
        poll("all workers have joined", have_joined)


def assert_counted(found: Series, server: Server, sent: Sent) -> None:
    """What was counted is what clients saw answered, and what is counted together agrees."""
    processes = {int(process): number for process, number in by("process", found, "business_imports_total").items()}
    imported, begun = marked(server, IMPORTED), marked(server, BEGUN)
    assert processes == dict.fromkeys(processes, 1)
    assert (imported & begun or imported) <= set(processes) <= imported
    assert sent.allow(requests_handled(found), sent.total() - sent[""])
    bought = by("item", found, "business_purchases_total")
    assert bought.keys() == ITEMS.keys()
    for name, number in bought.items():
        price = ITEMS[name].price
        assert sent.allow(number, sent.item(name))
        assert by("item", found, "business_tips_euros_total")[name] == pytest.approx(TIP * number, rel=1e-9)
        assert by("item", found, "business_price_euros_count")[name] == number
        assert by("item", found, "business_price_euros_sum")[name] == price * number
        own = {sample: value for sample, value in found.items() if f'item="{name}"' in sample}
        assert by("le", own, "business_price_euros_bucket") == {
            **{str(bound): number if price <= bound else 0 for bound in PRICES},
            "+Inf": number,
        }
    assert found["business_tip_size_euros_count"] == sum(bought.values())
    assert found["business_tip_size_euros_sum"] == pytest.approx(TIP * sum(bought.values()), rel=1e-9)
    assert TICKS * len(marked(server, TICKED)) <= found["business_ticks_total"] <= TICKS * len(begun)


def assert_gauges(found: Series, server: Server, possible: set[int]) -> None:
    """Each gauge is as its mode says, of the workers that have begun, and of those that live where it says so."""
    begun = marked(server, BEGUN)
    living = {int(pid): value for pid, value in by("pid", found, "business_liveall_level").items()}
    assert living == {pid: pid for pid in begun & possible if pid in living}
    if not recycles(server.kind):
        assert set(living) == begun & possible
    level = {mode: by("by", found, f"business_{mode}_level").get("worker") for mode in MODES if mode != "liveall"}
    assert (level["min"], level["max"], level["sum"]) == (min(begun), max(begun), sum(begun))
    assert {level["all"], level["mostrecent"]} <= begun
    if living:
        assert (level["livemin"], level["livemax"]) == (min(living), max(living))
        assert level["livesum"] == sum(living)
        assert level["livemostrecent"] in living
    else:
        assert {level[mode] for mode in level if mode.startswith("live")} == {None}
    assert found["business_sessions"] == len(living)
    assert found["business_in_progress"] == 0
    assert found["business_answering_process"] in possible
    assert shown(found, "business_build_info") == ['business_build_info{version="1"}']
    assert len(shown(found, "business_setting_info")) == len(shown(found, "business_phase")) == 1
    assert sum(sample.startswith("business_setting_info") for sample in found) == 1
    assert sum(sample.startswith("business_phase{") for sample in found) == len(PHASES)


def assert_well_formed(server: Server) -> None:
    """Both formats can be parsed, have each family once, and the same numbers."""

    def read(accept: str) -> str:
        answer = asyncio.run(ask(server, "/metrics", f"Accept: {accept}\r\n"), debug=DEBUG)
        if not answer.complete:
            raise ConnectionError("by a worker that ends")
        return answer.body.decode()

    text = poll("an exposition", lambda: read("text/plain"))
    open_text = poll("an exposition in OpenMetrics", lambda: read(OPENMETRICS))
    assert open_text.endswith("# EOF\n")
    _assert_once(text, text_string_to_metric_families(text), IN_TEXT)
    _assert_once(open_text, openmetrics.text_string_to_metric_families(open_text), TYPES)  # type: ignore[no-untyped-call]  # it has no annotations
    assert _counted(text) == _counted(open_text)


def _assert_once(text: str, families: Iterable[Metric], types: dict[str, str]) -> None:
    """No family and no sample is there twice, and the parser finds those of the application."""
    heads = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(set(heads)) == len(heads)
    assert len(set(samples)) == len(samples)
    found = [(family.name, family.type) for family in families if family.name.startswith("business_")]
    assert {name: kind for name, kind in found if not name.endswith("_created")} == types


def _counted(text: str) -> Series:
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("business_"))
    return stable({sample: float(value) for sample, _, value in lines})


def stable(series: Series) -> Series:
    """Return what the application counted, and what does not change at rest."""
    return {
        sample: value
        for sample, value in counters(series).items()
        if sample.startswith("business_") and not sample.startswith(GROWS_AT_REST)
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_worker_tells_of_all(kind: Kind, tmp_path: Path) -> None:
    """Of some hundred requests, while workers are recycled and reloaded: what clients saw is what every worker says.

    Each request is counted once, by us and by the application.

    A real Prometheus scrapes all the while, and no counter begins anew.
    """
    (tmp_path / "server").mkdir()
    (tmp_path / "prometheus").mkdir()
    sent = Sent()
    scrapes: list[Series] = []
    with Server(kind, tmp_path / "server") as server:
        with Prometheus(tmp_path / "prometheus", {"shop": server.port}) as prometheus:
            for part in range(PARTS):
                old = workers(server)
                answered, found = asyncio.run(send_and_scrape(server, some(REQUESTS // PARTS)), debug=DEBUG)
                sent.update(answered)
                scrapes += found
                if recycles(kind):
                    poll("a worker is recycled", lambda: old - workers(server))  # noqa: B023  # asked at once
                if part == 0:
                    reload(server)
                prometheus.scrape_after("shop", time.time())
            assert any([set_level(server, number, sent) for number in range(1, 6)])  # noqa: C419  # all of them
            settle(server)
            prometheus.scrape_after("shop", time.time())
            for counter in COUNTERS:
                resets = prometheus.ask(f"resets({counter}[1h])")
                assert resets, counter
                assert {value for _, value in resets} == {0}, counter
            for counter in ("http_requests_total", "business_purchases_total"):
                increases = prometheus.increases(counter)
                assert len(increases) >= 2
                assert [round(increase) for increase, _ in increases] == [difference for _, difference in increases]
            counted = prometheus.by("status", "sum by (status) (http_requests_total)")
            timed = prometheus.number("sum(http_request_duration_seconds_count)")
            bought = prometheus.by("item", "sum by (item) (business_purchases_total)")
            handled = prometheus.number("sum(business_handled_total) - sum(business_imports_total)")
            assert (prometheus.number("count_over_time(up[1h])") or 0) >= PARTS
        before = workers(server)
        last = [scrape(server) for _ in range(SCRAPES)]
        possible = before | workers(server)
        assert_in_order(scrapes + last)
        assert min(each["business_in_progress"] for each in scrapes) >= 0
        assert sent.total() - sent[""] > 0.5 * REQUESTS  # a worker that is about to end resets what it took last
        assert [stable(each) for each in last] == [stable(last[0])] * SCRAPES
        seen = {status: number for status, number in sent.items() if status}
        assert [by_status(each) for each in last] == [seen] * SCRAPES
        assert {each['http_requests_in_progress{method="GET"}'] for each in last} == {0}
        assert max(each["red_workers"] for each in last) <= WORKERS
        assert {each["red_worker_isolated"] for each in last} == {0}
        assert {each["red_instrumentation_errors_total"] for each in last} == {0}
        for each in last:
            assert_counted(each, server, sent)
            assert_gauges(each, server, possible)
        assert counted == {(status,): number for status, number in seen.items()}
        assert timed == sum(seen.values())
        assert {requests_handled(each) for each in last} == {handled}
        assert bought == {(name,): last[0][f'business_purchases_total{{item="{name}"}}'] for name in ITEMS}
        assert_well_formed(server)


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=str)
def test_of_killed_workers_nothing_that_the_app_counted_is_lost(options: list[str], tmp_path: Path) -> None:
    """Random workers get a SIGKILL under load: what was answered had been counted, and nothing counts twice."""
    killed, kill = killer(random.Random(3))

    def requests() -> Iterator[tuple[str, str]]:
        """Yield requests until some workers were killed, however fast the others answer; not without end."""
        for number, request in zip(range(100 * REQUESTS), purchases(), strict=False):
            if number >= 2 * REQUESTS and len(killed) >= 10:
                return
            yield request

    with Server(SYNC, tmp_path, *options) as server:
        answered, scrapes = asyncio.run(send_and_scrape(server, requests(), kill), debug=DEBUG)
        settle(server)
        sent = Sent(answered)
        last = [scrape(server) for _ in range(SCRAPES)]
        assert len(killed) >= 10
        assert_in_order(scrapes + last)
        assert [stable(each) for each in last] == [stable(last[0])] * SCRAPES
        bought = by("item", last[0], "business_purchases_total")
        for name in ITEMS:
            assert sent.allow(bought[name], sent.item(name))
            count = by("item", last[0], "business_price_euros_count")[name]
            assert bought[name] - len(killed) <= count <= bought[name]  # a worker may end between the two
        assert sum(bought.values()) <= sent.total()
        for each in last:
            assert each["business_in_progress"] == 0  # whatever the killed were serving
            assert by("pid", each, "business_liveall_level").keys() <= set(map(str, workers(server)))
            assert sum(bought.values()) - len(killed) <= requests_handled(each) <= sent.total() + len(killed)
