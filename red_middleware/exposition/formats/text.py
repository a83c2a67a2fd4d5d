"""Our families as text, fast: what never changes of a row is formatted once, a scrape only fills in the numbers.

The lines are those that prometheus_client writes for `RedMetrics.collect()`, in the text format 0.0.4 and in
OpenMetrics 1.0.0, which differ in the metadata only. One liberty: from a million on it writes Go's exponents, and this
room all digits, which is the same number for half the work. Called by `endpoint`, with a `Reading`.
"""

from collections.abc import Callable, Mapping, Sequence

from ...counting.layout import Kind, Unit
from ...counting.rows import Row
from ...families.family import Family, Reading, Shown, counted_rows, number, sample_text

Metadata = Callable[[str, Family], str]


def text_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in the text format 0.0.4."""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n"


def openmetrics_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in OpenMetrics, where a counter's family has no `_total`."""
    return text_metadata(name.removesuffix("_total"), family)


class Text:
    """Renders the families of one table, and keeps what is formatted once.

    Args:
        families: In the order in which they are shown.
        names: Their names with the namespace.
        kinds: The layout of the rows.
    """

    def __init__(self, families: Sequence[Family], names: Sequence[str], kinds: Sequence[Kind]) -> None:
        self.families = families
        self.names = names
        self.views = [
            (
                kind,
                [_View(Shown(family, kind), names[n]) for n, family in enumerate(families) if family.kind == kind.name],
            )
            for kind in kinds
        ]

    def render(self, reading: Reading, metadata: Metadata, asked: frozenset[str] = frozenset()) -> list[bytes]:
        """Return the families as pieces of UTF-8, which are to be joined once.

        Args:
            reading: What to show.
            metadata: What introduces a family in the format at hand.
            asked: Names of families or samples; only these families are shown. Empty for all.
        """
        lines: dict[str, list[bytes]] = {name: [] for name in self.names}
        series = sum(family.value is not None for family in self.families)
        for kind, views in self.views:
            cells = reading.cells[kind.name]
            for row in counted_rows(kind, reading):
                for view in views:
                    series += view.add(row, cells, lines[view.name])
        parts: list[bytes] = []
        for name, family in zip(self.names, self.families, strict=True):
            if family.value is not None:
                lines[name].append(f"{name} {number(family.value(reading, series))}\n".encode())
            if not asked or not asked.isdisjoint(family.names(name)):
                parts.append(metadata(name, family).encode())
                parts += lines[name]
        return parts


class _View:
    """One family's lines, by row, each with a `%` where its number goes: bytes fill in faster than strings."""

    def __init__(self, shown: Shown, name: str) -> None:
        self.shown = shown
        self.values = shown.values
        self.is_sparse = shown.family.is_sparse
        self.name = name
        self.rows: dict[int, tuple[Row, tuple[int, ...], list[bytes], bytes]] = {}

    def add(self, row: Row, cells: Sequence[float], lines: list[bytes]) -> int:
        """Append the lines of a row, and return how many."""
        kept = self.rows.get(row.number)
        codes = row.codes
        if kept is None or kept[0] is not row or kept[1] is not codes:
            kept = self.rows[row.number] = self._format(row, codes)
        _, _, single, all_lines = kept
        values = self.values(cells, row.start, len(codes))
        if not self.is_sparse:
            lines.append(all_lines % tuple(values))
            return len(single)
        before = len(lines)
        lines += [line % value for line, value in zip(single, values, strict=True) if value]
        return len(lines) - before

    def _format(self, row: Row, codes: tuple[int, ...]) -> tuple[Row, tuple[int, ...], list[bytes], bytes]:
        last = self.shown.kind.field(self.shown.family.fields[-1])
        single = [
            _line(self.name, suffix, labels, suffix == "_sum" and last.unit is Unit.SECONDS)
            for suffix, labels in self.shown.series(row, codes)
        ]
        return row, codes, single, b"".join(single)


def _line(name: str, suffix: str, labels: Mapping[str, str], is_float: bool) -> bytes:
    value = "%r" if is_float else "%d.0"  # the rest are whole numbers, and `%d` costs less than `%r`
    return f"{sample_text(name + suffix, labels).replace('%', '%%')} {value}\n".encode()
