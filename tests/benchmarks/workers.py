"""What it costs that workers share their numbers: a request, against the same without, and a scrape of all of them.

The peers are prometheus_client's multiprocess mode, which the environment chooses before its import: all of this runs
in a process of its own, and the workers are its forks, as under a prefork server. `python -m tests.benchmarks workers`.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier, Event, Semaphore
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.workers import State

from .by_hand import ByHandASGI, ByHandWSGI, Recorder
from .driving import Serve, null_asgi, null_wsgi, serve_asgi, serve_wsgi
from .peers import FLASK_PEERS, STARLETTE_PEERS, Mount
from .rounds import Candidate, Figure, measure
from .tables import (
    BARE,
    OURS,
    ROWS,
    Effort,
    Table,
    Target,
    Twins,
    against_peers,
    counted_anywhere,
    flask_app,
    mounted,
    paths_of,
    starlette_app,
    with_lines,
    writing,
)

ALONE: Final = f"{OURS}, alone"
SHARED: Final = f"{OURS}, shared table"
MULTIPROCESS: Final = ", multiprocess"
BY_HAND: Final = f"prometheus_client by hand{MULTIPROCESS}"

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

ROUTES: Final = 50
NO_PEERS: Final[Mapping[str, Mount]] = {}
ASGI_PEERS: Final = {
    name: STARLETTE_PEERS[name]
    for name in ("starlette_exporter", "prometheus-fastapi-instrumentator", "starlette-prometheus")
}
WSGI_PEERS: Final = {name: FLASK_PEERS[name] for name in ("prometheus_flask_exporter",)}
"""Those that have the mode, each once: what has the same names in one process has the same numbers there."""

LIVING: Final = 8
DEAD: Final = 40
RECYCLED: Final = (10, 1_000)
REQUESTS: Final = 2
"""In each of `ROWS` rows, by each worker: one of each status. How many does not matter to a scrape."""


def workers(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare a request of a worker, and a scrape of many."""
    yield from _apart(_requests, effort)
    yield from _apart(_scrapes, effort)
    yield from _apart(_recycled, effort)


def _apart(compare: Callable[[str, Effort], list[Table]], effort: Effort) -> list[Table]:
    """Compare in a new process, which has an empty directory where the workers of both libraries share numbers."""
    before = os.environ.get(VARIABLE)
    with TemporaryDirectory() as directory:
        os.environ[VARIABLE] = directory  # a spawned process has it before it imports anything
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(compare, directory, effort).result()
        finally:
            del os.environ[VARIABLE]
            if before is not None:
                os.environ[VARIABLE] = before


def _requests(directory: str, effort: Effort) -> list[Table]:
    """Measure requests, in a group of one worker: others cost a request nothing."""
    loop = asyncio.new_event_loop()
    try:
        null, paths = ["/"], paths_of(ROUTES)
        asgi = _Compared(directory, effort, RedASGIMiddleware, ByHandASGI, partial(serve_asgi, loop=loop))
        wsgi = _Compared(directory, effort, RedWSGIMiddleware, ByHandWSGI, serve_wsgi)
        return [
            asgi.table("ASGI, null app, workers", lambda: null_asgi, null),
            wsgi.table("WSGI, null app, workers", lambda: null_wsgi, null),
            asgi.table(f"Starlette, {ROUTES} routes, workers", partial(starlette_app, ROUTES), paths, ASGI_PEERS),
            wsgi.table(f"Flask, {ROUTES} routes, workers", partial(flask_app, ROUTES), paths, WSGI_PEERS),
        ]
    finally:
        loop.close()


class _Compared(NamedTuple):
    """Our middleware with and without a shared table, beside what uses prometheus_client's multiprocess mode."""

    directory: str
    effort: Effort
    ours: Callable[..., Any]
    by_hand: Callable[..., Any]
    drive: Callable[[Any, Sequence[str]], Serve]

    def table(
        self, title: str, app_of: Callable[[], Any], paths: Sequence[str], mounts: Mapping[str, Mount] = NO_PEERS
    ) -> Table:
        """Measure on one app; each peer gets one of its own."""
        app = app_of()
        alone = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
        shared = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=self.directory, multiprocess_name=title)
        recorder = Recorder(f"{self.by_hand.__name__}{len(paths)}")
        candidates = [
            Candidate(BARE, self.drive(app, paths)),
            Candidate(ALONE, self.drive(self.ours(app, metrics=alone), paths), counted_anywhere(alone)),
            Candidate(SHARED, self.drive(self.ours(app, metrics=shared), paths), counted_anywhere(shared)),
            Candidate(BY_HAND, self.drive(self.by_hand(app, recorder), paths), recorder.counted, comparable=False),
        ]
        found, missing = mounted(mounts, app_of, lambda peer: self.drive(peer, paths))
        peers = [candidate._replace(name=candidate.name + MULTIPROCESS) for candidate in found]
        figures = measure([*candidates, *peers], len(paths), self.effort.rounds, self.effort.chunk_seconds)
        if recorder_of(shared).membership.state is not State.JOINED:
            raise RuntimeError("the workers' table is not shared, and there is nothing to compare")
        targets = [Target("cost added, shared / alone", figures[SHARED].added / figures[ALONE].added, 1.3)]
        targets += against_peers(figures, [SHARED], 10.0)
        return Table(title, list(figures.values()), SHARED, targets, missing)


def _scrapes(directory: str, effort: Effort) -> list[Table]:
    """Measure the scrape of workers that all live, then of as many after others have died."""
    twins = Twins(multiprocess_dir=directory, multiprocess_name="living and dying")
    ours = twins.ours
    context = get_context("fork")
    enter, entered, leave = context.Semaphore(0), context.Barrier(LIVING), context.Event()
    living = [
        context.Process(target=_live, args=(twins, enter, entered, leave), daemon=True) for _ in range(LIVING - 1)
    ]
    pass_by = context.Semaphore(0)
    dying = [context.Process(target=_pass_by, args=(twins, pass_by), daemon=True) for _ in range(DEAD)]
    for process in (*living, *dying):
        process.start()
    twins.count(ROWS, REQUESTS)  # this process is a worker, too
    del os.environ[VARIABLE]  # from here on it says that the app has metrics of its own to be shown
    _let(enter)
    entered.wait()
    theirs = CollectorRegistry()
    MultiProcessCollector(theirs, directory)  # type: ignore[no-untyped-call]  # it has no annotations
    writers = {
        OURS: lambda: answer(ours, Request()).body,
        "MultiProcessCollector, generate_latest": lambda: generate_latest(theirs),
    }
    rounds = max(3, effort.rounds // 10)
    each = f"{LIVING} workers with {ROWS} label sets each"
    tables = [_rendered(f"Scrape of {each}", writers, LIVING, rounds, 20.0)]
    _let(pass_by)
    for process in dying:
        process.join()
    once = writing(writers[OURS])(1)  # it folds the cells of the dead into one file
    first = Figure(f"{OURS}, the first scrape, once", once * 1e6, 0.0, 0.0)
    after = _rendered(f"Scrape of {each}, after {DEAD} that died", writers, LIVING + DEAD, rounds, 60.0)
    tables.append(after._replace(figures=[first, *after.figures]))
    leave.set()
    for process in living:
        process.join()
    return tables


def _recycled(directory: str, effort: Effort) -> list[Table]:
    """Measure the scrape of one worker, which knew ten others that have gone, then a thousand."""
    twins = Twins(multiprocess_dir=directory, multiprocess_name="recycled")
    twins.count(ROWS, REQUESTS)
    del os.environ[VARIABLE]
    context = get_context("fork")
    figures = []
    gone = 0
    for recycled in RECYCLED:
        for _ in range(recycled - gone):
            worker = context.Process(target=twins.count_ours, args=(1,))
            worker.start()
            worker.join()
        gone = recycled
        text = answer(twins.ours, Request()).body
        if _requests_in(text) != ROWS * REQUESTS + recycled:
            raise RuntimeError(f"{_requests_in(text):g} requests are shown")
        scrape = writing(partial(answer, twins.ours, Request()))
        seconds = [scrape(1) for _ in range(effort.rounds)]
        figures.append(Figure(f"after {recycled:,} recycled workers", median(seconds) * 1e6, 0.0, 0.0))
    few, many = figures
    target = Target(f"{many.name} / {few.name}", many.total / few.total, 1.1)
    title = f"Scrape of one worker with {ROWS} label sets, in milliseconds"
    return [Table(title, figures, few.name, [target], renders=True)]


def _let(workers: Semaphore) -> None:
    """Let so many workers enter as may be there at a time."""
    for _ in range(LIVING):
        workers.release()


def _live(twins: Twins, enter: Semaphore, entered: Barrier, leave: Event) -> None:
    """Be a worker: count, and stay until told to leave."""
    enter.acquire()
    twins.count(ROWS, REQUESTS)
    entered.wait()
    leave.wait()


def _pass_by(twins: Twins, enter: Semaphore) -> None:
    """Be a worker that counts and dies; then the next one may enter."""
    with enter:
        twins.count(ROWS, REQUESTS)


def _rendered(
    title: str, writers: Mapping[str, Callable[[], bytes]], counting: int, rounds: int, limit: float
) -> Table:
    """Measure renderings in turn, after one of each that is checked. There is no need for many: each takes long."""
    seconds: dict[str, list[float]] = {}
    for name, write in writers.items():
        text = write()
        if _requests_in(text) != counting * ROWS * REQUESTS:
            raise RuntimeError(f"{name} shows {_requests_in(text):g} requests of {counting * ROWS * REQUESTS}")
        seconds[with_lines(name, partial(bytes, text))] = []
    for _ in range(rounds):
        for found, write in zip(seconds.values(), writers.values(), strict=True):
            found.append(writing(write)(1))
    ours, theirs = (Figure(name, median(found) * 1e6, 0.0, 0.0) for name, found in seconds.items())
    target = Target(f"{theirs.name} / {OURS}", theirs.total / ours.total, limit, at_least=True)
    return Table(f"{title}, in milliseconds", [ours, theirs], ours.name, [target], renders=True)


def _requests_in(text: bytes) -> float:
    lines = (line for line in text.splitlines() if line.startswith(b"http_requests_total{"))
    return sum(float(line.rpartition(b" ")[2]) for line in lines)
