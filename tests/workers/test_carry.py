"""What a worker counted alone is carried to its group: all of it, once, under the same labels where there is room."""

from collections.abc import Sequence

from red_middleware.counting.labels import OVERFLOW, UNMATCHED
from red_middleware.table import (
    EXCEPTION_PAIRS,
    EXCEPTIONS,
    FAULTS,
    SCRAPE_SECONDS,
    SENTINEL_ROWS,
    STATUS_CELLS,
    Row,
    Table,
)
from red_middleware.workers.carry import carry

from .members import Join


def row_of(table: Table, route: str | None) -> Row:
    return table.row(table.methods["GET"], route)


def count(table: Table, route: str | None, status: int = 200, seconds: float = 0.25) -> None:
    row = row_of(table, route)
    for cell, amount in ((table.status_cell(row, status), 1.0), (row.buckets, 1.0), (row.seconds, seconds)):
        table.cells[cell] += amount


def counted(table: Table) -> dict[tuple[str, int], float]:
    rows, numbers, *_ = table.read()
    return {(row.route, code): numbers[cell] for row in rows for code, cell in row.statuses.items() if numbers[cell]}


def shown(table: Table, cells: Sequence[int]) -> list[float]:
    numbers = table.read().cells
    return [numbers[cell] for cell in cells]


def test_all_that_was_counted_is_carried_once(join: Join) -> None:
    """Rows lie elsewhere in the group, and it has counted some of the same itself."""
    group, alone = join({"/b": ["GET"]}), Table((1.0,), 100)
    group.count("/c")
    group.count("/a")
    for route in ("/a", "/b", None):
        count(alone, route)
        count(alone, route, 201)
    row = row_of(alone, "/a")
    alone.add(row.errors)
    alone.add(row.disconnects, 2.0)
    alone.add(alone.pair_cell("/a", "E"), 3.0)
    alone.add(EXCEPTIONS + EXCEPTION_PAIRS, 4.0)
    alone.add(FAULTS, 5.0)
    alone.add(SCRAPE_SECONDS, 6.0)
    there = row_of(group.table, "/a")
    fixed = [EXCEPTIONS, EXCEPTIONS + EXCEPTION_PAIRS, FAULTS, SCRAPE_SECONDS]
    for _ in range(2):
        carry(alone, group.table)
        routes = ("/a", "/b", UNMATCHED)
        expected = {(route, code): 1.0 for route in routes for code in (200, 201)} | {("/c", 200): 1.0}
        assert counted(group.table) == expected | {("/a", 200): 2.0}
        assert shown(group.table, [there.errors, there.disconnects, there.seconds, there.buckets]) == [1, 2, 0.5, 3]
        assert shown(group.table, fixed) == [3.0, 4.0, 5.0, 6.0]
        assert not any(alone.cells)
    assert group.table.pairs == [("/a", "E")]
    count(alone, "/a")  # a request that began before ends
    carry(alone, group.table)
    assert counted(group.table)["/a", 200] == 3.0


def test_what_finds_no_room_in_the_group_is_folded_there(join: Join) -> None:
    """Rows, statuses, and what was folded before."""
    group, alone = join(max_label_sets=SENTINEL_ROWS + 1), Table((1.0,), SENTINEL_ROWS + 2)
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
