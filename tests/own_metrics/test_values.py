"""Values in the rows of a table: to the application they are what they were, and no thread loses what it counts."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import values as prometheus_values
from prometheus_client.values import MutexValue

from red_middleware.counting.layout import OWN_STATE, OWN_SUM, SUM_CELLS, Choices, layout
from red_middleware.counting.rows import IS_LOCKED
from red_middleware.counting.table import Alone, Change, Table
from red_middleware.own_metrics import values
from red_middleware.own_metrics.held import Level, LockedTotal, SharedEnum, SharedInfo, Total

from ..threads import JOIN_SECONDS, run_at_once
from .shelves import Shelf, new_cells, told

THREADS = 8
TIMES = 3000


@pytest.fixture(params=[False, True], ids=["with a GIL", "without"])
def total_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Total]:
    """Return the class of numbers that add up, where threads run at once and where they do not."""
    is_locked: bool = request.param
    if IS_LOCKED and not is_locked:
        pytest.skip("threads run at once here")
    monkeypatch.setattr(values, "IS_LOCKED", is_locked)
    return LockedTotal if is_locked else Total


def test_this_release_of_prometheus_client_is_known() -> None:
    """If this fails, the application's metrics are no longer shared: `values` must learn where the numbers are."""
    assert values.is_known()


@pytest.mark.parametrize("name", ["_value", "_exemplar", "_lock"])
def test_a_release_that_calls_things_otherwise_is_not_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that keeps more than we know of."""

    class Renamed(MutexValue):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # it has no annotations
            vars(self)[f"{name}_renamed"] = vars(self).pop(name)

    monkeypatch.setattr(prometheus_values, "MutexValue", Renamed)
    monkeypatch.setattr(prometheus_values, "ValueClass", Renamed)
    assert not values.is_known()


@pytest.mark.parametrize("attribute", ["_value", "_count", "_buckets", "_upper_bounds"])
def test_a_release_whose_metrics_keep_their_values_elsewhere_is_not_known(
    attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever then happens, nothing is raised."""
    owner = {"_value": Counter, "_count": Summary}.get(attribute, Histogram)
    original: Any = owner._metric_init

    def moved(self: Any) -> None:
        original(self)
        vars(self)[f"moved{attribute}"] = vars(self).pop(attribute)

    monkeypatch.setattr(owner, "_metric_init", moved)
    assert not values.is_known()


def test_values_of_another_class_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package may have chosen them."""

    class Others(MutexValue):
        pass

    monkeypatch.setattr(prometheus_values, "ValueClass", Others)
    assert not values.is_known()
    shelf = Shelf()
    counter = Counter("orders", "The application's.", registry=shelf.registry)
    shelf.share()
    assert type(counter._value) is Others


def counts(registry: CollectorRegistry) -> Iterator[None]:
    """Count, with an exemplar, and begin anew."""
    counter = Counter("orders", "The application's.", registry=registry)
    labelled = Counter("visits", "The application's.", ["page"], registry=registry)
    counter.inc()
    yield
    counter.inc(2.5)
    counter.inc(1, {"trace": "a"})
    labelled.labels("/").inc(7)
    yield
    labelled.labels("/").inc(exemplar={"trace": "b"})
    labelled.labels("/new").inc(3)
    with pytest.raises(ValueError, match="non-negative"):
        counter.inc(-1)
    with pytest.raises(ValueError, match="Exemplar"):
        counter.inc(1, {"trace": "a" * 200})
    with counter.count_exceptions(KeyError), pytest.raises(KeyError):
        raise KeyError
    yield
    if hasattr(counter, "reset"):
        counter.reset()
    yield
    counter.inc(4)


def gauges(registry: CollectorRegistry) -> Iterator[None]:
    """Move up and down, set, and let a function tell."""
    gauge = Gauge("jobs", "The application's.", registry=registry)
    labelled = Gauge("queue", "The application's.", ["name"], registry=registry, multiprocess_mode="max")
    recent = Gauge("config", "The application's.", registry=registry, multiprocess_mode="mostrecent")
    gauge.inc()
    yield
    gauge.dec(0.5)
    labelled.labels("a").set(-2)
    recent.set(5)
    yield
    with gauge.track_inprogress():
        yield
    gauge.set(math.inf)
    recent.set(4)
    with pytest.raises(RuntimeError):
        recent.inc()
    yield
    gauge.set(1)
    gauge.inc()
    labelled.labels("b").set_function(lambda: 9.0)
    yield
    gauge.dec()
    labelled.labels("a").set_function(lambda: 8.0)


def observations(registry: CollectorRegistry) -> Iterator[None]:
    """Observe, with exemplars, negative numbers among them."""
    histogram = Histogram("size", "The application's.", registry=registry, buckets=(1, 2))
    negative = Histogram("delta", "The application's.", ["of"], registry=registry, buckets=(-1, 1))
    summary = Summary("wait", "The application's.", registry=registry)
    histogram.observe(0.5)
    yield
    histogram.observe(1.5, {"trace": "a"})
    negative.labels("a").observe(-3)
    summary.observe(3)
    yield
    histogram.observe(9)
    negative.labels("b").observe(-0.5)
    summary.observe(-1)


def states(registry: CollectorRegistry) -> Iterator[None]:
    """Say what is the case."""
    info = Info("build", "The application's.", registry=registry)
    labelled = Info("part", "The application's.", ["name"], registry=registry)
    enum = Enum("phase", "The application's.", registry=registry, states=["up", "down"])
    several = Enum("door", "The application's.", ["of"], registry=registry, states=["open", "shut"])
    info.info({"version": "1"})
    yield
    labelled.labels("a").info({"version": "2"})
    enum.state("down")
    several.labels("house").state("shut")
    yield
    info.info({"version": "3", "commit": "4"})
    enum.state("up")
    with pytest.raises(ValueError, match="Overlapping"):
        labelled.labels("a").info({"name": "b"})
    with pytest.raises(ValueError, match="not in list"):
        enum.state("sideways")


SCRIPTS: Sequence[Callable[[CollectorRegistry], Iterator[None]]] = (counts, gauges, observations, states)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shared_at", range(4))
def test_to_the_application_metrics_are_what_they_were(
    script: Callable[[CollectorRegistry], Iterator[None]], shared_at: int, total_class: type[Total]
) -> None:
    """Whenever they come into a table, or into another one, and when they are in memory again."""
    plain, shelf = CollectorRegistry(), Shelf()
    expected, found = script(plain), script(shelf.registry)
    for step, _ in enumerate(zip(expected, found, strict=True)):
        assert told(shelf.registry) == told(plain)
        if step in (shared_at, shared_at + 2):
            shelf.share()
            assert told(shelf.registry) == told(plain)
        elif step == shared_at + 1:
            shelf.own.restart()
            assert told(shelf.registry) == told(plain)
    assert told(shelf.registry) == told(plain)
    assert shelf.faulty == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_all_numbers_come_into_the_table(script: Callable[[CollectorRegistry], Iterator[None]]) -> None:
    """Else the test above would prove nothing. What removes a metric takes its numbers out again."""
    shelf = Shelf()
    table = shelf.share()
    list(script(shelf.registry))
    metrics: list[Any] = list(shelf.registry._collector_to_names)
    numbers = [n.value for metric in metrics for one in values.observable(metric) for n in values.numbers(one)]
    assert numbers
    for value in numbers:
        row = values.row_of(value)
        assert row is not None
        assert row.table is table
    held = [value for value in numbers if isinstance(value, MutexValue)]
    assert {type(value) for value in held} <= {Total, LockedTotal, Level}
    assert len(held) <= sum(len(region.holders) for region in table.regions.values())
    for metric in metrics:
        shelf.registry.unregister(metric)
    assert all(values.is_in_memory(value) for value in held)
    assert not any(region.holders for region in table.regions.values())
    sums, levels = (table.regions[kind] for kind in (OWN_SUM, OWN_STATE))
    assert not any(sums.cells[: sums.used * SUM_CELLS])
    assert not any(levels.cells[row.start + 2] for row in levels.rows)  # nobody has them


def test_an_info_and_an_enum_are_called_what_they_were() -> None:
    """In logs, and by whoever asks for their class: theirs is a subclass of it."""
    shelf = Shelf()
    metrics = [
        Info("build", "The application's.", registry=shelf.registry),
        Enum("phase", "The application's.", registry=shelf.registry, states=["up"]),
    ]
    before = [(repr(metric), str(metric)) for metric in metrics]
    shelf.share()
    assert [(repr(metric), str(metric)) for metric in metrics] == before
    assert isinstance(metrics[0], Info)
    assert isinstance(metrics[1], Enum)
    assert {type(metric) for metric in metrics} == {SharedInfo, SharedEnum}


def test_whoever_holds_a_child_goes_on_with_it(total_class: type[Total]) -> None:
    """Frameworks look a child up once; its value is the same object, of another class."""
    shelf = Shelf()
    child = Counter("orders", "The application's.", ["of"], registry=shelf.registry).labels("a")
    value = child._value
    inc = value.inc
    child.inc(2)
    table = shelf.share()
    assert child._value is value
    assert type(value) is total_class
    inc(3)
    (_, row) = table.regions[OWN_SUM].rows
    assert table.regions[OWN_SUM].cells[row.start] == 5.0
    assert value.get() == 5.0


def test_what_waited_for_a_value_while_its_class_changed_is_counted(total_class: type[Total]) -> None:
    """Threads are in the middle of `MutexValue.inc`, `set` and `get` when they come to another class."""
    shelf = Shelf()
    counter = Counter("orders", "The application's.", registry=shelf.registry)
    gauge = Gauge("jobs", "The application's.", registry=shelf.registry)
    level = Gauge("level", "The application's.", registry=shelf.registry)
    counter.inc(5)
    gauge.inc(2)
    held = [metric._value._lock for metric in (counter, gauge, level)]
    begun = [threading.Semaphore(0) for _ in range(3 * THREADS)]
    got: list[float] = []

    def waiting(ready: threading.Semaphore, work: Callable[[], object]) -> Callable[[], None]:
        def wait() -> None:
            ready.release()
            work()

        return wait

    works: list[Callable[[], object]] = [
        *(lambda: counter.inc(10) for _ in range(THREADS)),
        *(lambda: gauge.inc(10) for _ in range(THREADS - 1)),
        lambda: got.append(gauge._value.get()),
        *(lambda: level.set(7) for _ in range(THREADS)),
    ]
    threads = [threading.Thread(target=waiting(*pair)) for pair in zip(begun, works, strict=True)]
    for lock in held:
        lock.acquire()
    sharing = threading.Thread(target=shelf.share)
    try:
        for thread in threads[::2]:
            thread.start()
        for ready in begun[::2]:
            ready.acquire()
        sharing.start()  # in the midst of those that wait
        for thread in threads[1::2]:
            thread.start()
        for ready in begun[1::2]:
            ready.acquire()
    finally:
        for lock in held:
            lock.release()
    for thread in (*threads, sharing):
        thread.join(JOIN_SECONDS)
    assert isinstance(counter._value, total_class)
    assert counter._value.get() == 5 + 10 * THREADS
    assert gauge._value.get() == 2 + 10 * (THREADS - 1)
    assert level._value.get() == 7
    assert len(got) == 1
    assert shelf.faulty == []


def test_many_threads_count_exactly(total_class: type[Total]) -> None:
    """While the numbers come into a table, go on in another one, and are read."""
    shelf = Shelf()
    counter = Counter("orders", "The application's.", registry=shelf.registry)
    gauge = Gauge("jobs", "The application's.", registry=shelf.registry)
    histogram = Histogram("size", "The application's.", registry=shelf.registry, buckets=(1,))

    def use() -> None:
        for _ in range(TIMES):
            counter.inc(0.5)
            gauge.inc(2)
            histogram.observe(1)
            gauge.dec()

    def move() -> None:
        for _ in range(20):
            shelf.share()
            told(shelf.registry)

    run_at_once([*[use] * THREADS, move])
    assert type(counter._value) is total_class
    assert type(gauge._value) is Level
    assert {name: value for name, labels, value, _ in told(shelf.registry) if not labels} == {
        "orders_total": 0.5 * THREADS * TIMES,
        "jobs": THREADS * TIMES,
        "size_count": THREADS * TIMES,
        "size_sum": THREADS * TIMES,
    }
    assert shelf.faulty == []


def test_nothing_is_lost_when_a_table_takes_new_cells(total_class: type[Total]) -> None:
    """What was counted stays in the cells before, what is the case comes along, and threads count in either."""
    shelf = Shelf()
    counter = Counter("orders", "The application's.", registry=shelf.registry)
    gauge = Gauge("jobs", "The application's.", registry=shelf.registry)
    table = shelf.share()
    files = [table.regions[OWN_SUM].cells]
    row = table.regions[OWN_SUM].rows[1]

    def use() -> None:
        for _ in range(TIMES):
            counter.inc()
            gauge.inc()

    def move() -> None:
        for _ in range(20):
            table.use(new_cells(table))
            files.append(table.regions[OWN_SUM].cells)

    run_at_once([*[use] * THREADS, move])
    assert sum(cells[row.start] for cells in files) == THREADS * TIMES
    assert gauge._value.get() == THREADS * TIMES
    assert all(cells[row.start + 3] == files[0][row.start + 3] > 0.0 for cells in files)


def test_a_gauge_that_is_set_anew_has_nothing_left_of_its_master() -> None:
    """Else two workers that set it to 3, where their master had 5, would come to 1."""
    shelf = Shelf()
    gauge = Gauge("pool", "The application's.", registry=shelf.registry, multiprocess_mode="livesum")
    gauge.set(5)
    shelf.own.restart()  # as in a child of a master that has not joined
    table = shelf.share()
    region = table.regions[OWN_STATE]
    row = next(row for row in region.rows if row.key[0] == "pool" and row.key[2] == "livesum")
    assert list(region.cells[row.start : row.start + 4]) == [5.0, 0.0, 1.0, 5.0]
    gauge.set(3)
    assert list(region.cells[row.start : row.start + 4])[::3] == [3.0, 0.0]


def test_only_the_metrics_of_prometheus_client_are_taken() -> None:
    """Neither values that another package has made, nor anything that only looks like a metric."""

    class Others(MutexValue):
        pass

    shelf = Shelf()
    counter = Counter("orders", "The application's.", registry=shelf.registry)
    counter._value.__class__ = Others
    counter.inc(3)
    shelf.share()
    assert type(counter._value) is Others
    assert ("orders_total", {}, 3.0, None) in told(shelf.registry)
    assert shelf.faulty == []


class Behind(Alone):
    """Others that cannot be told of anything at the moment."""

    is_behind = True

    def change(self, table: Table, change: Change) -> None:
        """Leave the table as it is."""


def test_what_others_cannot_be_told_of_is_shared_later() -> None:
    """In one piece: until then it is in memory, and nothing of it is lost."""
    shelf = Shelf()
    table = shelf.table()
    table.sharing = Behind()
    histogram = Histogram("size", "The application's.", registry=shelf.registry)
    enum = Enum("phase", "The application's.", registry=shelf.registry, states=["up", "down"])
    histogram.observe(1)
    shelf.own.share(table, "group")
    enum.state("down")
    assert shelf.own.is_pending
    assert values.is_in_memory(histogram._sum)
    table.sharing = Alone()
    shelf.own.look()
    assert not shelf.own.is_pending
    assert isinstance(histogram._sum, Total | LockedTotal)
    assert histogram._sum.get() == 1.0
    assert values.row_of(enum) is not None
    assert shelf.faulty == []


def test_nothing_is_raised_into_the_application() -> None:
    """Where something goes wrong, here a table that has no rows for these metrics, it is a fault, and counted."""
    shelf = Shelf()
    counter = Counter("orders", "The application's.", ["of"], registry=shelf.registry)
    info = Info("build", "The application's.", registry=shelf.registry)
    counter.labels("a").inc()
    shelf.own.share(Table(layout(Choices((1.0,), 1))), "group")
    assert shelf.faulty == [1.0]
    counter.labels("b").inc(2)
    values.watch(info, shelf.own._changed)
    info.info({"version": "1"})
    late = Counter("late", "The application's.", registry=shelf.registry)
    shelf.registry.unregister(late)
    assert len(shelf.faulty) > 3
    assert shelf.registry.get_sample_value("orders_total", {"of": "b"}) == 2.0
    assert shelf.registry.get_sample_value("build_info", {"version": "1"}) == 1.0


def test_a_registry_that_is_gone_is_no_matter() -> None:
    """Its metrics may outlive it."""
    shelf = Shelf()
    table = shelf.share()
    counter = Counter("orders", "The application's.", ["of"], registry=shelf.registry)
    shelf.own.registry = lambda: None
    shelf.own.look()
    shelf.own.restart()
    shelf.own.share(table, "group")
    counter.labels("a").inc(3)
    assert counter.labels("a")._value.get() == 3.0
    assert shelf.faulty == []


def test_a_number_that_another_thread_has_shared_already_is_shared_once() -> None:
    """Two threads may both have seen it in memory."""
    shelf = Shelf()
    orders = Counter("orders", "Shared twice.", registry=shelf.registry)
    orders.inc(3)
    table = shelf.share()
    (number,) = values.numbers(orders)
    row = values.row_of(number.value)
    assert row is not None
    values.share(number, row, table.regions[OWN_SUM].cells, joins=False)
    assert orders._value.get() == 3.0
