"""uvicorn, hypercorn and granian start workers by `multiprocessing`: which of its children is one, asked of such."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Final

import pytest

from red_middleware.workers.servers import find_master
from red_middleware.workers.servers.worker_function import OrphanError

from ...e2e import ROOT

PROGRAM: Final = """
import multiprocessing, os, signal, sys
from red_middleware.workers.servers import find_master
def function(then):
    if then == "fork" and os.fork():
        os.wait()
        return
    if then == "orphan":
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass
        try:
            print(find_master(), flush=True)
        except OSError as error:
            print(type(error).__name__, str(parent) in str(error), flush=True)
        return
    print(find_master() == os.getppid(), find_master() is None, flush=True)
function.__module__, function.__name__, then = sys.argv[1:]
child = multiprocessing.get_context("fork").Process(target=function, args=(then,))
child.start()
child.join()
"""

WORKERS: Final = [
    ("uvicorn._subprocess", "subprocess_started"),
    ("hypercorn.asyncio.run", "asyncio_worker"),
    ("hypercorn.asyncio.run", "uvloop_worker"),
    ("hypercorn.trio.run", "trio_worker"),
    ("granian.server.mp", "_spawn_asgi_worker"),
]

OTHERS: Final = [
    ("shop.jobs", "subprocess_started"),
    ("uvicorn._subprocess", "another"),
    ("hypercorn.run", "another"),
    ("hypercornish", "asyncio_worker"),
    ("granian.server.threads", "worker"),
]


def said(module: str, name: str, then: str = "") -> str:
    """Return whether a child with this function finds its parent as its master, and whether it finds none."""
    command = [sys.executable, "-c", PROGRAM, module, name, then]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=then != "orphan").stdout.strip()


@pytest.mark.parametrize(("module", "name"), WORKERS)
def test_a_child_that_runs_a_servers_function_is_a_worker(module: str, name: str) -> None:
    """Its parent is the master; what the child forks in turn is no worker."""
    assert said(module, name) == "True False"
    assert said(module, name, then="fork") == "False True"


@pytest.mark.parametrize(("module", "name"), WORKERS)
def test_a_worker_whose_master_has_ended_says_so(module: str, name: str) -> None:
    """It serves on, and so do others, each with numbers of its own."""
    assert said(module, name, then="orphan") == "OrphanError True"


@pytest.mark.parametrize(("lives", "function"), [(True, "subprocess_started"), (False, "another")])
def test_what_is_no_orphan_has_no_master(monkeypatch: pytest.MonkeyPatch, lives: bool, function: str) -> None:
    """A child that a worker forked itself, or one that runs no server's function."""
    monkeypatch.setitem(sys.modules, "multiprocessing.process", child_of(lives, function))
    assert find_master() is None


def test_an_orphan_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multiprocessing.process", child_of(False, "subprocess_started"))
    with pytest.raises(OrphanError, match="process -1, which started this worker, has ended"):
        find_master()


def child_of(lives: bool, function: str) -> Any:
    """Return what `multiprocessing` says in a child of process -1."""
    return SimpleNamespace(
        parent_process=lambda: SimpleNamespace(pid=-1, is_alive=lambda: lives),
        current_process=lambda: SimpleNamespace(
            _target=SimpleNamespace(__module__="uvicorn._subprocess", __name__=function)
        ),
    )


@pytest.mark.parametrize(("module", "name"), OTHERS)
def test_a_child_that_runs_another_function_is_no_worker(module: str, name: str) -> None:
    """A user's program may start single servers this way."""
    assert said(module, name) == "False True"
