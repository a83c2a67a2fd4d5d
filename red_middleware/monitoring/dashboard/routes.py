"""The third row: which route hurts, and since when."""

from collections.abc import Iterator

from ..installation import Installation, both
from ..rules import BUDGET, PERIOD, Level
from .layout import Panel, Row
from .panels import Column, Query, heatmap, table, time_series
from .selection import DATASOURCE, INSTANCE, ROUTE, Selection, chosen, increase, quantile, rate, ratio, total
from .service import duration_steps, error_steps


def route_rows(installation: Installation, address: str) -> Iterator[Row]:
    """Yield the row of the routes, and that of their durations.

    Args:
        installation: What is shown.
        address: The path of the dashboard, for links to a single route.
    """
    selection = Selection(installation)
    yield Row("Routes", [_what_hurts(selection, address), *_over_time(selection)])
    yield Row("Where the time goes", list(_durations(selection)))


def _what_hurts(selection: Selection, address: str) -> Panel:
    installation, route = selection.installation, selection.installation.route
    requests = total(increase(selection.requests()), route)
    seconds = total(increase(selection.seconds()), route)
    p95 = quantile(0.95, selection.buckets(), route, over=increase)
    columns = [
        Column("Time spent", ratio(seconds, total(seconds), "on () group_left () "), "percentunit", is_bar=True),
        Column("Requests", requests, "short"),
        Column("Errors", selection.errors(route, over=increase), "short"),
        Column("Error ratio", selection.error_ratio(route, over=increase), "percentunit", error_steps(installation)),
        Column("p95", f"{p95} >= 0", "s", duration_steps(installation)),  # without NaN, that of no requests
        Column("Mean", ratio(seconds, requests), "s"),
    ]
    by = "the share of all the time that its requests took"
    if installation.objectives:
        by = f"how much of its error budget of {PERIOD} is burnt (of the objective that it misses most)"
        name = Level(installation, "route").recorded(BUDGET, f"left{PERIOD}")
        matchers = both(selection.of_services(), chosen(route, ROUTE))
        burnt = f"1 - (min by ({route}) ({name}{{{matchers}}}) <= 1)"  # without NaN, as p95
        steps = (None, "green"), (0.75, "orange"), (1.0, "red")
        columns.insert(0, Column("Budget burnt", burnt, "percentunit", steps))
    kept = "&".join(
        f"${{{name}:queryparam}}" for name in (DATASOURCE, *installation.service, INSTANCE, *selection.labels)
    )
    return table(
        "What hurts",
        f"Each route in the time shown, sorted by {by}. Begin at the top. Click on a route to see it alone.",
        route,
        f"{address}?var-{ROUTE}=${{__value.raw:percentencode}}&{kept}&${{__url_time_range}}",
        columns,
        alerts=["RedRouteErrorBudgetBurn"],
    )


def _over_time(selection: Selection) -> Iterator[Panel]:
    installation, route = selection.installation, selection.installation.route
    legend = f"{{{{{route}}}}}"
    yield time_series(
        "Requests by route",
        "Finished requests per second. Of a route that has become more popular, look at the duration as well.",
        "reqps",
        [Query(total(rate(selection.requests()), route), legend)],
        has_table=True,
    )
    yield time_series(
        "Error ratio by route",
        "The share of each route's requests that failed. One bad route among many hardly shows in the ratio of the "
        "service.",
        "percentunit",
        [Query(selection.error_ratio(route), legend)],
        steps=error_steps(installation),
        alerts=["RedRouteErrorBudgetBurn"],
        has_table=True,
    )
    yield time_series(
        "p95 duration by route",
        "95 % of a route's requests take at most so long. A route that is slow alone has a reason of its own; if all "
        "become slow at once, look at what they share.",
        "s",
        [Query(quantile(0.95, selection.buckets(), route), legend, has_exemplars=True)],
        steps=duration_steps(installation),
        alerts=["RedRouteErrorBudgetBurn"],
        has_table=True,
    )


def _durations(selection: Selection) -> Iterator[Panel]:
    route = selection.installation.route
    yield heatmap(
        "Durations",
        "How many requests took how long. Two bands are two kinds of requests, such as hits and misses of a cache: "
        "quantiles hide that.",
        "s",
        Query(total(rate(selection.buckets()), "le"), "{{le}}", has_exemplars=True),
    )
    yield time_series(
        "Time spent by route",
        "Seconds of work per second, which is how many requests a route has in progress on average. To save time, "
        "begin with the widest band.",
        "none",
        [Query(total(rate(selection.seconds()), route), f"{{{{{route}}}}}")],
        is_stacked=True,
        has_table=True,
        width=12,
        height=9,
    )
