"""What a table counted is carried into another one: of a worker that was alone and has found its group after all.

This room knows tables and no files. `metrics` asks when such a worker has joined, and at each scrape from then on, as
requests that began before end where they began.
"""

from collections.abc import Iterator

from ..labels import OVERFLOW, UNMATCHED
from ..table import EXCEPTION_PAIRS, EXCEPTIONS, FAULTS, SCRAPE_SECONDS, SCRAPES, Row, Table, row_cells


def carry(old: Table, new: Table) -> None:
    """Move all that a table counted into another one, which admits what it lacks as it would for requests.

    Requests in progress stay where they began.

    Args:
        old: Left with zeros; it may go on counting meanwhile.
        new: With the same buckets.
    """
    cells = old.cells
    width = row_cells(old.bucket_cells)
    for row in old.rows[: old.used]:
        start = old.size(row.number)
        if any(cells[start : start + width]):
            there = _find(row, new)
            for cell, target in _cells(row, there, new):
                amount = cells[cell]
                if amount:
                    with row.method.lock:
                        cells[cell] -= amount
                    numbers = new.cells
                    with there.method.lock:
                        numbers[target] += amount
    for cell, target in _fixed_cells(old, new):
        amount = cells[cell]
        if amount:
            old.add(cell, -amount)
            new.add(target, amount)


def _find(row: Row, table: Table) -> Row:
    """Return the row of another table for the same label set."""
    label = row.method.label
    if row.route == OVERFLOW:
        return table.index[label, OVERFLOW]
    return table.row(table.methods[label], None if row.route == UNMATCHED else row.route)


def _cells(row: Row, there: Row, table: Table) -> Iterator[tuple[int, int]]:
    """Yield each cell of a row, and where the same is counted in another table."""
    yield row.seconds, there.seconds
    yield from zip(range(row.buckets, row.errors), range(there.buckets, there.errors), strict=True)
    yield row.errors, there.errors
    yield row.disconnects, there.disconnects
    yield row.other, there.other
    for code in row.codes:
        yield row.statuses[code], table.status_cell(there, code)


def _fixed_cells(old: Table, new: Table) -> Iterator[tuple[int, int]]:
    """Yield each cell that belongs to no row and is no gauge, and where the same is counted in another table."""
    for number, (route, exception) in enumerate(old.pairs[: old.paired], EXCEPTIONS):
        if old.cells[number]:
            yield number, new.pair_cell(route, exception)
    for cell in (EXCEPTIONS + EXCEPTION_PAIRS, FAULTS, SCRAPES, SCRAPE_SECONDS):
        yield cell, cell
