"""Alerts: an error budget that burns too fast, and metrics that are missing or cannot be trusted.

The burn rates are those of Google's SRE Workbook (chapter 5), each over a long window and a short one: the long window
shows that it matters, the short one that it still goes on. `severity` is `page` where somebody has to act now, else
`ticket`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ..counting.layout import Objective
from ..families.family import number
from .installation import Installation
from .rules import BAD, BAD_RATIO, BUDGET, PERIOD, RATE, Group, Level, allowed, labels_of, levels, matchers_of

RUNBOOKS: Final = "https://github.com/red-middleware/red-middleware/blob/main/docs/runbooks.md"
"""A page with a heading for each alert."""

NAMES: Final = (
    "RedErrorBudgetBurn", "RedRouteErrorBudgetBurn", "RedMetricsAbsent", "RedTargetDown", "RedScrapeSlow",
    "RedScrapeNearSampleLimit", "RedOverflow", "RedLabelSetsNearLimit", "RedInstrumentationFaults", "RedWorkerIsolated",
)  # fmt: skip
"""All alerts. Those on error budgets are there if there is an objective."""

LEAST_BAD: Final = 10
"""How many bad requests a window needs for an alert: with little traffic, a few of them are a large share."""

SLOW_SCRAPE_SECONDS: Final = 2.5
"""A quarter of Prometheus' usual timeout."""

NEAR: Final = 0.8
"""From which share of a limit on it is near."""


class Burn(NamedTuple):
    """How fast an error budget may burn: at a rate of 1 it lasts for exactly its period."""

    rate: float
    long_window: str
    short_window: str
    step_seconds: int
    """How often the long window is looked at to count bad requests."""


PAGE: Final = (Burn(14.4, "1h", "5m", 60), Burn(6, "6h", "30m", 300))
"""2 % of a budget in an hour, and 5 % in six."""

TICKET: Final = (Burn(3, "1d", "2h", 300), Burn(1, "3d", "6h", 300))
"""10 % of a budget in a day, and 10 % in three."""

_COUNT: Final = '{{ printf "%.0f" $value }}'
"""The value of an alert that counts something: `increase` guesses, and nobody wants 1.017 faults."""

Alert = dict[str, Any]


def alert_groups(installation: Installation) -> list[Group]:
    """Return the groups of a file of alerts, as Prometheus reads them. They need the recording rules.

    Without an objective there are none on how requests fare.
    """
    alerts = [*_burns(installation), *_missing(installation), *_doubtful(installation)]
    for alert in alerts:
        alert["annotations"]["runbook_url"] = f"{RUNBOOKS}#{alert['alert'].lower()}"
    return [{"name": f"red-{installation.title}-alerts", "rules": alerts}]


def _alert(name: str, severity: str, wait: str, expr: str, summary: str, description: str, **labels: str) -> Alert:
    return {
        "alert": name,
        "expr": expr,
        "for": wait,
        "labels": {"severity": severity, **labels},
        "annotations": {"summary": summary, "description": description},
    }


def _burns(installation: Installation) -> Iterator[Alert]:
    """Yield the alerts on error budgets.

    That of a route is a ticket, however fast it burns: what matters to the whole service pages by the service's alert,
    and fifty routes on one broken database are not fifty pages.
    """
    route, service = levels(installation)
    for objective in installation.objectives:
        yield _burn("RedErrorBudgetBurn", service, objective, PAGE, "page", "2m")
        yield _burn("RedErrorBudgetBurn", service, objective, TICKET, "ticket", "15m")
        yield _burn("RedRouteErrorBudgetBurn", route, objective, (*PAGE, *TICKET), "ticket", "2m")


def _burn(name: str, level: Level, objective: Objective, burns: Sequence[Burn], severity: str, wait: str) -> Alert:
    route = f'{{{{ or $labels.{level.installation.route} "requests without a route" }}}} of '
    where = route if level.name == "route" else ""
    return _alert(
        name,
        severity,
        wait,
        "\nor\n".join(_burning(level, objective, burn) for burn in burns),
        f"{where}{_who(level.installation)}: {_missed(objective)}",
        "{{ $value | humanizePercentage }} of the requests missed the objective lately; at most "
        f"{_percent(allowed(objective))} may.{_worst_route(level, objective)}{_budget_left(level, objective)}",
        level=level.name,
        **labels_of(objective),
    )


def _burning(level: Level, objective: Objective, burn: Burn) -> str:
    """Return the condition of one burn rate: the share of bad requests in both windows, and enough of them."""
    matchers, most = matchers_of(objective), f"{burn.rate:g} * {allowed(objective)}"
    long, short = (
        level.selector(BAD_RATIO, f"ratio_rate{window}", matchers) for window in (burn.long_window, burn.short_window)
    )
    bad = f"{level.selector(BAD, RATE, matchers)}[{burn.long_window}:{burn.step_seconds}s]"
    return f"""(
  {long} > {most}
  and {short} > {most}
  and sum_over_time({bad}) * {burn.step_seconds} >= {LEAST_BAD}
)"""


def _missed(objective: Objective) -> str:
    if objective.name == "availability":
        return f"too many requests fail, {_percent(objective.ratio)} should succeed"
    return (
        f"too many requests are slow, {_percent(objective.ratio)} should take at most {number(objective.threshold)} s"
    )


def _budget_left(level: Level, objective: Objective) -> str:
    """Return the template of a sentence, which is left out where nothing is recorded yet."""
    left = level.selector(BUDGET, f"left{PERIOD}", matchers_of(objective))
    asked = f"query {_quoted(f'clamp_min({left}, 0)')}"
    if level.name == "route":
        route = level.installation.route
        of_route = left.removesuffix("}").replace("%", "%%") + f",{route}=%q}}"
        asked = f"printf {_quoted(f'clamp_min({of_route}, 0)')} $labels.{route} | query"
    return (
        f"{{{{ with {asked} }}}} {{{{ . | first | value | humanizePercentage }}}} of the error budget of 30 days is "
        "left.{{ end }}"
    )


def _worst_route(level: Level, objective: Objective) -> str:
    """Return the template of a sentence: of a service, which route has the most bad requests now. Some have no name."""
    if level.name == "route":
        return ""
    route, _ = levels(level.installation)
    asked = f"query {_quoted(f'topk(1, {route.selector(BAD, RATE, matchers_of(objective))} > 0)')}"
    worst = f'. | first | label "{level.installation.route}"'
    return f"{{{{ with {asked} }}}}{{{{ with {worst} }}}} The worst route now: {{{{ . }}}}.{{{{ end }}}}{{{{ end }}}}"


def _quoted(text: str) -> str:
    """Return a text as Go reads it in a template: as in JSON, but that Go takes no surrogates."""
    return json.dumps(text, ensure_ascii=False)


def _who(installation: Installation) -> str:
    """Return the template of what the app is called."""
    return " ".join(f"{{{{ $labels.{name} }}}}" for name in installation.service)


def _percent(share: float) -> str:
    """Return a share as `humanizePercentage` writes it."""
    return f"{100 * share:.6g}%"


def _missing(installation: Installation) -> Iterator[Alert]:
    """Yield the alerts on metrics that do not come."""
    service, who = installation.of_service(), _who(installation)
    yield _alert(
        "RedMetricsAbsent", "page", "5m", f"absent({installation.name('red_series')}{{{service}}})",
        f"{who}: no metrics",
        "Prometheus has no metrics of any instance: it finds none, cannot scrape them, or they are named otherwise. "
        "All other alerts of this service are blind.",
    )  # fmt: skip
    yield _alert(
        "RedTargetDown", "ticket", "5m", f"up{{{service}}} == 0",
        f"{{{{ $labels.instance }}}} of {who}: cannot be scraped",
        "Scrapes of this instance fail, so its requests are counted nowhere.",
    )  # fmt: skip
    yield _alert(
        "RedScrapeSlow", "ticket", "15m",
        f"avg_over_time(scrape_duration_seconds{{{service}}}[15m]) > {SLOW_SCRAPE_SECONDS} and up{{{service}}} == 1",
        f"{{{{ $labels.instance }}}} of {who}: slow scrapes",
        "A scrape takes {{ $value | humanizeDuration }}. One that exceeds scrape_timeout (10 s by default) is lost.",
    )  # fmt: skip
    yield _alert(
        "RedScrapeNearSampleLimit", "ticket", "15m",
        f"scrape_samples_post_metric_relabeling{{{service}}} > {NEAR} * {installation.sample_limit}",
        f"{{{{ $labels.instance }}}} of {who}: nearly too many samples",
        f"A scrape has {_COUNT} samples. With more than "
        f"{installation.sample_limit}, the sample_limit that fits, it fails as a whole.",
    )  # fmt: skip


def _doubtful(installation: Installation) -> Iterator[Alert]:
    """Yield the alerts on what the middleware says of itself."""
    service, who, by = installation.of_service(), _who(installation), Level(installation, "service").by
    used, limit, overflow, faults, isolated = (
        f"{installation.name(family)}{{{service}}}"
        for family in (
            "red_unreserved_label_sets", "red_unreserved_label_sets_limit", "red_overflow_requests_total",
            "red_instrumentation_errors_total", "red_worker_isolated",
        )
    )  # fmt: skip
    yield _alert(
        "RedOverflow", "ticket", "0m", f"sum by ({by}) (increase({overflow}[1h])) > 0",
        f"{who}: requests count under the route _overflow",
        f"Requests of the last hour that found no free row: {_COUNT}. Their totals are right, their route is unknown.",
    )  # fmt: skip
    yield _alert(
        "RedLabelSetsNearLimit", "ticket", "15m", f"max by ({by}) ({used} / {limit}) > {NEAR}",
        f"{who}: nearly all label sets are in use",
        "{{ $value | humanizePercentage }} of those that no declared route reserved are in use. Soon requests will "
        "count under the route _overflow, or their labels as _OTHER.",
    )  # fmt: skip
    yield _alert(
        "RedInstrumentationFaults", "ticket", "0m", f"sum by ({by}) (increase({faults}[1h])) > 0",
        f"{who}: faults of the instrumentation",
        f"Faults in the last hour: {_COUNT}. Responses were not harmed; the log says what failed.",
    )  # fmt: skip
    yield _alert(
        "RedWorkerIsolated", "ticket", "15m", f"sum by ({by}) (max_over_time({isolated}[5m])) > 0",
        f"{who}: a worker shares no numbers",
        f"Instances of which a worker tells of its own requests only: {_COUNT}. Their rates are wrong.",
    )  # fmt: skip
