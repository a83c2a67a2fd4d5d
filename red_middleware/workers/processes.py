"""CPU, memory and descriptors of all workers of a group, under the names of prometheus_client's `ProcessCollector`.

`ProcessCollector` tells of the process that it runs in, which under several workers is a random one of them. A scrape
first stores each worker's seconds of CPU in the worker's file, and then shows what the files say. They are folded with
the worker's cells, so the sum never goes backwards. `member` makes the collector, and the endpoint shows it.
"""

import os
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..counting.layout import NOTHING
from . import cells
from .cells import CPU_AT, LOCK, WORKER
from .directory import Directory
from .proc import STARTED, STIME, UTIME, Process, is_alive, pid_namespace, stat_fields

CPU: Final = "cpu_seconds"
START: Final = "start_time_seconds"


class Workers(NamedTuple):
    """One consistent look at the files of a group."""

    living: Collection[Process]
    cpu_seconds: float
    """What the living had used when a scrape last stored it, and what the dead used."""


class GroupProcesses(Collector):
    """Tells of all workers what `ProcessCollector` tells of one.

    Args:
        own: The collector of this process, whose namespace is kept.
        master: Whose start is shown. `NOBODY` where a name makes the group: then it is that of the oldest worker.
        read: Looks at the group's files; finds no living worker where the files are lost.
    """

    def __init__(self, own: ProcessCollector, master: Process, read: Callable[[], Workers]) -> None:
        self.own = own
        self.master = master
        self.read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the families of `ProcessCollector`: CPU of all, when the master started, and sums over the living.

        A sum is left out if one of the living cannot be measured: otherwise it would depend on which worker answers.
        """
        workers = self.read()
        if not workers.living:  # somebody removed the directory
            yield from self.own.collect()
            return
        by_process = list(self._by_process(workers.living))
        for family in self.own.collect():
            if family.name == self.own._prefix + CPU:
                total = round(workers.cpu_seconds, 3)  # another order of floats may give a sum that is one bit less
            elif family.name == self.own._prefix + START:
                started = self.master.started or min(worker.started for worker in workers.living)
                total = self.own._btime + started / os.sysconf("SC_CLK_TCK")
            elif all(family.name in values for values in by_process):
                total = sum(values[family.name] for values in by_process)
            else:
                continue
            family.samples = [sample._replace(value=total) for sample in family.samples]
            yield family

    def _by_process(self, living: Collection[Process]) -> Iterator[dict[str, float]]:
        """Yield the values of each process; none for one in another pid namespace, or one that /proc hides.

        If a process has changed its user, the kernel shows its descriptors to root only.
        """
        pid = 0
        one = ProcessCollector(self.own._namespace, lambda: pid, registry=None)
        namespace = pid_namespace()
        for process in sorted(set(living)):
            if process.namespace != namespace:
                yield {}
                continue
            pid = process.pid
            values = {family.name: family.samples[0].value for family in one.collect()}
            if is_alive(process):  # if it is alive after the measuring, the values are not another process's
                yield values


def store_cpu_seconds(directory: Directory) -> None:
    """Write into the file of each living worker the CPU that it has used until now, unless another worker does so.

    The lock is the one for folding: nothing is written to a folded file, and no newer number is overwritten. A later
    scrape writes what cannot be written now.
    """
    with suppress(OSError), directory.hold(LOCK, os.O_RDONLY):  # an error: another worker holds the lock
        namespace = pid_namespace()
        for name in directory.names():
            if name.startswith(WORKER):
                with suppress(OSError, ValueError):  # not a worker's file, its process has ended, or there is no space
                    _store(directory, name, namespace)


def _store(directory: Directory, name: str, namespace: int) -> None:
    fd = directory.open(name, os.O_RDWR)
    try:
        worker = cells.read(fd, NOTHING)
        if worker.process.namespace == namespace and cells.is_held(fd):
            started, user, system = stat_fields(worker.process.pid, STARTED, UTIME, STIME)
            used = round((user + system) / os.sysconf("SC_CLK_TCK") - worker.cpu_before, 3)
            if started == worker.process.started and used > worker.cpu_seconds:
                os.pwrite(fd, struct.pack("=d", used), CPU_AT)
    finally:
        os.close(fd)
