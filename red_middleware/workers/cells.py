"""Cells in files: each worker's own, mapped, with a single writer; and the file of those that have retired.

A worker's file is `w-<id>`. Visible means complete and locked: it is made under another name, its lock is held by a
descriptor of its own, and the kernel releases that lock however the worker ends. `retired` holds the sums of the dead
and the ids that are in them. This room knows numbers and files, and nothing of what the numbers count.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, MutableSequence, Sequence
from operator import add
from typing import Final, NamedTuple, cast

from .directory import Directory
from .rendezvous import STARTED, stat_field

MAGIC: Final = b"redcell2"
HEADER: Final = struct.Struct("=8sQQQQd16sd")
"""Magic, number of cells, the `Process` of the worker, seconds of CPU, id of the index, seconds of CPU that count
elsewhere; a multiple of 8."""
CPU_AT: Final = 40
WORKER: Final = "w-"
NEW: Final = ".new-"
ASIDE: Final = "aside-"
RETIRED: Final = "retired"
LOCK: Final = "lock"
ID_BYTES: Final = 16


NO_INDEX: Final = bytes(16)


class Process(NamedTuple):
    """Which process a worker is."""

    pid: int
    started: int
    """In clock ticks since boot, which tells a process id from its next use."""
    namespace: int
    """Inode of the pid namespace where `pid` is its number."""


NOBODY: Final = Process(0, 0, 0)


class WorkerFile:
    """The cells of this process.

    Args:
        directory: Where the group's files are.
        size: Number of cells.
        index: Id of the index that says what they count.
        cpu_before: Seconds of CPU of this process that count in another file: one that it lost.

    Raises:
        OSError: There is no room, or no way to make it.
    """

    def __init__(self, directory: Directory, size: int, index: bytes = NO_INDEX, cpu_before: float = 0.0) -> None:
        self.id = os.urandom(ID_BYTES).hex()
        self.name = WORKER + self.id
        self.lock_fd = -1
        new = NEW + self.id
        fd = directory.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            length = HEADER.size + 8 * size
            os.posix_fallocate(fd, 0, length)  # now: a full file system found out later is a SIGBUS
            os.pwrite(fd, HEADER.pack(MAGIC, size, *this_process(), 0.0, index, cpu_before), 0)
            # A descriptor of its own: a mapping duplicates the one that it is made from, and a child inherits that.
            self.lock_fd = directory.open(new, os.O_RDWR)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.mapped = mmap.mmap(fd, length)
            doubles = memoryview(self.mapped)[HEADER.size :].cast("d")
            self.cells = cast("MutableSequence[float]", doubles)  # as far as a table of fixed size needs one
            directory.rename(new, self.name)
        except BaseException:
            directory.unlink(new)
            if self.lock_fd >= 0:
                self.close()
            raise
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the lock's descriptor: in a forked child, where the parent still lives, or where no file was made."""
        os.close(self.lock_fd)


class Contents(NamedTuple):
    """What a file holds."""

    process: Process
    cells: Sequence[float]
    ids: frozenset[str]
    """Of `retired`: which workers' cells are in it."""
    cpu_seconds: float = 0.0
    """What the process had used when a scrape last looked; of `retired`, what all did."""
    index_id: bytes = NO_INDEX
    cpu_before: float = 0.0
    """Of the process, but counted in another file."""


def read(fd: int, size: int) -> Contents:
    """Read the first cells of a file.

    By `pread` and not by a mapping: a file that is cut short under a mapping is a SIGBUS.

    Args:
        fd: Of a worker's file or of `retired`.
        size: How many cells to read at most.

    Raises:
        ValueError: The file is truncated, foreign, or of another version.
    """
    head = os.pread(fd, HEADER.size, 0)
    if len(head) < HEADER.size:
        raise ValueError("it is truncated")
    magic, count, pid, started, namespace, cpu_seconds, index, cpu_before = HEADER.unpack(head)
    end = HEADER.size + 8 * count
    if magic != MAGIC:
        raise ValueError("it is of another version, or no file of cells at all")
    length = os.fstat(fd).st_size
    if length < end or (length - end) % ID_BYTES:
        raise ValueError("it is truncated")
    cells = memoryview(os.pread(fd, 8 * min(size, count), HEADER.size)).cast("d").tolist()
    tail = os.pread(fd, length - end, end) if length > end else b""
    ids = (tail[at : at + ID_BYTES].hex() for at in range(0, len(tail), ID_BYTES))
    return Contents(Process(pid, started, namespace), cells, frozenset(ids), cpu_seconds, index, cpu_before)


def write_retired(
    directory: Directory,
    cells: Sequence[float],
    ids: Iterable[str],
    cpu_seconds: float = 0.0,
    index: bytes = NO_INDEX,
) -> None:
    """Replace `retired`: the renaming is the moment at which the workers of these ids are counted there."""
    new = f"{RETIRED}.tmp"
    fd = directory.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        content = HEADER.pack(MAGIC, len(cells), *NOBODY, cpu_seconds, index, 0.0) + struct.pack(
            f"={len(cells)}d", *cells
        )
        content += b"".join(map(bytes.fromhex, sorted(ids)))
        if os.write(fd, content) < len(content):
            raise OSError("no space left for the cells of retired worker processes")
    finally:
        os.close(fd)
    directory.rename(new, RETIRED)


def this_process() -> Process:
    """Return what tells this process from all others of this boot."""
    pid = os.getpid()
    return Process(pid, stat_field(pid, STARTED), os.stat("/proc/self/ns/pid").st_ino)


def added(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the sum of two vectors; the shorter one is taken to go on with zeros."""
    if len(one) < len(other):
        one, other = other, one
    return [*map(add, one, other), *one[len(other) :]]
