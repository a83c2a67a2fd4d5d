"""What the middleware costs on real servers: requests a second and CPU a request, of a load generator's traffic.

Every candidate is a server with one worker. Those of one table run at the same time, and the generator asks one after
the other, in interleaved rounds. The servers have one core and the generator has the others, where there are several.
What a server's processes use is read from /proc, so this needs Linux. `python -m tests.benchmarks servers`.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from ..e2e import ROOT
from ..e2e.servers import DEADLINE_SECONDS, get, poll
from ..ports import free_port
from .peers import NotInstalledError
from .rounds import middle
from .served import ASGI_APPS, COUNT, VARIABLE, WSGI_APPS, App
from .tables import BARE, OURS, Effort, Target

CLIENTS: Final = 4
"""Connections at a time: as many as the servers with threads have of them."""
WARM_UP: Final = 300
"""Requests, at least: what a server is asked before it is measured, and in one round."""
ROUND_SECONDS: Final = 0.15
"""How long a round takes a server, about: it is a whole number of requests, so that each is accounted for."""
PEERS_EVERY: Final = 3
"""Peers are asked in every third round only: the difference that they make needs no precision."""

PORT: Final = "{port}"
SERVED: Final = "tests.benchmarks.served:app"
PYTHON: Final = (sys.executable, "-m")
GUNICORN: Final = (*PYTHON, "gunicorn", f"--bind=127.0.0.1:{PORT}", "--log-level=error")
GRANIAN: Final = (*PYTHON, "granian", f"--port={PORT}", "--log-level=error")

WSGI_SERVERS: Final[Mapping[str, Sequence[str]]] = {
    "gunicorn sync": (*GUNICORN, "--worker-class=sync"),
    "gunicorn gthread": (*GUNICORN, "--worker-class=gthread", "--threads=4"),
    "uWSGI": (
        str(Path(sys.executable).with_name("uwsgi")), f"--http-socket=127.0.0.1:{PORT}",
        f"--virtualenv={sys.prefix}", "--need-app", "--disable-logging",
        "--add-header=Connection: close",  # it closes each, and the client needs to be told
        "--module",
    ),
    "granian": (*GRANIAN, "--interface=wsgi"),
    "waitress": (*PYTHON, "waitress", f"--listen=127.0.0.1:{PORT}"),
    "cheroot": (*PYTHON, "cheroot", f"--bind=127.0.0.1:{PORT}"),
}  # fmt: skip
ASGI_SERVERS: Final[Mapping[str, Sequence[str]]] = {
    "granian": (*GRANIAN, "--interface=asginl"),
    "uvicorn": (*PYTHON, "uvicorn", f"--port={PORT}", "--no-access-log", "--log-level=error", "--lifespan=off"),
    "hypercorn": (*PYTHON, "hypercorn", f"--bind=127.0.0.1:{PORT}", "--log-level=error"),
}


class Served(NamedTuple):
    """A candidate's figures on one server."""

    name: str
    rate: float
    """Requests a second."""
    ratio: float
    """The rate, over that of the bare app in the same round."""
    margin: float
    """Half of the interval that holds the ratio's true median in 95 of 100 cases."""
    cpu: float
    """Microseconds of all of the server's processes for a request."""
    cpu_ratio: float
    void: str = ""
    """Why the figures say nothing."""


class ServerTable(NamedTuple):
    """One server with one app, measured."""

    title: str
    served: Sequence[Served]
    targets: Sequence[Target]
    missing: Sequence[str] = ()


def servers(effort: Effort) -> Iterator[ServerTable]:
    """Compare on each server, with an app that does nothing and with a framework."""
    if sys.platform != "linux":
        raise NotInstalledError("/proc: it is Linux's")
    if shutil.which("h2load") is None:
        raise NotInstalledError("h2load: apt-get install nghttp2-client")
    rounds = max(4, effort.rounds // 3)
    for found, apps in ((WSGI_SERVERS, WSGI_APPS), (ASGI_SERVERS, ASGI_APPS)):
        for name, command in found.items():
            if not Path(command[0]).exists():  # uWSGI, which needs a C compiler: see the group `compiled`
                yield ServerTable(name, [], [], [f"{name} is not installed, and not measured"])
                continue
            for app in apps:
                yield _compared(name, command, app, rounds)


def _compared(server: str, command: Sequence[str], app: App, rounds: int) -> ServerTable:
    """Serve all candidates, and ask them in an order that changes."""
    with ExitStack() as stack:
        running = [stack.enter_context(_Server(command, app, name)) for name in app.mounts]
        for each in running:
            each.warm_up()
        order = list(running)
        shuffle = random.Random(1).shuffle
        for n in range(rounds):
            shuffle(order)
            for each in order:
                if n % PEERS_EVERY == 0 or each.name in (BARE, OURS):
                    each.serve(n)
        served = [_figures(each, running[0]) for each in running]
    ours = next(figures for figures in served if figures.name == OURS)
    target = Target(f"requests a second, {OURS} / {BARE}", ours.ratio, 0.98, at_least=True)
    return ServerTable(f"{server}, {app.title}", served, [target])


class _Server:
    """A server that runs, with a candidate mounted on its app.

    Args:
        command: Of the server, without the app.
        app: What it serves.
        name: Of the candidate.
    """

    def __init__(self, command: Sequence[str], app: App, name: str) -> None:
        port = str(free_port())
        first, self.others = _cores()
        self.name = name
        self.choice = f"{app.title}|{name}"
        self.command = [*first, *(part.replace(PORT, port) for part in command), SERVED]
        self.root = f"http://127.0.0.1:{port}"
        self.path = app.path
        self.requests = 0
        self.cpu_seconds = 0.0
        self.rates: dict[int, float] = {}

    def __enter__(self) -> "_Server":
        self.directory = TemporaryDirectory()
        log = Path(self.directory.name, "log")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {VARIABLE: self.choice, "PYTHONPATH": str(ROOT), "HOME": self.directory.name}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=output, cwd=ROOT, env=environment, start_new_session=True
            )
        try:
            poll(f"an answer of {self.command}", self._answers)
        except BaseException:
            print(log.read_text(), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its session's, which has its workers too
        self.process.wait()
        self.directory.cleanup()

    def warm_up(self) -> None:
        """Find out how many requests a round takes."""
        self._ask(WARM_UP)
        self.requests = max(WARM_UP, round(self._ask(WARM_UP) * ROUND_SECONDS))
        self.counted = self._counted()

    def serve(self, n: int) -> None:
        """Serve one round."""
        before = self._used()
        self.rates[n] = self._ask(self.requests)
        self.cpu_seconds += self._used() - before

    def cpu(self) -> float:
        """Return the microseconds of a request."""
        return self.cpu_seconds / (len(self.rates) * self.requests) * 1e6

    def void(self) -> str:
        """Return what is wrong with the count."""
        if self.counted is None:
            return ""
        asked = len(self.rates) * self.requests + 1  # what asked for the count before
        counted = (self._counted() or 0.0) - self.counted
        return "" if counted == asked else f"counted {counted:g} of {asked}"

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.command} ended")
        try:
            get(self.root + COUNT)
        except OSError:
            return False
        return True

    def _counted(self) -> float | None:
        said = get(self.root + COUNT)
        return float(said) if said else None

    def _ask(self, requests: int) -> float:
        """Send so many requests, which must succeed, and return the requests a second."""
        command = [*self.others, "h2load", "--h1", f"--requests={requests}", f"--clients={CLIENTS}"]
        command.append(self.root + self.path)
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS).stdout
        rate = re.search(r"([\d.]+) req/s", said)
        # What has succeeded is not told where a server gives no reason beside the status, as hypercorn.
        well = all(line in said for line in (f" {requests} done,", " 0 errored, 0 timeout", " 0 3xx, 0 4xx, 0 5xx"))
        if rate is None or not well:
            raise RuntimeError(f"{self.command}: {said}")
        return float(rate[1])

    def _used(self) -> float:
        """Return the seconds of CPU of the server's processes: those of its session."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has gone
                continue
            if int(fields[3]) == self.process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _figures(server: _Server, bare: _Server) -> Served:
    ratio, margin = middle([rate / bare.rates[n] for n, rate in server.rates.items()])
    rate, cpu = median(server.rates.values()), server.cpu()
    return Served(server.name, rate, ratio, margin, cpu, cpu / bare.cpu(), server.void())


def _cores() -> tuple[Sequence[str], Sequence[str]]:
    """Return what starts a command on the first core, and on the others."""
    first, *others = map(str, sorted(os.sched_getaffinity(0)))
    return ("taskset", "--cpu-list", first), ("taskset", "--cpu-list", ",".join(others or [first]))
