"""What holds for every prefork server, asked of real ones. To add a server, add its ways to serve to `PREFORK`."""

import os
from pathlib import Path
from typing import Final

import pytest

from red_middleware.workers.proc import is_alive

from ..apps import CHILD
from ..running import ASGI, Kind, Servers, granian, gunicorn, hypercorn, uvicorn, uwsgi

UVICORN_WORKER: Final = "--worker-class=uvicorn_worker.UvicornWorker"

PREFORK: Final = {
    "gunicorn sync": gunicorn(),
    "gunicorn sync, preload": gunicorn("--preload"),
    "gunicorn gthread": gunicorn("--threads=2"),
    "gunicorn gthread, preload": gunicorn("--threads=2", "--preload"),
    "gunicorn uvicorn": gunicorn(UVICORN_WORKER, app=ASGI, packages=["uvicorn_worker"]),
    "gunicorn uvicorn, preload": gunicorn(UVICORN_WORKER, "--preload", app=ASGI, packages=["uvicorn_worker"]),
    "uvicorn": uvicorn(workers=3),
    "hypercorn": hypercorn(3),
    "hypercorn, one worker": hypercorn(1),
    "granian asgi": granian("asginl", ASGI),
    "granian wsgi": granian("wsgi", "tests.workers.apps:wsgi"),
    "uwsgi": uwsgi("--master"),
    "uwsgi, lazy apps": uwsgi("--master", "--lazy-apps"),
    "uwsgi without master": uwsgi(),
    "uwsgi without master, lazy apps": uwsgi("--lazy-apps"),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", PREFORK.values(), ids=PREFORK)
def test_the_workers_of_one_master_are_one_group(kind: Kind, tmp_path: Path) -> None:
    """So are those that replace a killed one or follow a reload; the workers of another master are not."""
    with Servers(kind, tmp_path) as servers, Servers(kind, tmp_path) as others:
        workers = servers.workers()
        group = workers[0].group
        assert group is not None
        assert {answer.group for answer in workers} == {group}
        assert group.master.pid == (workers[0].parent if kind.reload else servers.process.pid)
        assert all(answer.master_is_alive for answer in workers)
        assert not any(answer.is_early for answer in workers)
        other = others.one().group
        assert other is not None
        assert other.key != group.key

        if kind.kill:
            os.kill(workers[0].pid, kind.kill)
            workers += servers.workers(but=workers, number=1)
        if kind.reload:
            servers.process.send_signal(kind.reload)
            workers += servers.workers(but=workers)
        assert {answer.group for answer in workers} == {group}
    assert not is_alive(group.master)


@pytest.mark.once
@pytest.mark.parametrize("name", PREFORK)
def test_what_a_worker_forks_is_no_worker(name: str, tmp_path: Path) -> None:
    """A child that does some work and records it would found a group that nobody ever scrapes."""
    with Servers(PREFORK[name], tmp_path) as servers:
        assert servers.one().group is not None
        child = servers.one(CHILD)
        assert "without master" in name or child.parent != servers.process.pid
        assert child.group is None
