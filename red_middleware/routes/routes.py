"""Asks for the route of a request: the user first, then the readers of frameworks, also behind mounts and bridges.

`mounting` makes one for each mounting, and the adapters ask it when a response begins.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..counting.exchange import served
from .bridges import Bridge, bridges_behind
from .frameworks import ASGI_READERS, WSGI_READERS
from .patterns import PatternReader
from .reader import Marks, Reader, Report, Source

MAX_MOUNTS: Final = 1000
"""How many mounted apps are looked at: an app may mount one for every request."""

Find = Callable[[Source, str, BaseException | None], str | None]
"""Finds the route of a request, given its path, and the exception that left the app before a response."""

RouteOf = Callable[[Any], str | None]
"""A user's function of the environ or scope. Any type: users annotate theirs as they like."""


class Behind(NamedTuple):
    """What stands behind a mount or a bridge."""

    find: Find
    """Finds the inner route."""
    is_read: Callable[[Source], bool]
    """Tells whether a request without an inner route has matched nothing that is declared there."""


class Routes:
    """Asks the user's `route_of` first, then the readers. What raises is a fault, and the next one is asked.

    `learn` chooses the first reader that found an app of its framework. Where none did, the first reader of a framework
    that knows a route is chosen then: its app was made later. The chosen reader is asked before all others. Readers of
    frameworks that nobody imported are not asked at all.

    When a response begins, an adapter calls `ask`. Where that knew nothing, and the number of imported modules is not
    `modules`, it calls `ask_others`. So each is asked once. Where an exception came before a response, it calls `find`.

    An app of another framework behind a mount has readers of its own, whose route is joined to the mount's.

    Args:
        readers: Make the readers of frameworks, in the order in which they are asked until one is chosen.
        report: Whom they tell.
        fault: Takes the kind and the exception of what raised.
        patterns: Asked after all of them; `None` where there are no templates.
        route_of: The user's own answer; `None` leaves the question to the readers.
        found: Takes the environ or scope of a request and the route that serves it, before it is returned. Where the
            user has a name of his own for the route, it takes the declared one first.
        around: The apps behind whose mounts this one stands: one may lead back to itself.
    """

    ask: Callable[[Source, str], str | None]
    """Return the route that `route_of` or the chosen reader knows. It lets the reader's exceptions out.

    In the common case it is the reader's own method: no call stands between.
    """
    modules: int
    """How many modules were imported when `ask` asked every reader whose framework is; -1 while it does not."""

    def __init__(
        self,
        readers: Sequence[Callable[[Report], Reader]],
        report: Report,
        fault: Callable[[str, BaseException], None],
        patterns: PatternReader | None = None,
        route_of: RouteOf | None = None,
        found: Callable[[Source, str], None] | None = None,
        around: tuple[object, ...] = (),
    ) -> None:
        self.kinds = readers
        self.report = report
        made = [kind(report._replace(mounted=functools.partial(self._mount, kind))) for kind in readers]
        self.readers: Sequence[Reader] = [*made, patterns] if patterns else made
        self.patterns = patterns
        self.route_of = route_of
        self.fault = fault
        self.found = found
        self.around = around
        self.is_known: bool = False
        """Whether an app of a framework that is known was found, here or behind a bridge."""
        self.behind: dict[str | None, tuple[Behind, ...]] = {}
        """What stands behind mounts, by their template, and behind bridges, by `None`. Hosts may share a template."""
        self._opaque: set[str] = set()
        """The templates of mounts with an app of no framework that is known."""
        self._mounted: dict[tuple[str, int], object] = {}
        self._inner: list[Routes] = []  # those behind bridges, which know them only weakly
        self._is_chosen = False
        self._put_first(made[0])

    def ask_others(self, source: Source, path: str) -> str | None:
        """Return the route that another reader knows, after `ask`. The arguments are those of `find`."""
        self._look_around()
        route = self._ask_each(self._others, source, path, None)
        return self._tell(source, None if route is None else self._join(source, route, path, None))

    def find(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the route, the whole way. It raises nothing.

        Args:
            source: The environ or scope.
            path: The request's path on arrival.
            error: The exception that left the app before a response.
        """
        route = self._ask_user(source)
        if route is None:
            route = self._ask_readers(source, path, error)
        elif self.found is not None:
            self._tell(source, self._ask_readers(source, path, error))
        return self._tell(source, route)

    def tell(self, found: Callable[[Source, str], None]) -> None:
        """Tell from now on which route serves each request. See the argument `found`."""
        self.found = found
        self.ask = self._ask_all

    def learn(self, app: object, source: Source) -> Sequence[Reader]:
        """Let every reader whose framework is imported declare what it finds, and choose one. See `Reader.learn`.

        Returns:
            The readers that found an app of their framework.
        """
        finders: list[Reader] = []
        self._look_around()
        for reader in self._imported:
            try:
                if reader.learn(app, source):
                    finders.append(reader)
            except Exception as fault:
                self.fault("declared routes", fault)
        if finders:
            self._is_chosen = self.is_known = True
            self._put_first(finders[0])
        try:
            for bridge in bridges_behind(app):
                self._cross(bridge)
        except Exception as fault:
            self.fault("bridge", fault)
        return finders

    def _cross(self, bridge: Bridge) -> None:
        """Let the app behind a bridge be read on its own side."""
        inside = bridge.enter()
        kinds = ASGI_READERS if bridge.is_to_asgi else WSGI_READERS
        if any(outer is inside for outer in self.around):
            return
        inner = Routes(kinds, self.report, self.fault, around=(*self.around, inside))
        inner.learn(inside.app, {})
        inside.finders.add(inner)
        self._inner.append(inner)
        self.is_known = self.is_known or inner.is_known
        self.behind = {**self.behind, None: (Behind(lambda source, path, error: served(source) or None, _has_crossed),)}
        self.ask = self._ask_all
        if not bridge.is_to_asgi:
            self.report.crosses()

    def _mount(self, told_by: Callable[[Report], Reader], template: str, app: object) -> None:
        """Let an app behind a mount be read, if it is of another framework that is known. See `Report.mounted`."""
        key = template, id(app)
        if key in self._mounted or len(self._mounted) == MAX_MOUNTS or any(outer is app for outer in self.around):
            return
        self._mounted[key] = app  # held, so that no id is used again
        prefix, declare, marked = template.removesuffix("/*"), self.report.declare, self.report.marked

        def declare_behind(routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
            declare([(prefix + inner, methods) for inner, methods in routes])

        def marked_behind(inner: str, methods: Iterable[str] | None, marks: Marks) -> None:
            marked(prefix + inner, methods, marks)

        report = self.report._replace(declare=declare_behind, marked=marked_behind)
        kinds = [kind for kind in self.kinds if kind is not told_by]
        inner = Routes(kinds, report, self.fault, around=(*self.around, app))
        inner.kinds = self.kinds  # what is mounted in it may be of any framework
        inner.readers = inner.learn(app, {})  # the others would take the mount's framework for that of the app
        inner._seen = -1
        if not inner.is_known:
            self._opaque.add(template)
            return
        behind = Behind(inner.find, _is_always if inner.readers else _has_crossed)
        self.behind = {**self.behind, template: (*self.behind.get(template, ()), behind)}
        self.ask = self._ask_all

    def _put_first(self, reader: Reader) -> None:
        self.readers = sorted(self.readers, key=lambda other: other is not reader)
        self._not_asked: Sequence[Reader] = self.readers[1:]
        self.modules = self._seen = -1
        self._look_around()
        self._ask_first = reader.route
        is_plain = self.route_of is None and self.found is None and self.patterns is None and not self.behind
        self.ask = reader.route if is_plain else self._ask_all

    def _look_around(self) -> None:
        """Find out which frameworks are imported, if there are more modules than before."""
        modules = len(sys.modules)
        if modules != self._seen:
            self._imported = [reader for reader in self.readers if reader.module in sys.modules]
            self._others = [reader for reader in self._not_asked if reader.module in sys.modules]
            self._seen = modules
            self.modules = -1 if self._others else modules

    def _ask_all(self, source: Source, path: str) -> str | None:
        """Ask the user and the chosen reader, and look behind mounts."""
        route = self._ask_user(source)
        if route is None:
            route = self._join(source, self._ask_first(source, path), path, None)
        elif self.found is not None:  # what is left out may be said where the route is declared, by a mark of its view
            self._tell(source, self._ask_readers(source, path, None))
        return self._tell(source, route)

    def _ask_readers(self, source: Source, path: str, error: BaseException | None) -> str | None:
        """Ask all readers, and look behind mounts. It raises nothing."""
        self._look_around()
        return self._join(source, self._ask_each(self._imported, source, path, error), path, error)

    def _join(self, source: Source, route: str | None, path: str, error: BaseException | None) -> str | None:
        """Return the route with the inner one behind it, if it is a mount's or a bridge is on the way."""
        candidates = self.behind.get(route, ())
        for behind in candidates:
            inner = behind.find(source, path, error)
            if inner is not None:
                return inner if route is None else route.removesuffix("/*") + inner
        if candidates and route not in self._opaque and all(behind.is_read(source) for behind in candidates):
            return None
        if self.patterns is not None and route is not None and route.endswith("/*"):
            return self.patterns.route(source, path) or route
        return route

    def _tell(self, source: Source, route: str | None) -> str | None:
        if self.found is not None and route is not None:
            self.found(source, route)
        return route

    def _ask_user(self, source: Source) -> str | None:
        if self.route_of is not None:
            try:
                route = self.route_of(source)
                if route is None or isinstance(route, str):
                    return route
                raise TypeError(f"route_of returned {type(route).__name__}, not str or None")
            except Exception as fault:
                self.fault("route_of", fault)
        return None

    def _ask_each(
        self, readers: Sequence[Reader], source: Source, path: str, error: BaseException | None
    ) -> str | None:
        for reader in readers:
            try:
                route = reader.route(source, path, error)
            except Exception as fault:
                self.fault("route", fault)
                continue
            if route is not None:
                if not self._is_chosen and reader is not self.patterns:
                    self._is_chosen = True
                    self._put_first(reader)
                    # A request in another thread may have asked only the reader that was the first before.
                    self._not_asked, self._seen, self.modules = self.readers, -1, -1
                return route
        return None


def _is_always(source: Source) -> bool:
    return True


def _has_crossed(source: Source) -> bool:
    return served(source) is not None
