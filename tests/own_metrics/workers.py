"""Workers of one group, made in one process: each has a registry, a table and a file of cells of its own.

What a worker shows is read from the text of its endpoint, by prometheus_client's parser.
"""

from pathlib import Path
from typing import Any
from wsgiref.simple_server import demo_app

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.workers import Identity

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


class Worker:
    """One worker with the application's metrics of a registry.

    Args:
        base: Where the groups lie.
        registry: Of the application's metrics; by default a new one.
        options: Of its `RedMetrics`.
    """

    def __init__(self, base: Path, registry: CollectorRegistry | None = None, **options: Any) -> None:
        self.registry = registry or CollectorRegistry()
        self.metrics = RedMetrics(
            registry=self.registry,
            buckets=(0.9,),
            **{"multiprocess_dir": base, "multiprocess_name": "shop", "max_label_sets": 10, **options},
        )
        self.identity = Identity(self.metrics.namespace, "")  # each stands for the only one in a process
        RedWSGIMiddleware(demo_app, metrics=self.metrics)

    def enter(self) -> "Worker":
        """Join the group, as at the first request."""
        recorder_of(self.metrics).membership.identity = self.identity
        assert self.text()
        assert recorder_of(self.metrics).membership.member is not None
        return self

    def text(self, query: str = "", headers: dict[str, str] | None = None) -> str:
        """Return what the endpoint shows."""
        found = answer(self.metrics, Request(query=query, headers=headers or {}))
        assert found.status == 200
        return found.body.decode()

    def samples(self) -> dict[str, float]:
        """Return the application's samples, by name and labels; none of them twice."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
                key = f"{sample.name}{{{labels}}}" if labels else sample.name
                assert key not in found, f"{key} is shown twice"
                found[key] = sample.value
        return {key: value for key, value in found.items() if not key.startswith(self.our_names())}

    def our_names(self) -> tuple[str, ...]:
        """Return how the names of our own families begin."""
        namespace = self.metrics.namespace and f"{self.metrics.namespace}_"
        names = ("http_", "red_", "uptime_seconds", "websocket_")
        return tuple(f"{namespace}{name}" for name in names)

    def shown(self, name: str) -> float | None:
        """Return one of these samples; `None` where it is not shown."""
        return self.samples().get(name)

    def faults(self) -> float:
        """Return how many faults this worker's group has counted."""
        return self.metrics.snapshot()["red_instrumentation_errors_total"]

    def die(self) -> None:
        """Leave as the kernel does for a killed process: the locks are free, the files stay."""
        member = recorder_of(self.metrics).membership.member
        if member is not None and member.directory.fd >= 0:
            member.abandon()
