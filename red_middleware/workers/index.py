"""The group's index: an append-only log of what its workers added to the table, in one order for all of them.

Every worker replays it, so that a row has the same number in each, and tables add up as vectors. A record counts once
the committed length covers it, which one aligned 8-byte store says: who is killed before that leaves bytes which the
next one overwrites. This room knows bytes and files; what a record means is `table`'s business.
"""

import fcntl
import os
import struct
import zlib
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from .directory import Directory

NAME: Final = "index"
MAGIC: Final = b"redindx1"
HEADER: Final = struct.Struct("=8sdQ")  # magic, monotonic time of the group's start, length of the committed log
COMMITTED: Final = struct.Struct("=Q")
COMMITTED_AT: Final = HEADER.size - COMMITTED.size
RECORD: Final = struct.Struct("=II")  # in front of each payload: its length and its CRC-32

DAMAGED: Final = "the index of the worker processes is damaged"

PATIENCE_SECONDS: Final = 0.25
"""How long a request waits for another worker's addition, which takes 50 microseconds unless that one is stopped."""

PAUSE_SECONDS: Final = 0.0002

ENTRY_SECONDS: Final = 2.0
"""How long a worker waits when it enters, once."""


_never = allocate_lock()
_never.acquire()


class Index:
    """The log, and how far this worker has read it.

    The file is opened for each use, which is rare: were it kept open, and closed by an app that closes whatever
    descriptors it finds, we might write into the file that gets its number next.

    Args:
        directory: Where the group's files are.

    Raises:
        OSError: It can be neither read nor made, or another version wrote it.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.offset = HEADER.size  # of what was not read yet
        os.close(directory.open(NAME, os.O_RDWR | os.O_CREAT))
        header = self._header()
        if len(header) < HEADER.size:  # new, or made by one that was killed at once
            with self.locked(ENTRY_SECONDS) as fd:
                if os.fstat(fd).st_size < HEADER.size:
                    os.pwrite(fd, HEADER.pack(MAGIC, monotonic(), 0), 0)
            header = self._header()
        magic, born, _ = HEADER.unpack(header)
        self.born: float = born
        if magic != MAGIC:
            raise OSError(f"{directory.path}/{NAME} is no index of this version")

    def _header(self) -> bytes:
        fd = self.directory.open(NAME, os.O_RDONLY)
        try:
            return os.pread(fd, HEADER.size, 0)
        finally:
            os.close(fd)

    @contextmanager
    def locked(self, patience_seconds: float) -> Iterator[int]:
        """Open the file, and keep the other workers from appending.

        Args:
            patience_seconds: How long to wait for another one.

        Yields:
            The descriptor.

        Raises:
            TimeoutError: Another one did not let go in time.
        """
        fd = self.directory.open(NAME, os.O_RDWR)
        try:
            deadline = monotonic() + patience_seconds
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > deadline:
                        raise TimeoutError("another worker process holds the index") from None
                    _never.acquire(timeout=PAUSE_SECONDS)  # a sleep may be gevent's, and switch
            try:
                yield fd
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child may have been forked meanwhile
        finally:
            os.close(fd)

    def read(self, fd: int) -> list[bytes]:
        """Return the records that were committed since the last call, in order.

        Raises:
            OSError: The log is damaged.
        """
        header = os.pread(fd, HEADER.size, 0)
        end = HEADER.size + (HEADER.unpack(header)[2] if len(header) == HEADER.size else 0)
        if not self.offset <= end <= os.fstat(fd).st_size:
            raise OSError(DAMAGED)
        log = os.pread(fd, end - self.offset, self.offset)
        records = []
        at = 0
        while at < len(log):
            start = at + RECORD.size
            length, checksum = RECORD.unpack(log[at:start].ljust(RECORD.size, b"\xff"))
            payload = log[start : start + length]
            if len(payload) < length or zlib.crc32(payload) != checksum:
                raise OSError(DAMAGED)
            records.append(payload)
            at = start + length
        self.offset = end
        return records

    def append(self, fd: int, payload: bytes) -> None:
        """Commit a record, under the lock and when all before it was read. `read` returns it next."""
        record = RECORD.pack(len(payload), zlib.crc32(payload)) + payload
        if os.pwrite(fd, record, self.offset) < len(record):
            raise OSError("no space left for the index of the worker processes")
        committed = self.offset + len(record) - HEADER.size
        os.pwrite(fd, COMMITTED.pack(committed), COMMITTED_AT)
