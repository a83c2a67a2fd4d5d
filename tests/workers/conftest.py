"""What several tests of workers begin with."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from .members import Join, Worker, joined


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
