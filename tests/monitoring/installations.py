"""Installations to make files for: one for each option that changes what is exposed."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import Label, RedMetrics
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.installation import Installation

from ..options import EVERY

OBJECTIVES: Final[dict[str, Any]] = {"slo_availability": 0.999, "slo_seconds": [0.3]}

NO_TARGET_LABELS: Final[Mapping[str, str]] = {}

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "objectives": OBJECTIVES,
    "namespace": OBJECTIVES | {"namespace": "web_shop"},
    "buckets": OBJECTIVES | {"buckets": [0.001, 0.1, 1, 30], "slo_seconds": [0.3, 2]},
    "otel": OBJECTIVES | {"naming": "otel"},
    "otel_namespace": OBJECTIVES | {"naming": "otel", "namespace": "shop", "sizes": True},
    "labels": OBJECTIVES
    | {"labels": {"tenant": Label(header="x-tenant", max_values=8), "stage": Label(constant="test")}},
    "status_of_durations": OBJECTIVES | {"duration_status": "class"},
    "status_classes": OBJECTIVES | {"status_classes": True},
    "every": {**EVERY, **OBJECTIVES},
}
"""By a name that also serves as the job's."""


def metrics(**options: Any) -> RedMetrics:
    """Return a `RedMetrics` of its own, which no other process shares."""
    return RedMetrics(registry=CollectorRegistry(), **{"multiprocess_dir": None, **options})


def installation(
    job: str = "shop", *, target_labels: Mapping[str, str] = NO_TARGET_LABELS, **options: Any
) -> Installation:
    """Return what an app with these options exposes."""
    return Installation(job, recorder_of(metrics(**options)).options, target_labels=target_labels)
