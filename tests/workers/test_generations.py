"""Which directory a worker counts in, when a master's options change and come back, and masters follow one another."""

import math
import os
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from red_middleware.workers.generations import find_generation, outdated
from red_middleware.workers.group import Group, find_group, name_for
from red_middleware.workers.proc import STARTED, Process, boot_id, stat_field, this_process
from red_middleware.workers.record import Record, Stay

MASTER = this_process()
"""It lives."""


def ended(started: int) -> Process:
    """Return a master that has ended, since another process has its number."""
    return MASTER._replace(started=MASTER.started - started)


@dataclass
class Workers:
    """Workers of a line of masters, and the records of the directories in which they count."""

    group: Group = field(default_factory=lambda: Group("key", MASTER, boot_id(), MASTER))
    records: dict[str, Record] = field(default_factory=dict)

    def of(self, master: Process) -> "Workers":
        """Return those of another master of the line, who count in the same directories."""
        return replace(self, group=self.group._replace(master=master))

    def find(self, layout: str, started: float) -> str:
        """Return where a worker would count."""
        return find_generation(self.group, "table", layout, started, self.records)

    def join(self, layout: str, started: int) -> str:
        """Count as a worker that was started then, with options of this layout."""
        name = self.find(layout, started)
        known = self.records.get(name, Record(self.group.boot, MASTER, name_for(self.group, "table")))
        if self.group.master not in known.masters():
            known = known._replace(stays=(*known.stays, Stay(self.group.master, started)))
        self.records[name] = known
        return name

    def outdated(self) -> set[str]:
        """Return where no worker comes to any more."""
        return set(outdated(self.group, "table", self.records))


@pytest.fixture
def workers() -> Workers:
    return Workers()


def test_workers_with_the_same_options_count_in_one_directory(workers: Workers) -> None:
    """In whatever order they serve."""
    assert len({workers.join("a", started) for started in (3, 1, 2, 9)}) == 1
    assert workers.outdated() == set()


def test_options_that_come_back_find_no_old_numbers(workers: Workers) -> None:
    """Each change begins a generation, although a worker may still live in each, and only the last one is kept."""
    names = [workers.join(layout, started) for started, layout in enumerate("abacab")]
    assert len(set(names)) == len(names)
    assert workers.outdated() == set(names[:-1])
    assert [workers.join("b", started) for started in (7, 6)] == [names[-1]] * 2


def test_a_late_worker_from_before_a_reload_counts_where_its_like_do(workers: Workers) -> None:
    """It brings back nothing, and the new workers stay where they are."""
    a, b = workers.join("a", 1), workers.join("b", 5)
    assert workers.join("a", 2) == a
    assert workers.join("b", 6) == b
    assert workers.join("a", 7) not in (a, b)


def test_a_late_worker_whose_like_are_gone_changes_nothing_for_the_others(workers: Workers) -> None:
    """It counts in a directory of its own, which is none to come back to."""
    b = workers.join("b", 5)
    late = workers.join("a", 2)
    assert workers.outdated() == {late}
    assert workers.join("b", 6) == b
    assert workers.join("a", 7) not in (late, b)


def test_the_first_after_a_reload_need_not_be_the_first_that_was_started(workers: Workers) -> None:
    """The others of the same reload come to it."""
    workers.join("a", 1)
    workers.join("b", 5)
    assert len({workers.join("a", started) for started in (9, 8, 10)}) == 1


def test_a_generation_that_is_gone_still_divides_those_around_it(workers: Workers) -> None:
    """A stopped worker lives in the first one, the second is removed, and not the first of the third comes first."""
    a, b = workers.join("a", 1), workers.join("b", 5)
    last = workers.join("a", 9)
    assert workers.outdated() == {a, b}
    del workers.records[b]
    assert [workers.join("a", started) for started in (8, 10)] == [last] * 2
    assert workers.outdated() == {a}


def test_two_that_begin_a_generation_at_once_agree_on_the_higher_number(workers: Workers) -> None:
    """One of them did not see what the other one had made, since the directories before it were just removed."""
    a = workers.join("a", 1)
    low, high = workers.records.pop(a), a.replace(".1", ".3")
    workers.records |= {a: low._replace(stays=(Stay(MASTER, 9),)), high: low._replace(stays=(Stay(MASTER, 8),))}
    assert {workers.find("a", started) for started in (7, 8, 9, 10)} == {high}
    assert workers.outdated() == {a}


def test_a_generation_is_numbered_anew_even_where_the_one_before_is_gone(workers: Workers) -> None:
    """Of two workers that come at once, one may still see it."""
    a, b = workers.join("a", 1), workers.join("b", 5)
    seen = workers.find("a", 9)
    del workers.records[a]
    assert workers.find("a", 9) == seen
    assert seen not in (a, b)


def test_a_directory_without_a_master_is_no_place_to_count(workers: Workers) -> None:
    """Somebody was killed while he removed it. It goes, and its number is not given again."""
    a = workers.join("a", 1)
    workers.records[a] = workers.records[a]._replace(stays=())
    assert workers.outdated() == {a}
    assert workers.join("a", 2) == a.replace(".1", ".2")


def test_a_new_master_with_the_same_options_goes_on(workers: Workers) -> None:
    """And its successor, too, when the first ones have ended."""
    first, second = workers.of(ended(3)), workers.of(ended(2))
    assert len({each.join("a", started) for started, each in enumerate((first, second, first, workers))}) == 1


def test_a_new_master_that_is_taken_back_takes_nothing_along(workers: Workers) -> None:
    """The old one stays where it was, also while none of its workers lives, and so does the one after that."""
    a = workers.join("a", 1)
    withdrawn = workers.of(ended(-5))
    b = withdrawn.join("b", 5)
    assert workers.outdated() == {b}
    assert workers.join("a", 6) == a
    assert workers.of(ended(-7)).join("a", 7) == a


def test_two_masters_with_different_options_serve_side_by_side(workers: Workers) -> None:
    """Neither takes the other one's directory for outdated."""
    parent = os.getppid()
    new = workers.of(Process(parent, stat_field(parent, STARTED), MASTER.namespace))
    a, b = workers.join("a", 1), new.join("b", 5)
    assert (workers.join("a", 6), new.join("b", 7)) == (a, b)
    assert workers.outdated() == set()


def test_of_a_line_of_masters_the_last_one_counts(workers: Workers) -> None:
    """When the old one has ended, its directory goes; a new master follows the one before it."""
    a, b = workers.of(ended(9)).join("a", 1), workers.join("b", 5)
    assert workers.outdated() == {a}
    assert workers.of(ended(-7)).join("b", 7) == b
    assert workers.of(ended(-8)).join("a", 8) not in (a, b)


def test_who_only_reads_finds_the_last_generation(workers: Workers) -> None:
    """Whenever it was started; where its options are others, it finds nothing."""
    for started, layout in enumerate("aba"):
        name = workers.join(layout, started)
    assert workers.find("a", math.inf) == name
    assert workers.find("b", math.inf) not in workers.records


def test_a_name_has_one_generation() -> None:
    """Processes with the same name may have other options, side by side, and none of them is outdated."""
    shop = find_group("shop")
    assert shop is not None
    named = Workers(shop)
    a, b = named.join("a", 1), named.join("b", 2)
    assert a != b
    assert named.join("a", 3) == a
    assert named.outdated() == set()


def test_other_tables_and_boots_and_copies_are_none_of_ours(workers: Workers) -> None:
    """Neither their numbers nor their masters."""
    a = workers.join("a", 1)
    other = workers.records[a]._replace(table="other")
    before = workers.records[a]._replace(boot="before")
    copy = workers.records[a]
    workers.records = {f"{'0' * 32}.7": other, f"{'0' * 32}.8": before, f"{a}.copy": copy, "copy": copy}
    assert workers.outdated() == set()
    assert workers.join("a", 2) == a


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, int]]:
    """Draw what a master's workers do: in each epoch one serves at once, others serve at any time from then on."""
    layouts = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=6).filter(lambda them: _changes(them)))
    events: list[tuple[float, tuple[int, str, int]]] = []
    for epoch, layout in enumerate(layouts):
        first = draw(st.integers(0, 9))
        events.append((epoch, (epoch, layout, 10 * epoch + first)))
        for other in draw(st.sets(st.integers(0, 9), max_size=3)):
            events.append((epoch + draw(st.floats(0.1, 6.0)), (epoch, layout, 10 * epoch + other)))
    return [event for _, event in sorted(events)]


def _changes(layouts: list[str]) -> bool:
    return all(one != other for one, other in pairwise(layouts))


@given(histories())
def test_an_epoch_is_a_directory(history: list[tuple[int, str, int]]) -> None:
    """Of options that do not change; no two share one, and the last one is never outdated."""
    workers = Workers()
    found: dict[int, set[str]] = {}
    for epoch, layout, started in history:
        found.setdefault(epoch, set()).add(workers.join(layout, started))
        assert not found[max(found)] & workers.outdated()
    assert [len(names) for names in found.values()] == [1] * len(found)
    assert len(set().union(*found.values())) == len(found)
    assert workers.outdated() == set().union(*found.values()) - found[max(found)]


@given(histories(), st.sets(st.integers(0, 5)))
def test_the_last_epoch_is_a_directory_whatever_is_left_of_those_before(
    history: list[tuple[int, str, int]], stopped: set[int]
) -> None:
    """Those in which nobody lives are removed; in some epochs a worker is stopped, and lives."""
    workers = Workers()
    last, name, before = -1, "", set[str]()
    for epoch, layout, started in history:
        found = workers.join(layout, started)
        if epoch > last:
            assert found not in before
            last, name = epoch, found
        assert epoch < last or found == name
        before.add(found)
        for left in workers.outdated():
            if not any(workers.records[left].stays[0].since // 10 == one for one in stopped):
                del workers.records[left]
                before.discard(left)  # a directory with this name would be another one
        assert name in workers.records
