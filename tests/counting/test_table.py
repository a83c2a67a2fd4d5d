"""The bounded table: admission, reservation, folding, conservation."""

import gc
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import ProcessCollector

from red_middleware.counting.labels import METHODS, OTHER, OVERFLOW, UNDECLARED_METHODS, UNMATCHED
from red_middleware.table import (
    EXCEPTION_PAIRS,
    EXCEPTIONS,
    FIXED_CELLS,
    IN_PROGRESS,
    SENTINEL_ROWS,
    STATUS_CELLS,
    Change,
    Row,
    Table,
)

from .threads import run_at_once


def row(table: Table, method: str, route: str | None) -> Row:
    """Look a row up as an exchange does."""
    entry = table.methods.get(method) or table.other
    return entry.rows.get(route) or table.row(entry, route)


def name(found: Row) -> tuple[str, str]:
    """Return a row's label set."""
    return found.method.label, found.route


def test_a_label_set_gets_one_row_and_keeps_it() -> None:
    """Rows are admitted once, numbered in order, and never move."""
    table = Table((1.0,), 100)
    first, second = row(table, "GET", "/a"), row(table, "POST", "/a")
    assert [name(first), name(second)] == [("GET", "/a"), ("POST", "/a")]
    assert (first.number, second.number) == (0, 1)
    assert row(table, "GET", "/a") is first
    assert row(table, "GET", "a") is first
    assert table.rows == [first, second]


def test_the_cells_of_rows_do_not_overlap() -> None:
    """Fixed cells, then one run a row: the codes backwards, the sum, buckets, errors, disconnects, `_OTHER`."""
    table = Table((1.0, 2.0), 100)
    taken: list[int] = list(range(table.size(0)))
    for n in range(3):
        found = row(table, "GET", f"/{n}")
        for code in range(200, 200 + STATUS_CELLS):
            table.status_cell(found, code)
        taken += reversed([found.statuses[code] for code in found.codes])
        taken += [found.seconds, *range(found.buckets, found.buckets + 3), found.errors, found.disconnects, found.other]
    assert taken == list(range(table.size(3)))


def test_what_finds_no_room_is_counted_as_overflow() -> None:
    """A full table folds the route, keeps the method, and remembers nothing of it."""
    table = Table((1.0,), SENTINEL_ROWS + 2)
    assert [row(table, "GET", f"/{n}").route for n in range(4)] == ["/0", "/1", OVERFLOW, OVERFLOW]
    assert name(row(table, "BREW", "/9")) == (OTHER, OVERFLOW)
    assert name(row(table, "GET", None)) == ("GET", UNMATCHED)
    assert set(table.methods["GET"].rows) == {"/0", "/1", None}


def test_declared_routes_have_their_rows_whatever_came_first() -> None:
    """Reservation comes before admission: scanners cannot eat the rows of real routes."""
    table = Table((1.0,), SENTINEL_ROWS + 3)
    table.declare([("/a", ["GET", "HEAD"])])
    for n in range(100):
        row(table, "GET", f"/scan{n}")
    assert name(row(table, "GET", "/a")) == ("GET", "/a")
    assert name(row(table, "HEAD", "/a")) == ("HEAD", "/a")
    assert table.used == SENTINEL_ROWS + 3 - SENTINEL_ROWS + 1  # one free row, two declared, one overflow


def test_the_first_declaration_raises_the_capacity_and_later_ones_do_not() -> None:
    """R is fixed when the routes are first known; late routes take what is free."""
    table = Table((1.0,), 30)
    assert table.declare([(f"/{n}", ["GET"]) for n in range(40)]) == 0
    assert table.capacity == table.reserved == SENTINEL_ROWS + 40
    assert table.free == 0
    assert table.declare([("/late", ["GET"])]) == 1
    assert table.capacity == SENTINEL_ROWS + 40
    assert row(table, "GET", "/late").route == OVERFLOW
    assert len(table.cells) >= table.size(table.capacity)


def test_routes_declared_later_take_free_rows() -> None:
    """As long as there are any, each is as safe as the first ones."""
    table = Table((1.0,), SENTINEL_ROWS + 3)
    table.declare([("/a", ["GET"])])
    assert table.declare([("/b", ["GET"]), ("/c", ["GET", "POST"])]) == 1
    assert (table.free, table.reserved) == (1, SENTINEL_ROWS + 2)
    row(table, "GET", "/scan")
    assert row(table, "GET", "/scan2").route == OVERFLOW
    assert row(table, "GET", "/b").route == "/b"


def test_a_method_declared_too_late_is_overflow_and_not_unmatched() -> None:
    """The route did match: only its row is missing."""
    table = Table((1.0,), 1)
    table.declare([("/f", ["GET"])])
    assert table.declare([("/f", ["POST"])]) == 1
    assert name(row(table, "POST", "/f")) == ("POST", OVERFLOW)
    assert name(row(table, "PUT", "/f")) == ("PUT", UNMATCHED)


def test_declaring_again_costs_nothing() -> None:
    """The same routes from a second mounting, or new methods of a known route."""
    table = Table((1.0,), SENTINEL_ROWS + 10)
    table.declare([("/a", ["GET"])])
    table.declare([("/a", ["GET"])])
    table.declare([("/a", ["GET", "POST"]), ("/a", ["POST"])])
    assert table.free == 8
    assert table.declared["/a"] == {"GET", "POST"}


def test_a_row_admitted_before_its_route_was_declared_is_not_paid_twice() -> None:
    """An undeclared row that turns out to be declared keeps the room that it has."""
    table = Table((1.0,), SENTINEL_ROWS + 10)
    before = row(table, "GET", "/a")
    table.declare([("/a", ["GET", "POST"])])
    assert table.free == 8
    assert row(table, "GET", "/a") is before


def test_a_route_without_methods_reserves_the_usual_ones_and_other() -> None:
    """A view that takes any method still makes a bounded number of rows."""
    table = Table((1.0,), 100)
    table.declare([("/any", None)])
    assert table.declared["/any"] == set(UNDECLARED_METHODS)
    assert name(row(table, "TRACE", "/any")) == (OTHER, "/any")
    assert name(row(table, "BREW", "/any")) == (OTHER, "/any")


def test_a_method_that_a_route_does_not_declare_is_unmatched() -> None:
    """Its own `_OTHER` row if it has one, else `_unmatched` under the method."""
    table = Table((1.0,), 100)
    table.declare([("/a", ["GET"]), ("/dav", ["PROPFIND"])])
    assert name(row(table, "POST", "/a")) == ("POST", UNMATCHED)
    assert name(row(table, "BREW", "/a")) == (OTHER, UNMATCHED)
    assert name(row(table, "PROPFIND", "/dav")) == (OTHER, "/dav")
    assert name(row(table, "GET", "/dav")) == (OTHER, "/dav")


def test_a_template_that_is_too_long_reserves_nothing() -> None:
    """It folds into `_overflow`, which has its rows already."""
    table = Table((1.0,), 100)
    table.declare([("/" + "a" * 300, ["GET"])])
    assert table.reserved == SENTINEL_ROWS
    assert name(row(table, "GET", "/" + "a" * 300)) == ("GET", OVERFLOW)


def test_an_alias_is_remembered_only_where_rows_bound_it() -> None:
    """Names that differ from their label, or fold, could be endless: they are looked up anew."""
    table = Table((1.0,), 100)
    for n in range(50):
        row(table, "GET", "/" + "x" * 300 + str(n))
        row(table, "GET", f"/\udce9{'?' * (n % 2)}")
    assert set(table.methods["GET"].rows) == set()


def test_a_row_tells_fifteen_codes_apart() -> None:
    """The sixteenth and later share `_OTHER`; reflected codes spoil only their row."""
    table = Table((1.0,), 100)
    found = row(table, "GET", "/a")
    cells = [table.status_cell(found, code) for code in range(200, 220)]
    assert len(set(cells[: STATUS_CELLS - 1])) == STATUS_CELLS - 1
    assert set(cells[STATUS_CELLS - 1 :]) == {found.other}
    assert table.status_cell(found, 200) == cells[0]
    assert found.codes == tuple(range(200, 215))
    assert table.status_cell(row(table, "GET", "/b"), 219) != found.other


def test_256_exceptions_are_told_apart() -> None:
    """Class names can be made at run time; the rest shares one cell."""
    table = Table((1.0,), 100)
    cells = [table.pair_cell("/a", f"E{n}") for n in range(EXCEPTION_PAIRS + 10)]
    assert cells[:EXCEPTION_PAIRS] == list(range(EXCEPTIONS, EXCEPTIONS + EXCEPTION_PAIRS))
    assert set(cells[EXCEPTION_PAIRS:]) == {EXCEPTIONS + EXCEPTION_PAIRS}
    assert table.pair_cell("/a", "E0") == cells[0]


def test_clear_keeps_the_index() -> None:
    """Numbers go to zero, rows stay where they are."""
    table = Table((1.0,), 100)
    found = row(table, "GET", "/a")
    table.add(found.errors)
    table.clear()
    assert not any(table.cells)
    assert row(table, "GET", "/a") is found


methods = st.sampled_from([*METHODS, "BREW", "get", ""])
routes = st.one_of(st.none(), st.text(max_size=4), st.sampled_from(["/a", "/b", "a", "/" + "x" * 300]))
declarations = st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.lists(methods, max_size=3))), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.lists(st.one_of(declarations, st.lists(st.tuples(methods, routes)))))
def test_no_sequence_of_declarations_and_requests_outgrows_the_table(
    max_label_sets: int, steps: list[list[tuple[str, object]]]
) -> None:
    """Rows stay within the capacity, declared ones are always found, and what is remembered is bounded."""
    table = Table((1.0,), max_label_sets)
    for step in steps:
        for method, route in step:
            if isinstance(route, list) or (route is None and method not in METHODS):
                table.declare([(method, route)])
            else:
                found = row(table, method, route)  # type: ignore[arg-type]  # None or a string
                assert table.rows[found.number] is found
    assert table.used == len(table.rows) == len(table.index) <= table.capacity
    assert 0 <= table.free <= table.capacity
    for route, labels in table.declared.items():
        for label in labels:
            assert name(row(table, label, route)) == (label, route)
    for entry in table.methods.values():
        assert len(entry.rows) <= 2 * (table.capacity + len(table.declared)) + 1
    assert table.used <= table.capacity


def test_threads_that_admit_at_once_agree_on_the_rows() -> None:
    """Eight threads, the same new label sets, exceptions and codes: one row each, within the capacity."""
    table = Table((1.0,), SENTINEL_ROWS + 50)
    start = threading.Barrier(8)
    seen: list[list[tuple[int, int, int]]] = []

    def admit() -> None:
        start.wait()
        mine = []
        for n in range(100):
            found = row(table, "GET", f"/{n}")
            mine.append((found.number, table.status_cell(found, 200 + n % 20), table.pair_cell("/a", f"E{n}")))
        seen.append(mine)

    run_at_once([admit] * 8)
    assert len(seen) == 8
    assert all([number for number, _, _ in mine] == [number for number, _, _ in seen[0]] for mine in seen)
    assert all([pair for _, _, pair in mine] == [pair for _, _, pair in seen[0]] for mine in seen)
    assert [found.number for found in table.rows] == list(range(table.used))
    assert len(set(map(name, table.rows))) == len(table.index) == table.used
    assert all(len(set(found.codes)) == len(found.codes) for found in table.rows)
    assert len(set(table.pairs)) == table.paired == 100
    assert Counter(found.route for found in table.rows)[OVERFLOW] == 1


def test_cells_that_are_exchanged_are_those_of_every_outcome_from_then_on() -> None:
    """What a request has looked up already writes to the new ones."""
    table = Table((1.0,), SENTINEL_ROWS)
    known = table.outcome(row(table, "GET", None), 200)
    cells = [0.0] * table.size(table.capacity)
    table.use(cells)
    assert known.cells is cells
    assert table.outcome(known.row, 200) is known


def test_a_request_that_ends_while_cells_are_exchanged_is_in_progress_nowhere() -> None:
    """A thread that is about to end it holds the list already; the next cells show what becomes of this one."""
    table = Table((1.0,), SENTINEL_ROWS)
    table.use([0.0] * table.size(table.capacity))
    in_progress = table.methods["GET"].in_progress
    in_progress.append(None)
    table.use([0.0] * table.size(table.capacity))
    assert table.cells[IN_PROGRESS] == 1.0
    in_progress.pop()
    assert table.cells[IN_PROGRESS] == len(table.methods["GET"].in_progress) == 0.0


class Log:
    """The other workers, in one process: a list of changes, and how far each table has replayed it."""

    born = 0.0
    pids: Sequence[int] = (0,)
    left = False

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.replayed: Counter[Table] = Counter()

    def table(self, max_label_sets: int) -> Table:
        """Return the table of one more worker, with the rows that each has from the beginning."""
        table = Table((1.0,), max_label_sets, self)
        for method in METHODS:
            table.apply(("row", method, UNMATCHED))
            table.apply(("row", method, OVERFLOW))
        self.catch_up(table)
        if not self.changes:  # the first worker's, which settles the capacity
            self.changes.append(("declare", {}))
            self.catch_up(table)
        table.use([0.0] * table.size(table.capacity))
        return table

    def change(self, table: Table, change: Change) -> None:
        self.catch_up(table)
        if table.lacks(change):
            self.changes.append(change)
            self.catch_up(table)
            assert not table.lacks(change), "made, and to be made again"

    def catch_up(self, table: Table) -> bool:
        for change in self.changes[self.replayed[table] :]:
            table.apply(change)
            table.settled = True
        self.replayed[table] = len(self.changes)
        return True

    def totals(self, table: Table, size: int) -> list[float]:
        return [0.0] * size

    def processes(self, alone: ProcessCollector) -> ProcessCollector:
        return alone

    def abandon(self) -> None:
        pass


steps = st.one_of(
    st.tuples(st.just("declare"), declarations),
    st.tuples(st.just("row"), st.tuples(methods, routes)),
    st.tuples(st.just("status"), st.tuples(st.integers(0, 20), st.integers(100, 130))),
    st.tuples(st.just("pair"), st.tuples(st.text(max_size=2), st.sampled_from("EF"))),
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 1), steps)))
def test_tables_that_replay_one_log_are_equal(max_label_sets: int, taken: list[tuple[int, tuple[str, Any]]]) -> None:
    """Whoever made a change, and whatever it knew of the others' then."""
    log = Log()
    tables = [log.table(max_label_sets), log.table(max_label_sets)]
    for number, (kind, asked) in taken:
        table = tables[number]
        if kind == "declare":
            table.declare(asked)
        elif kind == "row":
            row(table, *asked)
        elif kind == "status" and asked[0] < len(table.rows):
            table.status_cell(table.rows[asked[0]], asked[1])
        elif kind == "pair":
            table.pair_cell(*asked)
    tables.append(log.table(max_label_sets))  # one that comes last
    seen = []
    for table in tables:
        table.read()
        rows = [(*name(found), found.buckets, found.codes) for found in table.rows]
        seen.append((rows, table.pairs, table.declared, table.homeless, table.used, table.free, table.capacity))
        assert table.used == len(table.rows) == len(table.index) <= table.capacity
    assert seen[0] == seen[1] == seen[2]


def test_a_table_that_shares_publishes_its_gauges() -> None:
    """Those that were in progress before, too; eight threads leave the last number there."""
    table = Table((1.0,), 30, Log())
    entry = table.methods["GET"]
    entry.in_progress.append(None)
    table.use([0.0] * table.size(table.capacity))
    gauge = IN_PROGRESS + list(table.methods).index("GET")
    assert table.cells[gauge] == 1.0

    def serve() -> None:
        for _ in range(3000):
            entry.in_progress.append(None)
            entry.in_progress.pop()
        entry.in_progress.append(None)

    run_at_once([serve] * 8)
    assert table.cells[gauge] == len(entry.in_progress) == 9.0
    with pytest.raises(IndexError):
        table.other.in_progress.pop()


class Overtaken:
    """A lock under which somebody else was first, once."""

    def __init__(self, somebody: Callable[[], object]) -> None:
        self.somebody: Callable[[], object] | None = somebody

    def __enter__(self) -> None:
        somebody, self.somebody = self.somebody, None
        if somebody is not None:
            somebody()

    def __exit__(self, *error: object) -> None:
        pass


def test_who_is_overtaken_looks_again() -> None:
    """Whatever was prepared outside of the lock is compared under it, and prepared anew."""
    table = Table((1.0,), 100)
    table.lock = Overtaken(lambda: row(table, "GET", "/a"))  # type: ignore[assignment]  # a lock, for `with`
    late = row(table, "GET", "/a")
    table.lock = Overtaken(lambda: row(table, "GET", "/b"))  # type: ignore[assignment]  # as above
    assert [name(row(table, "GET", "/c")), late.number, table.used] == [("GET", "/c"), 0, 3]

    table.lock = Overtaken(lambda: table.declare([("/d", ["GET"])]))  # type: ignore[assignment]  # as above
    table.declare([("/e", ["GET"])])
    assert set(table.declared) == {"/d", "/e"}
    assert table.free == 100 - SENTINEL_ROWS - 3 - 2

    entry = late.method
    entry.lock = Overtaken(lambda: table.status_cell(late, 200))  # type: ignore[assignment]  # as above
    assert table.status_cell(late, 200) == late.statuses[200]
    entry.lock = Overtaken(lambda: table.status_cell(late, 201))  # type: ignore[assignment]  # as above
    assert table.status_cell(late, 202) == late.statuses[202]
    assert late.codes == (200, 201, 202)

    table.lock = Overtaken(lambda: table.pair_cell("/a", "E"))  # type: ignore[assignment]  # as above
    assert table.pair_cell("/a", "E") == EXCEPTIONS
    table.lock = Overtaken(lambda: table.pair_cell("/a", "F"))  # type: ignore[assignment]  # as above
    assert table.pair_cell("/a", "G") == EXCEPTIONS + 2


class Passed(dict[Any, Any]):
    """A dictionary that does not hold what it is asked for, once: somebody else puts it there right after the look."""

    def __init__(self, known: dict[Any, Any], somebody: Callable[[], object]) -> None:
        super().__init__(known)
        self.somebody: Callable[[], object] | None = somebody

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        somebody, self.somebody = self.somebody, None
        if somebody is not None:
            somebody()
        return found


def test_what_another_thread_adds_right_after_the_look_is_not_added_again() -> None:
    """A thread may be stopped between any two calls: a second row, code or pair of one name would be a series twice."""
    table = Table((1.0,), 100)
    table.index = Passed(table.index, lambda: row(table, "GET", "/a"))
    found = row(table, "GET", "/a")
    assert table.rows == [found]
    assert (table.used, table.free) == (1, 100 - SENTINEL_ROWS - 1)

    found.statuses = Passed(found.statuses, lambda: table.status_cell(found, 200))
    assert table.status_cell(found, 200) == found.statuses[200]
    assert found.codes == (200,)

    table.pair_cells = Passed(table.pair_cells, lambda: table.pair_cell("/a", "E"))
    assert table.pair_cell("/a", "E") == EXCEPTIONS
    assert table.pairs == [("/a", "E")]


class Recording:
    """A finaliser that records, as a user's `__del__` may."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.me = self  # a cycle, so that only the garbage collector ends it

    def __del__(self) -> None:
        found = row(self.table, "GET", "/finaliser")
        with found.method.lock:
            self.table.cells[found.errors] += 1.0
        self.table.add(EXCEPTIONS)


def test_a_finaliser_that_records_never_meets_a_lock_that_its_own_thread_holds() -> None:
    """The garbage collector may run at any call: none is made under a lock."""
    table = Table((1.0,), 400)
    thresholds = gc.get_threshold()
    done = threading.Event()

    def admit() -> None:
        gc.set_threshold(1)
        for n in range(300):
            Recording(table)
            found = row(table, "GET", f"/{n}")
            table.status_cell(found, 200 + n % 16)
            table.pair_cell("/a", f"E{n % 300}")
            table.add(EXCEPTIONS + 1)
            with found.method.lock:
                table.cells[found.errors] += 1.0
        done.set()

    thread = threading.Thread(target=admit, daemon=True)
    try:
        thread.start()
        assert done.wait(60), "deadlock"
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert table.cells[row(table, "GET", "/finaliser").errors] == 300
    assert table.cells[EXCEPTIONS + 1] == 300


@pytest.mark.parametrize("capacity", [1, SENTINEL_ROWS, 1000])
def test_the_sentinels_always_have_their_rows(capacity: int) -> None:
    """A table as small as asked for still takes every method's `_unmatched` and `_overflow`."""
    table = Table((1.0,), capacity)
    for method in METHODS:
        assert name(row(table, method, None)) == (method, UNMATCHED)
        assert name(row(table, method, "/" + "x" * 300)) == (method, OVERFLOW)
    assert table.used == SENTINEL_ROWS <= table.capacity


class Overtaking(list[float]):
    """Cells into which another thread stores between two steps of this one, once."""

    requests: list[None] | None = None

    def __setitem__(self, cell: Any, value: Any) -> None:
        requests, self.requests = self.requests, None
        if requests is not None:
            requests.pop()
        super().__setitem__(cell, value)


@pytest.mark.parametrize("step", [lambda requests: requests.append(None), lambda requests: requests.pop()])
def test_the_gauge_that_other_workers_see_is_the_last_one(step: Callable[[Any], None]) -> None:
    """Two threads may change and store in turn: who stores last what was true before looks again."""
    table = Table((1.0,), 10)
    method = table.methods["GET"]
    method.in_progress += [None] * 5
    cells = Overtaking([0.0] * FIXED_CELLS)
    table.use(cells)
    cells.requests = method.in_progress
    step(method.in_progress)
    assert cells[IN_PROGRESS] == len(method.in_progress)
