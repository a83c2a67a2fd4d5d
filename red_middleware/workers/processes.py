"""CPU, memory and descriptors of all workers of a group, under the names of prometheus_client's `ProcessCollector`.

That one tells of the process that it runs in, which under several workers is a random one. What a worker used until it
was last seen alive stays in the sum, so that CPU never goes backwards. The endpoint asks for it.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from . import cells
from .cells import LOCK, WORKER
from .directory import Directory

SEEN: Final = "cpu"
CPU: Final = "cpu_seconds"
STARTED: Final = "start_time_seconds"


class GroupProcesses(Collector):
    """Adds up what `ProcessCollector` says of each living worker.

    Args:
        directory: The group's.
        born: When the group began, in monotonic seconds.
        alone: The collector of one process, whose namespace is kept.
    """

    def __init__(self, directory: Directory, born: float, alone: ProcessCollector) -> None:
        self.directory = directory
        self.born = born
        self.alone = alone

    def collect(self) -> Iterator[Metric]:
        """Yield the families of `ProcessCollector`: sums, and when the group began."""
        prefix = self.alone._prefix
        by_worker = {worker: self._families(pid) for worker, pid in self._living().items()}
        if not by_worker:  # somebody removed the directory
            yield from self.alone.collect()
            return
        used = {worker: found[prefix + CPU] for worker, found in by_worker.items() if prefix + CPU in found}
        for family in self.alone.collect():
            values = [found[family.name] for found in by_worker.values() if family.name in found]
            total = sum(values)
            if family.name == prefix + CPU:
                total = self._cpu_seconds(used)
            elif family.name == prefix + STARTED:
                total = self.alone._btime + self.born
            family.samples = [sample._replace(value=total) for sample in family.samples]
            yield family

    def _living(self) -> Mapping[str, int]:
        """Return the process ids of the workers by the ids of their files."""
        living = {}
        for name in self.directory.names():
            if name.startswith(WORKER):
                try:
                    fd = self.directory.open(name, os.O_RDONLY)
                except OSError:  # retired just now, or no file
                    continue
                try:
                    living[name] = cells.read(fd, 0).process.pid
                except ValueError:  # set aside and said by who reads its cells
                    pass
                finally:
                    os.close(fd)
        return living

    def _families(self, pid: int) -> dict[str, float]:
        """Return what is said of one process; nothing if it is gone, or of another pid namespace."""
        families: Iterable[Metric] = ProcessCollector(self.alone._namespace, lambda: pid, registry=None).collect()
        return {family.name: family.samples[0].value for family in families}

    def _cpu_seconds(self, used: Mapping[str, float]) -> float:
        """Return what all workers used, those that are gone as well, as far as a scrape saw it."""
        lock = self.directory.open(LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen = {**self._seen(), **used}
            draft = f"{SEEN}.tmp"
            with open(self.directory.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="ascii") as file:
                json.dump(seen, file)
            self.directory.rename(draft, SEEN)
        except BlockingIOError:  # another scrape writes it down
            seen = {**self._seen(), **used}
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open, too
            os.close(lock)
        return round(sum(seen.values()), 3)  # clock ticks: floats in another order may be one bit less

    def _seen(self) -> dict[str, float]:
        """Return what each worker used when it was last seen, those that are gone under one name."""
        try:
            with open(self.directory.open(SEEN, os.O_RDONLY), encoding="ascii") as file:
                seen: dict[str, float] = json.load(file)
        except FileNotFoundError:
            return {}
        living = set(self.directory.names())
        gone = sum(seconds for worker, seconds in seen.items() if worker not in living)
        return {"gone": gone, **{worker: seconds for worker, seconds in seen.items() if worker in living}}
