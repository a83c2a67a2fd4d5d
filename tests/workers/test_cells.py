"""Cells in files: complete or not there, locked for life, and read with suspicion."""

import errno
import fcntl
import os
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from red_middleware.counting.layout import NOTHING, Extent
from red_middleware.workers import cells
from red_middleware.workers.cells import (
    CPU_AT,
    GRAIN_SECONDS,
    HEADER,
    ID_BYTES,
    MAGIC,
    NEW,
    NO_INDEX,
    RETIRED,
    WORKER,
    WorkerFile,
    added,
    grain,
    grained,
    is_inhabited,
    open_file,
    write_retired,
)
from red_middleware.workers.directory import Directory, open_directory, reserve
from red_middleware.workers.proc import NOBODY, this_process

from .members import open_files


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with closing(open_directory("group", "owner", str(tmp_path))) as opened:
        yield opened


def extent(size: int, *spans: tuple[int, int]) -> Extent:
    """Return which of so many cells count, by default all of them."""
    spans = spans or ((0, size),)
    length = sum(number for _, number in spans)
    return Extent(size, spans, (), (), (length, length), [])


def read(directory: Directory, name: str, which: Extent = NOTHING) -> cells.Contents:
    fd = directory.open(name, os.O_RDONLY)
    try:
        return cells.read(fd, which)
    finally:
        os.close(fd)


def is_locked(directory: Directory, name: str) -> bool:
    fd = directory.open(name, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_a_worker_writes_and_the_others_read(directory: Directory) -> None:
    """Zeros at first, then what was stored, as far as it is asked for."""
    with closing(WorkerFile(directory, 3)) as file:
        found = read(directory, file.name, extent(3))
        assert found == (this_process(), array("d", [0.0, 0.0, 0.0]), frozenset(), 0.0, NO_INDEX, 0.0)
        file.cells[1] += 1.5
        assert list(read(directory, file.name, extent(3)).cells) == [0.0, 1.5, 0.0]
        assert list(read(directory, file.name, extent(3, (0, 2))).cells) == [0.0, 1.5]
        assert list(read(directory, file.name, extent(3, (1, 1), (2, 1))).cells) == [1.5, 0.0]
        assert list(read(directory, file.name).cells) == []
        for size in (2, 4):
            with pytest.raises(ValueError, match="it has another number of cells"):
                read(directory, file.name, extent(size, (0, 2)))


def test_a_file_is_locked_as_long_as_its_worker_lives(directory: Directory) -> None:
    """The kernel lets go of it however the worker ends; the mapping, which a child inherits, holds nothing."""
    file = WorkerFile(directory, 3)
    assert is_locked(directory, file.name)
    file.close()
    assert not is_locked(directory, file.name)
    file.cells[0] = 1.0  # it is still mapped
    assert read(directory, file.name, extent(3)).cells[0] == 1.0


def test_a_platform_that_cannot_reserve_writes_zeros(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as macOS. What the file holds already stays, and a disk without room is an error at once."""
    monkeypatch.delattr(os, "posix_fallocate")
    with closing(WorkerFile(directory, 3)) as file:
        assert list(file.cells) == [0.0, 0.0, 0.0]
    fd = directory.open("file", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"text", 0)
    for length in (8, 8, 2):
        reserve(fd, length)
        assert os.pread(fd, 100, 0) == b"text" + bytes(4)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: len(data) - 1)
    with pytest.raises(OSError, match="No space left"):
        reserve(fd, 9)
    os.close(fd)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "replace"])
def test_where_no_file_can_be_made_none_is_left(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Neither a file nor a descriptor."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            WorkerFile(directory, 3)
    assert open_files(directory.path) == [directory.path]
    assert directory.names() == ["owner"]


def test_a_file_has_its_name_only_when_it_is_complete_and_locked(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader never finds one that is being made, nor takes its maker for dead."""
    seen = []

    def look(old: str, new: str, **options: int) -> None:
        assert list(read(directory, old, extent(3)).cells) == [0.0, 0.0, 0.0]
        assert is_locked(directory, old)
        seen.append((old.startswith(NEW), directory.names()))
        rename(old, new, **options)

    rename: Callable[..., None] = os.replace
    monkeypatch.setattr(os, "replace", look)
    with closing(WorkerFile(directory, 3)) as file:
        assert len(seen) == 1
        assert seen[0][0]
        assert file.name not in seen[0][1]


HEAD = HEADER.pack(MAGIC, 2, 7, 8, 9, 0.0, bytes(16), 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is truncated"),
        (HEAD[:-1], "it is truncated"),
        (HEAD, "it is truncated"),
        (HEAD + bytes(15), "it is truncated"),
        (HEAD + bytes(17), "it is truncated"),
        (HEAD + bytes(16 + ID_BYTES - 1), "it is truncated"),
        (HEADER.pack(MAGIC, 2**64 - 1, 7, 8, 9, 0.0, bytes(16), 0.0) + bytes(16), "it is truncated"),
        (HEADER.pack(b"redcell0", 2, 7, 8, 9, 0.0, bytes(16), 0.0) + bytes(16), "it is of another version"),
        (
            b"some text that somebody left here, of all places, and went on to write as long as ever",
            "it is of another version",
        ),
    ],
)
def test_what_is_no_file_of_cells_is_refused(directory: Directory, content: bytes, message: str) -> None:
    """By the length that its own header asks for, before a cell of it is believed."""
    Path(directory.path, "w-1").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(directory, "w-1")


def test_retired_holds_the_sums_and_the_ids(directory: Directory) -> None:
    """In the place of the one before, of which nothing stays."""
    ids = frozenset(os.urandom(ID_BYTES).hex() for _ in range(3))
    write_retired(directory, extent(9), [1.0] * 9, [*ids, os.urandom(ID_BYTES).hex()])
    index = os.urandom(16)
    write_retired(directory, extent(2), [1.5, 2.5], ids, 0.25, index)
    assert read(directory, RETIRED, extent(2)) == (NOBODY, array("d", [1.5, 2.5]), ids, 0.25, index, 0.0)
    assert read(directory, RETIRED) == (NOBODY, array("d"), ids, 0.25, index, 0.0)
    write_retired(directory, NOTHING, [], [])
    assert read(directory, RETIRED) == (NOBODY, array("d"), frozenset(), 0.0, NO_INDEX, 0.0)


def test_retired_has_a_place_for_each_cell_of_a_worker(directory: Directory) -> None:
    """Rows that are admitted later are zeros there until then, wherever they lie."""
    ids = frozenset([os.urandom(ID_BYTES).hex()])
    write_retired(directory, extent(9, (0, 2), (4, 1)), [1.5, 2.5, 3.5], ids)
    assert read(directory, RETIRED, extent(9)) == (
        NOBODY, array("d", [1.5, 2.5, 0.0, 0.0, 3.5, 0.0, 0.0, 0.0, 0.0]), ids, 0.0, NO_INDEX, 0.0,
    )  # fmt: skip
    assert list(read(directory, RETIRED, extent(9, (1, 2), (4, 3))).cells) == [2.5, 0.0, 3.5, 0.0, 0.0]
    with closing(WorkerFile(directory, 9)) as file:
        length = Path(directory.path, file.name).stat().st_size
    assert Path(directory.path, RETIRED).stat().st_size == length + ID_BYTES


def test_a_file_system_that_is_full_leaves_retired_as_it_is(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a whole one takes its place."""
    write_retired(directory, extent(1), [1.0], [])
    write = os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, content, at: write(fd, content[:-1], at))
        with pytest.raises(OSError, match="no space left"):
            write_retired(directory, extent(1), [2.0], [])
    assert list(read(directory, RETIRED, extent(1)).cells) == [1.0]
    assert sorted(directory.names()) == ["owner", RETIRED]


def test_vectors_are_added() -> None:
    """All that a scrape reads, it reads as far as it knows the rows itself."""
    assert added([1.0, 2.0], [3.0, 0.5]) == [4.0, 2.5]
    assert added([], []) == []


def test_a_header_says_where_its_parts_are() -> None:
    """Cells and the seconds of CPU are written in place, each by one aligned store."""
    assert HEADER.size % 8 == CPU_AT % 8 == 0
    assert HEADER.pack(MAGIC, 1, 2, 3, 4, 0.5, NO_INDEX, 0.0)[CPU_AT : CPU_AT + 8] == struct.pack("=d", 0.5)


def test_seconds_are_added_up_in_multiples_of_a_grain() -> None:
    """Of which any sum is exact, below 2**33 seconds; what is no sum of seconds stays as it is."""
    numbers = array("d", [0.1, 0.1, 0.1, 2.0**33 - GRAIN_SECONDS])
    grain(numbers, [slice(0, 1), slice(2, None, 1)])
    assert list(numbers) == [0.1 - 0.1 % GRAIN_SECONDS, 0.1, grained(0.1), 2.0**33 - GRAIN_SECONDS]
    assert all((number / GRAIN_SECONDS).is_integer() for number in (numbers[0], *numbers[2:]))
    assert 0.0 <= 0.1 - numbers[0] < GRAIN_SECONDS


def test_a_directory_is_inhabited_while_any_worker_holds_its_file(directory: Directory) -> None:
    """Of whatever version; what is no worker's file is nobody."""
    (Path(directory.path) / f"{WORKER}{'f' * 32}").mkdir()
    assert not is_inhabited(directory)
    with closing(WorkerFile(directory, 1)) as file:
        Path(directory.path, file.name).write_bytes(b"of another version")
        assert is_inhabited(directory)
    assert not is_inhabited(directory)
    assert open_files(directory.path) == sorted([directory.path, str(Path(directory.path, file.name))])  # the mapping


def test_a_file_that_is_not_for_us_to_read_is_no_workers(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same user it must be, who has changed its mode; root may read it all the same."""

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with closing(WorkerFile(directory, 1)) as file, monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(ValueError, match="we have no permission to read it"):
            open_file(directory, file.name)


def test_a_file_that_is_let_go_twice_closes_nobodys_descriptor(directory: Directory) -> None:
    """Its number may be another file's by then."""
    file = WorkerFile(directory, 1)
    number = file.lock_fd
    assert file.close()
    os.dup2(directory.fd, number)
    assert not file.close()
    file.lock_fd = number
    file.abandon()
    os.close(number)


def test_a_file_that_was_being_made_when_a_thread_forked_is_let_go(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was opened and its number not noted yet: what the child has of it is found all the same."""
    opened = os.open
    kept: list[WorkerFile] = []

    def forked(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        number = opened(name, flags, mode, dir_fd=dir_fd)
        if kept[0].status is not None:
            kept[0].abandon()  # as the child does
            assert open_files(directory.path) == [directory.path]
            raise InterruptedError
        return number

    monkeypatch.setattr(os, "open", forked)
    with pytest.raises(OSError, match="Bad file descriptor"):  # of the parent's, here in the same process
        WorkerFile(directory, 1, kept=kept)
    assert kept == []
