"""The last row: whether these numbers can be trusted, by what the middleware and Prometheus say of themselves."""

from collections.abc import Iterator
from typing import Final

from ..installation import Installation
from .layout import Row
from .panels import ANY_IS_BAD, Query, Steps, stat, time_series
from .selection import Selection, rate, ratio, total

NEAR_LIMIT: Final[Steps] = ((None, "green"), (0.8, "orange"), (0.95, "red"))
"""The share of the series that there may ever be."""


def middleware_rows(installation: Installation) -> Iterator[Row]:
    """Yield the row of the middleware itself."""
    selection = Selection(installation)
    up = f"up{{{selection.of_instances()}}}"
    panels = [
        stat(
            "Targets down",
            "Instances that Prometheus cannot scrape. Their requests are missing here.",
            "none",
            Query(f"sum(1 - {up})", "down"),
            steps=ANY_IS_BAD,
            alerts=["RedTargetDown"],
        ),
        stat(
            "Isolated workers",
            "Processes that have other workers beside them and share no numbers: what they show is a part only.",
            "none",
            Query(total(selection.series("red_worker_isolated")), "isolated"),
            steps=ANY_IS_BAD,
            alerts=["RedWorkerIsolated"],
        ),
        stat(
            "Faults",
            "Faults of the instrumentation per second. The application has not noticed them; the log of "
            "`red_middleware` names each kind once.",
            "cps",
            Query(total(rate(selection.series("red_instrumentation_errors_total"))), "faults"),
            steps=ANY_IS_BAD,
            alerts=["RedInstrumentationFaults"],
        ),
        stat(
            "Overflow",
            "Requests per second that are counted under the route `_overflow`, because all rows are taken. Raise "
            "`max_label_sets`, or find out who makes so many routes.",
            "reqps",
            Query(total(rate(selection.series("red_overflow_requests_total"))), "overflow"),
            steps=ANY_IS_BAD,
            alerts=["RedOverflow"],
        ),
        stat(
            "Workers",
            "Processes whose numbers are added up here, of all instances.",
            "none",
            Query(total(selection.series("red_workers")), "workers"),
            width=8,
        ),
        time_series(
            "Of what there can be",
            "How many of the label sets that no declared route reserved are in use, and how many of all series are "
            "shown. Without a free label set the next new route is counted under `_overflow`, and the next new value "
            "of a label as `_OTHER`. Where routes reserved all, label sets have no line.",
            "percentunit",
            [
                Query(
                    ratio(
                        f"max by (instance) ({selection.series(name)})",
                        f"max by (instance) ({selection.series(f'{name}_limit')})",
                    ),
                    f"{what}, {{{{instance}}}}",
                )
                for name, what in (("red_unreserved_label_sets", "label sets"), ("red_series", "series"))
            ],
            steps=NEAR_LIMIT,
            alerts=["RedLabelSetsNearLimit"],
            most=1,
            height=6,
        ),
        time_series(
            "Workers by instance",
            "A line that goes up and down is workers that are restarted, or die. The server's log tells which.",
            "none",
            [Query(total(selection.series("red_workers"), "instance"), "{{instance}}")],
            height=6,
        ),
        time_series(
            "Duration of scrapes",
            "How long the application takes to show its metrics, on average. Scrapes that take seconds end in a "
            "timeout: show fewer series, or look for a slow collector among the application's own.",
            "s",
            [
                Query(
                    ratio(
                        *(
                            total(rate(selection.series("red_scrape_duration_seconds", end)), "instance")
                            for end in ("_sum", "_count")
                        )
                    ),
                    "{{instance}}",
                )
            ],
            alerts=["RedScrapeSlow", "RedScrapeNearSampleLimit"],
            height=6,
        ),
    ]
    yield Row("Can these numbers be trusted?", panels)
