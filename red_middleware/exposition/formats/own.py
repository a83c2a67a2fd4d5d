"""The application's own metrics of all workers as text: what never changes of a child is formatted once.

The lines are those that prometheus_client writes: it writes each child once, with zeros, and from then on a scrape
fills the numbers in. Called by `endpoint`, with a `Reading`.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from math import isfinite
from operator import add
from typing import Any, Final, NamedTuple

from prometheus_client import metrics as prometheus_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

from ...counting.layout import OWN_STATE, OWN_SUM, STATE_CELLS, SUM_CELLS, UNTOLD, Key
from ...counting.table import Holder, Table
from ...families.family import Reading
from ...own_metrics import merging, values
from ...own_metrics.merging import BY_WORKER, FAMILY, FAR_FUTURE, INFO, State

Write = Callable[[Iterable[Metric]], bytes]
"""Writes families in a format, as prometheus_client does, without an end."""

SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "info": ("_info",),
}
"""What the samples of a family may have behind its name, by its type; those of another type have nothing there."""


class Pieces:
    """What prometheus_client wrote of one family. In the text format, when things were made is a family of its own."""

    def __init__(self, text: bytes) -> None:
        heads: list[bytes] = []
        lines: list[list[bytes]] = []
        for line in text.split(b"\n")[:-1]:  # a carriage return may stand in a label or a description
            line += b"\n"
            if not line.startswith(b"# "):
                lines[-1].append(line)
            elif line.startswith(b"# HELP "):
                heads.append(line)
                lines.append([])
            else:
                heads[-1] += line
        self.head: bytes = heads[0]
        self.lines: list[bytes] = lines[0]
        self.created_head: bytes = heads[1] if heads[1:] else b""
        self.created_lines: list[bytes] = lines[1] if lines[1:] else []

    def add(self, other: "Pieces") -> None:
        """Take the lines of another one of the same family."""
        self.created_head = self.created_head or other.created_head
        self.lines += other.lines
        self.created_lines += other.created_lines

    def text(self) -> bytes:
        """Return all of it."""
        return b"".join([self.head, *self.lines, self.created_head, *self.created_lines])


class Template:
    """What prometheus_client wrote of one child, with `%r` in the place of each number.

    Args:
        written: What it wrote.
        count: How many numbers the child has, beside the time when it was made.
    """

    def __init__(self, written: Pieces, count: int) -> None:
        self.created_head: bytes = written.created_head
        self.lines: bytes = b"".join(map(_with_place, written.lines))
        self.created_line: bytes = b"".join(map(_with_place, written.created_lines))
        self.is_with_created: bool = len(written.lines) > count


def _with_place(line: bytes) -> bytes:
    return line.rpartition(b" ")[0].replace(b"%", b"%%") + b" %r\n"


class Place(NamedTuple):
    """A row: where it is, and what it is. A `Row` holds its table, which nothing here is to keep."""

    kind: str
    number: int
    key: Key


class Look:
    """One reading of a table's rows for the application's metrics.

    Args:
        reading: What was read.
        table: Whose rows they are: it knows who holds them in this process.
    """

    def __init__(self, reading: Reading, table: Table) -> None:
        self.reading = reading
        self.holders: Mapping[int, Holder] = table.regions[OWN_SUM].holders
        cells = reading.cells[OWN_SUM]
        self.sums: list[float] = [*map(add, cells[0::SUM_CELLS], cells[2::SUM_CELLS])]
        self.ages: Sequence[float] = cells[3::SUM_CELLS]
        self.is_finite: bool = isfinite(sum(self.sums))

    def states(self, row: Place) -> Iterator[tuple[int, State]]:
        """Yield what each worker says in a row, with its pid."""
        for pid, cells in self.reading.states:
            yield pid, _state(cells, row)

    def value(self, row: Place) -> float | None:
        """Return what a row shows; `None` for nothing."""
        left = _state(self.reading.cells[OWN_STATE], row)
        return merging.shown(row.key[2], (state for _, state in self.states(row)), left)

    def seconds(self, row: Place) -> float:
        """Return when a row was last set."""
        left = _state(self.reading.cells[OWN_STATE], row)
        return max(state.seconds for state in (left, *(state for _, state in self.states(row))) if state.state)

    def held(self, children: Sequence["Child"]) -> int:
        """Return how many of these this process counts in the table, too."""
        holders = self.holders
        return sum([child.numbered[0] in holders for child in children])

    def exemplar(self, row: Place) -> Exemplar | None:
        """Return the exemplar that this worker has for a row."""
        holder: Any = self.holders.get(row.number)
        found: Exemplar | None = None if holder is None else holder.get_exemplar()
        return found


def _state(cells: Sequence[float], row: Place) -> State:
    at = row.number * STATE_CELLS
    return State(*cells[at : at + STATE_CELLS])


class Child:
    """One child whose numbers add up.

    Args:
        family: The name and the type of its family.
        pairs: Its label names and values, by turns.
    """

    def __init__(self, family: tuple[str, str], pairs: Key) -> None:
        self.name: str
        self.type: str
        self.name, self.type = family
        self.label_names: Key = pairs[::2]
        self.label_values: Key = pairs[1::2]
        self.labels: dict[str, str] = dict(zip(self.label_names, self.label_values, strict=True))
        self.rows: list[tuple[str, str, Place]] = []  # suffix, upper bound of a bucket, row
        self.numbered: list[int] = []  # the numbers of the rows
        self.templates: dict[Hashable, Template] = {}  # by the format

    def add(self, suffix: str, le: str, row: Place) -> None:
        """Take one more row, in the order of the log; buckets are sorted, since workers may differ after a reload."""
        self.rows.append((suffix, le, row))
        if le:
            self.rows.sort(key=lambda found: float(found[1] or "-inf"))
        self.numbered = [row.number for _, _, row in self.rows]
        self.templates = {}

    def created(self, look: Look) -> float:
        """Return when it was made, seconds since the epoch; 0 where nobody has it."""
        age = look.ages[self.numbered[0]]
        return FAR_FUTURE - age if age else 0.0

    def numbers(self, look: Look) -> tuple[float, ...]:
        """Return its numbers in the order of `named`."""
        sums = look.sums
        found = [sums[number] for number in self.numbered]
        if self.type != "histogram":
            return tuple(found)
        counts = [*accumulate(found[1:])]
        return (*counts, *counts[-1:], *([] if self.is_negative() else found[:1]))

    def is_negative(self) -> bool:
        """Tell whether a bucket counts what is less than zero: the sum is no counter then, and not shown."""
        return len(self.rows) > 1 and float(self.rows[1][1]) < 0.0

    def named(self) -> list[tuple[str, dict[str, str], Place | None]]:
        """Return what follows the family's name in those of its samples, their labels, and the row of each."""
        if self.type != "histogram":
            return [(suffix, self.labels, row) for suffix, _, row in self.rows]
        found: list[tuple[str, dict[str, str], Place | None]] = [
            (suffix, {**self.labels, "le": le}, row) for suffix, le, row in self.rows[1:]
        ]
        return [*found, ("_count", self.labels, None), *([] if self.is_negative() else [("_sum", self.labels, None)])]

    def samples(self, numbers: Sequence[float], created: float, look: Look | None = None) -> list[Sample]:
        """Return its samples, with the exemplars that this worker has."""
        found = [
            Sample(self.name + suffix, labels, value, None, look.exemplar(row) if look and row else None)
            for (suffix, labels, row), value in zip(self.named(), numbers, strict=True)
        ]
        if _has_created():
            found.append(Sample(f"{self.name}_created", self.labels, created))
        return found

    def template(self, style: Hashable, made: Metric, write: Write) -> Template:
        """Return its template in a format.

        Args:
            style: What tells the format from others.
            made: Its family, whose samples are replaced.
            write: What writes families in the format.
        """
        if style not in self.templates:
            numbers = (0.0,) * len(self.named())
            made.samples = self.samples(numbers, 0.0)
            self.templates[style] = Template(Pieces(write([made])), len(numbers))
        return self.templates[style]

    def has_exemplar(self, look: Look) -> bool:
        """Tell whether this worker has an exemplar of it."""
        holders = look.holders
        return any(getattr(holders.get(row.number), "_exemplar", None) is not None for _, _, row in self.rows)


def _has_created() -> bool:
    """Tell whether the application wants to be shown when things were made."""
    return bool(getattr(prometheus_metrics, "_use_created", True))


class Whole:
    """The templates of several children in one: to fill them at once costs less than one by one.

    Args:
        children: Of one family.
        templates: What was written of each.
    """

    def __init__(self, children: Sequence[Child], templates: Sequence[Template]) -> None:
        self.children = children
        self.created_head: bytes = templates[0].created_head
        self.lines: bytes = b"".join(template.lines for template in templates)
        self.created_lines: bytes = b"".join(template.created_line for template in templates)
        self.is_with_created: bool = templates[0].is_with_created
        self.numbered: list[int] = [number for child in children for number in child.numbered]
        self.is_plain: bool = not self.is_with_created and children[0].type != "histogram"

    def fill(self, into: Pieces, look: Look) -> None:
        """Write the children."""
        numbers: Iterable[float]
        if self.is_plain:
            numbers = map(look.sums.__getitem__, self.numbered)
        elif self.is_with_created:
            numbers = chain.from_iterable((*child.numbers(look), child.created(look)) for child in self.children)
        else:
            numbers = chain.from_iterable(child.numbers(look) for child in self.children)
        into.lines.append(self.lines % (*numbers,))
        if self.created_lines:
            into.created_head = self.created_head
            into.created_lines.append(self.created_lines % (*(child.created(look) for child in self.children),))


class Described(NamedTuple):
    """What the log of the workers says of a family."""

    documentation: str
    unit: str
    states: Key
    """Of an enum."""


class OwnFamily:
    """The rows of one family.

    Args:
        name: Its name, without `_total`.
        kind: Its type, as prometheus_client calls it.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.type = kind
        self.described: dict[Place, Described] = {}
        self.formatted: Described | None = None  # what the templates of the children say
        self.children: dict[Key, Child] = {}
        self.wholes: dict[Hashable, Whole] = {}  # of the children that were shown last, by the format
        self.states: dict[Key, list[Place]] = {}

    def add(self, row: Place) -> None:
        """Take one more row, in the order of the log."""
        _, _, third, *rest = row.key
        if row.kind == OWN_SUM:
            le = ""
            if third == "_bucket":
                *rest, _, le = rest
            pairs = tuple(rest)
            if pairs not in self.children:
                self.children[pairs] = Child((self.name, self.type), pairs)
            self.children[pairs].add(third, le, row)
            self.wholes = {}
        elif third == FAMILY:
            documentation, unit, *states = rest
            self.described[row] = Described(documentation, unit, tuple(states))
        else:
            own = rest[1 : 1 + int(rest[0])] if third == INFO else rest
            self.states.setdefault(tuple(own), []).append(row)

    def names(self) -> set[str]:
        """Return what the family and its samples are called."""
        return {self.name, *(self.name + suffix for suffix in SUFFIXES.get(self.type, ()))}

    def describe(self, look: Look) -> Described | None:
        """Return what it looks like; `None` where no worker that lives has it."""
        found = [said for row, said in self.described.items() if look.value(row) is not None]
        return found[-1] if found else None

    def samples(self, pairs: Key, look: Look, states: Key) -> list[Sample]:
        """Return the samples of a child whose numbers do not add up: a gauge, an info, an enum."""
        labels = dict(zip(pairs[::2], pairs[1::2], strict=True))
        shown = [(row, value) for row in self.states[pairs] if (value := look.value(row)) is not None]
        if not shown:
            return []
        newest, value = shown[-1]  # of a gauge that has another mode since a reload
        if self.type == "gauge" and newest.key[2] == BY_WORKER:
            said = [(pid, state) for pid, state in look.states(newest) if state.state]
            return [Sample(self.name, {**labels, "pid": str(pid)}, state.value) for pid, state in said]
        if self.type == "info":
            row, _ = max(shown, key=lambda found: look.seconds(found[0]))
            content = row.key[4 + len(pairs) :]
            labels.update(zip(content[::2], content[1::2], strict=True))
            return [Sample(f"{self.name}_info", labels, 1.0)]
        if self.type == "stateset":
            return [
                Sample(self.name, {**labels, self.name: state}, 1.0 if at == value else 0.0)
                for at, state in enumerate(states)
            ]
        return [Sample(self.name, labels, value)]


class Shown:
    """A family as it is shown in one scrape.

    Args:
        family: Its rows.
        look: What was read.
        metric: This worker's, `None` where it has none.
    """

    def __init__(self, family: OwnFamily, look: Look, metric: Any) -> None:
        self.family = family
        self.look = look
        self.metric = metric

    def write(self, write: Write, style: Hashable, has_exemplars: bool) -> bytes:
        """Return the family as text.

        Args:
            write: What writes families.
            style: What tells its format from others.
            has_exemplars: Whether the format has exemplars.
        """
        family, look, metric = self.family, self.look, self.metric
        described = family.describe(look)
        if described is None:
            return write(metric.collect())
        if described != family.formatted:
            for child in family.children.values():
                child.templates = {}
            family.wholes = {}
            family.formatted = described
        made = Metric(family.name, described.documentation, family.type, described.unit)
        found = Pieces(write([made]))
        shown = [child for child in family.children.values() if look.ages[child.numbered[0]]]
        style = (style, _has_created())
        if not look.is_finite or (has_exemplars and any(child.has_exemplar(look) for child in shown)):
            exemplars = look if has_exemplars else None
            for child in shown:
                if look.is_finite and not child.has_exemplar(look):
                    Whole([child], [child.template(style, made, write)]).fill(found, look)
                else:
                    made.samples = child.samples(child.numbers(look), child.created(look), exemplars)
                    found.add(Pieces(write([made])))
        elif shown:
            whole = family.wholes.get(style)
            if whole is None or whole.children != shown:
                whole = Whole(shown, [child.template(style, made, write) for child in shown])
                family.wholes[style] = whole
            whole.fill(found, look)
        made.samples = self._others(described, shown)
        if made.samples:
            found.add(Pieces(write([made])))
        return found.text()

    def _others(self, described: Described, shown: Sequence[Child]) -> list[Sample]:
        """Return what does not add up, and what only this worker has: what a function computes, what found no room."""
        family, look = self.family, self.look
        ours: dict[Key, Any] = {}
        if self.metric is not None and look.held(shown) < values.count(self.metric):
            names = self.metric._labelnames
            known = {child.label_values for child in shown if child.label_names == names}
            ours = {values.pairs_of(one): one for one in values.observable(self.metric, known)}
        found: list[Sample] = []
        shared: set[Key] = set()
        for pairs in family.states:
            if pairs not in ours or not values.is_computed(ours[pairs]):
                samples = family.samples(pairs, look, described.states)
                if samples:
                    shared.add(pairs)
                    found += samples
        for pairs, one in ours.items():
            if pairs not in shared:
                labels = dict(zip(pairs[::2], pairs[1::2], strict=True))
                for suffix, more, *others in one._child_samples():
                    found.append(Sample(family.name + suffix, {**labels, **more}, *others))
        return found


class OwnText:
    """The families of the application in one table, by name and type."""

    def __init__(self) -> None:
        self.table: Callable[[], Table | None] = lambda: None
        self.families: dict[tuple[str, str], OwnFamily] = {}
        self.rows: dict[str, int] = {}  # how many were taken, by kind

    def look(self, reading: Reading, table: Table) -> Look | None:
        """Take what is new in a reading; `None` where its table has no rows for the application's metrics."""
        if OWN_SUM not in reading.rows:
            return None
        if table is not self.table():
            self.table, self.families, self.rows = weakref.ref(table), {}, {}
        for kind in (OWN_SUM, OWN_STATE):
            rows = reading.rows[kind]
            for row in rows[self.rows.get(kind, 0) :]:
                if row.key != UNTOLD:
                    name, of_type, *_ = row.key
                    family = self.families.setdefault((name, of_type), OwnFamily(name, of_type))
                    family.add(Place(kind, row.number, row.key))
            self.rows[kind] = len(rows)
        return Look(reading, table)
