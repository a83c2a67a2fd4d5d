"""The directory of a group: private or refused, alive or removed, on real file systems and with real processes."""

import errno
import fcntl
import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from red_middleware.workers import directory as room
from red_middleware.workers.directory import (
    UNJUDGED_SECONDS,
    Directory,
    clean_stale,
    open_directory,
    records,
    remove,
)

from .members import open_files
from .racing import SCENARIOS

Result = TypeVar("Result")
ROOT = Path(__file__).parents[2]
HOME = f"red_middleware-{os.geteuid()}"
DEADLINE_SECONDS = 60
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a directory to which anybody may write, as to /dev/shm."""
    path = tmp_path / "base"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a small tmpfs with the given options, or mounts it again."""
    path = tmp_path / "mounted"
    path.mkdir()

    def mount(options: str) -> Path:
        found = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"no tmpfs can be mounted: {found.stderr.strip()}")
        return path

    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", path], capture_output=True)


@pytest.fixture(autouse=True)
def _without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be logged in."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def leave(base: Path, name: str, *files: str) -> Path:
    """Return a group whose workers are all gone and left these files."""
    with closing(open_directory(name, f"owner of {name}", str(base))) as group:
        for file in files:
            os.close(group.open(file, os.O_CREAT))
        return Path(group.path)


def is_gone(owner: str) -> float:
    return 0.0


def nobody_knows(owner: str) -> float:
    return UNJUDGED_SECONDS


def in_a_week() -> float:
    return time.time() + UNJUDGED_SECONDS + 60


# The way there


def test_a_group_lies_in_two_private_directories_and_records_its_owner(base: Path) -> None:
    """Both levels are 0700 whatever the mode of the base; the owner's text stands in a file of its own."""
    with closing(open_directory("group", "boot 1 2 3", str(base))) as group:
        assert Path(group.path) == base / HOME / "group"
        assert mode(base / HOME) == mode(base / HOME / "group") == 0o700
        assert group.names() == ["owner"]
        assert (base / HOME / "group" / "owner").read_text() == "boot 1 2 3"
        assert mode(base / HOME / "group" / "owner") == 0o600


def test_the_second_to_come_joins_the_first(base: Path) -> None:
    """Both see the same files, and the owner is recorded once."""
    with closing(open_directory("group", "first", str(base))) as one:
        before = one.stat("owner")
        with closing(open_directory("group", "second", str(base))) as other:
            os.close(other.open("w-1", os.O_CREAT))
            assert sorted(one.names()) == ["owner", "w-1"]
            assert one.stat("owner") == before


def test_who_comes_later_adds_the_lines_that_are_missing(base: Path) -> None:
    """Behind the first one, which is the founder's; each of them once."""
    for owner in ("a 1", "b 1\nc", "d 1\nc", "e 1\nc\nf 2"):
        open_directory("group", owner, str(base)).close()
    first, *others = records(str(base))["group"].splitlines()
    assert first == "a 1"
    assert sorted(others) == ["c", "f 2"]


def test_the_records_of_all_groups_are_read(base: Path) -> None:
    """Those that cannot be read are left out, and nothing is made where there is no group."""
    assert records(str(base)) == {}
    assert not (base / HOME).exists()
    for name in ("one", "other"):
        leave(base, name)
    (leave(base, "spoilt") / "owner").write_bytes(b"\xff")
    (leave(base, "empty") / "owner").unlink()
    (base / HOME / "file").touch()
    assert records(str(base)) == {"one": "owner of one", "other": "owner of other"}


def test_a_group_that_is_outdated_is_removed_unless_somebody_lives_there(base: Path) -> None:
    """Whatever its record says, and whether it is there or not."""
    left, _ = leave(base, "left", "w-1"), leave(base, "kept")
    with closing(open_directory("inhabited", "owner", str(base))):
        remove(str(base), ["left", "inhabited", "missing"])
        assert set(records(str(base))) == {"kept", "inhabited"}
    assert not left.exists()
    remove(str(base / "nowhere"), ["kept"])


def test_the_last_component_of_a_base_is_created_private(tmp_path: Path) -> None:
    """A `multiprocess_dir` that does not exist yet need not be made by hand."""
    open_directory("group", "", str(tmp_path / "app")).close()
    assert mode(tmp_path / "app") == 0o700


def test_the_mode_of_an_existing_base_is_the_users_choice(base: Path) -> None:
    """It is neither refused nor changed, even if everybody may write there, as to /tmp."""
    open_directory("group", "", str(base)).close()
    assert mode(base) == 0o1777


def test_a_base_without_a_parent_is_refused_by_its_name(tmp_path: Path) -> None:
    """A mistyped path is an error at once, not a tree of directories."""
    with pytest.raises(FileNotFoundError, match="nowhere/app"):
        open_directory("group", "", str(tmp_path / "nowhere" / "app"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_base_the_runtime_directory_is_taken_if_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever becomes another user may have inherited the variable, which is no good then."""
    runtime, shared = tmp_path / "runtime", tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(room, "SHARED_MEMORY", str(shared))
    for number, (permissions, home) in enumerate([(None, shared), (0o755, shared), (0o700, runtime)]):
        if permissions:
            runtime.mkdir(exist_ok=True)
            runtime.chmod(permissions)
        with closing(open_directory(f"group{number}", "")) as group:
            assert Path(group.path).parents[1] == home


def test_a_name_that_somebody_else_has_taken_is_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All workers meet at the next place, and stay there when the name is free again; each group has one place."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(room, "SHARED_MEMORY", str(first))
    monkeypatch.setenv("TMPDIR", str(second))
    (first / HOME).mkdir()  # open to others, as a directory of another user looks to us
    (first / HOME).chmod(0o755)
    with closing(open_directory("group", "owner of it")) as one:
        assert Path(one.path) == second / HOME / "group"
        (first / HOME).rmdir()
        with closing(open_directory("group", "")) as other:
            assert other.path == one.path
        with closing(open_directory("later", "owner of later")) as later:
            assert Path(later.path) == first / HOME / "later"
        assert records(None) == {"group": "owner of it", "later": "owner of later"}
    assert clean_stale(None, "later", is_gone) == 1
    assert records(None) == {"later": "owner of later"}


def test_where_the_name_is_taken_everywhere_the_first_place_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody shares there, and the log tells why."""
    monkeypatch.setattr(room, "SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(room, "TEMPORARY_BY_CUSTOM", ())
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / HOME).write_text("taken")
    with pytest.raises(NotADirectoryError, match=str(tmp_path / HOME)):
        open_directory("group", "")


def test_without_a_base_shared_memory_is_taken(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is /dev/shm, if it is a writable directory."""
    monkeypatch.setattr(room, "SHARED_MEMORY", str(base))
    with closing(open_directory("group", "")) as group:
        assert Path(group.path) == base / HOME / "group"
    assert clean_stale(None, "", is_gone) == 1


def test_without_shared_memory_the_temporary_directory_is_taken(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no /dev/shm on macOS."""
    monkeypatch.setattr(room, "SHARED_MEMORY", str(base / "missing"))
    monkeypatch.setenv("TMPDIR", str(base))
    with closing(open_directory("group", "")) as group:
        assert Path(group.path) == base / HOME / "group"


def test_without_writable_shared_memory_the_temporary_directory_is_taken(
    base: Path, mount: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some containers mount /dev/shm read-only."""
    monkeypatch.setattr(room, "SHARED_MEMORY", str(mount("ro")))
    monkeypatch.setenv("TMPDIR", str(base))
    with closing(open_directory("group", "")) as group:
        assert Path(group.path) == base / HOME / "group"


def test_a_full_temporary_directory_is_not_left_for_another(
    mount: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tempfile` would take another one, and the workers that start now would be another group than the older ones."""
    full = mount("size=64k")
    with suppress(OSError):
        (full / "all").write_bytes(bytes(1 << 17))
    monkeypatch.setattr(room, "SHARED_MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr(room, "TEMPORARY_BY_CUSTOM", (str(tmp_path),))
    monkeypatch.setenv("TMPDIR", str(full))
    with pytest.raises(OSError, match="No space left"):
        open_directory("group", "owner")
    assert list(tmp_path.iterdir()) == [full]


def test_where_nothing_is_writable_there_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is not taken either: each worker may have another one."""
    monkeypatch.setattr(room, "SHARED_MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr(room, "TEMPORARY_BY_CUSTOM", ())
    monkeypatch.setenv("TMPDIR", ".")
    with pytest.raises(FileNotFoundError, match="no writable directory among"):
        open_directory("group", "")


@pytest.mark.parametrize("name", ["", ".", "..", "../group", "a/b", ".hidden", "-", "a b", "a\n", "é"])
def test_a_name_that_could_lead_elsewhere_is_refused(base: Path, name: str) -> None:
    """A group's name is one component of a path, and does not look like a file that is not ours."""
    with pytest.raises(ValueError, match="open_directory"):
        open_directory(name, "", str(base))
    assert list(base.iterdir()) == []


def test_a_file_is_held_by_one_at_a_time(base: Path) -> None:
    """The second process waits as long as it says, and is then told that the file is held."""
    with (
        closing(open_directory("group", "", str(base))) as one,
        closing(open_directory("group", "", str(base))) as other,
    ):
        with one.hold("lock", os.O_RDWR | os.O_CREAT) as fd:
            assert one.held == {fd}
            with pytest.raises(TimeoutError, match="another worker process holds the lock"):
                other.hold("lock", os.O_RDWR, 0.001).__enter__()
        with other.hold("lock", os.O_RDWR):
            pass
        assert one.held == other.held == set()


def test_a_child_lets_go_of_the_directory_and_of_what_is_held_in_it(base: Path) -> None:
    """It closes no descriptor that does not lead to the directory any more."""
    group = open_directory("group", "", str(base))
    number = group.fd
    holding = group.hold("lock", os.O_RDWR | os.O_CREAT)
    fd = holding.__enter__()
    group.abandon()
    assert (group.fd, group.held) == (-1, set())
    for closed in (fd, number):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        holding.__exit__(None, None, None)
    group.abandon()


def test_a_directory_knows_whether_it_is_open_and_whether_it_was_removed(base: Path) -> None:
    """An app may close its descriptor, and a cleaner remove what it leads to."""
    group = open_directory("group", "", str(base))
    assert group.is_open()
    assert not group.is_removed()
    shutil.rmtree(group.path)
    assert group.is_open()
    assert group.is_removed()
    os.close(group.fd)
    assert not group.is_open()
    assert not group.is_removed()


def test_a_fifo_keeps_nobody_waiting(base: Path) -> None:
    """Nobody may ever open its other end."""
    with closing(open_directory("group", "", str(base))) as group:
        os.mkfifo(Path(group.path, "fifo"))
        os.close(group.open("fifo", os.O_RDONLY))
        assert group.holds("fifo")
        assert not group.holds("missing")


def hold_in_vain(group: Directory) -> None:
    """Ask for a file that another process holds."""
    with (
        closing(Directory("", os.open(group.path, os.O_RDONLY))) as other,
        other.hold("file", os.O_RDWR | os.O_CREAT),
        pytest.raises(TimeoutError, match="another worker process holds the file"),
        group.hold("file", os.O_RDWR, patience_seconds=0.01),
    ):
        pass


def test_a_stopped_clock_lets_nobody_wait_for_ever(base: Path) -> None:
    """A test under freezegun whose app is locked out goes on."""
    freezegun = pytest.importorskip("freezegun")
    with closing(open_directory("group", "", str(base))) as group, freezegun.freeze_time("2026-01-01"):
        hold_in_vain(group)


def test_a_process_waits_where_signals_cannot_be_waited_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPy lacks the call."""
    monkeypatch.delattr(signal, "sigtimedwait")
    with closing(open_directory("group", "", str(base))) as group:
        hold_in_vain(group)


# What is not private is refused


@pytest.mark.parametrize("level", [HOME, f"{HOME}/group"])
def test_a_link_is_never_followed(base: Path, tmp_path: Path, level: str) -> None:
    """If somebody made a link there first, nothing is written where it leads, even if that is a directory of ours."""
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (base / level).parent.mkdir(mode=0o700, exist_ok=True)
    (base / level).symlink_to(target)
    with pytest.raises(NotADirectoryError, match=level):
        open_directory("group", "", str(base))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("level", [HOME, f"{HOME}/group"])
@pytest.mark.parametrize("wide", [0o701, 0o710, 0o720, 0o777])
def test_a_directory_that_is_open_to_others_is_refused(base: Path, level: str, wide: int) -> None:
    """Group and others may have no permission at all; the error names the directory and its mode."""
    leave(base, "group")
    (base / level).chmod(wide)
    with pytest.raises(PermissionError, match=rf"mode {wide:04o}; must have .*0700: '.*{level}'"):
        open_directory("group", "", str(base))


@as_root
@pytest.mark.parametrize("level", [HOME, f"{HOME}/group"])
def test_a_directory_of_another_user_is_refused(base: Path, level: str) -> None:
    """Even for root, who could open it: its owner could change what is in it."""
    leave(base, "group")
    os.chown(base / level, 65534, 65534)
    with pytest.raises(PermissionError, match=rf"uid 65534.*; must have uid 0.*{level}'"):
        open_directory("group", "", str(base))


@pytest.mark.parametrize("level", [HOME, f"{HOME}/group"])
def test_a_file_in_the_place_of_a_directory_is_refused(base: Path, level: str) -> None:
    """The file stays as it is."""
    (base / level).parent.mkdir(mode=0o700, exist_ok=True)
    (base / level).write_text("precious")
    with pytest.raises(NotADirectoryError, match=level):
        open_directory("group", "", str(base))
    assert (base / level).read_text() == "precious"


def test_a_full_file_system_is_an_error_that_leaves_no_draft(mount: Callable[[str], Path]) -> None:
    """Nobody joins a group whose owner could not be recorded; once there is room again, it can be opened."""
    base = mount("size=64k,mode=1777")
    with pytest.raises(OSError, match="No space left") as full:
        (base / "filler").write_bytes(bytes(1 << 20))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        open_directory("group", "owner", str(base))
    assert list((base / HOME / "group").iterdir()) == []
    (base / "filler").unlink()
    with closing(open_directory("group", "owner", str(base))) as group:
        assert group.names() == ["owner"]


def test_a_line_takes_a_file_that_may_be_refused(mount: Callable[[str], Path]) -> None:
    """Where there is none left, the lines from before are whole, and the new one is there once there is room again."""
    base = mount("nr_inodes=8,mode=1777")
    open_directory("group", "owner\n1 2 3", str(base)).close()
    fillers = [base / str(number) for number in range(8)]
    with suppress(OSError):
        for filler in fillers:
            filler.touch()
    with pytest.raises(OSError, match="No space left"):
        open_directory("group", "other\n4 5 6", str(base))
    assert records(str(base)) == {"group": "owner\n1 2 3"}
    for filler in fillers:
        filler.unlink(missing_ok=True)
    open_directory("group", "other\n4 5 6", str(base)).close()
    assert sorted(records(str(base))["group"].splitlines()) == ["1 2 3", "4 5 6", "owner"]


@pytest.mark.parametrize("call", ["rename", "open"])
def test_a_worker_that_is_killed_while_it_records_the_owner_leaves_all_lines_or_no_group(base: Path, call: str) -> None:
    """At each file that it makes: whoever reads the first line finds the others, and the next worker adds its own."""
    for times in range(1, 6):
        code = f"""if True:
            from red_middleware.workers.directory import Directory, open_directory
            from tests.workers.members import killed_at
            killed_at({call!r}, {times}, Directory)
            open_directory("group{times}", "first\\n1 2\\n3 4", {str(base)!r})
        """
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode
        assert ended in (0, -signal.SIGKILL)
        known = records(str(base)).get(f"group{times}", "first\n1 2\n3 4")
        assert sorted(known.splitlines()) == ["1 2", "3 4", "first"]
        open_directory(f"group{times}", "first\n1 2\n5 6", str(base)).close()
        assert set(records(str(base))[f"group{times}"].splitlines()) >= {"first", "1 2", "5 6"}
    assert ended == 0  # it was killed everywhere before


def test_a_read_only_file_system_is_an_error(mount: Callable[[str], Path]) -> None:
    """So it is where the group was made before, and a cleaner that cannot remove anything does not raise."""
    base = mount("size=64k,mode=1777")
    group = leave(base, "group")
    mount("remount,ro")
    assert clean_stale(str(base), "", is_gone) == 0
    assert group.exists()
    with pytest.raises(OSError, match="Read-only"):
        open_directory("new", "", str(base))


def test_every_descriptor_is_closed_when_the_way_is_barred(base: Path) -> None:
    """However often a process tries, it does not run out of descriptors."""
    leave(base, "group").chmod(0o755)
    before = open_files(base)
    with pytest.raises(PermissionError):
        open_directory("group", "", str(base))
    with pytest.raises(UnicodeEncodeError):
        open_directory("other", "é", str(base))
    assert clean_stale(str(base), "", is_gone) == 0
    assert open_files(base) == before == []


def test_without_locks_the_room_is_importable_and_says_so(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no fcntl."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("red_middleware.workers.directory_on_windows", room.__file__)
    assert spec is not None
    assert spec.loader is not None
    windows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(windows)
    with pytest.raises(OSError, match="platform"):
        windows.open_directory("group", "", str(base))
    assert windows.clean_stale(str(base), "", is_gone) == 0
    assert list(base.iterdir()) == []


# Files


def test_files_are_reached_in_the_directory_that_was_opened(base: Path) -> None:
    """The path may come to lead elsewhere, as when an administrator moves the directory."""
    with closing(open_directory("group", "owner", str(base))) as group:
        (base / HOME).rename(base / "moved")
        with open(group.open("draft", os.O_WRONLY | os.O_CREAT), "w") as file:
            file.write("new")
        os.close(group.open("w-1", os.O_CREAT))
        group.rename("draft", "w-1")
        moved = base / "moved" / "group"
        assert (moved / "w-1").read_text() == "new"
        assert mode(moved / "w-1") == 0o600
        assert group.stat("w-1") == (moved / "w-1").stat()
        assert sorted(group.names()) == ["owner", "w-1"]
        group.unlink("w-1")
        group.unlink("w-1")
        assert group.names() == ["owner"]


def test_a_file_is_not_opened_through_a_link(base: Path) -> None:
    """The status of a link is its own, not its target's."""
    with closing(open_directory("group", "owner", str(base))) as group:
        (base / HOME / "group" / "link").symlink_to("owner")
        with pytest.raises(OSError, match="link") as refused:
            group.open("link", os.O_RDONLY)
        assert refused.value.errno == errno.ELOOP
        assert group.stat("link") == (base / HOME / "group" / "link").lstat()


def test_no_descriptor_reaches_a_program_that_the_app_starts(base: Path) -> None:
    """If one did, the lock would live as long as that program."""
    with closing(open_directory("group", "owner", str(base))) as group:
        fd = group.open("owner", os.O_RDONLY)
        assert not os.get_inheritable(group.fd)
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_threads_list_at_the_same_time(base: Path) -> None:
    """Two scrapes at once each see every file."""
    with closing(open_directory("group", "owner", str(base))) as group:
        for number in range(400):
            os.close(group.open(f"w-{number}", os.O_CREAT))
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda: counts.extend(len(group.names()) for _ in range(100))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [401] * 400


def test_a_directory_that_is_removed_while_open_is_empty_and_takes_no_files(base: Path) -> None:
    """Nothing is written where nobody would look for it; whoever opens the group again gets a new directory."""
    with closing(open_directory("group", "owner", str(base))) as group:
        group.unlink("owner")
        Path(group.path).rmdir()
        assert group.names() == []
        with pytest.raises(FileNotFoundError):
            group.open("w-1", os.O_CREAT)
        with closing(open_directory("group", "owner", str(base))) as anew:
            assert anew.names() == ["owner"]


def test_a_closed_directory_reaches_no_other(base: Path) -> None:
    """The number of its descriptor may be another directory's by then."""
    group = open_directory("group", "owner", str(base))
    group.close()
    with closing(open_directory("other", "owner", str(base))):
        for use in (group.names, group.close, lambda: group.stat("owner"), lambda: group.unlink("owner")):
            with pytest.raises(OSError, match="Bad file descriptor"):
                use()


# A descriptor that was lost


def lose(group: Directory, stranger: Path) -> int:
    """Close the descriptor and give its number to another directory, as an app may; return the number."""
    number = group.fd
    theirs = os.open(stranger, os.O_RDONLY)
    os.dup2(theirs, number)
    os.close(theirs)
    return number


def test_a_directory_that_was_lost_reopens_in_place(base: Path, tmp_path: Path) -> None:
    """It says so once, is locked as before, and leaves its old number to whoever has it now."""
    with closing(open_directory("group", "owner", str(base))) as group:
        os.close(group.open("w-1", os.O_CREAT))
        assert not group.reopen()
        number = lose(group, tmp_path)
        assert not group.is_open()
        assert group.reopen()
        assert group.is_open()
        assert sorted(group.names()) == ["owner", "w-1"]
        assert not group.reopen()
        assert clean_stale(str(base), "", is_gone) == 0
        assert os.path.samestat(os.fstat(number), tmp_path.stat())
        os.close(number)


@pytest.mark.parametrize("level", ["", HOME, f"{HOME}/group"])
def test_a_directory_that_was_lost_and_removed_reopens_empty(base: Path, level: str) -> None:
    """It is then like the directory of a first worker: private, with the same owner, and without the earlier files."""
    group = open_directory("group", "owner", str(base))
    os.close(group.open("w-1", os.O_CREAT))
    os.close(group.fd)
    shutil.rmtree(base / level)
    with closing(group):
        assert group.reopen()
        assert group.names() == ["owner"]
        assert (base / HOME / "group" / "owner").read_text() == "owner"
        assert mode(base / HOME / "group") == 0o700


def test_a_directory_that_cannot_be_reopened_is_tried_again(base: Path) -> None:
    """The error says why it cannot be opened. Until it is open again, no file can be reached by it."""
    group = open_directory("group", "owner", str(base))
    (base / HOME / "group").chmod(0o755)
    os.close(group.fd)
    for _ in range(2):
        with pytest.raises(PermissionError, match="mode 0755"):
            group.reopen()
        assert not group.is_open()
        with pytest.raises(OSError, match="Bad file descriptor"):
            group.names()
    (base / HOME / "group").chmod(0o700)
    with closing(group):
        assert group.reopen()
        assert group.names() == ["owner"]


def test_of_several_threads_one_reopens(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of them is told that it was lost, and the directory is opened only once."""
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 60.0)  # with a thread that stands still on a busy machine
    with closing(open_directory("group", "owner", str(base))) as group:
        for _ in range(20):
            os.close(group.fd)
            assert sorted(at_once(group.reopen, threads=4)) == [False, False, False, True]
            assert open_files(base) == [group.path]


def test_a_cleaner_that_never_leaves_keeps_no_thread_waiting(base: Path) -> None:
    """However many threads ask, one that has no chance to try within half a second is told so."""
    group = open_directory("group", "owner", str(base))
    os.close(group.fd)
    said: list[str] = []

    def reopen() -> None:
        with pytest.raises(TimeoutError) as late:
            group.reopen()
        said.append(str(late.value))

    with closing(Directory("", os.open(base / HOME / "group", os.O_RDONLY))) as cleaner:
        fcntl.flock(cleaner.fd, fcntl.LOCK_EX)
        at_once(reopen, threads=6)
    assert len(said) == 6
    assert any("another thread is opening it" in text for text in said)
    assert any("locked by somebody" in text for text in said)


def at_once(call: Callable[[], Result], threads: int) -> list[Result]:
    """Return what several threads are given that call a function at the same time."""
    barrier = threading.Barrier(threads)

    def run(_: int) -> Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


# Races


def test_a_child_that_closes_what_it_inherited_leaves_the_lock_to_its_parent(base: Path) -> None:
    """The descriptors of both are one open file, as after a fork; the group stays alive."""
    with closing(open_directory("group", "owner", str(base))) as group:
        close = f"from red_middleware.workers.directory import Directory; Directory('', {group.fd}).close()"
        subprocess.run([sys.executable, "-c", close], cwd=ROOT, pass_fds=[group.fd], check=True)
        assert clean_stale(str(base), "", is_gone) == 0


def test_a_directory_that_is_replaced_before_the_lock_is_left(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst moment, forced here: a cleaner removes the group after it is opened and before it is locked."""
    flock = fcntl.flock
    path, away = base / HOME / "group", base / HOME / "away"

    def replace() -> None:
        path.rename(away)
        path.mkdir(mode=0o700)

    moments = [path.rmdir, replace]

    def flock_late(fd: int, operation: int) -> None:
        if moments:
            moments.pop()()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with closing(open_directory("group", "owner", str(base))) as group:
        assert os.path.samestat(os.fstat(group.fd), path.lstat())
    assert not moments
    assert list(away.iterdir()) == []


def test_a_cleaner_that_never_leaves_keeps_nobody_waiting(base: Path) -> None:
    """A lock that somebody keeps is an error after a quarter of a second, not a worker that hangs."""
    with closing(Directory("", os.open(leave(base, "group"), os.O_RDONLY))) as cleaner:
        fcntl.flock(cleaner.fd, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="locked by somebody"):
            open_directory("group", "owner", str(base))
    open_directory("group", "owner", str(base)).close()


def test_workers_come_and_go_while_a_cleaner_takes_everybody_for_dead(base: Path) -> None:
    """No process ever holds a removed directory, and no file of a living worker disappears."""

    def start(scenario: str) -> subprocess.Popen[str]:
        assert scenario in SCENARIOS
        command = [sys.executable, "-m", "tests.workers.racing", scenario, str(base)]
        return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with start("clean") as cleaner, start("come_and_go") as one, start("come_and_go") as other:
        assert [racer.wait(5 * DEADLINE_SECONDS) for racer in (one, other)] == [0, 0]
        removed, _ = cleaner.communicate(timeout=DEADLINE_SECONDS)
    assert cleaner.returncode == 0
    assert int(removed) > 0


# Cleaning


def test_a_group_whose_master_is_gone_is_removed_with_its_files(base: Path) -> None:
    """The cleaner is asked about the owner exactly as recorded, and the caller's own group is left alone."""
    dead, own = leave(base, "dead", "w-1", ".new-2", "retired"), leave(base, "own")
    assert clean_stale(str(base), "own", lambda owner: 0.0 if owner == "owner of dead" else math.inf, in_a_week) == 1
    assert own.exists()
    assert not dead.exists()


def test_a_group_in_which_somebody_lives_is_never_removed(base: Path) -> None:
    """Neither a dead master nor its age is a reason; nobody is even asked about its owner."""
    with closing(open_directory("group", "owner", str(base))) as group:
        assert clean_stale(str(base), "", lambda owner: pytest.fail("asked"), in_a_week) == 0
        assert group.names() == ["owner"]


def test_a_group_that_cannot_be_judged_is_kept_for_seven_days(base: Path) -> None:
    """For example one of another pid namespace, whose container may start a worker at any time."""
    group = leave(base, "group")
    changed = group.stat().st_mtime
    assert clean_stale(str(base), "", nobody_knows, lambda: changed + 7 * 24 * 3600) == 0
    assert clean_stale(str(base), "", nobody_knows, lambda: changed + 7 * 24 * 3600 + 1) == 1
    assert not group.exists()


def test_a_touch_begins_the_seven_days_anew(base: Path) -> None:
    """Counting changes no time of a file; a group that was scraped a moment ago is not old."""
    with closing(open_directory("group", "owner", str(base))) as group:
        os.utime(group.path, (0, 0))
        group.touch()
    assert clean_stale(str(base), "", nobody_knows) == 0


def test_a_group_without_an_owner_is_kept_for_seven_days(base: Path) -> None:
    """Its maker may be about to write the owner, or died before that; then there is no other file in it."""
    leave(base, "group")
    (base / HOME / "group" / "owner").rename(base / HOME / "group" / ".owner-1")
    assert clean_stale(str(base), "", is_gone) == 0
    assert clean_stale(str(base), "", is_gone, in_a_week) == 1


def test_what_is_not_ours_is_never_touched(base: Path, tmp_path: Path) -> None:
    """Files, links, names of another pattern, directories that are open to others or hold what no group does."""
    outside = leave(tmp_path, "outside", "w-1")
    home = leave(base, "group").parent
    (home / "wide").mkdir(mode=0o755)
    (home / "link").symlink_to(outside)
    (home / "file").write_text("")
    (home / ".hidden").mkdir(mode=0o700)
    (home / "notes").mkdir(mode=0o700)
    (home / "notes" / "mine").write_text("")
    (base / "foreign").mkdir(mode=0o700)
    before = set(base.rglob("*"))
    assert clean_stale(str(base), "group", is_gone, in_a_week) == 0
    assert set(base.rglob("*")) == before
    assert sorted(path.name for path in outside.iterdir()) == ["owner", "w-1"]


@as_root
@pytest.mark.parametrize("level", [HOME, f"{HOME}/group"])
def test_another_users_directories_are_never_touched(base: Path, level: str) -> None:
    """Root does not touch them either."""
    group = leave(base, "group")
    os.chown(base / level, 65534, 65534)
    assert clean_stale(str(base), "", is_gone, in_a_week) == 0
    assert (group / "owner").exists()


@pytest.mark.parametrize("made", [False, True])
def test_where_nothing_is_nothing_is_made(base: Path, made: bool) -> None:
    """A cleaner creates neither the base nor a level below it."""
    path = base if made else base / "missing"
    assert clean_stale(str(path), "", is_gone) == 0
    assert list(base.iterdir()) == []


def test_one_group_that_raises_keeps_no_other_from_being_removed(base: Path) -> None:
    """The reason may be an owner that cannot be parsed, or a file that cannot be removed yet."""
    for name in ("a", "b", "c"):
        leave(base, name, "w-1")
    (base / HOME / "b" / "directory").mkdir()

    def parse(owner: str) -> float:
        if owner.endswith("a"):
            raise ValueError(owner)
        return 0.0

    assert clean_stale(str(base), "", parse) == 1
    assert sorted(path.name for path in (base / HOME).iterdir()) == ["a", "b"]
    assert (base / HOME / "b" / "owner").exists()
    (base / HOME / "b" / "directory").rmdir()
    assert clean_stale(str(base), "", is_gone) == 2
