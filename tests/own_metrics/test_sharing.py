"""The application's own metrics among the workers of a group: each shows what all of them counted."""

import copy
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.values import MutexValue

from red_middleware.metrics import recorder_of
from red_middleware.own_metrics import meeting, sharing, values

from ..drive import restart
from ..threads import run_at_once
from .workers import OPENMETRICS, Worker

Work = Callable[..., Worker]

STRANGE = [
    'say "hi"',
    "two\nlines",
    "100 %",
    "%r %s %(a)s",
    "back\\slash",
    "\N{SNOWMAN} ümlaut",
    "",
    "a\rb c",
    "{}",
    "# x",
]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """Return a function that makes workers of one group."""
    workers: list[Worker] = []

    def work(registry: CollectorRegistry | None = None, **options: Any) -> Worker:
        workers.append(Worker(tmp_path, registry, **options))
        return workers[-1]

    yield work
    for worker in workers:
        restart(worker.metrics)


def without_times(samples: dict[str, float]) -> dict[str, float]:
    """Return samples without when things were made."""
    return {name: value for name, value in samples.items() if "_created" not in name}


def both(one: Worker, other: Worker) -> dict[str, float]:
    """Return what two workers show, which is to be the same."""
    found = one.samples()
    assert other.samples() == found
    assert one.faults() == 0.0
    return without_times(found)


def test_what_was_counted_before_comes_along_once(work: Work) -> None:
    """And every number of every kind of metric is that of both workers from then on."""
    one, other = work(), work()
    for n, worker in enumerate((one, other), 1):
        registry = worker.registry
        Counter("orders", "The application's.", registry=registry).inc(n)
        Gauge("jobs", "The application's.", registry=registry).inc(n)
        Summary("wait", "The application's.", ["of"], registry=registry).labels("a").observe(n)
        Histogram("size", "The application's.", registry=registry, buckets=(1, 5)).observe(n)
    one.enter()
    other.enter()
    Info("build", "The application's.", registry=one.registry).info({"version": "1"})
    Enum("phase", "The application's.", registry=other.registry, states=["up", "down"]).state("down")
    expected = {
        "orders_total": 3.0,
        "wait_count{of=a}": 2.0,
        "wait_sum{of=a}": 3.0,
        "size_bucket{le=1.0}": 1.0,
        "size_bucket{le=5.0}": 2.0,
        "size_bucket{le=+Inf}": 2.0,
        "size_count": 2.0,
        "size_sum": 3.0,
        "build_info{version=1}": 1.0,
        "phase{phase=up}": 0.0,
        "phase{phase=down}": 1.0,
    }
    found = both(one, other)
    assert found.pop("jobs") in (1.0, 2.0)  # which of both was set, and when, nothing tells until it moves again
    assert found == expected
    assert both(one, other).items() >= expected.items()  # at the next scrape as well


def test_what_comes_later_is_shared_too(work: Work) -> None:
    """Metrics, and children of those that there were."""
    one, other = work(), work()
    old = [Counter("old", "The application's.", ["of"], registry=worker.registry) for worker in (one, other)]
    old[0].labels("a").inc()
    one.enter()
    other.enter()
    old[1].labels("a").inc(2)
    old[1].labels("b").inc(3)
    Counter("new", "The application's.", registry=other.registry).inc(4)
    Gauge("jobs", "The application's.", ["of"], registry=other.registry).labels("a").inc(5)
    Enum("door", "The application's.", ["of"], registry=other.registry, states=["open", "shut"]).labels("x").state(
        "shut"
    )
    Enum("lamp", "The application's.", registry=other.registry, states=["on", "off"])
    assert both(one, other) == {
        "old_total{of=a}": 3.0,
        "old_total{of=b}": 3.0,
        "new_total": 4.0,
        "jobs{of=a}": 5.0,
        "door{door=open,of=x}": 0.0,
        "door{door=shut,of=x}": 1.0,
        "lamp{lamp=on}": 1.0,
        "lamp{lamp=off}": 0.0,
    }


def test_gauges_merge_by_their_mode(work: Work) -> None:
    """While both live, and after one has died."""
    modes = ["all", "min", "max", "sum", "livemin", "livemax", "livesum", "mostrecent", "livemostrecent"]
    one, other = work().enter(), work().enter()
    for value, worker in ((3.0, one), (5.0, other)):
        for mode in modes:
            gauge = Gauge(mode, "The application's.", registry=worker.registry, multiprocess_mode=mode)  # type: ignore[arg-type]  # one of those
            gauge.set(value)
        Gauge("progress", "The application's.", registry=worker.registry).inc(value)
        Gauge("each", "The application's.", registry=worker.registry, multiprocess_mode="liveall").set(value)
    text = one.text()
    assert text.count("\neach{pid=") == 2
    one.registry.unregister(
        next(c for c in list(one.registry._collector_to_names) if getattr(c, "_name", "") == "each")
    )
    assert {n: v for n, v in both(one, other).items() if "pid" not in n} == {
        "all": 5.0,
        "min": 3.0,
        "max": 5.0,
        "sum": 8.0,
        "livemin": 3.0,
        "livemax": 5.0,
        "livesum": 8.0,
        "mostrecent": 5.0,
        "livemostrecent": 5.0,
        "progress": 8.0,
    }
    other.die()
    assert without_times(one.samples()) == {
        "all": 5.0,
        "min": 3.0,
        "max": 5.0,
        "sum": 8.0,
        "livemin": 3.0,
        "livemax": 3.0,
        "livesum": 3.0,
        "mostrecent": 5.0,
        "livemostrecent": 3.0,
        "progress": 3.0,
    }


def test_of_a_worker_that_died_counters_stay(work: Work) -> None:
    """Folded, and never less than before; a family that no living worker has is no longer shown, until one has it."""
    one, other, third = work().enter(), work().enter(), work().enter()
    for worker in (one, other, third):
        Counter("orders", "The application's.", registry=worker.registry).inc(0.1)
    Counter("alone", "The application's.", registry=other.registry).inc(7)
    before = one.shown("orders_total")
    other.die()
    assert one.shown("orders_total") == before == third.shown("orders_total")
    assert one.shown("alone_total") is None
    Counter("alone", "The application's.", registry=third.registry).inc(1)
    assert one.shown("alone_total") == 8.0
    third.die()
    assert one.shown("orders_total") == before


@pytest.mark.parametrize("headers", [{}, OPENMETRICS])
@pytest.mark.parametrize("label", STRANGE)
def test_labels_may_be_anything(work: Work, label: str, headers: dict[str, str]) -> None:
    """Either worker writes them as prometheus_client does, in both formats, and with a child of the other's, too."""
    one, other = work().enter(), work().enter()
    for worker in (one, other):
        registry = worker.registry
        Counter("orders", f"The application's {label}.", ["of"], registry=registry).labels(label).inc()
        Histogram("size", "The application's.", ["of"], registry=registry, buckets=(1,)).labels(label).observe(0)
        Gauge("jobs", "The application's.", ["of"], registry=registry, multiprocess_mode="sum").labels(label).set(1)
        Info("build", "The application's.", ["of"], registry=registry).labels(label).info({"version": label})
    Counter("alone", f"The application's {label}.", ["of"], registry=other.registry).labels(label).inc()
    for worker in (one, other):
        text = worker.text(headers=headers)
        if "\r" not in label:  # prometheus_client's parser ends a line there
            assert worker.shown(f"orders_total{{of={label}}}") == 2.0
        written = label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        for line in ("orders_total{of=~} 2.0", "size_count{of=~} 2.0", "jobs{of=~} 2.0", "alone_total{of=~} 1.0"):
            assert line.replace("~", f'"{written}"') in text.split("\n")
        assert text.count("\nbuild_info{") == 1
    assert one.faults() == 0.0


def test_an_info_shows_what_was_said_last(work: Work) -> None:
    """Once, with labels and without, and however many keys it has; of a worker that has died, too."""
    one, other = work(), work()
    infos = []
    for n, worker in enumerate((one, other)):
        infos.append(Info("build", "The application's.", registry=worker.registry))
        infos[-1].info({"version": str(n)})
        Info("part", "The application's.", ["of"], registry=worker.registry).labels("a").info({"x": str(n), "y": "1"})
        worker.enter()
    assert both(one, other) == {"build_info{version=1}": 1.0, "part_info{of=a,x=1,y=1}": 1.0}
    infos[0].info({"version": "2", "commit": "c", "branch": "b"})
    assert both(one, other)["build_info{branch=b,commit=c,version=2}"] == 1.0
    assert len(both(one, other)) == 2
    infos[1].info({})
    other.die()
    infos[0].info({"version": "2"})
    assert set(without_times(one.samples())) == {"build_info{version=2}", "part_info{of=a,x=1,y=1}"}


def test_what_is_removed_is_taken_back(work: Work) -> None:
    """What this worker said of it, and nothing that another one said; what comes again begins at zero."""
    one, other = work().enter(), work().enter()
    metrics = [Counter("orders", "The application's.", ["of", "by"], registry=w.registry) for w in (one, other)]
    gauges = [Gauge("jobs", "The application's.", ["of"], registry=w.registry) for w in (one, other)]
    for n, (metric, gauge) in enumerate(zip(metrics, gauges, strict=True), 1):
        for of in "abc":
            metric.labels(of, "x").inc(n)
            gauge.labels(of).inc(n)
    metrics[0].remove("a", "x")
    gauges[0].remove("a")
    found = both(one, other)
    assert (found["orders_total{by=x,of=a}"], found["jobs{of=a}"]) == (2.0, 2.0)
    metrics[1].remove("a", "x")
    assert "orders_total{by=x,of=a}" not in both(one, other)
    metrics[0].labels("a", "x").inc(9)
    assert both(one, other)["orders_total{by=x,of=a}"] == 9.0
    if hasattr(metrics[0], "remove_by_labels"):
        metrics[0].remove_by_labels({"of": "b"})
        assert both(one, other)["orders_total{by=x,of=b}"] == 2.0
    for metric in metrics:
        metric.clear()
    assert not any(name.startswith("orders") for name in both(one, other))
    metrics[1].labels("a", "x").inc(4)
    assert both(one, other)["orders_total{by=x,of=a}"] == 4.0
    for worker, metric, gauge in zip((one, other), metrics, gauges, strict=True):
        worker.registry.unregister(metric)
        worker.registry.unregister(gauge)
    assert both(one, other) == {}
    Counter("orders", "The application's.", ["of", "by"], registry=one.registry).labels("a", "x").inc(6)
    assert both(one, other) == {"orders_total{by=x,of=a}": 6.0}


def test_a_metric_that_was_removed_counts_for_itself(work: Work) -> None:
    """Whoever still holds it goes on in memory, and brings that along when it is registered again."""
    one = work().enter()
    counter = Counter("orders", "The application's.", registry=one.registry)
    counter.inc(2)
    one.registry.unregister(counter)
    counter.inc(3)
    assert one.samples() == {}
    assert counter._value.get() == 5.0
    one.registry.register(counter)
    assert one.shown("orders_total") == 5.0


def test_a_function_is_asked_in_the_worker_that_answers(work: Work) -> None:
    """Also one that a gauge gets when it is shared already; after it is removed nothing of it stays."""
    one, other = work().enter(), work().enter()
    gauges = [Gauge("jobs", "The application's.", ["of"], registry=w.registry) for w in (one, other)]
    for n, (worker, gauge) in enumerate(zip((one, other), gauges, strict=True), 1):
        gauge.labels("late").set(7)
        gauge.labels("late").set_function(lambda n=n: float(n))  # type: ignore[misc]  # it binds the number
        plain = Gauge("threads", "The application's.", registry=worker.registry)
        plain.set_function(lambda n=n: 10.0 * n)  # type: ignore[misc]  # the same
    assert one.samples() == {"jobs{of=late}": 1.0, "threads": 10.0}
    assert other.samples() == {"jobs{of=late}": 2.0, "threads": 20.0}
    for gauge in gauges:
        gauge.remove("late")
    assert one.samples() == {"threads": 10.0}


def test_what_finds_no_room_is_shown_as_this_workers(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    """Logged once. Nothing is shown twice or half, and the text is one that can be parsed."""
    one, other = work(own_series_limit=6), work(own_series_limit=6)
    one.enter()
    other.enter()
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for n, worker in enumerate((one, other), 1):
            counter = Counter("orders", "The application's.", ["of"], registry=worker.registry)
            for of in range(4):
                counter.labels(of).inc(n)
            Histogram("size", "The application's.", registry=worker.registry, buckets=(1, 2, 3)).observe(n)
            gauge = Gauge("jobs", "The application's.", ["of"], registry=worker.registry, multiprocess_mode="sum")
            for of in range(9):
                gauge.labels(of).set(n)
            Enum("phase", "The application's.", registry=worker.registry, states=["up", "down"]).state("down")
            Info("build", "The application's.", registry=worker.registry).info({"version": "1"})
            Counter("late", "The application's.", registry=worker.registry).inc(n)
    assert caplog.text.count("own_series_limit=6") == 2  # once in each worker
    for n, worker in enumerate((one, other), 1):
        found = worker.samples()
        assert [found[f"orders_total{{of={of}}}"] for of in range(4)] == [3.0] * 4
        assert (found["size_count"], found["size_sum"], found["size_bucket{le=+Inf}"]) == (1.0, n, 1.0)
        assert [found[f"jobs{{of={of}}}"] for of in (0, 8)] == [3.0, n]
        assert (found["phase{phase=down}"], found["build_info{version=1}"], found["late_total"]) == (1.0, 1.0, n)
        for headers in ({}, OPENMETRICS):
            lines = [line for line in worker.text(headers=headers).splitlines() if "# TYPE" in line]
            assert len(lines) == len(set(lines))
    assert one.faults() == 0.0


def test_an_info_whose_new_content_finds_no_room_is_shown_as_this_workers(work: Work) -> None:
    """And its content from before by nobody any more."""
    one, other = work(own_series_limit=2).enter(), work(own_series_limit=2).enter()
    info = Info("build", "The application's.", registry=one.registry)  # takes the one row beside its family's
    info.info({"version": "1"})
    info.info({"version": "2"})
    assert one.samples() == {"build_info{version=2}": 1.0}
    assert other.samples() == {}


def test_metrics_of_a_worker_stay_its_own_if_so_chosen(work: Work) -> None:
    """With `own_metrics="worker"` nothing of prometheus_client's is touched."""
    one, other = work(own_metrics="worker"), work(own_metrics="worker")
    made = []
    for n, worker in enumerate((one, other), 1):
        worker.enter()
        made.append(Counter("orders", "The application's.", registry=worker.registry))
        made[-1].inc(n)
    assert [worker.shown("orders_total") for worker in (one, other)] == [1.0, 2.0]
    assert all(type(counter._value) is MutexValue for counter in made)
    assert type(one.registry._collector_to_names) is dict


def test_two_namespaces_on_one_registry_share_its_metrics_once(work: Work) -> None:
    """Whichever endpoint is asked shows them once."""
    registries = CollectorRegistry(), CollectorRegistry()
    workers = [[work(registry), work(registry, namespace="admin")] for registry in registries]
    for n, registry in enumerate(registries, 1):
        Counter("orders", "The application's.", registry=registry).inc(n)
    for pair in workers:
        for worker in pair:
            worker.enter()
    for pair in workers:
        for worker in pair:
            text = worker.text()
            assert text.count("\n# TYPE orders_total counter") == 1
            assert text.count("\norders_total 3.0") == 1
            list(text_string_to_metric_families(text))


class Custom(Collector):
    """A collector of the application."""

    def collect(self) -> Iterator[Metric]:
        """Yield one family."""
        yield GaugeMetricFamily("custom", "The application's.", 5.0)


def test_what_is_not_of_this_registry_or_no_metric_is_left_alone(work: Work) -> None:
    """Custom collectors are asked as ever, and another registry's metrics stay in memory."""
    one, other = work().enter(), work().enter()
    registry = CollectorRegistry()
    foreign = Counter("foreign", "The application's.", registry=registry)
    unregistered = Counter("nowhere", "The application's.", registry=None)
    custom = Custom()
    one.registry.register(custom)
    assert type(foreign._value) is type(unregistered._value) is MutexValue
    assert one.samples() == {"custom": 5.0}
    assert other.samples() == {}
    one.registry.unregister(custom)
    assert one.samples() == {}


def test_a_metric_in_two_registries_is_shared_in_both(work: Work) -> None:
    """As it is counted in each of them."""
    one = work().enter()
    counter = Counter("orders", "The application's.", registry=one.registry)
    other = CollectorRegistry()
    other.register(counter)
    counter.inc(2)
    assert one.shown("orders_total") == other.get_sample_value("orders_total") == 2.0


def test_a_family_is_chosen_by_its_name(work: Work) -> None:
    """`name[]` takes the name of a family or of a sample, also of one that only another worker has."""
    one, other = work().enter(), work().enter()
    for worker in (one, other):
        Counter("orders", "The application's.", registry=worker.registry).inc()
    Histogram("size", "The application's.", registry=other.registry).observe(1)
    Gauge("jobs", "The application's.", registry=other.registry).set(1)
    for name in ("orders", "orders_total"):
        text = one.text(f"name[]={name}")
        assert "orders_total 2.0\n" in text
        assert "size" not in text
        assert "jobs" not in text
    text = one.text("name[]=size_bucket&name[]=jobs")
    assert "orders" not in text
    assert "size_count 1.0\n" in text
    assert "jobs 1.0\n" in text


def test_other_buckets_or_another_mode_after_a_reload_break_no_scrape(work: Work) -> None:
    """While old and new code serve side by side."""
    one, other = work().enter(), work().enter()
    Histogram("size", "The application's.", registry=one.registry, buckets=(1, 4)).observe(3)
    Histogram("size", "The application's.", registry=other.registry, buckets=(2, 4)).observe(1.5)
    Gauge("jobs", "The application's.", registry=one.registry, multiprocess_mode="liveall").set(3)
    Gauge("jobs", "The application's.", registry=other.registry, multiprocess_mode="max").set(4)
    assert both(one, other) == {
        "size_bucket{le=1.0}": 0.0,
        "size_bucket{le=2.0}": 1.0,
        "size_bucket{le=4.0}": 2.0,
        "size_bucket{le=+Inf}": 2.0,
        "size_count": 2.0,
        "size_sum": 4.5,
        "jobs": 4.0,
    }


def test_a_worker_that_is_alone_shares_with_nobody(work: Work) -> None:
    """Without a directory nothing changes."""
    one = work(multiprocess_dir=None)
    counter = Counter("orders", "The application's.", registry=one.registry)
    counter.inc()
    assert one.shown("orders_total") == 1.0
    assert type(counter._value) is MutexValue


def test_a_release_that_is_not_known_is_said_once(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the metrics are those of the worker, as before."""
    one = work()
    counter = Counter("orders", "The application's.", registry=one.registry)
    counter.inc()
    monkeypatch.setattr(values, "is_known", lambda: False)
    with caplog.at_level(logging.WARNING, "red_middleware"):
        one.enter()
    assert "in a way that is not known" in caplog.text
    assert one.shown("orders_total") == 1.0
    assert type(counter._value) is MutexValue
    assert recorder_of(one.metrics).own.table is None


IN_MULTIPROCESS_MODE = """
import logging, sys
from pathlib import Path
from prometheus_client import Counter, CollectorRegistry
from tests.own_metrics.workers import Worker
logging.basicConfig(stream=sys.stdout)
registry = CollectorRegistry()
counter = Counter("orders", "The application's.", registry=registry)
kept = type(counter._value)
counter.inc(3)
worker = Worker(Path(sys.argv[1]), registry, max_label_sets=100).enter()
assert type(counter._value) is kept
assert "\\norders_total 3.0\\n" in worker.text()
"""


def test_metrics_in_multiprocess_mode_are_left_to_prometheus_client(tmp_path: Path) -> None:
    """Whoever has chosen `PROMETHEUS_MULTIPROC_DIR` goes on with it, and is not warned."""
    place = tmp_path / "prometheus"
    place.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", IN_MULTIPROCESS_MODE, str(tmp_path)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(place), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stdout


def test_scrapes_of_two_namespaces_at_once_take_no_row_twice(work: Work) -> None:
    """Both show the same families, and each may be the first to see a new child."""
    registry = CollectorRegistry()
    one, other = work(registry).enter(), work(registry, namespace="admin").enter()
    histogram = Histogram("size", "The application's.", ["of"], registry=registry, buckets=(1,))
    failed: list[BaseException] = []

    def scrape(worker: Worker) -> Callable[[], None]:
        def scrape() -> None:
            try:
                for n in range(20):
                    histogram.labels(n).observe(1)
                    worker.samples()
            except BaseException as error:
                failed.append(error)

        return scrape

    run_at_once([scrape(one), scrape(other)])
    assert failed == []
    found = without_times(one.samples())
    assert without_times({n: v for n, v in other.samples().items() if n.startswith("size")}) == {
        n: v for n, v in found.items() if n.startswith("size")
    }
    assert [found[f"size_bucket{{le=1.0,of={n}}}"] for n in range(20)] == [2.0] * 20


@pytest.mark.parametrize("said_by", ["an increment", "a scrape"])
def test_what_the_others_cannot_be_told_of_waits_and_is_told_later(work: Work, said_by: str) -> None:
    """Another worker is stopped while it tells something: nothing is lost, and no request waits for it again."""
    one, other = work().enter(), work().enter()
    orders = Counter("orders", "By kind.", ["kind"], registry=one.registry)
    jobs = Gauge("jobs", "In progress.", ["kind"], registry=one.registry)
    recorder = recorder_of(one.metrics)
    member, stopped = recorder.membership.member, recorder_of(other.metrics).membership.member
    assert member is not None
    assert stopped is not None
    seconds = [0.0]
    member.clock = recorder.own.clock = lambda: seconds[0]
    with stopped.index.locked(1.0):
        orders.labels("tea").inc(2)
        jobs.labels("tea").inc()
        assert one.shown("orders_total{kind=tea}") == 2.0
        assert other.shown("orders_total{kind=tea}") is None
        orders.labels("tea").inc()
    assert other.shown("orders_total{kind=tea}") is None
    seconds[0] += 60.0
    if said_by == "an increment":
        orders.labels("tea").inc()
        orders.labels("tea").inc()
        jobs.labels("tea").inc()
    else:
        assert one.shown("orders_total{kind=tea}") == 3.0
        orders.labels("tea").inc(2)
        jobs.labels("tea").inc()
    expected = {"orders_total{kind=tea}": 5.0, "jobs{kind=tea}": 2.0}
    assert without_times(one.samples()) == without_times(other.samples()) == expected
    assert one.faults() == 1.0  # the wait in vain


def test_who_only_watches_shows_its_own_where_no_worker_lives(work: Work) -> None:
    """A master that imports the app has the metrics as well. While a worker lives, its numbers are shown."""
    worker = work().enter()
    Counter("orders", "Of all.", registry=worker.registry).inc(3)
    assert worker.shown("orders_total") == 3.0
    master = work()
    Counter("orders", "Of all.", registry=master.registry).inc(7)
    recorder_of(master.metrics).membership.watch()
    master.enter()
    assert master.shown("orders_total") == 3.0
    worker.die()
    assert master.shown("orders_total") == 7.0


def test_an_exemplar_of_one_child_stands_beside_others_without(work: Work) -> None:
    """In OpenMetrics, where only the line of that child is written anew."""
    worker = work().enter()
    orders = Counter("orders", "By kind.", ["kind"], registry=worker.registry)
    orders.labels("tea").inc(1, exemplar={"trace": "abc"})
    orders.labels("cup").inc(2)
    lines = worker.text(headers=OPENMETRICS).splitlines()
    assert [line.split(" # ")[0] for line in lines if line.startswith("orders_total")] == [
        'orders_total{kind="tea"} 1.0',
        'orders_total{kind="cup"} 2.0',
    ]
    assert sum('# {trace="abc"} 1.0' in line for line in lines) == 1


def test_a_new_one_on_a_registry_goes_on_with_its_metrics(work: Work) -> None:
    """As where an application is made anew in one process; nobody is told of metrics meanwhile."""
    registry = CollectorRegistry()
    first = work(registry).enter()
    orders = Counter("orders", "By kind.", ["kind"], registry=registry)
    orders.labels("tea").inc()
    assert first.shown("orders_total{kind=tea}") == 1.0
    own = recorder_of(first.metrics).own
    del sharing._owners[registry]  # as the collector does when the first one is gone
    orders.labels("cup").inc()
    orders.remove("cup")
    own.table = None
    second = work(registry, namespace="again").enter()
    orders.labels("tea").inc()
    assert second.shown("orders_total{kind=tea}") == 2.0


def test_dictionaries_of_metrics_are_dictionaries() -> None:
    """What is not in them is none, or an error, as before."""
    told: list[Any] = []
    for kind in (meeting.Children, meeting.Collectors):
        found = kind({"a": 1}, told.append, told.append)
        assert found.pop("b", None) is None
        with pytest.raises(KeyError):
            del found["b"]
        assert copy.copy(found) == {"a": 1}
        assert type(copy.copy(found)) is dict
    assert told == []
