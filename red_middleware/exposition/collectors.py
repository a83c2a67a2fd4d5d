"""What the endpoint shows beside our families: the other collectors of the registry, and what becomes of each.

Called by `endpoint`. A collector that fails takes no other with it.
"""

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

import prometheus_client
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..metrics import RedMetrics
from ..recorder import Recorder
from ..workers import GroupProcesses, multiprocess


def collectors(registry: CollectorRegistry, recorder: Recorder) -> list[tuple[str, Collector]]:
    """Return the collectors of the registry, with their names: `target_info`, as OpenMetrics has it, ours, the others.

    They are collected one by one, so that a broken one does not take the others with it, and without the registry's
    lock, which another thread may have held when this process was forked. `registry.collect()` offers neither, and is
    asked only where it is not prometheus_client's own.
    """
    names = getattr(registry, "_collector_to_names", None)
    if names is None or type(registry).collect is not prometheus_client.CollectorRegistry.collect:
        return [(type(registry).__qualname__, registry)]
    names = names.copy()
    found = list(_named(names))
    member = recorder.membership.member
    if member is not None:  # no counters of one worker or another, which to Prometheus would be resets
        master, workers_of = recorder.membership.master, member.workers
        found = [
            (name, GroupProcesses(one, master, workers_of) if _tells_of_this_process(one) else one)
            for name, one in found
            if not isinstance(one, GCCollector)
        ]
    own = [one for _, one in found if isinstance(one, MetricWrapperBase)]
    if multiprocess.directory() is not None:
        shown = None if registry is prometheus_client.REGISTRY else {name for one in own for name in names[one]}
        found = [(name, one) for name, one in found if not isinstance(one, MetricWrapperBase)]
        if (shown is None or shown) and not any(map(_is_of_all_workers, names)):  # else the user registered one
            found.append(("PROMETHEUS_MULTIPROC_DIR", _Multiprocess(shown)))
    target_info = getattr(registry, "_target_info", None)
    found.sort(key=lambda named: not isinstance(named[1], RedMetrics))
    return [("target_info", TargetInfo(target_info)), *found] if target_info else found


def family_of(collector: Collector) -> tuple[str, str]:
    """Return the name and the type of one of prometheus_client's own metrics; nothing of any other collector."""
    return (collector._name, collector._type or "") if isinstance(collector, MetricWrapperBase) else ("", "")


def _named(names: Mapping[Collector, Sequence[str]]) -> Iterator[tuple[str, Collector]]:
    """Yield each collector with the name of its first family; one that tells none, with that of its class.

    Of several that would have one name, all but the first have a number as well.
    """
    times: Counter[str] = Counter()
    for collector, families in names.items():
        name = families[0] if families else type(collector).__qualname__
        times[name] += 1
        yield name if times[name] == 1 else f"{name} {times[name]}", collector


def _is_of_all_workers(collector: Collector) -> bool:
    """Tell whether a collector is prometheus_client's own for its multiprocess mode."""
    room = sys.modules.get("prometheus_client.multiprocess")
    return room is not None and isinstance(collector, room.MultiProcessCollector)


def _tells_of_this_process(collector: Collector) -> TypeGuard[ProcessCollector]:
    """Tell a collector of this process from any other, one that was made to tell of a daemon beside it, too."""
    if not isinstance(collector, ProcessCollector):
        return False
    try:
        pid = str(collector._pid()).strip()
    except Exception:  # as of a daemon that has not written its number down yet: a fault when it is collected
        return False
    return pid in ("self", str(os.getpid()))


class TargetInfo(Collector):
    """The labels of the whole process, which prometheus_client's registry shows as a family."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels

    def collect(self) -> Iterable[Metric]:
        family = Metric("target", "Target metadata", "info")
        family.add_sample("target_info", self.labels, 1.0)
        return [family]


class _Multiprocess(Collector):
    """The application's metrics in prometheus_client's multiprocess mode, of all workers.

    Args:
        shown: Names of families and samples; `None` for all.
    """

    def __init__(self, shown: Collection[str] | None) -> None:
        self.shown = shown

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector  # it costs 1 ms, and few have use for it

        found: Iterable[Metric] = MultiProcessCollector(None, multiprocess.directory()).collect()  # type: ignore[no-untyped-call]  # it has no annotations
        return (family for family in found if self.shown is None or family.name in self.shown)
