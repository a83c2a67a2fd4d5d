"""The private directory of one group of workers: how to get there, and how to remove those that nobody needs.

Others may write where it lies (/dev/shm, /tmp), so nothing is trusted by its name: each level is opened without
following links, must belong to us alone, and leads to the next by descriptor. A shared lock on the directory, held for
life, says that somebody lives there, to `clean_stale` as to systemd-tmpfiles, which deletes what is old but not locked.

This room knows directories, files and locks of the operating system, and nothing of tables, requests or what the
files hold. `workers` opens a directory at a process's first request.
"""

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # `_home` refuses before any use

SHARED_MEMORY: Final = "/dev/shm"

TEMPORARY: Final = ("TMPDIR", "TEMP", "TMP")
"""Of the environment, as `tempfile` asks. That one writes a file to try, and where the first is full it goes elsewhere:
the group would split. It also holds a lock meanwhile, for which a child that is forked then waits for ever."""
TEMPORARY_BY_CUSTOM: Final = ("/tmp", "/var/tmp", "/usr/tmp")

GROUP: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
"""What a group may be called; anything else beside our groups is not ours."""

OWNER: Final = "owner"
DRAFT: Final = ".owner-"

PATIENCE_SECONDS: Final = 0.25
"""How long a request, its process's first, may wait for a cleaner to leave the directory."""

PAUSE_SECONDS: Final = 0.001

HOLD_PAUSE_SECONDS: Final = 0.0002
"""Between two looks at a file that another process holds, for some 50 microseconds."""

UNJUDGED_SECONDS: Final = 7 * 24 * 3600.0
"""How long a group stays without a change and without an inhabitant where its master is not provably gone."""


class Directory:
    """The private directory of one group of workers, kept open for life; every file in it is reached by dir_fd.

    Names are plain file names, without a slash. Any method but `unlink` raises the `OSError` of its system call, and
    `FileNotFoundError` once the directory was removed.
    """

    __slots__ = ("fd", "held", "path", "status")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.status = os.fstat(fd)
        self.held: set[int] = set()  # descriptors of files that `hold` keeps from others

    def is_open(self) -> bool:
        """Tell whether the descriptor is still the directory's: an app may close whatever it finds."""
        return is_same(self.fd, self.status)

    def is_removed(self) -> bool:
        """Tell whether somebody removed the directory under us."""
        return self.is_open() and os.fstat(self.fd).st_nlink == 0

    def names(self) -> list[str]:
        """Return the names of all files, in no order; none where the directory was removed."""
        # By a descriptor of its own: two threads that list by one share its position, and each misses names.
        with closing(Directory(self.path, self.open(".", os.O_RDONLY | os.O_DIRECTORY))) as listing:
            return os.listdir(listing.fd)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a file, never through a link, never for a child process, and return its descriptor.

        Without waiting either: what lies there may be a FIFO, at whose other end is nobody.
        """
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.fd)

    @contextmanager
    def hold(self, name: str, flags: int, patience_seconds: float = 0.0) -> Iterator[int]:
        """Open a file, and keep every other process that holds it out.

        Args:
            name: Of the file.
            flags: As of `open`.
            patience_seconds: How long to wait for another one.

        Yields:
            The descriptor.

        Raises:
            TimeoutError: Another one did not let go in time.
        """
        fd = self.open(name, flags)
        self.held.add(fd)
        try:
            deadline = time.monotonic() + patience_seconds
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"another worker process holds the {name}") from None
                    _pause(HOLD_PAUSE_SECONDS)
            try:
                yield fd
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child may have been forked meanwhile
        finally:
            self.held.discard(fd)
            os.close(fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a file, of a link its own."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def holds(self, name: str) -> bool:
        """Tell whether there is a file, or anything, of this name."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def rename(self, old: str, new: str) -> None:
        """Rename a file, in one step, in the place of the one that had the name."""
        os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove a file; one that is missing is fine."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def touch(self) -> None:
        """Begin the days of `clean_stale` anew: cells that are written through a mapping change no time of a file."""
        os.utime(self.fd)

    def close(self) -> None:
        """Give the directory up, the lock with it, unless another process has inherited the descriptor.

        Never `LOCK_UN`: in a forked child it would take the lock from the parent.
        """
        fd, self.fd = self.fd, -1  # the number may soon be another file's
        os.close(fd)

    def abandon(self) -> None:
        """Let go in a forked child: a lock lives as long as any process has its descriptor, whatever became of us."""
        while self.held:
            os.close(self.held.pop())
        if self.is_open():
            self.close()


def open_directory(name: str, owner: str, base: str | None = None) -> Directory:
    """Create or join the directory of a group, `<base>/red_middleware-<uid>/<name>`.

    Args:
        name: What all workers of the group, and no others, call it: letters, digits, `_`, `.` and `-`.
        owner: Who keeps the group alive, as `clean_stale` will ask about it: ASCII, recorded by the first to come.
        base: Where groups lie. It is created, with mode 0700, if only its last component is missing. If it exists, its
            mode and owner are the user's choice: the two levels below are private. `None`: /dev/shm if it is a
            writable directory, else the directory for temporary files; never by free space, or a group would split.

    Returns:
        The open directory, with a shared lock on it.

    Raises:
        OSError: No private directory can be had: `base` is missing, full or read-only; one of the two levels is a link,
            another user's or open to others; a cleaner does not leave it; the platform has no such locks.
        ValueError: `name` is not a name for a group.
    """
    if not GROUP.fullmatch(name):
        raise ValueError(f"open_directory(name={name!r}): must be letters, digits, '_', '.' and '-'")
    home = _home(base)
    if base is not None:
        _make(base)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _join(home, name, owner)
        except (FileNotFoundError, BlockingIOError) as error:  # a cleaner removed it under way, or is about to judge
            if time.monotonic() > deadline:
                message = f"not to be had within {PATIENCE_SECONDS} s: missing, or locked by somebody who removes it"
                raise TimeoutError(errno.ETIMEDOUT, message, os.path.join(home, name)) from error
        _pause(PAUSE_SECONDS)


def clean_stale(
    base: str | None, keep: str, is_gone: Callable[[str], bool], now: Callable[[], float] = time.time
) -> int:
    """Remove the groups of this user in which nobody lives and to which nobody will come back. Never raises.

    Links, other users' directories and what is not a group are left alone.

    Args:
        base: As in `open_directory`.
        keep: A group to leave alone in any case, the caller's own.
        is_gone: Whether the recorded owner of a group is provably gone. Where it is not (it lives, or nobody can say,
            as of a pid in another namespace), the group is removed after 7 days without a change.
        now: The clock to which those days are held, in seconds since the epoch.

    Returns:
        How many groups were removed.
    """
    removed = 0
    try:
        with closing(_enter(_home(base))) as home:
            for name in home.names():
                if name != keep and GROUP.fullmatch(name):
                    removed += _remove_stale(home, name, is_gone, now)
    except OSError:  # there is nothing of ours, or it is not for us to open
        pass
    return removed


def _pause(seconds: float) -> None:
    """Wait, and let no greenlet run meanwhile: it would count where this process's numbers are not to stay.

    gevent's patch makes switches of `time.sleep`, and of the locks of `_thread`; nobody waits for no signal.
    """
    signal.sigtimedwait((), seconds)


def is_same(fd: int, status: os.stat_result) -> bool:
    """Tell whether a descriptor is open, and of the file with this status."""
    try:
        return os.path.samestat(os.fstat(fd), status)
    except OSError:
        return False


def _home(base: str | None) -> str:
    """Return where this user's groups lie."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this platform cannot lock directories")
    if base is None:
        places = (SHARED_MEMORY, *(os.environ.get(variable, "") for variable in TEMPORARY), *TEMPORARY_BY_CUSTOM)
        base = next(filter(_is_for_us, places), None)
        if base is None:
            raise FileNotFoundError(errno.ENOENT, f"no writable directory among {', '.join(filter(None, places))}")
    return os.path.join(base, f"red_middleware-{os.geteuid()}")


def _is_for_us(path: str) -> bool:
    return os.path.isabs(path) and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def _make(path: str, parent: int | None = None) -> None:
    """Create a private directory, if there is nothing of its name."""
    try:
        os.mkdir(path, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def _enter(path: str, parent: int | None = None) -> Directory:
    """Open a directory that is ours alone, by its last name where its parent is open."""
    name = path if parent is None else os.path.basename(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        error.filename = path
        raise
    directory = Directory(path, fd)
    status, uid = os.fstat(directory.fd), os.geteuid()
    if status.st_uid == uid and not status.st_mode & 0o077:
        return directory
    directory.close()
    found = f"uid {status.st_uid}, mode {status.st_mode & 0o7777:04o}"
    raise PermissionError(errno.EPERM, f"not private: has {found}; must have uid {uid}, mode 0700", path)


def _lock(directory: Directory, operation: int) -> None:
    """Lock the directory, without waiting, and make sure that it is still the one that its path leads to."""
    fcntl.flock(directory.fd, operation | fcntl.LOCK_NB)
    if not os.path.samestat(os.fstat(directory.fd), os.lstat(directory.path)):
        raise FileNotFoundError(errno.ENOENT, "replaced by another directory", directory.path)


def _join(home: str, name: str, owner: str) -> Directory:
    _make(home)
    with closing(_enter(home)) as parent:
        _make(name, parent.fd)
        directory = _enter(os.path.join(home, name), parent.fd)
    try:
        _lock(directory, fcntl.LOCK_SH)
        _record(directory, owner)
    except BaseException:
        directory.close()
        raise
    return directory


def _record(directory: Directory, owner: str) -> None:
    """Write the owner down, once and whole: a cleaner may read at any moment."""
    if OWNER in directory.names():
        return
    draft = DRAFT + os.urandom(8).hex()
    try:
        with open(directory.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(owner.encode("ascii"))
        directory.rename(draft, OWNER)
    finally:
        directory.unlink(draft)


def _remove_stale(home: Directory, name: str, is_gone: Callable[[str], bool], now: Callable[[], float]) -> bool:
    """Remove one group if it is stale; whatever goes wrong with it keeps no other from being removed."""
    try:
        with closing(_enter(os.path.join(home.path, name), home.fd)) as group:
            _lock(group, fcntl.LOCK_EX)  # or somebody lives there
            files = group.names()
            if OWNER in files:
                with open(group.open(OWNER, os.O_RDONLY), "rb") as file:
                    gone = is_gone(file.read().decode("ascii"))
            elif all(file.startswith(DRAFT) for file in files):
                gone = False  # made by one who died before it was recorded, or about to be
            else:
                return False
            if not gone and now() - os.fstat(group.fd).st_mtime <= UNJUDGED_SECONDS:
                return False
            for file_name in sorted(files, key=OWNER.__eq__):  # the owner last: who dies here is taken up by the next
                group.unlink(file_name)
            os.rmdir(name, dir_fd=home.fd)
            return True
    except Exception:
        return False
