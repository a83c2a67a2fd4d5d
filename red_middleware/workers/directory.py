"""The private directory of one group of workers: how to open it, and how to remove those that nobody needs.

Others may write to the place where it lies (/dev/shm, /tmp), so no name is trusted. Each level is opened without
following links and must belong to this user alone, and the next level is reached by its descriptor. A worker holds a
shared lock on the directory for life: it tells `clean_stale`, and systemd-tmpfiles as well, that somebody lives there.

This room knows directories, files and locks of the operating system. It knows nothing of tables, requests or what the
files hold. A process opens the directory at its first request.
"""

import errno
import os
import re
import signal
import stat
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from .proc import monotonic

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # `_homes` refuses before any use

RUNTIME: Final = "XDG_RUNTIME_DIR"
"""The variable that names a directory in memory where only this user can write. It may go when the user logs out."""

SHARED_MEMORY: Final = "/dev/shm"

TEMPORARY: Final = ("TMPDIR", "TEMP", "TMP")
"""The variables that `tempfile` reads. `tempfile` itself does not serve: it tries to write a file, and where the first
directory is full it takes another one, which would split the group. It also holds a lock meanwhile, and a child that is
forked at that moment would wait for it for ever."""
TEMPORARY_BY_CUSTOM: Final = ("/tmp", "/var/tmp", "/usr/tmp")

GROUP: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
"""How a group's directory may be named. Any other name beside ours is not a group, and is left alone."""

OWNER: Final = "owner"
MAX_RECORD_BYTES: Final = 4096
LINE: Final = "owner-"
"""Begins the name of an empty file that says one more line of the owner, each space a `-`: several processes may add
theirs at once, and each is there whole or not at all."""
DRAFT: Final = ".owner-"

PATIENCE_SECONDS: Final = 0.25
"""How long a process's first request may wait until a cleaner leaves the directory."""

PAUSE_SECONDS: Final = 0.001

HOLD_PAUSE_SECONDS: Final = 0.0002
"""The pause between two looks at a file that another process holds, which takes some 50 microseconds."""

UNJUDGED_SECONDS: Final = 7 * 24 * 3600.0
"""How long a group stays without a change and without a worker that has no master, or none yet."""


class Directory:
    """The private directory of one group of workers, kept open for life. Every file in it is reached by `dir_fd`.

    Names are plain file names, without a slash. Any method but `unlink` raises the `OSError` of its system call, and
    `FileNotFoundError` once the directory was removed.

    Args:
        path: Where it is.
        fd: Its descriptor.
        owner: As in `open_directory`.
    """

    __slots__ = ("_opened", "_reopening", "held", "owner", "path")

    def __init__(self, path: str, fd: int, owner: str = "") -> None:
        self.path: str = path
        self.owner: str = owner
        self._opened = fd, os.fstat(fd)  # one value: no thread sees the descriptor of one and the status of another
        self._reopening = allocate_lock()
        self.held: set[int] = set()  # descriptors of files that `hold` keeps from others

    @property
    def fd(self) -> int:
        """The descriptor; -1 once we have closed it. Read it once per step: `reopen` may exchange it at any time."""
        return self._opened[0]

    def is_open(self) -> bool:
        """Tell whether the descriptor still leads to the directory: an app may close any descriptor that it finds."""
        return is_same(*self._opened)

    def is_removed(self) -> bool:
        """Tell whether somebody else removed the directory."""
        fd, status = self._opened
        return is_same(fd, status) and os.fstat(fd).st_nlink == 0

    def reopen(self) -> bool:
        """Open the directory again, in place, if its descriptor was lost.

        The lost number is not closed: it may be another file's by now. If somebody removed the directory meanwhile,
        this one is new, with the same path and without our files.

        Returns:
            Whether it was lost, and is open again. Files that were made by it have probably lost their locks too.

        Raises:
            OSError: It cannot be opened, or another thread takes too long to open it. A later call tries again.
        """
        if not self._reopening.acquire(timeout=2 * PATIENCE_SECONDS):
            raise TimeoutError(errno.ETIMEDOUT, "another thread is opening it", self.path)
        try:
            was_lost = not self.is_open()
            if was_lost:
                self._opened = -1, self._opened[1]  # until it is open again, nobody reaches what has its number now
                self._opened = _open(self.path, self.owner)._opened
            return was_lost
        finally:
            self._reopening.release()

    def names(self) -> list[str]:
        """Return the names of all files, in no order; none where the directory was removed."""
        # A descriptor of its own: two threads that list by the same one share its position, and each misses names.
        fd = self.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a file and return its descriptor: never through a link, never for a child process, without waiting.

        A file of this name may be a FIFO, and an open that waits for its other end might wait for ever.
        """
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.fd)

    @contextmanager
    def hold(self, name: str, flags: int, patience_seconds: float = 0.0) -> Iterator[int]:
        """Open a file, and lock it against every other process that holds it this way.

        Args:
            name: Name of the file.
            flags: As in `open`.
            patience_seconds: How long to wait for another process.

        Yields:
            The descriptor.

        Raises:
            TimeoutError: Another process did not release it in time.
        """
        fd = self.open(name, flags)
        self.held.add(fd)
        try:
            deadline = monotonic() + patience_seconds
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > deadline:
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
        """Return the status of a file; of a link, the link's own."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of this name, or anything else."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def rename(self, old: str, new: str) -> None:
        """Rename a file in one step. It replaces a file that had the new name."""
        fd = self.fd
        os.replace(old, new, src_dir_fd=fd, dst_dir_fd=fd)

    def unlink(self, name: str) -> None:
        """Remove a file, if there is one."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def touch(self) -> None:
        """Start the seven days of `clean_stale` again: counting through a mapping changes no file's time."""
        os.utime(self.fd)

    def close(self) -> None:
        """Close the directory. This releases its lock, unless another process has inherited the descriptor.

        Never `LOCK_UN`: in a forked child it would take the lock from the parent.
        """
        fd, status = self._opened
        self._opened = -1, status  # the number may soon be another file's
        os.close(fd)

    def abandon(self) -> None:
        """Let go in a forked child: a lock lives as long as any process has its descriptor, even after our end."""
        while self.held:
            os.close(self.held.pop())
        if self.is_open():
            self.close()


def open_directory(name: str, owner: str, base: str | None = None) -> Directory:
    """Create or join the directory of a group, `<base>/red_middleware-<uid>/<name>`.

    Args:
        name: The name by which all workers of the group, and no others, call it: letters, digits, `_`, `.` and `-`.
        owner: Who keeps the group alive, in lines of ASCII. The first worker records them; later ones add what is
            missing behind the first line, of letters, digits and spaces. `clean_stale` asks about them.
        base: The directory for all groups. It is created, with mode 0700, if only its last component is missing. If it
            exists, its mode and owner are the user's choice: the two levels below are private. `None`: where the group
            lies already. A new one is made in `$XDG_RUNTIME_DIR` if it is private, else in /dev/shm, else in the
            directory for temporary files: in the first one that is writable, and where no other user has taken our
            name, even when it is full, since moving on would split the group.

    Returns:
        The open directory, with a shared lock on it.

    Raises:
        OSError: There is no private directory: `base` is missing, full or read-only; one of the two levels is a link,
            another user's or open to others; a cleaner does not leave it; the platform has no such locks.
        ValueError: `name` is not a name for a group.
    """
    if not GROUP.fullmatch(name):
        raise ValueError(f"open_directory(name={name!r}): must be letters, digits, '_', '.' and '-'")
    return _open(os.path.join(_home(base, name), name), owner)


def records(base: str | None) -> dict[str, str]:
    """Return what each group of this user records, by the name of its directory. Never raises.

    Args:
        base: As in `open_directory`.
    """
    found = {}
    for home in _entered(base):
        for name in filter(GROUP.fullmatch, home.names()):
            with suppress(Exception), closing(_enter(os.path.join(home.path, name), home.fd)) as group:
                found[name] = _read_record(group)
    return found


def remove(base: str | None, names: Iterable[str]) -> None:
    """Remove these groups, but for those in which a worker lives. Never raises.

    Args:
        base: As in `open_directory`.
        names: The names of their directories.
    """
    for home in _entered(base):
        for name in names:
            _remove_stale(home, name, lambda owner: 0.0, time.time)


def clean_stale(
    base: str | None, keep: str, kept_seconds: Callable[[str], float], now: Callable[[], float] = time.time
) -> int:
    """Remove those groups of this user in which no worker lives and to which none will come back. Never raises.

    Links, other users' directories and what is not a group are left alone.

    Args:
        base: As in `open_directory`.
        keep: A group that is left alone in any case, the caller's own.
        kept_seconds: Tells from the recorded owner of a group how long it stays without a worker and without a change:
            not at all if the owner is gone for certain. See `group.kept_seconds`.
        now: The clock for that, in seconds since the epoch.

    Returns:
        How many groups were removed.
    """
    return sum(
        _remove_stale(home, name, kept_seconds, now)
        for home in _entered(base)
        for name in home.names()
        if name != keep and GROUP.fullmatch(name)
    )


def _pause(seconds: float) -> None:
    """Wait without letting another greenlet run: it would count in cells that are about to be left.

    gevent's patch turns `time.sleep`, and the locks of `_thread`, into switches. A wait for no signal is not patched.
    PyPy has no such wait.
    """
    if hasattr(signal, "sigtimedwait"):
        signal.sigtimedwait((), seconds)
    else:
        time.sleep(seconds)


def reserve(fd: int, length: int) -> None:
    """Give a file this length at least, and take the room for it now."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, length)
    else:  # macOS
        end = os.fstat(fd).st_size
        if os.pwrite(fd, bytes(max(0, length - end)), end) < length - end:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_same(fd: int, status: os.stat_result) -> bool:
    """Tell whether a descriptor is open and leads to the file with this status."""
    try:
        return os.path.samestat(os.fstat(fd), status)
    except OSError:
        return False


def _home(base: str | None, name: str) -> str:
    """Return the directory with all groups of this user in which one lies, or is to be made.

    Any user can take our name where all may write. Then all workers meet at the next place, and stay there when the
    name is free again.
    """
    homes = _homes(base)
    private = [home for home in homes if _is_private(home)]
    inhabited = [home for home in private if os.path.lexists(os.path.join(home, name))]
    usable = [home for home in homes if home in private or not os.path.lexists(home)]
    return (inhabited or usable or homes)[0]  # if none is usable, the first one says what is wrong


def _homes(base: str | None) -> list[str]:
    """Return the directories that may hold all groups of this user, the best one first."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this platform cannot lock directories")
    places = [] if base is None else [base]
    if base is None:
        runtime = os.environ.get(RUNTIME, "")  # whoever becomes another user may have inherited it
        variables = (os.environ.get(variable, "") for variable in TEMPORARY)
        named = [runtime if _is_private(runtime) else "", SHARED_MEMORY, *variables, *TEMPORARY_BY_CUSTOM]
        places += filter(_is_writable, named)
        if not places:
            raise FileNotFoundError(errno.ENOENT, f"no writable directory among {', '.join(filter(None, named))}")
    return [os.path.join(place, f"red_middleware-{os.geteuid()}") for place in places]


def _entered(base: str | None) -> Iterator[Directory]:
    """Yield those that exist and are ours to open, each open while it is in use."""
    with suppress(OSError):
        for path in _homes(base):
            with suppress(OSError), closing(_enter(path)) as home:
                yield home


def _is_private(path: str) -> bool:
    """Tell whether a path is a directory that belongs to this user alone."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and _belongs_to_us(status)


def _belongs_to_us(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _is_writable(path: str) -> bool:
    return os.path.isabs(path) and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def _make(path: str, parent: int | None = None) -> None:
    """Create a private directory, unless something has its name."""
    try:
        os.mkdir(path, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def _enter(path: str, parent: int | None = None, owner: str = "") -> Directory:
    """Open a directory that must belong to this user alone; by its last name, if its parent is open."""
    name = path if parent is None else os.path.basename(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        error.filename = path
        raise
    directory = Directory(path, fd, owner)
    status, uid = os.fstat(directory.fd), os.geteuid()
    if _belongs_to_us(status):
        return directory
    directory.close()
    found = f"uid {status.st_uid}, mode {status.st_mode & 0o7777:04o}"
    raise PermissionError(errno.EPERM, f"not private: has {found}; must have uid {uid}, mode 0700", path)


def _lock(directory: Directory, operation: int) -> None:
    """Lock the directory without waiting, and make sure that its path still leads to it."""
    fcntl.flock(directory.fd, operation | fcntl.LOCK_NB)
    if not os.path.samestat(os.fstat(directory.fd), os.lstat(directory.path)):
        raise FileNotFoundError(errno.ENOENT, "replaced by another directory", directory.path)


def _open(path: str, owner: str) -> Directory:
    """Create or join the directory at a path whose last two levels are ours. See `open_directory`."""
    _make(os.path.dirname(os.path.dirname(path)))
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _join(path, owner)
        except (FileNotFoundError, BlockingIOError) as error:  # a cleaner has just removed it, or is looking at it
            if monotonic() > deadline:
                message = f"not open after {PATIENCE_SECONDS} s: it is missing, or locked by somebody who removes it"
                raise TimeoutError(errno.ETIMEDOUT, message, path) from error
        _pause(PAUSE_SECONDS)


def _join(path: str, owner: str) -> Directory:
    home, name = os.path.split(path)
    _make(home)
    with closing(_enter(home)) as parent:
        _make(name, parent.fd)
        directory = _enter(path, parent.fd, owner)
    try:
        _lock(directory, fcntl.LOCK_SH)
        _record(directory)
    except BaseException:
        directory.close()
        raise
    return directory


def _record(directory: Directory) -> None:
    """Record what is missing of the owner's lines. Whoever reads the first one, maybe at any moment, finds the others.

    Where the first worker wrote its own first line, that one stays.
    """
    first, *others = directory.owner.split("\n")
    names = set(directory.names())
    for line in others:
        name = LINE + line.replace(" ", "-")
        if name not in names:
            os.close(directory.open(name, os.O_WRONLY | os.O_CREAT))
    if OWNER in names:
        return
    draft = DRAFT + os.urandom(8).hex()
    try:
        with open(directory.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(first.encode("ascii"))
        directory.rename(draft, OWNER)
    finally:
        directory.unlink(draft)


def _read_record(group: Directory) -> str:
    with open(group.open(OWNER, os.O_RDONLY), "rb") as file:
        first = file.read(MAX_RECORD_BYTES).decode("ascii")
    others = (name.removeprefix(LINE).replace("-", " ") for name in group.names() if name.startswith(LINE))
    return "\n".join([first, *others])


def _remove_stale(home: Directory, name: str, kept_seconds: Callable[[str], float], now: Callable[[], float]) -> bool:
    """Remove one group if it is stale. An error with this group must not keep others from being removed."""
    try:
        with closing(_enter(os.path.join(home.path, name), home.fd)) as group:
            _lock(group, fcntl.LOCK_EX)  # fails if a worker lives there
            files = group.names()
            if OWNER in files:
                seconds = kept_seconds(_read_record(group))
            elif all(file.startswith((DRAFT, LINE)) for file in files):
                seconds = UNJUDGED_SECONDS  # its maker died before it recorded the owner, or is about to
            else:
                return False
            if seconds and now() - os.fstat(group.fd).st_mtime <= seconds:
                return False
            for file_name in sorted(files, key=OWNER.__eq__):  # the owner last: if we die here, the next one goes on
                group.unlink(file_name)
            os.rmdir(name, dir_fd=home.fd)
            return True
    except Exception:
        return False
