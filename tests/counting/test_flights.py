"""What is in flight: by route while the application may hang, and how long the oldest request has been there."""

import math
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.detailed import start_detailed
from red_middleware.counting.exchange import Exchange
from red_middleware.counting.flights import TAKES_LOCK, Flight, Flights, Place
from red_middleware.counting.labels import UNMATCHED
from red_middleware.counting.layout import FLIGHT, Choices, layout
from red_middleware.counting.rows import Row
from red_middleware.counting.table import Table
from red_middleware.exposition import Request, answer
from red_middleware.families import Reading
from red_middleware.families.family import MOST_WORKERS
from red_middleware.families.saturation import SATURATION
from red_middleware.metrics import recorder_of

from ..counts import fresh_metrics
from ..drive import ASGIServer, Clock, WSGIServer, declare, environ, restart, scope
from ..own_metrics.shelves import new_cells
from ..threads import run_at_once

OLDEST = f'http_oldest_request_seconds{{pid="{os.getpid()}"}}'


def in_flight(metrics: RedMetrics) -> dict[str, float]:
    """Return what is shown of requests in flight."""
    shown = ("http_requests_in_progress", "http_oldest_request_seconds", "red_workers_")
    return {text: number for text, number in metrics.snapshot().items() if text.startswith(shown)}


def begun(metrics: RedMetrics, path: str = "/a", method: str = "GET") -> Exchange:
    """Begin a request as an adapter does where an option asks for more."""
    exchange = start_detailed(recorder_of(metrics), method, {}, path)
    assert exchange is not None
    return exchange


def ended(exchange: Exchange, route: str | None = "/a") -> None:
    """End a request."""
    exchange.respond(200, route)
    exchange.finish()


def test_requests_in_progress_are_counted_by_the_route_that_their_path_asks_for() -> None:
    """From the beginning on, before any router has answered; what fits no declared route is `_unmatched`."""
    metrics = fresh_metrics(in_progress_by_route=True)
    declare(metrics, [("/items/<int:id>", ["GET", "_OTHER"]), ("/" + "x" * 300, None), ("/about", ["GET"])])
    running = [
        begun(metrics, "/about"),
        begun(metrics, "/about"),
        begun(metrics, "/items/1"),
        begun(metrics, "/items/2"),
        begun(metrics, "/items/3", "PURGE"),
        begun(metrics, "/items/4", "PUT"),
        begun(metrics, "/nowhere"),
        begun(metrics, "/" + "x" * 300),
    ]
    progress = "http_requests_in_progress"
    assert in_flight(metrics) == {
        f'{progress}{{method="GET",route="/about"}}': 2.0,
        f'{progress}{{method="GET",route="/items/<int:id>"}}': 2.0,
        f'{progress}{{method="_OTHER",route="/items/<int:id>"}}': 2.0,
        f'{progress}{{method="GET",route="_unmatched"}}': 1.0,
        f'{progress}{{method="GET",route="_overflow"}}': 1.0,
    }
    for exchange in running:
        ended(exchange)
    assert set(in_flight(metrics).values()) == {0.0}, "a route that was busy once is shown with 0"
    assert f'{progress}{{method="GET",route="/items/<int:id>"}} 0.0' in answer(metrics, Request()).body.decode()


def test_a_route_that_is_declared_when_no_row_is_left_counts_as_overflow() -> None:
    """As in the other families. The next request looks again."""
    metrics = fresh_metrics(in_progress_by_route=True, max_label_sets=1)
    declare(metrics, [("/a", ["GET"])])
    ended(begun(metrics))
    declare(metrics, [("/late", ["GET"])])
    late = [begun(metrics, "/late") for _ in range(2)]
    overflow = 'http_requests_in_progress{method="GET",route="_overflow"}'
    assert in_flight(metrics)[overflow] == len(late)
    for exchange in late:
        ended(exchange, "/late")
    assert in_flight(metrics)[overflow] == 0.0


def test_without_the_options_the_families_are_as_they_were() -> None:
    """The gauge has the method only, and nothing tells of the oldest request."""
    found = in_flight(fresh_metrics())
    assert len(found) == 11
    assert all(text.startswith("http_requests_in_progress{method=") for text in found)


def test_the_oldest_request_is_shown_before_it_ends() -> None:
    """Its age is that of the first one that has begun and not ended, and the worker is busy until all have."""
    clock = Clock()
    metrics = fresh_metrics(saturation=True, clock=clock)
    first = begun(metrics)
    clock.seconds += 5.0
    second = begun(metrics)
    clock.seconds += 2.0
    assert (metrics.snapshot()[OLDEST], metrics.snapshot()["red_workers_busy"]) == (7.0, 1.0)
    assert f"{OLDEST} 7.0\n" in answer(metrics, Request()).body.decode()
    ended(first)
    assert metrics.snapshot()[OLDEST] == 2.0
    ended(second)
    assert (metrics.snapshot()[OLDEST], metrics.snapshot()["red_workers_busy"]) == (0.0, 0.0)
    assert "red_workers_capacity" not in metrics.snapshot(), "nothing tells it here"


def test_a_clock_that_says_zero_or_fails_is_no_reason_to_show_nothing() -> None:
    """A request that began at 0 has an age; one whose beginning nobody knows keeps its worker busy."""
    clock = Clock()
    clock.seconds = 0.0
    metrics = fresh_metrics(saturation=True, clock=clock)
    begun(metrics)
    clock.seconds = 3.0
    assert metrics.snapshot()[OLDEST] == 3.0
    metrics = fresh_metrics(saturation=True, clock=clock)
    clock.seconds = math.nan
    begun(metrics)
    assert (metrics.snapshot()[OLDEST], metrics.snapshot()["red_workers_busy"]) == (0.0, 1.0)


def test_a_fault_of_the_search_for_a_route_is_kept_from_the_application() -> None:
    """The request is counted as any other, without being shown while it lasts."""
    metrics = fresh_metrics(in_progress_by_route=True, saturation=True)
    declare(metrics, [("/a", ["GET"])])
    exchange = begun(metrics, path=None)  # type: ignore[arg-type]  # no server would say so
    ended(exchange, "/a")
    assert metrics.snapshot()["red_instrumentation_errors_total"] >= 1.0
    assert metrics.snapshot()["red_workers_busy"] == 0.0


def test_forgotten_requests_are_in_flight_no_more() -> None:
    """As those that are excluded further in."""
    metrics = fresh_metrics(in_progress_by_route=True, saturation=True)
    begun(metrics).forget("/a")
    assert set(in_flight(metrics).values()) == {0.0}


def test_headers_that_cannot_be_read_are_a_fault_and_the_request_keeps_its_age() -> None:
    """Nobody can tell whether it is an event stream."""
    metrics = fresh_metrics(saturation=True)
    exchange = begun(metrics)
    headers: Any = 7
    exchange.respond(200, "/a", headers)
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 1.0
    assert metrics.snapshot()["red_workers_busy"] == 1.0
    exchange.finish()
    assert metrics.snapshot()["red_workers_busy"] == 0.0


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_an_event_stream_has_no_age_and_keeps_its_worker_busy(protocol: str) -> None:
    """It lasts as it likes. The rest is alike in both protocols."""
    metrics = fresh_metrics(in_progress_by_route=True, saturation=True)
    headers = {"wsgi": [("Content-Type", "text/event-stream")], "asgi": [(b"content-type", b"text/event-stream")]}
    clock: Any = metrics.clock
    seen: list[dict[str, float]] = []

    def look() -> None:
        clock.seconds += 1.0
        seen.append(in_flight(metrics))

    def wsgi(environ: object, start_response: Any) -> Iterator[bytes]:
        look()
        start_response("200 OK", headers["wsgi"])
        look()
        yield b"data"
        look()

    async def asgi(scope: object, receive: object, send: Any) -> None:
        look()
        await send({"type": "http.response.start", "status": 200, "headers": headers["asgi"]})
        look()
        await send({"type": "http.response.body", "body": b"data", "more_body": True})
        look()
        await send({"type": "http.response.body", "body": b""})

    if protocol == "wsgi":
        WSGIServer().serve(RedWSGIMiddleware(wsgi, metrics=metrics, routes=["/a/<b>"]), environ("/a/1"))
    else:
        ASGIServer().serve(RedASGIMiddleware(asgi, metrics=metrics, routes=["/a/<b>"]), scope("/a/1"))
    route = 'http_requests_in_progress{method="GET",route="/a/<b>"}'
    assert [(look[OLDEST], look["red_workers_busy"], look[route]) for look in seen] == [
        (1.0, 1.0, 1.0),
        (0.0, 1.0, 1.0),
        (0.0, 1.0, 1.0),
    ]
    after = in_flight(metrics)
    assert (after[OLDEST], after["red_workers_busy"], after[route]) == (0.0, 0.0, 0.0)


def test_what_was_in_flight_at_a_fork_is_not_the_childs() -> None:
    """It may end there, and leaves nothing below zero; what begins there is counted."""
    metrics = fresh_metrics(in_progress_by_route=True, saturation=True)
    running = begun(metrics)
    restart(metrics)
    assert set(in_flight(metrics).values()) == {0.0}
    other = begun(metrics)
    ended(running)
    route = 'http_requests_in_progress{method="GET",route="_unmatched"}'
    assert (in_flight(metrics)[route], in_flight(metrics)["red_workers_busy"]) == (1.0, 1.0)
    ended(other)
    assert set(in_flight(metrics).values()) == {0.0}


def ages_of_workers() -> Flights:
    """Return the flights of a table of its own that tells ages."""
    flights = Table(layout(Choices((1.0,), 1, saturation=True))).flights
    assert flights is not None
    return flights


def locked(monkeypatch: pytest.MonkeyPatch, is_locked: bool) -> None:
    """Choose what the interpreter is, which no test can choose: where it has a GIL there is no lock."""
    monkeypatch.setattr("red_middleware.counting.flights.TAKES_LOCK", is_locked)


@pytest.mark.parametrize("is_locked", sorted({True, TAKES_LOCK}))
def test_flights_of_many_threads_leave_nothing_behind(is_locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends last publishes that nothing is left, and each route has as many in progress as before."""
    locked(monkeypatch, is_locked)
    table = Table(layout(Choices((1.0,), 1, saturation=True, in_progress_by_route=True)))
    flights = table.flights
    assert flights is not None
    row = table.admit(table.regions[FLIGHT], ("GET", UNMATCHED))

    def work(number: int) -> None:
        for n in range(300):
            flight = flights.add(Place(row), 1.0 + n)
            if n % 3 == number % 3:
                flights.stream(flight)
            flights.end(flight)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many switches as there can be: CPython 3.10 has more places for them
    try:
        run_at_once([partial(work, number) for number in range(4)])
    finally:
        sys.setswitchinterval(before)
    assert list(flights.cells) == [0.0, 0.0]
    assert flights.ring.preceding is flights.ring.following is flights.ring
    assert table.regions[FLIGHT].cells[row.cell("in_progress")] == 0.0


def test_a_stream_that_has_ended_is_kept_by_nobody() -> None:
    """Not even by itself until a collection of garbage, which a program may have turned off."""
    flights = ages_of_workers()
    flight = flights.add(None, 1.0)
    flights.stream(flight)
    flights.end(flight)
    left = flight.preceding, flight.following
    assert left == (flights.ring, flights.ring)


@pytest.mark.parametrize("is_locked", sorted({True, TAKES_LOCK}))
@given(steps=st.lists(st.tuples(st.sampled_from(["begin", "end", "stream", "move"]), st.integers(0, 30))))
def test_the_cells_say_at_any_moment_when_the_oldest_began(is_locked: bool, steps: list[tuple[str, int]]) -> None:
    """Whatever begins, ends and turns out to be a stream, in any order."""
    with pytest.MonkeyPatch.context() as patched:
        locked(patched, is_locked)
        flights = ages_of_workers()
        model: list[tuple[Flight, bool]] = []
        for at, (step, which) in enumerate(steps):
            if step == "begin":
                model.append((flights.add(None, 1.0 + at), False))
            elif step == "move":
                flights.move([-1.0, -1.0])
            elif model:
                flight, is_stream = model[which % len(model)]
                if step == "end":
                    model.remove((flight, is_stream))
                    flights.end(flight)
                    flights.end(flight)
                else:
                    flights.stream(flight)
                    model[which % len(model)] = flight, True
            ages = [flight.started for flight, is_stream in model if not is_stream]
            assert list(flights.cells) == [ages[0] if ages else 0.0, 1.0 if model else 0.0]


def test_what_begins_while_a_worker_takes_its_new_cells_is_in_progress_in_them() -> None:
    """Where CPython has its GIL it takes no lock: what it added to the new cells is kept."""

    class Rows(list[Row]):
        def __iter__(self) -> Iterator[Row]:
            flights.add(Place(row), 2.0)  # as another thread between two lines
            return super().__iter__()

    table = Table(layout(Choices((1.0,), 1, in_progress_by_route=True)))
    region = table.regions[FLIGHT]
    flights = Flights(table)
    row = table.admit(region, ("GET", UNMATCHED))
    flights.add(Place(row), 1.0)
    cells = new_cells(table)
    region.rows = Rows(region.rows)
    table.use(cells)
    assert region.cells[row.cell("in_progress")] == 2.0


def test_of_too_many_workers_those_with_the_oldest_requests_are_shown() -> None:
    """The formula has a place for so many; of two containers' workers of one number the older request counts."""
    each = [(pid, [1000.0 - pid]) for pid in range(1, 400)]
    reading = Reading({}, {}, 0, [], [*each, (5, [999.0]), (6, [0.0])], 0, 0, 0.0, False, 0, 1000.0)
    shown = SATURATION[0].by_worker
    assert shown is not None
    found = shown(reading)
    assert len(found) == MOST_WORKERS
    assert (found[0], found[-1]) == ((399 - MOST_WORKERS + 1, 399.0 - MOST_WORKERS + 1), (399, 399.0))
    assert dict(shown(reading._replace(each=[*each[:10], (5, [999.0]), (6, [0.0])])))[5] == 5.0


def test_the_formula_counts_what_is_in_flight() -> None:
    """A series for each label set in place of 11 methods, and 256 workers, how many are busy and how many could be."""
    plain = fresh_metrics().bound()
    by_route = fresh_metrics(in_progress_by_route=True).bound()
    saturation = fresh_metrics(saturation=True).bound()
    assert by_route.series - plain.series == plain.rows - 11
    assert saturation.series - plain.series == MOST_WORKERS + 2


def test_the_default_clock_is_one_that_all_processes_share() -> None:
    """`perf_counter` promises nothing of other processes; `monotonic` is that of the system."""
    metrics = RedMetrics(registry=CollectorRegistry(), saturation=True)
    begun(metrics)
    assert 0.0 <= metrics.snapshot()[OLDEST] < 60.0
