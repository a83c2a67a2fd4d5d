"""The families of objectives: what `slo_availability` and `slo_seconds` say, so that one set of rules serves every app.

They count nothing. Their series are constant, and the same in every worker.
"""

from collections.abc import Sequence

from ..counting.layout import Objective
from .family import Constant, Family, number


def families(objectives: Sequence[Objective]) -> tuple[Family, ...]:
    """Return the families of some objectives. Those of latency have the threshold that the label `le` has."""
    named = [(("objective", one.name), ("threshold", number(one.threshold))) for one in objectives]
    return (
        Family(
            "red_slo_info", "gauge", "Objectives of this application: the share of good requests, or seconds.",
            constants=tuple(Constant(labels, 1.0) for labels in named),
        ),
        Family(
            "red_slo_ratio", "gauge", "The share of requests that must keep an objective.",
            constants=tuple(
                Constant(labels, float(one.ratio)) for labels, one in zip(named, objectives, strict=True)
            ),
        ),
    )  # fmt: skip
