"""What all workers of a group counted: their files are added up, and those of the dead folded into `retired`.

`member` asks, at each scrape and when it enters. This room knows in which order to touch the files, so that whoever
does it may be killed at any moment. An `Extent` tells which cells count by now, and which are gauges or seconds.
A file that is none of ours is set aside and reported: no scrape fails or waits for it.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ..counting.layout import NOTHING as NO_CELLS
from ..counting.layout import Extent
from ..own_metrics.merging import leave, totals
from . import cells
from .cells import ASIDE, DRAFT, LOCK, NEW, RETIRED, WORKER, Contents
from .directory import Directory
from .multiprocess import bury
from .proc import NOBODY
from .processes import Workers

MAX_READS: Final = 100
"""How often a scrape starts again because a worker retired meanwhile."""

MAX_ASIDE: Final = 4
"""How many files that could not be read are kept for whoever wants to look at them."""

MAX_NAMED: Final = 4
"""How many files that could not be read are logged by their names; further ones are logged once, and all counted."""

ABANDONED_SECONDS: Final = 60.0
"""Age at which an unfinished file is removed: its maker was killed. The maker of a younger one may still be at work."""

BATCH: Final = 32
"""How many dead workers are folded in one step. A worker that enters folds one batch, in a few milliseconds."""

NOTHING: Final = Contents(NOBODY, array("d"), frozenset())


class Found(NamedTuple):
    """What a scrape found of the group."""

    totals: list[float]
    """See `Extent`. Of the application's gauges, what the dead left."""
    workers: Workers
    states: list[tuple[int, Sequence[float]]]
    """What the living say of the application's gauges, with their pids."""
    each: list[tuple[int, Sequence[float]]]
    """What the living say of themselves, with their pids."""


class Files:
    """What the files of several workers come to. They are added one by one.

    Args:
        extent: Which cells are read.
        retired: What was folded before.
    """

    def __init__(self, extent: Extent, retired: Contents) -> None:
        self.extent = extent
        self.sums: int = extent.own[0]
        self.states: int = extent.own[1]
        size = sum(length for _, length in extent.spans)
        cells = retired.cells or _zeros(size)
        self.plain: Sequence[float] = cells[: self.sums]
        self.totals: list[Sequence[float]] = [cells[self.sums : self.states]]
        self.left: Sequence[float] = cells[self.states :]
        self.living: list[tuple[int, Sequence[float]]] = []
        self.each: list[tuple[int, Sequence[float]]] = []
        self.cpu_seconds: float = retired.cpu_seconds

    def add(self, contents: Contents, lives: bool) -> None:
        """Add a worker's file; of a worker that has died, without what is the case now."""
        numbers = contents.cells
        if not lives:
            _drop(numbers, self.extent.gauges)
        elif contents.process.pid:  # else it only watches
            self.each.append((contents.process.pid, [n for part in self.extent.each for n in numbers[part]]))
        self.plain = cells.added(self.plain, numbers[: self.sums])
        self.cpu_seconds += cells.grained(contents.cpu_seconds)
        if len(numbers) > self.sums:  # the application's own metrics
            self.totals.append(numbers[self.sums : self.states])
            if lives:
                self.living.append((contents.process.pid, numbers[self.states :]))
            else:
                self.left = leave(self.extent.modes, self.left, numbers[self.states :])

    def cells(self, has_rests: bool = True) -> list[float]:
        """Return what all come to, as one vector; what is shown and not kept needs no rests, see `totals`."""
        return [*self.plain, *totals(self.totals, has_rests), *self.left]


class Sums:
    """The cells of a group, as one of its workers adds them up.

    Args:
        directory: Where the group's files are.
        index: Id of the worker's index: cells of another index mean something else.
        fault: Takes the kind and the exception of what goes wrong.
    """

    def __init__(self, directory: Directory, index: bytes, fault: Callable[[str, BaseException], None]) -> None:
        self.directory = directory
        self.index = index
        self.fault = fault
        self.told: set[str] = set()  # the names of files that were reported and still exist
        self.has_set_aside: bool = False  # since the files that are kept were counted

    def read(self, extent: Extent, ours: str) -> Found:
        """Add up every file, without a lock. If `retired` is replaced meanwhile, everything is read again.

        Args:
            extent: Which cells to add up.
            ours: Name of this worker's own file: this worker lives.

        Raises:
            OSError: The files cannot be read.
        """
        for _ in range(MAX_READS):
            try:
                try:
                    retired = self._retired(extent)
                except ValueError as error:  # the next worker that folds sets it aside
                    self._tell(RETIRED, error)
                    retired = NOTHING
                files, living = Files(extent, retired), []
                names = self.directory.names()
                self.told.intersection_update(names)
                for name in names:
                    if name.startswith(WORKER) and name.removeprefix(WORKER) not in retired.ids:
                        try:
                            contents, lives = self._worker(name, extent)
                        except ValueError as error:
                            self._tell(name, error)
                            continue
                        lives = lives or name == ours
                        files.add(contents, lives)
                        if lives and contents.process.pid:  # else it only watches
                            living.append(contents.process)
                if self._folded() == retired.ids:  # compared by its ids, since the number of an inode may be used again
                    return Found(
                        files.cells(has_rests=False), Workers(living, files.cpu_seconds), files.living, files.each
                    )
            except FileNotFoundError:  # the worker retired while its file was read
                continue
        raise TimeoutError("workers retire faster than their cells can be read")

    def fold(self, measure: Callable[[], Extent | None], ours: str, batches: int | None = None) -> None:
        """Add the cells of dead workers to `retired` and remove their files, unless another worker is about it.

        Args:
            measure: Returns which cells count by now, since the dead may have added some; `None` if that is unknown.
            ours: Name of this worker's file.
            batches: How many of `BATCH` workers to fold at most; `None`: all.
        """
        try:
            if not self.directory.holds(LOCK):  # whatever has this name can be locked, even a directory
                os.close(self.directory.open(LOCK, os.O_RDONLY | os.O_CREAT))
            with self.directory.hold(LOCK, os.O_RDONLY):
                self._fold(measure, ours, batches)
                if self.has_set_aside:
                    self._clear_aside()
        except TimeoutError:
            pass
        except (OSError, ValueError) as error:
            self.fault("retired workers", error)

    def _fold(self, measure: Callable[[], Extent | None], ours: str, batches: int | None) -> None:
        try:
            folded = self._retired(NO_CELLS).ids
        except ValueError as error:
            if measure() is None:
                return
            self._set_aside(RETIRED, error)
            folded = frozenset()
        dead = []
        for name in self.directory.names():
            if name == DRAFT:  # its writer was killed
                self._discard(name)
            elif name.startswith(NEW):
                self._remove_abandoned(name)
            elif name.startswith(WORKER) and name != ours:
                if name.removeprefix(WORKER) in folded:
                    # The worker that folded it was killed before it could remove the file.
                    self._discard(name)
                elif not self._lives(name):
                    dead.append(name)
        extent = measure() if dead else None
        if extent is not None:
            for start in range(0, len(dead), BATCH)[:batches]:
                self._commit(dead[start : start + BATCH], extent)

    def _commit(self, dead: Sequence[str], extent: Extent) -> None:
        """Retire some workers in one step."""
        files = Files(extent, self._retired(extent))
        readable = []
        for name in dead:
            try:
                contents, _ = self._worker(name, extent)
            except FileNotFoundError:  # somebody else removed it
                continue
            except ValueError as error:
                self._set_aside(name, error)
                continue
            files.add(contents, lives=False)
            readable.append(name)
            try:
                bury(contents.process)
            except OSError as error:
                self.fault("live gauges of a worker that has died", error)
        if readable:
            ids = [name.removeprefix(WORKER) for name in readable]
            cells.write_retired(self.directory, extent, files.cells(), ids, files.cpu_seconds, self.index)
            for name in readable:
                self.directory.unlink(name)

    def _worker(self, name: str, extent: Extent) -> tuple[Contents, bool]:
        """Read a worker's file; tell whether it lived when it was read."""
        fd = cells.open_file(self.directory, name)
        try:
            living = cells.is_held(fd)
            contents = cells.read(fd, extent, self.index)
        finally:
            os.close(fd)
        cells.grain(contents.cells, extent.seconds)
        return contents, living

    def _retired(self, extent: Extent) -> Contents:
        """Read what the retired counted."""
        try:
            fd = cells.open_file(self.directory, RETIRED)
        except FileNotFoundError:
            return NOTHING
        try:
            return cells.read(fd, extent, self.index)
        finally:
            os.close(fd)

    def _folded(self) -> frozenset[str]:
        """Return whose cells are in `retired`."""
        try:
            return self._retired(NO_CELLS).ids
        except ValueError:
            return frozenset()

    def _lives(self, name: str) -> bool:
        try:
            fd = cells.open_file(self.directory, name)
        except FileNotFoundError:  # somebody else removed it, so there is nothing to fold
            return True
        except ValueError:
            return False
        try:
            return cells.is_held(fd)
        finally:
            os.close(fd)

    def _remove_abandoned(self, name: str) -> None:
        try:
            if time.time() - self.directory.stat(name).st_mtime > ABANDONED_SECONDS:
                self._discard(name)
        except FileNotFoundError:
            pass

    def _discard(self, name: str) -> None:
        try:
            self.directory.unlink(name)
        except IsADirectoryError as error:
            self._set_aside(name, error)

    def _set_aside(self, name: str, error: Exception) -> None:
        """Keep a file that nobody can read, for whoever wants to look at it."""
        self._tell(name, error)
        self.directory.rename(name, f"{ASIDE}{time.time_ns()}-{name}")
        self.has_set_aside = True

    def _clear_aside(self) -> None:
        """Keep only the newest few of what was set aside."""
        self.has_set_aside = False
        aside = sorted(name for name in self.directory.names() if name.startswith(ASIDE))
        for old in aside[:-MAX_ASIDE]:
            try:
                self.directory.unlink(old)
            except IsADirectoryError:  # its content is not ours
                pass

    def _tell(self, name: str, error: Exception) -> None:
        if name not in self.told:
            self.told.add(name)
            if name == RETIRED:
                self.fault("cells of retired workers", error)
            elif len(self.told) <= MAX_NAMED:
                self.fault(f"file of a worker, {name}", error)
            else:
                self.fault("files of workers", error)


def _drop(numbers: "array[float]", parts: Iterable[slice]) -> None:
    """Set the cells of these parts to zero."""
    for part in parts:
        numbers[part] = _zeros(len(numbers[part]))


def _zeros(count: int) -> "array[float]":
    return array("d", bytes(8 * count))
