"""What is wrong with an exposition: series near their bound, overflow, faults, isolated workers, and what is missing.

A pure function of the text that an endpoint answers, and of what is expected of it, where that is known. Families are
found whatever their namespace is.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ..counting.labels import OVERFLOW, UNMATCHED
from ..counting.layout import OTEL_ROUTE
from ..families import otel
from ..families.family import number
from .alerts import NEAR, RUNBOOKS
from .installation import Installation, bounds_text
from .rules import labels_of

SLOW_MEAN_SECONDS: Final = 1.0
"""From which mean on scrapes are slow: most take some milliseconds."""

LARGE_BYTES: Final = 16 * 1024 * 1024
"""What VictoriaMetrics takes at most in one scrape, if nothing else is said."""


class Exposition:
    """What an endpoint has answered.

    Args:
        text: In Prometheus's text format, or in that of OpenMetrics.

    Raises:
        ValueError: It is in neither.
    """

    def __init__(self, text: str) -> None:
        self.size_bytes: int = len(text.encode())
        try:
            is_open = text.rstrip().endswith("# EOF")
            parse = openmetrics.text_string_to_metric_families if is_open else text_string_to_metric_families
            parsed: list[Metric] = list(parse(text))
        except Exception as error:  # the parsers raise whatever comes of a text that they do not understand
            raise ValueError(f"not in Prometheus's text format: {error}") from error
        self.families: set[str] = {family.name.removesuffix("_total") for family in parsed}
        self.samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for family in parsed:
            for sample in family.samples:
                self.samples[sample.name].append(sample)

    def __len__(self) -> int:
        return sum(map(len, self.samples.values()))

    def installations(self) -> list["Shown"]:
        """Return what each `RedMetrics` shows, by the namespaces that there are."""
        found = (re.fullmatch(r"(.+_|)red_series_limit", name) for name in sorted(self.samples))
        return [Shown(self, match[1]) for match in found if match]

    def shows(self, family: str) -> bool:
        """Tell whether there is a family of a name, in any namespace."""
        return any(name == family or name.endswith(f"_{family}") for name in self.families)


class Shown(NamedTuple):
    """What one `RedMetrics` shows."""

    exposition: Exposition
    prefix: str
    """The namespace with its underscore; empty without."""

    def samples(self, name: str) -> Sequence[Sample]:
        """Return the samples of a name without the namespace."""
        return self.exposition.samples.get(self.prefix + name, ())

    def value(self, name: str) -> float:
        """Return the value of a family that has one series; 0 where it is missing."""
        return sum(sample.value for sample in self.samples(name))


def findings(exposition: Exposition, expected: Installation | None = None) -> list[str]:
    """Return what is wrong, each in a sentence with what to do about it.

    Args:
        exposition: What an endpoint has answered.
        expected: What it should show; `None` where nobody knows.
    """
    installations = exposition.installations()
    found = list(_of_all(exposition))
    for shown in installations:
        about = f"{shown.prefix.rstrip('_') or 'without a namespace'}: " if len(installations) > 1 else ""
        found += [about + finding for finding in _of(shown)]
    if expected is not None and installations:
        found += _differences(exposition, expected)
    return found


def summary(exposition: Exposition) -> str:
    """Return how large an exposition is, and how much of it is red_middleware's."""
    parts = [f"{_several(len(exposition), 'sample')}, {exposition.size_bytes:,} bytes"]
    for shown in exposition.installations():
        name = f"of {shown.prefix.rstrip('_')} " if shown.prefix else ""
        series, most, workers = map(shown.value, ("red_series", "red_series_limit", "red_workers"))
        parts.append(f"{series:,.0f} series {name}of at most {most:,.0f}, {_several(workers, 'worker')}")
    return "; ".join(parts)


def _of_all(exposition: Exposition) -> Iterator[str]:
    """Yield what is wrong as a whole."""
    if not exposition.installations():
        yield (
            "There are no metrics of red_middleware: red_series_limit is missing. Is this the endpoint of the app that "
            "a middleware wraps, and does it show the registry of its RedMetrics?"
        )
    if exposition.shows("http_request_duration_seconds") and exposition.shows(otel.DURATION):
        yield (
            f"Requests are counted under two names, http_request_duration_seconds and {otel.DURATION}. Rules and "
            "dashboards read one of them; remove the other instrumentation."
        )
    if exposition.size_bytes > LARGE_BYTES * NEAR:
        yield (
            f"A scrape has {exposition.size_bytes:,} bytes, and VictoriaMetrics takes {LARGE_BYTES:,} at most by "
            "default. Lower max_label_sets=, or have fewer buckets or labels."
        )


def _of(shown: Shown) -> Iterator[str]:
    """Yield what is wrong with one `RedMetrics`."""
    series, most = shown.value("red_series"), shown.value("red_series_limit")
    if series >= NEAR * most:
        yield (
            f"{series:,.0f} of at most {most:,.0f} series are in use. There can be no more, but Prometheus pays for "
            "each: lower max_label_sets=, or have fewer buckets or labels."
        )
    used, limit = shown.value("red_unreserved_label_sets"), shown.value("red_unreserved_label_sets_limit")
    if used > NEAR * limit:
        yield (
            f"{used:,.0f} of at most {limit:,.0f} label sets that no declared route reserved are in use. Soon requests "
            f"will count under the route {OVERFLOW}: raise max_label_sets= (and sample_limit), or find the route that "
            f"makes so many. {RUNBOOKS}#redlabelsetsnearlimit"
        )
    overflow = shown.value("red_overflow_requests_total")
    if overflow:
        yield (
            f"{_several(overflow, 'request')} found no free row and counted under the route {OVERFLOW}: raise "
            f"max_label_sets=. {RUNBOOKS}#redoverflow"
        )
    if shown.value("red_worker_isolated"):
        yield (
            "The worker that answered has other workers beside it and shares no numbers with them, so every scrape "
            "tells something else. Its log says why: the directory of the shared files is full, not writable or was "
            "removed, or nothing tells which workers are one group, and RED_MULTIPROCESS_NAME does. "
            f"{RUNBOOKS}#redworkerisolated"
        )
    faults = shown.value("red_instrumentation_errors_total")
    if faults:
        yield (
            f"The instrumentation had {_several(faults, 'fault')}. Responses were not harmed; the log of "
            f"red_middleware says what failed. {RUNBOOKS}#redinstrumentationfaults"
        )
    if not shown.samples("red_slo_info"):
        yield (
            "There is no objective, so no alert can say that users suffer: set one, such as "
            "RedMetrics(slo_availability=0.999, slo_seconds=[0.3])."
        )
    yield from _of_scrapes(shown)
    yield from _of_routes(shown)


def _of_scrapes(shown: Shown) -> Iterator[str]:
    count = shown.value("red_scrape_duration_seconds_count")
    mean = shown.value("red_scrape_duration_seconds_sum") / (count or 1.0)
    if mean > SLOW_MEAN_SECONDS:
        yield (
            f"A scrape takes {mean:.1f} s on average. The slow part is most likely another collector of the registry, "
            f"which asks a database or a network. {RUNBOOKS}#redscrapeslow"
        )


def _of_routes(shown: Shown) -> Iterator[str]:
    counted = [
        sample.labels.get("route", sample.labels.get(OTEL_ROUTE, UNMATCHED))
        for name in ("http_request_duration_seconds_count", f"{otel.DURATION}_count")
        for sample in shown.samples(name)
        if sample.value
    ]
    if counted and {UNMATCHED, OVERFLOW}.issuperset(counted):
        yield (
            f"All requests count under the route {UNMATCHED}: no route of the app is known. Wrap the app itself in the "
            "middleware, or name its templates by routes= or route_of=."
        )


def _differences(exposition: Exposition, expected: Installation) -> Iterator[str]:
    """Yield what is not as the rules and the dashboard of the expected installation need it."""
    names = (expected.name(family.name) for family in expected.families if not family.is_quiet)
    missing = [name for name in names if name.removesuffix("_total") not in exposition.families]
    if missing:
        yield f"Missing: {', '.join(missing)}. Does the app run with other options, or another version?"
    duration = expected.name(expected.duration_family)
    buckets = exposition.samples.get(f"{duration}_bucket", ())
    bounds = {float(sample.labels.get("le", "nan")) for sample in buckets} - {float("inf")}
    if bounds and bounds != set(expected.options.bounds):
        shown = ", ".join(map(number, sorted(bounds)))
        yield (
            f"The buckets of {duration} end at {shown}, and at {bounds_text(expected)} with these options. Alerts on "
            "latency ask for a bucket that is not there."
        )
    if expected.objectives:
        shown_aims = [sample.labels for sample in exposition.samples.get(expected.name("red_slo_info"), ())]
        aims = [labels_of(objective) for objective in expected.objectives]
        if shown_aims and any(aim not in shown_aims for aim in aims):
            named = ", ".join(f"{aim['objective']} {aim['threshold']}" for aim in aims if aim not in shown_aims)
            yield f"Other objectives are exposed than with these options: {named} is missing. Alerts on it never fire."
    counts = exposition.samples.get(f"{duration}_count", ())
    lacking = [name for name in expected.labels if counts and not any(name in sample.labels for sample in counts)]
    if lacking:
        yield f"{duration} lacks the labels {', '.join(lacking)}. Does the app run with other options?"


def _several(count: float, what: str) -> str:
    """Return a number of things in words."""
    return f"{count:,.0f} {what}{'' if count == 1 else 's'}"
