"""Real servers of `apps`, with workers and without, and what their processes say of their group."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from coverage import Coverage

from red_middleware.workers.group import Group
from red_middleware.workers.proc import Process

from ..e2e import ROOT, UWSGI, require, require_packages
from ..e2e.servers import get, poll
from ..ports import free_port
from .apps import MEASURE

WORKERS: Final = 3
PORT: Final = "{port}"
WSGI: Final = "tests.workers.apps:wsgi"
ASGI: Final = "tests.workers.apps:asgi"


class Kind(NamedTuple):
    """One way to serve.

    Args:
        command: With `PORT` where the port is to stand.
        packages: What it takes.
        workers: How many processes answer.
        kill: What ends a worker so that its master starts another; `None`: none would.
        reload: What makes the master replace all workers; `None`: there is no master.
    """

    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    workers: int = 1
    kill: signal.Signals | None = signal.SIGKILL
    reload: signal.Signals | None = signal.SIGHUP
    sessions: bool = False

    def require(self) -> None:
        """Skip the test where something is not installed, see `tests.e2e`."""
        require_packages(*self.packages)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def gunicorn(*options: str, app: str = WSGI, packages: Sequence[str] = ()) -> Kind:
    command = python(
        "gunicorn", f"--bind=127.0.0.1:{PORT}", f"--workers={WORKERS}", "--graceful-timeout=2", *options, app
    )
    return Kind(command, ("gunicorn", *packages), WORKERS)


def uvicorn(*options: str, workers: int = 1) -> Kind:
    return Kind(python("uvicorn", f"--port={PORT}", f"--workers={workers}", *options, ASGI), ("uvicorn",), workers)


def hypercorn(workers: int) -> Kind:
    command = python("hypercorn", f"--bind=127.0.0.1:{PORT}", f"--workers={workers}", ASGI)
    return Kind(command, ("hypercorn",), workers, kill=None)  # without one worker it ends


def granian(interface: str, app: str) -> Kind:
    options = (f"--interface={interface}", f"--workers={WORKERS}", "--respawn-failed-workers", "--respawn-interval=0.1")
    command = python("granian", f"--port={PORT}", *options, app)
    return Kind(command, ("granian",), WORKERS, reload=None)  # it may lose the signal while it replaces a worker


def uwsgi(*options: str) -> Kind:
    common = (f"--http-socket=127.0.0.1:{PORT}", f"--virtualenv={sys.prefix}", f"--module={WSGI}", "--need-app",
              "--die-on-term", f"--processes={WORKERS}")  # fmt: skip
    kind = Kind((str(UWSGI), *common, *options), ("uwsgi",), WORKERS)
    return kind if "--master" in options else kind._replace(kill=None, reload=None)


AT_ONCE: Final = 16
"""Requests: of those that come one by one, a busy machine's kernel may give all to the same worker."""


class Answer(NamedTuple):
    """What `apps` says."""

    pid: int
    parent: int
    imported_early: bool
    is_early: bool
    group: Group | None
    unknown: str
    master_is_alive: bool | None


def group_of(said: Any) -> Group | None:
    """Return the group that a process has written as JSON."""
    if said is None:
        return None
    key, master, boot, founder = said
    return Group(key, Process(*master), boot, Process(*founder))


class Servers:
    """One process and what it starts, which serve on one port or several. Killed at the end.

    Args:
        kind: What to start.
        directory: For its log.
        ports: How many.
    """

    def __init__(self, kind: Kind, directory: Path, ports: int = 1) -> None:
        kind.require()
        self.kind = kind
        self.ports = [free_port() for _ in range(ports)]
        self.path = "/"
        self.log = directory / f"log-{self.ports[0]}"
        chosen = iter(self.ports)
        command = [part.replace(PORT, str(next(chosen))) if PORT in part else part for part in kind.command]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HOME": str(directory)}
        environment |= {"XDG_RUNTIME_DIR": str(directory)}
        if Coverage.current():
            environment |= {MEASURE: "1", "COVERAGE_FILE": os.environ.get("COVERAGE_FILE", str(ROOT / ".coverage"))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
            )

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        if self.kind.sessions:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, name: str = "", port: int | None = None) -> Answer | None:
        """Return what one process says; `None` while nobody answers."""
        try:
            said = json.loads(get(f"http://127.0.0.1:{port or self.ports[0]}{self.path}?{name}", timeout=5))
        except OSError:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args!r} ended:\n{self.log.read_text()}") from None
            return None
        said["group"] = group_of(said["group"])
        return Answer(**said)

    def one(self, name: str = "", port: int | None = None) -> Answer:
        """Wait for an answer."""
        answer = None

        def answered() -> bool:
            nonlocal answer
            answer = self.ask(name, port)
            return answer is not None

        poll("an answer", answered)
        assert answer is not None  # poll does not return otherwise
        return answer

    def workers(self, but: Sequence[Answer] = (), number: int | None = None) -> list[Answer]:
        """Wait until so many processes have answered: by default all, besides those that have before."""
        old = {answer.pid for answer in but}
        found: dict[int, Answer] = {}
        number = number or self.kind.workers

        def enough() -> bool:
            for answer in pool.map(lambda _: self.ask(), range(AT_ONCE)):
                if answer and answer.pid not in old:
                    found[answer.pid] = answer
            return len(found) >= number

        with ThreadPoolExecutor(AT_ONCE) as pool:
            poll(f"{number} workers", enough)
        return list(found.values())


def found_by(statement: str, *launcher: str, name: str | None = None) -> Group | None:
    """Return the group that a new process finds after a statement."""
    program = f"""if True:
        import json, os
        from red_middleware.workers.group import find_group
        from red_middleware.workers.proc import Process, is_alive
        {statement}
        print(json.dumps(find_group({name!r})))
    """
    output = subprocess.run([*launcher, sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return group_of(json.loads(output.stdout))


def require_namespaces(*options: str) -> None:
    """Skip the test where the kernel refuses; that is no package that CI could install."""
    require("unshare is not installed: apt-get install util-linux", shutil.which("unshare"))
    tried = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"not permitted: {tried.stderr.strip()}")


def without_proc() -> tuple[str, ...]:
    """Return what starts a command where /proc is empty, as on macOS."""
    return ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
