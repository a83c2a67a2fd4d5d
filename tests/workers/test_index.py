"""The group's index: one order of additions for all, whoever is killed, stopped or overtaken."""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from red_middleware.workers.cells import WORKER, WorkerFile
from red_middleware.workers.directory import Directory, open_directory
from red_middleware.workers.index import COMMITTED, COMMITTED_AT, HEADER, MAGIC, NAME, RECORD, Index

from .members import open_files


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with closing(open_directory("group", "owner", str(tmp_path))) as opened:
        yield opened


def add(index: Index, *payloads: bytes) -> list[bytes]:
    """Append as a member does, and return what is to be replayed."""
    with index.locked(1.0) as fd:
        found = index.read(fd)
        for payload in payloads:
            index.append(fd, payload)
            found += index.read(fd)
        return found


def file_of(directory: Directory) -> Path:
    return Path(directory.path, NAME)


def test_all_see_the_same_records_in_the_same_order(directory: Directory) -> None:
    """Whoever wrote them; the one who comes last reads all."""
    one, other = Index(directory), Index(directory)
    assert add(one, b"1", b"22") == [b"1", b"22"]
    assert add(other, b"4", b"333") == [b"1", b"22", b"4", b"333"]
    assert add(one) == [b"4", b"333"]
    assert add(one) == []
    assert add(Index(directory)) == [b"1", b"22", b"4", b"333"]


def test_the_group_is_as_old_as_its_first_worker(directory: Directory) -> None:
    """In monotonic seconds, which mean the same in all processes of a boot."""
    first = Index(directory)
    assert Index(directory).born == first.born > 0.0


@pytest.mark.parametrize("left", [b"", b"half a record, without its length " * 9])
def test_what_was_not_committed_is_overwritten(directory: Directory, left: bytes) -> None:
    """The writer was killed before the length was stored."""
    one, other = Index(directory), Index(directory)
    add(one, b"1")
    with file_of(directory).open("ab") as file:
        file.write(left)
    assert add(other) == [b"1"]
    assert add(other, b"2") == [b"2"]
    assert add(one) == [b"2"]


@pytest.mark.parametrize("length", range(HEADER.size + 1))
def test_an_index_whose_maker_was_killed_is_made_anew(directory: Directory, length: int) -> None:
    """Before its header was complete nobody can have added anything."""
    add(Index(directory))
    os.truncate(file_of(directory), length)
    assert add(Index(directory), b"1") == [b"1"]


def test_two_workers_that_begin_at_once_make_one_index(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see that there is none; the one who gets the lock later finds the other's, and leaves it as it is."""
    flock = fcntl.flock

    def overtaken(fd: int, operation: int) -> None:
        monkeypatch.undo()
        add(Index(directory), b"1")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    assert add(Index(directory)) == [b"1"]


FOREIGN = {
    "another version": HEADER.pack(b"redindx0", 1.0, bytes(16), 0),
    "garbage": b"garbage " * 20,
    "cut short": HEADER.pack(MAGIC, 1.0, bytes(16), 0)[:-1],
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_index_of_this_version_is_refused_while_somebody_lives(directory: Directory, content: bytes) -> None:
    """And left as it is: whose it is may count by it."""
    file_of(directory).write_bytes(content)
    with closing(WorkerFile(directory, 1)), pytest.raises(OSError, match="is no index of this version"):
        Index(directory)
    assert file_of(directory).read_bytes() == content


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_index_of_this_version_is_made_anew_when_nobody_lives(directory: Directory, content: bytes) -> None:
    """Whatever the dead left: their cells have another index's id."""
    WorkerFile(directory, 1).close()
    (Path(directory.path) / f"{WORKER}garbage").write_bytes(b"garbage")
    file_of(directory).write_bytes(content)
    assert add(Index(directory), b"1") == [b"1"]


def test_every_index_has_an_id_of_its_own(directory: Directory) -> None:
    """Which is in its header, and tells its workers' cells from those that count by another."""
    one = Index(directory)
    assert Index(directory).id == one.id
    assert one.is_ours()
    file_of(directory).unlink()
    other = Index(directory)
    assert other.id != one.id
    assert other.is_ours()
    assert not one.is_ours()
    with pytest.raises(OSError, match="another index is in the place"):
        add(one)


def test_where_there_is_no_room_for_a_header_there_is_no_index(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is full takes a part of it; the next one makes it anew."""
    pwrite = os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, header, at: pwrite(fd, header[:-1], at))
        with pytest.raises(OSError, match="damaged"):
            Index(directory)
    assert add(Index(directory), b"1") == [b"1"]


GOOD = RECORD.pack(1, zlib.crc32(b"1")) + b"1"


@pytest.mark.parametrize(
    ("log", "committed"),
    [
        (RECORD.pack(1, zlib.crc32(b"2")) + b"1", 9),
        (RECORD.pack(1000, zlib.crc32(b"1")) + b"1", 9),
        (GOOD, 2**64 - 1),
        (GOOD, 10),
        (GOOD + b"1234567", 16),
        (GOOD + bytes(9), 13),
        (GOOD + GOOD[:-1] + b"2", 18),
        (GOOD + bytes(8), 17),
    ],
    ids=["checksum", "length", "committed too far", "by one", "half a head", "between records", "the second", "zeros"],
)
def test_a_damaged_index_is_an_error_for_all_and_nothing_of_it_is_replayed(
    directory: Directory, log: bytes, committed: int
) -> None:
    """Rather no more rows than rows of which no two workers know the same."""
    index = Index(directory)
    file_of(directory).write_bytes(HEADER.pack(MAGIC, 1.0, index.id, committed) + log)
    for _ in range(2):
        with pytest.raises(OSError, match="damaged"):
            add(index)


@pytest.mark.parametrize("size", [0, HEADER.size - 1, HEADER.size])
def test_an_index_that_is_cut_short_is_an_error(directory: Directory, size: int) -> None:
    """What this worker has read is there no more; it must not go on elsewhere than the others."""
    index = Index(directory)
    add(index, b"1")
    os.truncate(file_of(directory), size)
    with pytest.raises(OSError, match="damaged"):
        add(index)


def test_an_index_that_went_backwards_is_an_error(directory: Directory) -> None:
    """As one that another worker made anew in the old one's place."""
    index = Index(directory)
    add(index, b"1")
    with file_of(directory).open("r+b") as file:
        file.seek(COMMITTED_AT)
        file.write(COMMITTED.pack(0))
    with pytest.raises(OSError, match="damaged"):
        add(index)


def test_nobody_waits_longer_than_asked(directory: Directory) -> None:
    """The holder may be stopped; the file is free as soon as it lets go."""
    one, other = Index(directory), Index(directory)
    with (
        one.locked(1.0),
        pytest.raises(TimeoutError, match="another worker process holds the index"),
        other.locked(0.0),
    ):
        pass
    assert add(other, b"1") == [b"1"]


def test_a_record_that_found_no_room_was_never_there(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is full takes a part of it."""
    index = Index(directory)
    pwrite = os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, record, at: pwrite(fd, record[:-1], at))
        with pytest.raises(OSError, match="no space left"):
            add(index, b"1")
    assert add(index, b"2") == [b"2"]


def test_no_descriptor_stays_open(directory: Directory) -> None:
    """An app that closes what it finds cannot make us write into a stranger's file."""
    add(Index(directory), b"1")
    assert open_files(directory.path) == [directory.path]


def test_the_committed_length_is_aligned() -> None:
    """One store of 8 bytes: whoever reads it without the lock sees the old or the new one."""
    assert COMMITTED_AT % 8 == 0
    assert struct.calcsize("=Q") == COMMITTED.size == 8
