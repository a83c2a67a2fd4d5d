"""What one app exposes, by name: the part that rules, alerts and dashboards have in common.

A query never spells a family, a label or a bound by itself. It asks here, so that it follows `namespace=`, `buckets=`,
`naming="otel"` and the other options.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ..counting.layout import Choices, Objective, layout
from ..families import Family, families, otel
from ..families.family import bound, escape, number
from ..options import Options

JOB: Final = "job"
"""The label that Prometheus gives all instances of an app."""

TAKEN: Final = frozenset((
    JOB, "instance", "route", "datasource", "le", "quantile", "pid", "alertname", "alertstate", "severity", "level",
    "objective", "threshold",
))  # fmt: skip
"""What a target label must not be called: Prometheus, rules, alerts or the dashboard's variables have it."""


class OwnMetric(NamedTuple):
    """A metric of the app itself."""

    name: str
    """As it is exposed: a counter's ends in `_total`."""
    type: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    help: str


@dataclass(frozen=True)
class Installation:
    """What one app exposes.

    Args:
        job: The label `job` of its series: the `job_name` by which Prometheus scrapes it, if nothing else is said.
        options: The options of its `RedMetrics`.
        own: The app's own metrics, those that its author wants to see first.
        most_series: The most series that red_middleware exposes there, see `RedMetrics.bound`, which knows how many
            rows the declared routes need. 0: what the options alone say.
        target_labels: Labels that Prometheus gives the targets beside the job, such as `{"env": "prod"}`, and that tell
            apart what has one job name.

    Raises:
        ValueError: A target label has no value, or a name that is taken or that Prometheus does not have.
    """

    job: str
    options: Options
    own: Sequence[OwnMetric] = ()
    most_series: int = 0
    target_labels: Mapping[str, str] = field(default_factory=dict)
    choices: Choices = field(init=False)
    families: Sequence[Family] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", self.options.choices())
        object.__setattr__(self, "families", families(self.choices))
        if not self.most_series:
            kinds = layout(self.choices)
            most = bound(self.families, kinds, {kind.name: kind.capacity for kind in kinds})
            object.__setattr__(self, "most_series", most.series)
        self._check_target_labels()
        object.__setattr__(self, "target_labels", dict(sorted(self.target_labels.items())))

    @property
    def service(self) -> dict[str, str]:
        """The labels that all series of this app have, and no other ones: the job and the target labels."""
        return {JOB: self.job, **self.target_labels}

    @property
    def title(self) -> str:
        """What people call the app: its job, and the values of its target labels."""
        return " ".join(filter(None, self.service.values()))

    @property
    def is_otel(self) -> bool:
        """Whether requests have OpenTelemetry's names."""
        return self.choices.is_otel

    @property
    def method(self) -> str:
        """What the label of the method is called."""
        return self.choices.request_labels[0]

    @property
    def route(self) -> str:
        """What the label of the route is called."""
        return self.choices.request_labels[1]

    @property
    def status(self) -> str:
        """What the label of the status is called where requests are counted."""
        return otel.STATUS if self.is_otel else "status"

    @property
    def labels(self) -> list[str]:
        """Return the labels of the user's own that the duration shows, and so what is asked of it."""
        hidden = self.family(self.duration_family).hidden
        return [name for name in self.options.labels if name not in hidden]

    @property
    def objectives(self) -> Sequence[Objective]:
        """What the app aims at; empty without `slo_availability=` and `slo_seconds=`."""
        return self.choices.objectives

    @property
    def duration_family(self) -> str:
        """The latency histogram, without the namespace."""
        return otel.DURATION if self.is_otel else "http_request_duration_seconds"

    @property
    def sample_limit(self) -> int:
        """How many samples a scrape may have: all series that can ever be, and `own_series_limit` of the app's own.

        A scrape that has more fails as a whole.
        """
        return self.most_series + self.options.own_series_limit

    def family(self, name: str) -> Family:
        """Return a family of ours by its name without the namespace; `LookupError` without it."""
        found = [one for one in self.families if one.name == name]
        if not found:
            raise LookupError(name)
        return found[0]

    def labels_of(self, name: str) -> list[str]:
        """Return the labels that tell the rows of a family apart: none of a family that does not show rows."""
        family = self.family(name)
        labels = (label for kind in layout(self.choices) if kind.name == family.kind for label in kind.labels)
        return [label for label in labels if label not in family.hidden]

    def name(self, family: str, suffix: str = "") -> str:
        """Return the name of a family as it is exposed, given the one without the namespace."""
        self.family(family)
        return f"{self.options.namespace}_{family}{suffix}" if self.options.namespace else f"{family}{suffix}"

    def requests(self, matchers: str = "") -> str:
        """Return the counter of requests, as a selector.

        It is the count of the latency histogram, which is there from the first request of a row on. A series of
        `http_requests_total` begins with the first request of its status, which `rate` cannot see.
        """
        return f"{self.name(self.duration_family, '_count')}{{{matchers}}}"

    def errors(self, matchers: str = "") -> str:
        """Return the counter of requests that failed, as a selector."""
        if self.is_otel:
            return self.requests(both(matchers, f'{otel.ERROR}!=""'))
        return f"{self.name('http_errors_total')}{{{matchers}}}"

    def statuses(self, matchers: str = "") -> str:
        """Return the counter of requests by status, as a selector."""
        return self.requests(matchers) if self.is_otel else f"{self.name('http_requests_total')}{{{matchers}}}"

    def buckets(self, matchers: str = "") -> str:
        """Return the buckets of the latency histogram, as a selector."""
        return f"{self.name(self.duration_family, '_bucket')}{{{matchers}}}"

    def within(self, seconds: float, matchers: str = "") -> str:
        """Return the counter of requests that took at most so long, as a selector.

        Raises:
            ValueError: No bucket ends there, so nothing counts them.
        """
        if seconds not in self.options.bounds:
            raise ValueError(f"{number(seconds)} is no bound of the latency histogram: {bounds_text(self)}")
        return self.buckets(both(matchers, le(seconds)))

    def of_service(self) -> str:
        """Return the matchers that find this app and no other."""
        return both(*(f'{name}="{escape(value)}"' for name, value in self.service.items()))

    def _check_target_labels(self) -> None:
        exposed = set(self._exposed_labels())
        for name, value in self.target_labels.items():
            rule = refused_target_label(name)
            if not rule and name in exposed:
                rule = "the app itself exposes a label of this name"
            if not rule and not value:
                rule = "must have a value"
            if rule:
                raise ValueError(f"target label {name!r}: {rule}")

    def _exposed_labels(self) -> Iterator[str]:
        for kind in layout(self.choices):
            yield from kind.labels
        for family in self.families:
            yield family.code_label
            for constant in family.constants:
                yield from dict(constant.labels)


def refused_target_label(name: str) -> str:
    """Return why no target label can have a name; nothing if one can."""
    if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", name, re.ASCII):
        return "no target has a label of this name"
    return "this name is taken" if name in TAKEN else ""


def le(seconds: float) -> str:
    """Return what finds the bucket of a bound, spelled as it is exposed."""
    return f'le="{number(seconds)}"'


def both(*matchers: str) -> str:
    """Return several matchers as one text, without those that are empty."""
    return ",".join(filter(None, matchers))


def bounds_text(installation: Installation) -> str:
    """Return the bounds of the latency histogram as they are exposed."""
    return ", ".join(map(number, installation.options.bounds))
