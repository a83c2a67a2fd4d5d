"""The first row: the app's own metrics, because they say what the app is for."""

from collections.abc import Iterator, Sequence
from typing import Final

from ..installation import Installation, OwnMetric
from .layout import COLUMNS, Panel, Row
from .panels import Query, text, time_series
from .selection import Selection, rate

MOST_PANELS: Final = 12
"""How many of the app's own metrics are drawn. The others are named."""

_LEFT_OUT: Final = "without (instance, pod, pid)"
"""What tells processes apart. Every other label is the metric's own, and stays."""

_UNITS: Final = {"_timestamp_seconds": "dateTimeFromNow", "_seconds": "s", "_bytes": "bytes", "_ratio": "percentunit"}
"""By the end of a name, as Prometheus' naming has it."""

_UNITS_PER_SECOND: Final = {"_bytes_total": "Bps", "_seconds_total": "none"}
"""Of counters. Seconds per second have no unit."""

_MOST_BESIDE: Final = 4
"""How many panels lie side by side. Fewer are wider."""


def business_rows(installation: Installation) -> Iterator[Row]:
    """Yield the row of the app's own metrics, if it has any."""
    own = installation.own
    width = COLUMNS // max(min(len(own), _MOST_BESIDE), 1)
    chosen = Selection(installation).of_instances()
    panels = [_panel(metric, chosen, width) for metric in own[:MOST_PANELS]]
    if len(own) > MOST_PANELS:
        panels.append(_rest(own[MOST_PANELS:]))
    if panels:
        yield Row("Business", panels)


def _panel(metric: OwnMetric, chosen: str, width: int) -> Panel:
    queries = {"counter": _counter, "gauge": _gauge, "histogram": _histogram, "summary": _summary}[metric.type]
    how = {
        "counter": "Per second.",
        "gauge": f"The {_of_instances(metric.name)} all instances.",
        "histogram": "The median, and what 95 % of all observations do not exceed.",
        "summary": "The mean.",
    }[metric.type]
    sentence = metric.help.rstrip(".") or metric.name
    return time_series(
        metric.name,
        f"{sentence}. {how} The metric is the application's own: a drop to zero is often the first sign of trouble.",
        _unit(metric),
        queries(metric.name, chosen),
        width=width,
        height=7,
    )


def _unit(metric: OwnMetric) -> str:
    """Return the unit that a name tells: of a counter it is one per second."""
    units, other = (_UNITS_PER_SECOND, "cps") if metric.type == "counter" else (_UNITS, "short")
    return next((unit for end, unit in units.items() if metric.name.endswith(end)), other)


def _sum(expr: str) -> str:
    return f"sum {_LEFT_OUT} ({expr})"


def _counter(name: str, chosen: str) -> list[Query]:
    return [Query(_sum(rate(f"{name}{{{chosen}}}")))]


def _of_instances(name: str) -> str:
    """Return how the values of a gauge become one: shares and dates cannot be added up."""
    if name.endswith("_ratio"):
        return "mean of"
    return "latest of" if name.endswith("_timestamp_seconds") else "sum over"


def _gauge(name: str, chosen: str) -> list[Query]:
    operator = {"mean of": "avg", "latest of": "1000 * max", "sum over": "sum"}[_of_instances(name)]
    return [Query(f"{operator} {_LEFT_OUT} ({name}{{{chosen}}})")]  # a date of Grafana's is in milliseconds


def _histogram(name: str, chosen: str) -> list[Query]:
    """Return two quantiles. Each has a label of its own, by which Grafana names the lines."""
    buckets = _sum(rate(f"{name}_bucket{{{chosen}}}"))
    found = {"p50": f"histogram_quantile(0.5, {buckets})", "p95": f"histogram_quantile(0.95, {buckets})"}
    return [Query(f'label_replace({expr}, "quantile", "{name}", "", "")') for name, expr in found.items()]


def _summary(name: str, chosen: str) -> list[Query]:
    seconds, count = (_sum(rate(f"{name}{suffix}{{{chosen}}}")) for suffix in ("_sum", "_count"))
    return [Query(f"{seconds} / ({count} > 0)")]


def _rest(metrics: Sequence[OwnMetric]) -> Panel:
    names = "\n".join(f"- `{metric.name}` ({metric.type}): {metric.help}" for metric in metrics)
    content = f"The first {MOST_PANELS} of the application's own metrics are drawn above. These are not:\n\n{names}"
    return text(
        "More metrics of the application",
        "Metrics that have no panel here. Ask for them in Explore.",
        content,
        height=6,
    )
