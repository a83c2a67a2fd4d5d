"""A process that has siblings and shares nothing with them says so, and one without siblings never does."""

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.workers.siblings import sign_of_siblings

from ..e2e.servers import get, poll
from .alone import __name__ as alone
from .members import Named
from .running import PORT, Kind, Servers, gunicorn, python

SAYS = "multiprocess_name="

MASTER = """
def when_ready(server):
    from prometheus_client import start_http_server
    from tests.workers.alone import METRICS
    start_http_server(int(server.cfg.proc_name), "127.0.0.1", METRICS.registry)
"""


def isolated(port: int) -> bool:
    """Return what the process that answers says of itself."""
    found = re.search(r"^red_worker_isolated (\S+)$", get(f"http://127.0.0.1:{port}/metrics").decode(), re.MULTILINE)
    assert found
    return found[1] == "1.0"


def listens(port: int) -> bool:
    try:
        return bool(get(f"http://127.0.0.1:{port}/"))
    except OSError:
        return False


def wait_for(servers: Servers) -> None:
    def answers() -> bool:
        assert servers.process.poll() is None, servers.log.read_text()
        return listens(servers.ports[0])

    poll("an answer", answers)


@pytest.mark.once
@pytest.mark.parametrize("way", ["forking wsgiref", "forking Werkzeug", "forked uvicorn", "spawned uvicorn"])
def test_a_process_that_is_one_of_several_says_so(way: str, tmp_path: Path) -> None:
    """Each shows its own numbers only. The log tells what to set."""
    with Servers(Kind(python(alone, way, PORT), ("uvicorn", "werkzeug")), tmp_path) as servers:
        wait_for(servers)
        poll("all of them have begun", lambda: isolated(servers.ports[0]))
        assert SAYS in servers.log.read_text()


@pytest.mark.once
@pytest.mark.parametrize(
    "way", ["plain wsgiref", "reloading Werkzeug", "one forked uvicorn", "uvicorn beside an heir", "single uvicorn"]
)
def test_a_process_that_serves_alone_gives_no_alarm(way: str, tmp_path: Path) -> None:
    """Also where its parent holds the socket, or another program runs beside it."""
    with Servers(Kind(python(alone, way, PORT), ("uvicorn", "werkzeug")), tmp_path) as servers:
        wait_for(servers)
        assert not any(isolated(servers.ports[0]) for _ in range(3))
        assert SAYS not in servers.log.read_text()


@pytest.mark.once
def test_an_endpoint_in_the_master_of_gunicorn_tells_of_its_workers(tmp_path: Path) -> None:
    """It is none of them. Until one has served something, it says that it has nothing of theirs."""
    (tmp_path / "conf.py").write_text(MASTER)
    kind = gunicorn("--preload", f"--config={tmp_path / 'conf.py'}", f"--name={PORT}", app=f"{alone}:wsgi")
    with Servers(kind, tmp_path, ports=2) as servers:
        port, master = servers.ports
        poll("the master listens", lambda: listens(master))
        assert isolated(master)
        wait_for(servers)
        assert not isolated(port)
        for _ in range(20):
            get(f"http://127.0.0.1:{port}/")
        for own in (master, port, master):
            shown = get(f"http://127.0.0.1:{own}/metrics").decode()
            served = re.findall(r"^http_requests_total{.*} (\S+)$", shown, re.MULTILINE)
            assert sum(map(float, served)) >= 21
            assert "red_worker_isolated 0.0" in shown
            workers = re.search(r"^red_workers (\S+)$", shown, re.MULTILINE)
            assert workers
            assert 1 <= float(workers[1]) <= kind.workers


def test_without_proc_nothing_shows_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, or where the parent is in another pid namespace."""
    monkeypatch.setattr(os, "getppid", lambda: 2**22 + 1)
    assert sign_of_siblings() is None


def test_who_shares_nothing_by_choice_has_no_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `multiprocess_dir=None` each worker has its own numbers, as the user wants."""
    monkeypatch.setitem(sys.modules, "mod_wsgi", SimpleNamespace(maximum_processes=3))
    metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
    assert metrics.snapshot()["red_worker_isolated"] == 0.0


def test_mod_wsgi_says_how_many_processes_it_has(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module holds the number inside of Apache only."""
    metrics = named(name=None)
    for maximum, expected in ((1, 0.0), (3, 1.0)):
        monkeypatch.setitem(sys.modules, "mod_wsgi", SimpleNamespace(maximum_processes=maximum))
        assert metrics.snapshot()["red_worker_isolated"] == expected
