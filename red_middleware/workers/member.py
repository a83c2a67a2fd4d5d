"""One worker's membership in its group: it replays and extends the index, adds up all cells, and retires the dead.

`table` speaks to it as `Sharing`. Whether there is a group is `rendezvous`' business, and files are those of `index`
and `cells`; this room knows in which order they are to be touched, so that any worker may be killed at any moment.
"""

import fcntl
import json
import os
import time
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector

from ..table import GAUGES, SENTINEL_ROUTES, Change, Table
from . import cells
from .cells import ASIDE, LOCK, NEW, RETIRED, WORKER, WorkerFile
from .directory import Directory
from .index import ENTRY_SECONDS, PATIENCE_SECONDS, Index
from .index import NAME as INDEX
from .processes import GroupProcesses, Workers, store_cpu_seconds

MAX_READS: Final = 100
"""How often a scrape begins anew because a worker retired meanwhile."""

MAX_ASIDE: Final = 4
"""How many files that could not be read are kept for whoever wants to look at them."""

ASKED: Final = "asked-"
"""Begins the names of empty files, each of which says that something need not be said again."""

ABANDONED_SECONDS: Final = 60.0
"""Age of a worker's unfinished file whose maker was killed; a younger one may be about to be locked."""


class Found(NamedTuple):
    """What a scrape found of the group."""

    totals: list[float]
    pids: list[int]
    """Of the living workers, this one included."""
    workers: Workers


class Member:
    """This process in its group of workers. See `table.Sharing`.

    Args:
        reach: Opens the group's directory.
        fault: Told the kind and the exception of what went wrong with a file; the request is served all the same.
    """

    def __init__(self, reach: Callable[[], Directory], fault: Callable[[str, BaseException], None]) -> None:
        self.reach = reach
        self.fault = fault
        self.busy = allocate_lock()  # the interpreter's own, as in `table`
        self.busy_with: int | None = None  # the thread that holds it
        self.patience_seconds = PATIENCE_SECONDS
        self.pids: Sequence[int] = [os.getpid()]
        self.directory = reach()
        try:
            self.index = Index(self.directory)
        except BaseException:
            self.directory.close()
            raise
        self.born = self.index.born

    def enter(self, table: Table, declared: Mapping[str, Iterable[str]]) -> None:
        """Give a table the group's rows, and cells of its own.

        Args:
            table: One without rows.
            declared: The routes that this worker's app declares, with their method labels.

        Raises:
            OSError: The group's files cannot be used.
        """
        declaration: Change = ("declare", {route: sorted(labels) for route, labels in declared.items()})
        try:
            for method in table.methods.values():  # in no log: where one cannot be written, they are the last resort
                for route in SENTINEL_ROUTES:
                    table.apply(("row", method.label, route))
            self._look(table)  # at most of it without the lock: many workers may begin at once
            with self.index.locked(ENTRY_SECONDS) as fd:
                self._replay(table, fd)
                if not table.settled or table.lacks(declaration):  # the first record settles the capacity, if empty too
                    self._write(table, fd, declaration)
            self._take_cells(table)
        except BaseException:
            self.directory.close()
            raise

    def _take_cells(self, table: Table, cpu_before: float = 0.0) -> None:
        self.file = WorkerFile(self.directory, table.size(table.capacity), cpu_before=cpu_before)
        self.home = os.fstat(self.directory.fd)
        table.use(self.file.cells)

    def change(self, table: Table, change: Change) -> None:
        """Replay what the others changed, then make this change if the table still lacks it."""
        with self._alone() as entered:
            if entered:
                self._look(table)
                if table.lacks(change):
                    patience_seconds, self.patience_seconds = self.patience_seconds, 0.0  # one in vain is enough
                    with self.index.locked(patience_seconds) as fd:
                        self.patience_seconds = PATIENCE_SECONDS
                        self._replay(table, fd)
                        if table.lacks(change):
                            self._write(table, fd, change)

    def catch_up(self, table: Table) -> bool:
        """Replay what the others changed."""
        done = False
        with self._alone() as entered:
            if entered:
                self._look(table)
                done = True
        return done

    def _look(self, table: Table) -> None:
        """Replay without a lock: what is committed stays as it is."""
        fd = self.directory.open(INDEX, os.O_RDONLY)
        try:
            self._replay(table, fd)
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep the other threads from replaying; a finaliser that interrupts this one is not let in.

        Nobody is before `_stay` came back: another group's index may lie where the lost descriptor leads to now.
        """
        entered = self.busy_with != get_ident() and self.busy.acquire(timeout=PATIENCE_SECONDS)
        if entered:
            self.busy_with = get_ident()
        try:
            yield entered and self._is_whole()
        except OSError as error:
            self.fault("index of the workers", error)
        finally:
            if entered:
                self.busy_with = None
                self.busy.release()

    def _replay(self, table: Table, fd: int) -> None:
        for record in self.index.read(fd):
            kind, *values = json.loads(record)
            table.apply((kind, *values))
            table.settled = True

    def _write(self, table: Table, fd: int, change: Change) -> None:
        self.index.append(fd, json.dumps(change).encode())
        self._replay(table, fd)

    def totals(self, table: Table, size: int) -> Sequence[float]:
        """Return the sums of the first cells of all workers, the retired ones included; of gauges, of the living.

        Raises:
            OSError: The group's files cannot be read.
        """
        if not self._stay(table):
            table.isolated = True
            self.pids = [os.getpid()]
            return list(self.file.cells[:size])
        self._retire(table)
        self.directory.touch()  # to a mapped file nothing is written that a cleaner could see
        found = self._read(size)
        self.pids = found.pids
        return found.totals

    def _read(self, size: int) -> Found:
        """Add up every file, with no lock: what is read before `retired` was replaced is read again."""
        for _ in range(MAX_READS):
            try:
                retired = self._retired(size)
                totals = cells.added(retired.cells, [0.0] * size)
                pids = []
                living_processes, cpu_seconds = [], retired.cpu_seconds
                for name in self.directory.names():
                    if name.startswith(WORKER) and name.removeprefix(WORKER) not in retired.ids:
                        fd = self.directory.open(name, os.O_RDONLY)
                        try:
                            contents = cells.read(fd, size)
                            living = name == self.file.name or not _obtain(fd, fcntl.LOCK_SH)
                        except ValueError as error:  # set aside when its lock can be had
                            self.fault(f"file of a worker, {name}", error)
                            continue
                        finally:
                            _release(fd)
                        if living:
                            pids.append(contents.process.pid)
                            living_processes.append(contents.process)
                        cpu_seconds += contents.cpu_seconds
                        totals = cells.added(totals, contents.cells if living else _without_gauges(contents.cells))
                if self._retired(0).ids == retired.ids:  # each `retired` has its own; an inode's number is used again
                    return Found(totals, sorted(pids), Workers(living_processes, cpu_seconds))
            except FileNotFoundError:  # retired while it was being read
                continue
        raise TimeoutError("workers retire faster than their cells can be read")

    def _retired(self, size: int) -> cells.Contents:
        """Read what the retired counted; where that cannot be read, it is set aside, and they begin anew."""
        try:
            fd = self.directory.open(RETIRED, os.O_RDONLY)
        except FileNotFoundError:
            return cells.Contents(cells.NOBODY, [], frozenset())
        try:
            return cells.read(fd, size)
        except ValueError as error:
            self.fault("cells of retired workers", error)
            self._set_aside(RETIRED)
            return cells.Contents(cells.NOBODY, [], frozenset())
        finally:
            os.close(fd)

    def _retire(self, table: Table) -> None:
        """Add the cells of dead workers to `retired` and remove their files, unless another worker is about it."""
        held: list[int] = []
        try:
            held.append(self.directory.open(LOCK, os.O_RDWR | os.O_CREAT))
            if _obtain(held[0], fcntl.LOCK_EX):
                dead = self._find_dead(held)
                if dead and self.catch_up(table):  # the dead may have added rows since the last time
                    self._fold(dead, table.size(table.used))
        except (OSError, ValueError) as error:
            self.fault("retired workers", error)
        finally:
            for fd in held:
                _release(fd)

    def _find_dead(self, held: list[int]) -> dict[str, int]:
        """Return the descriptors of the files that nobody holds any more, by name; their locks are ours from now on."""
        folded = self._retired(0).ids
        dead = {}
        for name in self.directory.names():
            if name.startswith(NEW):
                self._remove_abandoned(name)
            elif name.startswith(WORKER) and name != self.file.name:
                if name.removeprefix(WORKER) in folded:  # the last one to fold was killed before it came to this
                    self.directory.unlink(name)
                    continue
                held.append(self.directory.open(name, os.O_RDWR))
                if _obtain(held[-1], fcntl.LOCK_EX):
                    dead[name] = held[-1]
        return dead

    def _fold(self, dead: Mapping[str, int], size: int) -> None:
        retired = self._retired(size)
        totals, cpu_seconds = retired.cells, retired.cpu_seconds
        readable = []
        for name, fd in dead.items():
            try:
                contents = cells.read(fd, size)
            except ValueError as error:
                self.fault(f"file of a worker, {name}", error)
                self._set_aside(name)
            else:
                totals = cells.added(totals, _without_gauges(contents.cells))
                cpu_seconds += contents.cpu_seconds
                readable.append(name)
        if readable:
            cells.write_retired(self.directory, totals, [name.removeprefix(WORKER) for name in readable], cpu_seconds)
            for name in readable:
                self.directory.unlink(name)

    def _remove_abandoned(self, name: str) -> None:
        try:
            if time.time() - self.directory.stat(name).st_mtime > ABANDONED_SECONDS:
                self.directory.unlink(name)
        except FileNotFoundError:
            pass

    def _set_aside(self, name: str) -> None:
        """Keep a file that nobody can read for who wants to look at it, but no heap of them."""
        self.directory.rename(name, f"{ASIDE}{time.time_ns()}-{name}")
        aside = sorted(name for name in self.directory.names() if name.startswith(ASIDE))
        for old in aside[:-MAX_ASIDE]:
            self.directory.unlink(old)

    def processes(self, alone: ProcessCollector) -> Collector:
        """Return what tells of the group's processes as `alone` does of this one."""
        return GroupProcesses(alone, self.born, self._workers)

    def _workers(self) -> Workers:
        """Look at the group's files as they stand now; nobody lives where the directory is lost."""
        if not self._is_whole():
            return Workers((), 0.0)
        store_cpu_seconds(self.directory)
        return self._read(0).workers

    def first(self, name: str) -> bool:
        """Tell whether no worker asked for this name before; everybody is the first where that cannot be kept."""
        if not self._is_whole():
            return False  # its descriptor leads elsewhere: after `_stay`
        try:
            os.close(self.directory.open(f"{ASKED}{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        except OSError:
            pass
        return True

    def _stay(self, table: Table) -> bool:
        """Come back with new cells if others took this worker for dead: the app closed its descriptors.

        The old ones are not closed: their numbers may be another file's.

        Returns:
            Whether there is a directory to stay in; systemd-logind removes shared memory of a user who logs out.
        """
        whole = self._is_whole()
        if not whole:
            self.directory = self.index.directory = self.reach()
        if not os.fstat(self.directory.fd).st_nlink:
            return False
        if not whole or self.file.name not in self.directory.names():
            self._take_cells(table, time.process_time())  # what was stored in the lost file is in there
        return True

    def abandon(self) -> None:
        """Let go in a forked child: all this is the parent's, whose locks live as long as one descriptor of them."""
        if self._is_whole():
            self.file.close()
            self.directory.close()

    def _is_whole(self) -> bool:
        """Tell whether the directory's descriptor is still the directory's."""
        try:
            return os.path.samestat(os.fstat(self.directory.fd), self.home)
        except OSError:
            return False


def _obtain(fd: int, operation: int) -> bool:
    """Lock a file, if nobody lives behind it."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(fd: int) -> None:
    """Close a file and unlock it if it was we who locked it: a child that was forked meanwhile has it open, too."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _without_gauges(numbers: Sequence[float]) -> list[float]:
    kept = list(numbers)
    kept[GAUGES.start : GAUGES.stop] = [0.0] * len(GAUGES)
    return kept
