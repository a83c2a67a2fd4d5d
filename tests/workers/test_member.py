"""Members of one group: one index, sums of all cells, and nothing lost or doubled by whoever dies."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from red_middleware.labels import OVERFLOW, UNMATCHED
from red_middleware.table import EXCEPTION_PAIRS, EXCEPTIONS, SENTINEL_ROWS, STATUS_CELLS
from red_middleware.workers import cells
from red_middleware.workers.cells import ASIDE, NEW, RETIRED, WORKER
from red_middleware.workers.directory import Directory, open_directory
from red_middleware.workers.index import COMMITTED_AT, HEADER
from red_middleware.workers.index import NAME as INDEX
from red_middleware.workers.member import ABANDONED_SECONDS, MAX_ASIDE

from .members import ADMITTING, ENTERING, RETIRING, ROUTES, ROWS, Worker, ended, joined, open_files, running

GET_A = ("GET", "/a", 200)
Join = Callable[..., Worker]


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """Return a function that joins the group of the test."""
    workers: list[Worker] = []

    def join(declared: Mapping[str, Sequence[str]] | None = None, max_label_sets: int = 100) -> Worker:
        workers.append(joined(tmp_path, declared, max_label_sets))
        return workers[-1]

    yield join
    for worker in workers:
        if worker.member.directory.fd >= 0:
            worker.die()


def files(worker: Worker, prefix: str = WORKER) -> list[str]:
    return [name for name in worker.member.directory.names() if name.startswith(prefix)]


def file_of(worker: Worker, name: str | None = None) -> Path:
    return Path(worker.member.directory.path, name or worker.member.file.name)


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
    assert one.table.pair_cell("/a", "E") == other.table.pair_cell("/a", "E") == EXCEPTIONS
    assert other.table.pair_cell("/b", "E") == one.table.pair_cell("/b", "E") == EXCEPTIONS + 1
    assert one.counts() == other.counts() == {("GET", "/b", 201): 1, ("GET", "/b", 203): 2, ("GET", "/c", 202): 2}
    for worker in (one, other):
        assert [row.route for row in worker.table.rows[SENTINEL_ROWS:]] == ["/b", "/c"]
        assert worker.row("/b").codes == (201, 203)
        assert worker.table.pairs == [("/a", "E"), ("/b", "E")]
        assert worker.table.declared == {"/a": {"GET"}, "/c": {"GET"}}
        assert worker.faults == []
    assert (one.table.free, one.table.used, one.table.capacity) == (
        other.table.free,
        other.table.used,
        other.table.capacity,
    )


def test_routes_that_are_declared_later_are_declared_for_all(join: Join) -> None:
    """Lazily mounted, or in one worker first."""
    one, other = join({"/a": ["GET"]}), join({"/a": ["GET"]})
    assert one.table.declare([("/b", ["GET"])]) == 0
    assert other.table.declare([("/b", ["GET"]), ("/a", ["GET"])]) == 0
    assert other.table.declare([("/b", ["GET"])]) == 0
    assert one.table.declared == other.table.declared == {"/a": {"GET"}, "/b": {"GET"}}
    assert one.table.free == other.table.free


def test_the_first_member_settles_the_capacity(join: Join) -> None:
    """If it declares nothing, too: cells of one size are what can be added up."""
    one = join(max_label_sets=SENTINEL_ROWS)
    other = join({"/a": ["GET"]}, max_label_sets=SENTINEL_ROWS)
    assert one.table.declare([("/a", ["GET"])]) == other.table.declare([("/a", ["GET"])]) == 1
    assert one.table.capacity == other.table.capacity == SENTINEL_ROWS
    other.count("/a")
    assert one.counts() == {("GET", OVERFLOW, 200): 1}


def test_a_declaration_that_needs_more_raises_the_capacity_of_all(join: Join) -> None:
    """The cells are mapped after the log was replayed, in the size that it says."""
    routes = {f"/{n}": ["GET"] for n in range(50)}
    one, other = join(routes, max_label_sets=1), join(max_label_sets=1)
    assert one.table.capacity == other.table.capacity == SENTINEL_ROWS + 50
    for n in range(51):
        other.count(f"/{n}")
    assert one.counts() == {("GET", f"/{n}", 200): 1 for n in range(50)} | {("GET", OVERFLOW, 200): 1}


def test_the_bounds_hold_over_the_union(join: Join) -> None:
    """Rows, statuses of a row and pairs are those of all workers together."""
    one, other = join(max_label_sets=SENTINEL_ROWS + 4), join(max_label_sets=SENTINEL_ROWS + 4)
    for n in range(4):
        one.count(f"/one{n}")
        other.count(f"/other{n}")
    assert [one.row(f"/other{n}").route for n in range(4)] == ["/other0", "/other1", OVERFLOW, OVERFLOW]
    assert one.counts()["GET", OVERFLOW, 200] == 4
    for n in range(STATUS_CELLS):
        one.count(None, 200 + n)
        other.count(None, 300 + n)
    assert len(one.row(None).codes) == STATUS_CELLS - 1
    assert one.counts()["GET", UNMATCHED, 0] == 2 * STATUS_CELLS - (STATUS_CELLS - 1)
    for n in range(EXCEPTION_PAIRS):
        one.table.add(one.table.pair_cell("/a", f"E{n}"))
        other.table.add(other.table.pair_cell("/b", f"E{n}"))
    reading = one.table.read()
    assert len(reading.pairs) == EXCEPTION_PAIRS
    assert sum(reading.cells[EXCEPTIONS : EXCEPTIONS + EXCEPTION_PAIRS + 1]) == 2 * EXCEPTION_PAIRS
    assert reading.cells[EXCEPTIONS + EXCEPTION_PAIRS] == EXCEPTION_PAIRS


def test_processes_that_race_for_rows_leave_one_index(tmp_path: Path, join: Join) -> None:
    """No row, status or pair twice, no more than there is room for, and every request counted once."""
    with running("race", tmp_path, 0) as one, running("race", tmp_path, ROUTES // 2) as other:
        for process in (one, other):
            assert process.hear() == ["ready"]
        for process in (one, other):
            process.tell()
        found = [process.hear() for process in (one, other)]
        worker = join(max_label_sets=ROWS)
        counts, (_, numbers, pairs, _, workers) = worker.counts(), worker.table.read()
        rows = [[row.method.label, row.route, list(row.codes)] for row in worker.table.rows]
    assert workers == 3
    assert len(rows) == ROWS
    assert len({(method, route) for method, route, _ in rows}) == ROWS
    for their_rows, their_pairs in found:  # one ended before the other
        assert their_pairs == [list(pair) for pair in pairs[: len(their_pairs)]]
        for ours, theirs in zip(rows, their_rows, strict=False):
            assert theirs[:2] == ours[:2]
            assert theirs[2] == ours[2][: len(theirs[2])]
    assert sum(counts.values()) == sum(sum(numbers[row.buckets : row.errors]) for row in worker.table.rows)
    assert sum(counts.values()) == 4 * ROUTES
    assert len(pairs) == len(set(pairs))
    assert sum(numbers[EXCEPTIONS : EXCEPTIONS + EXCEPTION_PAIRS + 1]) == 4 * ROUTES


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
    routes = [row.route for row in one.table.rows]
    assert routes == [row.route for row in other.table.rows]
    assert sorted(routes[SENTINEL_ROWS:]) == ["/a", "/b", "/c"]
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
    assert one.table.read().workers == 2
    assert one.faults == other.faults == []


def test_a_stopped_worker_that_holds_the_index_costs_labels_and_no_request(tmp_path: Path, join: Join) -> None:
    """What is new folds for as long as that takes; then it is admitted."""
    one = join()
    one.count("/a", 200)
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        holder.popen.send_signal(signal.SIGSTOP)
        one.count("/a", 200)
        one.count("/b", 200)
        one.count("/a", 201)
        assert one.table.pair_cell("/a", "E") == EXCEPTIONS + EXCEPTION_PAIRS
        assert one.table.declare([("/d", ["GET"])]) == 1
        folded = {GET_A: 2, ("GET", OVERFLOW, 0): 1, ("GET", "/a", 0): 1}
        assert one.counts() == folded
        assert set(one.faults) == {"index of the workers"}
        assert len(one.faults) == 5  # a row, its status, a status, a pair, a declaration
    for route, status in (("/a", 201), ("/b", 200)):
        one.count(route, status)
    assert one.table.declare([("/d", ["GET"])]) == 0
    assert one.table.pair_cell("/a", "E") == EXCEPTIONS
    assert one.counts() == folded | {("GET", "/a", 201): 1, ("GET", "/b", 200): 1}
    assert len(one.faults) == 5


def test_a_declared_route_that_met_a_held_index_gets_its_row_at_the_next_request(tmp_path: Path, join: Join) -> None:
    """Its row is reserved; one moment of bad luck is not remembered."""
    one = join()
    assert one.table.declare([("/a", ["GET"])]) == 0
    with running("hold", tmp_path) as holder:
        assert holder.hear() == ["held"]
        one.count("/a", 200)
    one.count("/a", 200)
    assert one.counts() == {("GET", OVERFLOW, 0): 1, GET_A: 1}


def test_a_thread_that_interrupts_the_replay_is_not_let_in(join: Join) -> None:
    """A finaliser may record while its own thread has the lock: its label folds, and nothing hangs."""
    one = join()
    with one.member._alone():
        one.count("/a")
        assert one.counts() == {("GET", OVERFLOW, 0): 1}
    one.count("/a")
    assert one.counts() == {("GET", OVERFLOW, 0): 1, GET_A: 1}
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


# Sums


def test_the_requests_in_progress_are_those_of_the_living(tmp_path: Path, join: Join) -> None:
    """A killed worker's gauges vanish, its counters stay, for those that come later, too."""
    one = join()
    one.count()
    one.table.methods["GET"].in_progress.append(None)
    with running("live", tmp_path, 10) as other:
        assert other.hear() == ["counted"]
        assert (one.counts(), one.in_progress(), one.table.read().workers) == ({GET_A: 11}, 2.0, 2)
        assert one.member.pids == sorted([os.getpid(), other.popen.pid])
        other.tell()
        assert other.hear() == [[[*GET_A, 11.0]]]
    for worker in (one, join()):
        assert (worker.counts(), worker.in_progress()) == ({GET_A: 11}, 1.0)
    one.table.methods["GET"].in_progress.pop()
    assert one.in_progress() == 0.0
    assert one.table.read().workers == 2


def test_a_dead_worker_whom_another_one_is_about_to_retire_is_still_counted(join: Join) -> None:
    """A scrape that may not fold adds its counters and leaves its gauges out."""
    one, other = join(), join()
    other.count()
    other.table.methods["GET"].in_progress.append(None)
    other.die()
    with closing(Directory("", one.member.directory.open(cells.LOCK, os.O_RDWR | os.O_CREAT))) as lock:
        fcntl.flock(lock.fd, fcntl.LOCK_EX)
        assert (one.counts(), one.in_progress(), one.table.read().workers) == ({GET_A: 1}, 0.0, 1)
        assert len(files(one)) == 2
    assert one.counts() == {GET_A: 1}
    assert len(files(one)) == 1


def test_who_is_retired_and_whose_file_is_still_there_is_counted_once(tmp_path: Path, join: Join) -> None:
    """Another scrape is between the renaming and the removal of the files."""
    one, dead = join(), join()
    dead.count()
    dead.die()
    ended("retire", tmp_path, "after the rename")
    assert dead.member.file.name in files(one)
    with closing(Directory("", one.member.directory.open(cells.LOCK, os.O_RDWR | os.O_CREAT))) as lock:
        fcntl.flock(lock.fd, fcntl.LOCK_EX)
        assert one.counts() == {GET_A: 2}
    assert one.counts() == {GET_A: 2}
    assert files(one) == [one.member.file.name]


@pytest.mark.parametrize("step", RETIRING)
def test_who_is_killed_while_it_retires_others_spoils_nothing(tmp_path: Path, join: Join, step: str) -> None:
    """No count is lost or doubled, at the next scrape and the one after it."""
    one, *dead = (join() for _ in range(4))
    for worker in dead:
        worker.count(times=10)
        worker.die()
    status, _ = ended("retire", tmp_path, step)
    assert status == -signal.SIGKILL
    other = join()
    for _ in range(2):
        assert one.counts() == other.counts() == {GET_A: 31}
        assert sorted(files(one)) == sorted([one.member.file.name, other.member.file.name])
    assert files(one, NEW) == []
    assert one.faults == other.faults == []


def test_two_hundred_dead_workers_leave_as_many_files_as_ten(join: Join) -> None:
    """Neither files nor ids grow with the number of workers that a group ever had."""
    one = join()
    left = []
    for number in range(200):
        worker = join()
        worker.count()
        worker.die()
        if number % 3 == 0:
            assert one.counts() == {GET_A: number + 1}
        if number in (9, 199):
            assert one.counts() == {GET_A: number + 1}
            left.append((len(one.member.directory.names()), file_of(one, RETIRED).stat().st_size))
    assert left[0][0] == left[1][0]
    assert abs(left[0][1] - left[1][1]) <= 2 * cells.ID_BYTES


def during_the_reading(monkeypatch: pytest.MonkeyPatch, worker: Worker, work: Callable[[], object]) -> None:
    """Do something when a scrape, the next one, has read `retired` and is about to list the workers."""
    names = Directory.names
    calls = iter(range(100))

    def listed(directory: Directory) -> list[str]:
        if directory is worker.member.directory and next(calls) == 2:  # after `_stay` and `_find_dead`
            work()
        return names(directory)

    monkeypatch.setattr(Directory, "names", listed)


def test_a_scrape_that_others_overtook_begins_anew(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often: an inode's number, even, may be that of the first again."""
    one, other, *dying = (join() for _ in range(5))
    for worker in dying:
        worker.count()
    dying[0].die()
    assert other.counts() == {GET_A: 3}

    def retire() -> None:
        for worker in dying[1:]:
            worker.die()
            assert other.counts() == {GET_A: 3}

    during_the_reading(monkeypatch, one, retire)
    assert one.counts() == {GET_A: 3}
    assert one.faults == []


def test_a_file_that_vanishes_under_a_scrape_is_looked_for_in_retired(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, and is gone when it is to be opened."""
    one, other, dying = (join() for _ in range(3))
    dying.count()
    opened = Directory.open

    def late(directory: Directory, name: str, flags: int, mode: int = 0o600) -> int:
        if directory is one.member.directory and name == dying.member.file.name and flags == os.O_RDONLY:
            monkeypatch.undo()
            dying.die()
            assert other.counts() == {GET_A: 1}
        return opened(directory, name, flags, mode)

    monkeypatch.setattr(Directory, "open", late)
    assert one.counts() == {GET_A: 1}


def test_a_scrape_that_never_sees_two_equal_moments_gives_up(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless loop, whatever happens to the files."""
    one = join()
    opened = Directory.open

    def vanished(directory: Directory, name: str, flags: int, mode: int = 0o600) -> int:
        if name == one.member.file.name:
            raise FileNotFoundError(errno.ENOENT, name)
        return opened(directory, name, flags, mode)

    monkeypatch.setattr(Directory, "open", vanished)
    with pytest.raises(TimeoutError, match="workers retire faster than their cells can be read"):
        one.counts()


def test_unfinished_files_are_removed_when_they_are_old(join: Join) -> None:
    """Their makers were killed; a young one may be about to be locked."""
    one = join()
    for name in ("young", "old"):
        file_of(one, NEW + name).write_bytes(b"")
    then = time.time() - ABANDONED_SECONDS - 1
    os.utime(file_of(one, f"{NEW}old"), (then, then))
    one.counts()
    assert files(one, NEW) == [f"{NEW}young"]


def test_an_unfinished_file_may_be_finished_before_it_is_looked_at(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker is counted at the next scrape at the latest."""
    one = join()
    names = Directory.names
    monkeypatch.setattr(Directory, "names", lambda directory: [*names(directory), f"{NEW}finished"])
    one.count()
    assert one.counts() == {GET_A: 1}
    assert one.faults == []


# Damage


GARBAGE = {
    "empty": b"",
    "truncated": HEADER.pack(cells.MAGIC, 0.0, bytes(16), 0)[:20],
    "foreign": b"garbage " * 1000,
    "of another version": cells.HEADER.pack(b"redcell0", 1, 1, 1, 1, 0.0, bytes(16)) + bytes(8),
    "cut short": cells.HEADER.pack(cells.MAGIC, 1000, 1, 1, 1, 0.0, bytes(16)) + bytes(80),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_file_that_is_none_of_a_worker_is_set_aside(join: Join, content: bytes) -> None:
    """A fault, and no scrape fails; the others' counts are there."""
    one, other = join(), join()
    other.count()
    other.die()
    file_of(one, f"{WORKER}foreign").write_bytes(content)
    one.count()
    assert one.counts() == {GET_A: 2}
    assert one.faults == ["file of a worker, w-foreign"]
    assert files(one) == [one.member.file.name]
    (aside,) = files(one, ASIDE)
    assert file_of(one, aside).read_bytes() == content
    assert one.counts() == {GET_A: 2}
    assert len(one.faults) == 1


def test_the_file_of_a_living_worker_that_is_damaged_is_a_fault_until_it_dies(join: Join) -> None:
    """Who holds its lock may be of a newer version; its file is not ours to move."""
    one, other = join(), join()
    file_of(other).write_bytes(b"garbage " * 1000)  # as long as before, under the mapping
    one.count()
    assert one.counts() == {GET_A: 1}
    assert one.faults == [f"file of a worker, {other.member.file.name}"]
    assert files(one, ASIDE) == []
    other.die()
    assert one.counts() == {GET_A: 1}
    assert len(files(one, ASIDE)) == 1


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_file_of_the_retired_is_set_aside(join: Join, content: bytes) -> None:
    """What they counted is lost; the living count on, and later retired ones are kept anew."""
    one, other, third = (join() for _ in range(3))
    other.count()
    other.die()
    one.count()
    assert one.counts() == {GET_A: 2}
    file_of(one, RETIRED).write_bytes(content)
    assert one.counts() == {GET_A: 1}
    assert one.faults == ["cells of retired workers"]
    third.count()
    third.die()
    assert one.counts() == {GET_A: 2}
    assert [file_of(one, name).read_bytes() for name in files(one, ASIDE)] == [content]


def test_no_more_than_four_files_are_kept_aside(join: Join) -> None:
    """The last ones, whatever they were."""
    one = join()
    for number in range(10):
        file_of(one, f"{WORKER}{number}").write_bytes(b"")
        one.counts()
    assert len(one.faults) == 10
    kept = sorted(name.rpartition("-")[2] for name in files(one, ASIDE))
    assert kept == ["6", "7", "8", "9"][-MAX_ASIDE:]


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


def test_dead_workers_wait_for_an_index_that_can_be_read(join: Join) -> None:
    """They may have added rows that a scrape without the index would cut off."""
    one, other = join(), join()
    other.count("/a")
    other.count("/b")
    other.die()
    content = file_of(one, INDEX).read_bytes()
    file_of(one, INDEX).write_bytes(b"")
    assert one.counts() == {}
    assert len(files(one)) == 2
    file_of(one, INDEX).write_bytes(content)
    assert one.counts() == {GET_A: 1, ("GET", "/b", 200): 1}
    assert len(files(one)) == 1


def test_an_index_of_another_version_lets_nobody_in(join: Join) -> None:
    """And leaves no descriptor open."""
    one = join()
    with file_of(one, INDEX).open("r+b") as file:
        file.write(b"redindx0")
    before = open_files(one.member.directory.path)
    with pytest.raises(OSError, match="no index of this version"):
        join()
    assert open_files(one.member.directory.path) == before


def test_what_keeps_the_dead_from_being_retired_keeps_no_scrape(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file system, say: they are counted where they are."""
    one, other = join(), join()
    other.count()
    other.die()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, content: write(fd, content[:-1]))
        assert one.counts() == {GET_A: 1}
    assert one.faults == ["retired workers"]
    assert one.counts() == {GET_A: 1}
    assert len(files(one)) == 1


# Forks and lost descriptors


def test_a_forked_child_counts_for_itself_and_does_not_keep_its_parent_alive(tmp_path: Path, join: Join) -> None:
    """The parent's death is seen while the child lives; nothing of the child's is in the group."""
    one = join()
    with running("fork", tmp_path) as parent:
        (pid,) = parent.hear()
        assert pid == parent.popen.pid
        assert (one.counts(), one.in_progress(), one.table.read().workers) == ({GET_A: 1}, 1.0, 2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        parent.popen.returncode = -signal.SIGKILL
        assert (one.counts(), one.in_progress(), one.table.read().workers) == ({GET_A: 1}, 0.0, 1)
        assert parent.end()[1] == ""


@pytest.mark.parametrize("scenario", ["fork_in_the_middle", "close_all"])
def test_in_a_process_of_its_own(tmp_path: Path, scenario: str) -> None:
    """Children that outlive a fork under a lock; a worker that lost every descriptor: see `members`."""
    assert ended(scenario, tmp_path) == (0, "")


def test_a_worker_that_was_taken_for_dead_comes_back(join: Join) -> None:
    """The app closed its descriptors; what it counted is not lost, and it is not counted twice."""
    one, other = join(), join()
    one.count()
    one.table.methods["GET"].in_progress.append(None)
    os.close(one.member.file.lock_fd)
    assert (other.counts(), other.in_progress()) == ({GET_A: 1}, 0.0)
    assert (one.counts(), one.in_progress()) == ({GET_A: 1}, 1.0)
    one.count()
    assert (other.counts(), other.in_progress(), other.table.read().workers) == ({GET_A: 2}, 1.0, 2)
    assert one.faults == other.faults == []


def test_a_worker_that_lost_its_directory_comes_back(join: Join) -> None:
    """Until the next scrape what is new folds, and nobody else's file is written."""
    one = join()
    one.count()
    os.close(one.member.file.lock_fd)
    os.close(one.member.directory.fd)
    one.count("/b")
    assert one.counts() == {GET_A: 1, ("GET", OVERFLOW, 0): 1}
    one.count("/b")
    assert one.counts() == {GET_A: 1, ("GET", OVERFLOW, 0): 1, ("GET", "/b", 200): 1}
    assert one.table.read().workers == 1


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
    one.member.directory.fd = -1


def test_where_a_worker_has_no_room_it_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither descriptors nor a file that others would add up."""

    def full(fd: int, at: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        joined(tmp_path)
    assert open_files(tmp_path) == []
    with closing(open_directory("group", "owner", str(tmp_path))) as directory:
        assert sorted(directory.names()) == [INDEX, "owner"]


def test_the_processes_of_all_are_told_of(join: Join) -> None:
    """Under the names of the collector of one."""
    found = join().member.processes(ProcessCollector(registry=None))
    assert "process_cpu_seconds" in [family.name for family in found.collect()]
