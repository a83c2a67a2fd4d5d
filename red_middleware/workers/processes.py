"""CPU, memory and descriptors of all workers of a group, under the names of prometheus_client's `ProcessCollector`.

That one tells of the process that it runs in, which under several workers is a random one. Seconds of CPU stand in the
files of the workers, and are folded with their cells: a scrape stores there what /proc says, and shows what stands
there, so that the sum never goes backwards. The endpoint asks for it.
"""

import os
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from . import cells
from .cells import CPU_AT, LOCK, WORKER, Process
from .directory import Directory
from .rendezvous import STARTED, STIME, UTIME, is_alive, stat_fields

CPU: Final = "cpu_seconds"
START: Final = "start_time_seconds"


class Workers(NamedTuple):
    """One consistent look at the files of a group."""

    living: Collection[Process]
    cpu_seconds: float
    """What the living used when a scrape last looked, and all that are gone."""


class GroupProcesses(Collector):
    """Tells of all workers what `ProcessCollector` tells of one.

    Args:
        alone: The collector of one process, whose namespace is kept.
        born: When the group began, in monotonic seconds.
        read: Looks at the files; nobody lives where they are not to be had.
    """

    def __init__(self, alone: ProcessCollector, born: float, read: Callable[[], Workers]) -> None:
        self.alone = alone
        self.born = born
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the families of `ProcessCollector`: CPU of all, when the group began, and sums over the living.

        A sum that would lack one of the living is left out: what it tells depended on who answers the scrape.
        """
        workers = self.read()
        if not workers.living:  # somebody removed the directory
            yield from self.alone.collect()
            return
        by_process = list(self._by_process(workers.living))
        for family in self.alone.collect():
            if family.name == self.alone._prefix + CPU:
                total = round(workers.cpu_seconds, 3)  # floats in another order may be one bit less
            elif family.name == self.alone._prefix + START:
                total = self.alone._btime + self.born
            elif all(family.name in values for values in by_process):
                total = sum(values[family.name] for values in by_process)
            else:
                continue
            family.samples = [sample._replace(value=total) for sample in family.samples]
            yield family

    def _by_process(self, living: Collection[Process]) -> Iterator[dict[str, float]]:
        """Yield what can be said of each process: nothing of one in another pid namespace, or hidden in /proc.

        The kernel shows the descriptors of a process that changed its user to root only.
        """
        pid = 0
        one = ProcessCollector(self.alone._namespace, lambda: pid, registry=None)
        namespace = cells.this_process().namespace
        for process in sorted(set(living)):
            if process.namespace != namespace:
                yield {}
                continue
            pid = process.pid
            values = {family.name: family.samples[0].value for family in one.collect()}
            if is_alive(pid, process.started):  # until now, so that these are not another process's numbers
                yield values


def store_cpu_seconds(directory: Directory) -> None:
    """Write in the files of the living what each used until now, unless another worker is about it.

    With the lock of those who fold, so that nothing is written to a file that was folded, and nothing over a number
    that is newer. What cannot be written now is written by a later scrape.
    """
    with suppress(OSError), directory.hold(LOCK, os.O_RDONLY):  # else others hold it
        namespace = cells.this_process().namespace
        for name in directory.names():
            if name.startswith(WORKER):
                with suppress(OSError, ValueError):  # no worker's file, its process is gone, the file system is full
                    _store(directory, name, namespace)


def _store(directory: Directory, name: str, namespace: int) -> None:
    fd = directory.open(name, os.O_RDWR)
    try:
        worker = cells.read(fd, 0)
        if worker.process.namespace == namespace and cells.is_held(fd):
            started, user, system = stat_fields(worker.process.pid, STARTED, UTIME, STIME)
            used = round((user + system) / os.sysconf("SC_CLK_TCK") - worker.cpu_before, 3)
            if started == worker.process.started and used > worker.cpu_seconds:
                os.pwrite(fd, struct.pack("=d", used), CPU_AT)
    finally:
        os.close(fd)
