"""Cells in files: each worker's own, mapped, with a single writer; and the file of those that have retired.

A worker's file is `w-<id>`. It is made under another name, so a file that can be seen is complete and locked. A
descriptor of its own holds the lock, and the kernel releases it however the worker ends. `retired` holds the sums of
the dead workers, and their ids. This room knows numbers and files, and nothing of what the numbers count.
"""

import mmap
import os
import re
import stat
import struct
from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from operator import add
from typing import Final, NamedTuple, cast

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows, where `directory` refuses first; tested in a process of its own
    fcntl = None  # type: ignore[assignment]

from ..counting.layout import Extent
from .directory import Directory, is_same, reserve
from .proc import NOBODY, Process, this_process

MAGIC: Final = b"redcell3"
HEADER: Final = struct.Struct("=8sQQQQd16sd")
"""Magic, number of cells, the `Process` of the worker, seconds of CPU, id of the index, seconds of CPU that count
elsewhere; a multiple of 8."""
CPU_AT: Final = 40
WORKER: Final = "w-"
NEW: Final = ".new-"
ASIDE: Final = "aside-"
RETIRED: Final = "retired"
DRAFT: Final = "retired.tmp"
LOCK: Final = "lock"
ID_BYTES: Final = 16
NAME: Final = re.compile(f"{WORKER}[0-9a-f]{{{2 * ID_BYTES}}}")

GRAIN_SECONDS: Final = 2.0**-20
"""Seconds are rounded down to this before they are summed. So sums are exact up to 2**33 seconds, in any order, and
counters never decrease."""

NO_INDEX: Final = bytes(16)


class WorkerFile:
    """The cells of this process.

    Args:
        directory: Where the group's files are.
        size: Number of cells.
        index: Id of the index that says what they count.
        cpu_before: Seconds of CPU that this process used before, and that count in a file that it lost.
        kept: A list that it joins before its file exists. Another thread may fork in the middle of making it, and the
            child must then `abandon` it.
        process: Whose cells they are, by default this process's. `NOBODY` for one that only watches: it is no worker.

    Raises:
        OSError: There is no room, or the file cannot be made.
    """

    cells: MutableSequence[float]

    def __init__(
        self,
        directory: Directory,
        size: int,
        index: bytes = NO_INDEX,
        cpu_before: float = 0.0,
        kept: "list[WorkerFile] | None" = None,
        process: Process | None = None,
    ) -> None:
        self.directory = directory
        self.id: str = os.urandom(ID_BYTES).hex()
        self.name: str = WORKER + self.id
        self.status: os.stat_result | None = None  # until there is a file
        self.lock_fd: int = -1
        self.mapped: mmap.mmap | None = None
        kept = [] if kept is None else kept
        kept.append(self)
        try:
            self._make(size, index, cpu_before, process or this_process())
        except BaseException:
            kept.remove(self)
            raise

    def _make(self, size: int, index: bytes, cpu_before: float, process: Process) -> None:
        new = NEW + self.id
        fd = self.directory.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.status = os.fstat(fd)
            length = HEADER.size + 8 * size
            reserve(fd, length)  # now: if the file system were full later, a write would be a SIGBUS
            os.pwrite(fd, HEADER.pack(MAGIC, size, *process, 0.0, index, cpu_before), 0)
            # The lock has a descriptor of its own: a mapping duplicates its descriptor, and a child inherits that.
            self.lock_fd = self.directory.open(new, os.O_RDWR)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.mapped = mmap.mmap(fd, length)
            doubles = memoryview(self.mapped)[HEADER.size :].cast("d")
            self.cells = cast("MutableSequence[float]", doubles)  # it has what a table of fixed size needs
            self.directory.rename(new, self.name)
        except BaseException:
            self.directory.unlink(new)
            self.close()
            raise
        finally:
            os.close(fd)

    def is_open(self) -> bool:
        """Tell whether the lock's descriptor is still ours. Without it, others take this worker for dead."""
        return self.status is not None and is_same(self.lock_fd, self.status)

    def close(self) -> bool:
        """Close the lock's descriptor, if it is still ours.

        Returns:
            Whether it was.
        """
        fd, self.lock_fd = self.lock_fd, -1
        ours = self.status is not None and is_same(fd, self.status)
        if ours:
            os.close(fd)
        return ours

    def abandon(self) -> None:
        """Let go in a forked child: the file is the parent's. The fork may have come in the middle of making it."""
        if not self.close() and self.status is not None and self.mapped is None:
            # The fork came after the lock was opened, before its number was noted.
            for fd in map(int, os.listdir("/proc/self/fd")):
                if is_same(fd, self.status):
                    os.close(fd)


class Contents(NamedTuple):
    """What a file holds."""

    process: Process
    cells: "array[float]"
    """An array, since most of them are copied and added up without being looked at one by one: a list costs twice as
    much, for a number object in each cell."""
    ids: frozenset[str]
    """In `retired`: the workers whose cells are in the sums."""
    cpu_seconds: float = 0.0
    """What the process had used when a scrape last looked; in `retired`, what all the dead had used."""
    index_id: bytes = NO_INDEX
    cpu_before: float = 0.0
    """What the process had used before, which counts in another file."""


def open_file(directory: Directory, name: str) -> int:
    """Open a worker's file or `retired`.

    Raises:
        OSError: It cannot be opened at the moment.
        ValueError: No worker can have made it.
    """
    if name != RETIRED and not NAME.fullmatch(name):
        raise ValueError("no worker would name it so")
    if not stat.S_ISREG(directory.stat(name).st_mode):
        raise ValueError("it is not a regular file")
    try:
        return directory.open(name, os.O_RDONLY)
    except PermissionError:
        raise ValueError("we have no permission to read it") from None


def read(fd: int, extent: Extent, index: bytes | None = None) -> Contents:
    """Read some cells of a file.

    It uses `pread`, since reading a mapped file that somebody cut short is a SIGBUS.

    Args:
        fd: Of a worker's file or of `retired`.
        extent: Which cells to read.
        index: Id of the index that must say what they count; `None` accepts any.

    Raises:
        ValueError: The file is truncated, foreign, of another version or another index.
    """
    head = os.pread(fd, HEADER.size, 0)
    if len(head) < HEADER.size:
        raise ValueError("it is truncated")
    magic, count, pid, started, namespace, cpu_seconds, index_id, cpu_before = HEADER.unpack(head)
    end = HEADER.size + 8 * count
    if magic != MAGIC:
        raise ValueError("it is of another version, or no file of cells at all")
    if index not in (None, index_id):
        raise ValueError("its cells count by another index")
    length = os.fstat(fd).st_size
    if length < end or (length - end) % ID_BYTES:
        raise ValueError("it is truncated")
    if extent.spans and count != extent.size:
        raise ValueError("it has another number of cells")
    cells = array("d")
    for first, number in extent.spans:
        cells.frombytes(os.pread(fd, 8 * number, HEADER.size + 8 * first))
    tail = os.pread(fd, length - end, end) if length > end else b""
    ids = (tail[at : at + ID_BYTES].hex() for at in range(0, len(tail), ID_BYTES))
    return Contents(Process(pid, started, namespace), cells, frozenset(ids), cpu_seconds, index_id, cpu_before)


def is_held(fd: int) -> bool:
    """Tell whether a worker lives behind its file.

    The question takes a shared lock for a moment. An exclusive one would make others believe that the worker lives.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child may have been forked meanwhile
    return False


def is_inhabited(directory: Directory) -> bool:
    """Tell whether any worker lives in a directory, even one of another version."""
    for name in directory.names():
        try:
            fd = open_file(directory, name) if name.startswith(WORKER) else -1
        except (FileNotFoundError, ValueError):
            continue
        if fd >= 0:
            try:
                if is_held(fd):
                    return True
            finally:
                os.close(fd)
    return False


def write_retired(
    directory: Directory,
    extent: Extent,
    cells: Sequence[float],
    ids: Iterable[str],
    cpu_seconds: float = 0.0,
    index: bytes = NO_INDEX,
) -> None:
    """Replace `retired`. At its renaming, the workers of these ids are counted there.

    The file has a place for each cell that a worker's file has. Those that do not count yet are holes in it.
    """
    fd = directory.open(DRAFT, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        head = HEADER.pack(MAGIC, extent.size, *NOBODY, cpu_seconds, index, 0.0)
        parts = [(0, head), (HEADER.size + 8 * extent.size, b"".join(map(bytes.fromhex, sorted(ids))))]
        for (first, number), numbers in zip(extent.spans, extent.split(cells), strict=True):
            parts.append((HEADER.size + 8 * first, struct.pack(f"={number}d", *numbers)))
        os.ftruncate(fd, sum(map(len, (head, parts[1][1]))) + 8 * extent.size)
        for start, content in parts:
            if os.pwrite(fd, content, start) < len(content):
                raise OSError("no space left for the cells of retired worker processes")
    except BaseException:
        directory.unlink(DRAFT)
        raise
    finally:
        os.close(fd)
    directory.rename(DRAFT, RETIRED)


def grained(seconds: float) -> float:
    """Return seconds, rounded down to the grain."""
    return seconds - seconds % GRAIN_SECONDS


def grain(numbers: "array[float]", parts: Iterable[slice]) -> None:
    """Round the seconds in these parts down to the grain, so that their sum is exact."""
    for part in parts:
        numbers[part] = array("d", map(grained, numbers[part]))


def added(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the sum of two vectors of one length."""
    return list(map(add, one, other))
