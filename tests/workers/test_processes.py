"""The process metrics of a group of workers: sums over the living, and CPU that never goes backwards."""

import errno
import fcntl
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from red_middleware.counting.layout import NOTHING
from red_middleware.workers import cells
from red_middleware.workers.cells import LOCK, WORKER
from red_middleware.workers.proc import STARTED, Process, pid_namespace, stat_field
from red_middleware.workers.processes import GroupProcesses, Workers

from .measured import BURN_SECONDS, burn, cpu_seconds, measure, measured, samples, shown, within_pid_namespace
from .members import Worker, joined

TOLERANCE_SECONDS = 3 / os.sysconf("SC_CLK_TCK")  # user's and system's seconds are whole ticks each
ALWAYS = {"process_cpu_seconds_total", "process_start_time_seconds"}
SUMS = {
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker of the test's group, in this process."""
    worker = joined(tmp_path)
    yield worker
    if worker.member.directory.fd >= 0:
        worker.die()


def names(worker: Worker) -> list[str]:
    return [name for name in worker.member.directory.names() if name.startswith(WORKER)]


@contextmanager
def locked(worker: Worker) -> Iterator[None]:
    """Hold the group's lock, as a scrape does."""
    lock = worker.member.directory.open(LOCK, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
    os.close(lock)


def alone() -> dict[str, float]:
    """Return what prometheus_client tells of this process."""
    return samples(ProcessCollector(registry=None))


def test_the_living_are_added_up(worker: Worker, tmp_path: Path) -> None:
    """They stand under the names of prometheus_client, with its namespace."""
    one = shown(worker, "shop")
    with measured(tmp_path):
        two = shown(worker, "shop")
    assert set(one) == set(two) == {f"shop_{name}" for name in ALWAYS | SUMS}
    assert two["shop_process_resident_memory_bytes"] > one["shop_process_resident_memory_bytes"] > 0
    assert two["shop_process_open_fds"] > one["shop_process_open_fds"] > 0
    assert two["shop_process_max_fds"] == 2 * one["shop_process_max_fds"]
    assert two["shop_process_cpu_seconds_total"] > one["shop_process_cpu_seconds_total"]
    assert two["shop_process_start_time_seconds"] == one["shop_process_start_time_seconds"]


def test_a_process_is_measured_once(worker: Worker, tmp_path: Path) -> None:
    """So it is if it has two files, because one was lost or it has set up its metrics again."""
    again = joined(tmp_path)
    assert shown(worker)["process_max_fds"] == alone()["process_max_fds"]
    again.die()


def test_cpu_stays_when_its_worker_goes(worker: Worker, tmp_path: Path) -> None:
    """A recycled worker takes nothing out of the sum, and no file of its own remains."""
    total = cpu_seconds(worker)
    for _ in range(3):
        with measured(tmp_path) as other:
            before = cpu_seconds(worker)
            assert before >= total + BURN_SECONDS - TOLERANCE_SECONDS
            other.end()
        total = cpu_seconds(worker)
        assert total >= before
        assert names(worker) == [worker.member.file.name]
    assert worker.faults == []


def test_what_a_scrape_beside_another_one_shows_stays(worker: Worker, tmp_path: Path) -> None:
    """Without the lock it stores nothing, and so it shows nothing that would be lost with the worker."""
    with measured(tmp_path) as other:
        first = cpu_seconds(worker)
        with locked(worker):  # as one that was stopped in its scrape would, and nobody waits for it
            other.ask("burn")
            beside = cpu_seconds(worker)
            assert beside == first
        other.kill()
        assert cpu_seconds(worker) >= beside


def test_a_worker_that_lost_its_file_counts_once(worker: Worker, tmp_path: Path) -> None:
    """What it used before counts in the lost file, wherever that is, and what it uses now in the new one."""
    with measured(tmp_path) as other:
        before = cpu_seconds(worker)
        other.ask("lose")
        with locked(worker):  # so that the lost file is not folded yet
            other.ask("show")
            assert len(names(worker)) == 3
        other.ask("burn")
        total = measure(worker)["process_cpu_seconds_total"]
        assert before + BURN_SECONDS - TOLERANCE_SECONDS <= total <= time.process_time() + other.ask("used")
        assert total <= cpu_seconds(worker) <= time.process_time() + other.ask("used")
        assert len(names(worker)) == 2


def test_a_worker_that_is_retired_during_a_scrape_counts_once(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never counted both among the living and among the dead."""
    listing = os.listdir
    reaper = joined(tmp_path)
    with measured(tmp_path) as other:
        before = cpu_seconds(worker)
        used = other.ask("used")  # and hardly more until it is killed
        listings = iter(range(1000))

        def listed(fd: int) -> list[str]:
            if next(listings) == 1:  # after those whose CPU is to be stored
                other.kill()
                reaper.counts()
                assert len(names(reaper)) == 2
            return listing(fd)

        monkeypatch.setattr(os, "listdir", listed)
        total = measure(worker)["process_cpu_seconds_total"]
        monkeypatch.undo()
        assert other.popen.returncode is not None  # it was killed meanwhile
        ours = 2  # files of this process, each of which counts what it uses
        assert before <= total <= ours * time.process_time() + used + TOLERANCE_SECONDS
        assert total <= cpu_seconds(worker) <= ours * time.process_time() + used + TOLERANCE_SECONDS
    reaper.die()


def rewrite(worker: Worker, change: Callable[[Process], Process]) -> None:
    """Change which process the file of the other worker tells of."""
    (name,) = set(names(worker)) - {worker.member.file.name}
    fd = worker.member.directory.open(name, os.O_RDWR)
    process = change(cells.read(fd, NOTHING).process)
    os.pwrite(fd, struct.pack("=QQQ", *process), 16)
    os.close(fd)


def test_another_process_with_the_number_of_a_worker_is_not_measured(worker: Worker, tmp_path: Path) -> None:
    """A process that started at another time did not make the file."""
    with measured(tmp_path):
        rewrite(worker, lambda process: process._replace(started=process.started - 1))
        found = shown(worker)
        assert set(found) == ALWAYS | SUMS
        assert found["process_max_fds"] == alone()["process_max_fds"]
        assert found["process_cpu_seconds_total"] <= time.process_time()


def test_a_process_of_another_pid_namespace_is_not_measured(worker: Worker, tmp_path: Path) -> None:
    """Its number is another process's here. A sum would lack it, so there is none."""
    with measured(tmp_path):
        rewrite(worker, lambda process: process._replace(namespace=process.namespace + 1))
        found = shown(worker)
        assert set(found) == ALWAYS
        assert found["process_cpu_seconds_total"] <= time.process_time()


def test_the_start_is_that_of_the_oldest_worker_or_of_the_master(worker: Worker, tmp_path: Path) -> None:
    """As the kernel tells it, which counts the time that a machine sleeps. It stays while workers come and go."""
    with measured(tmp_path):
        assert shown(worker)["process_start_time_seconds"] == alone()["process_start_time_seconds"]
        master = Process(os.getppid(), stat_field(os.getppid(), STARTED), pid_namespace())
        found = samples(GroupProcesses(ProcessCollector(registry=None), master, worker.member.workers))
    theirs = samples(ProcessCollector(pid=os.getppid, registry=None))
    assert found["process_start_time_seconds"] == theirs["process_start_time_seconds"]
    assert found["process_start_time_seconds"] <= alone()["process_start_time_seconds"]


def test_a_process_that_ends_before_it_is_measured_takes_no_sum_away(worker: Worker, tmp_path: Path) -> None:
    """It was among the living when the files were read, and is not any more."""
    with measured(tmp_path) as other:

        def late() -> Workers:
            found = worker.member.workers()
            other.kill()
            return found

        found = samples(GroupProcesses(ProcessCollector(registry=None), Process(0, 0, 0), late))
    assert set(found) == ALWAYS | SUMS
    assert found["process_max_fds"] == alone()["process_max_fds"]


def test_cpu_is_that_of_all_pid_namespaces(worker: Worker, tmp_path: Path) -> None:
    """A scrape in each stores its own, and shows what all stored."""
    within = within_pid_namespace()
    if not within:
        pytest.skip("needs the right to make a pid namespace")
    with measured(tmp_path, within=within) as other:
        first = cpu_seconds(worker)
        assert first <= time.process_time()
        total = other.ask("show")["process_cpu_seconds_total"]
        assert total >= first + BURN_SECONDS - TOLERANCE_SECONDS
        found = shown(worker)
        assert set(found) == ALWAYS
        assert found["process_cpu_seconds_total"] >= total
        burn()
        assert other.ask("show")["process_cpu_seconds_total"] >= found["process_cpu_seconds_total"]
        other.end()
    found = shown(worker)
    assert set(found) == ALWAYS | SUMS
    assert found["process_cpu_seconds_total"] >= total


def test_a_sum_of_which_some_is_hidden_is_left_out() -> None:
    """Workers that gave up root cannot see each other's descriptors: each would show only its own."""
    base = Path(tempfile.mkdtemp())  # where another user gets to
    base.chmod(0o777)
    try:
        with measured(base, "hidden") as one:
            assert set(one.ask("show")) == ALWAYS | SUMS
            with measured(base, "hidden"):
                found = one.ask("show")
                assert set(found) == (ALWAYS | SUMS) - {"process_open_fds", "process_max_fds"}
                assert found["process_cpu_seconds_total"] >= 2 * (BURN_SECONDS - TOLERANCE_SECONDS)
    finally:
        shutil.rmtree(base)


def no_space(fd: int, content: bytes, at: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_cannot_be_stored_keeps_nothing_from_being_shown(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full file system a scrape shows what was stored before."""
    before = cpu_seconds(worker)
    burn()
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", no_space)
        found = shown(worker)
    assert set(found) == ALWAYS | SUMS
    assert found["process_cpu_seconds_total"] == before
    assert cpu_seconds(worker) >= before + BURN_SECONDS - TOLERANCE_SECONDS


def test_a_lock_that_is_none_keeps_nothing_from_being_shown(worker: Worker) -> None:
    """Somebody may have put a directory in its place."""
    before = cpu_seconds(worker)
    worker.member.directory.unlink(LOCK)
    Path(worker.member.directory.path, LOCK).mkdir()
    found = shown(worker)
    assert set(found) == ALWAYS | SUMS
    assert found["process_cpu_seconds_total"] >= before


def remove(worker: Worker) -> None:
    shutil.rmtree(worker.member.directory.path)


def lose(worker: Worker) -> None:
    os.close(worker.member.directory.fd)


@pytest.mark.parametrize("take", [remove, lose])
def test_where_the_directory_is_gone_a_process_tells_of_itself(worker: Worker, take: Callable[[Worker], None]) -> None:
    """As prometheus_client does where there are no workers."""
    burn()
    take(worker)
    found = measure(worker)
    assert set(found) == ALWAYS | SUMS
    assert found["process_start_time_seconds"] == alone()["process_start_time_seconds"]
    assert found["process_cpu_seconds_total"] >= BURN_SECONDS - TOLERANCE_SECONDS


def test_what_is_no_file_of_a_living_process_is_passed_over(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage and a process that left its lock to a child change nothing: the CPU of the others is stored as always."""
    before = cpu_seconds(worker)
    with measured(tmp_path):
        rewrite(worker, lambda process: process._replace(pid=2**22 + 1))  # more than any process id
        Path(worker.member.directory.path, f"{WORKER}garbage").write_bytes(b"garbage")
        burn()
        listing = os.listdir
        own = worker.member.file.name
        monkeypatch.setattr(os, "listdir", lambda fd: sorted(listing(fd), key=own.__eq__))
        found = measure(worker)
    assert set(found) == ALWAYS | SUMS
    assert found["process_max_fds"] == alone()["process_max_fds"]
    assert found["process_cpu_seconds_total"] >= before + BURN_SECONDS - TOLERANCE_SECONDS
