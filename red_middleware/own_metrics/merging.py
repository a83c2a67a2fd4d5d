"""How what several workers say of one number of the application becomes one: prometheus_client's rules, no `pid`.

Numbers that only grow add up, see `totals`. Of any other each worker says a `State`, and its mode tells what they come
to: prometheus_client's own modes, but for these.

    all        prometheus_client's default, which nobody chose on purpose: what has been incremented or decremented is
               in progress, and adds up over the living; else what was set last, by whichever worker
    family     what a family is called and looks like; shown while a worker that lives has it

Everything here is a pure function.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ..counting.layout import STATE_CELLS, SUM_CELLS

ABSENT: Final = 0.0
PRESENT: Final = 1.0
MOVED: Final = 2.0
"""Incremented or decremented since it was present."""

NEVER: Final = -1.0
"""When a number was set that a worker has from another one, which says it as well."""

DEFAULT: Final = "all"
FAMILY: Final = "family"
BY_WORKER: Final = "liveall"
RECENT: Final = "mostrecent"
SUMMED: Final = frozenset({DEFAULT, "sum", "livesum"})
"""Modes in which the numbers of several workers may add up."""

INFO: Final = "info"
"""One of the contents that an info has had. Of several, what was set last is shown."""


FAR_FUTURE: Final = 2.0**34
"""Seconds since the epoch. What was made first is farthest from it."""


class Sum(NamedTuple):
    """What one worker says of a number that adds up, what the dead left of it, or what all come to."""

    total: float
    """What it counted itself."""
    rest: float
    """What of the exact sum of the dead does not fit in there."""
    inherited: float
    """What it had from its master, which other workers have as well."""
    age: float
    """How long before `FAR_FUTURE` it was made; 0 where it was not. The oldest counts."""


class State(NamedTuple):
    """What one worker says of a gauge, or what the dead left of it."""

    value: float
    seconds: float
    """When it was last set, on the monotonic clock; 0 if it never was, or `NEVER`."""
    state: float
    inherited: float
    """What the worker had from its master, which other workers have as well."""


NOBODYS: Final = State(0.0, 0.0, ABSENT, 0.0)


def totals(files: Sequence[Sequence[float]], has_rests: bool = True) -> list[float]:
    """Add up rows of `OWN_SUM`: exactly, so that the sum is the same in any order and in any groups.

    What is exact has 106 bits, of the largest number and of the smallest. Beyond them it is rounded up.

    Args:
        files: The cells of workers and of the retired, each of one length.
        has_rests: Whether the rests are asked for. What is shown at once, and not added to anything, needs none.
    """
    if not files:
        return []
    found = [0.0] * len(files[0])
    total, rest, inherited, age = ([file[cell::SUM_CELLS] for file in files] for cell in range(SUM_CELLS))
    columns = [*total, *filter(any, rest)]  # only the retired have rests
    sums = found[0::SUM_CELLS] = _each_exactly(columns)
    if has_rests:
        finite = [total if math.isfinite(total) else 0.0 for total in sums]
        columns.append([-total for total in finite])
        rests = _each_exactly(columns)
        lost = _each_exactly([*columns, [-rest for rest in rests]])  # what does not fit into two numbers
        rests = [math.nextafter(rest, math.inf) if more > 0.0 else rest for rest, more in zip(rests, lost, strict=True)]
        found[1::SUM_CELLS] = [rest if math.isfinite(total) else 0.0 for rest, total in zip(rests, sums, strict=True)]
    found[2::SUM_CELLS] = _each_largest(inherited)
    found[3::SUM_CELLS] = _each_largest(age)
    return found


def _each_exactly(columns: Sequence[Sequence[float]]) -> list[float]:
    """Return the sum of each row. All at once cost far less than a call of `_exactly` for each."""
    try:
        return [*map(math.fsum, zip(*columns, strict=True))]
    except (OverflowError, ValueError):  # one of them
        return [*map(_exactly, zip(*columns, strict=True))]


def _each_largest(columns: Sequence[Sequence[float]]) -> list[float]:
    """Return what of each row is farthest from zero: a sum of what was observed may be less."""
    if len(columns) == 1 or not any(map(any, columns)):
        return [*columns[0]]
    largest = [*map(max, *columns)]
    if min(map(min, columns)) < 0.0:
        return [max(most, 0.0) + min(least, 0.0) for most, least in zip(largest, map(min, *columns), strict=True)]
    return largest


def _exactly(numbers: Iterable[float]) -> float:
    numbers = tuple(numbers)
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # infinite, or about to be
        return sum(numbers)


def leave(modes: Sequence[str], kept: Sequence[float], dead: Sequence[float]) -> list[float]:
    """Return what the dead left, given what they had left before and the cells of one who died.

    Args:
        modes: Of each row.
        kept: Cells of `OWN_STATE`; empty for none.
        dead: The same.
    """
    found = list(kept) or [0.0] * len(dead)
    for row, mode in enumerate(modes):
        at = row * STATE_CELLS
        end = at + STATE_CELLS
        if dead[at + 2]:
            found[at:end] = _left(mode, State(*found[at:end]), State(*dead[at:end]))
    return found


def _left(mode: str, kept: State, dead: State) -> State:
    if mode.startswith("live") or mode == FAMILY or (mode == DEFAULT and dead.state == MOVED):
        return kept
    if not kept.state:
        return dead
    if mode == "sum":
        inherited = max(kept.inherited, dead.inherited)
        return State(_sum([kept, dead]), max(kept.seconds, dead.seconds), PRESENT, inherited)
    return _chosen(mode, [kept, dead])


def shown(mode: str, living: Iterable[State], left: State) -> float | None:
    """Return the value of a number; `None` where nobody has it. Not for `BY_WORKER`.

    Args:
        mode: The mode of the gauge.
        living: What the workers say that live.
        left: What the dead left.
    """
    present = [state for state in living if state.state]
    if left.state and not mode.startswith("live") and mode != FAMILY:
        present.append(left)
    if not present:
        return None
    mode = mode.removeprefix("live")
    if mode == "sum" or (mode == DEFAULT and any(state.state == MOVED for state in present)):
        return _sum(state for state in present if mode == "sum" or state is not left)
    return _chosen(mode, present).value


def _sum(found: Iterable[State]) -> float:
    found = list(found)
    return _exactly([state.value - state.inherited for state in found]) + max(state.inherited for state in found)


def _chosen(mode: str, found: Sequence[State]) -> State:
    if mode == "min":
        return min(found, key=lambda state: state.value)
    if mode == "max":
        return max(found, key=lambda state: state.value)
    return max(found, key=lambda state: state.seconds)
