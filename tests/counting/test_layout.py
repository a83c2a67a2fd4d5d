"""The layout is data: a new field, a new kind of row and their families are declared, and all the rest follows.

The kinds and families below stand in this file only. Nothing in the package knows of them.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from red_middleware import RedMetrics
from red_middleware.counting.labels import OVERFLOW, UNMATCHED
from red_middleware.counting.layout import Choices, Field, Key, Kind, Unit, extent, layout, mark
from red_middleware.counting.rows import Row
from red_middleware.counting.table import Table
from red_middleware.exposition.formats.text import Text, openmetrics_metadata, text_metadata
from red_middleware.families import FAMILIES, Family, samples
from red_middleware.metrics import recorder_of
from red_middleware.options import Options
from red_middleware.recorder import Recorder
from red_middleware.workers import Identity, State
from red_middleware.workers.carry import carry
from red_middleware.workers.cells import GRAIN_SECONDS

from ..counts import BESIDE_ROWS
from ..drive import Clock

BOUNDS = (1.0, 10.0)
SENTINELS = 22
CLOSE_CODES = 4
"""Codes that a connection's row tells apart, `_OTHER` among them."""


def with_first_byte(kind: Kind) -> Kind:
    """Return the kind of requests with an optional histogram."""
    fields = [Field("first_byte", width=3, bounds=(0.5, 5.0)), Field("first_byte_seconds", Unit.SECONDS)]
    fields = [*kind.fields, *fields]
    return Kind(kind.name, kind.labels, fields, kind.capacity, kind.in_order, kind.fallback, kind.reserves)


def session(capacity: int = 5) -> Kind:
    """Return a kind of row with another key, another width, and all units."""
    return Kind(
        "session",
        ("route",),
        [
            Field("closed", width=CLOSE_CODES, is_coded=True),
            Field("open", Unit.GAUGE),
            Field("seconds", Unit.SECONDS),
        ],
        capacity,
        sentinels=[(UNMATCHED,), (OVERFLOW,)],
        fallback=lambda key: (OVERFLOW,),
        reserves=lambda route, methods: [(route,)],
    )


def kinds(max_label_sets: int = 30) -> tuple[Kind, ...]:
    """Return the layout with both."""
    *others, http = layout(Choices(BOUNDS, max_label_sets))
    return (*others, with_first_byte(http), session())


FIRST_BYTE = Family(
    "http_time_to_first_byte_seconds", "histogram", "Time to the first byte of a body, in seconds.",
    kind="http", fields=("first_byte", "first_byte_seconds"),
)  # fmt: skip
CLOSED = Family(
    "session_connections_total", "counter", "Connections that were accepted and have ended.",
    kind="session", fields=("closed",), code_label="close_code", is_sparse=True,
)  # fmt: skip
SECONDS = Family(
    "session_seconds_total", "counter", "Seconds that ended connections were open.",
    kind="session", fields=("seconds",),
)  # fmt: skip
OPEN = Family(
    "session_connections_in_progress", "gauge", "Connections that are open now.",
    kind="session", fields=("open",),
)  # fmt: skip
ALL = (FIRST_BYTE, *FAMILIES, CLOSED, SECONDS, OPEN)


def options(base: Path | None = None) -> Options:
    """Return options; with a directory, those of a worker of a group."""
    metrics = RedMetrics(
        registry=CollectorRegistry(),
        buckets=BOUNDS,
        max_label_sets=30,
        multiprocess_dir=None if base is None else str(base),
        multiprocess_name=None if base is None else "chat",
        own_series_limit=10,
        clock=Clock(),
    )
    return recorder_of(metrics).options


class Worker:
    """A recorder of the wider layout, and what counts in it."""

    def __init__(self, base: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self.recorder = Recorder(options(base), self.registry, kinds=kinds(), families=ALL)
        self.recorder.begin({})
        assert self.recorder.membership.state is (State.ALONE if base is None else State.JOINED)

    @property
    def table(self) -> Table:
        return self.recorder.table

    def connection(self, route: str) -> Row:
        """Look up the row of a route's connections."""
        return self.table.admit(self.table.regions["session"], (route,))

    def open(self, route: str, connections: int = 1) -> None:
        """Count connections that are open now."""
        self.table.add(self.connection(route), "open", connections)

    def close(self, route: str, code: int, seconds: float = 0.0) -> None:
        """Count a connection that has ended."""
        row = self.connection(route)
        cells = self.table.regions["session"].cells
        cells[self.table.code_cell(row, code)] += 1.0
        self.table.add(row, "seconds", seconds)

    def first_byte(self, route: str, seconds: float) -> None:
        """Count a request by its first byte alone."""
        row = self.table.row(self.table.methods["GET"], route)
        self.table.add(row, "first_byte")
        self.table.add(row, "first_byte_seconds", seconds)

    def shown(self, *families: Family) -> dict[tuple[str, ...], float]:
        """Return the samples of some families by what follows the family's name, and the values of their labels."""
        found = samples(ALL, self.recorder.kinds, self.recorder.read())
        return {
            (sample.suffix, *sample.labels.values()): sample.value for family in families for sample in found[family]
        }


class Slow(Collector):
    """The families of a recorder as any prometheus_client writer gets them."""

    def __init__(self, found: Mapping[Family, Iterable[tuple[str, Mapping[str, str], float]]]) -> None:
        self.found = found

    def collect(self) -> Iterable[Metric]:
        for family, found in self.found.items():
            metric = Metric(family.name.removesuffix("_total"), family.help, family.type)
            for suffix, labels, value in found:
                metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric


def test_the_bound_follows() -> None:
    """Rows x what each can show, kind by kind: of the plain layout the formula, and what the new fields add to it."""
    plain = Recorder(options(), CollectorRegistry()).bound()
    wider = Recorder(options(), CollectorRegistry(), kinds=kinds(), families=ALL).bound()
    assert plain.series == 30 * (2 + 21) + BESIDE_ROWS
    assert wider.rows == plain.rows == 30
    assert wider.series - plain.series == 30 * (3 + 2) + 5 * (CLOSE_CODES + 1 + 1)
    assert wider.cells - plain.cells == 30 * (3 + 1) + 5 * (CLOSE_CODES + 1 + 1)


def test_a_full_table_shows_as_much_as_the_bound_says() -> None:
    """Every row of every kind with all its codes: not one series more, not one less."""
    worker = Worker()
    table = worker.table
    for n in range(100):
        table.row(table.methods["GET"], f"/{n}")
        worker.connection(f"/{n}")
        for kind in "EFG":
            table.count_exception("/", f"{kind}{n}")
        for kind in ("handshake", "connection"):
            table.admit(table.regions[kind], (f"/{n}",))
    worker.connection(UNMATCHED)
    for kind in ("handshake", "connection"):
        table.admit(table.regions[kind], (UNMATCHED,))
    for method in table.methods.values():
        for route in (None, "/" + "x" * 300):
            table.row(method, route)
    for region in table.regions.values():
        assert len(region.rows) == region.capacity
        for row in region.rows if region.kind.coded else ():
            for code in range(1000, 1020):
                table.code_cell(row, code)
        region.cells[:] = [1.0] * len(region.cells)
    found = samples(ALL, worker.recorder.kinds, worker.recorder.read())
    assert sum(map(len, found.values())) == worker.recorder.bound().series


def test_declared_routes_reserve_rows_of_each_kind_with_a_key_for_them() -> None:
    """One for each key that the kind makes of the methods of a route; both capacities are raised."""
    worker = Worker()
    worker.recorder.declare([(f"/{n}", ["GET", "POST"]) for n in range(10)])
    regions = worker.table.regions
    assert regions["http"].capacity == SENTINELS + 20
    assert regions["session"].capacity == 2 + 10
    for n in range(100):
        worker.open(f"/scan{n}")
    assert {worker.connection(f"/{n}").key for n in range(10)} == {(f"/{n}",) for n in range(10)}
    assert worker.shown(OPEN) == {("", OVERFLOW): 100.0}


def test_the_samples_follow() -> None:
    """Codes in order of their coming, seconds, gauges and a second histogram, with the labels of their kind."""
    worker = Worker()
    worker.open("/chat", 3)
    for code in (1000, 1001, 1000, 4000, 4001, 4002):
        worker.close("/chat", code, seconds=0.25)
    worker.first_byte("/a", 0.125)
    assert worker.shown(CLOSED) == {
        ("", "/chat", "1000"): 2.0,
        ("", "/chat", "1001"): 1.0,
        ("", "/chat", "4000"): 1.0,
        ("", "/chat", "_OTHER"): 2.0,
    }
    assert worker.shown(SECONDS) == {("", "/chat"): 1.5}
    assert worker.shown(OPEN) == {("", "/chat"): 3.0}
    assert worker.shown(FIRST_BYTE) == {
        ("_bucket", "GET", "/a", "0.5"): 1.0,
        ("_bucket", "GET", "/a", "5.0"): 1.0,
        ("_bucket", "GET", "/a", "+Inf"): 1.0,
        ("_count", "GET", "/a"): 1.0,
        ("_sum", "GET", "/a"): 0.125,
    }


def test_the_text_follows() -> None:
    """To the byte what prometheus_client writes of the samples, seconds with their fraction among them."""
    worker = Worker()
    worker.open("/chat", 3)
    worker.close("/chat", 1000, seconds=1 / 3)
    worker.close('/"quoted"\n%d', 4000, seconds=1e-9)
    worker.first_byte("/a", 2 / 7)
    recorder = worker.recorder
    text = Text(recorder.families, recorder.names, recorder.kinds)
    for _ in range(2):  # formatted anew, and as it was kept
        reading = recorder.read()
        slow = CollectorRegistry()
        slow.register(Slow(samples(ALL, recorder.kinds, reading)))
        assert b"".join(text.render(reading, text_metadata)) == generate_latest(slow)
        theirs: bytes = openmetrics.generate_latest(slow)  # type: ignore[no-untyped-call]  # no annotations
        assert b"".join([*text.render(reading, openmetrics_metadata), b"# EOF\n"]) == theirs
        worker.close("/chat", 4001, seconds=1 / 7)


def test_clear_follows() -> None:
    """All that was counted is zero; what is the case now stays."""
    worker = Worker()
    worker.open("/chat")
    worker.close("/chat", 1000, seconds=1.5)
    worker.first_byte("/a", 0.5)
    worker.table.clear()
    assert worker.shown(CLOSED, SECONDS, FIRST_BYTE, OPEN) == {("", "/chat"): 1.0}
    assert worker.shown(SECONDS) == {("", "/chat"): 0.0}


def test_carrying_follows() -> None:
    """Codes by their meaning, counts and seconds by their place; gauges stay where they began."""
    old, new = Worker(), Worker()
    for code in (1000, 1001, 1000):
        old.close("/chat", code, seconds=0.25)
    old.open("/chat", 2)
    old.first_byte("/a", 0.125)
    new.close("/other", 1001)
    new.close("/chat", 1001)  # the other way round than in the old table
    for _ in range(2):  # what is carried once is carried
        carry(old.table, new.table)
        assert new.shown(CLOSED) == {
            ("", "/other", "1001"): 1.0,
            ("", "/chat", "1000"): 2.0,
            ("", "/chat", "1001"): 2.0,
        }
        assert new.shown(SECONDS) == {("", "/other"): 0.0, ("", "/chat"): 0.75}
        assert new.shown(OPEN) == {("", "/other"): 0.0, ("", "/chat"): 0.0}
        assert new.shown(FIRST_BYTE)["_sum", "GET", "/a"] == 0.125
        assert old.shown(CLOSED, FIRST_BYTE) == {}
        assert old.shown(OPEN) == {("", "/chat"): 2.0}


def test_merging_among_workers_follows(tmp_path: Path) -> None:
    """Rows of every kind have one number in all workers, and either shows the sums of both."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    one.close("/chat", 1000)
    other.close("/feed", 1001)
    other.close("/chat", 1001)
    one.close("/chat", 1001)
    one.open("/chat", 2)
    other.open("/chat", 3)
    one.first_byte("/a", 0.25)
    other.first_byte("/a", 0.5)
    for worker in (one, other):
        assert worker.shown(CLOSED) == {
            ("", "/chat", "1000"): 1.0,
            ("", "/chat", "1001"): 2.0,
            ("", "/feed", "1001"): 1.0,
        }
        assert worker.shown(OPEN) == {("", "/chat"): 5.0, ("", "/feed"): 0.0}
        assert worker.shown(FIRST_BYTE)["_count", "GET", "/a"] == 2.0
        assert worker.shown(FIRST_BYTE)["_sum", "GET", "/a"] == 0.75
    assert one.recorder.bound() == other.recorder.bound()


def test_the_dead_leave_their_counts_and_not_their_gauges(tmp_path: Path) -> None:
    """In every kind of row: a connection ends with the process that has it, one that has ended was counted."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    one.open("/chat", 2)
    other.open("/chat", 3)
    other.close("/chat", 1000, seconds=0.5)
    assert one.shown(OPEN) == {("", "/chat"): 5.0}
    member = other.recorder.membership.member
    assert member is not None
    member.abandon()  # as the kernel does for a process that is killed
    for _ in range(2):  # when it is folded into the file of the dead, and read from there
        assert one.shown(OPEN) == {("", "/chat"): 2.0}
        assert one.shown(CLOSED) == {("", "/chat", "1000"): 1.0}
        assert one.shown(SECONDS) == {("", "/chat"): 0.5}


def test_seconds_of_every_kind_are_added_up_in_grains(tmp_path: Path) -> None:
    """So a sum is exact in any order, and never falls when a worker is folded; no other cell is rounded."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    for worker, seconds in ((one, 1 / 3), (other, 2 / 7)):
        worker.close("/chat", 1000, seconds=seconds)
        worker.first_byte("/a", seconds)
        worker.table.add(worker.connection("/chat"), "open", 1 / 3)  # no whole number, to tell it from seconds
    expected = sum(math.floor(seconds / GRAIN_SECONDS) * GRAIN_SECONDS for seconds in (1 / 3, 2 / 7))
    assert expected != 1 / 3 + 2 / 7
    assert one.shown(OPEN) == {("", "/chat"): 1 / 3 + 1 / 3}
    for dies in (True, False):
        assert one.shown(SECONDS) == {("", "/chat"): expected}
        assert one.shown(FIRST_BYTE)["_sum", "GET", "/a"] == expected
        member = other.recorder.membership.member
        if dies and member is not None:
            member.abandon()


def test_gauges_of_every_kind_are_in_the_cells_that_a_worker_takes_anew(tmp_path: Path) -> None:
    """A worker that was taken for dead comes back: its open connections are open still."""
    worker, other = Worker(tmp_path), Worker(tmp_path)
    worker.open("/chat", 3)
    member = worker.recorder.membership.member
    assert member is not None
    member.directory.unlink(member.file.name)
    assert worker.shown(OPEN) == other.shown(OPEN) == {("", "/chat"): 3.0}
    worker.open("/chat", -2)
    assert worker.shown(OPEN) == other.shown(OPEN) == {("", "/chat"): 1.0}


def test_a_child_of_a_fork_begins_with_the_index_alone() -> None:
    """Rows of every kind are known, and all their cells are zero, gauges among them."""
    worker = Worker()
    worker.open("/chat", 2)
    worker.close("/chat", 1000, seconds=1.5)
    row = worker.connection("/chat")
    worker.table.restart()
    assert worker.connection("/chat") is row
    assert row.codes == (1000,)
    assert not any(worker.table.regions["session"].cells)


def test_what_tells_tables_apart_follows() -> None:
    """Workers of unlike layout are no group: any difference of labels, fields, rows and sentinels tells."""
    *others, http, chat = kinds()
    same = mark(kinds())
    assert mark([*others, http, chat]) == same
    unlike = [
        mark(layout(Choices(BOUNDS, 30))),
        mark([*others, http]),
        mark([*layout(Choices(BOUNDS, 30)), chat]),
        mark([*others, http, session(capacity=6)]),
        mark([*others, chat, http]),
        mark(kinds(max_label_sets=31)),
    ]
    as_counts = [field._replace(unit=Unit.COUNT) for field in chat.fields]
    for changed in (
        Kind("chat", chat.labels, chat.fields, 5, chat.in_order, chat.fallback),
        Kind("session", ("path",), chat.fields, 5, chat.in_order, chat.fallback),
        Kind("session", chat.labels, chat.fields[::-1], 5, chat.in_order, chat.fallback),
        Kind("session", chat.labels, as_counts, 5, chat.in_order, chat.fallback),
        Kind("session", chat.labels, chat.fields, 5, [(UNMATCHED,)], chat.fallback),
    ):
        unlike.append(mark([*others, http, changed]))
    assert len({same, *unlike}) == 1 + len(unlike)


def test_workers_of_unlike_layout_are_two_groups(tmp_path: Path) -> None:
    """The name of a group is made of the layout's mark, as `RedMetrics` passes it on."""
    wide = Worker(tmp_path)
    plain = Recorder(options(tmp_path), CollectorRegistry())
    plain.membership.identity = Identity("", mark(plain.kinds))
    plain.begin({})
    assert plain.membership.state is State.JOINED
    assert plain.read().workers == wide.recorder.read().workers == 1


@pytest.mark.parametrize("used", [(0, 0), (1, 2), (3, 1)])
def test_the_extent_says_which_cells_of_which_unit_count(used: tuple[int, int]) -> None:
    """Every cell of a used row is in one span; seconds and gauges are found by their place in the whole vector."""
    small = Kind("a", ("x",), [Field("n"), Field("s", Unit.SECONDS), Field("g", Unit.GAUGE, width=2)], 3, [], tuple)
    large = Kind("b", (), [Field("g", Unit.GAUGE), Field("s", Unit.SECONDS)], 4, [], tuple)
    found = extent([(small, 3, used[0]), (large, 4, used[1])])
    units = ["n", "s", "g", "g"] * used[0] + ["g", "s"] * used[1]
    vector = list(range(len(units)))
    assert found.size == 3 * 4 + 4 * 2
    assert found.spans == ((0, 4 * used[0]), (12, 2 * used[1]))
    assert [len(part) for part in found.split([float(n) for n in vector])] == [4 * used[0], 2 * used[1]]
    for unit, slices in (("s", found.seconds), ("g", found.gauges)):
        assert sorted(n for part in slices for n in vector[part]) == [n for n in vector if units[n] == unit]


def test_a_kind_says_where_its_fields_are() -> None:
    """One after the other, in their order; the coded one is known."""
    kind = session()
    assert kind.width == CLOSE_CODES + 2
    assert kind.offsets == {"closed": 0, "open": CLOSE_CODES, "seconds": CLOSE_CODES + 1}
    assert kind.coded is kind.field("closed")
    assert kind.cells(Unit.GAUGE, Unit.SECONDS) == [CLOSE_CODES, CLOSE_CODES + 1]
    keys: list[Key] = kind.keys("/chat", ["GET", "POST"])
    assert keys == [("/chat",)]


def test_a_kind_whose_rows_can_run_out_needs_a_fallback() -> None:
    """Else a key that finds no room would be looked for without end."""
    with pytest.raises(ValueError, match=r"Kind\('chat'\): needs a fallback"):
        Kind("chat", ("route",), [Field("opened")], capacity=2, sentinels=[("_overflow",)])
