"""Members of one group: one index, and nothing lost or doubled by whoever dies, forks or is robbed."""

import errno
import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from red_middleware.counting.labels import OTHER, OVERFLOW, UNMATCHED
from red_middleware.counting.layout import EXCEPTION_ROWS, STATUS_CELLS
from red_middleware.workers.cells import ASIDE, LOCK
from red_middleware.workers.directory import open_directory
from red_middleware.workers.index import COMMITTED_AT
from red_middleware.workers.index import NAME as INDEX

from .members import (
    ADMITTING,
    ENTERING,
    FORKING,
    GET_A,
    LEFT,
    MANY,
    ROUTES,
    ROWS,
    SENTINEL_ROWS,
    Join,
    Worker,
    ended,
    file_of,
    files,
    joined,
    open_files,
    running,
)

FOLDED = (OVERFLOW, OTHER)
"""Where exceptions are counted for which there is no room."""

PROCESSES = 12

# One index


def test_members_find_the_same_rows_statuses_pairs_and_routes(join: Join) -> None:
    """Whoever added them, at the same numbers, so that cells add up as vectors."""
    one = join({"/a": ["GET"]})
    one.count("/b", 201)
    other = join({"/a": ["GET"], "/c": ["GET"]})
    other.count("/c", 202)
    one.count("/b", 203)
    one.count("/c", 202)
    other.count("/b", 203)
    for worker in (one, other, other, one):
        worker.count_exception("/a" if worker is one else "/b", "E")
    assert one.exceptions() == other.exceptions() == {("/a", "E"): 2, ("/b", "E"): 2}
    assert one.counts() == other.counts() == {("GET", "/b", 201): 1, ("GET", "/b", 203): 2, ("GET", "/c", 202): 2}
    for worker in (one, other):
        assert worker.keys() == [("GET", "/b"), ("GET", "/c")]
        assert worker.row("/b").codes == (201, 203)
        assert worker.keys("exception") == [("/a", "E"), ("/b", "E")]
        assert worker.table.declared == {"/a": {"GET"}, "/c": {"GET"}}
        assert worker.faults == []
    assert one.room() == other.room()


def test_routes_that_are_declared_later_are_declared_for_all(join: Join) -> None:
    """Lazily mounted, or in one worker first."""
    one, other = join({"/a": ["GET"]}), join({"/a": ["GET"]})
    assert one.table.declare([("/b", ["GET"])]) == 0
    assert other.table.declare([("/b", ["GET"]), ("/a", ["GET"])]) == 0
    assert other.table.declare([("/b", ["GET"])]) == 0
    assert one.table.declared == other.table.declared == {"/a": {"GET"}, "/b": {"GET"}}
    assert one.room() == other.room()


def test_the_first_member_settles_the_capacity(join: Join) -> None:
    """If it declares nothing, too: cells of one size are what can be added up."""
    one = join(max_label_sets=SENTINEL_ROWS)
    other = join({"/a": ["GET"]}, max_label_sets=SENTINEL_ROWS)
    assert one.table.declare([("/a", ["GET"])]) == other.table.declare([("/a", ["GET"])]) == 1
    assert one.table.http.capacity == other.table.http.capacity == SENTINEL_ROWS
    other.count("/a")
    assert one.counts() == {("GET", OVERFLOW, 200): 1}


def test_a_declaration_that_needs_more_raises_the_capacity_of_all(join: Join) -> None:
    """The cells are mapped after the log was replayed, in the size that it says."""
    routes = {f"/{n}": ["GET"] for n in range(50)}
    one, other = join(routes, max_label_sets=1), join(max_label_sets=1)
    assert one.table.http.capacity == other.table.http.capacity == SENTINEL_ROWS + 50
    for n in range(51):
        other.count(f"/{n}")
    assert one.counts() == {("GET", f"/{n}", 200): 1 for n in range(50)} | {("GET", OVERFLOW, 200): 1}


def test_the_bounds_hold_over_the_union(join: Join) -> None:
    """Rows, statuses of a row and pairs are those of all workers together."""
    one, other = join(max_label_sets=SENTINEL_ROWS + 4), join(max_label_sets=SENTINEL_ROWS + 4)
    for n in range(4):
        one.count(f"/one{n}")
        other.count(f"/other{n}")
    assert [one.row(f"/other{n}").key[1] for n in range(4)] == ["/other0", "/other1", OVERFLOW, OVERFLOW]
    assert one.counts()["GET", OVERFLOW, 200] == 4
    for n in range(STATUS_CELLS):
        one.count(None, 200 + n)
        other.count(None, 300 + n)
    assert len(one.row(None).codes) == STATUS_CELLS - 1
    assert one.counts()["GET", UNMATCHED, 0] == 2 * STATUS_CELLS - (STATUS_CELLS - 1)
    pairs = EXCEPTION_ROWS - 1
    for n in range(pairs):
        one.count_exception("/a", f"E{n}")
        other.count_exception("/b", f"E{n}")
    found = one.exceptions()
    assert len(found) == EXCEPTION_ROWS
    assert sum(found.values()) == 2 * pairs
    assert found[FOLDED] == pairs


def test_processes_that_race_for_rows_leave_one_index(tmp_path: Path, join: Join) -> None:
    """No row, status or pair twice, no more than there is room for, and every request counted once."""
    with running("race", tmp_path, 0) as one, running("race", tmp_path, ROUTES // 2) as other:
        for process in (one, other):
            assert process.hear() == ["ready"]
        for process in (one, other):
            process.tell()
        found = [process.hear() for process in (one, other)]
        worker = join(max_label_sets=ROWS)
        counts, read, pairs, exceptions = (
            worker.counts(),
            worker.table.read(),
            worker.keys("exception"),
            worker.exceptions(),
        )
    rows = [[*row.key, list(row.codes)] for row in read.rows["http"]]
    assert read.workers == 3
    assert len(rows) == ROWS
    assert len({(method, route) for method, route, _ in rows}) == ROWS
    for their_rows, their_pairs in found:  # one ended before the other
        assert their_pairs == [list(pair) for pair in pairs[: len(their_pairs)]]
        for ours, theirs in zip(rows, their_rows, strict=False):
            assert theirs[:2] == ours[:2]
            assert theirs[2] == ours[2][: len(theirs[2])]
    numbers = read.cells["http"]
    observed = sum(sum(numbers[row.cell("buckets") : row.cell("errors")]) for row in read.rows["http"])
    assert sum(counts.values()) == observed == 4 * ROUTES
    assert len(pairs) == len(set(pairs))
    assert sum(exceptions.values()) == 4 * ROUTES


@pytest.mark.parametrize("step", ADMITTING)
def test_who_is_killed_while_a_route_is_admitted_spoils_nothing(tmp_path: Path, join: Join, step: str) -> None:
    """The others go on where it was, those that knew it and those that come later."""
    one = join()
    one.count("/a")
    status, _ = ended("admit", tmp_path, step)
    assert status == -signal.SIGKILL
    one.count("/c")
    other = join()
    for worker in (one, other):
        worker.count("/b")
        worker.count("/c")
    assert one.counts() == other.counts() == {GET_A: 2, ("GET", "/b", 200): 2, ("GET", "/c", 200): 3}
    assert one.keys() == other.keys()
    assert sorted(one.keys()) == [("GET", "/a"), ("GET", "/b"), ("GET", "/c")]
    assert one.faults == other.faults == []


@pytest.mark.parametrize("step", ENTERING)
def test_who_is_killed_on_the_way_in_spoils_nothing(tmp_path: Path, join: Join, step: str) -> None:
    """The next ones find a group, or make it."""
    status, _ = ended("enter", tmp_path, step)
    assert status == -signal.SIGKILL
    one, other = join({"/a": ["GET"]}), join({"/a": ["GET"]})
    one.count()
    other.count()
    assert one.counts() == other.counts() == {GET_A: 2}
    assert one.table.declared == other.table.declared == {"/a": {"GET"}}
    assert one.workers() == 2
    assert one.faults == other.faults == []


def test_a_stopped_worker_that_holds_the_index_costs_no_label_and_one_wait(tmp_path: Path, join: Join) -> None:
    """What is new is counted apart for as long as that takes, and then brought along, each under its own label."""
    one = join()
    one.count("/a", 200)
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        holder.popen.send_signal(signal.SIGSTOP)
        one.count("/a", 200)
        one.count("/b", 200)
        one.count("/a", 201, times=2)
        one.count_exception("/a", "E")
        assert one.table.declare([("/d", ["GET"])]) == 1
        assert one.counts() == {GET_A: 2}
        assert one.exceptions() == {}
        assert one.member.is_behind
        assert one.faults == ["index of the workers"]  # nobody tries again at once
    one.count("/c", 200)
    assert one.counts() == {GET_A: 2}
    one.seconds += 3.0
    one.count("/c", 200)
    expected = {GET_A: 2, ("GET", "/a", 201): 2, ("GET", "/b", 200): 1, ("GET", "/c", 200): 2}
    assert one.counts() == expected
    assert one.exceptions() == {("/a", "E"): 1}
    assert not one.member.is_behind
    assert one.table.declare([("/d", ["GET"])]) == 0
    assert len(one.faults) == 1


def test_what_was_counted_apart_is_brought_along_by_a_scrape(tmp_path: Path, join: Join) -> None:
    """Also where another worker has admitted the same meanwhile, so that there is nothing to admit."""
    one, other = join(), join()
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        one.count("/a")
    other.count("/a")
    assert other.counts() == {GET_A: 1}
    one.carry()
    assert other.counts() == {GET_A: 2}
    assert not one.member.is_behind


def test_what_was_counted_apart_is_cleared_with_the_rest(tmp_path: Path, join: Join) -> None:
    """A test that begins anew does not meet it."""
    one = join()
    one.count("/a")
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        one.count("/b")
    one.table.clear()
    one.carry()
    assert one.counts() == {}


def test_what_is_counted_apart_is_bounded_and_folds_as_it_would(tmp_path: Path, join: Join) -> None:
    """More routes than the group has rows: those beyond fold, when they are counted or when they are brought along."""
    one = join({"/declared": ["GET"]}, max_label_sets=SENTINEL_ROWS + 3)
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        for n in range(20):
            one.count(f"/{n}")
        one.count("/declared")
        apart = one.table.earlier.http
        assert apart.used <= apart.capacity
    one.seconds += 3.0
    one.count("/declared")
    assert sum(one.counts().values()) == 22
    assert one.counts()["GET", "/declared", 200] == 2
    assert one.counts()["GET", OVERFLOW, 200] == 18
    assert one.table.http.used <= one.table.http.capacity


def test_a_file_system_that_is_full_after_the_entry_keeps_nobody_from_a_label(join: Join) -> None:
    """Room for the log is taken on entry: a log that grows later would be refused."""
    one = join(max_label_sets=1000)
    length = file_of(one, INDEX).stat().st_size
    for n in range(MANY * MANY // 8):
        one.count(f"/items-of-a-route/{n}", 200)
        one.count(f"/items-of-a-route/{n}", 404)
    assert sum(one.counts().values()) == 2 * MANY * MANY // 8
    assert len(one.keys()) == MANY * MANY // 8
    assert file_of(one, INDEX).stat().st_size == length
    assert one.faults == []


def test_of_many_processes_that_admit_at_once_each_gets_all_of_its_labels(tmp_path: Path, join: Join) -> None:
    """Who waits in vain for the log once is not done for."""
    first = join(max_label_sets=MANY * MANY)
    with ExitStack() as stack:
        found = [stack.enter_context(running("crowd", tmp_path, str(n))) for n in range(PROCESSES)]
        assert [process.hear() for process in found] == [["ready"]] * PROCESSES
        for process in found:
            process.tell()
        assert [process.hear() for process in found] == [["admitted"]] * PROCESSES
        assert first.counts() == {("GET", f"/{n}/{route}", 200): 1 for n in range(PROCESSES) for route in range(MANY)}


def test_a_group_that_is_lost_in_the_middle_of_a_replay_is_let_go_later(join: Join) -> None:
    """The thread that replays may be about to use the descriptors."""
    one = join()
    with one.member._alone():
        one.member.close()
        assert one.member.file.is_open()
    one.member.close()
    assert not one.member.file.is_open()
    assert one.member.directory.fd == -1


def test_a_thread_that_interrupts_the_replay_is_not_let_in(join: Join) -> None:
    """A finaliser may record while its own thread has the lock: it is counted apart, and nothing hangs."""
    one = join()
    with one.member._alone():
        one.count("/a")
        assert one.counts() == {}
    one.count("/a")
    assert one.counts() == {GET_A: 2}
    assert one.faults == []


def test_who_was_overtaken_adds_nothing_again(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may have made the same change before the index was ours."""
    one, other = join(), join()
    flock = fcntl.flock

    def overtaken(fd: int, operation: int) -> None:
        monkeypatch.undo()
        other.count()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    one.count()
    assert one.counts() == {GET_A: 2}
    assert one.faults == []
    assert file_of(one, INDEX).read_bytes().count(b'"row"') == 1


def test_a_damaged_index_adds_no_rows_and_stops_no_scrape(join: Join) -> None:
    """What is known is counted, what is new folds; who comes later stays alone and says so."""
    one = join()
    one.count()
    with file_of(one, INDEX).open("r+b") as file:
        file.seek(COMMITTED_AT)
        committed = int.from_bytes(file.read(8), "little")
        file.seek(COMMITTED_AT)
        file.write((committed + 9).to_bytes(8, "little"))
        file.seek(0, os.SEEK_END)
        file.write(b"garbage, ")
    one.count("/b")
    one.count()
    assert one.counts() == {GET_A: 2, ("GET", OVERFLOW, 0): 1}
    assert set(one.faults) == {"index of the workers"}
    before = open_files(one.member.directory.path)
    with pytest.raises(OSError, match="damaged"):
        join()
    assert open_files(one.member.directory.path) == before


@pytest.mark.parametrize("content", [b"redindx0", b"garbage " * 20, b""], ids=["another version", "garbage", "empty"])
def test_an_index_that_cannot_be_read_lets_nobody_in_while_others_live_by_it(join: Join, content: bytes) -> None:
    """Its rows cannot be known, and those of a new one would be others: who comes stays alone, with no file open."""
    one, dead = join(), join()
    one.count("/a", times=40)
    known = file_of(one, INDEX).read_bytes()
    file_of(one, INDEX).write_bytes(content)
    before = open_files(one.member.directory.path)
    for _ in range(2):
        with pytest.raises(OSError, match="is no index of this version, and others may live by it"):
            join()
    assert open_files(one.member.directory.path) == before
    assert file_of(one, INDEX).read_bytes() == content
    assert one.counts() == {GET_A: 40}
    dead.die()
    file_of(one, INDEX).write_bytes(known)
    assert join().counts() == {GET_A: 40}


@pytest.mark.parametrize("content", [b"garbage " * 20, b"", None], ids=["garbage", "empty", "removed"])
def test_an_index_that_cannot_be_read_is_made_anew_when_nobody_lives_by_it(join: Join, content: bytes | None) -> None:
    """What the dead counted is of other rows: it is set aside, and said."""
    for route in ("/a", "/b"):
        worker = join()
        worker.count(route, times=40)
        worker.die()
        index = file_of(worker, INDEX)
    index.unlink()
    if content is not None:
        index.write_bytes(content)
    one, other = join(), join()
    other.count("/b", times=200)
    for _ in range(2):
        assert one.counts() == other.counts() == {("GET", "/b", 200): 200}
    assert sorted(kind.partition(",")[0] for kind in one.faults) == ["cells of retired workers", "file of a worker"]
    assert other.faults == []
    assert len(files(one)) == len(files(one, ASIDE)) == 2


def test_an_index_that_vanished_is_not_made_anew_among_the_living(join: Join) -> None:
    """They go on with what they know; nobody's numbers get among those of other routes."""
    one = join()
    one.count("/a", times=40)
    file_of(one, INDEX).unlink()
    with pytest.raises(OSError, match="others may live by it"):
        join()
    one.count("/b")
    assert one.counts() == {GET_A: 40, ("GET", OVERFLOW, 0): 1}
    assert set(one.faults) == {"index of the workers"}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "FIFO"])
def test_an_index_in_whose_place_lies_something_else_lets_nobody_in(join: Join, make: Callable[[Path], object]) -> None:
    """An error at once."""
    one = join()
    one.count()
    file_of(one, INDEX).unlink()
    make(file_of(one, INDEX))
    with pytest.raises(OSError, match=r"directory|seek"):
        join()
    assert one.counts() == {GET_A: 1}


# Forks and lost descriptors


def test_a_forked_child_counts_for_itself_and_does_not_keep_its_parent_alive(tmp_path: Path, join: Join) -> None:
    """The parent's death is seen while the child lives; nothing of the child's is in the group."""
    one = join()
    with running("fork", tmp_path) as parent:
        (pid,) = parent.hear()
        assert pid == parent.popen.pid
        assert (one.counts(), one.in_progress(), one.workers()) == ({GET_A: 1}, 1.0, 2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        parent.popen.returncode = -signal.SIGKILL
        assert (one.counts(), one.in_progress(), one.workers()) == ({GET_A: 1}, 0.0, 1)
        assert parent.end()[1] == ""


@pytest.mark.parametrize("step", FORKING)
@pytest.mark.parametrize("scenario", ["fork_at", "fork_and_stop_at"])
def test_a_child_that_was_forked_at_any_moment_does_not_keep_its_parent_alive(
    tmp_path: Path, join: Join, step: str, scenario: str
) -> None:
    """Another thread may fork in the middle of joining: the parent's death is seen, whatever the child inherited."""
    one, dead = join(), join()
    dead.count("/a")
    dead.die()
    with running(scenario, tmp_path, step) as parent:
        (child,) = parent.hear()
        try:
            if scenario == "fork_at":
                assert one.workers() == 2
            os.kill(parent.popen.pid, signal.SIGKILL)
            os.waitpid(parent.popen.pid, 0)
            parent.popen.returncode = -signal.SIGKILL
            assert one.workers() == 1
            assert files(one) == [one.member.file.name]
            other = join()
            other.count("/b")
            assert one.counts() == {GET_A: 1 + (scenario == "fork_at"), ("GET", "/b", 200): 1}
            assert one.faults == other.faults == []
        finally:
            os.kill(child, signal.SIGKILL)
        assert parent.end()[1] == ""


@pytest.mark.parametrize("scenario", ["fork_in_the_middle", "close_all"])
def test_in_a_process_of_its_own(tmp_path: Path, scenario: str) -> None:
    """Children that outlive a fork under a lock; a worker that lost every descriptor: see `members`."""
    assert ended(scenario, tmp_path) == (0, "")


def test_a_worker_that_was_taken_for_dead_comes_back(join: Join) -> None:
    """The app closed its descriptors; what it counted is not lost, and it is not counted twice."""
    one, other = join(), join()
    one.count()
    one.begin()
    os.close(one.member.file.lock_fd)
    assert (other.counts(), other.in_progress()) == ({GET_A: 1}, 0.0)
    assert (one.counts(), one.in_progress()) == ({GET_A: 1}, 1.0)
    one.count()
    assert (other.counts(), other.in_progress(), other.workers()) == ({GET_A: 2}, 1.0, 2)
    assert one.faults == other.faults == []


def test_a_worker_that_lost_its_directory_comes_back(join: Join) -> None:
    """Until the next scrape what is new is counted apart, and nobody else's file is written."""
    one = join()
    one.count()
    os.close(one.member.file.lock_fd)
    os.close(one.member.directory.fd)
    one.count("/b")
    assert one.counts() == {GET_A: 1}
    one.count("/b")
    assert one.counts() == {GET_A: 1, ("GET", "/b", 200): 2}
    assert one.workers() == 1


def test_a_worker_whose_file_is_removed_leaves_no_descriptor_behind(join: Join) -> None:
    """However often; its lock and its mapping are provably its own."""
    one = join()
    before = open_files(one.member.directory.path)
    for _ in range(10):
        file_of(one).unlink()
        one.count()
        one.counts()
    assert len(open_files(one.member.directory.path)) == len(before)
    assert one.counts() == {}
    assert one.faults == []


def test_a_worker_that_was_robbed_closes_no_strangers_file(join: Join, tmp_path: Path) -> None:
    """Neither the lock's number, nor the one that the old mapping has kept for itself."""
    one, other = join(), join()
    one.count()
    theirs, lock_fd = os.open(tmp_path, os.O_RDONLY), one.member.file.lock_fd
    numbers = [int(link.name) for link in Path("/proc/self/fd").iterdir() if is_of(one, link)]
    assert len(numbers) == 2
    for number in numbers:
        os.dup2(theirs, number)
    assert other.counts() == one.counts() == {GET_A: 1}
    assert one.member.file.lock_fd not in numbers
    gc.collect()
    for number in (*numbers, theirs):
        assert os.path.samestat(os.fstat(number), os.stat(tmp_path))
    os.close(theirs)
    os.close(lock_fd)  # the other one closes itself with the mapping, when the test is over


def is_of(worker: Worker, link: Path) -> bool:
    return link.is_symlink() and link.readlink() == file_of(worker)


def test_a_worker_without_room_to_come_back_counts_for_itself_until_there_is(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scrape fails for it."""
    one = join()
    one.count()
    file_of(one).unlink()
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_room)
        assert one.counts() == {GET_A: 1}
        assert one.is_isolated
        assert one.workers() == 1
    assert one.faults == ["return to the workers"] * 2
    assert one.counts() == {}
    assert not one.is_isolated
    one.count()
    assert one.counts() == join().counts() == {GET_A: 1}


def test_of_several_scrapes_one_comes_back(join: Join) -> None:
    """The others wait for it, or read without what it makes."""
    one = join()
    one.count()
    file_of(one).unlink()
    with one.member.returning:
        assert one.counts() == {}
        assert files(one) == []
    one.counts()
    assert len(files(one)) == 1


def test_a_worker_whose_directory_is_removed_goes_on_alone(join: Join) -> None:
    """What is new is admitted, in a table that is its own now; it is told once, and those who come later begin anew."""
    one = join({"/a": ["GET"]}, max_label_sets=SENTINEL_ROWS + 2)
    one.count()
    shutil.rmtree(one.member.directory.path)
    for n in range(50):
        one.count("/a", 201)
        one.count("/b")
        one.count_exception("/a", f"E{n}")
    assert one.table.declare([("/c", ["GET"])]) == 1  # no row was left
    expected = {GET_A: 1, ("GET", "/a", 201): 50, ("GET", "/b", 200): 50}
    assert one.counts() == expected
    assert (one.workers(), one.is_isolated) == (1, True)
    assert len(one.exceptions()) == 50
    other = join()
    other.count("/d")
    assert (one.counts(), other.counts()) == (expected, {("GET", "/d", 200): 1})
    assert one.faults == [LEFT]


def test_a_directory_that_is_removed_in_the_middle_of_a_scrape_fails_none(join: Join) -> None:
    """The index was read, and the cells are not there any more: the worker's own are shown."""
    one = join()
    one.count()
    shutil.rmtree(one.member.directory.path)
    found = one.member.read(one.table, one.table.extent())
    assert (sum(map(sum, found.parts)), found.workers) == (2.0, 1)  # its status, and its bucket
    assert one.is_isolated
    assert one.faults == [LEFT]
    assert one.counts() == {GET_A: 1}


def test_a_worker_whose_group_began_anew_while_it_was_robbed_goes_on_alone(join: Join) -> None:
    """Its rows are not those of the new index."""
    one = join()
    one.count("/a")
    shutil.rmtree(one.member.directory.path)
    other = join()
    other.count("/b")
    os.close(one.member.directory.fd)
    one.counts()
    one.count("/c")
    for _ in range(2):
        assert one.counts() == {GET_A: 1, ("GET", "/c", 200): 1}
        assert other.counts() == {("GET", "/b", 200): 1}
    assert one.faults == [LEFT]


def test_a_member_without_its_directory_closes_nothing_on_the_way_out(join: Join, tmp_path: Path) -> None:
    """The numbers may be strangers' by now."""
    one = join()
    numbers = (one.member.file.lock_fd, one.member.directory.fd)
    theirs = os.open(tmp_path, os.O_RDONLY)
    for number in numbers:
        os.dup2(theirs, number)
    one.die()
    for number in (*numbers, theirs):
        os.close(number)


def no_room(fd: int, at: int, length: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_where_a_worker_has_no_room_it_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """Neither descriptors nor a file that others would add up."""

    def fail(fd: int, at: int, length: int) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match=os.strerror(reason)):
        joined(tmp_path)
    assert open_files(tmp_path) == []
    with closing(open_directory("group", "owner", str(tmp_path))) as directory:
        assert sorted(directory.names()) == [INDEX, LOCK, "owner"]
