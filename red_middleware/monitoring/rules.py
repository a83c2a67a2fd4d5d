"""Recording rules: RED of the service and of each route, and how much of each objective is missed.

Every rule sums over the instances of one service, so the results are the same on Prometheus, Thanos, Mimir and
VictoriaMetrics. Names are `level:metric:operations`. The rates over five minutes are recorded from the raw counters.
All longer windows are made of these rates, and never of ratios: an average of ratios is not a ratio.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from ..counting.layout import Objective
from ..families.family import number
from .installation import Installation, both, le

REQUESTS: Final = "http_requests"
ERRORS: Final = "http_errors"
ERROR_RATIO: Final = "http_errors_per_request"
DURATION: Final = "http_request_duration_seconds"
BUCKETS: Final = "http_request_duration_seconds_bucket"
BAD: Final = "red_slo_bad"
BAD_RATIO: Final = "red_slo_bad_per_request"
BUDGET: Final = "red_slo_budget"
"""What is recorded. The names are the same with `naming="otel"`."""

RATE: Final = "rate5m"
HALF_HOUR: Final = "rate30m"
"""The rates that all others are made of: those of windows of days are made of the latter."""

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

PERIOD: Final = "30d"
"""How long an error budget has to last."""

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h")
LONG_WINDOWS: Final = ("1d", "3d", PERIOD)
"""In which the share of bad requests is recorded."""

TOLERABLE: Final = 4
"""Apdex: the tolerated duration is so many times the satisfying one (Apdex Alliance, specification 1.1)."""

USUAL_SATISFYING_SECONDS: Final = 0.5
"""What the satisfying duration should be near where there is no objective."""

Rule = dict[str, Any]
Group = dict[str, Any]


class Level(NamedTuple):
    """How far series are added up: to one for the whole service, or to one for each route."""

    installation: Installation
    name: Literal["service", "route"]

    @property
    def labels(self) -> list[str]:
        """The labels that are left."""
        service = list(self.installation.service)
        return service if self.name == "service" else [*service, self.installation.route]

    @property
    def by(self) -> str:
        """These labels, as PromQL lists them."""
        return ", ".join(self.labels)

    def recorded(self, metric: str, operations: str, *more: str) -> str:
        """Return the name of what is recorded.

        Args:
            metric: One of this module's names, without the namespace.
            operations: What was done to it, such as `rate5m`.
            more: Further labels that are left, such as `le`.
        """
        namespace = self.installation.options.namespace
        return f"{'_'.join([*self.labels, *more])}:{namespace}{'_' if namespace else ''}{metric}:{operations}"

    def selector(self, metric: str, operations: str, matchers: str = "") -> str:
        """Return a selector of what is recorded for this service."""
        return f"{self.recorded(metric, operations)}{{{both(self.installation.of_service(), matchers)}}}"

    def buckets(self, matchers: str = "") -> str:
        """Return a selector of the recorded buckets of the latency histogram."""
        return f"{self.recorded(BUCKETS, RATE, 'le')}{{{both(self.installation.of_service(), matchers)}}}"


def levels(installation: Installation) -> tuple[Level, Level]:
    """Return both levels, the one of the routes first: the service is added up from it."""
    return Level(installation, "route"), Level(installation, "service")


def rule_groups(installation: Installation) -> list[Group]:
    """Return the groups of a rule file, as Prometheus reads them.

    What a rule divides by one another is recorded by one group: Prometheus evaluates each group at a moment of its own,
    and while the traffic grows, or Prometheus has just started, more than all requests would seem to be bad.

    A long window changes slowly and reads many samples, so its rules run less often. Where a result is read by itself
    they run every two minutes, because Prometheus looks back for five. Where results are only added up, every five.
    """
    groups = [_group(installation, "rates", [*_rates(installation), *_objectives(installation)])]
    if installation.objectives:
        groups += [
            {**_group(installation, "half-hours", _half_hours(installation)), "interval": "5m"},
            {**_group(installation, "budgets", _budgets(installation)), "interval": "2m"},
        ]
    return groups


def labels_of(objective: Objective) -> dict[str, str]:
    """Return the labels of an objective, which are those of `red_slo_info`."""
    return {"objective": objective.name, "threshold": number(objective.threshold)}


def matchers_of(objective: Objective) -> str:
    """Return what finds an objective among those of its job."""
    return both(*(f'{name}="{value}"' for name, value in labels_of(objective).items()))


def apdex_bounds(installation: Installation) -> tuple[float, float] | None:
    """Return up to how many seconds users are satisfied, and tolerate it; `None` where no two buckets can tell.

    Of several pairs it is the one nearest to the first objective.
    """
    bounds = installation.options.bounds
    pairs = [(low, high) for low in bounds for high in bounds if abs(high - TOLERABLE * low) < 1e-9 * high]
    aim = next(iter(installation.options.slo_seconds), USUAL_SATISFYING_SECONDS)
    return min(pairs, key=lambda pair: (abs(pair[0] - aim), pair), default=None)


def _group(installation: Installation, name: str, rules: Iterable[Rule]) -> Group:
    return {"name": f"red-{installation.title}-{name}", "rules": list(rules)}


def _rule(name: str, expr: str, **labels: str) -> Rule:
    return {"record": name, "expr": expr, **({"labels": labels} if labels else {})}


def _rates(installation: Installation) -> Iterator[Rule]:
    """Yield RED over five minutes."""
    service = installation.of_service()
    counters = {
        REQUESTS: installation.requests(service),
        ERRORS: installation.errors(service),
        f"{DURATION}_sum": f"{installation.name(installation.duration_family, '_sum')}{{{service}}}",
    }
    route, _ = levels(installation)
    for level in levels(installation):
        requests = level.selector(REQUESTS, RATE)
        for metric, counter in counters.items():
            expr = f"sum by ({level.by}) ({_rates_of(level, counter, route.selector(metric, RATE))})"
            if metric == ERRORS and installation.is_otel:  # nothing is shown there until a request has failed
                expr += f" or 0 * {requests}"
            yield _rule(level.recorded(metric, RATE), expr)
        yield _rule(level.recorded(ERROR_RATIO, f"ratio_{RATE}"), f"{level.selector(ERRORS, RATE)} / {requests}")
        yield _rule(level.recorded(DURATION, "mean5m"), f"{level.selector(f'{DURATION}_sum', RATE)} / {requests}")
        buckets = _rates_of(level, installation.buckets(service), route.buckets())
        yield _rule(level.recorded(BUCKETS, RATE, "le"), f"sum by ({level.by}, le) ({buckets})")
        for name, quantile in QUANTILES.items():
            expr = f"histogram_quantile({quantile}, {level.buckets()})"
            yield _rule(level.recorded(DURATION, f"{name}_{RATE}"), expr)
        yield from _apdex(level)


def _rates_of(level: Level, counter: str, of_routes: str) -> str:
    """Return what a level adds up: the rates of a raw counter, or what is recorded of them for the routes."""
    return f"rate({counter}[5m])" if level.name == "route" else of_routes


def _apdex(level: Level) -> Iterator[Rule]:
    """Yield the share of satisfied users, with half of those who tolerate it: the mean of both shares of requests."""
    pair = apdex_bounds(level.installation)
    if pair is not None:
        satisfied, tolerated = (f"sum by ({level.by}) ({level.buckets(le(bound))})" for bound in pair)
        expr = f"({satisfied} + {tolerated}) / 2 / {level.selector(REQUESTS, RATE)}"
        yield _rule(level.recorded(DURATION, f"apdex_{RATE}"), expr)


def _objectives(installation: Installation) -> Iterator[Rule]:
    """Yield the requests that miss each objective, and their share in windows of up to some hours."""
    for level in levels(installation):
        for objective in installation.objectives:
            yield _rule(level.recorded(BAD, RATE), _bad(level, objective), **labels_of(objective))
        for window in WINDOWS if installation.objectives else ():
            yield _ratio(level, window, RATE)


def _half_hours(installation: Installation) -> Iterator[Rule]:
    """Yield the rates that windows of days are made of."""
    for level in levels(installation):
        for metric in (REQUESTS, BAD):
            yield _rule(level.recorded(metric, HALF_HOUR), f"avg_over_time({level.selector(metric, RATE)}[30m])")


def _budgets(installation: Installation) -> Iterator[Rule]:
    """Yield the share of bad requests in windows of days, and what is left of the error budget."""
    for level in levels(installation):
        for window in LONG_WINDOWS:
            yield _ratio(level, window, HALF_HOUR)
        for objective in installation.objectives:
            ratio = level.selector(BAD_RATIO, f"ratio_rate{PERIOD}", matchers_of(objective))
            expr = f"1 - {ratio} / {allowed(objective)}"
            yield _rule(level.recorded(BUDGET, f"left{PERIOD}"), expr, **labels_of(objective))


def allowed(objective: Objective) -> float:
    """Return the share of requests that may miss an objective, without the noise of binary fractions."""
    return float(f"{1 - objective.ratio:.12g}")


def _bad(level: Level, objective: Objective) -> str:
    """Return the rate of the requests that miss an objective.

    Of a latency it is a difference, so both sides come from one look at the raw counters: what two rules have recorded
    may be of two moments, and requests that came between them would seem to be slow.
    """
    if objective.name == "availability":
        return level.selector(ERRORS, RATE)
    route, _ = levels(level.installation)
    if level.name == "service":
        return f"sum by ({level.by}) ({route.selector(BAD, RATE, matchers_of(objective))})"
    service = level.installation.of_service()
    counters = level.installation.requests(service), level.installation.within(objective.threshold, service)
    requests, within = (f"sum by ({level.by}) (rate({counter}[5m]))" for counter in counters)
    return f"clamp_min({requests} - {within}, 0)"  # it is exact but for the division by the time


def _ratio(level: Level, window: str, rate: str) -> Rule:
    """Return the rule for the share of bad requests in a window, of all objectives at once.

    It is a quotient of sums: where an objective is younger than the window, a quotient of means would compare bad
    requests of a busy hour with requests of a quiet night.

    Args:
        level: For the whole service or for each route.
        window: A duration as PromQL has it.
        rate: The recorded rate that is added up over it.
    """
    bad, requests = (level.selector(metric, rate) for metric in (BAD, REQUESTS))
    if window != "5m":
        bad, requests = (f"sum_over_time({one}[{window}])" for one in (bad, requests))
    return _rule(
        level.recorded(BAD_RATIO, f"ratio_rate{window}"),
        f"{bad} / ignoring (objective, threshold) group_left () {requests}",
    )
