"""Which processes are one group beside the workers of one server: by name, among containers, users and boots."""

import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from red_middleware.workers.group import find_group, founder_of, kept_seconds, name_for, outdated
from red_middleware.workers.proc import STARTED, Process, boot_id, stat_field, subinterpreters, this_process

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


@pytest.mark.prefork
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


@pytest.mark.prefork
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


def master(change: int = 0, namespace: int = 0) -> Process:
    """Return this process, or one that differs from it by its start or its pid namespace."""
    ours = this_process()
    return Process(ours.pid, ours.started + change, ours.namespace + namespace)


@pytest.mark.parametrize(
    ("master", "boot", "seconds"),
    [
        (master(), "", math.inf),
        (master(change=1), "", 0.0),
        (master(namespace=1, change=1), "", 3600.0),
        (master(), "another-", 0.0),
        (master()._replace(pid=0, started=0), "", 7 * 24 * 3600.0),
    ],
    ids=["it lives", "it ended", "it is in another pid namespace", "it was before this boot", "a name has no master"],
)
def test_how_long_a_group_is_kept_without_a_worker(master: Process, boot: str, seconds: float) -> None:
    """What the group of a master writes down is enough for any later worker of this machine to tell."""
    ours = find_group("shop")
    assert ours is not None
    group = ours._replace(master=master, founder=master, boot=boot + ours.boot)
    assert kept_seconds(group.record("table")) == seconds


def test_a_spoilt_record_proves_nothing() -> None:
    """It raises, and whoever cleans up goes on with the next group."""
    with pytest.raises(ValueError, match="not enough values"):
        kept_seconds("spoilt")


def test_a_group_is_kept_while_any_of_its_masters_lives() -> None:
    """The founder has ended, and the one that followed it has not."""
    shop = find_group("shop")
    assert shop is not None
    assert kept_seconds(shop._replace(founder=master(change=-1), master=master()).record("table")) == math.inf
    assert kept_seconds(shop._replace(founder=master(change=-1), master=master(change=1)).record("table")) == 0.0


def record(*masters: Process, table: str = "table", boot: str = "") -> str:
    """Return what a directory records of a line of masters."""
    shop = find_group("shop")
    assert shop is not None
    first, *others = masters
    text = shop._replace(boot=boot or shop.boot, founder=first, master=first).record(table)
    return "\n".join([text, *(f"{shop.boot} {one.namespace} {one.pid} {one.started}" for one in others)])


PREDECESSOR: Final = Process(os.getppid(), stat_field(os.getppid(), STARTED), master().namespace)
FOUNDER: Final = Process(1, 1, master().namespace)


@pytest.mark.parametrize(
    ("variable", "records", "founder"),
    [
        ("", {}, master()),
        ("", {"a": record(FOUNDER, master()), "spoilt": "spoilt"}, FOUNDER),
        (str(os.getppid()), {}, PREDECESSOR),
        (str(os.getppid()), {"a": record(FOUNDER, PREDECESSOR)}, FOUNDER),
        (str(os.getppid()), {"a": record(PREDECESSOR)}, PREDECESSOR),
        (str(os.getppid()), {"a": record(FOUNDER, PREDECESSOR, boot="another")}, PREDECESSOR),
        ("1", {"a": record(FOUNDER._replace(started=2)), "b": record(FOUNDER)}, FOUNDER._replace(started=2)),
        (str(2**22 + 1), {"a": record(FOUNDER)}, master()),
        ("-1", {"a": record(FOUNDER)}, master()),
    ],
    ids=[
        "none before it",
        "known by the records",
        "its parent",
        "its parent, who followed another one",
        "its parent, who is known",
        "records of another boot",
        "the younger of one number",
        "one that left nothing",
        "no number",
    ],
)
def test_the_founder_of_a_line_of_masters(
    variable: str, records: dict[str, str], founder: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new master of gunicorn knows the old one as long as that lives; after that only the records do."""
    require_packages("gunicorn")
    importlib.import_module("gunicorn.arbiter")
    monkeypatch.setenv("GUNICORN_PID", variable)
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    assert founder_of(master(), boot_id(), records) == founder
    monkeypatch.delenv("SERVER_SOFTWARE")  # a program that a worker started inherits the other variable
    assert founder_of(master(), boot_id(), {}) == master()


def test_what_a_master_has_left_behind() -> None:
    """Its own table by other options, and by these from before it had the others; nothing of a group with a name."""
    shop = find_group("shop")
    assert shop is not None
    group = shop._replace(master=master(), founder=master())
    old, ours, other = (group.record(table) for table in ("t", "t", "another"))
    assert outdated(group, "new", "t", {}) == []
    assert outdated(group, "ours", "t", {"old": old, "ours": ours, "other": other, "spoilt": "spoilt"}) == ["old"]
    assert outdated(group, "old", "t", {"old": old, "ours": ours}) == ["ours", "old"]
    assert outdated(group, "new", "t", {"before": record(master(), table="t", boot="another")}) == []
    assert outdated(shop, "old", "t", {"old": old, "ours": ours}) == []
