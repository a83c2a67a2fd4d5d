"""What several workers say of one number, as one: sums that are exact whoever is folded first, and gauges by mode."""

import math
from collections.abc import Sequence
from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from red_middleware.counting.layout import OWN_STATE, OWN_SUM, STATE_CELLS, SUM_CELLS, Choices, Unit, extent, layout
from red_middleware.own_metrics.merging import (
    ABSENT,
    BY_WORKER,
    DEFAULT,
    FAMILY,
    INFO,
    MOVED,
    NOBODYS,
    PRESENT,
    RECENT,
    State,
    Sum,
    leave,
    shown,
    totals,
)

LARGE = st.floats(0.0, 1e15).map(lambda number: round(number * 1024) / 1024)
SMALL = st.sampled_from([0.0, 0.1, 0.2, 0.3, 1e-9, 2.5e-7, 1 / 3]) | st.floats(1e-9, 1.0)
NUMBERS = LARGE | SMALL
MODES = sorted(Gauge._MULTIPROC_MODES)


def row(total: float, inherited: float = 0.0, age: float = 0.0) -> list[float]:
    """Return what a worker says."""
    return list(Sum(total, 0.0, inherited, age))


def total(rows: Sequence[Sequence[float]]) -> float:
    """Return what is shown of these."""
    return totals(rows)[0]


def left_by(mode: str, *dead: State) -> State:
    """Return what these left, who died one after the other."""
    kept: list[float] = []
    for one in dead:
        kept = leave([mode], kept, one)
    return State(*kept) if kept else NOBODYS


def said(value: float, seconds: float = 0.0, state: float = PRESENT, inherited: float = 0.0) -> State:
    """Return what a worker says of a gauge."""
    return State(value, seconds, state, inherited)


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_sum_is_exact_and_the_same_in_any_order(numbers: list[float], random: Random) -> None:
    """It is what `math.fsum` makes of the numbers, whose result depends on no order."""
    shuffled = list(numbers)
    random.shuffle(shuffled)
    assert total([row(number) for number in numbers]) == math.fsum(numbers)
    assert totals([row(number) for number in shuffled]) == totals([row(number) for number in numbers])


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_sum_is_the_same_whoever_was_folded_before(groups: list[list[float]]) -> None:
    """Each group is folded into the retired row in turn, which a plain float would round each time."""
    retired = row(0.0)
    for n, group in enumerate(groups):
        retired = totals([retired, *map(row, group)])
        living = [row(number) for number in chain(*groups[n + 1 :])]
        assert total([retired, *living]) == math.fsum(chain(*groups))


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.integers(0, 5), NUMBERS)
def test_no_sum_falls_when_a_worker_counts_or_is_folded(numbers: list[float], which: int, more: float) -> None:
    """Prometheus would take the smallest step down for a restart."""
    rows = [row(number) for number in numbers]
    before = total(rows)
    which %= len(rows)
    grown = [*rows[:which], row(numbers[which] + more), *rows[which + 1 :]]
    after = total(grown)
    assert after >= before
    folded = totals([row(0.0), grown[which]])
    assert total([folded, *grown[:which], *grown[which + 1 :]]) == after


@given(st.lists(st.floats(0.0, 1e15) | st.sampled_from([0.0625, 0.5, 1e-30, 5e-324]), min_size=2, max_size=8))
def test_no_sum_falls_when_workers_are_folded_whatever_they_counted(numbers: list[float]) -> None:
    """Even where the exact sum fits into no two numbers."""
    rows = [row(number) for number in numbers]
    retired = row(0.0)
    before = total(rows)
    while rows:
        retired = totals([retired, rows.pop()])
        assert total([retired, *rows]) >= before
        before = total([retired, *rows])


def test_a_sum_just_above_the_middle_of_two_numbers_does_not_fall() -> None:
    """What does not fit into the rest decided that it was rounded up."""
    rows = [row(1e15), row(0.0625), row(1e-30)]
    assert total([totals(rows)]) == total(rows) == 1e15 + 0.125


def test_a_sum_that_a_plain_float_loses_is_kept() -> None:
    """Ten times 0.1 beside a number so large that it swallows each of them; the retired keep the rest."""
    retired = row(1e15)
    for _ in range(10):
        retired = totals([retired, row(0.1)])
    assert Sum(*retired).rest != 0.0
    assert total([retired, row(1e15)]) == 2e15 + 1.0


@pytest.mark.parametrize("strange", [math.inf, math.nan, -math.inf, 1.7e308])
def test_infinite_numbers_make_nothing_fail(strange: float) -> None:
    """What is counted of one row is no matter of the others."""
    found = totals([[*row(strange), *row(1.0)], [*row(strange), *row(2.0)], [*row(-strange), *row(4.0)]])
    assert found[SUM_CELLS] == 7.0
    assert total([row(math.inf), row(1.0)]) == math.inf
    assert math.isnan(total([row(math.nan), row(1.0)]))
    assert total([row(1.7e308), row(1.7e308)]) == math.inf
    assert totals([row(math.inf)])[1] == 0.0  # nothing is left over of what is infinite
    assert total([totals([row(math.inf)]), row(1.0)]) == math.inf


def test_what_workers_say_alike_counts_once() -> None:
    """What all have from their master, and when it was made: the largest one, of the dead as of the living."""
    found = Sum(*totals([row(1.0, 5.0, 7.0), row(2.0, 5.0, 8.0), row(4.0)]))
    assert found == (7.0, 0.0, 5.0, 8.0)
    assert totals([]) == []


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_a_master_observed_may_be_less_than_zero(sign: float) -> None:
    """A worker that was forked later has more of it, and the retired have none."""
    found = Sum(*totals([row(0.0), row(1.0, 5.0 * sign), row(2.0, 9.0 * sign)]))
    assert (found.total, found.inherited) == (3.0, 9.0 * sign)


@pytest.mark.parametrize("mode", MODES)
def test_a_gauge_merges_by_its_mode(mode: str) -> None:
    """Of three workers the second set it last; then the first and the second die."""
    first, second, third = said(3.0, 10.0), said(5.0, 30.0), said(4.0, 20.0)
    expected = {"min": 3.0, "sum": 12.0}.get(mode.removeprefix("live"), 5.0)
    assert shown(mode, [first, second, third], NOBODYS) == expected
    left = left_by(mode, first, second)
    assert shown(mode, [third], left) == (4.0 if mode.startswith("live") else expected)
    assert shown(mode, [], left) == (None if mode.startswith("live") else {"sum": 8.0, "min": 3.0}.get(mode, 5.0))


@pytest.mark.parametrize("mode", MODES)
def test_a_gauge_that_nobody_has_is_not_shown(mode: str) -> None:
    """Neither where no worker has it, nor after those that never had it died."""
    nobodys = said(9.0, 9.0, ABSENT)
    assert shown(mode, [], NOBODYS) is None
    assert shown(mode, [nobodys], left_by(mode, nobodys)) is None
    assert shown(mode, [nobodys, said(-2.0)], NOBODYS) == -2.0


def test_a_default_gauge_that_was_set_is_what_was_set_last() -> None:
    """By a worker that has died, too; and the living go on from there."""
    left = left_by(DEFAULT, said(3.0, 10.0), said(5.0, 30.0), said(4.0, 20.0))
    assert shown(DEFAULT, [said(1.0, 29.0)], left) == 5.0
    assert shown(DEFAULT, [said(1.0, 31.0)], left) == 1.0


def test_a_default_gauge_that_was_incremented_is_in_progress_in_the_living() -> None:
    """One that was incremented is enough to tell; what died was in progress no longer."""
    living = [said(2.0, state=MOVED), said(1.0, state=MOVED), said(0.0)]
    left = left_by(DEFAULT, said(7.0, state=MOVED), said(9.0, 50.0))
    assert left.value == 9.0
    assert shown(DEFAULT, living, left) == 3.0
    assert left_by(DEFAULT, said(7.0, state=MOVED)) == NOBODYS


@pytest.mark.parametrize("mode", ["sum", "livesum", DEFAULT])
def test_what_workers_have_from_their_master_adds_up_once(mode: str) -> None:
    """Their master had 5; one took 2 away, the other added 1."""
    living = [said(3.0, state=MOVED, inherited=5.0), said(6.0, state=MOVED, inherited=5.0)]
    assert shown(mode, living, NOBODYS) == 4.0
    if mode == "sum":
        assert shown(mode, living[:1], left_by(mode, living[1])) == 4.0
        assert shown(mode, [], left_by(mode, *living)) == 4.0


def test_a_family_is_shown_while_a_living_worker_has_it() -> None:
    """The dead leave numbers, but nobody to say what they are."""
    assert shown(FAMILY, [said(0.0)], NOBODYS) is not None
    left = left_by(FAMILY, said(0.0))
    assert shown(FAMILY, [said(0.0, state=ABSENT)], left) is None


@pytest.mark.parametrize("mode", [INFO, RECENT])
def test_of_an_info_and_an_enum_the_last_one_is_shown(mode: str) -> None:
    """Of a worker that has died, too."""
    assert shown(mode, [said(0.0, 10.0), said(2.0, 20.0)], NOBODYS) == 2.0
    assert shown(mode, [said(0.0, 10.0)], left_by(mode, said(1.0, 5.0), said(2.0, 20.0))) == 2.0


def test_rows_are_merged_each_by_its_mode() -> None:
    """And a row that the dead never had stays what it was."""
    modes = ["sum", "max", BY_WORKER, "min"]
    dead = [*said(1.0), *said(5.0), *said(8.0), *said(0.0, state=ABSENT)]
    kept = [*said(2.0), *said(9.0), *NOBODYS, *said(3.0)]
    found = leave(modes, kept, dead)
    assert [found[at] for at in range(0, 4 * STATE_CELLS, STATE_CELLS)] == [3.0, 9.0, 0.0, 3.0]


def test_an_extent_tells_where_the_rows_of_the_application_begin() -> None:
    """They are the last ones, and neither seconds nor gauges, which other rules are for."""
    kinds = layout(Choices((1.0,), 1, own_series=7))
    sums, states = kinds[-2:]
    assert (sums.name, states.name) == (OWN_SUM, OWN_STATE)
    assert sums.cells(Unit.TOTAL) == [0, 1]
    assert sums.cells(Unit.LARGEST) == [2, 3]
    assert states.cells(Unit.STATE) == [0, 1, 2, 3]
    assert [unit for unit in Unit if unit.moves] == [Unit.GAUGE, Unit.LARGEST, Unit.STATE, Unit.EACH]
    used = extent([(kind, kind.capacity, 2) for kind in kinds], ["", "sum"])
    length = sum(length for _, length in used.spans)
    assert used.own == (length - 2 * STATE_CELLS - 2 * SUM_CELLS, length - 2 * STATE_CELLS)
    assert all(part.stop <= used.own[0] for part in (*used.seconds, *used.gauges))
    assert used.modes == ["", "sum"]
    assert sums.capacity == states.capacity == 7 + 1
    without = layout(Choices((1.0,), 1))
    assert [kind.name for kind in kinds[:-2]] == [kind.name for kind in without]
    found = extent([(kind, kind.capacity, 1) for kind in without])
    assert found.own == (sum(length for _, length in found.spans),) * 2
