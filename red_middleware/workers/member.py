"""A worker that has joined its group: it replays and extends the index, has cells of its own, and stays while it can.

`table` speaks to it as `Sharing`. `membership` decides whether there is a group; `index` and `cells` are its files, and
`sums` adds them up. This room knows when each is due. A worker may be killed or forked at any moment, and may lose its
descriptors to a library that closes all it finds, or its directory to a cleaner.
"""

import errno
import json
import math
import os
import time
from _thread import LockType, allocate_lock, get_ident
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..counting.labels import SERVER_ERROR
from ..counting.layout import NOTHING, Extent
from ..counting.table import Change, Found, Table
from .cells import WorkerFile
from .directory import Directory
from .index import NAME as INDEX
from .index import PATIENCE_SECONDS, RECORD, DamagedError, Index
from .proc import NOBODY, Process, monotonic
from .processes import Workers, store_cpu_seconds
from .sums import Sums

FULL: Final = {errno.ENOSPC, errno.EDQUOT}

MIN_PAUSE_SECONDS: Final = 0.01
"""How long the log is left alone, at least, after it could not be written."""

USUAL_LABEL_BYTES: Final = 32
USUAL_CODES: Final = 3
"""Of a row; room is taken in advance for a log of this size."""


class Member:
    """This process in its group of workers. See `table.Sharing`.

    Args:
        directory: The group's directory, which the member closes if it cannot enter.
        fault: Takes the kind and the exception of what went wrong with a file; the request is served all the same.
        leave: Called when the group is gone for good. The table is alone from then on.
        carry: Called when the others can be told of changes again. Brings along what was counted apart meanwhile.
        is_watcher: Whether this process is none of the workers, and only tells of them.
        clock: Returns seconds; says when a log that could not be written is tried again.
    """

    def __init__(
        self,
        directory: Directory,
        fault: Callable[[str, BaseException], None],
        leave: Callable[[OSError], None],
        carry: Callable[[], None],
        is_watcher: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.directory = directory
        self.fault = fault
        self.leave = leave
        self.carry = carry
        self.clock = clock
        self.process: Process | None = NOBODY if is_watcher else None
        # This is gevent's lock if the app is imported after gevent's patch; a greenlet holds it then.
        self.busy: LockType = allocate_lock()
        self.busy_with: int | None = None  # the thread that holds it
        self.is_behind: bool = (
            False  # whether the others could not be told of a change, and what needs it is counted apart
        )
        self.is_damaged: bool = False  # whether they can never be told again, so that what is new folds
        self.next_attempt: float = -math.inf
        try:
            self.index: Index = Index(directory)
        except BaseException:
            directory.close()
            raise
        self.sums: Sums = Sums(directory, self.index.id, fault)
        self.returning: LockType = allocate_lock()  # one of several scrapes makes new cells
        self.files: list[WorkerFile] = []  # the last one is in use
        self.is_lost: bool = False  # whether the group's files are out of reach for now

    def enter(self, table: Table, declared: Mapping[str, Iterable[str]], may_settle: bool = True) -> bool:
        """Give a table the group's rows, and cells of its own.

        Args:
            table: One without rows.
            declared: The routes that this worker's app declares, with their method labels.
            may_settle: Whether this worker may be the first one, and settle for how many rows there is room.

        Returns:
            Whether it entered: not if it would have been the first one and may not settle.

        Raises:
            OSError: The group's files cannot be used.
        """
        declaration: Change = ("declare", {route: sorted(labels) for route, labels in declared.items()})
        try:
            # These are not in the log: they are the last resort where it cannot be written.
            for region in table.regions.values():
                for key in region.kind.in_order:
                    table.apply(("row", region.kind.name, key))
            self._look(table)  # most of it is read without the lock, since many workers may begin at once
            if not (table.settled or may_settle):
                self.directory.close()
                return False
            with self.index.locked(PATIENCE_SECONDS) as fd:
                self._replay(table, fd)
                # The first record settles the capacity, even an empty one.
                if not table.settled or table.lacks(declaration):
                    self._write(table, fd, declaration)
            self._retire(table, batches=1)  # else a group that nobody scrapes grows by one file per worker
            try:
                self._take_room(table)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._retire(table)
                self._take_room(table)
        except BaseException:
            self.directory.close()
            raise
        return True

    def _take_room(self, table: Table) -> None:
        """Take now all that this worker will ever need: a file system may be full later."""
        with self.index.locked(PATIENCE_SECONDS) as fd:
            self.index.reserve(fd, _log_bytes(table))
        self._take_cells(table)

    def _take_cells(self, table: Table, cpu_before: float = 0.0) -> None:
        WorkerFile(self.directory, table.extent().size, self.index.id, cpu_before, self.files, self.process)
        table.use(self.file.cells)
        for file in self.files[:-1]:
            # Else its mapping is kept: closing it would close a number that may be another file's by now.
            if file.close():
                self.files.remove(file)

    @property
    def file(self) -> WorkerFile:
        """This worker's cells."""
        return self.files[-1]

    def change(self, table: Table, change: Change) -> None:
        """Replay what the others changed, then make this change if the table still lacks it."""
        if self._is_gone():
            table.apply(change)
            return
        with self._alone() as entered:
            if entered:
                self._look(table)
                if table.lacks(change) and self.clock() >= self.next_attempt:
                    self._tell(table, change)
        if table.lacks(change):
            self.is_behind = not self.is_damaged
        elif self.is_behind:
            self.carry()

    def _tell(self, table: Table, change: Change) -> None:
        """Write a change into the log. After an attempt in vain, the next one comes when ten times as long has passed.

        So requests spend a tenth of the time here at most, however long another worker is stopped in the middle.
        """
        began = self.clock()
        try:
            with self.index.locked(PATIENCE_SECONDS) as fd:
                self._replay(table, fd)
                if table.lacks(change):
                    self._write(table, fd, change)
        except BaseException:
            now = self.clock()
            self.next_attempt = now + MIN_PAUSE_SECONDS + 9 * (now - began)
            raise

    def catch_up(self, table: Table) -> bool:
        """Replay what the others changed."""
        done = False
        if not self._is_gone():
            with self._alone() as entered:
                if entered:
                    self._look(table)
                    done = True
        return done

    def _look(self, table: Table) -> None:
        """Replay without a lock: committed records never change."""
        fd = self.directory.open(INDEX, os.O_RDONLY)
        try:
            self._replay(table, fd)
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep the other threads from replaying. A finaliser that interrupts this one is not let in.

        Yields False while the directory's descriptor is lost: its number may belong to another group's file by now.
        """
        entered = self.busy_with != get_ident() and self.busy.acquire(timeout=PATIENCE_SECONDS)
        if entered:
            self.busy_with = get_ident()
        try:
            yield entered and self.directory.is_open()
        except Exception as error:  # mostly an OSError; whatever it is, a request is being served
            self.is_damaged = isinstance(error, DamagedError)
            self.fault("index of the workers", error)
        finally:
            if entered:
                self.busy_with = None
                self.busy.release()

    def _replay(self, table: Table, fd: int) -> None:
        for record in self.index.read(fd):
            table.apply(_change(json.loads(record)))
            table.settled = True
        self.is_damaged = False

    def _write(self, table: Table, fd: int, change: Change) -> None:
        self.index.append(fd, _record(change))
        self._replay(table, fd)

    def read(self, table: Table, extent: Extent) -> Found:
        """Return the sums of the cells of all workers, the retired ones included; of gauges, of the living.

        Raises:
            OSError: The group's files cannot be read.
        """
        if not self._stay(table):
            return table.alone(extent)
        self._retire(table)
        self.directory.touch()  # a cleaner looks at times, and writing to a mapping changes none
        found = self.sums.read(extent, self.file.name)
        return Found(extent.split(found.totals), len(found.workers.living), found.states, found.each)

    def _retire(self, table: Table, batches: int | None = None) -> None:
        def measure() -> Extent | None:
            return table.extent() if self.catch_up(table) else None

        self.sums.fold(measure, self.file.name if self.files else "", batches)

    def workers(self) -> Workers:
        """Look at the group's processes as they stand now; none lives where the directory is lost."""
        if not self.directory.is_open():
            return Workers((), 0.0)
        store_cpu_seconds(self.directory)
        return self.sums.read(NOTHING, self.file.name).workers

    def _stay(self, table: Table) -> bool:
        """Come back with new cells if others took this worker for dead, since the app closed its descriptors.

        Returns:
            Whether there is a group to stay in; systemd-logind removes shared memory of a user who logs out.
        """
        if not self.returning.acquire(timeout=PATIENCE_SECONDS):
            return not self.is_lost and table.sharing is self
        try:
            is_robbed = self.directory.reopen() or not self.file.is_open()
            if is_robbed and not self.index.is_ours():
                self.leave(OSError("the group of this worker process was removed, and begun anew"))
                return False
            if self._is_gone():
                return False
            if is_robbed or not self.directory.holds(self.file.name):
                self._take_cells(table, time.process_time())  # CPU until now counts in the lost file
        except OSError as error:  # the next scrape tries again
            self.fault("return to the workers", error)
            self.is_lost = True
            return False
        finally:
            self.returning.release()
        self.is_lost = False
        return True

    def _is_gone(self) -> bool:
        """Tell whether the directory was removed, and leave if so."""
        if not self.directory.is_removed():
            return False
        self.leave(OSError("the directory of the worker processes was removed"))
        return True

    def close(self) -> None:
        """Let go of the group for good, unless another thread is at it. The cells stay mapped while they are in use."""
        if self.busy_with != get_ident() and self.busy.acquire(timeout=PATIENCE_SECONDS):
            try:
                let_go(self.files, self.directory)
            finally:
                self.busy.release()

    def abandon(self) -> None:
        """Let go in a forked child. All this is the parent's, and a lock lives as long as any descriptor of it."""
        for file in self.files:
            file.abandon()
        self.directory.abandon()


def let_go(files: Sequence[WorkerFile], directory: Directory) -> None:
    """Close the descriptors of a member. Its numbers stay with the group, as those of a worker that ends."""
    for file in files:
        file.close()
    directory.abandon()


def _record(change: Change) -> bytes:
    return json.dumps(change, ensure_ascii=False).encode(errors="surrogatepass")  # `json.loads` reads it so


def _log_bytes(table: Table) -> int:
    """Return the bytes that the log of a full table takes, if its labels and statuses are of the usual size.

    With the longest labels and all statuses in each row it would be several times as much as the cells of a worker.
    """
    total = 0
    for region in table.regions.values():
        kind = region.kind
        row = len(_record(("row", kind.name, ("x" * USUAL_LABEL_BYTES,) * len(kind.labels))))
        code = len(_record(("code", kind.name, region.capacity, SERVER_ERROR)))
        codes = USUAL_CODES if kind.coded else 0
        total += region.capacity * (RECORD.size + row + codes * (RECORD.size + code))
    return total


def _change(record: list[Any]) -> Change:
    """Return a change as it was before it was written as JSON, which has no tuples."""
    if record[0] == "row":
        return ("row", record[1], tuple(record[2]))
    if record[0] == "rows":
        return ("rows", record[1], [tuple(key) for key in record[2]])
    return tuple(record)
