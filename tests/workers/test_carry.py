"""What a worker counted alone is carried to its group: all of it, once, under the same labels where there is room."""

from red_middleware.counting.labels import OTHER, OVERFLOW, UNMATCHED
from red_middleware.counting.layout import STATUS_CELLS, Choices, Field, Kind, Unit, layout
from red_middleware.counting.rows import Row
from red_middleware.counting.table import Table
from red_middleware.workers.carry import carry

from .members import BOUNDS, SENTINEL_ROWS, Join, counts


def row_of(table: Table, route: str | None) -> Row:
    return table.row(table.methods["GET"], route)


def count(table: Table, route: str | None, status: int = 200, seconds: float = 0.25) -> None:
    outcome = table.outcome(row_of(table, route), status)
    for cell, amount in ((outcome.status_cell, 1.0), (outcome.bucket_cell, 1.0), (outcome.seconds_cell, seconds)):
        outcome.cells[cell] += amount


def raised(table: Table, route: str, exception: str, times: float) -> None:
    table.add(table.admit(table.regions["exception"], (route, exception)), "raised", times)


def counted(table: Table) -> dict[tuple[str, int], float]:
    return {(route, code): number for (_, route, code), number in counts(table).items()}


def shown(table: Table, row: Row, *fields: str) -> list[float]:
    numbers = table.read().cells[row.kind.name]
    return [numbers[row.cell(field)] for field in fields]


def test_all_that_was_counted_is_carried_once(join: Join) -> None:
    """Rows lie elsewhere in the group, and it has counted some of the same itself."""
    group, alone = join({"/b": ["GET"]}), Table(layout(Choices(BOUNDS, 100)))
    group.count("/c")
    group.count("/a")
    for route in ("/a", "/b", None):
        count(alone, route)
        count(alone, route, 201)
    row = row_of(alone, "/a")
    alone.add(row, "errors")
    alone.add(row, "disconnects", 2.0)
    raised(alone, "/a", "E", 3.0)
    raised(alone, OVERFLOW, OTHER, 4.0)
    alone.add(alone.own, "faults", 5.0)
    alone.add(alone.own, "scrapes", 7.0)
    alone.add(alone.own, "scrape_seconds", 6.0)
    there = row_of(group.table, "/a")
    for _ in range(2):
        carry(alone, group.table)
        routes = ("/a", "/b", UNMATCHED)
        expected = {(route, code): 1.0 for route in routes for code in (200, 201)} | {("/c", 200): 1.0}
        assert counted(group.table) == expected | {("/a", 200): 2.0}
        assert shown(group.table, there, "errors", "disconnects", "seconds", "buckets") == [1, 2, 0.5, 3]
        assert group.exceptions() == {("/a", "E"): 3.0, (OVERFLOW, OTHER): 4.0}
        assert shown(group.table, group.table.own, "faults", "scrapes", "scrape_seconds") == [5.0, 7.0, 6.0]
        assert not any(number for cells in alone.read().cells.values() for number in cells)
    assert group.keys("exception") == [("/a", "E")]
    count(alone, "/a")  # a request that began before ends
    carry(alone, group.table)
    assert counted(group.table)["/a", 200] == 3.0


def test_what_finds_no_room_in_the_group_is_folded_there(join: Join) -> None:
    """Rows, statuses, and what was folded before."""
    group, alone = join(max_label_sets=SENTINEL_ROWS + 1), Table(layout(Choices(BOUNDS, SENTINEL_ROWS + 2)))
    for route in ("/a", "/b", "/c"):
        count(alone, route)
    for n in range(STATUS_CELLS):
        count(alone, "/a", 300 + n)
        group.count("/a", 400 + n)
    carry(alone, group.table)
    found = counted(group.table)
    assert found[OVERFLOW, 200] == 2.0
    assert sum(found.values()) == 3.0 + 2 * STATUS_CELLS
    assert found["/a", 0] == 1.0 + 1.0 + STATUS_CELLS
    assert group.faults == []


def test_what_is_the_case_now_is_not_carried() -> None:
    """A gauge beside counters in one row: it goes down where it went up."""
    fields = [Field("open", Unit.GAUGE), Field("opened")]
    kinds = (*layout(Choices(BOUNDS, 100)), Kind("site", ("site",), fields, 3, [(OTHER,)], lambda key: (OTHER,)))
    here, there = Table(kinds), Table(kinds)
    for table, site in ((there, "b"), (here, "a"), (here, "b")):
        row = table.admit(table.regions["site"], (site,))
        table.add(row, "open")
        table.add(row, "opened", 2.0)
    carry(here, there)
    for table, expected in ((here, {"a": [1.0, 0.0], "b": [1.0, 0.0]}), (there, {"a": [0.0, 2.0], "b": [1.0, 4.0]})):
        rows = table.read().rows["site"]
        assert {row.key[0]: shown(table, row, "open", "opened") for row in rows} == expected
