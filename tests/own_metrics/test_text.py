"""The text of the application's metrics is what prometheus_client writes for a single worker with the same numbers."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import prometheus_client
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import metrics as prometheus_metrics
from prometheus_client.openmetrics import exposition as openmetrics

from ..drive import restart
from .workers import OPENMETRICS, Worker

NUMBERS = (0.0, 1.0, 0.1, 123456.0, 1e7, 1e15, 1e22, 1.5e-7, math.inf)

Apply = Callable[[CollectorRegistry], None]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker of a group."""
    worker = Worker(tmp_path)
    yield worker
    restart(worker.metrics)


def written(registry: CollectorRegistry, is_openmetrics: bool) -> str:
    """Return what prometheus_client writes."""
    if is_openmetrics:
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no annotations
        return text.decode()
    return prometheus_client.generate_latest(registry).decode()


def normal(text: str, left_out: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of families, with numbers as Python writes them and without times.

    prometheus_client writes 1e+07 where Python writes 10000000.0. Both are the same number to whoever reads them.
    """
    found = []
    for line in text.split("\n"):
        name = re.split(r"[ {]", line.removeprefix("# HELP ").removeprefix("# TYPE ").removeprefix("# UNIT "))[0]
        if name.startswith(left_out) and left_out:
            continue
        if line and not line.startswith("#"):
            sample, mark, exemplar = line.partition(" # {")
            start, _, number = sample.rpartition(" ")
            if name.endswith("_created"):
                number = "0"
            if mark:  # when it was observed is behind the last space
                exemplar = exemplar.rpartition(" ")[0]
            line = f"{start} {float(number)!r}{mark}{exemplar}"
        found.append(line)
    return found


def everything(registry: CollectorRegistry) -> None:
    """Make metrics of all kinds, with all that may be in them."""
    for kind, number in enumerate(NUMBERS):
        Counter(f"counter{kind}_total", "The application's.", registry=registry).inc(number)
        Gauge(f"gauge{kind}", "The application's.", registry=registry).set(-number)
        Summary(f"summary{kind}", "The application's.", registry=registry).observe(number)
        Histogram(f"histogram{kind}", "The application's.", registry=registry).observe(number)
    counter = Counter("visits", 'With "quotes", \\ and\nlines.', ["page", "of"], unit="pages", registry=registry)
    for page in ("/", 'a"b', "c\nd", "\\", "50 %", "%r", "\N{SNOWMAN}"):
        counter.labels(page, "x").inc(0.3, {"trace": page[:2]})
    negative = Histogram("delta", "The application's.", ["of"], registry=registry, buckets=(-2, -0.5, 0, 7.5e6))
    negative.labels("a").observe(-1, {"trace": "n"})
    negative.labels("a").observe(8e6)
    negative.labels("b")
    Histogram("size", "The application's.", unit="bytes", registry=registry, buckets=(1e3, 1e6, 1e9)).observe(
        5e5, {"trace": "a", "span": "1 2"}
    )
    Info("build", "The application's.", registry=registry).info({"version": "1 %", "commit": 'a"b'})
    info = Info("part", "The application's.", ["of"], registry=registry)
    info.labels("a").info({"version": "1", "commit": "2", "branch": "3"})
    info.labels("b")
    Enum("phase", "The application's.", registry=registry, states=["up", "do wn"]).state("do wn")
    enum = Enum("door", "The application's.", ["of"], registry=registry, states=["open", "shut"])
    enum.labels("a").state("shut")
    enum.labels("b")
    Gauge("temperature", "The application's.", ["of"], registry=registry, multiprocess_mode="max").labels("a").set(1.5)
    Gauge("computed", "The application's.", registry=registry).set_function(lambda: 4.0)
    Gauge("strange", "The application's.", registry=registry).set(math.nan)
    Counter("unused", "Without a child.", ["of"], registry=registry)


def numbers_only(registry: CollectorRegistry) -> None:
    """Make metrics whose text is formatted once: no exemplars, and nothing infinite."""
    Counter("orders", "The application's.", ["of"], registry=registry).labels("100 %").inc(0.1)
    Counter("plain", "The application's.", registry=registry).inc(1e15)
    Histogram("size", "The application's.", ["of"], registry=registry, buckets=(0.5, 2.5)).labels("%s").observe(1)
    Histogram("delta", "The application's.", registry=registry, buckets=(-1, 1)).observe(-3)
    Summary("wait", "The application's.", ["of"], registry=registry).labels("a").observe(-0.5)
    Gauge("jobs", "The application's.", registry=registry).dec()


@pytest.mark.parametrize("apply", [everything, numbers_only])
@pytest.mark.parametrize("is_openmetrics", [False, True])
@pytest.mark.parametrize("is_late", [False, True], ids=["shared after", "shared before"])
@pytest.mark.parametrize("has_created", [True, False])
def test_a_single_worker_shows_what_prometheus_client_writes(
    worker: Worker,
    apply: Apply,
    is_openmetrics: bool,
    is_late: bool,
    has_created: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the first scrape and when all is formatted already, in the same order."""
    monkeypatch.setattr(prometheus_metrics, "_use_created", has_created)
    plain = CollectorRegistry()
    apply(plain)
    if is_late:
        worker.enter()
    apply(worker.registry)
    worker.enter()
    for _ in range(2):
        text = worker.text(headers=OPENMETRICS if is_openmetrics else {})
        expected = written(plain, is_openmetrics)
        assert normal(text, worker.our_names()) == normal(expected)
    assert worker.faults() == 0.0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=3, unique=True),
    numbers=st.lists(st.floats(0, allow_nan=False), min_size=1, max_size=3),
    documentation=st.text(st.characters(codec="utf-8"), max_size=8),
)
def test_any_label_and_any_number_is_written_as_prometheus_client_writes_it(
    worker: Worker, labels: list[str], numbers: list[float], documentation: str
) -> None:
    """Carriage returns and other ends of lines among them."""
    worker.enter()

    registries = CollectorRegistry(), worker.registry
    made = []
    for registry in registries:
        counter = Counter("orders", documentation, ["of"], registry=registry)
        histogram = Histogram("size", documentation, ["of"], registry=registry, buckets=(1, 1e9))
        made = [counter, histogram]
        for label in labels:
            for number in numbers:
                counter.labels(label).inc(number)
                histogram.labels(label).observe(number)
    try:
        for is_openmetrics in (False, True):
            text = worker.text(headers=OPENMETRICS if is_openmetrics else {})
            expected = written(registries[0], is_openmetrics)
            assert sorted(normal(text, worker.our_names())) == sorted(normal(expected))  # in the order of all examples
    finally:
        for metric in made:
            worker.registry.unregister(metric)


def test_an_exemplar_is_that_of_the_worker_that_answers(tmp_path: Path) -> None:
    """In OpenMetrics, which alone has them."""
    workers = [Worker(tmp_path), Worker(tmp_path)]
    for n, worker in enumerate(workers):
        worker.enter()
        counter = Counter("orders", "The application's.", registry=worker.registry)
        counter.inc(1, {"trace": str(n)})
        Histogram("size", "The application's.", registry=worker.registry, buckets=(1,)).observe(0.5, {"trace": str(n)})
    for n, worker in enumerate(workers):
        text = worker.text(headers=OPENMETRICS)
        assert f'\norders_total 2.0 # {{trace="{n}"}} 1.0 ' in text
        assert f'\nsize_bucket{{le="1.0"}} 2.0 # {{trace="{n}"}} 0.5 ' in text
        assert "trace" not in worker.text()
    for worker in workers:
        restart(worker.metrics)


def test_what_was_made_first_says_when_a_child_was_made(tmp_path: Path) -> None:
    """Of all workers, and whatever became of the one that made it."""
    workers = [Worker(tmp_path).enter(), Worker(tmp_path).enter()]
    made = [Counter("orders", "The application's.", registry=worker.registry)._created for worker in workers]
    assert [worker.shown("orders_created") for worker in workers] == [pytest.approx(min(made), abs=1e-5)] * 2
    workers[0].die()
    assert workers[1].shown("orders_created") == pytest.approx(min(made), abs=1e-5)
    for worker in workers:
        restart(worker.metrics)
