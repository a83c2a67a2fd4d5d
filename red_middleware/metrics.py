"""RedMetrics, the users' handle on the numbers: its options, what it shows, and nothing else.

Behind it stands a `Recorder`. A second handle on the same registry and namespace is a handle on the same recorder.
"""

import inspect
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NoReturn

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from . import options
from .counting.layout import mark
from .families import UPTIME, Bound, Family, families, sample_text, samples
from .faults import log
from .label import Label, check_families, check_labels
from .recorder import Recorder, serving
from .settings import BUCKETS, MAX_LABEL_SETS, NAMESPACE, Setting, chosen
from .workers import Identity

NO_LABELS: Final[Mapping[str, Label]] = MappingProxyType({})


class RedMetrics(Collector):
    """The numbers that one or several middlewares feed, registered as one prometheus_client collector.

    A second `RedMetrics` on the same registry and namespace shares the first one's numbers if its options are equal.
    The two are equal then, and either unregisters them.

    Args:
        registry: Where the families are registered, and what the endpoint shows.
        namespace: Prefix of every family: `shop` makes `shop_http_requests_total`. By default the environment variable
            `RED_NAMESPACE`, else none.
        buckets: Upper bounds of the latency histogram, seconds, strictly increasing, > 0; +Inf is implied. Each adds
            one series to every row. By default the numbers in the environment variable `RED_BUCKETS`, separated by
            commas, else 14 bounds from 5 ms to 10 s.
        slo_seconds: Objectives, seconds > 0; each becomes an exact bucket boundary, so that the share of requests
            within it is exact.
        max_label_sets: Rows of the table, one for each (method, route), 1 to 1,000,000. It is raised where declared
            routes need more, beside the 22 rows of `_unmatched` and `_overflow`, or 24 with `naming="otel"`. See
            `bound` for the series they can make. By default the environment variable `RED_MAX_LABEL_SETS`, else 1000.
        naming: `"otel"`: requests are shown as OpenTelemetry's semantic conventions have them, see `docs/semantics.md`.
        labels: Labels of the user's own by their names, see `Label`. They make no rows beside `max_label_sets`.
        first_byte: Whether `http_time_to_first_byte_seconds` is shown, with the same buckets. Each row then makes
            `buckets + 3` series more.
        event_streams: Whether the families of event streams are shown, at most 2,251 series more. See
            `docs/semantics.md`.
        websocket_messages: Whether the messages of WebSockets and their bytes are shown, by direction: 4 series for
            each of 34 routes, or of more if more are declared.
        sizes: Whether the sizes of bodies are counted, as they were really transferred: `http_request_size_bytes` and
            `http_response_size_bytes`, each with its buckets and three series more for every row.
        size_buckets: Upper bounds of the histograms of sizes, bytes, strictly increasing, > 0; +Inf is implied. By
            default 8 bounds from 256 bytes to 64 MiB.
        duration_status: Whether durations are told apart by the label `status`: by `"class"` (`2xx`), or by `"code"`,
            of which a row has 16 as in `http_requests_total`. Each that a row has counted makes its buckets again.
        status_classes: Whether `http_requests_total` counts classes of statuses (`2xx`) in place of codes.
        in_progress_by_route: Whether `http_requests_in_progress` has the label `route`, where the app declares its
            routes.
        saturation: Whether it is shown how busy the workers are: `http_oldest_request_seconds`, `red_workers_busy` and
            `red_workers_capacity`.
        slo_availability: The share of requests that must not fail, > 0 and < 1, such as 0.999. It becomes a series of
            `red_slo_info` and of `red_slo_ratio`; it changes nothing that is counted.
        slo_latency: The share of requests that must be within each of `slo_seconds`, > 0 and < 1.
        multiprocess_dir: The directory where prefork workers keep the files that they share. `"auto"` is shared
            memory, or the absolute path in the environment variable `RED_MULTIPROCESS_DIR`; with `None` every worker
            has numbers of its own.
        multiprocess_name: All processes of this user with the same name form one group, whoever started them. By
            default the environment variable `RED_MULTIPROCESS_NAME`, else the server that runs the app tells.
        own_metrics: `"shared"`: the application's own prometheus_client metrics of this registry are those of all
            workers of the group. `"worker"`: they are those of the worker that answers. See `docs/own_metrics.md`.
        own_series_limit: How many series of the application's own metrics are shared, 1 to 1,000,000. The limit holds
            once for those that add up, where each bucket and the sum of a histogram is one, and once for all others.
            What is beyond stays the worker's own. It takes 64 bytes of each worker's file.
        scrape_timeout_seconds: How long a scrape waits for the other collectors of the registry, where the scraper
            does not say how long it waits itself, as Prometheus does. Seconds > 0, at most 120.
        clock: Monotonic seconds, as a finite float. Called once here, then three times a request. For tests.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option, or a variable of the environment, has a wrong value, or differs from those of the
            `RedMetrics` that it would share, or a family's name is taken in the registry. Without
            `uptime_seconds_total`, if only that one is taken, the others are registered.
    """

    _recorder: Recorder

    @options.refuses_unknown("RedWSGIMiddleware(app, {name}=...)", lambda: options.MOUNTING_OPTIONS)
    def __init__(
        self,
        *,
        registry: CollectorRegistry = REGISTRY,
        namespace: str | Setting[str] = NAMESPACE,
        buckets: Sequence[float] | Setting[Sequence[float]] = BUCKETS,
        slo_seconds: Sequence[float] = (),
        max_label_sets: int | Setting[int] = MAX_LABEL_SETS,
        naming: Literal["red", "otel"] = "red",
        labels: Mapping[str, Label] = NO_LABELS,
        first_byte: bool = False,
        event_streams: bool = False,
        websocket_messages: bool = False,
        sizes: bool = False,
        size_buckets: Sequence[float] = options.SIZE_BUCKETS,
        duration_status: Literal["class", "code"] | None = None,
        status_classes: bool = False,
        in_progress_by_route: bool = False,
        saturation: bool = False,
        slo_availability: float | None = None,
        slo_latency: float = options.SLO_LATENCY,
        multiprocess_dir: str | os.PathLike[str] | None = "auto",
        multiprocess_name: str | None = None,
        own_metrics: Literal["shared", "worker"] = "shared",
        own_series_limit: int = 10_000,
        scrape_timeout_seconds: float = 9.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        options.check_type("RedMetrics", "registry", registry, CollectorRegistry)
        checked = options.Options(
            namespace=chosen(namespace, options.check_namespace),
            buckets=chosen(buckets, options.bucket_bounds),
            slo_seconds=slo_seconds,
            max_label_sets=chosen(max_label_sets, options.check_label_sets),
            naming=naming,
            labels=check_labels("RedMetrics", labels),
            first_byte=first_byte,
            event_streams=event_streams,
            websocket_messages=websocket_messages,
            sizes=sizes,
            size_buckets=size_buckets,
            duration_status=duration_status,
            status_classes=status_classes,
            in_progress_by_route=in_progress_by_route,
            saturation=saturation,
            slo_availability=slo_availability,
            slo_latency=slo_latency,
            multiprocess_dir=multiprocess_dir,
            multiprocess_name=multiprocess_name,
            own_metrics=own_metrics,
            own_series_limit=own_series_limit,
            scrape_timeout_seconds=scrape_timeout_seconds,
            clock=clock,
        )
        shown = [family.name for family in families(checked.choices()) if family.kind == "http"]
        check_families("RedMetrics", checked.labels, shown)
        self.registry: Final = registry
        self.namespace: Final = checked.namespace
        self.buckets: Final = checked.buckets
        self.slo_seconds: Final = checked.slo_seconds
        self.max_label_sets: Final = checked.max_label_sets
        self.naming: Final = checked.naming
        self.labels: Final = checked.labels
        self.first_byte: Final = checked.first_byte
        self.event_streams: Final = checked.event_streams
        self.websocket_messages: Final = checked.websocket_messages
        self.sizes: Final = checked.sizes
        self.size_buckets: Final = checked.size_buckets
        self.duration_status: Final = checked.duration_status
        self.status_classes: Final = checked.status_classes
        self.in_progress_by_route: Final = checked.in_progress_by_route
        self.saturation: Final = checked.saturation
        self.slo_availability: Final = checked.slo_availability
        self.slo_latency: Final = checked.slo_latency
        self.multiprocess_dir: Final = checked.multiprocess_dir
        self.multiprocess_name: Final = checked.multiprocess_name
        self.own_metrics: Final = checked.own_metrics
        self.own_series_limit: Final = checked.own_series_limit
        self.scrape_timeout_seconds: Final = checked.scrape_timeout_seconds
        self.clock: Final = checked.clock
        _share_or_register(self, checked)

    def bound(self) -> Bound:
        """Return the most that clients can ever make: rows (label sets), cells (numbers), series.

        By default series = rows x (buckets + 21) + 1878, with buckets counted without +Inf. A row shows its buckets
        and +Inf, sum, count, errors, disconnects and 16 statuses. The others are 257 exceptions, 11 methods in
        progress, 9 of our own, and 1599 of WebSockets: one in progress, and for each of 34 routes 16 statuses of
        handshakes, 16 close codes, 12 buckets, sum, count and errors. More than 32 declared routes of WebSockets make
        47 more each.
        """
        return self._recorder.bound()

    def collect(self) -> Iterator[Metric]:
        """Yield the families for any prometheus_client writer."""
        recorder = self._recorder
        for family, found in samples(recorder.families, recorder.kinds, recorder.read()).items():
            metric = _metric(recorder, family)
            for suffix, labels, value in found:
                metric.add_sample(recorder.full_name(family) + suffix, dict(labels), value)
            yield metric

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples: a registry asks for their names."""
        return (_metric(self._recorder, family) for family in self._recorder.families)

    def snapshot(self) -> dict[str, float]:
        """Return every sample by the text that the endpoint shows for it. For tests.

        Returns:
            For instance `{'http_requests_total{method="GET",route="/hello",status="200"}': 1.0, ...}`.
        """
        recorder = self._recorder
        return {
            sample_text(recorder.full_name(family) + sample.suffix, sample.labels): sample.value
            for family, found in samples(recorder.families, recorder.kinds, recorder.read()).items()
            for sample in found
        }

    def clear(self) -> None:
        """Set to zero all that was counted. For tests: a counter must never go backwards.

        Of several workers it clears only what this one counted. Requests in progress stay, and the uptime goes on.
        """
        self._recorder.table.clear()

    def __eq__(self, other: object) -> bool:
        """Tell whether the two share their numbers: to a registry they are one collector, and either unregisters it."""
        return isinstance(other, RedMetrics) and self._recorder is other._recorder

    def __hash__(self) -> int:
        return hash(self._recorder)

    def __copy__(self) -> "RedMetrics":
        return self

    def __deepcopy__(self, memo: object) -> "RedMetrics":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedMetrics cannot be pickled: its numbers belong to this process")


def option_names() -> list[str]:
    """Return the names of the options of `RedMetrics`."""
    return [name for name, one in inspect.signature(RedMetrics).parameters.items() if one.kind is one.KEYWORD_ONLY]


def recorder_of(metrics: RedMetrics) -> Recorder:
    """Return the recorder behind a handle, for the rest of this package."""
    return metrics._recorder


def registered_recorders() -> list[Recorder]:
    """Return the recorders behind all handles of this process that a registry holds."""
    with _registering:
        return list(_registered.values())


def _share_or_register(metrics: RedMetrics, checked: options.Options) -> None:
    """Make a handle one on the recorder that its registry holds for its namespace, or register it with a new one."""
    registry = metrics.registry
    key = (id(registry), checked.namespace)
    with _registering:
        found = _registered.get(key)
        if found is not None and found.registry() is registry:
            metrics._recorder = found
            if metrics in registry._collector_to_names:  # else it was unregistered
                _check_equal(checked, found.options)
                return
        metrics._recorder = recorder = Recorder(checked, registry)
        try:
            registry.register(metrics)
        except ValueError as taken:
            # An uptime is no request's, and others have one, too. No other package is likely to name the rest so.
            others = [family for family in recorder.families if family is not UPTIME]
            metrics._recorder = recorder = Recorder(checked, registry, families=others)
            try:
                registry.register(metrics)
            except ValueError:
                raise options.refusal(
                    ValueError, "RedMetrics", "namespace", checked.namespace,
                    f"{taken}: held by another metric; choose another namespace=",
                ) from taken  # fmt: skip
            log(
                logging.WARNING,
                "%s is held by another metric of the registry, and left out here; a namespace= would tell them apart",
                recorder.full_name(UPTIME),
            )
        _identify(recorder)
        _registered[key] = recorder
    for doubt in checked.doubts():
        log(logging.WARNING, "%s", doubt)


def _check_equal(ours: options.Options, theirs: options.Options) -> None:
    if ours != theirs:
        name = ours.difference(theirs)
        raise options.refusal(
            ValueError, "RedMetrics", name, getattr(ours, name),
            f"the registry holds a RedMetrics with {name}={getattr(theirs, name)!r}; pass that one as metrics=, "
            "or choose another registry= or namespace=",
        )  # fmt: skip


def _metric(recorder: Recorder, family: Family) -> Metric:
    return Metric(recorder.full_name(family).removesuffix("_total"), family.help, family.type)


def _identify(recorder: Recorder) -> None:
    """Say what tells the workers of a group which of an app's tables this is; `None` where nothing does.

    Tables of unlike layout are told apart by it, and so are those of the default registry. Another registry is known
    again if it is the only one of its layout and name, while the app is imported. Of several nothing tells which is
    which: workers may make them in another order, and a worker that serves makes them as its requests come.
    """
    given, is_default = recorder.options, recorder.registry() is REGISTRY
    alike = [other for other in _registered.values() if _is_alike(other, recorder) and not is_default]
    if not alike and (is_default or given.namespace or given.multiprocess_name or not serving):
        layout = mark(recorder.kinds)
        table = repr((is_default, given.namespace) if is_default else (is_default, given.namespace, layout))
        recorder.membership.identity = Identity(table, layout)
        return
    for unknown in (recorder, *alike):
        unknown.membership.identity = None  # one that has joined already stays


def _is_alike(one: Recorder, other: Recorder) -> bool:
    """Tell whether nothing but the order would tell two of an app's recorders apart."""
    names = ("namespace", "multiprocess_dir", "multiprocess_name", "bounds", "max_label_sets")
    is_same = all(getattr(one.options, name) == getattr(other.options, name) for name in names)
    return is_same and one.registry() is not REGISTRY


_registering = threading.Lock()
_registered: "weakref.WeakValueDictionary[tuple[int, str], Recorder]" = weakref.WeakValueDictionary()
"""By the id of a registry and a namespace: the recorder behind the handles there."""
