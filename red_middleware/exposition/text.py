"""Our families as text, fast: what never changes of a row is formatted once, a scrape only fills in the numbers.

The lines are those that prometheus_client writes for `RedMetrics.collect()`, in the text format 0.0.4 and in
OpenMetrics 1.0.0, which differ in the metadata only. One liberty: from a million on it writes Go's exponents, and this
room all digits, which is the same number for half the work. Called by `endpoint`; reads the table through `RedMetrics`.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence

from ..families import (
    FAMILIES,
    ROW_FAMILIES,
    Family,
    bucket_labels,
    counted_rows,
    number,
    row_series,
    sample_text,
    small_samples,
)
from ..metrics import RedMetrics
from ..table import Row, Table

Metadata = Callable[[str, Family], str]


def text_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in the text format 0.0.4."""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"


def openmetrics_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in OpenMetrics, where a counter's family has no `_total`."""
    return text_metadata(name.removesuffix("_total"), family)


def render(metrics: RedMetrics, metadata: Metadata, asked: frozenset[str] = frozenset()) -> list[bytes]:
    """Return the families of one `RedMetrics`, from one reading of its table: pieces of UTF-8, to be joined once.

    Args:
        metrics: Whose families.
        metadata: What introduces a family in the format at hand.
        asked: Names, of families or of samples, whose families alone are wanted; empty for all.
    """
    metrics.begin()
    table = metrics.table
    kept = _kept.get(table)
    if kept is None:
        kept = _kept[table] = _Kept(table, [metrics.full_name(family) for family in FAMILIES])
    lines = kept.lines(table, metrics.uptime_seconds())
    parts: list[bytes] = []
    for name, family, found in zip(kept.names, FAMILIES, lines, strict=True):
        if not asked or not asked.isdisjoint(family.names(name)):
            parts.append(metadata(name, family).encode())
            parts += found
    return parts


class _Kept:
    """What is formatted once of a table: the names of its families and, by row, the lines without their numbers."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self.names = names
        self.les = bucket_labels(table.bounds)
        self.rows: dict[int, _RowLines] = {}

    def lines(self, table: Table, uptime_seconds: float) -> list[list[bytes]]:
        """Return the sample lines of every family, in the order of `FAMILIES`."""
        reading = table.read()
        requests: list[bytes] = []
        errors: list[bytes] = []
        duration: list[bytes] = []
        disconnects: list[bytes] = []
        for row, codes, (by_code, failed, seconds, left) in counted_rows(reading):
            kept = self.rows.get(row.number)
            if kept is None or kept.codes is not codes:
                kept = self.rows[row.number] = _RowLines(row, codes, self.names, self.les)
            requests += [line % n for line, n in zip(kept.requests, by_code, strict=True) if n]
            errors.append(kept.errors % failed)
            duration.append(kept.duration % seconds)
            if left[0]:
                disconnects.append(kept.disconnects % left)
        series = len(requests) + len(errors) + len(duration) * (len(self.les) + 2) + len(disconnects)
        small = small_samples(table, reading, uptime_seconds, series)
        plain = [
            [f"{sample_text(name + suffix, labels)} {number(value)}\n".encode() for suffix, labels, value in found]
            for name, found in zip(self.names[len(ROW_FAMILIES) :], small.values(), strict=True)
        ]
        return [requests, errors, duration, disconnects, *plain]


class _RowLines:
    """The lines of one row, each with a `%` conversion where its number goes: bytes fill in faster than strings."""

    def __init__(self, row: Row, codes: tuple[int, ...], names: Sequence[str], les: Sequence[str]) -> None:
        lines = [
            [_line(name, suffix, labels) for suffix, labels in series]
            for name, series in zip(names, row_series(row, codes, les), strict=False)
        ]
        self.codes = codes
        self.requests = lines[0]
        self.errors, self.duration, self.disconnects = map(b"".join, lines[1:])


def _line(name: str, suffix: str, labels: Mapping[str, str]) -> bytes:
    value = "%r" if suffix == "_sum" else "%d.0"  # the rest are whole numbers, and `%d` costs less than `%r`
    return f"{sample_text(name + suffix, labels).replace('%', '%%')} {value}\n".encode()


_kept: "weakref.WeakKeyDictionary[Table, _Kept]" = weakref.WeakKeyDictionary()
