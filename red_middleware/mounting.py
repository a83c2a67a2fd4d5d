"""One mounting of a middleware: its options, the paths that it keeps for itself, and the routes behind it.

Both adapters hold one and ask it the same questions; it knows neither protocol. Nothing here is on the hot path but
the set `special`, in which a request's path is looked up.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum

from . import options
from .counting.exchange import KEY, asks_for_socket, exclude, raised
from .faults import log
from .metrics import RedMetrics, recorder_of
from .recorder import Recorder
from .routes import Reader, RouteOf, Routes, Source


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
        readers: Those of the protocol's frameworks.
        takes: What the protocol calls an application with.
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
        readers: Sequence[type[Reader]],
        takes: Sequence[str],
        spelled: Callable[[str], str] = str,
    ) -> None:
        options.check_app(owner, app, takes)
        if metrics is not None:
            options.check_type(owner, "metrics", metrics, RedMetrics)
        if metrics_path is not None:
            options.check_path(owner, "metrics_path", metrics_path)
        if route_of is not None:
            options.check_plain_callable(owner, "route_of", route_of)
        self.app = app
        self.metrics: RedMetrics = RedMetrics() if metrics is None else metrics
        self.metrics_path = metrics_path
        self.endpoint = None if metrics_path is None else spelled(metrics_path)
        self.excluded: frozenset[str] = frozenset(map(spelled, options.paths(owner, "exclude", exclude)))
        self.special: frozenset[str] = self.excluded if self.endpoint is None else self.excluded | {self.endpoint}
        self.recorder: Recorder = recorder_of(self.metrics)
        made = [reader(self._declare, raised, asks_for_socket) for reader in readers]
        self.routes: Routes = Routes(made, route_of, self.recorder.fault)
        self._has_learned = False
        self.recorder.mount(self)

    def purpose(self, path: str, source: Source) -> Purpose:
        """Tell what a request is for whose path is one of `special`.

        Args:
            path: The path relative to the mounting.
            source: The environ or scope.
        """
        if not self.recorder.methods:
            self.recorder.begin(source)  # the app may have a route of its own where the endpoint would be
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
            exclude(self.recorder, source, path)
        return purpose

    def learn(self, source: Source) -> None:
        """Let the readers declare the routes behind the mounting. See `recorder.Mounted`."""
        try:
            self.routes.learn(self.app, source)
        finally:
            self._has_learned = True

    def _declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        declared = list(routes)
        self.recorder.declare(declared)
        own = (self.metrics_path, f"{self.metrics_path}/*")  # the latter if it is a mount
        if self.endpoint is not None and any(template in own for template, _ in declared):
            if self._has_learned:
                self.recorder.faults.warn_once(
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
                self.special = self.excluded
