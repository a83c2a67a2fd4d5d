"""What a table counted is carried into another one: a worker that counted for itself has found its group after all.

This room knows tables and no files. `membership` asks when a worker has joined, and at each scrape from then on, since
requests that began before end where they began.
"""

from collections.abc import Iterator

from ..counting.layout import Unit
from ..counting.rows import Row
from ..counting.table import Table


def carry(old: Table, new: Table) -> None:
    """Move all that a table counted into another one, which admits what it lacks as it would for requests.

    Requests in progress stay where they began, and so does what other workers cannot be told of at the moment.

    Args:
        old: Left with zeros otherwise; it may go on counting meanwhile, and another thread may carry, too.
        new: A table of the same layout.
    """
    if new.lacks(("declare", {route: sorted(labels) for route, labels in old.declared.items()})):
        new.declare(old.declared.items())
    for region, target in zip(old.regions.values(), new.regions.values(), strict=True):
        cells = region.cells
        counted = region.kind.cells(Unit.COUNT, Unit.SECONDS)
        for row in region.rows[: region.used]:
            if counted and any(cells[row.start : row.start + region.kind.width]):
                there = new.admit(target, row.key)
                if not _is_told(row, there, new):
                    continue
                for cell, target_cell in _pairs(row, there, new):
                    with row.lock:
                        amount = cells[cell]
                        cells[cell] = 0.0
                    if amount:
                        with there.lock:
                            numbers = target.cells  # not before: `Table.use` exchanges them
                            numbers[target_cell] += amount


def _is_told(row: Row, there: Row, new: Table) -> bool:
    """Make sure that a row of another table can count all that this one did; tell whether that was possible."""
    if there.table is not new:
        return False
    codes = row.codes
    for code in codes:
        new.code_cell(there, code)
    return not any(new.is_untold(("code", there.kind.name, there.number, code)) for code in codes)


def _pairs(row: Row, there: Row, new: Table) -> Iterator[tuple[int, int]]:
    """Yield each cell of a row, and the cell that counts the same in another table."""
    for field in row.kind.fields:
        if field.is_coded:
            yield from ((cell, new.code_cell(there, code)) for code, cell in list(row.code_cells.items()))
        elif field.slots > 1 and row.kind.has_code_slots:
            for code, cell in list(row.code_cells.items()):
                first = row.cell(field.name) + row.slot(code, cell) * field.slot_width
                target = there.cell(field.name) + there.slot(code, new.code_cell(there, code)) * field.slot_width
                yield from ((first + n, target + n) for n in range(field.slot_width))
        elif field.unit is not Unit.GAUGE:
            yield from ((row.cell(field.name) + n, there.cell(field.name) + n) for n in range(field.width))
