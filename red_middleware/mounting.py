"""One mounting of a middleware: its options, the paths that it keeps for itself, and the routes behind it.

Both adapters hold one and ask it the same questions; it knows neither protocol. Nothing here is on the hot path but
the set `special`, in which a request's path is looked up.
"""

import logging
from collections.abc import Callable, Collection, Container, Iterable
from enum import Enum
from threading import RLock
from typing import Final

from . import options
from .exchange import KEY, Exchange
from .metrics import RedMetrics, log
from .routes import Declare, Reader, RouteOf, Routes, Source

PATIENCE_SECONDS: Final = 1.0
"""How long a request waits for another one that learns the routes; a fork may have left that one's thread behind."""


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
        metrics_path: Where the endpoint answers, relative to the mounting; `None`: nowhere. Whether the application
            keeps it for a route of its own is decided once, at the first request.
        exclude: Paths that are not recorded, exact, relative to the mounting.
        route_of: Asked first for a request's route.
        readers: Makes the readers of the protocol's frameworks.
        spelled: How a path of the options is spelled in the protocol's requests.
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
        spelled: Callable[[str], str] = str,
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
        self.endpoint = None if metrics_path is None else spelled(metrics_path)
        self.excluded = frozenset(map(spelled, options.paths(owner, "exclude", exclude)))
        self.routes = Routes(readers(self._declare), route_of, self.metrics.fault)
        self.special: Container[str] = _Every()  # the first request comes to `purpose`, whatever its path
        self._learning = RLock()  # re-entrant, since a handler of the log may ask the app itself
        self._begun = False
        self._learned = False

    def purpose(self, path: str, source: Source) -> Purpose:
        """Tell what a request is for whose path is one of `special`.

        Args:
            path: The path relative to the mounting.
            source: The environ or scope.
        """
        if not self._learned:
            self._learn_once(source)
        if path == self.endpoint:
            purpose = Purpose.ENDPOINT
        elif path in self.excluded:
            purpose = Purpose.EXCLUDED
        else:
            return Purpose.APP
        enclosing = source.get(KEY)
        if enclosing is not None:
            enclosing.forget(path)
        if purpose is Purpose.EXCLUDED:
            self.metrics.exclude(source, path)
        return purpose

    def _learn_once(self, source: Source) -> None:
        """Learn the routes, or wait until the request that came first has: it decides whose the endpoint's path is."""
        waited_in_vain = not self._learning.acquire(timeout=PATIENCE_SECONDS)
        try:
            if waited_in_vain or not self._begun:  # begun and not waited for: asked from within, by the log's handler
                self._begun = True
                self._learn(source)
        finally:
            if not waited_in_vain:
                self._learning.release()

    def _learn(self, source: Source) -> None:
        try:
            self.routes.learn(self.app, source)
            self._declare(())
        except Exception as error:
            self.metrics.fault("declared routes", error)
        finally:
            self.special = self.excluded if self.endpoint is None else self.excluded | {self.endpoint}
            self._learned = True

    def _declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        declared = list(routes)
        self.metrics.declare(declared)
        if self.endpoint is not None and any(template == self.metrics_path for template, _ in declared):
            if self._learned:
                self.metrics.warn_once(
                    f"late {self.metrics_path}",
                    "the application has a route %s of its own, seen only after the first request: the metrics stay "
                    "there; choose another metrics_path=",
                    self.metrics_path,
                )
            else:
                log(
                    logging.WARNING,
                    "the application has a route %s of its own and keeps it: no metrics there",
                    self.metrics_path,
                )
                self.endpoint = None


def raised(source: Source, error: BaseException) -> None:
    """Name an exception that the framework is about to answer itself."""
    exchange: Exchange | None = source.get(KEY)
    while exchange is not None:
        exchange.raised(error)
        exchange = exchange.outer


class _Every:
    """Holds every path."""

    def __contains__(self, path: object) -> bool:
        return True
