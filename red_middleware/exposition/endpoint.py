"""The metrics endpoint: one request in, one answer out, the same for WSGI and ASGI.

The adapters carry the answer. A request here is never counted, and no header of a client makes it fail.
"""

import gzip
import weakref
from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import prometheus_client
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ..metrics import RedMetrics, recorder_of
from ..recorder import Recorder
from .collectors import collectors
from .formats.text import Text, openmetrics_metadata, text_metadata
from .negotiate import OPENMETRICS, Format, accepts_gzip, choose_format

GZIP_LEVEL: Final = 1
"""Of 1 MB of our text level 1 leaves 9 % in 2 ms; level 6 takes three times as long to leave 7.5 %, 9 eleven times."""

_EOF: Final = b"# EOF\n"


class Request(NamedTuple):
    """A request for the metrics."""

    method: str = "GET"
    """GET or HEAD; anything else is answered 405 with `Allow`."""
    query: str = ""
    """`name[]=` chooses families, by their name or by that of one of their samples, and shows them whole, as Go's
    promhttp does: OpenMetrics has no histogram without its buckets."""
    headers: Mapping[str, str] = {}
    """By lower-case name. `accept` chooses between text 0.0.4 and OpenMetrics, `accept-encoding` gzip."""


class Answer(NamedTuple):
    """An HTTP response: status code, headers, body (empty for HEAD, whose headers are those of GET)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(metrics: RedMetrics, request: Request) -> Answer:
    """Answer a request for the metrics of a registry.

    Args:
        metrics: The registry of this one is shown, and the scrape's own duration is counted in its numbers.
        request: What a client asked for.
    """
    if request.method not in ("GET", "HEAD"):
        body = b"Only GET and HEAD are allowed here.\n"
        return Answer(405, [("Allow", "GET, HEAD"), *_entity("text/plain; charset=utf-8", body)], body)
    started = perf_counter()
    chosen, version = choose_format(request.headers.get("accept", ""))
    body = _gather(metrics, chosen, frozenset(parse_qs(request.query, errors="replace").get("name[]", ())))
    headers = [("Vary", "Accept, Accept-Encoding")]
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    headers += _entity(chosen.content_type(version), body)
    table = recorder_of(metrics).table
    table.add(table.own, "scrapes")
    table.add(table.own, "scrape_seconds", perf_counter() - started)
    return Answer(200, headers, b"" if request.method == "HEAD" else body)


def _gather(metrics: RedMetrics, chosen: Format, asked: frozenset[str]) -> bytes:
    """Return the families of the registry: ours from one reading, the others from their collectors."""
    metadata = openmetrics_metadata if chosen is OPENMETRICS else text_metadata
    recorder = recorder_of(metrics)
    parts: list[bytes] = []
    try:
        ours = recorder.read()
    except Exception as error:
        recorder.fault("collector RedMetrics", error)
        ours = None
    for collector in collectors(metrics.registry, recorder, 1 if ours is None else ours.workers):
        try:
            if isinstance(collector, RedMetrics):
                shown = recorder_of(collector)
                reading = ours if shown is recorder else shown.read()
                if reading is not None:
                    parts += _text(shown).render(reading, metadata, asked)
            else:
                parts.append(_written(_asked(collector.collect(), asked), chosen))
        except Exception as error:
            recorder.fault(f"collector {type(collector).__name__}", error)
    if chosen is OPENMETRICS:
        parts.append(_EOF)
    return b"".join(parts)


def _text(recorder: Recorder) -> Text:
    """Return what renders a recorder's families, and keeps what it formatted once."""
    text = _texts.get(recorder)
    if text is None:
        text = _texts[recorder] = Text(recorder.families, recorder.names, recorder.kinds)
    return text


_texts: "weakref.WeakKeyDictionary[Recorder, Text]" = weakref.WeakKeyDictionary()


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
