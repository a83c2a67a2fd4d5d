"""Which processes are one group beside the workers of one server: by name, among containers, users and boots."""

import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from red_middleware.workers import group
from red_middleware.workers.group import find_group, founder_of, name_for
from red_middleware.workers.proc import (
    NOBODY,
    PARENT,
    STARTED,
    Process,
    boot_id,
    stat_field,
    subinterpreters,
    this_process,
)
from red_middleware.workers.record import Record, Stay
from red_middleware.workers.servers.gunicorn import find_predecessor

from ..e2e import require_packages
from .parents import __name__ as parents
from .running import ASGI, PORT, Kind, Servers, found_by, group_of, gunicorn, python, require_namespaces, without_proc

TWO_JOBS: Final = f'"$0" -m uvicorn --port "$1" {ASGI} & "$0" -m uvicorn --port "$2" {ASGI} & wait'
HONCHO: Final = ("-m", "honcho", "-f", "tests/workers/Procfile", "start")

SINGLE: Final = {
    "a shell": Kind(("sh", "-c", TWO_JOBS, sys.executable, PORT, PORT), ("uvicorn",)),
    "honcho": Kind(
        ("env", f"PYTHON={sys.executable}", f"ONE={PORT}", f"TWO={PORT}", sys.executable, *HONCHO),
        ("uvicorn", "honcho"),
        sessions=True,
    ),
    "mp.Process, fork": Kind(python(parents, "fork", PORT, PORT), ("uvicorn",)),
    "mp.Process, spawn": Kind(python(parents, "spawn", PORT, PORT), ("uvicorn",)),
    "os.fork": Kind(python(parents, "os.fork", PORT, PORT), ("uvicorn",)),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", SINGLE.values(), ids=SINGLE)
def test_servers_that_only_share_a_parent_are_single_unless_a_name_groups_them(kind: Kind, tmp_path: Path) -> None:
    """They are scrape targets of their own; where they share a socket, only the user knows."""
    with Servers(kind, tmp_path, ports=2) as servers:
        assert [servers.one(port=port).group for port in servers.ports] == [None, None]
        one, two = (servers.one("shop", port).group for port in servers.ports)
        assert one is not None
        assert one.master[:2] == (0, 0)
        assert one == two
        assert servers.one("shop", servers.ports[0]).master_is_alive
        assert one == find_group("shop")
        other = servers.one("other", servers.ports[0]).group
        assert other is not None
        assert other.key != one.key


@pytest.mark.once
def test_the_first_processes_of_two_pid_namespaces_are_two_masters(tmp_path: Path) -> None:
    """As in two containers: both masters are process 1, and may have started at the same tick."""
    kind = gunicorn()
    contained = kind._replace(command=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *kind.command))
    require_namespaces("--pid", "--fork", "--mount-proc")
    with Servers(contained, tmp_path) as servers, Servers(contained, tmp_path) as others:
        ours, theirs = ({answer.group for answer in each.workers()} for each in (servers, others))
        assert len(ours) == len(theirs) == 1
        one, two = ours.pop(), theirs.pop()
        assert one is not None
        assert two is not None
        assert one.master.pid == two.master.pid == 1
        assert one.boot == two.boot
        assert one.master.namespace != two.master.namespace
        assert one.key != two.key
        by_name = {group.key for each in (servers, others) if (group := each.one("shop").group)}
        ours_by_name = find_group("shop")
        assert ours_by_name is not None
        assert by_name == {ours_by_name.key}


def test_a_proc_of_another_pid_namespace_is_not_believed(tmp_path: Path) -> None:
    """A container with the host's /proc: there a master's number is somebody else's."""
    kind = gunicorn()
    require_namespaces("--pid", "--fork")
    with Servers(kind._replace(command=("unshare", "--pid", "--fork", "--kill-child", *kind.command)), tmp_path) as it:
        for answer in it.workers():
            assert answer.group is None
            assert "/proc shows another pid namespace" in answer.unknown


def test_without_proc_a_worker_says_that_it_cannot_tell_its_group() -> None:
    """As on macOS: no group is better than a wrong one, but somebody must see it. A single process needs no /proc."""
    require_namespaces("--mount")
    assert found_by("pass", *without_proc()) is None
    with pytest.raises(subprocess.CalledProcessError):
        found_by("pass", *without_proc(), name="shop")


def test_another_user_is_another_group() -> None:
    """A worker does not look for files that it may not open."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    ours, theirs = find_group("shop"), found_by("os.seteuid(65534)", name="shop")
    assert ours is not None
    assert theirs is not None
    assert theirs == ours._replace(key=theirs.key)
    assert theirs.key != ours.key


@pytest.mark.parametrize("name", ["shop", None])
def test_a_name_makes_one_group_of_all_interpreters(name: str | None, tmp_path: Path) -> None:
    """Who makes them, mod_wsgi for one, may do so in another order in each process. A server's own are told apart."""
    interpreters = subinterpreters
    is_new = interpreters.__name__ == "_interpreters"
    other = interpreters.create("legacy") if is_new else interpreters.create(isolated=False)
    program = f"""if True:
        import json, sys
        sys.path[:0] = {sys.path!r}
        from red_middleware.workers import group
        group.find_master = lambda: {os.getpid()}
        with open({str(tmp_path / "found")!r}, "w") as file:
            json.dump(group.find_group({name!r}), file)
    """
    interpreters.run_string(other, program)
    interpreters.destroy(other)
    found = group_of(json.loads((tmp_path / "found").read_text()))
    ours = found_by(f"from red_middleware.workers import group; group.find_master = lambda: {os.getpid()}", name=name)
    assert found is not None
    assert ours is not None
    assert (found.key == ours.key) == (name is not None)


def test_a_directory_is_named_by_group_and_mark() -> None:
    """The tables of one process stay apart, and so do the workers before and after a changed option."""
    shop, other = find_group("shop"), find_group("other")
    assert shop is not None
    assert other is not None
    names = [name_for(group, mark) for group in (shop, other) for mark in ("a", "b")]
    assert len(set(names)) == 4
    assert name_for(shop, "a") == names[0]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)


OLD: Final = this_process()
"""The master that has started the new one."""
NEW: Final = NOBODY
"""Stands for the new one, which is started later."""
OTHER: Final = Process(os.getppid(), stat_field(os.getppid(), STARTED), OLD.namespace)
"""A master that lives, and has not started the new one."""
FOUNDER: Final = Process(1, 1, OLD.namespace)


def record(founder: Process, *others: Process, boot: str = "") -> Record:
    """Return what a directory records of a line of masters, all of whom had workers there."""
    stays = tuple(Stay(one, since) for since, one in enumerate((founder, *others)))
    return Record(boot or boot_id(), founder, "table", stays)


@contextlib.contextmanager
def re_executed(predecessor: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Start a process as gunicorn starts a new master, and let this one be a worker of gunicorn."""
    require_packages("gunicorn")
    importlib.import_module("gunicorn.arbiter")
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    with subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        env={**os.environ, "GUNICORN_PID": str(predecessor)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield Process(process.pid, stat_field(process.pid, STARTED), OLD.namespace)
        process.communicate(b"\n")


@pytest.mark.parametrize(
    ("variable", "records", "founder"),
    [
        ("", [], NEW),
        ("", [record(FOUNDER, NEW), record(OLD)], FOUNDER),
        (OLD.pid, [], OLD),
        (OLD.pid, [record(FOUNDER, OLD)], FOUNDER),
        (OLD.pid, [record(OLD)], OLD),
        (OLD.pid, [record(FOUNDER, OLD, boot="another")], OLD),
        (1, [record(FOUNDER._replace(started=2)), record(FOUNDER)], FOUNDER._replace(started=2)),
        (OTHER.pid, [record(OTHER)], NEW),
        (2**22 + 1, [record(FOUNDER)], NEW),
        (-1, [record(FOUNDER)], NEW),
    ],
    ids=[
        "none before it",
        "known by the records",
        "its parent",
        "its parent, who followed another one",
        "its parent, who is known",
        "records of another boot",
        "the younger of one number",
        "a server that a worker of another one started",
        "one that left nothing",
        "no number",
    ],
)
def test_the_founder_of_a_line_of_masters(
    variable: int | str, records: list[Record], founder: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new master of gunicorn says in its environment who the old one was; who was before that, the records say."""
    with re_executed(variable, monkeypatch) as new:

        def real(process: Process) -> Process:
            return new if process == NEW else process

        known = {
            str(number): one._replace(stays=tuple(stay._replace(master=real(stay.master)) for stay in one.stays))
            for number, one in enumerate(records)
        }
        assert founder_of(new, boot_id(), known) == real(founder)
        monkeypatch.delenv("SERVER_SOFTWARE")  # a program that a worker started inherits the other variable
        assert founder_of(new, boot_id(), {}) == new


def test_masters_whose_workers_served_nothing_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is recorded of the second, which has forgotten the first; its environment from its start has not."""
    with re_executed(FOUNDER.pid, monkeypatch) as second:
        assert founder_of(second, boot_id(), {"a": record(FOUNDER)}) == FOUNDER
        monkeypatch.setattr(group, "find_predecessor", {3: second.pid}.get)
        monkeypatch.setattr(group, "stat_field", lambda pid, field: {PARENT: second.pid, STARTED: 5}[field])
        third = Process(3, 6, OLD.namespace)
        assert founder_of(third, boot_id(), {}) == second._replace(started=5)


def test_the_environment_of_another_users_master_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has become another user has inherited the variable from its own master, and from no other."""

    def refuse(path: str, mode: str) -> None:
        raise PermissionError(path)

    with re_executed(17, monkeypatch) as master:
        monkeypatch.setenv("GUNICORN_PID", "18")
        assert find_predecessor(master.pid) == 17
        monkeypatch.setattr("builtins.open", refuse)
        assert find_predecessor(master.pid) is None
        assert find_predecessor(os.getppid()) == 18
