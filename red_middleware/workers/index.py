"""The group's index: an append-only log of what its workers added to the table, in one order for all of them.

Every worker replays it, so a row has the same number in each, and tables can be added as vectors. A record counts once
the committed length covers it, which is one aligned 8-byte store. A worker that is killed before that leaves bytes that
the next one overwrites. This room knows bytes and files; `table` knows what a record means.
"""

import os
import stat
import struct
import zlib
from contextlib import AbstractContextManager
from typing import Final

from .cells import ID_BYTES, is_inhabited
from .directory import Directory, reserve
from .proc import monotonic

NAME: Final = "index"
MAGIC: Final = b"redindx3"
HEADER: Final = struct.Struct(f"=8sd{ID_BYTES}sQ")
"""Magic, monotonic time of the group's start, id, length of the committed log."""
COMMITTED: Final = struct.Struct("=Q")
COMMITTED_AT: Final = HEADER.size - COMMITTED.size
RECORD: Final = struct.Struct("=II")  # in front of each payload: its length and its CRC-32


class DamagedError(OSError):
    """The log cannot be read, and nothing that can be waited for changes that."""


DAMAGED: Final = "the index of the worker processes is damaged"

PATIENCE_SECONDS: Final = 0.25
"""How long a request waits while another worker appends: 50 microseconds are enough unless it is stopped."""


class Index:
    """The log, and how far this worker has read it.

    The file is opened for each use, which is rare. An app may close whatever descriptors it finds. If the file stayed
    open, we might then write into the file that gets its number next.

    Args:
        directory: Where the group's files are.

    Raises:
        OSError: It can be neither read nor made, or another version wrote it.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.offset: int = HEADER.size  # where the unread part of the log begins
        os.close(directory.open(NAME, os.O_RDWR | os.O_CREAT))
        header = self._header()
        if not _is_complete(header):  # it is new or damaged, or its maker was killed at once
            with self.locked(PATIENCE_SECONDS) as fd:
                self._make(fd)
            header = self._header()
            if not _is_complete(header):
                raise DamagedError(DAMAGED)
        self.born: float
        self.id: bytes
        _, self.born, self.id, _ = _parts(header)

    def _header(self) -> bytes:
        fd = self.directory.open(NAME, os.O_RDONLY)
        try:
            return os.pread(fd, HEADER.size, 0)
        finally:
            os.close(fd)

    def _make(self, fd: int) -> None:
        """Write the header, unless another worker did. No living worker may count by the index that is replaced.

        The files of dead workers that counted by the old index have its id. Whoever retires them sets them aside.
        """
        if _is_complete(os.pread(fd, HEADER.size, 0)):
            return
        if not stat.S_ISREG(os.fstat(fd).st_mode) or is_inhabited(self.directory):
            raise OSError(f"{self.directory.path}/{NAME} is no index of this version, and others may live by it")
        os.ftruncate(fd, 0)
        os.pwrite(fd, HEADER.pack(MAGIC, monotonic(), os.urandom(ID_BYTES), 0), 0)

    def is_ours(self) -> bool:
        """Tell whether the directory still has the index that this worker counts by."""
        header = self._header()
        return _is_complete(header) and _parts(header)[2] == self.id

    def locked(self, patience_seconds: float) -> AbstractContextManager[int]:
        """Open the file, and keep the other workers from appending. See `Directory.hold`."""
        return self.directory.hold(NAME, os.O_RDWR, patience_seconds)

    def read(self, fd: int) -> list[bytes]:
        """Return the records that were committed since the last call, in order.

        Raises:
            DamagedError: The log is damaged, or another one has its place.
        """
        header = os.pread(fd, HEADER.size, 0)
        if not _is_complete(header):
            raise DamagedError(DAMAGED)
        _, _, found, committed = _parts(header)
        if found != self.id:
            raise DamagedError("another index is in the place of the one that this worker process counts by")
        end = HEADER.size + committed
        if not self.offset <= end <= os.fstat(fd).st_size:
            raise DamagedError(DAMAGED)
        log = os.pread(fd, end - self.offset, self.offset)
        records = []
        at = 0
        while at < len(log):
            start = at + RECORD.size
            length, checksum = RECORD.unpack(log[at:start].ljust(RECORD.size, b"\xff"))
            payload = log[start : start + length]
            if not payload or len(payload) < length or zlib.crc32(payload) != checksum:  # zeros are no record
                raise DamagedError(DAMAGED)
            records.append(payload)
            at = start + length
        self.offset = end
        return records

    def reserve(self, fd: int, length: int) -> None:
        """Take room now for this many bytes of records beside those that were read. The caller holds the lock."""
        reserve(fd, self.offset + length)

    def append(self, fd: int, payload: bytes) -> None:
        """Commit a record. The caller holds the lock and has read all records before it. `read` returns it next."""
        record = RECORD.pack(len(payload), zlib.crc32(payload)) + payload
        if os.pwrite(fd, record, self.offset) < len(record):
            raise OSError("no space left for the index of the worker processes")
        committed = self.offset + len(record) - HEADER.size
        os.pwrite(fd, COMMITTED.pack(committed), COMMITTED_AT)


def _parts(header: bytes) -> tuple[bytes, float, bytes, int]:
    return HEADER.unpack(header)


def _is_complete(header: bytes) -> bool:
    return len(header) == HEADER.size and header.startswith(MAGIC)
