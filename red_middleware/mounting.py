"""One mounting of a middleware: its options, the paths that it keeps for itself, and the routes behind it.

Both adapters hold one and ask it the same questions; it knows neither protocol. Nothing here is on the hot path but
the set `special`, in which a request's path is looked up. It holds the endpoint's paths and those that are excluded;
where more than a look-up tells what is excluded, it holds every path.
"""

import functools
import logging
import sys
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from enum import Enum
from typing import Any, Final

from prometheus_client import CollectorRegistry

from . import options
from .application import ProtocolError, check_app
from .counting.connection import Connection
from .counting.enclosing import KEY, Enclosing, raised
from .counting.exchange import Exchange, answering, asks_for_socket, exclude, leave_sizes
from .exclusion import EVERYTHING, Exclude, Exclusion
from .exposition import Access, Authorize, Endpoint
from .faults import log
from .metrics import RedMetrics, option_names, recorder_of
from .recorder import Recorder
from .routes import CROSSING, Carrying, Marks, PatternReader, Reader, Report, RouteOf, Routes, Source
from .settings import Setting, chosen, is_enabled
from .views import UNCOUNTED, UNSIZED


class Purpose(Enum):
    """What a request is for, as far as the middleware is concerned."""

    APP = "the application's, counted"
    ENDPOINT = "the metrics, answered here"
    EXCLUDED = "the application's, not counted"


def mounts(init: options.Constructor[options.P]) -> options.Constructor[options.P]:
    """Decorate a middleware's constructor, so that what comes too late to be refused counts nothing.

    Starlette and FastAPI construct their middlewares when they serve already. An exception would reach every response.
    A middleware of the other protocol cannot even pass requests on: it is refused all the same.
    """
    known = options.refuses_unknown("metrics=RedMetrics({name}=...)", option_names)(init)

    @functools.wraps(init)
    def mount(self: Any, /, *args: options.P.args, **given: options.P.kwargs) -> None:
        try:
            known(self, *args, **given)
            if not is_enabled():
                self.mounting = Idle(self.metrics)
        except Exception as error:
            if isinstance(error, ProtocolError) or not _is_built_late():
                raise
            log(logging.ERROR, "%s. The application is served, and nothing is counted", error, error=error)
            self.app = given["app"] if "app" in given else args[0]
            self.mounting = Idle(given.get("metrics"))

    return mount


def _is_built_late() -> bool:
    """Tell whether a framework builds its middlewares at this moment, and not the line that names the middleware."""
    frame = sys._getframe()
    while frame.f_back is not None and not frame.f_code.co_name.endswith(BUILDS_LATE):
        frame = frame.f_back
    return frame.f_back is not None


BUILDS_LATE: Final = "build_middleware_stack"
"""The function of Starlette, FastAPI and Connexion that constructs middlewares when the server asks the first time."""


class Idle:
    """Stands for a mounting where nothing is counted and nothing is answered.

    Args:
        metrics: The option.
    """

    special: Final = EVERYTHING
    counted: Any  # nobody calls it
    routes: Routes  # nobody asks for them
    endpoint: Endpoint  # nor for this

    def __init__(self, metrics: object) -> None:
        self.metrics: RedMetrics = metrics if isinstance(metrics, RedMetrics) else _unseen_metrics()
        self.recorder: Recorder = recorder_of(self.metrics)

    def purpose(self, path: str, source: Source, method: object = "GET") -> Purpose:
        """Tell that the request is the application's. See `Mounting.purpose`."""
        return Purpose.EXCLUDED


def _unseen_metrics() -> RedMetrics:
    """Return numbers that nobody shows. No variable of the environment has a say in their options."""
    return RedMetrics(
        registry=CollectorRegistry(), namespace="", buckets=(0.1,), max_label_sets=1, multiprocess_dir=None
    )


class Mounting:
    """The options of a middleware, checked, and what follows from them.

    Args:
        owner: The middleware's class name, for messages.
        app: The application that it wraps.
        metrics: Which numbers it feeds; `None` is the process's shared `RedMetrics()`.
        metrics_path: Where the endpoint answers, relative to the mounting; `None`: nowhere. Whether the application
            keeps it for a route of its own is decided once, at the first request.
        authorize: Who may read it: see `exposition.access`.
        exclude: What is not recorded: see `exclusion`. Paths are relative to the mounting.
        exclude_sizes: Whose sizes are not counted, the same way and without functions. It matters where sizes are.
        routes: Templates of an application without a router that is known here: see `routes.patterns`.
        route_of: Asked first for a request's route.
        readers: Those of the protocol's frameworks.
        takes: What the protocol calls an application with.
        spelled: How a path of the options is spelled in the protocol's requests.
    """

    def __init__(
        self,
        owner: str,
        app: object,
        metrics: RedMetrics | None,
        metrics_path: str | Setting[str | None] | None,
        authorize: Authorize | None,
        exclude: Exclude | Setting[Exclude],
        exclude_sizes: Collection[str],
        routes: Collection[str],
        route_of: RouteOf | None,
        readers: Sequence[type[Reader]],
        takes: Sequence[str],
        spelled: Callable[[str], str] = str,
    ) -> None:
        check_app(owner, app, takes)
        if metrics is not None:
            options.check_type(owner, "metrics", metrics, RedMetrics)
        if route_of is not None:
            options.check_plain_callable(owner, "route_of", route_of)
        self.app = app
        patterns = PatternReader(owner, routes, spelled, self._declare)
        excluded = chosen(exclude, lambda said: Exclusion(owner, said, spelled))
        self.exclusion: Exclusion = Exclusion(owner, excluded, spelled)
        self.unsized: Exclusion = Exclusion(owner, exclude_sizes, spelled, "exclude_sizes")
        check_path = functools.partial(options.check_path, owner, "metrics_path")
        metrics_path = chosen(metrics_path, check_path)
        self.metrics_path: str | None = metrics_path
        if metrics_path is not None:
            check_path(metrics_path)
        if metrics is None:
            metrics = RedMetrics() if is_enabled() else _unseen_metrics()
        self.metrics = metrics
        self.endpoint: Endpoint = Endpoint(metrics, Access(owner, authorize))
        self.twin: str | None = None if metrics_path is None else _with_or_without_slash(metrics_path)
        self.spelled = spelled
        self._answer_at(frozenset(spelled(path) for path in (metrics_path, self.twin) if path is not None))
        self.recorder: Recorder = recorder_of(self.metrics)
        self.has_sizes: bool = self.recorder.options.sizes
        report = Report(self._declare, raised, answering, asks_for_socket, self._cross, marked=self._marked)
        found = self._found if self.exclusion.templates or (self.has_sizes and self.unsized.templates) else None
        self.routes: Routes = Routes(
            readers, report, self.recorder.fault, patterns if patterns.methods else None, route_of, found
        )
        self.counted: Any = app
        """The application, as it is called with a request that is counted."""
        self._crosses = False
        self._declared: set[str] = set()
        self._has_learned = False
        self.recorder.mount(self)

    def purpose(self, path: str, source: Source, method: object = "GET") -> Purpose:
        """Tell what a request is for whose path is one of `special`.

        Args:
            path: The path relative to the mounting.
            source: The environ or scope.
            method: The method as the client wrote it.
        """
        if not self.recorder.methods:
            self.recorder.begin(source)  # the app may have a route of its own where the endpoint would be
        if path in self.endpoints:
            purpose = Purpose.ENDPOINT
        elif self.exclusion.holds(path, method, source, self.recorder.fault):
            purpose = Purpose.EXCLUDED
        else:
            return Purpose.APP
        enclosing = source.get(KEY)
        if enclosing is not None:
            enclosing.forget(path)
        if purpose is Purpose.EXCLUDED:
            exclude(self.recorder, source, path)
            if self._crosses:
                CROSSING.set(source[KEY])
        return purpose

    def starting(self, begin: Callable[..., Exchange | None]) -> Callable[..., Exchange | None]:
        """Return what begins requests: the function itself, unless paths are without sizes.

        Args:
            begin: `exchange.start`, or one like it.
        """
        if not self.has_sizes or not (self.unsized.paths or self.unsized.prefixes):
            return begin
        holds, fault = self.unsized.holds, self.recorder.fault

        def begin_unsized(recorder: Recorder, method: object, source: Source, path: str = "") -> Exchange | None:
            exchange = begin(recorder, method, source, path)
            if holds(path, method, source, fault):
                leave_sizes(source.get(KEY), path)
            return exchange

        return begin_unsized

    def _answer_at(self, paths: frozenset[str]) -> None:
        """Let the endpoint answer at these paths, and nowhere else."""
        self.endpoints = paths
        excluded = self.exclusion.special
        self.special: Container[str] = excluded | paths if isinstance(excluded, frozenset) else excluded

    def learn(self, source: Source) -> None:
        """Let the readers declare the routes behind the mounting. See `recorder.Mounted`."""
        try:
            self.routes.learn(self.app, source)
        finally:
            self._has_learned = True
        if self._declared and self.routes.route_of is None:
            for said in (self.exclusion, self.unsized):
                for text, doubt in said.doubts(self._declared):
                    rule = "%s(%s=%r): may exclude nothing, since %s"
                    log(logging.WARNING, rule, said.owner, said.option, text, doubt)

    def _found(self, source: Source, route: str) -> None:
        """Forget a request that a template serves which is excluded: it is known only when the response begins."""
        exchange = source.get(KEY)
        while exchange is not None and exchange.recorder is not self.recorder:
            exchange = exchange.outer
        if exchange is not None:
            self._leave_out(exchange, route)

    def _leave_out(self, exchange: Enclosing, route: str) -> None:
        asked = route, exchange.method.label, isinstance(exchange, Connection)
        if self.exclusion.holds_route(*asked):
            exchange.forget(exchange.path)
        elif self.has_sizes and self.unsized.holds_route(*asked):
            leave_sizes(exchange, exchange.path)

    def _marked(self, route: str, methods: Iterable[str] | None, marks: Marks) -> None:
        """Take the marks of a view. Once there are any, each request's route is asked for."""
        methods = None if methods is None else list(methods)
        self.exclusion.mark(route, methods, UNCOUNTED in marks)
        if self.has_sizes:
            self.unsized.mark(route, methods, UNSIZED in marks)
        if self.routes.found is None and (UNCOUNTED in marks or (self.has_sizes and UNSIZED in marks)):
            self.routes.tell(self._found)

    def _cross(self) -> None:
        """Let a request's exchange be known behind a bridge. See `Report.crosses`."""
        if not self._crosses:
            self._crosses = True
            self.counted = Carrying(self.counted)

    def _declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        declared = list(routes)
        self.recorder.declare(declared)
        templates = {template for template, _ in declared}
        self._declared |= templates
        if self.metrics_path is None or not self.endpoints:
            return
        taken = {self.metrics_path, self.metrics_path.rstrip("/") + "/*"} & templates  # the latter if it is a mount
        if self._has_learned and taken:
            self.recorder.faults.warn_once(
                f"late {self.metrics_path}",
                "the application has a route %s of its own, seen only after the first request: the metrics stay "
                "there; choose another metrics_path=",
                self.metrics_path,
            )
        elif taken:
            log(
                logging.WARNING,
                "the application has a route %s of its own, which answers in place of the middleware's. If it does not "
                "show the same registry, choose another metrics_path=",
                self.metrics_path,
            )
            self._answer_at(frozenset())
        elif self.twin is not None and self.twin in templates and not self._has_learned:
            self._answer_at(self.endpoints - {self.spelled(self.twin)})


def _with_or_without_slash(path: str) -> str | None:
    """Return the path that differs by a slash at its end: scrapers of a mounted endpoint ask there."""
    return f"{path}/" if not path.endswith("/") else path.rstrip("/") or None
