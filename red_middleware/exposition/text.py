"""Our families as text, fast: what never changes of a row is formatted once, a scrape only fills in the numbers.

The lines are those that prometheus_client writes for `RedMetrics.collect()`, in the text format 0.0.4 and in
OpenMetrics 1.0.0, which differ in the metadata only. Called by `endpoint`; reads the table through `RedMetrics`.
"""

import weakref
from collections.abc import Callable
from itertools import accumulate

from ..families import (
    DISCONNECTS,
    DURATION,
    ERRORS,
    FAMILIES,
    REQUESTS,
    Family,
    Sample,
    bucket_labels,
    number,
    row_statuses,
    sample_text,
    small_samples,
)
from ..labels import OVERFLOW, status_label
from ..metrics import RedMetrics
from ..table import Row

Metadata = Callable[[str, Family], str]


def text_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in the text format 0.0.4."""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"


def openmetrics_metadata(name: str, family: Family) -> str:
    """Return the lines that introduce a family in OpenMetrics, where a counter's family has no `_total`."""
    return text_metadata(name.removesuffix("_total"), family)


def render(metrics: RedMetrics, metadata: Metadata) -> str:
    """Return all families of one `RedMetrics` in the format whose metadata is given, from one reading of its table."""
    kept = _kept.get(metrics)
    if kept is None:
        kept = _kept[metrics] = _Kept(metrics)
    found = kept.lines()
    return "".join(metadata(kept.names[family], family) + found[family] for family in FAMILIES)


class _Kept:
    """What is formatted once: the names and, by row, the lines without their numbers."""

    def __init__(self, metrics: RedMetrics) -> None:
        self.metrics = metrics
        self.names = {family: metrics.full_name(family) for family in FAMILIES}
        self.les = bucket_labels(metrics.table.bounds)
        self.rows: dict[int, _RowLines] = {}

    def lines(self) -> dict[Family, str]:
        """Return the sample lines of every family."""
        table = self.metrics.table
        reading = table.read()
        cells = reading.cells
        requests: list[str] = []
        errors: list[str] = []
        duration: list[str] = []
        disconnects: list[str] = []
        overflowed = 0.0
        for row in reading.rows:
            buckets = list(accumulate(cells[row.buckets : row.seconds]))
            count = buckets[-1]
            if not count:
                continue
            kept = self.rows.get(row.number)
            if kept is None or kept.codes is not row.codes:
                kept = self.rows[row.number] = _RowLines(self, row)
            requests += [line % cells[cell] for line, cell in kept.requests if cells[cell]]
            errors.append(kept.errors % cells[row.errors])
            duration.append(kept.duration % (*buckets, count, cells[row.seconds]))
            if cells[row.disconnects]:
                disconnects.append(kept.disconnects % cells[row.disconnects])
            if row.route == OVERFLOW:
                overflowed += count
        series = len(requests) + len(errors) + len(duration) * (len(self.les) + 2) + len(disconnects)
        small = small_samples(table, reading, self.metrics.uptime_seconds(), overflowed, series)
        return {
            REQUESTS: "".join(requests),
            ERRORS: "".join(errors),
            DURATION: "".join(duration),
            DISCONNECTS: "".join(disconnects),
            **{family: self._plain(family, found) for family, found in small.items()},
        }

    def _plain(self, family: Family, found: list[Sample]) -> str:
        name = self.names[family]
        return "".join(f"{sample_text(name + s.suffix, s.labels)} {number(s.value)}\n" for s in found)


class _RowLines:
    """The lines of one row, each with a `%r` where its number goes."""

    def __init__(self, kept: _Kept, row: Row) -> None:
        labels = {"method": row.method.label, "route": row.route}
        requests, errors, disconnects, duration = (
            kept.names[family] for family in (REQUESTS, ERRORS, DISCONNECTS, DURATION)
        )
        self.codes = row.codes
        self.requests = [
            (_line(requests, {**labels, "status": status_label(code)}), cell) for code, cell in row_statuses(row)
        ]
        self.errors = _line(errors, labels)
        self.disconnects = _line(disconnects, labels)
        self.duration = "".join(
            [
                *(_line(f"{duration}_bucket", {**labels, "le": le}) for le in kept.les),
                _line(f"{duration}_count", labels),
                _line(f"{duration}_sum", labels),
            ]
        )


def _line(name: str, labels: dict[str, str]) -> str:
    return sample_text(name, labels).replace("%", "%%") + " %r\n"


_kept: "weakref.WeakKeyDictionary[RedMetrics, _Kept]" = weakref.WeakKeyDictionary()
