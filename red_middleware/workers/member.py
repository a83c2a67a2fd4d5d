"""One worker's membership in its group: it replays and extends the index, has cells of its own, and stays or leaves.

`table` speaks to it as `Sharing`. Whether there is a group is `group`'s business, files are those of `index` and
`cells`, and `sums` adds them up; this room knows when each is due. A worker may be killed or forked at any moment, be
robbed of its descriptors by a library that closes all it finds, and of its directory by a cleaner.
"""

import errno
import json
import os
import time
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector

from ..table import SENTINEL_ROUTES, Change, Table
from .cells import WorkerFile
from .directory import Directory
from .index import NAME as INDEX
from .index import PATIENCE_SECONDS, Index
from .processes import GroupProcesses, Workers, store_cpu_seconds
from .sums import Sums

FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class Member:
    """This process in its group of workers. See `table.Sharing`.

    Args:
        reach: Opens the group's directory.
        fault: Told the kind and the exception of what went wrong with a file; the request is served all the same.
    """

    def __init__(self, reach: Callable[[], Directory], fault: Callable[[str, BaseException], None]) -> None:
        self.reach = reach
        self.fault = fault
        self.busy = allocate_lock()  # gevent's, where the app is imported after its patch: held by a greenlet then
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
        self.returning = allocate_lock()  # of several scrapes one makes new cells
        self.files: list[WorkerFile] = []  # of which the last is in use
        self.left = False  # whether this worker goes on alone, for good

    def enter(self, table: Table, declared: Mapping[str, Iterable[str]]) -> None:
        """Give a table the group's rows, and cells of its own.

        Args:
            table: One without rows.
            declared: The routes that this worker's app declares, with their method labels.

        Raises:
            OSError: The group's files cannot be used.
        """
        declaration: Change = ("declare", {route: sorted(labels) for route, labels in declared.items()})
        self.sums = Sums(self.directory, self.index.id, table.seconds, self.fault)
        try:
            for method in table.methods.values():  # in no log: where one cannot be written, they are the last resort
                for route in SENTINEL_ROUTES:
                    table.apply(("row", method.label, route))
            self._look(table)  # at most of it without the lock: many workers may begin at once
            with self.index.locked(PATIENCE_SECONDS) as fd:
                self._replay(table, fd)
                if not table.settled or table.lacks(declaration):  # the first record settles the capacity, if empty too
                    self._write(table, fd, declaration)
            self._retire(table, batches=1)  # or a group that nobody scrapes grows by a file with each worker
            try:
                self._take_cells(table)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._retire(table)
                self._take_cells(table)
        except BaseException:
            self.directory.close()
            raise

    def _take_cells(self, table: Table, cpu_before: float = 0.0) -> None:
        WorkerFile(self.directory, table.size(table.capacity), self.index.id, cpu_before, self.files)
        table.use(self.file.cells)
        for file in self.files[:-1]:
            if file.close():  # else its mapping stays: it would close a number that may be another file's by now
                self.files.remove(file)

    @property
    def file(self) -> WorkerFile:
        """This worker's cells."""
        return self.files[-1]

    def change(self, table: Table, change: Change) -> None:
        """Replay what the others changed, then make this change if the table still lacks it."""
        if self._has_left(table):
            table.apply(change)
            return
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
        if not self._has_left(table):
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
            yield entered and self.directory.is_open()
        except Exception as error:  # mostly an OSError; of whatever kind, a request is being served
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
            return list(table.cells[:size])
        self._retire(table)
        self.directory.touch()  # to a mapped file nothing is written that a cleaner could see
        found = self.sums.read(size, self.file.name)
        self.pids = sorted(process.pid for process in found.workers.living)
        return found.totals

    def _retire(self, table: Table, batches: int | None = None) -> None:
        def measure() -> int | None:
            return table.size(table.used) if self.catch_up(table) else None

        self.sums.fold(measure, self.file.name if self.files else "", batches)

    def processes(self, alone: ProcessCollector) -> Collector:
        """Return what tells of the group's processes as `alone` does of this one."""
        return GroupProcesses(alone, self.born, self._workers)

    def _workers(self) -> Workers:
        """Look at the group's files as they stand now; nobody lives where the directory is lost."""
        if self.left or not self.directory.is_open():
            return Workers((), 0.0)
        store_cpu_seconds(self.directory)
        return self.sums.read(0, self.file.name).workers

    def _stay(self, table: Table) -> bool:
        """Come back with new cells if others took this worker for dead: the app closed its descriptors.

        Returns:
            Whether there is a group to stay in; systemd-logind removes shared memory of a user who logs out.
        """
        if not self.returning.acquire(timeout=PATIENCE_SECONDS):
            return not self.left
        try:
            if not self.left and not self.directory.is_open():
                self.directory = self.index.directory = self.sums.directory = self.reach()
                if not self.index.is_ours():
                    self._leave(table, OSError("the group of this worker process was removed, and begun anew"))
            if self._has_left(table):
                return False
            if self.file.directory is not self.directory or not self.directory.holds(self.file.name):
                self._take_cells(table, time.process_time())  # what was stored in the lost file is in there
        except OSError as error:  # of which the next scrape may see the end
            self.fault("return to the workers", error)
            table.isolated = True
            self.pids = [os.getpid()]
            return False
        finally:
            self.returning.release()
        table.isolated = False
        return True

    def _has_left(self, table: Table) -> bool:
        """Tell whether this worker goes on alone, as it does from when its directory is removed."""
        if not self.left and self.directory.is_removed():
            self._leave(table, OSError("the directory of the worker processes was removed"))
        return self.left

    def _leave(self, table: Table, reason: OSError) -> None:
        """Go on with a table that is nobody else's: what is added is in no log, and what is read is its own."""
        self.left = table.isolated = True
        self.pids = [os.getpid()]
        self.fault("this worker's numbers are its own from now on", reason)

    def abandon(self) -> None:
        """Let go in a forked child: all this is the parent's, whose locks live as long as one descriptor of them."""
        for file in self.files:
            file.abandon()
        self.directory.abandon()
