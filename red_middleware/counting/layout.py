"""Which cells a row has. Built once, from the options; everything else that handles cells is a loop over it.

A `Kind` of row says what its key names, which fields its rows have, and how many rows there can be. A table gives each
kind a region of cells of its own. Families name fields, workers add regions up, and the bound is a product of both.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from itertools import chain
from typing import Final, NamedTuple

from .labels import METHODS, OTHER, OVERFLOW, SCHEMES, UNMATCHED, WEBSOCKET

Key = tuple[str, ...]
"""The label values that tell one row from the others of its kind."""

OTEL_METHOD: Final = "http_request_method"
OTEL_ROUTE: Final = "http_route"
OTEL_SCHEME: Final = "url_scheme"
"""What OpenTelemetry calls labels that rows may have: see `families.otel`."""


class Unit(Enum):
    """What a cell holds, which decides what becomes of it among workers."""

    COUNT = "count"
    """A whole number that only grows. Adds up over all workers, dead ones included."""
    SECONDS = "seconds"
    """A sum of seconds. Adds up as a count does, rounded down so that the sum is exact."""
    GAUGE = "gauge"
    """What is the case now. Adds up over the living workers only."""
    TOTAL = "total"
    """Any number that only grows, in two cells: the number, and what of an exact sum did not fit in there. Adds up over
    all workers, exactly, so that no order of theirs makes it a bit less."""
    LARGEST = "largest"
    """What several workers may say alike: what is farthest from zero counts, and once. The dead are asked too."""
    STATE = "state"
    """A part of what a worker says of a gauge of the application. See `own_metrics.merging`."""
    EACH = "each"
    """What a worker says of itself alone: nothing adds up. Each of the living is asked."""

    @property
    def moves(self) -> bool:
        """Whether what a worker says comes along when it takes new cells: the rest counts where it is."""
        return self in (Unit.GAUGE, Unit.LARGEST, Unit.STATE, Unit.EACH)


class Field(NamedTuple):
    """One number of a row, or several that belong together."""

    name: str
    unit: Unit = Unit.COUNT
    width: int = 1
    """How many cells it takes."""
    bounds: tuple[float, ...] = ()
    """The upper bounds of its cells, where they are the buckets of a histogram; +Inf is implied."""
    is_coded: bool = False
    """Whether each cell counts one code (an HTTP status). A row's first codes take cells from the last one down, so
    that the first code lies next to the field behind; the first cell counts all other codes."""
    is_classed: bool = False
    """Whether the codes are classes of statuses, from `labels.status_class`."""
    slots: int = 1
    """How many times the field is there in a row, one behind the other: for one status or class of statuses each."""

    @property
    def slot_width(self) -> int:
        """Return how many cells one slot takes."""
        return self.width // self.slots


class Kind:
    """One kind of row.

    Args:
        name: What the log of the workers calls it.
        labels: What the parts of its key are called.
        fields: The fields of each row, in the order of their cells. At most one is coded.
        capacity: How many rows there can be, sentinels included. Declared routes may raise it.
        sentinels: Keys whose rows are always there.
        fallback: Returns the key that counts in place of one that finds no room. Asked again and again, it comes to a
            sentinel. Only kinds whose rows are all sentinels need none.
        reserves: Returns the keys that a declared route reserves, each once, given the route and its methods; none for
            methods of another kind.
        is_quiet: Whether rows are shown only once they have counted something, even if all of them are sentinels.
        is_shared: Whether there are rows among workers only, and none in a table that is alone.
        most_values: Of each label how many values it may have, those that come first; 0 where something else bounds
            them. By default nothing else does so.
    """

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        fields: Sequence[Field],
        capacity: int,
        sentinels: Sequence[Key],
        fallback: Callable[[Key], Key] | None = None,
        reserves: Callable[[str, Collection[str]], list[Key]] | None = None,
        is_quiet: bool = False,
        is_shared: bool = False,
        most_values: Sequence[int] = (),
    ) -> None:
        self.most_values: tuple[int, ...] = tuple(most_values)
        self.is_shared = is_shared
        self.is_closed: bool = reserves is None and capacity <= len(sentinels)
        """Whether the sentinels are all rows that there can be."""
        if fallback is None and not self.is_closed:
            raise ValueError(f"Kind({name!r}): needs a fallback, since its rows can run out")
        self.name = name
        self.labels = labels
        self.fields: tuple[Field, ...] = tuple(fields)
        self.capacity: int = max(capacity, len(sentinels))
        self.sentinels: frozenset[Key] = frozenset(sentinels)
        self.in_order: tuple[Key, ...] = tuple(sentinels)
        self.fallback: Callable[[Key], Key] = fallback or (lambda key: key)
        self.reserves = reserves
        self.is_quiet: bool = is_quiet or not self.is_closed
        self.width: int = sum(field.width for field in fields)
        starts = (sum(field.width for field in fields[:n]) for n in range(len(fields)))
        self.offsets: dict[str, int] = {field.name: start for field, start in zip(fields, starts, strict=True)}
        """Where in a row each field begins."""
        self.is_by_method: bool = labels[:1] in (("method",), (OTEL_METHOD,))
        """Whether the key begins with a method, whose lock its rows have."""
        self.coded: Field | None = next((field for field in fields if field.is_coded), None)
        self.slots: int = max((field.slots for field in fields), default=1)
        """How many slots each field has that is there once for each status, or class of statuses."""
        self.has_code_slots: bool = self.coded is not None and self.slots == self.coded.width
        """Whether these slots lie beside the cells of the codes. Else their number is that of a class of statuses."""

    def keys(self, route: str, methods: Collection[str]) -> list[Key]:
        """Return the keys that a declared route reserves, given its methods."""
        return [] if self.reserves is None else self.reserves(route, methods)

    def field(self, name: str) -> Field:
        """Return the field of a name."""
        return next(field for field in self.fields if field.name == name)

    def cells(self, *units: Unit) -> list[int]:
        """Return where in a row the cells of these units are."""
        return [
            self.offsets[field.name] + n for field in self.fields if field.unit in units for n in range(field.width)
        ]


class Extent(NamedTuple):
    """Which cells count by now, of all that a file of cells has room for.

    They are read as one vector: the used rows of each kind, one kind after the other.
    """

    size: int
    """Cells of the whole file."""
    spans: tuple[tuple[int, int], ...]
    """The first cell and the number of cells of each kind."""
    seconds: tuple[slice, ...]
    """Which cells of the vector are seconds."""
    gauges: tuple[slice, ...]
    """Which cells of the vector only the living say: gauges, and what each says of itself."""
    own: tuple[int, int]
    """Where in the vector the rows of the application's own metrics begin: those that add up, and those that do not."""
    modes: Sequence[str]
    """How each row of the latter merges, see `own_metrics.merging`."""
    each: tuple[slice, ...] = ()
    """Which cells of the vector each worker says of itself."""

    def split(self, vector: Sequence[float]) -> list[Sequence[float]]:
        """Return the vector's part of each kind."""
        parts, start = [], 0
        for _, length in self.spans:
            parts.append(vector[start : start + length])
            start += length
        return parts


def extent(regions: Iterable[tuple[Kind, int, int]], modes: Sequence[str] = ()) -> Extent:
    """Return where the used rows of each kind are, given each kind with its capacity and how many rows are used."""
    spans: list[tuple[int, int]] = []
    found: dict[Unit, list[slice]] = {Unit.SECONDS: [], Unit.GAUGE: [], Unit.EACH: []}
    own = []
    first = start = 0
    for kind, capacity, used in regions:
        length = used * kind.width
        if kind.is_shared:
            own.append(start)
        for unit, slices in found.items():
            slices += [slice(start + cell, start + length, kind.width) for cell in kind.cells(unit)]
        spans.append((first, length))
        first += capacity * kind.width
        start += length
    sums, states = own or (start, start)
    seconds, gauges, each = map(tuple, found.values())
    return Extent(first, tuple(spans), seconds, gauges + each, (sums, states), modes, each)


NOTHING: Final = extent(())


def mark(kinds: Iterable[Kind]) -> str:
    """Return what tells tables apart whose cells mean different things: their workers cannot be one group."""
    return repr(
        [(kind.name, kind.labels, kind.fields, kind.capacity, kind.in_order, kind.most_values) for kind in kinds]
    )


SUM_CELLS: Final = 4
STATE_CELLS: Final = 4
"""Of a number of the application that adds up, `own_metrics.merging.Sum`, and of any other, `State`."""

STATUS_CELLS: Final = 16
"""Statuses that a row of requests tells apart: its first 15 codes, then `_OTHER`."""

CLASS_CELLS: Final = 6
"""Classes of statuses, `1xx` to `5xx`, and `_OTHER`."""

EXCEPTION_ROWS: Final = 257
"""Pairs of (route, exception class) that are told apart, 256, and one row for the rest."""

SENTINEL_ROUTES: Final = (UNMATCHED, OVERFLOW)

SOCKET_ROUTES: Final = 32
"""Routes of WebSockets that are told apart. More are, if more are declared."""

STREAM_ROWS: Final = 128
"""Label sets of event streams that are told apart. None is reserved: only a route that sends one takes one."""

LIFETIME_BOUNDS: Final = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the buckets for how long a WebSocket or an event stream lasts: from a reply in pieces to a day."""

FLIGHT: Final = "flight"
WORKER: Final = "worker"
CAPACITY: Final = "capacity"
"""The kinds of what is in flight: by route, of each worker, and how many requests the workers can serve at a time."""

OWN_SUM: Final = "own_sum"
OWN_STATE: Final = "own_state"
"""The kinds of the application's own metrics: a row for each number that adds up, and one for each other."""

UNTOLD: Final = ("",)
"""In whose place no row of the application is: what finds no room stays in the worker's memory."""

_LIFETIME: Final = (
    Field("seconds", Unit.SECONDS),
    Field("buckets", width=len(LIFETIME_BOUNDS) + 1, bounds=LIFETIME_BOUNDS),
)
_MESSAGES: Final = tuple(
    Field(f"{direction}_{number}") for direction in ("received", "sent") for number in ("messages", "bytes")
)
_METHOD_SENTINELS: Final = [(method, route) for method in METHODS for route in SENTINEL_ROUTES]
_STREAMS: Final = Kind("streams", (), [Field("in_progress", Unit.GAUGE)], capacity=1, sentinels=[()])
_STREAM: Final = Kind(
    "stream",
    ("method", "route"),
    [Field("begun"), *_LIFETIME],
    capacity=STREAM_ROWS + len(_METHOD_SENTINELS),
    sentinels=_METHOD_SENTINELS,
    fallback=lambda key: (key[0], OVERFLOW),
)
_FLIGHTS_BY_SCHEME: Final = Kind(
    FLIGHT,
    (OTEL_METHOD, OTEL_SCHEME),
    [Field("begun"), Field("in_progress", Unit.GAUGE)],
    capacity=len(METHODS) * len(SCHEMES),
    sentinels=[(method, scheme) for method in METHODS for scheme in SCHEMES],
    is_quiet=True,
)
_WORKER: Final = Kind(WORKER, (), [Field("oldest", Unit.EACH), Field("busy", Unit.GAUGE)], capacity=1, sentinels=[()])
_CAPACITY: Final = Kind(CAPACITY, (), [Field("slots", Unit.GAUGE)], capacity=1, sentinels=[()], is_quiet=True)


class CustomLabel(NamedTuple):
    """A label of the user's own on the rows of requests."""

    name: str
    default: str
    """The value where there is no other one, or no room for it. Rows are reserved with it."""
    most_values: int
    """How many values it may have, those that come first; 0 where they are listed, or there is only the default."""
    families: Collection[str] | None
    """The families that show it. The others show the sum over its values. `None`: requests, errors and durations."""


class Objective(NamedTuple):
    """What is aimed at. It is shown beside what is counted, and changes nothing of it."""

    name: str
    """`availability` or `latency`."""
    threshold: float
    """The share of requests that must not fail, or the seconds within which they must be answered."""
    ratio: float
    """The share of requests that must keep it."""


class Choices(NamedTuple):
    """What the options ask to be counted, which decides the cells of the rows and the families that show them."""

    bounds: tuple[float, ...]
    """Upper bounds of the latency buckets, in seconds, without +Inf."""
    max_label_sets: int
    """How many label sets of requests there can be at least."""
    first_byte: bool = False
    """Whether the time to the first byte is counted."""
    event_streams: bool = False
    """Whether event streams are."""
    websocket_messages: bool = False
    """Whether the messages of WebSockets are, and their bytes."""
    own_series: int = 0
    """How many series of the application's own metrics are shared with other workers."""
    labels: tuple[CustomLabel, ...] = ()
    """In the order of their values in a key."""
    size_bounds: tuple[float, ...] = ()
    """Upper bounds of the buckets for the sizes of bodies, in bytes; empty where no sizes are counted."""
    duration_status: str | None = None
    """`class` or `code`, if durations are told apart by it."""
    status_classes: bool = False
    """Whether requests are counted by class of status."""
    objectives: tuple[Objective, ...] = ()
    """What the numbers aim at."""
    in_progress_by_route: bool = False
    """Whether the requests in progress are told apart by route."""
    saturation: bool = False
    """Whether it is told how busy the workers are."""
    is_otel: bool = False
    """Whether the labels have OpenTelemetry's names."""

    @property
    def request_labels(self) -> Key:
        """Return what the label of the method, and that of the route, are called."""
        return (OTEL_METHOD, OTEL_ROUTE) if self.is_otel else ("method", "route")


def layout(choices: Choices) -> tuple[Kind, ...]:
    """Return the kinds of row of a table, in the order of their regions."""
    return (
        *([_STREAMS, _STREAM] if choices.event_streams else []),
        *([_WORKER, _CAPACITY] if choices.saturation else []),
        *([_of_flights(choices.max_label_sets)] if choices.in_progress_by_route else []),
        *([_FLIGHTS_BY_SCHEME] if choices.is_otel else []),
        Kind(
            "own",
            (),
            [Field("faults"), Field("scrapes"), Field("scrape_seconds", Unit.SECONDS)],
            capacity=1,
            sentinels=[()],
        ),
        Kind(
            "method",
            ("method",),
            [Field("in_progress", Unit.GAUGE)],
            capacity=len(METHODS),
            sentinels=[(method,) for method in METHODS],
        ),
        Kind(
            "exception",
            ("route", "exception"),
            [Field("raised")],
            capacity=EXCEPTION_ROWS,
            sentinels=[(OVERFLOW, OTHER)],
            fallback=lambda key: (OVERFLOW, OTHER),
        ),
        Kind(
            "socket",
            (),
            [Field("in_progress", Unit.GAUGE), Field("handshakes")],
            capacity=1,
            sentinels=[()],
            is_quiet=True,
        ),
        _of_sockets("handshake", [Field("status", width=STATUS_CELLS, is_coded=True), Field("errors")]),
        _of_sockets(
            "connection",
            [
                Field("close_code", width=STATUS_CELLS, is_coded=True),
                *_LIFETIME,
                *(_MESSAGES if choices.websocket_messages else ()),
            ],
        ),
        _of_requests(choices),
        *(_of_application(choices.own_series) if choices.own_series else ()),
    )


def _of_flights(max_label_sets: int) -> Kind:
    """Return the kind of the rows of requests in progress: shown from the first one on, be there any now or not."""
    return Kind(
        FLIGHT,
        ("method", "route"),
        [Field("begun"), Field("in_progress", Unit.GAUGE)],
        capacity=max_label_sets,
        sentinels=_METHOD_SENTINELS,
        fallback=lambda key: (key[0], OVERFLOW),
        reserves=lambda route, methods: [(method, route) for method in methods if method != WEBSOCKET],
    )


def _of_requests(choices: Choices) -> Kind:
    """Return the kind of the rows that most requests add to."""
    bounds, sizes = choices.bounds, choices.size_bounds
    codes = CLASS_CELLS if choices.status_classes else STATUS_CELLS
    slots = {None: 1, "class": CLASS_CELLS, "code": codes}[choices.duration_status]
    fields = [  # what a common request adds to lies side by side: its status, the sum of seconds, the first bucket
        Field("status", width=codes, is_coded=True, is_classed=choices.status_classes),
        Field("seconds", Unit.SECONDS, width=slots, slots=slots),
        Field("buckets", width=(len(bounds) + 1) * slots, bounds=bounds, slots=slots),
        Field("errors"),
        Field("disconnects"),
    ]
    if choices.first_byte:
        fields += [
            Field("first_byte_seconds", Unit.SECONDS),
            Field("first_byte_buckets", width=len(bounds) + 1, bounds=bounds),
        ]
    for size in ("request_size", "response_size") if sizes else ():
        fields += [Field(f"{size}_bytes"), Field(f"{size}_buckets", width=len(sizes) + 1, bounds=sizes)]
    defaults = tuple(label.default for label in choices.labels)
    failed = (*defaults[:-1], OTHER) if choices.is_otel else ()

    def of_failures(route: str) -> list[Key]:
        # By OpenTelemetry's error type, the last label, what failed is told from what did not, also where the others
        # find no room. There is one such row for a route: one for each method would take half of the free rows away.
        return [(OTHER, route, *failed)] if failed else []

    def reserves(route: str, methods: Collection[str]) -> list[Key]:
        found = [(method, route, *defaults) for method in methods if method != WEBSOCKET]
        return [*found, *of_failures(route)] if found else []

    def fallback(key: Key) -> Key:
        if failed and key[-1]:
            kept = (OTHER, key[1], *failed)
            return kept if key != kept else (OTHER, OVERFLOW, *failed)
        return (*(key[:2] if key[2:] != defaults else (key[0], OVERFLOW)), *defaults)

    return Kind(
        "http",
        (*choices.request_labels, *(label.name for label in choices.labels)),
        fields,
        capacity=choices.max_label_sets,
        sentinels=[
            *((*key, *defaults) for key in _METHOD_SENTINELS),
            *chain.from_iterable(map(of_failures, SENTINEL_ROUTES)),
        ],
        fallback=fallback,
        reserves=reserves,
        most_values=(0, 0, *(label.most_values for label in choices.labels)) if choices.labels else (),
    )


def _of_application(limit: int) -> Iterable[Kind]:
    """Yield the kinds of the application's own metrics. They are the last ones: `Extent.own` says where they begin."""
    fields = {
        OWN_SUM: [Field("total", Unit.TOTAL, width=2), Field("shared", Unit.LARGEST, width=SUM_CELLS - 2)],
        OWN_STATE: [Field("state", Unit.STATE, width=STATE_CELLS)],
    }
    for name, cells in fields.items():
        yield Kind(
            name,
            ("family", "type", "labels"),
            cells,
            capacity=limit + 1,
            sentinels=[UNTOLD],
            fallback=lambda key: UNTOLD,
            is_shared=True,
        )


def _of_sockets(name: str, fields: Sequence[Field]) -> Kind:
    """Return a kind of row of which there is one for each route of WebSockets."""
    return Kind(
        name,
        ("route",),
        fields,
        capacity=SOCKET_ROUTES + len(SENTINEL_ROUTES),
        sentinels=[(route,) for route in SENTINEL_ROUTES],
        fallback=lambda key: (OVERFLOW,),
        reserves=lambda route, methods: [(route,)] if WEBSOCKET in methods else [],
    )
