"""What a group's workers counted: added up while some die, and folded by whoever may be killed over it."""

import errno
import fcntl
import math
import os
import random
import resource
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from red_middleware.counting.layout import NOTHING
from red_middleware.workers import cells
from red_middleware.workers.cells import ASIDE, CPU_AT, DRAFT, GRAIN_SECONDS, ID_BYTES, LOCK, NEW, RETIRED, WORKER
from red_middleware.workers.directory import Directory
from red_middleware.workers.index import NAME as INDEX
from red_middleware.workers.sums import ABANDONED_SECONDS, BATCH, MAX_ASIDE, MAX_NAMED

from .members import GET_A, RETIRING, Join, Worker, ended, file_of, files, running

# Sums


def test_the_requests_in_progress_are_those_of_the_living(tmp_path: Path, join: Join) -> None:
    """A killed worker's gauges vanish, its counters stay, for those that come later, too."""
    one = join()
    one.count()
    one.begin()
    with running("live", tmp_path, 10) as other:
        assert other.hear() == ["counted"]
        assert (one.counts(), one.in_progress(), one.workers()) == ({GET_A: 11}, 2.0, 2)
        assert one.pids() == sorted([os.getpid(), other.popen.pid])
        other.tell()
        assert other.hear() == [[[*GET_A, 11.0]]]
    for worker in (one, join()):
        assert (worker.counts(), worker.in_progress()) == ({GET_A: 11}, 1.0)
    one.end()
    assert one.in_progress() == 0.0
    assert one.workers() == 2


def test_a_dead_worker_whom_another_one_is_about_to_retire_is_still_counted(join: Join) -> None:
    """A scrape that may not fold adds its counters and leaves its gauges out."""
    one, other = join(), join()
    other.count()
    other.begin()
    other.die()
    with closing(Directory("", one.member.directory.open(cells.LOCK, os.O_RDWR | os.O_CREAT))) as lock:
        fcntl.flock(lock.fd, fcntl.LOCK_EX)
        assert (one.counts(), one.in_progress(), one.workers()) == ({GET_A: 1}, 0.0, 1)
        assert len(files(one)) == 2
    assert one.counts() == {GET_A: 1}
    assert len(files(one)) == 1


def test_who_is_retired_and_whose_file_is_still_there_is_counted_once(tmp_path: Path, join: Join) -> None:
    """Another scrape is between the renaming and the removal of the files."""
    one, dead = join(), join()
    dead.count()
    dead.die()
    ended("enter_and_retire", tmp_path, "after the rename")
    assert dead.member.file.name in files(one)
    with closing(Directory("", one.member.directory.open(cells.LOCK, os.O_RDWR | os.O_CREAT))) as lock:
        fcntl.flock(lock.fd, fcntl.LOCK_EX)
        assert one.counts() == {GET_A: 1}
    assert one.counts() == {GET_A: 1}
    assert files(one) == [one.member.file.name]


@pytest.mark.parametrize("step", RETIRING)
def test_who_is_killed_while_it_retires_others_spoils_nothing(tmp_path: Path, join: Join, step: str) -> None:
    """No count is lost or doubled, at the next scrape and the one after it."""
    one = join()
    status, _ = ended("retire", tmp_path, step)
    assert status == -signal.SIGKILL
    other = join()
    for _ in range(2):
        assert one.counts() == other.counts() == {GET_A: 31}
        assert sorted(files(one)) == sorted([one.member.file.name, other.member.file.name])
    assert files(one, NEW) == files(one, DRAFT) == []
    assert one.faults == other.faults == []


@pytest.mark.parametrize("step", RETIRING)
def test_who_is_killed_while_it_retires_others_on_the_way_in_spoils_nothing(
    tmp_path: Path, join: Join, step: str
) -> None:
    """As at a scrape; of several batches, those after the first are left to the next one."""
    one, *dead = (join() for _ in range(4))
    for worker in dead:
        worker.count(times=10)
        worker.die()
    status, _ = ended("enter_and_retire", tmp_path, step)
    assert status == -signal.SIGKILL or "second" in step  # which is the next one's
    other = join()
    for _ in range(2):
        assert one.counts() == other.counts() == {GET_A: 30}
        assert sorted(files(one)) == sorted([one.member.file.name, other.member.file.name])
    assert one.faults == other.faults == []


def test_a_thousand_dead_workers_leave_as_many_files_as_ten(join: Join) -> None:
    """Neither files nor ids grow with the number of workers that a group ever had."""
    one = join(max_label_sets=30)
    left = []
    for number in range(1000):
        worker = join(max_label_sets=30)
        worker.count()
        worker.die()
        if number % 3 == 0:
            assert one.counts() == {GET_A: number + 1}
        if number in (9, 999):
            assert one.counts() == {GET_A: number + 1}
            left.append((len(one.member.directory.names()), file_of(one, RETIRED).stat().st_size))
    assert left[0][0] == left[1][0]
    assert abs(left[0][1] - left[1][1]) <= 2 * cells.ID_BYTES


def test_workers_that_come_and_go_leave_no_files_where_nobody_scrapes(join: Join) -> None:
    """Who enters retires those that went, before it takes room itself."""
    for _ in range(20):
        worker = join()
        assert files(worker) == [worker.member.file.name]
        worker.count()
        worker.die()
    one = join()
    assert one.counts() == {GET_A: 20}
    assert one.faults == []


def test_who_enters_waits_for_nobody_that_retires_others(join: Join) -> None:
    """One that was stopped over it would keep every new worker from its first request."""
    one, other = join(), join()
    other.die()
    with one.member.directory.hold(LOCK, os.O_RDONLY):
        third = join()
        assert len(files(one)) == 3
    assert third.counts() == {}
    assert len(files(one)) == 2


def test_who_finds_no_room_makes_some(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the dead who enters retires no more than a batch at first, to be quick; where that is too few, all."""
    one, *dead = (join() for _ in range(BATCH + 3))
    for worker in dead:
        worker.count()
        worker.die()
    allocate = os.posix_fallocate
    seen = []

    def small(fd: int, at: int, length: int) -> None:
        seen.append(len(files(one)))
        if seen[-1] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(fd, at, length)

    monkeypatch.setattr(os, "posix_fallocate", small)
    assert join().counts() == {GET_A: BATCH + 2}
    assert seen == [3, 1, 1]  # the room for the log, which is asked for again, and for the cells


def test_more_dead_workers_than_descriptors_are_retired(join: Join) -> None:
    """Two at once are enough, whoever they are of."""
    one, *others = (join() for _ in range(BATCH + 20))
    for worker in others[10:]:
        worker.count()
        worker.die()
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = [number for number in range(2 * max(used)) if number not in used]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[3], hard))
    try:
        assert one.counts() == {GET_A: BATCH + 9}
        assert len(files(one)) == 11
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert one.faults == []


def test_a_scrape_beside_one_that_retires_does_not_take_the_dead_for_living(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks whether a worker lives holds its lock for a moment, as others may."""
    one, other, dead = (join() for _ in range(3))
    dead.count()
    dead.begin()
    dead.die()
    flock = fcntl.flock
    seen = []

    def beside(fd: int, operation: int) -> None:
        flock(fd, operation)
        if operation & fcntl.LOCK_SH:
            with monkeypatch.context() as as_before:
                as_before.setattr(fcntl, "flock", flock)
                seen.append((other.counts(), other.in_progress(), other.workers()))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", beside)
        one.counts()
    assert len(seen) == 2  # when it looks for the dead, and when it reads them
    assert all(look == ({GET_A: 1}, 0.0, 2) for look in seen)


def test_no_sum_of_seconds_falls_when_a_worker_retires(join: Join) -> None:
    """Floats added in another order may be one bit less, which to Prometheus is a counter that began anew."""
    one, *dying = (join() for _ in range(12))
    row = one.row("/a")
    chance = random.Random(7)
    for worker in dying:
        worker.table.add(worker.row("/a"), "seconds", chance.uniform(0.0, 10.0 ** chance.randrange(6)))
        worker.table.add(worker.table.own, "scrape_seconds", chance.random())

    def found() -> list[float]:
        numbers = one.table.read().cells
        return [numbers["http"][row.cell("seconds")], numbers["own"][one.table.own.cell("scrape_seconds")]]

    before = found()
    counted = math.fsum(worker.table.http.cells[row.cell("seconds")] for worker in dying)
    assert counted - len(dying) * GRAIN_SECONDS <= before[0] <= counted + 1e-12
    for worker in dying:
        worker.die()
        assert found() == before
    assert len(files(one)) == 1


def test_what_the_dead_used_of_the_processor_is_kept(join: Join) -> None:
    """In `retired`, each with no more than a microsecond less than a scrape found."""
    one, *dead = (join() for _ in range(3))
    for worker in dead:
        with file_of(worker).open("r+b") as file:
            file.seek(CPU_AT)
            file.write(struct.pack("=d", 0.1))
        worker.die()
    one.counts()
    with file_of(one, RETIRED).open("rb") as file:
        assert cells.read(file.fileno(), NOTHING).cpu_seconds == 2 * cells.grained(0.1) == pytest.approx(0.2, abs=3e-6)


def during_the_reading(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something when a scrape, the next one, has read `retired` and is about to list the workers."""
    names = os.listdir
    calls = iter(range(1000))

    def listed(fd: int) -> list[str]:
        if next(calls) == 1:  # after the scrape has folded the dead
            work()
        return names(fd)

    monkeypatch.setattr(os, "listdir", listed)


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

    during_the_reading(monkeypatch, retire)
    assert one.counts() == {GET_A: 3}
    assert len(files(one)) == 2  # it did happen meanwhile
    assert one.faults == []


def test_a_file_that_vanishes_under_a_scrape_is_looked_for_in_retired(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, and is gone when it is to be opened."""
    one, other, dying = (join() for _ in range(3))
    dying.count()
    opened = os.open

    def late(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == dying.member.file.name:
            monkeypatch.undo()
            dying.die()
            assert other.counts() == {GET_A: 1}
        return opened(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", late)
    assert one.counts() == {GET_A: 1}


def test_a_scrape_that_never_sees_two_equal_moments_gives_up(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless loop, whatever happens to the files."""
    one = join()
    opened = os.open

    def vanished(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == one.member.file.name:
            raise FileNotFoundError(errno.ENOENT, name)
        return opened(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", vanished)
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
    names = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: [*names(fd), f"{NEW}finished"])
    one.count()
    assert one.counts() == {GET_A: 1}
    assert one.faults == []


# Damage


FOREIGN = WORKER + "f" * 32

GARBAGE = {
    "empty": b"",
    "truncated": cells.HEADER.pack(cells.MAGIC, 1, 1, 1, 1, 0.0, bytes(16), 0.0)[:20],
    "foreign": b"garbage " * 1000,
    "of another version": cells.HEADER.pack(b"redcell0", 1, 1, 1, 1, 0.0, bytes(16), 0.0) + bytes(8),
    "cut short": cells.HEADER.pack(cells.MAGIC, 1000, 1, 1, 1, 0.0, bytes(16), 0.0) + bytes(80),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_file_that_is_none_of_a_worker_is_set_aside(join: Join, content: bytes) -> None:
    """A fault, and no scrape fails; the others' counts are there."""
    one, other = join(), join()
    other.count()
    other.die()
    file_of(one, FOREIGN).write_bytes(content)
    one.count()
    assert one.counts() == {GET_A: 2}
    assert one.faults == [f"file of a worker, {FOREIGN}"]
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


def test_thousands_of_strange_files_make_a_few_log_lines(join: Join) -> None:
    """All are counted as faults; a log says each kind once, and the names of the first few."""
    one = join()
    for number in range(2_000):
        file_of(one, f"{WORKER}{number}").write_bytes(b"")
    assert one.counts() == {}
    assert len(one.faults) == 2_000
    assert len(set(one.faults)) == MAX_NAMED + 1
    assert len(files(one, ASIDE)) == MAX_ASIDE
    assert one.counts() == {}
    assert len(one.faults) == 2_000


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


def test_what_keeps_the_dead_from_being_retired_keeps_no_scrape(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file system, say: they are counted where they are."""
    one, other = join(), join()
    other.count()
    other.die()
    write = os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, content, at: write(fd, content[:-1], at))
        assert one.counts() == {GET_A: 1}
    assert one.faults == ["retired workers"]
    assert one.counts() == {GET_A: 1}
    assert len(files(one)) == 1


def valid(worker: Worker) -> bytes:
    return file_of(worker).read_bytes()


def a_socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    found = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(found)


KINDS: Mapping[str, Callable[[Path], object]] = {
    "directory": Path.mkdir,
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "FIFO": os.mkfifo,
    "socket": a_socket,
    "device": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5)),  # /dev/zero
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", [FOREIGN, RETIRED, DRAFT, f"{NEW}old"])
def test_whatever_lies_in_the_place_of_a_file_fails_no_scrape_and_lets_none_wait(
    join: Join, kind: Callable[[Path], object], name: str
) -> None:
    """It is set aside where the name is needed or counted, told of once, and the dead are retired as ever."""
    one, other = join(), join()
    other.count()
    one.count()
    try:
        kind(file_of(one, name))
    except PermissionError:
        pytest.skip("only root makes devices")
    os.utime(file_of(one, name), (0, 0), follow_symlinks=False)
    other.die()
    for _ in range(2):
        assert one.counts() == {GET_A: 2}
        assert files(one) == [one.member.file.name]
    assert len(one.faults) <= 1
    assert (name in (FOREIGN, RETIRED)) <= (len(one.faults) == 1)
    assert file_of(one, RETIRED).is_file()
    assert join().counts() == {GET_A: 2}


def test_a_file_whose_name_is_no_workers_is_not_counted(join: Join) -> None:
    """Nor could it be retired: its name is no id."""
    one = join()
    one.count()
    name = f"{WORKER}not hex é"
    file_of(one, name).write_bytes(valid(one))
    for _ in range(2):
        assert one.counts() == {GET_A: 1}
    assert one.faults == [f"file of a worker, {name}"]
    assert len(files(one, ASIDE)) == 1


def test_a_directory_serves_as_the_lock(join: Join) -> None:
    """It can be locked as a file can; renaming it would let two retire the dead at once."""
    one, other = join(), join()
    other.count()
    file_of(one, LOCK).unlink()
    file_of(one, LOCK).mkdir()
    other.die()
    assert one.counts() == {GET_A: 1}
    assert files(one) == [one.member.file.name]
    assert one.faults == []


def test_without_a_lock_the_dead_are_counted_where_they_are(join: Join) -> None:
    """What lies there cannot be locked: a fault, and no scrape fails."""
    one, other = join(), join()
    other.count()
    file_of(one, LOCK).unlink()
    file_of(one, LOCK).symlink_to("nowhere")
    other.die()
    assert one.counts() == {GET_A: 1}
    assert set(one.faults) == {"retired workers"}


def test_directories_that_were_set_aside_are_not_emptied(join: Join) -> None:
    """What is in them is not ours; and they keep no other file from being removed."""
    one = join()
    for number in range(MAX_ASIDE + 2):
        file_of(one, f"{WORKER}{number}").mkdir()
        one.counts()
    assert len(files(one, ASIDE)) == MAX_ASIDE + 2
    assert one.counts() == {}
    assert len(one.faults) == MAX_ASIDE + 2


def by_another_index(worker: Worker) -> bytes:
    """Return what the worker's file holds, as if it were counted by another index."""
    content = valid(worker)
    return content[: cells.HEADER.size - ID_BYTES] + bytes(ID_BYTES) + content[cells.HEADER.size :]


def test_cells_by_another_index_are_never_added_up(join: Join) -> None:
    """They are of other rows. While their worker lives, its file stays; then it is set aside."""
    one, other = join(), join()
    one.count()
    other.count()
    other.begin()
    with file_of(other).open("r+b") as file:
        file.write(by_another_index(other))
    for _ in range(2):
        assert (one.counts(), one.in_progress()) == ({GET_A: 1}, 0.0)
    assert one.faults == [f"file of a worker, {other.member.file.name}"]
    assert files(one, ASIDE) == []
    other.die()
    assert one.counts() == {GET_A: 1}
    assert len(files(one, ASIDE)) == 1


def test_sums_by_another_index_are_set_aside(join: Join) -> None:
    """As damaged ones are, by who knows the group's index and has its lock; until then they are left out."""
    one = join()
    one.count()
    file_of(one, RETIRED).write_bytes(by_another_index(one))
    with one.member.directory.hold(LOCK, os.O_RDONLY):
        for _ in range(2):
            assert one.counts() == {GET_A: 1}
    assert one.faults == ["cells of retired workers"]
    assert files(one, ASIDE) == []
    assert one.counts() == {GET_A: 1}
    assert len(files(one, ASIDE)) == 1
    content = file_of(one, INDEX).read_bytes()
    file_of(one, RETIRED).write_bytes(by_another_index(one))
    file_of(one, INDEX).write_bytes(b"")
    one.counts()
    assert RETIRED in files(one, RETIRED)
    file_of(one, INDEX).write_bytes(content)


def test_files_that_somebody_removes_are_not_looked_for(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing and the look at them, or between that and the folding."""
    one = join()
    one.count()
    for missed in (1, 2):
        dead = join()
        dead.die()
        left = [missed]
        status = os.stat

        def vanishing(name: object, **options: Any) -> os.stat_result:
            if name == dead.member.file.name:  # noqa: B023
                left[0] -= 1  # noqa: B023
                if not left[0]:  # noqa: B023
                    file_of(dead).unlink()  # noqa: B023
            return status(name, **options)  # type: ignore[arg-type]  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(os, "stat", vanishing)
            assert one.counts() == {GET_A: 1}
    assert one.faults == []
