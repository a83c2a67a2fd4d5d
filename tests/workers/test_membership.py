"""What a process is among workers: early, alone, joined or left, and each way from one to another by its name."""

import gc
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.metrics import recorder_of
from red_middleware.workers import State

from ..drive import begun, count, declare, restart
from . import members
from .members import (
    HOME,
    SENTINEL_ROWS,
    Mounting,
    Named,
    bring,
    ended,
    groups,
    member_of,
    open_files,
    state_of,
    total,
)

ROUTES = [(f"/{n}", ["GET"]) for n in range(50)]
KNOWN_AGAIN = "this worker's numbers are those of its group now, with all that it counted alone"


def of_one_group(one: RedMetrics, other: RedMetrics) -> None:
    """Make two of this process what the same metrics of two workers are."""
    recorder_of(other).membership.identity = recorder_of(one).membership.identity


def is_isolated(metrics: RedMetrics) -> bool:
    return bool(metrics.snapshot()["red_worker_isolated"])


# From early


def test_from_early_to_alone(named: Named, tmp_path: Path) -> None:
    """A process that has no group decides once, makes no file, and is not isolated: there is nobody else."""
    metrics = named(name=None)
    assert state_of(metrics) is State.EARLY
    count(metrics)
    for _ in range(2):
        assert total(metrics.snapshot()) == 1.0
        assert state_of(metrics) is State.ALONE
        assert not is_isolated(metrics)
    assert list(tmp_path.iterdir()) == []


def test_from_early_to_joined(named: Named, tmp_path: Path) -> None:
    """The first request decides, and counts in the group already."""
    one, other = named(), named()
    of_one_group(one, other)
    count(one)
    assert (state_of(one), state_of(other)) == (State.JOINED, State.EARLY)
    count(other)
    for metrics in (one, other):
        found = metrics.snapshot()
        assert (total(found), found["red_workers"], found["red_worker_isolated"]) == (2.0, 2.0, 0.0)
    assert len(groups(tmp_path)) == 1


def test_from_too_early_to_joined(named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that is no worker yet stays early, counts for itself meanwhile, and brings that along."""
    metrics = named()
    with monkeypatch.context() as early:
        early.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
        running = begun(metrics)
        for number in (1, 2):
            count(metrics)
            assert total(metrics.snapshot()) == number
            assert state_of(metrics) is State.EARLY
        assert list(tmp_path.iterdir()) == []
    count(metrics)
    assert state_of(metrics) is State.JOINED
    assert total(metrics.snapshot()) == 3.0
    running.respond(200, "/")
    running.finish()
    assert total(metrics.snapshot()) == 4.0
    assert not is_isolated(metrics)


def test_a_process_that_is_too_early_does_not_serve_yet(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its app may warm up on import, before it makes other metrics: these come in the same order in each worker."""
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "shop")
    with monkeypatch.context() as early:
        early.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
        count(named(name=None))
        later = named(name=None)
    count(later)
    assert state_of(later) is State.JOINED
    assert not is_isolated(later)


# Who settles for how many rows there is room


def test_a_scrape_without_a_mounting_does_not_settle_the_capacity_of_a_group(named: Named, tmp_path: Path) -> None:
    """Nobody has said which routes there are: the scrape is answered, and the process stays early."""
    metrics = named(max_label_sets=SENTINEL_ROWS)
    for _ in range(2):
        assert total(metrics.snapshot()) == 0.0
        assert state_of(metrics) is State.EARLY
        assert not is_isolated(metrics)
    mounting = Mounting(metrics, ROUTES)
    count(metrics, "/7")
    assert state_of(metrics) is State.JOINED
    assert metrics.bound().rows == recorder_of(metrics).table.http.capacity == SENTINEL_ROWS + len(ROUTES)
    assert len(mounting.routes) == len(ROUTES)
    assert len(groups(tmp_path)) == 1


def test_the_scrape_of_a_mounting_settles_the_capacity_of_a_group(named: Named) -> None:
    """Its routes are declared before that, whichever way the scrape comes."""
    metrics = named(max_label_sets=SENTINEL_ROWS)
    mountings = [Mounting(metrics, ROUTES[:20]), Mounting(metrics, ROUTES[20:])]
    metrics.snapshot()
    assert state_of(metrics) is State.JOINED
    assert metrics.bound().rows == SENTINEL_ROWS + len(ROUTES)
    for route, _ in ROUTES:
        count(metrics, route)
    assert not any('route="_overflow"' in text for text in metrics.snapshot())
    assert len(mountings) == 2


def test_a_scrape_without_a_mounting_joins_a_group_that_has_settled(named: Named) -> None:
    """As in a worker whose app is imported by the first request."""
    one, other = named(), named()
    of_one_group(one, other)
    count(one)
    found = other.snapshot()
    assert state_of(other) is State.JOINED
    assert (total(found), found["red_workers"]) == (1.0, 2.0)


def test_who_joins_a_group_whose_capacity_was_raised_says_so(named: Named, caplog: pytest.LogCaptureFixture) -> None:
    """The bound is the group's, whoever declared the routes; it is logged once."""
    one, other = named(max_label_sets=SENTINEL_ROWS), named(max_label_sets=SENTINEL_ROWS)
    of_one_group(one, other)
    mounting = Mounting(one, ROUTES)
    count(one)
    caplog.clear()
    with caplog.at_level(logging.INFO, "red_middleware"):
        for _ in range(2):
            count(other)
            assert other.bound() == one.bound()
    rows = SENTINEL_ROWS + len(mounting.routes)
    assert len([message for message in caplog.messages if f"raised to {rows}" in message]) == 1
    assert f"{rows} label sets" in caplog.messages[-1]


def test_a_group_that_settled_without_routes_stays_settled(named: Named, caplog: pytest.LogCaptureFixture) -> None:
    """Its cells are in files that do not grow: routes that come late take free rows, or are told to have none."""
    metrics = named(max_label_sets=SENTINEL_ROWS + 1)
    count(metrics, None)
    declare(metrics, [])
    declare(metrics, ROUTES)
    assert metrics.bound().rows == SENTINEL_ROWS + 1
    for route, _ in ROUTES:
        count(metrics, route)
    found = metrics.snapshot()
    assert total(found) == len(ROUTES) + 1
    assert found['http_requests_total{method="GET",route="_overflow",status="200"}'] == len(ROUTES) - 1
    assert found["red_instrumentation_errors_total"] == 0.0
    assert [message for message in caplog.messages if "49 routes declared late" in message]


def test_a_mounting_that_fails_keeps_no_request_from_being_counted(named: Named) -> None:
    """The next request begins anew, without it. Nor does one that is gone."""
    metrics = named()
    Mounting(metrics, ROUTES)
    gc.collect()
    broken = Mounting(metrics, [("/", 5)])  # type: ignore[list-item]  # what a reader may have got wrong
    count(metrics)
    assert state_of(metrics) is State.EARLY
    count(metrics)
    assert state_of(metrics) is State.JOINED
    found = metrics.snapshot()
    assert (total(found), found["red_instrumentation_errors_total"]) == (2.0, 1.0)
    assert metrics.bound().rows == 100
    assert broken.routes


# From alone


def test_from_kept_out_to_joined(named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that could not join tries again at each scrape, and brings along all that it counted."""
    metrics = named(directory=tmp_path / "missing" / "base")
    count(metrics, "/a")
    for _ in range(2):
        assert is_isolated(metrics)
        assert state_of(metrics) is State.ALONE
    (tmp_path / "missing").mkdir()
    count(metrics, "/a")
    assert state_of(metrics) is State.ALONE  # no request pays for it
    with caplog.at_level(logging.INFO, "red_middleware"):
        assert total(metrics.snapshot()) == 2.0
    assert state_of(metrics) is State.JOINED
    assert not is_isolated(metrics)
    assert KNOWN_AGAIN in caplog.messages


# From joined, and from left


def test_from_joined_to_left(named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The group's directory is gone: the numbers are as they were, and are this worker's alone. It is told once."""
    metrics = named()
    count(metrics, "/a")
    member, table = member_of(metrics), recorder_of(metrics).table
    shutil.rmtree(tmp_path / HOME)
    count(metrics, "/new")  # admits a row, and so finds out
    assert state_of(metrics) is State.LEFT
    assert recorder_of(metrics).membership.is_isolated()
    member.catch_up(table)  # another thread that was about it finds out as well
    count(metrics, "/other")
    assert {key: number for (_, key), number in routes_of(metrics).items()} == {"/a": 1.0, "/new": 1.0, "/other": 1.0}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def routes_of(metrics: RedMetrics) -> dict[tuple[str, str], float]:
    """Return what this process holds, without a scrape."""
    http = recorder_of(metrics).table.http
    found = {row.key: sum(http.cells[cell] for cell in row.code_cells.values()) for row in http.rows}
    return {(key[0], key[1]): number for key, number in found.items() if number}


def test_a_scrape_may_be_the_first_to_find_that_the_group_is_gone(named: Named, tmp_path: Path) -> None:
    """It shows the worker's own numbers, and says that they are no more than these."""
    metrics = named()
    count(metrics, "/a")
    shutil.rmtree(tmp_path / HOME)
    found = metrics.snapshot()
    assert state_of(metrics) is State.LEFT
    assert (total(found), found["red_workers"], found["red_worker_isolated"]) == (1.0, 1.0, 1.0)
    assert found["red_instrumentation_errors_total"] == 1.0


def test_from_left_to_joined(named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next scrape founds the group anew, or finds the one that another worker founded, with all numbers."""
    one, other = named(), named()
    of_one_group(one, other)
    count(one, "/a")
    count(other, "/b")
    shutil.rmtree(tmp_path / HOME)
    for metrics in (one, other):
        metrics.snapshot()
        assert state_of(metrics) is State.LEFT
    count(one, "/c")
    with caplog.at_level(logging.INFO, "red_middleware"):
        assert total(one.snapshot()) == 2.0
    assert state_of(one) is State.JOINED
    assert KNOWN_AGAIN in caplog.messages
    for metrics in (other, one):
        found = metrics.snapshot()
        assert (total(found), found["red_workers"], found["red_worker_isolated"]) == (3.0, 2.0, 0.0)
        assert found["red_instrumentation_errors_total"] == 2.0  # one for each that was left alone
    assert len(groups(tmp_path)) == 1


def test_a_worker_that_left_stays_left_while_it_cannot_join(named: Named, tmp_path: Path) -> None:
    """It tries again at each scrape, and counts on meanwhile."""
    metrics = named()
    count(metrics)
    shutil.rmtree(tmp_path / HOME)
    (tmp_path / HOME).write_text("somebody's")
    for _ in range(3):
        count(metrics)
        assert is_isolated(metrics)
        assert state_of(metrics) is State.LEFT
    (tmp_path / HOME).unlink()
    assert total(metrics.snapshot()) == 4.0
    assert state_of(metrics) is State.JOINED


def test_a_worker_that_joins_twice_brings_along_what_it_counted_apart(named: Named, tmp_path: Path) -> None:
    """What the first group could not be told of before it was lost is the second one's."""
    metrics = named()
    count(metrics, "/a")
    with member_of(metrics).index.locked(1.0):  # as another worker would
        count(metrics, "/b")
        assert is_isolated(metrics)
        assert total(metrics.snapshot()) == 1.0
    shutil.rmtree(tmp_path / HOME)
    metrics.snapshot()
    assert state_of(metrics) is State.LEFT
    found = metrics.snapshot()
    assert state_of(metrics) is State.JOINED
    assert (total(found), found["red_worker_isolated"]) == (2.0, 0.0)


def test_who_cannot_tell_the_others_of_a_route_is_isolated_meanwhile(named: Named) -> None:
    """Its numbers are not those of the group then. The group has them, as soon as it can be told."""
    metrics = named()
    count(metrics, "/a")
    with member_of(metrics).index.locked(1.0):  # as another worker would
        count(metrics, "/b", 500)
        found = metrics.snapshot()
        assert (total(found), found["red_worker_isolated"]) == (1.0, 1.0)
        count(metrics, "/a", 503)
    member_of(metrics).next_attempt = 0.0
    count(metrics, "/b", 500)
    found = metrics.snapshot()
    assert found["red_worker_isolated"] == 0.0
    expected = {("/a", "200"): 1.0, ("/a", "503"): 1.0, ("/b", "500"): 2.0}
    for (route, status), number in expected.items():
        assert found[f'http_requests_total{{method="GET",route="{route}",status="{status}"}}'] == number
    assert total(found) == 4.0
    assert found['http_errors_total{method="GET",route="/b"}'] == 2.0


def test_a_group_that_is_lost_again_and_again_leaves_nothing_open(named: Named, tmp_path: Path) -> None:
    """Neither descriptors nor mappings of the directories that were removed, beyond those of the last one."""
    metrics = named()
    seen = []
    for _ in range(8):
        count(metrics, "/a")
        metrics.snapshot()
        assert state_of(metrics) is State.JOINED
        gc.collect()
        seen.append(len(open_files(tmp_path)))
        shutil.rmtree(tmp_path / HOME)
        member = member_of(metrics)
        metrics.snapshot()
        assert state_of(metrics) is State.LEFT
        member.leave(OSError("found out by another thread, too"))
    found = metrics.snapshot()
    assert (total(found), found["red_instrumentation_errors_total"]) == (8.0, 8.0)
    assert max(seen[2:]) == seen[2]


# After a fork


@pytest.mark.parametrize("state", State)
def test_from_any_to_early(named: Named, tmp_path: Path, state: State) -> None:
    """What a forked child does, seen from close by: what its parent counted or found is not the child's."""
    metrics = named(directory=tmp_path / "home" / "base")
    bring(metrics, tmp_path, state)
    assert state_of(metrics) is state
    restart(metrics)
    membership = recorder_of(metrics).membership
    assert (state_of(metrics), membership.member, membership.is_isolated()) == (State.EARLY, None, False)
    assert not recorder_of(metrics).methods  # so that the next request decides
    assert routes_of(metrics) == {}
    (tmp_path / "home").mkdir(exist_ok=True)
    count(metrics, "/child")
    assert state_of(metrics) is State.JOINED
    found = metrics.snapshot()
    assert found['http_requests_total{method="GET",route="/child",status="200"}'] == 1.0
    assert total(found) == 1.0 + (state is State.JOINED)


@pytest.mark.parametrize("state", State)
def test_from_any_to_early_in_a_forked_child(tmp_path: Path, state: State) -> None:
    """The parent stays what it is."""
    status, said = ended("fork_from", tmp_path, state.value)
    assert status == 0, said
    assert ("this worker's numbers are its own" in said) == (state in (State.ALONE, State.LEFT))


def test_from_early_to_early_in_another_process(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells of a fork that ran no hooks, seen from close by: what was counted is another process's."""
    metrics = named()
    with monkeypatch.context() as master:
        master.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
        count(metrics, "/warm-up")
    recorder_of(metrics).membership.pid += 1  # the master's
    count(metrics, "/a")
    assert state_of(metrics) is State.JOINED
    assert {route for _, route in routes_of(metrics)} == {"/a"}
    assert total(metrics.snapshot()) == 1.0


def test_from_early_to_early_after_a_fork_that_runs_no_hooks(tmp_path: Path) -> None:
    """As uWSGI's: another pid tells. What the master counted is the master's, and each worker joins by itself."""
    assert ended("fork_without_hooks", tmp_path) == (0, "")


def test_a_child_that_is_forked_while_routes_are_learned_learns_them_itself(tmp_path: Path) -> None:
    """Its parent's thread that was about it is not in the child; without the routes their rows would be few."""
    status, said = ended("fork_while_routes_are_learned", tmp_path)
    assert status == 0, said


def test_from_joined_to_dropped(named: Named, tmp_path: Path) -> None:
    """Of metrics that nobody uses any more, one for each tenant say, neither descriptors nor memory stay.

    The group keeps what they counted.
    """
    for requests in (1.0, 2.0, 3.0):
        metrics = members.named(str(tmp_path))
        count(metrics, "/a")
        assert state_of(metrics) is State.JOINED
        found = metrics.snapshot()
        assert (total(found), found["red_workers"]) == (requests, 1.0)
        assert open_files(tmp_path)
        del metrics
        gc.collect()
        assert open_files(tmp_path) == []


def test_after_a_fork_a_second_handle_decides_anew_when_the_first_is_gone(named: Named) -> None:
    """The numbers belong to neither handle, so it matters to neither of them what became of the other."""
    registry = CollectorRegistry()
    first, second = named(registry=registry), named(registry=registry)
    count(second)
    before = member_of(second)
    registry.unregister(first)
    del first
    gc.collect()
    restart(second)
    assert state_of(second) is State.EARLY
    count(second)
    assert state_of(second) is State.JOINED
    assert member_of(second) is not before


def test_after_a_real_fork_a_second_handle_decides_anew_when_the_first_is_gone(tmp_path: Path) -> None:
    """The same in a forked child, whose parent keeps its own part in the group."""
    assert ended("fork_with_the_second_handle", tmp_path) == (0, "")
