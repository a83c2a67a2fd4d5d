"""One mounting of a middleware: its options, the paths that it keeps for itself, and the routes behind it.

Both adapters hold one and ask it the same questions; it knows neither protocol. Nothing here is on the hot path but
the set `special`, in which a request's path is looked up.
"""

import logging
from collections.abc import Callable, Collection, Container, Iterable
from enum import Enum

from . import options
from .metrics import KEY, RedMetrics, log
from .routes import Declare, Reader, RouteOf, Routes, Source


class Purpose(Enum):
    """What a request is for, as far as the middleware is concerned."""

    APP = "the application's, counted"
    ENDPOINT = "the metrics, answered here"
    EXCLUDED = "the application's, not counted"


class Mounting:
    """The options of a middleware, checked, and what follows from them.

    Args:
        owner: The middleware's class name, for messages.
        app: The application that it wraps.
        metrics: Which numbers it feeds; `None` is the process's shared `RedMetrics()`.
        metrics_path: Where the endpoint answers, relative to the mounting; `None`: nowhere.
        exclude: Paths that are not recorded, exact, relative to the mounting.
        route_of: Asked first for a request's route.
        readers: Makes the readers of the protocol's frameworks.
    """

    def __init__(
        self,
        owner: str,
        app: object,
        metrics: RedMetrics | None,
        metrics_path: str | None,
        exclude: Collection[str],
        route_of: RouteOf | None,
        readers: Callable[[Declare], list[Reader]],
    ) -> None:
        options.check_callable(owner, "app", app)
        if metrics is not None:
            options.check_type(owner, "metrics", metrics, RedMetrics)
        if metrics_path is not None:
            options.check_path(owner, "metrics_path", metrics_path)
        if route_of is not None:
            options.check_plain_callable(owner, "route_of", route_of)
        self.app = app
        self.metrics = RedMetrics() if metrics is None else metrics
        self.metrics_path = metrics_path
        self.excluded = options.paths(owner, "exclude", exclude)
        self.routes = Routes(readers(self._declare), route_of, self.metrics.fault)
        self.special: Container[str] = _Every()  # the first request comes to `purpose`, whatever its path
        self._learned = False

    def purpose(self, path: str, source: Source) -> Purpose:
        """Tell what a request is for whose path is one of `special`.

        Args:
            path: The path relative to the mounting.
            source: The environ or scope.
        """
        if not self._learned:
            self._learned = True
            self.routes.learn(self.app, source)
            self._declare(())
            self.special = self.excluded | ({self.metrics_path} if self.metrics_path else frozenset())
        if path == self.metrics_path:
            purpose = Purpose.ENDPOINT
        elif path in self.excluded:
            purpose = Purpose.EXCLUDED
        else:
            return Purpose.APP
        enclosing = source.get(KEY)
        if enclosing is not None:
            enclosing.forget()
        return purpose

    def _declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        declared = list(routes)
        self.metrics.declare(declared)
        if self.metrics_path is not None and any(template == self.metrics_path for template, _ in declared):
            log(
                logging.WARNING,
                "the application has a route %s of its own and keeps it: no metrics there",
                self.metrics_path,
            )
            self.special = self.excluded
            self.metrics_path = None


class _Every:
    """Holds every path."""

    def __contains__(self, path: object) -> bool:
        return True
