"""The bounded table: admission, reservation, folding, conservation."""

import gc
import threading
from _thread import RLock
from array import array
from collections import Counter
from collections.abc import Callable, MutableSequence
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from red_middleware.counting.labels import METHODS, OTHER, OVERFLOW, UNDECLARED_METHODS, UNMATCHED
from red_middleware.counting.layout import (
    EXCEPTION_ROWS,
    OWN_STATE,
    SENTINEL_ROUTES,
    STATUS_CELLS,
    Choices,
    Extent,
    layout,
)
from red_middleware.counting.rows import LockedPublishedList, PublishedList, Row
from red_middleware.counting.table import ALONE, Change, Found, Sharing, Table
from red_middleware.metrics import recorder_of

from ..counts import fresh_metrics
from ..drive import count
from ..threads import JOIN_SECONDS, run_at_once

SENTINEL_ROWS = len(METHODS) * len(SENTINEL_ROUTES)


def table_of(max_label_sets: int, sharing: Sharing = ALONE, bounds: tuple[float, ...] = (1.0,)) -> Table:
    """Return a table without rows of requests."""
    return Table(layout(Choices(bounds, max_label_sets, own_series=5)), sharing)


def row(table: Table, method: str, route: str | None) -> Row:
    """Look a row up as an exchange does."""
    entry = table.methods.get(method) or table.methods[OTHER]
    return entry.rows.get(route) or table.row(entry, route)


def exception_row(table: Table, route: str, exception: str) -> Row:
    """Look the row of an exception up."""
    return table.admit(table.regions["exception"], (route, exception))


def cells_for(table: Table) -> MutableSequence[float]:
    """Return cells as a worker maps them from its file: of a fixed size, and a part of them shares their memory."""
    return cast("MutableSequence[float]", memoryview(array("d", [0.0]) * table.extent().size))


def first_cell(table: Table) -> int:
    """Return where the rows of requests begin among the cells of all kinds."""
    return table.extent().spans[list(table.regions).index("http")][0]


def gauge(table: Table, method: str = "GET") -> float:
    """Return the requests in progress that other workers see."""
    return table.regions["method"].cells[METHODS.index(method)]


def test_a_label_set_gets_one_row_and_keeps_it() -> None:
    """Rows are admitted once, numbered in order, and never move."""
    table = table_of(100)
    first, second = row(table, "GET", "/a"), row(table, "POST", "/a")
    assert [first.key, second.key] == [("GET", "/a"), ("POST", "/a")]
    assert (first.number, second.number) == (0, 1)
    assert row(table, "GET", "/a") is first
    assert row(table, "GET", "a") is first
    assert table.http.rows == [first, second]


def test_the_cells_of_rows_do_not_overlap() -> None:
    """One run per row: `_OTHER`, the codes backwards, the sum, buckets, errors, disconnects. So it is with kinds."""
    table = table_of(100, bounds=(1.0, 2.0))
    taken: list[int] = []
    for n in range(3):
        found = row(table, "GET", f"/{n}")
        for code in range(200, 200 + STATUS_CELLS):
            table.code_cell(found, code)
        taken += [found.code_cells[0], *reversed([found.code_cells[code] for code in found.codes])]
        buckets = found.cell("buckets")
        taken += [found.cell("seconds"), *range(buckets, buckets + 3), found.cell("errors"), found.cell("disconnects")]
    assert taken == list(range(3 * table.http.kind.width))
    whole = table.extent(region.capacity for region in table.regions.values())
    assert [cell for first, length in whole.spans for cell in range(first, first + length)] == list(range(whole.size))


def test_what_finds_no_room_is_counted_as_overflow() -> None:
    """A full table folds the route, keeps the method, and remembers nothing of it."""
    table = table_of(SENTINEL_ROWS + 2)
    assert [row(table, "GET", f"/{n}").key[1] for n in range(4)] == ["/0", "/1", OVERFLOW, OVERFLOW]
    assert row(table, "BREW", "/9").key == (OTHER, OVERFLOW)
    assert row(table, "GET", None).key == ("GET", UNMATCHED)
    assert set(table.methods["GET"].rows) == {"/0", "/1", None}


def test_declared_routes_have_their_rows_whatever_came_first() -> None:
    """Reservation comes before admission: scanners cannot eat the rows of real routes."""
    table = table_of(SENTINEL_ROWS + 3)
    table.declare([("/a", ["GET", "HEAD"])])
    for n in range(100):
        row(table, "GET", f"/scan{n}")
    assert row(table, "GET", "/a").key == ("GET", "/a")
    assert row(table, "HEAD", "/a").key == ("HEAD", "/a")
    assert table.http.used == 3 + 1  # one free row, two declared, one overflow


def test_the_first_declaration_raises_the_capacity_and_later_ones_do_not() -> None:
    """R is fixed when the routes are first known; late routes take what is free."""
    table = table_of(30)
    assert table.declare([(f"/{n}", ["GET"]) for n in range(40)]) == 0
    assert (table.http.capacity, len(table.http.reserved), table.http.free) == (SENTINEL_ROWS + 40, 40, 0)
    table.settle()
    assert table.declare([("/late", ["GET"])]) == 1
    assert table.http.capacity == SENTINEL_ROWS + 40
    assert row(table, "GET", "/late").key[1] == OVERFLOW
    assert len(table.http.cells) == table.http.capacity * table.http.kind.width


def test_routes_declared_later_take_free_rows() -> None:
    """As long as there are any, each is as safe as the first ones."""
    table = table_of(SENTINEL_ROWS + 3)
    table.declare([("/a", ["GET"])])
    table.settle()
    assert table.declare([("/b", ["GET"]), ("/c", ["GET", "POST"])]) == 1
    assert (table.http.free, len(table.http.reserved)) == (1, 2)
    row(table, "GET", "/scan")
    assert row(table, "GET", "/scan2").key[1] == OVERFLOW
    assert row(table, "GET", "/b").key[1] == "/b"


def test_a_method_declared_too_late_is_overflow_and_not_unmatched() -> None:
    """The route did match: only its row is missing."""
    table = table_of(1)
    table.declare([("/f", ["GET"])])
    table.settle()
    assert table.declare([("/f", ["POST"])]) == 1
    assert row(table, "POST", "/f").key == ("POST", OVERFLOW)
    assert row(table, "PUT", "/f").key == ("PUT", UNMATCHED)


def test_declaring_again_costs_nothing() -> None:
    """The same routes from a second mounting, or new methods of a known route."""
    table = table_of(SENTINEL_ROWS + 10)
    table.declare([("/a", ["GET"])])
    table.declare([("/a", ["GET"])])
    table.declare([("/a", ["GET", "POST"]), ("/a", ["POST"])])
    assert table.http.free == 8
    assert table.declared["/a"] == {"GET", "POST"}


def test_a_row_admitted_before_its_route_was_declared_is_not_paid_twice() -> None:
    """An undeclared row that turns out to be declared keeps the room that it has."""
    table = table_of(SENTINEL_ROWS + 10)
    before = row(table, "GET", "/a")
    table.declare([("/a", ["GET", "POST"])])
    assert table.http.free == 8
    assert row(table, "GET", "/a") is before


def test_a_route_without_methods_reserves_the_usual_ones_and_other() -> None:
    """A view that takes any method still makes a bounded number of rows."""
    table = table_of(100)
    table.declare([("/any", None)])
    assert table.declared["/any"] == set(UNDECLARED_METHODS)
    assert row(table, "TRACE", "/any").key == (OTHER, "/any")
    assert row(table, "BREW", "/any").key == (OTHER, "/any")


def test_a_method_that_a_route_does_not_declare_is_unmatched() -> None:
    """Its own `_OTHER` row if it has one, else `_unmatched` under the method."""
    table = table_of(100)
    table.declare([("/a", ["GET"]), ("/dav", ["PROPFIND"])])
    assert row(table, "POST", "/a").key == ("POST", UNMATCHED)
    assert row(table, "BREW", "/a").key == (OTHER, UNMATCHED)
    assert row(table, "PROPFIND", "/dav").key == (OTHER, "/dav")
    assert row(table, "GET", "/dav").key == (OTHER, "/dav")


def test_a_template_that_is_too_long_reserves_nothing() -> None:
    """It folds into `_overflow`, which has its rows already."""
    table = table_of(100)
    table.declare([("/" + "a" * 300, ["GET"])])
    assert table.http.reserved == set()
    assert table.http.free == 100 - SENTINEL_ROWS
    assert row(table, "GET", "/" + "a" * 300).key == ("GET", OVERFLOW)


def test_an_alias_is_remembered_only_where_rows_bound_it() -> None:
    """Names that differ from their label, or fold, could be endless: they are looked up anew."""
    table = table_of(100)
    for n in range(50):
        row(table, "GET", "/" + "x" * 300 + str(n))
        row(table, "GET", f"/\udce9{'?' * (n % 2)}")
    assert set(table.methods["GET"].rows) == set()


def test_a_row_tells_fifteen_codes_apart() -> None:
    """The sixteenth and later share `_OTHER`; reflected codes spoil only their row."""
    table = table_of(100)
    found = row(table, "GET", "/a")
    cells = [table.code_cell(found, code) for code in range(200, 220)]
    assert len(set(cells[: STATUS_CELLS - 1])) == STATUS_CELLS - 1
    other = table.code_cell(found, 0)
    assert set(cells[STATUS_CELLS - 1 :]) == {other}
    assert table.code_cell(found, 200) == cells[0]
    assert found.codes == tuple(range(200, 215))
    beside = row(table, "GET", "/b")
    assert table.code_cell(beside, 219) != table.code_cell(beside, 0)


def test_256_exceptions_are_told_apart() -> None:
    """Class names can be made at run time; the rest shares one row."""
    table = table_of(100)
    pairs = EXCEPTION_ROWS - 1
    found = [exception_row(table, "/a", f"E{n}") for n in range(pairs + 10)]
    assert [one.key for one in found[:pairs]] == [("/a", f"E{n}") for n in range(pairs)]
    assert {one.key for one in found[pairs:]} == {(OVERFLOW, OTHER)}
    assert exception_row(table, "/a", "E0") is found[0]
    assert sorted(one.number for one in table.regions["exception"].rows) == list(range(256 + 1))


def test_clear_keeps_the_index() -> None:
    """Numbers go to zero, rows stay where they are."""
    table = table_of(100)
    found = row(table, "GET", "/a")
    table.add(found, "errors")
    table.add(table.own, "scrapes")
    table.count_exception("/a", "E")
    assert [sum(region.cells) for region in table.regions.values() if any(region.cells)] == [1.0] * 3
    table.clear()
    assert not any(any(region.cells) for region in table.regions.values())
    assert row(table, "GET", "/a") is found


methods = st.sampled_from([*METHODS, "BREW", "get", ""])
routes = st.one_of(st.none(), st.text(max_size=4), st.sampled_from(["/a", "/b", "a", "/" + "x" * 300]))
declarations = st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.lists(methods, max_size=3))), max_size=6)


@settings(max_examples=200)
@given(st.integers(1, 60), st.lists(st.one_of(declarations, st.lists(st.tuples(methods, routes)))))
def test_no_sequence_of_declarations_and_requests_outgrows_the_table(
    max_label_sets: int, steps: list[list[tuple[str, object]]]
) -> None:
    """Rows stay within the capacity, reserved ones are always found, and what is remembered is bounded."""
    table = table_of(max_label_sets)
    first: dict[str, frozenset[str]] = {}
    for step in steps:
        for method, route in step:
            if isinstance(route, list) or (route is None and method not in METHODS):
                table.declare([(method, route)])
                table.settle()
                first = first or table.declared
            else:
                found = row(table, method, route)  # type: ignore[arg-type]  # None or a string
                assert table.http.rows[found.number] is found
    assert table.http.used == len(table.http.rows) == len(table.http.index) <= table.http.capacity
    assert 0 <= table.http.free <= table.http.capacity
    for route, labels in table.declared.items():
        for label in labels:
            is_late = (label, route) not in table.http.reserved
            expected = [(label, route), (label, OVERFLOW)] if is_late else [(label, route)]
            assert row(table, label, route).key in expected
            assert not (is_late and label in first.get(route, ()))
    for entry in table.methods.values():
        assert len(entry.rows) <= 2 * (table.http.capacity + len(table.declared)) + 1
    assert table.http.used <= table.http.capacity
    counted = table.read()
    assert counted.unreserved == sum(map(table.http.cost, table.http.index))
    assert counted.unreserved_limit == counted.unreserved + table.http.free


def test_threads_that_admit_at_once_agree_on_the_rows() -> None:
    """Eight threads, the same new label sets, exceptions and codes: one row each, within the capacity."""
    table = table_of(SENTINEL_ROWS + 50)
    start = threading.Barrier(8)
    seen: list[list[tuple[int, int, int]]] = []

    def admit() -> None:
        start.wait()
        mine = []
        for n in range(100):
            found = row(table, "GET", f"/{n}")
            mine.append(
                (found.number, table.code_cell(found, 200 + n % 20), exception_row(table, "/a", f"E{n}").number)
            )
        seen.append(mine)

    run_at_once([admit] * 8)
    assert len(seen) == 8
    assert all([number for number, _, _ in mine] == [number for number, _, _ in seen[0]] for mine in seen)
    assert all([pair for _, _, pair in mine] == [pair for _, _, pair in seen[0]] for mine in seen)
    assert [found.number for found in table.http.rows] == list(range(table.http.used))
    assert len({found.key for found in table.http.rows}) == len(table.http.index) == table.http.used
    assert all(len(set(found.codes)) == len(found.codes) for found in table.http.rows)
    exceptions = table.regions["exception"]
    assert len({found.key for found in exceptions.rows}) == len(exceptions.index) == exceptions.used == 100
    assert Counter(found.key[1] for found in table.http.rows)[OVERFLOW] == 1


def test_cells_that_are_exchanged_are_those_of_every_outcome_from_then_on() -> None:
    """What a request has looked up already writes to the new ones."""
    table = table_of(SENTINEL_ROWS)
    known = table.outcome(row(table, "GET", None), 200)
    cells = cells_for(table)
    table.use(cells)
    known.cells[known.status_cell] += 1.0
    assert list(cells).index(1.0) == first_cell(table) + known.status_cell
    assert known.cells is table.http.cells
    assert table.outcome(known.row, 200) is known


def test_a_request_that_ends_while_cells_are_exchanged_is_in_progress_nowhere() -> None:
    """A thread that is about to end it holds the list already; the next cells show what becomes of this one."""
    table = table_of(SENTINEL_ROWS)
    table.use(cells_for(table))
    in_progress = table.methods["GET"].in_progress
    in_progress.append(None)
    table.use(cells_for(table))
    assert gauge(table) == 1.0
    in_progress.pop()
    assert gauge(table) == len(table.methods["GET"].in_progress) == 0.0


def test_nothing_is_added_to_cells_that_were_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GIL, too: another worker may take them for a dead one's, and folds them."""
    monkeypatch.setattr("red_middleware.counting.exchange.IS_LOCKED", True)
    metrics = fresh_metrics()
    table = recorder_of(metrics).table
    used, left = [cells_for(table)], []
    table.use(used[0])

    def exchange() -> None:
        for _ in range(100):
            used.append(cells_for(table))
            table.use(used[-1])
            left.append(list(used[-2]))

    def record(path: str) -> None:
        for n in range(2_000):
            count(metrics, path, 500 if n % 10 == 0 else 200)

    run_at_once([exchange, *(partial(record, path) for path in ("/a", "/b", "/c"))])
    assert [list(cells) for cells in used[:-1]] == left
    errors = [row.cell("errors") for row in table.http.rows]
    start = first_cell(table)
    assert sum(cells[start + cell] for cells in used for cell in errors) == 600.0


@pytest.mark.parametrize("kind", [PublishedList, LockedPublishedList])
def test_the_requests_in_progress_that_others_see_are_those_of_all_threads(kind: type[PublishedList]) -> None:
    """Whichever thread stores its number last."""
    cells = [0.0]
    published = kind([None], cells, 0, RLock())

    def come_and_go() -> None:
        for _ in range(3_000):
            published.append(None)
            published.append(None)
            published.pop()

    run_at_once([come_and_go] * 3)
    assert cells == [9_001.0]
    published.move(moved := [0.0])
    assert moved == [9_001.0]


def test_a_route_declared_to_cells_of_a_fixed_size_takes_a_free_row() -> None:
    """A worker maps its cells from a file: what is declared late must not try to make them longer."""
    table = table_of(SENTINEL_ROWS + 2)
    table.settled = True
    table.use(cells_for(table))
    assert table.declare([("/a", ["GET"]), ("/b", ["GET", "POST"])]) == 1
    assert (row(table, "GET", "/a").key, table.http.free) == (("GET", "/a"), 1)


class Log:
    """The other workers, in one process: a list of changes, and how far each table has replayed it."""

    is_behind = False

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.replayed: Counter[Table] = Counter()

    def table(self, max_label_sets: int) -> Table:
        """Return the table of one more worker, with the rows that each has from the beginning."""
        table = table_of(max_label_sets, self)
        for kind in table.kinds:
            for key in kind.in_order:
                table.apply(("row", kind.name, key))
        self.catch_up(table)
        if not self.changes:  # the first worker's, which settles the capacity
            self.changes.append(("declare", {}))
            self.catch_up(table)
        table.use(cells_for(table))
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

    def read(self, table: Table, extent: Extent) -> Found:
        return Found(extent.split([0.0] * sum(length for _, length in extent.spans)), 1)

    def abandon(self) -> None:
        pass


steps = st.one_of(
    st.tuples(st.just("declare"), declarations),
    st.tuples(st.just("row"), st.tuples(methods, routes)),
    st.tuples(st.just("code"), st.tuples(st.integers(0, 20), st.integers(100, 130))),
    st.tuples(st.just("exception"), st.tuples(st.text(max_size=2), st.sampled_from("EF"))),
    st.tuples(st.just("own"), st.lists(st.tuples(st.sampled_from("abcdefg"), st.just("gauge"), st.just("min")))),
)


@settings(max_examples=200)
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
        elif kind == "code" and asked[0] < len(table.http.rows):
            table.code_cell(table.http.rows[asked[0]], asked[1])
        elif kind == "exception":
            exception_row(table, *asked)
        elif kind == "own":
            rows = table.admit_all(OWN_STATE, asked)
            assert all(found is None or found.key == key for key, found in zip(asked, rows, strict=True))
    tables.append(log.table(max_label_sets))  # one that comes last
    seen = []
    for table in tables:
        table.read()
        regions = list(table.regions.values())
        known = [[(found.key, found.start, found.codes) for found in region.rows] for region in regions]
        room = [(region.used, region.free, region.capacity, region.reserved) for region in regions]
        seen.append((known, table.declared, room))
        assert all(region.used == len(region.rows) == len(region.index) <= region.capacity for region in regions)
    assert seen[0] == seen[1] == seen[2]


def test_a_table_that_shares_publishes_its_gauges() -> None:
    """Those that were in progress before, too; eight threads leave the last number there."""
    table = table_of(30, Log())
    entry = table.methods["GET"]
    entry.in_progress.append(None)
    table.use(cells_for(table))
    assert gauge(table) == 1.0

    def serve() -> None:
        for _ in range(3000):
            entry.in_progress.append(None)
            entry.in_progress.pop()
        entry.in_progress.append(None)

    run_at_once([serve] * 8)
    assert gauge(table) == len(entry.in_progress) == 9.0
    with pytest.raises(IndexError):
        table.methods[OTHER].in_progress.pop()


class Overtaken:
    """A lock under which somebody else was first, once: when it is taken the first time, or later."""

    def __init__(self, somebody: Callable[[], object], taken: int = 1) -> None:
        self.somebody = somebody
        self.taken = taken

    def __enter__(self) -> None:
        self.taken -= 1
        if self.taken == 0:
            self.somebody()

    def __exit__(self, *error: object) -> None:
        pass


def test_who_is_overtaken_looks_again() -> None:
    """Whatever was prepared outside of the lock is compared under it, and prepared anew."""
    table = table_of(100)
    table.lock = Overtaken(lambda: row(table, "GET", "/a"))  # type: ignore[assignment]  # a lock, for `with`
    late = row(table, "GET", "/a")
    table.lock = Overtaken(lambda: row(table, "GET", "/b"))  # type: ignore[assignment]  # as above
    assert [row(table, "GET", "/c").key, late.number, table.http.used] == [("GET", "/c"), 0, 3]

    table.lock = Overtaken(lambda: table.declare([("/d", ["GET"])]))  # type: ignore[assignment]  # as above
    table.declare([("/e", ["GET"])])
    assert set(table.declared) == {"/d", "/e"}
    last = len(table.regions) + 1  # after the rows of each region, what is declared
    table.lock = Overtaken(lambda: table.declare([("/f", ["GET"])]), last)  # type: ignore[assignment]  # as above
    table.declare([("/g", ["GET"])])
    assert set(table.declared) == {"/d", "/e", "/f", "/g"}
    assert table.http.free == 100 - SENTINEL_ROWS - 3 - 4

    late.lock = Overtaken(lambda: table.code_cell(late, 200))  # type: ignore[assignment]  # as above
    assert table.code_cell(late, 200) == late.code_cells[200]
    late.lock = Overtaken(lambda: table.code_cell(late, 201))  # type: ignore[assignment]  # as above
    assert table.code_cell(late, 202) == late.code_cells[202]
    assert late.codes == (200, 201, 202)

    table.lock = Overtaken(lambda: exception_row(table, "/a", "E"))  # type: ignore[assignment]  # as above
    assert exception_row(table, "/a", "E").number == 0
    table.lock = Overtaken(lambda: exception_row(table, "/a", "F"))  # type: ignore[assignment]  # as above
    assert exception_row(table, "/a", "G").number == 2


class Passed(dict[Any, Any]):
    """A dictionary that does not hold what it is asked for: somebody puts it there right after one of the looks."""

    def __init__(self, known: dict[Any, Any], look: int, somebody: Callable[[], object]) -> None:
        super().__init__(known)
        self.look = look
        self.somebody = somebody

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self.look -= 1
        if self.look == 0:
            self.somebody()
        return found


@pytest.mark.parametrize("look", [1, 2])
def test_what_another_thread_adds_right_after_the_look_is_not_added_again(look: int) -> None:
    """A thread may be stopped between any two calls: a second row or code of one name would be a series twice."""
    table = table_of(100)
    table.http.index = index = Passed(table.http.index, look, lambda: row(table, "GET", "/a"))
    found = row(table, "GET", "/a")
    assert index.look <= 0
    assert table.http.rows == [found]
    assert (table.http.used, table.http.free) == (1, 100 - SENTINEL_ROWS - 1)

    found.code_cells = cells = Passed(found.code_cells, look, lambda: table.code_cell(found, 200))
    assert table.code_cell(found, 200) == found.code_cells[200]
    assert cells.look <= 0
    assert found.codes == (200,)

    exceptions = table.regions["exception"]
    exceptions.index = index = Passed(exceptions.index, look, lambda: exception_row(table, "/a", "E"))
    assert exception_row(table, "/a", "E").number == 0
    assert index.look <= 0
    assert [one.key for one in exceptions.rows] == [("/a", "E")]


class Recording:
    """A finaliser that records, as a user's `__del__` may."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.me = self  # a cycle, so that only the garbage collector ends it

    def __del__(self) -> None:
        self.table.add(row(self.table, "GET", "/finaliser"), "errors")
        self.table.add(self.table.own, "faults")


def test_a_finaliser_that_records_never_meets_a_lock_that_its_own_thread_holds() -> None:
    """The garbage collector may run at any call: none is made under a lock."""
    table = table_of(400)
    thresholds = gc.get_threshold()

    def admit() -> None:
        gc.set_threshold(1)
        for n in range(300):
            Recording(table)
            found = row(table, "GET", f"/{n}")
            table.code_cell(found, 200 + n % 16)
            exception_row(table, "/a", f"E{n % 300}")
            table.add(table.own, "scrapes")
            table.add(found, "errors")

    thread = threading.Thread(target=admit, daemon=True)
    try:
        thread.start()
        thread.join(JOIN_SECONDS)  # to its very end: while it collects garbage, nobody else can
        assert not thread.is_alive(), "deadlock"
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert table.http.cells[row(table, "GET", "/finaliser").cell("errors")] == 300
    assert table.regions["own"].cells[table.own.cell("faults")] == 300
    assert table.regions["own"].cells[table.own.cell("scrapes")] == 300


@pytest.mark.parametrize("capacity", [1, SENTINEL_ROWS, 1000])
def test_the_sentinels_always_have_their_rows(capacity: int) -> None:
    """A table as small as asked for still takes every method's `_unmatched` and `_overflow`."""
    table = table_of(capacity)
    for method in METHODS:
        assert row(table, method, None).key == (method, UNMATCHED)
        assert row(table, method, "/" + "x" * 300).key == (method, OVERFLOW)
    assert table.http.used == SENTINEL_ROWS <= table.http.capacity


class Overtaking(list[float]):
    """Cells into which another thread stores between two steps of this one, once."""

    requests: list[None] | None = None

    def __getitem__(self, cells: Any) -> Any:
        found = super().__getitem__(cells)
        return Overtaking(found) if isinstance(cells, slice) else found

    def __setitem__(self, cell: Any, value: Any) -> None:
        requests, self.requests = self.requests, None
        if requests is not None:
            requests.pop()
        super().__setitem__(cell, value)


@pytest.mark.parametrize("step", [lambda requests: requests.append(None), lambda requests: requests.pop()])
def test_the_gauge_that_other_workers_see_is_the_last_one(step: Callable[[Any], None]) -> None:
    """Two threads may change and store in turn: who stores last what was true before looks again."""
    table = table_of(10)
    method = table.methods["GET"]
    method.in_progress += [None] * 5
    table.use(Overtaking([0.0] * table.extent().size))
    cells = table.regions["method"].cells
    assert isinstance(cells, Overtaking)
    cells.requests = method.in_progress
    step(method.in_progress)
    assert cells.requests is None
    assert gauge(table) == len(method.in_progress)


def test_the_index_of_rows_stays_after_a_restart() -> None:
    """A fork's child has the parent's routes, rows and codes, and numbers of its own."""
    table = table_of(100)
    table.declare([("/a", ["GET", "POST"])])
    found = row(table, "GET", "/a")
    known = table.outcome(found, 200)
    known.cells[known.status_cell] += 1.0
    table.count_exception("/a", "E")
    table.methods["GET"].in_progress.append(None)
    before = [(region.rows[:], dict(region.index), region.reserved, region.free) for region in table.regions.values()]
    table.restart()
    assert [(list(r.rows), r.index, r.reserved, r.free) for r in table.regions.values()] == before
    assert table.declared == {"/a": {"GET", "POST"}}
    assert row(table, "GET", "/a") is found
    assert found.codes == (200,)
    assert table.outcome(found, 200) is known
    assert not any(any(cells) for cells in table.read().cells.values())
    assert known.cells is table.http.cells
