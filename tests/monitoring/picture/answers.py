"""What a Prometheus, or anything with its API, answers to the queries of a dashboard in some time."""

import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..queries import Dashboard, filled


class Series(NamedTuple):
    """One answer to a query."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]
    """Seconds and value, without those that are no number."""

    @property
    def last(self) -> float:
        """The last value."""
        return self.points[-1][1] if self.points else math.nan


class Answers:
    """Where the queries of a dashboard are asked.

    Args:
        url: The address of the server.
        dashboard: The one whose variables are filled in.
        seconds: How much time is shown, until `end`.
        scrape_seconds: How often Prometheus scrapes.
        end: In seconds since 1970; now, if not given.
        points: How many points a line has.
    """

    def __init__(
        self, url: str, dashboard: Dashboard, seconds: float, scrape_seconds: float, end: float | None = None,
        points: int = 90,
    ) -> None:  # fmt: skip
        self.url = url.rstrip("/")
        self.dashboard = dashboard
        self.step = max(seconds / points, scrape_seconds)
        self.end = (time.time() if end is None else end) // self.step * self.step
        self.start = self.end - seconds
        rate = max(4 * scrape_seconds, self.step + scrape_seconds)  # as Grafana computes $__rate_interval
        self.macros = {"$__rate_interval": f"{rate:.0f}s", "$__range": f"{seconds:.0f}s"}

    @property
    def period(self) -> str:
        """The time that is shown, as text."""
        minutes = (self.end - self.start) / 60
        return f"Last {minutes:.0f} minutes"

    def over_time(self, expr: str) -> list[Series]:
        """Return what a query says at every step."""
        found = self._ask("query_range", expr, start=self.start, end=self.end, step=self.step)
        return [Series(one["metric"], _numbers(one["values"])) for one in found]

    def at_the_end(self, expr: str) -> list[Series]:
        """Return what a query says at the end of the time."""
        return [Series(one["metric"], _numbers([one["value"]])) for one in self._ask("query", expr, time=self.end)]

    def _ask(self, way: str, expr: str, **more: float) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": filled(expr, self.dashboard, self.macros), **more})
        with urllib.request.urlopen(f"{self.url}/api/v1/{way}?{query}", timeout=60) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return found


def name_of(series: Series, legend: str) -> str:
    """Return what a line is called: the legend with the labels filled in, or by itself the values of all of them."""
    if legend == "__auto":
        return ", ".join(value for name, value in sorted(series.labels.items()) if name != "job") or "value"
    return re.sub(r"{{(\w+)}}", lambda found: series.labels.get(found[1], ""), legend) or "none"


def _numbers(points: list[list[Any]]) -> list[tuple[float, float]]:
    return [(float(moment), float(value)) for moment, value in points if not math.isnan(float(value))]
