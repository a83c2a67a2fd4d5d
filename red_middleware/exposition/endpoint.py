"""The metrics endpoint: one request in, one answer out, the same for WSGI and ASGI.

The adapters carry the answer. A request here is never counted, and no header of a client makes it fail.
"""

import gzip
import os
from collections.abc import Collection, Iterable, Iterator
from time import perf_counter
from typing import Final, NamedTuple, TypeGuard
from urllib.parse import parse_qs

import prometheus_client
from prometheus_client import GCCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ..metrics import RedMetrics
from ..table import SCRAPE_SECONDS, SCRAPES
from .negotiate import OPENMETRICS, Format, accepts_gzip, choose_format
from .text import openmetrics_metadata, render, text_metadata

GZIP_LEVEL: Final = 1
"""Of 1 MB of our text level 1 leaves 9 % in 2 ms; level 6 takes three times as long to leave 7.5 %, 9 eleven times."""

_EOF: Final = b"# EOF\n"


class Answer(NamedTuple):
    """An HTTP response: status code, headers, body (empty for HEAD, whose headers are those of GET)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(metrics: RedMetrics, method: str, accept: str, accept_encoding: str, query: str) -> Answer:
    """Answer a request for the metrics of a registry.

    Args:
        metrics: Whose registry is shown, and in whose numbers the scrape's own duration is counted.
        method: GET or HEAD; anything else is a 405 with `Allow`.
        accept: The Accept header, or `""`: text format 0.0.4, or OpenMetrics 1.0.0 or 0.0.1 where it is preferred.
        accept_encoding: The Accept-Encoding header, or `""`: gzip, or nothing.
        query: The query string. `name[]=` chooses families, by their name or by that of one of their samples, and
            shows them whole, as Go's promhttp does: OpenMetrics has no histogram without its buckets.
    """
    if method not in ("GET", "HEAD"):
        body = b"Only GET and HEAD are allowed here.\n"
        return Answer(405, [("Allow", "GET, HEAD"), *_entity("text/plain; charset=utf-8", body)], body)
    started = perf_counter()
    chosen, version = choose_format(accept)
    body = _body(metrics, chosen, frozenset(parse_qs(query, errors="replace").get("name[]", ())))
    headers = [("Vary", "Accept, Accept-Encoding")]
    if accepts_gzip(accept_encoding):
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    headers += _entity(chosen.content_type(version), body)
    metrics.table.add(SCRAPES)
    metrics.table.add(SCRAPE_SECONDS, perf_counter() - started)
    return Answer(200, headers, b"" if method == "HEAD" else body)


def _body(metrics: RedMetrics, chosen: Format, asked: frozenset[str]) -> bytes:
    metrics.begin()
    metadata = openmetrics_metadata if chosen is OPENMETRICS else text_metadata
    parts: list[bytes] = []
    for collector in _collectors(metrics):
        try:
            if isinstance(collector, RedMetrics):
                parts += render(collector, metadata, asked)
            else:
                parts.append(_written(_asked(collector.collect(), asked), chosen))
        except Exception as error:
            metrics.fault(f"collector {type(collector).__name__}", error)
    if chosen is OPENMETRICS:
        parts.append(_EOF)
    return b"".join(parts)


def _collectors(metrics: RedMetrics) -> list[Collector]:
    """Return the collectors of the registry, our own in front of all but `target_info`: OpenMetrics has that first.

    One by one, so that a broken one does not take the others with it, and without the registry's lock, which another
    thread may have held when this process was forked. `registry.collect()` offers neither, and is asked only where it
    is not prometheus_client's own.
    """
    registry = metrics.registry
    names = getattr(registry, "_collector_to_names", None)
    if names is None or type(registry).collect is not prometheus_client.CollectorRegistry.collect:
        return [registry]
    names = names.copy()
    found = sorted(names, key=lambda collector: not isinstance(collector, RedMetrics))
    sharing = metrics.table.sharing
    if sharing is not None:  # no counters of one worker or another, which to Prometheus would be resets
        found = [one for one in found if not isinstance(one, GCCollector)]
        found = [sharing.processes(one) if _tells_of_this_process(one) else one for one in found]
    own = [one for one in found if isinstance(one, MetricWrapperBase)]
    if multiprocess_dir() is not None:
        shown = None if registry is prometheus_client.REGISTRY else {name for one in own for name in names[one]}
        if shown is None or shown:
            found = [*(one for one in found if one not in own), _Multiprocess(shown)]
    elif own and sharing is not None and len(sharing.pids) > 1:  # by the last reading
        metrics.warn_once(
            "own metrics",
            "the application's own prometheus_client metrics are those of one worker of %d: set "
            "PROMETHEUS_MULTIPROC_DIR before it starts, and they are shown for all",
            len(sharing.pids),
        )
    target_info = getattr(registry, "_target_info", None)
    return [_TargetInfo(target_info), *found] if target_info else found


def _tells_of_this_process(collector: Collector) -> TypeGuard[ProcessCollector]:
    """Tell a collector of this process from any other, one that was made to tell of a daemon beside it, too."""
    if not isinstance(collector, ProcessCollector):
        return False
    try:
        pid = str(collector._pid()).strip()
    except Exception:  # as of a daemon that has not written its number down yet: a fault when it is collected
        return False
    return pid in ("self", str(os.getpid()))


class _TargetInfo(Collector):
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
        found: Iterable[Metric] = MultiProcessCollector(None, multiprocess_dir()).collect()  # type: ignore[no-untyped-call]  # it has no annotations
        return (family for family in found if self.shown is None or family.name in self.shown)


def multiprocess_dir() -> str | None:
    """Return where prometheus_client shares the application's metrics, `None` where it does not."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None


class _Families(Collector):
    """What prometheus_client's writers take for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


def _asked(families: Iterable[Metric], asked: frozenset[str]) -> Iterator[Metric]:
    for family in families:
        names = {family.name, f"{family.name}_total", *(sample.name for sample in family.samples)}
        if not asked or asked & names:
            yield family


def _written(families: Iterable[Metric], chosen: Format) -> bytes:
    registry = _Families(families)
    if chosen is OPENMETRICS:
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no annotations
        return text.removesuffix(_EOF)
    return prometheus_client.generate_latest(registry)


def _entity(content_type: str, body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("Content-Length", str(len(body)))]
