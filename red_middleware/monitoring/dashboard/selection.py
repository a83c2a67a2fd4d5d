"""Which series the dashboard's variables choose, and how its queries add them up.

Variables filter by the labels that a family has, and by no other ones. Rates use `$__rate_interval`, which Grafana
makes long enough for the scrape interval; a table that covers all of the time shown uses `$__range`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...families.family import number
from ..alerts import NAMES
from ..installation import Installation, both

DATASOURCE: Final = "datasource"
INSTANCE: Final = "instance"
ROUTE: Final = "route"
"""The variables that every dashboard has, beside `job`."""

Over = Callable[[str], str]
"""`rate` or `increase`."""


def rate(selector: str) -> str:
    """Return how fast a counter increases, per second."""
    return f"rate({selector}[$__rate_interval])"


def increase(selector: str) -> str:
    """Return by how much a counter has increased in the time shown."""
    return f"increase({selector}[$__range])"


def total(expr: str, *by: str) -> str:
    """Return the sum for each value of some labels, or of everything."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def quantile(share: float, buckets: str, *by: str, over: Over = rate) -> str:
    """Return the value below which this share lies, from the selector of classic buckets."""
    return f"histogram_quantile({share}, {total(over(buckets), 'le', *by)})"


def ratio(part: str, whole: str, matching: str = "") -> str:
    """Return a quotient, which is left out where it would be one by zero.

    Args:
        part: What is divided.
        whole: By what.
        matching: How PromQL finds the whole of a part if their labels differ, with a space behind it.
    """
    return f"{part} / {matching}({whole} > 0)"


def chosen(label: str, variable: str) -> str:
    """Return the matcher of what a variable chooses by a label."""
    return f'{label}=~"${variable}"'


@dataclass(frozen=True)
class Selection:
    """The series of an installation that the variables choose."""

    installation: Installation

    def of_services(self) -> str:
        """Return the matchers of what is recorded, where the instances are added up already."""
        return both(*(chosen(name, name) for name in self.installation.service))

    def of_instances(self) -> str:
        """Return the matchers that choose from what has no labels but those of Prometheus."""
        return both(self.of_services(), chosen(INSTANCE, INSTANCE))

    def firing(self) -> str:
        """Return the selector of the alerts that fire for what is chosen."""
        names = "|".join(NAMES)
        return f'ALERTS{{alertname=~"{names}",alertstate="firing",{self.of_services()}}}'

    @property
    def labels(self) -> list[str]:
        """The labels of the user's own that have a variable.

        They are those that requests, errors and statuses show as well: a ratio whose parts are filtered differently
        would be wrong. One that is called as the variable of the data source has none.
        """
        installation = self.installation
        names = (
            installation.duration_family,
            *(() if installation.is_otel else ("http_errors_total", "http_requests_total")),
        )
        shown = set.intersection(*(set(installation.labels_of(name)) for name in names))
        return [label for label in installation.labels if label in shown and label != DATASOURCE]

    def route_of(self, family: str) -> str:
        """Return what the label of the route is called in a family: those of WebSockets keep our own name."""
        found = [label for label in self.installation.labels_of(family) if label in (self.installation.route, ROUTE)]
        return found[0] if found else ""

    def matchers(self, family: str) -> str:
        """Return the matchers that choose from a family."""
        labels, route = self.installation.labels_of(family), self.route_of(family)
        return both(
            self.of_instances(),
            chosen(route, ROUTE) if route else "",
            *(chosen(label, label) for label in self.labels if label in labels),
        )

    def series(self, family: str, suffix: str = "") -> str:
        """Return the selector of a family."""
        return f"{self.installation.name(family, suffix)}{{{self.matchers(family)}}}"

    def seconds(self) -> str:
        """Return the selector of the seconds that requests took."""
        return self.series(self.installation.duration_family, "_sum")

    def requests(self) -> str:
        """Return the selector of requests."""
        return self.installation.requests(self.matchers(self.installation.duration_family))

    def statuses(self) -> str:
        """Return the selector of requests by status."""
        installation = self.installation
        family = installation.duration_family if installation.is_otel else "http_requests_total"
        return installation.statuses(self.matchers(family))

    def buckets(self) -> str:
        """Return the selector of the buckets of the latency histogram."""
        return self.installation.buckets(self.matchers(self.installation.duration_family))

    def errors(self, *by: str, over: Over = rate) -> str:
        """Return how many requests failed, by some labels: 0 where none did."""
        installation = self.installation
        if not installation.is_otel:
            return total(over(installation.errors(self.matchers("http_errors_total"))), *by)
        found = total(over(installation.errors(self.matchers(installation.duration_family))), *by)
        return f"({found} or 0 * {total(over(self.requests()), *by)})"  # nothing is shown until a request has failed

    def error_ratio(self, *by: str, over: Over = rate) -> str:
        """Return the share of requests that failed, by some labels."""
        return ratio(self.errors(*by, over=over), total(over(self.requests()), *by))

    def apdex(self, satisfied_seconds: float, tolerated_seconds: float) -> str:
        """Return the Apdex of the service: the mean of the shares of requests that satisfy, and that are tolerated."""
        matchers = self.matchers(self.installation.duration_family)
        satisfied, tolerated = (
            total(rate(self.installation.within(bound, matchers))) for bound in (satisfied_seconds, tolerated_seconds)
        )
        return ratio(f"({satisfied} + {tolerated}) / 2", total(rate(self.requests())))


def seconds_text(seconds: float) -> str:
    """Return a duration as people write it."""
    return f"{number(seconds).removesuffix('.0')} s"
