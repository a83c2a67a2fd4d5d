"""The second row: the RED of the whole service, and how much is left of its error budgets."""

from collections.abc import Iterator
from typing import Final

from ...counting.layout import Objective
from ..installation import Installation, both
from ..rules import BAD_RATIO, BUDGET, PERIOD, Level, allowed, apdex_bounds, matchers_of
from .layout import Panel, Row
from .panels import ANY_IS_BAD, DOCUMENTS, GREEN_IS_FULL, PLAIN, Query, Steps, bar_gauge, stat, text, time_series
from .selection import Selection, quantile, rate, ratio, seconds_text, total

BURN: Final[Steps] = ((None, "green"), (1.0, "yellow"), (6.0, "orange"), (14.4, "red"))
"""By how many times too fast a budget is spent. The upper two are those of the alerts (Google's SRE workbook, 5)."""

_NO_REQUESTS: Final = "no requests"


def service_rows(installation: Installation) -> Iterator[Row]:
    """Yield the row of the service."""
    selection = Selection(installation)
    yield Row("Service", [*_now(selection), *_over_time(selection), *_objectives(selection)])


def error_steps(installation: Installation) -> Steps:
    """Return the colours of an error ratio: by the objective, or by what most services would not want."""
    most = next((allowed(one) for one in installation.objectives if one.name == "availability"), 0.01)
    return (None, "green"), (most, "orange"), (5 * most, "red")


def duration_steps(installation: Installation) -> Steps:
    """Return the colours of a duration: by the objectives. Without any, none is better than another one."""
    aims = installation.options.slo_seconds
    if not aims:
        return PLAIN
    return (None, "green"), (aims[0], "orange"), *([(aims[-1], "red")] if len(aims) > 1 else [])


def _now(selection: Selection) -> Iterator[Panel]:
    """Yield the numbers of this moment."""
    installation = selection.installation
    requests, steps = total(rate(selection.requests())), duration_steps(installation)
    yield stat(
        "Requests",
        "Finished requests per second. A sudden drop may mean that clients do not reach the service any more.",
        "reqps",
        Query(requests, "requests"),
        alerts=["RedMetricsAbsent"],
        empty=_NO_REQUESTS,
    )
    yield stat(
        "Errors",
        "The share of requests that failed: answered 5xx, not at all, or not to the end. If it is above the objective, "
        "look in the table below for the routes that fail.",
        "percentunit",
        Query(selection.error_ratio(), "errors"),
        steps=error_steps(installation),
        alerts=["RedErrorBudgetBurn"],
        empty=_NO_REQUESTS,
    )
    for name, share in (("p95", 0.95), ("p99", 0.99)):
        yield stat(
            f"{name} duration",
            f"{share:.0%} of requests take at most so long, from arrival to the last byte. If it rises, look in the "
            "table below for the routes where the time goes.",
            "s",
            Query(quantile(share, selection.buckets()), name),
            steps=steps,
            alerts=["RedErrorBudgetBurn"],
            empty=_NO_REQUESTS,
        )
    yield _satisfaction(selection)
    yield stat(
        "Alerts",
        "How many alerts of these metrics are firing for what is chosen above. Each of them links to its runbook.",
        "none",
        Query(f"count({selection.firing()}) or vector(0)", "alerts"),
        steps=ANY_IS_BAD,
    )


def _satisfaction(selection: Selection) -> Panel:
    """Return Apdex, or the mean where no two buckets can tell it."""
    pair = apdex_bounds(selection.installation)
    if pair is None:
        return stat(
            "Mean duration",
            "The mean of all durations. It stands in for Apdex, for which one bucket must end at four times the "
            "seconds of another one.",
            "s",
            Query(ratio(total(rate(selection.seconds())), total(rate(selection.requests()))), "mean"),
            steps=duration_steps(selection.installation),
            empty=_NO_REQUESTS,
        )
    satisfied, tolerated = map(seconds_text, pair)
    return stat(
        "Apdex",
        f"How satisfied users are, from 0 to 1: those who wait at most {satisfied} count whole, and those who wait at "
        f"most {tolerated} count half. Below 0.85 many are not; find the slow routes in the table below.",
        "none",
        Query(selection.apdex(*pair), "Apdex"),
        steps=((None, "red"), (0.7, "orange"), (0.85, "green")),
        empty=_NO_REQUESTS,
    )


def _over_time(selection: Selection) -> Iterator[Panel]:
    """Yield the same over time."""
    installation = selection.installation
    yield time_series(
        "Requests per second",
        "All finished requests, and those that failed. Compare with yesterday before you call it unusual.",
        "reqps",
        [Query(total(rate(selection.requests())), "requests"), Query(selection.errors(), "errors")],
        colours={"^requests$": "green", "^errors$": "red"},
        alerts=["RedMetricsAbsent"],
    )
    yield time_series(
        "Error ratio",
        "The share of requests that failed. The dashed lines are the share that the objective allows and five times as "
        "much; without an objective, 1 % and 5 %.",
        "percentunit",
        [Query(selection.error_ratio(), "errors")],
        colours={"^errors$": "red"},
        steps=error_steps(installation),
        alerts=["RedErrorBudgetBurn"],
    )
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    yield time_series(
        "Duration",
        "Half of all requests take at most as long as p50 says. If only p99 rises, few requests are slow: the "
        "exemplars, if the data source has any, lead to their traces.",
        "s",
        [Query(quantile(share, selection.buckets()), name, has_exemplars=True) for name, share in shares.items()],
        colours={"^p50$": "green", "^p95$": "orange", "^p99$": "red"},
        steps=duration_steps(installation),
        alerts=["RedErrorBudgetBurn"],
    )


def _objectives(selection: Selection) -> Iterator[Panel]:
    """Yield how far the objectives are kept, or how to set some."""
    installation = selection.installation
    if not installation.objectives:
        yield text(
            "Objectives",
            "This application has no objectives, so there is no error budget to show.",
            "Give `RedMetrics` an objective, such as `slo_availability=0.999` or `slo_seconds=[0.3]`, and make rules, "
            "alerts and this dashboard anew: they then show how much is left of the error budget. See "
            f"[objectives]({DOCUMENTS}/semantics.md#objectives).",
        )
        return
    level = Level(installation, "service")
    aims = " and ".join(map(_in_words, installation.objectives))
    yield bar_gauge(
        f"Error budget left of {PERIOD}",
        f"What is left of the requests that may miss an objective: {aims}. At 0 % the budget is spent: put what makes "
        "the service reliable before what is new. All instances and routes count, whatever is chosen above.",
        "percentunit",
        Query(
            f"min by (objective, threshold) ({level.recorded(BUDGET, f'left{PERIOD}')}{{{selection.of_services()}}})",
            "{{objective}} {{threshold}}",
        ),
        steps=GREEN_IS_FULL,
        alerts=["RedErrorBudgetBurn"],
        empty="no data yet: are the recording rules loaded?",
    )
    yield time_series(
        "Speed at which the error budget is spent",
        f"1 spends the budget in exactly {PERIOD}; 14.4 spends 2 % of it in an hour and should wake somebody. It is "
        "the share of bad requests in the last hour, divided by the share that the objective allows.",
        "none",
        [
            Query(
                f"max by (objective, threshold) ({level.recorded(BAD_RATIO, 'ratio_rate1h')}"
                f"{{{both(selection.of_services(), matchers_of(one))}}}) / {allowed(one)}",
                "{{objective}} {{threshold}}",
            )
            for one in installation.objectives
        ],
        steps=BURN,
        alerts=["RedErrorBudgetBurn", "RedRouteErrorBudgetBurn"],
        width=16,
    )


def _in_words(objective: Objective) -> str:
    share = f"{100 * objective.ratio:.10g} % of requests"
    within = f"take at most {seconds_text(objective.threshold)}"
    return f"{share} {'do not fail' if objective.name == 'availability' else within}"
