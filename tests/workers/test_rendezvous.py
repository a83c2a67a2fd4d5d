"""Which processes are one group, asked of real servers and of what starts them."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from red_middleware.workers.rendezvous import Group, find_group, is_alive, is_booting, is_master, name_for

from ..e2e import ROOT, require, require_packages
from ..e2e.servers import poll
from .apps import CHILD
from .parents import __name__ as parents
from .servers import ASGI, PORT, WSGI, Kind, Servers, granian, gunicorn, hypercorn, python, uvicorn, uwsgi

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
@pytest.mark.parametrize("kind", PREFORK.values(), ids=PREFORK)
def test_the_workers_of_one_master_are_one_group(kind: Kind, tmp_path: Path) -> None:
    """All of them, those that replace a killed one, and those that follow a reload; another master's are not."""
    with Servers(kind, tmp_path) as servers, Servers(kind, tmp_path) as others:
        workers = servers.workers()
        group = workers[0].group
        assert group is not None
        assert {answer.group for answer in workers} == {group}
        assert group.master == (workers[0].parent if kind.reload else servers.process.pid)
        assert all(answer.master_is_alive for answer in workers)
        assert not any(answer.is_master for answer in workers)
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
    assert not is_alive(group.master, group.master_started)


@pytest.mark.prefork
def test_a_reloader_and_its_server_are_one_group(tmp_path: Path) -> None:
    """Counts go on after a change of the code."""
    watched = tmp_path / "watched.py"
    watched.touch()
    with Servers(uvicorn("--reload", f"--reload-dir={tmp_path}"), tmp_path) as servers:
        first = second = servers.one()

        def reloaded() -> bool:
            nonlocal second
            watched.touch()  # again, as it looks for changes since it first looked
            second = servers.one()
            return second.pid != first.pid

        poll("another process", reloaded)
    assert first.group is not None
    assert first.group == second.group


@pytest.mark.prefork
@pytest.mark.parametrize("kind", SINGLE.values(), ids=SINGLE)
def test_servers_that_only_share_a_parent_are_single_unless_a_name_groups_them(kind: Kind, tmp_path: Path) -> None:
    """They are scrape targets of their own; where they share a socket, only the user knows."""
    with Servers(kind, tmp_path, ports=2) as servers:
        assert [servers.one(port=port).group for port in servers.ports] == [None, None]
        one, two = (servers.one("shop", port).group for port in servers.ports)
        assert one is not None
        assert (one.master, one.master_started) == (0, 0)
        assert one == two
        assert servers.one("shop", servers.ports[0]).master_is_alive
        assert one == find_group("shop")
        other = servers.one("other", servers.ports[0]).group
        assert other is not None
        assert other.key != one.key


@pytest.mark.prefork
@pytest.mark.parametrize(
    ("options", "preforks"), [(["--master"], True), (["--master", "--lazy-apps"], False), ([], True)], ids=str
)
def test_uwsgi_says_when_its_workers_are_still_to_come(options: list[str], preforks: bool, tmp_path: Path) -> None:
    """What happens on import, a warm-up request perhaps, joins no group yet."""
    with Servers(uwsgi(*options), tmp_path) as servers:
        assert servers.one().imported_by_master is preforks


@pytest.mark.prefork
@pytest.mark.parametrize(("options", "groups"), [((), 2), (("--single-interpreter",), 1)], ids=str)
def test_apps_that_one_uwsgi_mounts_are_groups_of_their_own(
    options: tuple[str, ...], groups: int, tmp_path: Path
) -> None:
    """Each in an interpreter of its own, with metrics of its own; in one interpreter the default ones are shared."""
    mounted = ("--master", f"--mount=/other={WSGI}", "--manage-script-name")
    with Servers(uwsgi(*mounted, *options), tmp_path) as servers:
        found = {answer.group for answer in servers.workers()}
        servers.path = "/other"
        found |= {answer.group for answer in servers.workers()}
    assert None not in found
    assert len(found) == groups


@pytest.mark.prefork
def test_a_worker_of_one_uwsgi_process_needs_a_master_to_be_a_group(tmp_path: Path) -> None:
    """With one, its successor goes on where it ended; without, there is none."""
    single = uwsgi("--processes=1")
    with Servers(single, tmp_path) as servers, Servers(uwsgi("--master", "--processes=1"), tmp_path) as mastered:
        assert servers.one().group is None
        assert mastered.one().group is not None


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
        assert one.master == two.master == 1
        assert one.boot == two.boot
        assert one.pid_namespace != two.pid_namespace
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


def test_another_user_is_another_group() -> None:
    """Whoever may not open the files does not look for them."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    ours, theirs = find_group("shop"), found_by("os.seteuid(65534)", name="shop")
    assert ours is not None
    assert theirs is not None
    assert theirs == ours._replace(key=theirs.key)
    assert theirs.key != ours.key


@pytest.mark.prefork
@pytest.mark.parametrize("name", PREFORK)
def test_what_a_worker_forks_is_no_worker(name: str, tmp_path: Path) -> None:
    """A child that does some work and records it would found a group that nobody ever scrapes."""
    with Servers(PREFORK[name], tmp_path) as servers:
        assert servers.one().group is not None
        child = servers.one(CHILD)
        assert "without master" in name or child.parent != servers.process.pid
        assert child.group is None


@pytest.mark.parametrize("handled", [False, True])
def test_what_handles_no_signal_of_gunicorn_is_its_master(handled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it imports the app; a worker whose app handles them all itself is known by being forked."""
    require_packages("gunicorn")
    importlib.import_module("gunicorn.arbiter")
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    default = signal.signal(signal.SIGTERM, print if handled else signal.SIG_DFL)
    try:
        assert find_group() is None  # who runs the tests was not forked
    finally:
        signal.signal(signal.SIGTERM, default)
    does = "import gunicorn.arbiter, signal; os.environ['SERVER_SOFTWARE'] = 'gunicorn/27.0.1'"
    if handled:
        does += "; [signal.signal(number, print) for number in (signal.SIGTERM, signal.SIGUSR1)]"
    fork = "; os.fork() and (os.wait(), os._exit(0))"
    assert (found_by(does + fork) is not None) == handled


def test_what_a_gunicorn_worker_runs_is_no_worker() -> None:
    """A program of its own inherits the variable, and may import what it likes."""
    require_packages("gunicorn")
    inherits = "os.environ['SERVER_SOFTWARE'] = 'gunicorn/27.0.1'"
    assert found_by(f"import gunicorn.arbiter; {inherits}") is None


def test_half_a_module_makes_nobody_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be imported by another thread at this moment, or be somebody's stub."""
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", ModuleType("gunicorn.arbiter"))
    sys.modules["gunicorn.arbiter"].Arbiter = "none yet"  # type: ignore[attr-defined]  # not a real one
    assert not is_booting()
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    assert find_group() is None
    assert not is_master()


def test_without_proc_a_worker_says_so_and_nobody_is_proved_gone() -> None:
    """As on macOS: no group is better than a wrong one, but it is to be seen. Who is no worker needs none."""
    require_namespaces("--mount")
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
    assert found_by("assert is_alive(os.getpid(), 1)", *hidden) is None
    with pytest.raises(subprocess.CalledProcessError):
        found_by("pass", *hidden, name="shop")


def test_a_master_is_gone_when_its_number_is_free_or_anothers() -> None:
    """Whatever it calls itself: the kernel lets a name hold spaces and brackets."""
    rename = "open('/proc/self/comm', 'w').write(') R 1 (('); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        fields = Path(f"/proc/{process.pid}/stat").read_text().removeprefix(f"{process.pid} () R 1 (() ").split()
        started = int(fields[22 - 3])  # proc_pid_stat(5) counts from 1, and two are cut off
        assert is_alive(process.pid, started)
        assert not is_alive(process.pid, started - 1)
        process.kill()
    assert not is_alive(process.pid, started)


@pytest.mark.parametrize("number", [0, -1, 1 << 80])
def test_what_is_no_process_is_not_proved_gone(number: int) -> None:
    """A group by name has no master, and a record may be spoilt."""
    assert is_alive(number, 0)


def test_a_directory_is_named_by_group_and_layout() -> None:
    """The tables of one process stay apart, and so do the workers before and after a changed option."""
    shop, other = find_group("shop"), find_group("other")
    assert shop is not None
    assert other is not None
    names = [name_for(group, layout) for group in (shop, other) for layout in ("a", "b")]
    assert len(set(names)) == 4
    assert name_for(shop, "a") == names[0]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)


def found_by(statement: str, *launcher: str, name: str | None = None) -> Group | None:
    """Return the group that a new process finds after a statement."""
    program = f"""if True:
        import json, os
        from red_middleware.workers.rendezvous import find_group, is_alive
        {statement}
        print(json.dumps(find_group({name!r})))
    """
    output = subprocess.run([*launcher, sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(output.stdout)
    return found and Group(*found)


def require_namespaces(*options: str) -> None:
    """Skip the test where the kernel refuses; that is no package that CI could install."""
    require("unshare is not installed: apt-get install util-linux", shutil.which("unshare"))
    tried = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"not permitted: {tried.stderr.strip()}")
