"""The metrics endpoint: one request in, one answer out, the same for WSGI and ASGI.

The adapters carry the answer. A request here is never counted, and no header of a client makes it fail.
"""

import gzip
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import prometheus_client
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ..metrics import RedMetrics, recorder_of
from ..recorder import Recorder
from .access import Access
from .collectors import TargetInfo, collectors, family_of
from .formats.own import Look, OwnFamily, OwnText, Shown
from .formats.text import Text, openmetrics_metadata, text_metadata
from .negotiate import OPENMETRICS, Format, accepts_gzip, choose_format
from .scraping import Collecting, Queue, seconds_left

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


class Endpoint(NamedTuple):
    """One way to the metrics: what it shows, and who may read it."""

    metrics: RedMetrics
    access: Access

    def refusal(self, request: Request, source: object) -> "Answer | None":
        """Return the answer for a client that must not read the metrics, which tells nothing of them.

        Args:
            request: What it asked for.
            source: The environ or scope.
        """
        refused = self.access.refuses(request.headers, source, recorder_of(self.metrics).fault)
        return refused and Answer(refused[0], [*refused[1], *_entity("text/plain; charset=utf-8", b"")], b"")


class Answer(NamedTuple):
    """An HTTP response: status code, headers, body (empty for HEAD, whose headers are those of GET)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Asked(NamedTuple):
    """What of a request makes its answer: of two that are equal, one answer serves both."""

    format: Format
    version: str
    names: frozenset[str]
    is_compressed: bool


def ask(metrics: RedMetrics, request: Request, done: Callable[[Answer], None]) -> None:
    """Answer a request for the metrics of a registry.

    Args:
        metrics: The registry of this one is shown, and the scrape's own duration is counted in its numbers. Scrapes of
            one recorder run one at a time, and those that ask for the same meanwhile share an answer.
        request: What a client asked for.
        done: Takes the answer, at once or later in another thread.
    """
    if request.method not in ("GET", "HEAD"):
        return done(_refusal(405, "Only GET and HEAD are allowed here.", ("Allow", "GET, HEAD")))
    chosen, version = choose_format(request.headers.get("accept", ""))
    names = frozenset(parse_qs(request.query, errors="replace").get("name[]", ()))
    asked = Asked(chosen, version, names, accepts_gzip(request.headers.get("accept-encoding", "")))
    recorder = recorder_of(metrics)
    seconds = seconds_left(request.headers, recorder.options.scrape_timeout_seconds)

    def work() -> Answer:
        try:
            return _scrape(metrics, asked, seconds)
        except Exception as error:
            recorder.fault("scrape", error)
            return _refusal(500, "The scrape failed; the log says why.")

    def carry(found: Answer) -> None:
        done(found._replace(body=b"") if request.method == "HEAD" else found)

    if not _kept_for(recorder).queue.ask(asked, work, carry):
        carry(_refusal(503, "Too many scrapes are waiting.", ("Retry-After", "1")))
    return None


class _Kept:
    """What the endpoint keeps for a recorder from one scrape to the next."""

    def __init__(self, recorder: Recorder) -> None:
        self.queue: Queue[Answer] = Queue()
        self.text = Text(recorder.families, recorder.names, recorder.kinds)  # what it formatted once
        # By whose they are. Scrapes of one recorder run one at a time, but not those of two, so each has its own.
        self.own: weakref.WeakKeyDictionary[Recorder, OwnText] = weakref.WeakKeyDictionary()
        self.hanging: dict[str, Collecting] = {}  # by the names of collectors that have not returned


def _kept_for(recorder: Recorder) -> _Kept:
    return _kept.get(recorder) or _kept.setdefault(recorder, _Kept(recorder))


_kept: "weakref.WeakKeyDictionary[Recorder, _Kept]" = weakref.WeakKeyDictionary()

if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_kept.clear)  # a child has none of its parent's threads


def answer(metrics: RedMetrics, request: Request) -> Answer:
    """Return what `ask` answers, and wait for it."""
    found: list[Answer] = []
    answered = threading.Event()

    def done(result: Answer) -> None:
        found.append(result)
        answered.set()

    ask(metrics, request, done)
    answered.wait()
    return found[0]


def _scrape(metrics: RedMetrics, asked: Asked, seconds: float) -> Answer:
    started = perf_counter()
    body = _gather(metrics, asked.format, asked.names, seconds)
    headers = [("Vary", "Accept, Accept-Encoding")]
    if asked.is_compressed:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    headers += _entity(asked.format.content_type(asked.version), body)
    table = recorder_of(metrics).table
    table.add(table.own, "scrapes")
    table.add(table.own, "scrape_seconds", perf_counter() - started)
    return Answer(200, headers, body)


def _refusal(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    body = f"{text}\n".encode()
    return Answer(status, [*headers, *_entity("text/plain; charset=utf-8", body)], body)


def _gather(metrics: RedMetrics, chosen: Format, asked: frozenset[str], seconds: float) -> bytes:
    """Return the families of the registry: ours from one reading, the others from their collectors in time."""
    metadata = openmetrics_metadata if chosen is OPENMETRICS else text_metadata
    recorder = recorder_of(metrics)
    parts: list[bytes] = []
    try:
        ours = recorder.read()
    except Exception as error:
        recorder.fault("collector RedMetrics", error)
        ours = None
    others: list[tuple[str, Callable[[], bytes]]] = []
    own: dict[tuple[str, str], tuple[OwnFamily, Look]] = {}  # the application's metrics of all workers
    seen: set[str] = set()

    def write(collector: Collector) -> bytes:
        return _written(_once(_asked(collector.collect(), asked), seen), chosen)

    def write_own(shown: Shown) -> bytes:
        return _written_shown(shown, asked, seen, chosen)

    for name, collector in collectors(metrics.registry, recorder):
        try:
            if isinstance(collector, RedMetrics):
                shown = recorder_of(collector)
                reading = ours if shown is recorder else shown.read()
                seen.update(family.removesuffix("_total") for family in shown.names)
                if reading is not None:
                    parts += _kept_for(shown).text.render(reading, metadata, asked)
                    text = _kept_for(recorder).own.setdefault(shown, OwnText())
                    look = text.look(reading, shown.table)
                    if look is not None:
                        own.update((key, (family, look)) for key, family in text.families.items())
            elif isinstance(collector, TargetInfo):
                parts.append(_written(_asked(collector.collect(), asked), chosen))
            else:
                found = own.pop(family_of(collector), None)
                collect = partial(write, collector) if found is None else partial(write_own, Shown(*found, collector))
                others.append((name, collect))
        except Exception as error:
            recorder.fault(f"collector {name}", error)
    foreign = (Shown(family, look, None) for family, look in own.values() if family.describe(look) is not None)
    others += [(shown.family.name, partial(write_own, shown)) for shown in foreign]
    parts += _of_others(others, recorder, seconds)
    if chosen is OPENMETRICS:
        parts.append(_EOF)
    return b"".join(parts)


def _of_others(
    others: Sequence[tuple[str, Callable[[], bytes]]], recorder: Recorder, seconds: float
) -> Iterator[bytes]:
    """Yield what other collectors yield in time. One that hangs is left out until it returns."""
    hanging = _kept_for(recorder).hanging
    for name, collecting in list(hanging.items()):
        if collecting.hung() != name:
            del hanging[name]
    collecting = Collecting([(name, one) for name, one in others if name not in hanging])
    for name, result in collecting.wait(seconds):
        if isinstance(result, BaseException):
            recorder.fault(f"collector {name}", result)
        else:
            yield result
    hung = collecting.hung()
    if hung is not None:
        hanging[hung] = collecting
    for name in hanging:
        recorder.fault(f"collector {name}", TimeoutError(f"it hangs: {name} is left out of scrapes until it returns"))


def _once(families: Iterable[Metric], seen: set[str]) -> Iterator[Metric]:
    """Yield the families whose name no collector before has shown: Prometheus takes none twice."""
    for family in families:
        if family.name in seen:
            raise ValueError(f"another collector shows a family {family.name} already")
        seen.add(family.name)
        yield family


def _written_shown(shown: Shown, asked: frozenset[str], seen: set[str], chosen: Format) -> bytes:
    """Write a family of the application, of all workers."""
    if asked and not asked & shown.family.names():
        return b""
    list(_once([Metric(shown.family.name, "", shown.family.type)], seen))
    return shown.write(lambda families: _written(families, chosen), chosen, chosen is OPENMETRICS)


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
