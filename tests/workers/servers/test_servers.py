"""The two questions that all servers are asked, where their modules are half imported or somebody's stub."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from red_middleware.workers import servers


@pytest.fixture
def half_a_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while another thread imports it: the module is there, and its class is not."""
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", ModuleType("gunicorn.arbiter"))
    sys.modules["gunicorn.arbiter"].Arbiter = "none yet"  # type: ignore[attr-defined]  # not a real one


@pytest.mark.usefixtures("half_a_gunicorn")
def test_half_a_module_makes_nobody_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it raise, with one such server and with two."""
    assert not servers.is_early()
    assert servers.find_master() is None
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    assert not servers.is_early()
    assert servers.find_master() is None


@pytest.mark.usefixtures("half_a_gunicorn")
def test_half_a_module_of_one_server_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uWSGI master joins nothing, whatever the app has imported of other servers."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
    assert servers.is_early()


def test_a_process_without_a_server_has_no_master() -> None:
    """As the one that runs the tests."""
    assert servers.find_master() is None
    assert not servers.is_early()


@pytest.mark.parametrize(("uwsgi", "slots"), [(SimpleNamespace(cores=4), 4), (ModuleType("uwsgi"), 0)], ids=str)
def test_uwsgi_tells_how_many_requests_a_worker_serves_at_a_time(
    uwsgi: object, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cores. A stub that does not say so is no fault; neither is a process without any server."""
    assert servers.find_slots() == 0
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    assert servers.find_slots() == slots
