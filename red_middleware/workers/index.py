"""The group's index: an append-only log of what its workers added to the table, in one order for all of them.

Every worker replays it, so that a row has the same number in each, and tables add up as vectors. A record counts once
the committed length covers it, which one aligned 8-byte store says: who is killed before that leaves bytes which the
next one overwrites. This room knows bytes and files; what a record means is `table`'s business.
"""

import fcntl
import os
import struct
import zlib
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

PATIENCE_SECONDS: Final = 0.02
"""How long a request waits for another worker's addition, which takes 50 microseconds unless that one is stopped."""

ENTRY_SECONDS: Final = 1.0
"""How long a worker waits when it enters, once."""


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
        with self.locked(ENTRY_SECONDS) as fd:
            header = os.pread(fd, HEADER.size, 0)
            if len(header) < HEADER.size:  # new, or made by one that was killed at once
                header = HEADER.pack(MAGIC, monotonic(), 0)
                os.pwrite(fd, header, 0)
        magic, born, _ = HEADER.unpack(header)
        self.born: float = born
        if magic != MAGIC:
            raise OSError(f"{directory.path}/{NAME} is no index of this version")

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
                    os.sched_yield()  # a sleep may be gevent's, and switch
            yield fd
        finally:
            os.close(fd)  # and with it the lock

    def read(self, fd: int) -> list[bytes]:
        """Return the records that were committed since the last call, in order.

        Raises:
            OSError: The log is damaged.
        """
        (committed,) = COMMITTED.unpack(os.pread(fd, COMMITTED.size, COMMITTED_AT))
        log = os.pread(fd, HEADER.size + committed - self.offset, self.offset)
        records = []
        at = 0
        while at < len(log):
            length, checksum = RECORD.unpack_from(log, at)
            payload = log[at + RECORD.size : at + RECORD.size + length]
            if len(payload) < length or zlib.crc32(payload) != checksum:
                raise OSError("the index of the worker processes is damaged")
            records.append(payload)
            at += RECORD.size + length
        self.offset += at
        return records

    def append(self, fd: int, payload: bytes) -> None:
        """Commit a record, under the lock and when all before it was read. `read` returns it next."""
        record = RECORD.pack(len(payload), zlib.crc32(payload)) + payload
        if os.pwrite(fd, record, self.offset) < len(record):
            raise OSError("no space left for the index of the worker processes")
        committed = self.offset + len(record) - HEADER.size
        os.pwrite(fd, COMMITTED.pack(committed), COMMITTED_AT)
