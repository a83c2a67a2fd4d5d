"""The application's own prometheus_client metrics, and what tells of processes, on the endpoint of several workers."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from wsgiref.simple_server import demo_app

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, ProcessCollector

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.workers import Identity

CHILD = """
import json, os, sys
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from red_middleware import RedMetrics
from red_middleware.exposition import Request, answer
shown, hidden = CollectorRegistry(), CollectorRegistry()
Counter("shown", "In the registry at hand.", registry=shown).inc(int(sys.argv[1]))
Counter("hidden", "In another one.", registry=hidden).inc()
texts = []
for registry in (shown, REGISTRY):
    metrics = RedMetrics(registry=registry, multiprocess_dir=None)
    texts.append(answer(metrics, Request()).body.decode())
print(json.dumps(texts))
"""


def mounted(registry: CollectorRegistry, directory: Path) -> RedMetrics:
    """Return metrics of a group that a mounting feeds, so that their first scrape founds the group."""
    metrics = RedMetrics(registry=registry, multiprocess_dir=directory, multiprocess_name="shop")
    recorder_of(metrics).membership.identity = Identity("the only one", "")  # others may not be collected yet
    RedWSGIMiddleware(demo_app, metrics=metrics)
    return metrics


def lines(metrics: RedMetrics) -> dict[str, float]:
    """Return the samples of the endpoint."""
    text = answer(metrics, Request()).body.decode()
    return {name: float(value) for name, value in (s.rsplit(" ", 1) for s in text.splitlines() if s[0] != "#")}


def in_multiprocess_mode(directory: Path, number: int) -> list[str]:
    """Run a worker of prometheus_client's multiprocess mode, and return its answers for two registries."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(number)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(run.stdout)
    return found


def test_the_apps_metrics_are_those_of_all_workers_in_multiprocess_mode(tmp_path: Path) -> None:
    """Once, and none of another registry, but on the default one, where prometheus_client shows all."""
    in_multiprocess_mode(tmp_path, 3)
    private, default = in_multiprocess_mode(tmp_path, 4)
    assert private.count("\nshown_total 7.0\n") == private.count("# TYPE shown_total counter") == 1
    assert "hidden" not in private
    assert "hidden_total 2.0\n" in default
    assert "process_cpu_seconds_total" in default


def test_a_worker_without_metrics_of_its_own_yet_shows_what_the_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the registry where they would be registered: the files tell, not the values of this process."""
    in_multiprocess_mode(tmp_path, 3)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    registry = CollectorRegistry()
    Counter("shown", "Not counted here.", registry=registry)
    found = lines(RedMetrics(registry=registry, multiprocess_dir=None))
    assert found["shown_total"] == 3.0
    assert "hidden_total" not in found


def test_a_multiprocess_directory_that_is_gone_fails_no_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a fault, logged and counted; the rest is shown."""
    metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    lines(metrics)
    assert lines(metrics)["red_instrumentation_errors_total"] == 0.0  # nothing of the app is in this registry
    Counter("orders", "The application's.", registry=metrics.registry)
    with caplog.at_level(logging.WARNING, "red_middleware"):
        lines(metrics)
    assert lines(metrics)["red_instrumentation_errors_total"] == 1.0
    assert "collector PROMETHEUS_MULTIPROC_DIR" in caplog.text


LIVE = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry, Gauge
from tests.workers.test_own_metrics import lines, mounted
registry = CollectorRegistry()
metrics = mounted(registry, Path(sys.argv[1]))
Gauge("jobs", "In progress.", registry=registry, multiprocess_mode="livesum").inc()
print(lines(metrics)["jobs"], flush=True)
sys.stdin.read()
"""


def test_in_multiprocess_mode_the_live_gauges_of_a_dead_worker_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """prometheus_client leaves that to a hook of the server; we know who is dead. Of the living nothing goes.

    A file of its that cannot be removed keeps no worker from being retired.
    """
    (tmp_path / "values").mkdir()
    (tmp_path / "group").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "values"))
    registry = CollectorRegistry()
    Gauge("jobs", "In progress.", registry=registry)
    metrics = mounted(registry, tmp_path / "group")
    lines(metrics)
    workers = []
    for _ in range(2):  # one after the other: of two that join at once, one may wait in vain for the other
        worker = subprocess.Popen(
            [sys.executable, "-c", LIVE, str(tmp_path / "group")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        workers.append(worker)
    assert (lines(metrics)["red_workers"], lines(metrics)["jobs"]) == (3.0, 2.0)
    workers[0].kill()
    workers[0].communicate()
    lines(metrics)  # folds it
    assert (lines(metrics)["red_workers"], lines(metrics)["jobs"]) == (2.0, 1.0)
    assert lines(metrics)["red_instrumentation_errors_total"] == 0.0
    (tmp_path / "values" / f"gauge_livemax_{workers[1].pid}.db").mkdir()  # no file that can be removed
    workers[1].communicate()
    lines(metrics)
    assert lines(metrics)["red_workers"] == 1.0
    assert "live gauges of a worker that has died" in caplog.text


def test_processes_are_the_groups(tmp_path: Path) -> None:
    """Those of all workers; and no counters of the garbage collector, of now one worker, now the other."""
    registry = CollectorRegistry()
    ProcessCollector("shop", registry=registry)
    GCCollector(registry)
    metrics = mounted(registry, tmp_path)
    alone = lines(metrics)
    (group,) = tmp_path.glob("red_middleware-*/*")
    child = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path), group.name, str(recorder_of(metrics).table.extent().size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    both = lines(metrics)
    child.communicate()
    assert not any(name.startswith("python_gc") for name in both)
    assert (alone["red_workers"], both["red_workers"]) == (1.0, 2.0)
    assert both["shop_process_open_fds"] > alone["shop_process_open_fds"] > 0


def test_a_collector_of_another_process_stays_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database's, say, or one that is about to start: workers are not to be shown under its name."""
    registry = CollectorRegistry()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as daemon:
        ProcessCollector("db", pid=lambda: daemon.pid, registry=registry)
        ProcessCollector("own", pid=os.getpid, registry=registry)
        ProcessCollector("missing", pid=Path(tmp_path, "pid").read_text, registry=registry)
        metrics = mounted(registry, tmp_path)
        lines(metrics)
        assert recorder_of(metrics).membership.member is not None
        found = lines(metrics)
        (theirs,) = (
            family.samples[0].value
            for family in ProcessCollector(pid=lambda: daemon.pid, registry=None).collect()
            if family.name == "process_start_time_seconds"
        )
        daemon.communicate(b"\n")
    assert found["db_process_start_time_seconds"] == theirs
    assert found["own_process_start_time_seconds"] <= theirs  # this process made the daemon
    assert "missing_process_open_fds" not in found
    assert found["red_instrumentation_errors_total"] == 1.0
    assert "collector ProcessCollector" in caplog.text


OTHER = """
import sys
from red_middleware.workers.cells import WorkerFile
from red_middleware.workers.directory import open_directory
from red_middleware.workers.index import Index
directory = open_directory(sys.argv[2], "owner", sys.argv[1])
file = WorkerFile(directory, int(sys.argv[3]), Index(directory).id)
print("ready", flush=True)
sys.stdin.read()
"""
