"""What tells of processes, for a group of workers: sums over the living, and CPU that never goes backwards."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from red_middleware.workers.cells import LOCK, WorkerFile
from red_middleware.workers.directory import Directory, open_directory
from red_middleware.workers.processes import SEEN, GroupProcesses

WORKER = """
import sys
from red_middleware.workers.cells import WorkerFile
from red_middleware.workers.directory import open_directory
file = WorkerFile(open_directory("group", "owner", sys.argv[1]), 1)
sum(range(3_000_000))  # something to account for
print(file.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = open_directory("group", "owner", str(tmp_path))
    yield opened
    opened.close()


def shown(directory: Directory, namespace: str = "") -> dict[str, float]:
    """Return every sample by its name."""
    alone = ProcessCollector(namespace, registry=None)
    return {s.name: s.value for family in GroupProcesses(directory, 5.0, alone).collect() for s in family.samples}


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a worker, and return it with its file's name when it has used some CPU."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    return worker, worker.stdout.readline().strip()


def ended(worker: subprocess.Popen[str]) -> None:
    worker.communicate()
    assert worker.returncode == 0


def test_the_living_are_added_up(directory: Directory, tmp_path: Path) -> None:
    """Under the names of prometheus_client, with its namespace; the start is the group's."""
    own = WorkerFile(directory, 1)
    one = shown(directory, "shop")
    worker, _ = started(tmp_path)
    two = shown(directory, "shop")
    assert two["shop_process_resident_memory_bytes"] > one["shop_process_resident_memory_bytes"] > 0
    assert two["shop_process_open_fds"] > one["shop_process_open_fds"] > 0
    assert two["shop_process_max_fds"] == 2 * one["shop_process_max_fds"]
    assert two["shop_process_cpu_seconds_total"] > one["shop_process_cpu_seconds_total"]
    assert two["shop_process_start_time_seconds"] == one["shop_process_start_time_seconds"]
    ended(worker)
    own.close()


def test_cpu_stays_when_its_worker_goes(directory: Directory, tmp_path: Path) -> None:
    """Recycled workers take nothing out of the sum, and leave one number behind."""
    own = WorkerFile(directory, 1)
    total = shown(directory)["process_cpu_seconds_total"]
    for _ in range(3):
        worker, name = started(tmp_path)
        before = shown(directory)["process_cpu_seconds_total"]
        assert before > total
        ended(worker)
        directory.unlink(name)  # as it is when its cells are folded
        total = shown(directory)["process_cpu_seconds_total"]
        assert total >= before
    assert len(Path(directory.path, SEEN).read_text().split(",")) == 2  # those gone, and this one
    own.close()


def test_a_scrape_beside_another_one_writes_nothing_and_waits_for_nobody(directory: Directory) -> None:
    """One that was stopped while it held the lock would stop all of them."""
    own = WorkerFile(directory, 1)
    first = shown(directory)["process_cpu_seconds_total"]
    other = directory.open(LOCK, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    written = directory.stat(SEEN).st_ino
    assert shown(directory)["process_cpu_seconds_total"] >= first
    assert directory.stat(SEEN).st_ino == written
    os.close(other)
    own.close()


def test_where_the_directory_is_gone_a_process_tells_of_itself(directory: Directory) -> None:
    """As prometheus_client does where there are no workers."""
    os.unlink(Path(directory.path, "owner"))
    os.rmdir(directory.path)
    assert shown(directory)["process_open_fds"] > 0


def test_what_is_no_workers_file_is_left_out(directory: Directory) -> None:
    """Garbage, a file that goes while it is looked at, a process that is gone or of another pid namespace."""
    own = WorkerFile(directory, 1)
    Path(directory.path, "w-garbage").write_bytes(b"garbage")
    Path(directory.path, "w-link").symlink_to("nowhere-at-all")
    ghost = WorkerFile(directory, 1)
    with open(directory.open(ghost.name, os.O_RDWR), "r+b") as file:
        file.seek(16)
        file.write((2**22 + 1).to_bytes(8, sys.byteorder))  # more than any process id
    found = shown(directory)
    alone = {s.name: s.value for f in ProcessCollector(registry=None).collect() for s in f.samples}
    assert found["process_max_fds"] == alone["process_max_fds"]
    ghost.close()
    own.close()
