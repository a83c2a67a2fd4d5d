"""Traffic that is written down: the series that instances would show after it, in promtool's notation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from red_middleware.families.family import number
from red_middleware.monitoring.installation import Installation


class Phase(NamedTuple):
    """Some time in which a route of an instance has the same traffic."""

    samples: int
    """How long it is: so many samples, which lie a minute apart if nothing else is said."""
    requests: int = 0
    """How many there are from one sample to the next."""
    bad: int = 0
    """How many of them fail."""
    slow: int = 0
    """How many of them take 2 s. The others take 0.1 s."""
    is_up: bool = True
    """Whether the instance answers. Its counters begin from zero afterwards."""


QUICK_SECONDS, SLOW_SECONDS = 0.1, 2.0


def route(
    installation: Installation, name: str, phases: Sequence[Phase], instance: str = "a"
) -> Iterator[tuple[str, str]]:
    """Yield the series of a route, and their values."""

    def labelled(family: str, more: str = "") -> str:
        return f'{family}{{{installation.of_service()},instance="{instance}",method="GET",route="{name}"{more}}}'

    duration = installation.name(installation.duration_family)
    yield labelled(f"{duration}_count"), values(phases, lambda phase: phase.requests)
    yield labelled(installation.name("http_errors_total")), values(phases, lambda phase: phase.bad)
    yield (
        labelled(f"{duration}_sum"),
        values(phases, lambda phase: (phase.requests - phase.slow) * QUICK_SECONDS + phase.slow * SLOW_SECONDS),
    )
    for bound in (*installation.options.bounds, float("inf")):

        def within(phase: Phase, bound: float = bound) -> int:
            return (phase.requests - phase.slow) * (bound >= QUICK_SECONDS) + phase.slow * (bound >= SLOW_SECONDS)

        yield labelled(f"{duration}_bucket", f',le="{number(bound)}"'), values(phases, within)


def instance(installation: Installation, phases: Sequence[Phase], name: str = "a") -> Iterator[tuple[str, str]]:
    """Yield the series that an instance has beside those of its routes: it is healthy, as far as it is up."""
    named = f'{{{installation.of_service()},instance="{name}"}}'
    yield f"up{named}", gauge(phases, 1, 0)
    yield f"scrape_duration_seconds{named}", gauge(phases, 0.05, 10)
    yield f"scrape_samples_post_metric_relabeling{named}", gauge(phases, 500, 0)
    own = {
        "red_series": 400, "red_unreserved_label_sets": 40, "red_unreserved_label_sets_limit": 900,
        "red_overflow_requests_total": 0, "red_instrumentation_errors_total": 0, "red_worker_isolated": 0,
    }  # fmt: skip
    for family, value in own.items():
        yield f"{installation.name(family)}{named}", gauge(phases, value)


def values(phases: Iterable[Phase], per_minute: Callable[[Phase], float]) -> str:
    """Return a counter, without samples while its instance is down."""
    written, total = [], 0.0
    for phase in phases:
        if phase.is_up:
            step = per_minute(phase)
            written.append(f"{total:g}+{step:g}x{phase.samples - 1}")
            total += step * phase.samples
        else:
            written.append(f"stale{f' _x{phase.samples - 1}' if phase.samples > 1 else ''}")
            total = 0.0
    return " ".join(written)


def gauge(phases: Iterable[Phase], up: float, down: float | None = None) -> str:
    """Return a gauge that has one value while its instance is up, and another one, or none, while it is not."""
    return " ".join(
        f"{up if phase.is_up else down:g}+0x{phase.samples - 1}"
        if phase.is_up or down is not None
        else f"stale{f' _x{phase.samples - 1}' if phase.samples > 1 else ''}"
        for phase in phases
    )
