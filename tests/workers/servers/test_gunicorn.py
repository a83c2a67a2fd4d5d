"""What only gunicorn does: whoever handles its signals tells a worker from its master and from their children."""

import importlib
import os
import signal
from types import SimpleNamespace

import pytest

from red_middleware.workers import servers

from ...e2e import require_packages
from ..running import found_by

INHERITS = "import gunicorn.arbiter; os.environ['SERVER_SOFTWARE'] = 'gunicorn/27.0.1'"


@pytest.mark.parametrize("handled", [False, True])
def test_a_process_that_handles_no_signal_of_gunicorn_is_its_master(
    handled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while it imports the app. A worker whose app handles every signal itself is known by being forked."""
    require_packages("gunicorn")
    importlib.import_module("gunicorn.arbiter")
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    default = signal.signal(signal.SIGTERM, print if handled else signal.SIG_DFL)
    try:
        assert servers.find_master() is None  # the process that runs the tests was not forked
    finally:
        signal.signal(signal.SIGTERM, default)
    does = f"import signal; {INHERITS}"
    if handled:
        does += "; [signal.signal(number, print) for number in (signal.SIGTERM, signal.SIGUSR1)]"
    fork = "; os.fork() and (os.wait(), os._exit(0))"
    assert (found_by(does + fork) is not None) == handled


def test_a_program_that_a_gunicorn_worker_runs_is_no_worker() -> None:
    """It inherits the variable, and may import what it likes."""
    require_packages("gunicorn")
    assert found_by(INHERITS) is None


def test_a_child_of_gunicorn_is_early_until_it_handles_signals_as_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the hook `post_fork` the handlers are still its master's, whose pid is another one."""
    require_packages("gunicorn")
    master = object.__new__(importlib.import_module("gunicorn.arbiter").Arbiter)
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    before = signal.signal(signal.SIGTERM, master.handle_term)
    try:
        for pid, is_early in ((os.getpid() + 1, True), (os.getpid(), False)):
            master.pid = pid
            assert servers.is_early() == is_early
            assert servers.find_master() is None
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not servers.is_early()


@pytest.mark.parametrize(
    ("kind", "slots"), [("sync.SyncWorker", 1), ("gthread.ThreadWorker", 3), ("base.Worker", 0)], ids=str
)
def test_a_worker_of_gunicorn_tells_how_many_requests_it_serves_at_a_time(
    kind: str, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by `sync`, its threads by `gthread`; of event loops nothing is known, nor of a worker's own child."""
    require_packages("gunicorn")
    importlib.import_module("gunicorn.arbiter")
    module, _, name = kind.partition(".")
    worker = object.__new__(getattr(importlib.import_module(f"gunicorn.workers.{module}"), name))
    worker.cfg = SimpleNamespace(threads=3)
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    before = signal.signal(signal.SIGTERM, worker.handle_exit)
    try:
        for pid, found in ((os.getpid(), slots), (os.getpid() + 1, 0)):
            worker.pid = pid
            assert servers.find_slots() == found
    finally:
        signal.signal(signal.SIGTERM, before)
