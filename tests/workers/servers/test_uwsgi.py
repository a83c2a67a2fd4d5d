"""What only uWSGI does: it imports the app before it forks, has interpreters of its own, and decides alone."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from red_middleware.workers.servers import find_master

from ..running import WSGI, Servers, uwsgi


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "imports_early"), [(["--master"], True), (["--master", "--lazy-apps"], False), ([], True)], ids=str
)
def test_uwsgi_is_early_while_its_workers_are_still_to_come(
    options: list[str], imports_early: bool, tmp_path: Path
) -> None:
    """What happens on import, a warm-up request perhaps, joins no group yet."""
    with Servers(uwsgi(*options), tmp_path) as servers:
        assert servers.one().imported_early is imports_early


@pytest.mark.once
@pytest.mark.parametrize(("options", "groups"), [((), 2), (("--single-interpreter",), 1)], ids=str)
def test_apps_that_one_uwsgi_mounts_are_groups_of_their_own(
    options: tuple[str, ...], groups: int, tmp_path: Path
) -> None:
    """Each has an interpreter and metrics of its own; in one interpreter the apps share the default metrics."""
    mounted = ("--master", f"--mount=/other={WSGI}", "--manage-script-name")
    with Servers(uwsgi(*mounted, *options), tmp_path) as servers:
        found = {answer.group for answer in servers.workers()}
        servers.path = "/other"
        found |= {answer.group for answer in servers.workers()}
    assert None not in found
    assert len(found) == groups


@pytest.mark.once
def test_a_worker_of_one_uwsgi_process_needs_a_master_to_be_a_group(tmp_path: Path) -> None:
    """With a master, the worker's successor goes on where it ended; without one, there is no successor."""
    single = uwsgi("--processes=1")
    with Servers(single, tmp_path) as servers, Servers(uwsgi("--master", "--processes=1"), tmp_path) as mastered:
        assert servers.one().group is None
        assert mastered.one().group is not None


def test_where_uwsgi_runs_no_other_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app may start processes that look like another server's; a worker of uWSGI they are not."""
    process = SimpleNamespace(
        parent_process=lambda: SimpleNamespace(pid=os.getppid()),
        current_process=lambda: SimpleNamespace(
            _target=SimpleNamespace(__module__="granian.server.mp", __name__="worker")
        ),
    )
    monkeypatch.setitem(sys.modules, "multiprocessing.process", process)
    assert find_master() == os.getppid()
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(masterpid=lambda: 0, numproc=1))
    assert find_master() is None
