"""Our families as text, fast: what never changes of a row is formatted once, a scrape only fills in the numbers.

The lines are those that prometheus_client writes for `RedMetrics.collect()`, in the text format 0.0.4 and in
OpenMetrics 1.0.0, which differ in the metadata only. One liberty: from a million on it writes Go's exponents, and this
room all digits, which is the same number for half the work. Called by `endpoint`, with a `Reading`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...counting.layout import Key, Kind, Unit
from ...counting.rows import Row
from ...families.family import Family, Reading, Shown, Values, counted_rows, number, sample_text, views_of

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
        named = list(zip(names, families, strict=True))
        self.views: list[_View] = [
            _View(
                kind,
                [(name, shown) for name, one in named if one.kind == kind.name for shown in views_of(one, kind)],
            )
            for kind in kinds
        ]
        self.constants: dict[str, list[bytes]] = {
            name: [f"{sample_text(name, dict(labels))} {number(value)}\n".encode() for labels, value in one.constants]
            for name, one in named
        }

    def render(self, reading: Reading, metadata: Metadata, asked: frozenset[str] = frozenset()) -> list[bytes]:
        """Return the families as pieces of UTF-8, which are to be joined once.

        Args:
            reading: What to show.
            metadata: What introduces a family in the format at hand.
            asked: Names of families or samples; only these families are shown. Empty for all.
        """
        lines: dict[str, list[bytes]] = {name: [*constants] for name, constants in self.constants.items()}
        series = sum((family.value is not None) + len(family.constants) for family in self.families)
        for view in self.views:
            series += view.add(reading, lines)
        for name, family in zip(self.names, self.families, strict=True):
            if family.by_worker is not None:
                shown = [(sample_text(name, {"pid": str(pid)}), value) for pid, value in family.by_worker(reading)]
                lines[name] += [f"{sample} {number(value)}\n".encode() for sample, value in shown]
                series += len(shown)
        parts: list[bytes] = []
        for name, family in zip(self.names, self.families, strict=True):
            if family.value is not None:
                lines[name].append(f"{name} {number(family.value(reading, series))}\n".encode())
            is_shown = lines[name] or not family.is_quiet
            if is_shown and (not asked or not asked.isdisjoint(family.names(name))):
                parts.append(metadata(name, family).encode())
                parts += lines[name]
        return parts


class _View:
    """The lines of one kind of rows, each with a `%` where its number goes: bytes fill in faster than strings."""

    def __init__(self, kind: Kind, named: Sequence[tuple[str, Shown]]) -> None:
        self.kind = kind
        self.named = [(name, shown) for name, shown in named if not shown.family.hidden]
        self.added_up = [(name, shown) for name, shown in named if shown.family.hidden]
        self.rows: dict[int, _RowLines] = {}

    def add(self, reading: Reading, lines: Mapping[str, list[bytes]]) -> int:
        """Append the lines of all rows to those of their families, and return how many."""
        series = 0
        kept = self.rows
        cells = reading.cells[self.kind.name]
        into = [lines[name].append for name, _ in self.named]
        totals: dict[str, dict[bytes, float]] = {name: {} for name, _ in self.added_up}
        added_up = [totals[name] for name, _ in self.added_up]
        for row in counted_rows(self.kind, reading) if into or totals else ():
            codes, start = row.codes, row.start
            formatted = kept.get(row.number)
            if formatted is None or formatted[0] is not row.key or formatted[1] is not codes:
                shown = [self._format(*one, row, codes) for one in (*self.named, *self.added_up)]
                formatted = kept[row.number] = (row.key, codes, shown)
            count = len(codes)
            for add, (values, block, single) in zip(into, formatted[2]):  # noqa: B905  # of one length, in a hot loop
                numbers = values(cells, start, count)
                if block is not None:
                    add(block % numbers)
                    series += len(numbers)
                else:
                    for line, value in zip(single, numbers):  # noqa: B905
                        if value:
                            add(line % value)
                            series += 1
            for total, (values, block, single) in zip(added_up, formatted[2][len(into) :]):  # noqa: B905
                for line, value in zip(single, values(cells, start, count)):  # noqa: B905
                    if value or block is not None:
                        total[line] = total.get(line, 0.0) + value
        for name, total in totals.items():
            lines[name] += [line % value for line, value in total.items()]
            series += len(total)
        return series

    def _format(self, name: str, shown: Shown, row: Row, codes: tuple[int, ...]) -> "_FamilyLines":
        is_timed = self.kind.field(shown.family.fields[-1]).unit is Unit.SECONDS
        single = [
            _line(name, suffix, labels, is_timed and suffix in ("", "_sum"))
            for suffix, labels in shown.series(row, codes)
        ]
        block = b"".join(single) if shown.slot is None else _Slot(b"".join(single))
        return shown.values, None if shown.family.is_sparse else block, single


class _Slot(bytes):
    """The lines of one slot in one: none of them are there while it has counted nothing.

    It is asked for here, and not where the lines of all families are filled in: there it would cost a scrape.
    """

    def __mod__(self, numbers: Any) -> bytes:
        return super().__mod__(numbers) if numbers else b""


_FamilyLines = tuple[Values, bytes | None, list[bytes]]
"""What one family shows of one row: where its values are, its lines in one unless some may be left out, each line."""

_RowLines = tuple[Key, tuple[int, ...], list[_FamilyLines]]
"""The key of a row, the codes that it had when it was formatted, and the lines of its families. A row holds its table,
which these are not to keep."""


def _line(name: str, suffix: str, labels: Mapping[str, str], is_float: bool) -> bytes:
    value = "%r" if is_float else "%d.0"  # the rest are whole numbers, and `%d` costs less than `%r`
    return f"{sample_text(name + suffix, labels).replace('%', '%%')} {value}\n".encode()
