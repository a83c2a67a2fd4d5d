"""The comparisons: which candidates, on which app, and what the targets are.

Every peer gets an app of its own with the same routes. Our middleware and the baselines wrap the bare app itself where
they stand outside of it.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter, process_time
from typing import Any, NamedTuple, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.counting.exchange import start
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.routes import Routes, Source
from red_middleware.settings import DEFAULT_BUCKETS

from . import peers
from .driving import Serve, null_asgi, null_wsgi, serve_asgi, serve_wsgi, started, with_waiting_receive
from .least import LeastASGI, LeastWSGI
from .peers import Counted, Mount, NotInstalledError, counted_by_red
from .rounds import Candidate, Figure, measure

Middleware = TypeVar("Middleware", bound=RedASGIMiddleware | RedWSGIMiddleware)

BARE = "bare app"
LEAST = "least possible wrapper"
OURS = "red_middleware"
STRANGERS = 11
"""How many more readers there are in one of the rows, as if as many more frameworks were supported."""
AMONG_STRANGERS = f"{OURS}, {STRANGERS} more readers"

ROUTES = (50, 500)
"""How many routes the apps have. All of 50 are asked for, and of 500 every tenth and the last."""

MANY_ROUTES = (50, 1000)
"""The same on Django, which tries one route after the other, and on all frameworks."""

FEW_PATHS = 10
SHORTER = 8
"""Where the fastest round counts: how many of the routes are asked for, and how many rounds there are in place of one.
Few paths make a round short."""

THREADS = 8
LINES = 12_000
STATUSES = ("200", "404")
ROUTE = "/section-{}/items/{{item}}"
ROWS = LINES // (len(DEFAULT_BUCKETS) + 1 + 2 + 1 + len(STATUSES))


class Target(NamedTuple):
    """A ratio that the project promises, and its limit."""

    what: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit


class Table(NamedTuple):
    """One comparison, measured."""

    title: str
    figures: Sequence[Figure]
    reference: str
    """The candidate whose cost is 1."""
    targets: Sequence[Target] = ()
    missing: Sequence[str] = ()
    renders: bool = False
    """Whether it is not requests but renderings that are measured: milliseconds, and nothing is bare."""


class Framework(NamedTuple):
    """A framework that is read: what makes an app of it, and what differs in measuring it."""

    name: str
    app_of: Callable[[int], Any]
    """Returns an app with so many routes."""
    is_asgi: bool = False
    is_touched: bool = False
    """Whether our reader changes the app. Ours then gets an app of its own: else the bare one would pay for that."""
    peers: Mapping[str, Mount] = {}
    limit: float | None = None
    """How many microseconds ours should add at most."""


class Effort(NamedTuple):
    """How much is measured."""

    rounds: int
    chunk_seconds: float


def asgi_null(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on an ASGI app that does nothing."""
    metrics = _metrics()
    least = LeastASGI(null_asgi)
    ours = RedASGIMiddleware(null_asgi, metrics=metrics)
    candidates = [
        Candidate(BARE, serve_asgi(null_asgi, ["/"], loop)),
        Candidate(LEAST, serve_asgi(least, ["/"], loop), lambda: least.sums[0]),
        Candidate(OURS, serve_asgi(ours, ["/"], loop), counted_anywhere(metrics)),
    ]
    yield _null("ASGI, null app", measure(candidates, 1, effort.rounds, effort.chunk_seconds), 3.0)


def wsgi_null(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on a WSGI app that does nothing."""
    metrics = _metrics()
    least = LeastWSGI(null_wsgi)
    ours = RedWSGIMiddleware(null_wsgi, metrics=metrics)
    candidates = [
        Candidate(BARE, serve_wsgi(null_wsgi, ["/"])),
        Candidate(LEAST, serve_wsgi(least, ["/"]), lambda: least.sums[0]),
        Candidate(OURS, serve_wsgi(ours, ["/"]), counted_anywhere(metrics)),
    ]
    yield _null("WSGI, null app", measure(candidates, 1, effort.rounds, effort.chunk_seconds), 2.5)


def starlette(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on Starlette with few and with many routes."""
    yield from _asgi_framework("Starlette", starlette_app, ROUTES, peers.STARLETTE_PEERS, effort, loop, limit=15.0)


def fastapi(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on FastAPI."""
    yield from _asgi_framework("FastAPI", fastapi_app, ROUTES[:1], peers.STARLETTE_PEERS, effort, loop, limit=None)


def flask(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on Flask with few and with many routes."""
    ours_by_routes = {}
    for routes in ROUTES:
        paths = paths_of(routes)
        metrics, crowded = _metrics(), _metrics()
        bare = flask_app(routes)
        candidates = [
            Candidate(BARE, serve_wsgi(bare, paths)),
            Candidate(LEAST, serve_wsgi(LeastWSGI(bare), paths), comparable=False),
            Candidate(OURS, serve_wsgi(RedWSGIMiddleware(bare, metrics=metrics), paths), counted_by_red(metrics)),
            Candidate(
                AMONG_STRANGERS,
                serve_wsgi(among_strangers(RedWSGIMiddleware(bare, metrics=crowded)), paths),
                counted_by_red(crowded),
            ),
        ]
        found, missing = mounted(peers.FLASK_PEERS, partial(flask_app, routes), partial(serve_wsgi, paths=paths))
        figures = measure([*candidates, *found], len(paths), effort.rounds, effort.chunk_seconds)
        ours_by_routes[routes] = figures[OURS].added
        targets = [*against_peers(figures, [OURS], 5.0), *_flat(ours_by_routes), _unaware(figures, OURS)]
        yield Table(f"Flask, {routes} routes", list(figures.values()), OURS, targets, missing)


def django(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on Django with few and with many routes, which it tries one after the other."""
    yield from with_routes(DJANGO, effort, loop)


def threads(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare on a WSGI app that does nothing, in several threads at once, by the clock on the wall."""
    metrics = _metrics()
    least = LeastWSGI(null_wsgi)
    candidates = [
        Candidate(BARE, _in_threads(serve_wsgi(null_wsgi, ["/"]))),
        Candidate(LEAST, _in_threads(serve_wsgi(least, ["/"]))),  # it loses counts: it has no lock
        Candidate(
            OURS,
            _in_threads(serve_wsgi(RedWSGIMiddleware(null_wsgi, metrics=metrics), ["/"])),
            counted_anywhere(metrics),
        ),
    ]
    figures = measure(candidates, THREADS, max(3, effort.rounds // 3), 10 * effort.chunk_seconds)
    yield Table(f"WSGI, null app, {THREADS} threads at once (wall clock)", list(figures.values()), LEAST)


def rendering(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare the writing of the metrics, against the same metrics made with prometheus_client."""
    twins = Twins()
    twins.count(ROWS, requests=20)
    ours, theirs = twins.ours, twins.theirs
    openmetrics = "application/openmetrics-text; version=1.0.0"
    writers: dict[str, Callable[[], bytes]] = {
        OURS: lambda: answer(ours, Request()).body,
        f"{OURS}, OpenMetrics": lambda: answer(ours, Request(headers={"accept": openmetrics})).body,
        f"{OURS}, gzip": lambda: answer(ours, Request(headers={"accept-encoding": "gzip"})).body,
        "generate_latest, same metrics": lambda: generate_latest(theirs),
        "generate_latest, our collector": lambda: generate_latest(ours.registry),
    }
    candidates = [Candidate(with_lines(name, write), writing(write)) for name, write in writers.items()]
    figures = measure(candidates, 1, max(5, effort.rounds // 10), 0.0)
    mine, _, _, *others = figures.values()
    targets = [Target(f"{other.name} / {OURS}", other.total / mine.total, 15.0, at_least=True) for other in others]
    yield Table("Text rendering, in milliseconds", list(figures.values()), mine.name, targets, renders=True)


TABLES: Mapping[str, Callable[[Effort, asyncio.AbstractEventLoop], Iterator[Table]]] = {
    "asgi": asgi_null,
    "wsgi": wsgi_null,
    "starlette": starlette,
    "fastapi": fastapi,
    "flask": flask,
    "django": django,
    "rendering": rendering,
    "threads": threads,
}


def flask_app(routes: int) -> Any:
    """Return an app of Flask with so many routes."""
    from flask import Flask

    def endpoint() -> Callable[[int], str]:
        return lambda item: f"item {item}"

    app = Flask("bench")
    for n in range(routes):
        app.add_url_rule(f"/section-{n}/items/<int:item>", f"item_{n}", endpoint())
    return app


def django_app(routes: int, is_asgi: bool = False) -> Any:
    """Return the handler of a Django project with so many routes; the project is the process's."""
    from django.conf import settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path

    def view() -> Callable[..., Any]:
        async def item_async(request: Any, item: int) -> Any:
            return HttpResponse(f"item {item}")

        return item_async if is_asgi else lambda request, item: HttpResponse(f"item {item}")

    settings.ROOT_URLCONF = tuple(path(f"section-{n}/items/<int:item>", view()) for n in range(routes))
    clear_url_caches()
    return ASGIHandler() if is_asgi else WSGIHandler()


DJANGO = Framework("Django", django_app, peers=peers.DJANGO_PEERS, limit=5.0)


def fastapi_app(routes: int) -> Any:
    """Return an app of FastAPI with so many routes."""
    from fastapi import FastAPI

    def endpoint() -> Callable[[int], Awaitable[dict[str, int]]]:
        async def read(item: int) -> dict[str, int]:
            return {"item": item}

        return read

    app = FastAPI()
    for n in range(routes):
        app.add_api_route(f"/section-{n}/items/{{item}}", endpoint())
    return app


def starlette_app(routes: int) -> Any:
    """Return an app of Starlette with so many routes."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def endpoint() -> Callable[[Request], Awaitable[Response]]:
        async def item(request: Request) -> Response:
            return PlainTextResponse(f"item {request.path_params['item']}")

        return item

    return Starlette(routes=[Route(f"/section-{n}/items/{{item:int}}", endpoint()) for n in range(routes)])


class Twins:
    """Our metrics, and the same ones made with prometheus_client, which are to count the same traffic.

    Args:
        options: Of our `RedMetrics`.
    """

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.ours = RedMetrics(registry=CollectorRegistry(), clock=lambda: self.now, **options)
        self.theirs = CollectorRegistry()
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # else it writes more lines than we
        self.requests = Counter(
            "http_requests", "Finished HTTP requests.", ["method", "route", "status"], registry=self.theirs
        )
        self.errors = Counter("http_errors", "HTTP requests that failed.", ["method", "route"], registry=self.theirs)
        self.duration = Histogram(
            "http_request_duration_seconds", "Seconds.", ["method", "route"],
            buckets=DEFAULT_BUCKETS, registry=self.theirs,
        )  # fmt: skip

    def count(self, rows: int, requests: int) -> None:
        """Count so many requests in each of so many rows, with two statuses."""
        traffic = random.Random(1)
        for row in range(rows):
            route = ROUTE.format(row)
            self.errors.labels("GET", route)
            for n in range(requests):
                status = STATUSES[n % len(STATUSES)]
                seconds = traffic.expovariate(10.0)
                self._count_ours(route, status, seconds)
                self.requests.labels("GET", route, status).inc()
                self.duration.labels("GET", route).observe(seconds)

    def count_ours(self, requests: int) -> None:
        """Count some requests of one row with ours only."""
        for _ in range(requests):
            self._count_ours(ROUTE.format(0), STATUSES[0], 0.001)

    def _count_ours(self, route: str, status: str, seconds: float) -> None:
        exchange = start(recorder_of(self.ours), "GET", {})
        if exchange is not None:
            self.now += seconds
            exchange.respond(int(status), route)
            exchange.finish()


def _null(title: str, figures: dict[str, Figure], limit: float) -> Table:
    ours, least = figures[OURS], figures[LEAST]
    targets = [
        Target("cost added over the bare app, ours / least", ours.added / least.added, limit),
        Target("total with the bare app, ours / least", ours.total / least.total, limit),
    ]
    return Table(title, list(figures.values()), LEAST, targets)


def _asgi_framework(
    framework: str,
    app_of: Callable[[int], Any],
    sizes: Sequence[int],
    peers_there: Mapping[str, Mount],
    effort: Effort,
    loop: asyncio.AbstractEventLoop,
    limit: float | None,
) -> Iterator[Table]:
    outside, inside = f"{OURS}, outside", f"{OURS}, add_middleware"
    ours_by_routes = {}
    for routes in sizes:
        paths = paths_of(routes)
        bare, added_to = app_of(routes), app_of(routes)
        outer, inner, crowded = _metrics(), _metrics(), _metrics()
        added_to.add_middleware(RedASGIMiddleware, metrics=inner)
        candidates = [
            Candidate(BARE, serve_asgi(bare, paths, loop)),
            Candidate(LEAST, serve_asgi(LeastASGI(bare), paths, loop), comparable=False),
            Candidate(outside, serve_asgi(RedASGIMiddleware(bare, metrics=outer), paths, loop), counted_by_red(outer)),
            Candidate(inside, serve_asgi(added_to, paths, loop), counted_by_red(inner)),
            Candidate(
                AMONG_STRANGERS,
                serve_asgi(among_strangers(RedASGIMiddleware(bare, metrics=crowded)), paths, loop),
                counted_by_red(crowded),
            ),
        ]
        found, missing = mounted(peers_there, partial(app_of, routes), partial(serve_asgi, paths=paths, loop=loop))
        figures = measure([*candidates, *found], len(paths), effort.rounds, effort.chunk_seconds)
        ours_by_routes[routes] = figures[outside].added
        targets = [*against_peers(figures, [outside, inside], limit), *_flat(ours_by_routes)] if limit else []
        targets.append(_unaware(figures, outside))
        yield Table(f"{framework}, {routes} routes", list(figures.values()), outside, targets, missing)


def with_routes(
    framework: Framework, effort: Effort, loop: asyncio.AbstractEventLoop, lowest: bool = False
) -> Iterator[Table]:
    """Compare on an app of a framework with few and with many routes.

    Args:
        framework: Whose apps these are.
        effort: As in other tables. If the fastest round counts, there are more and shorter ones in the same time.
        loop: Where ASGI apps run.
        lowest: See `measure`.
    """
    if lowest:
        effort = Effort(effort.rounds * SHORTER, effort.chunk_seconds / SHORTER)
    ours_by_routes = {}
    for routes in MANY_ROUTES:
        paths = paths_of(routes, FEW_PATHS) if lowest else paths_of(routes)
        metrics = _metrics()
        bare = framework.app_of(routes)
        ours = framework.app_of(routes) if framework.is_touched else bare
        with ExitStack() as stack:
            if framework.is_asgi:
                for app in [bare] if ours is bare else [bare, ours]:
                    stack.enter_context(started(app, loop))
            drive = partial(_driven, framework, paths, loop)
            least: Any = LeastASGI(bare) if framework.is_asgi else LeastWSGI(bare)
            red: Any = RedASGIMiddleware if framework.is_asgi else RedWSGIMiddleware
            candidates = [
                Candidate(BARE, drive(bare)),
                Candidate(LEAST, drive(least), comparable=False),
                Candidate(OURS, drive(red(ours, metrics=metrics)), counted_by_red(metrics)),
            ]
            found, missing = mounted(framework.peers, partial(framework.app_of, routes), drive)
            figures = measure([*candidates, *found], len(paths), effort.rounds, effort.chunk_seconds, lowest)
        title = f"{framework.name}, {routes} routes"
        ours_by_routes[routes] = added = figures[OURS].added
        targets = [] if framework.limit is None else [Target(f"{title}: added microseconds", added, framework.limit)]
        yield Table(title, list(figures.values()), OURS, [*targets, *_flat(ours_by_routes)], missing)


def _driven(framework: Framework, paths: Sequence[str], loop: asyncio.AbstractEventLoop, app: Any) -> Serve:
    if framework.is_asgi:
        return serve_asgi(with_waiting_receive(app), paths, loop)
    return serve_wsgi(app, paths)


def mounted(
    mounts: Mapping[str, Mount], app_of: Callable[[], Any], serve: Callable[[Any], Serve]
) -> tuple[list[Candidate], list[str]]:
    """Return the peers, each on an app of its own, and those that are missing."""
    candidates, missing = [], []
    for name, mount in mounts.items():
        try:
            app, counted = mount(app_of())
        except NotInstalledError as error:
            missing.append(f"{name} is not installed, and not compared ({error})")
        else:
            candidates.append(Candidate(name, serve(app), counted, comparable=name not in peers.WITHOUT_DURATIONS))
    return candidates, missing


def against_peers(figures: Mapping[str, Figure], ours: Sequence[str], limit: float) -> list[Target]:
    """Return the promise against the cheapest of the peers that record what RED asks for."""
    valid = [f for f in figures.values() if not f.name.startswith((BARE, OURS)) and f.comparable and not f.void]
    if not valid:
        return []
    cheapest = min(valid, key=lambda figure: figure.added)
    return [
        Target(f"cost added, {cheapest.name} / {name}", cheapest.added / figures[name].added, limit, at_least=True)
        for name in ours
    ]


def _flat(added_by_routes: Mapping[int, float]) -> list[Target]:
    """Return the promise that more routes cost no more. A tenth is left to the caches, which bigger apps fill."""
    if len(added_by_routes) < 2:
        return []
    (few, cost_of_few), (many, cost_of_many) = added_by_routes.items()
    return [Target(f"cost added by ours, {many} routes / {few} routes", cost_of_many / cost_of_few, 1.1)]


def _unaware(figures: Mapping[str, Figure], ours: str) -> Target:
    """Return the promise that readers of other frameworks cost nothing: one that found its app is asked alone."""
    ratio = figures[AMONG_STRANGERS].added / figures[ours].added
    return Target(f"cost added, {STRANGERS} more readers / none", ratio, 1.05)


class Stranger:
    """A reader whose framework is imported, and whose app is not there."""

    module = __name__

    def learn(self, app: object, source: Source) -> bool:
        return False

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        return None


def among_strangers(middleware: Middleware) -> Middleware:
    """Return a middleware that has served nothing yet, with more readers in front of its own."""
    mounting = middleware.mounting
    kinds = [*([lambda report: Stranger()] * STRANGERS), *mounting.routes.kinds]
    mounting.routes = Routes(kinds, mounting.routes.report, mounting.recorder.fault)
    return middleware


def _metrics() -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry())


def counted_anywhere(metrics: RedMetrics) -> Counted:
    """Return what sums our own counts, also of an app that declares no route."""
    return lambda: sum(value for name, value in metrics.snapshot().items() if name.startswith("http_requests_total"))


def paths_of(routes: int, paths: int = 50) -> list[str]:
    step = routes // paths
    return [f"/section-{n}/items/42" for n in range(step - 1, routes, step)]


def _in_threads(serve: Serve) -> Serve:
    def serve_all(times: int) -> float:
        pool = [threading.Thread(target=serve, args=(times,)) for _ in range(THREADS)]
        begun = perf_counter()
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        return perf_counter() - begun

    return serve_all


def writing(write: Callable[[], object]) -> Serve:
    """Return what measures scrapes: the CPU of the process, since they run in a thread of their own."""

    def render(times: int) -> float:
        begun = process_time()
        for _ in range(times):
            write()
        return process_time() - begun

    return render


def with_lines(name: str, write: Callable[[], bytes]) -> str:
    text = write()
    if text[:2] == b"\x1f\x8b":
        return f"{name} ({len(text):,} bytes)"
    lines = sum(not line.startswith(b"#") for line in text.splitlines())
    return f"{name} ({lines:,} samples)"
