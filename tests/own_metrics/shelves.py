"""A table whose cells lie in memory, for what needs no other worker: values in rows, and threads that use them."""

from array import array
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry

from red_middleware.counting.layout import Choices, layout
from red_middleware.counting.table import Table
from red_middleware.faults import Faults
from red_middleware.own_metrics.sharing import OwnMetrics


class Shelf:
    """The metrics of a registry, and the table that they share their numbers in.

    Args:
        limit: How many series it has room for.
    """

    def __init__(self, limit: int = 100) -> None:
        self.registry = CollectorRegistry()
        self.faulty: list[float] = []
        self.own = OwnMetrics(lambda: self.registry, limit, Faults(lambda: self.faulty.append(1.0)))
        self.kinds = layout(Choices((1.0,), 1, own_series=limit))

    def table(self) -> Table:
        """Return a new table with cells."""
        table = Table(self.kinds)
        for region in table.regions.values():  # as a worker does that joins a group
            for key in region.kind.in_order:
                table.apply(("row", region.kind.name, key))
        table.use(new_cells(table))
        return table

    def share(self) -> Table:
        """Keep the numbers in a new table from now on."""
        table = self.table()
        self.own.share(table, "group")
        return table


def new_cells(table: Table) -> Any:
    """Return cells for a table, all of them zero."""
    return memoryview(array("d", bytes(8 * table.extent().size)))


def told(registry: CollectorRegistry) -> Iterable[tuple[Any, ...]]:
    """Return what a registry shows, without when things were made."""
    return [
        (sample.name, sample.labels, sample.value, sample.exemplar and (sample.exemplar.labels, sample.exemplar.value))
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
