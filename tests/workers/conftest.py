"""What several tests of workers begin with."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.metrics import recorder_of
from red_middleware.recorder import Recorder, serving
from red_middleware.workers import Identity

from ..drive import restart
from .members import Join, Named, Worker, joined


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """Return a function that joins the group of the test."""
    workers: list[Worker] = []

    def join(declared: Mapping[str, Sequence[str]] | None = None, max_label_sets: int = 100) -> Worker:
        workers.append(joined(tmp_path, declared, max_label_sets))
        return workers[-1]

    yield join
    for worker in workers:
        if worker.member.directory.fd >= 0:
            worker.die()


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    """Return a function that makes metrics, by default of the group `shop` below the test's directory."""
    for variable in ("RED_MULTIPROCESS_DIR", "RED_MULTIPROCESS_NAME"):
        monkeypatch.delenv(variable, raising=False)
    before = set(serving)
    serving.clear()  # as in a process that has only begun
    made: list[RedMetrics] = []
    known: dict[Recorder, Identity] = {}

    def named(
        directory: str | os.PathLike[str] | None = tmp_path,
        name: str | None = "shop",
        registry: CollectorRegistry | None = None,
        namespace: str = "",
        max_label_sets: int = 100,
    ) -> RedMetrics:
        metrics = RedMetrics(
            registry=registry or CollectorRegistry(),
            namespace=namespace,
            buckets=(0.9,),
            max_label_sets=max_label_sets,
            multiprocess_dir=directory,
            multiprocess_name=name,
        )
        made.append(metrics)
        if not serving:  # each stands for the only one of its kind in a process
            known[recorder_of(metrics)] = Identity(namespace, f"{max_label_sets} {len(known)}")
        for recorder, identity in known.items():
            recorder.membership.identity = identity
        return metrics

    yield named
    for metrics in made:
        restart(metrics)
    serving.update(before)
