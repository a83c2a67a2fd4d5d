"""A stuck worker is seen from any other one, and as soon as it is dead from none."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from ..drive import count, restart
from ..e2e.marks import PIPE
from ..e2e.servers import STUCK, Kind, Server, poll
from .members import running, watched_shop

HANGING: Final = 'http_requests_in_progress{method="GET",route="/items/<id>"}'


def test_the_oldest_request_of_a_stuck_worker_ages_until_it_is_killed(tmp_path: Path) -> None:
    """Its start stands in its cells. What it had in progress goes with it, and the route stays with 0."""
    metrics = watched_shop(tmp_path)
    count(metrics, "/items/<id>")
    try:
        with running("hang", tmp_path) as stuck:
            (pid,) = stuck.hear()
            age, own = (f'http_oldest_request_seconds{{pid="{one}"}}' for one in (pid, os.getpid()))
            first = metrics.snapshot()
            assert (first[own], first["red_workers_busy"], first[HANGING]) == (0.0, 1.0, 1.0)
            poll("it ages", lambda: metrics.snapshot()[age] > first[age] >= 0.0)
            stuck.popen.kill()
            stuck.popen.wait()
            after = metrics.snapshot()
        assert (after["red_workers_busy"], after[HANGING]) == (0.0, 0.0)
        assert age not in after
    finally:
        restart(metrics)


@pytest.mark.once
@pytest.mark.parametrize(("options", "slots"), [((), 1.0), (("--worker-class=gthread", "--threads=3"), 3.0)], ids=str)
def test_a_stuck_worker_of_gunicorn_is_seen_from_the_other_one(
    options: tuple[str, ...], slots: float, tmp_path: Path
) -> None:
    """It waits for the end of a pipe; the other one says since when, how many are busy, and how many could be."""
    kind = Kind("gunicorn", STUCK, ("--workers=2", "--timeout=300", *options))
    os.mkfifo(tmp_path / PIPE)
    with Server(kind, tmp_path) as server, ThreadPoolExecutor() as pool:
        answered = pool.submit(server.read, "/hang")
        poll("it hangs", lambda: server.has_left("hangs"))

        def ages() -> dict[str, float]:
            lines = (line.rpartition(" ") for line in server.read("/metrics").splitlines())
            return {text: float(value) for text, _, value in lines if not text.startswith("#")}

        first = ages()
        assert first["red_workers_busy"] == 1.0
        poll("both workers have answered", lambda: ages()["red_workers_capacity"] >= slots)
        (oldest,) = (text for text, value in first.items() if text.startswith("http_oldest") and value)
        poll("it ages", lambda: ages()[oldest] > first[oldest] > 0.0)
        (tmp_path / PIPE).write_text("go on")
        assert answered.result() == "well"
        poll("nothing is in progress", lambda: ages()["red_workers_busy"] == 0.0)
