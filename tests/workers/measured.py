"""A worker whose processes are told of: it uses CPU, scrapes, and loses its descriptors when it is told to.

`python -m tests.workers.measured <base> [hidden]`; then a word a line, each answered by a line of JSON.
"""

import codecs
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.registry import Collector

from red_middleware.workers.proc import Process
from red_middleware.workers.processes import GroupProcesses

from .members import DEADLINE_SECONDS, ROOT, Worker, joined

PR_SET_DUMPABLE: Final = 4
BURN_SECONDS: Final = 0.15
NOBODY: Final = 65534


def samples(collector: Collector) -> dict[str, float]:
    """Return every sample by its name."""
    return {sample.name: sample.value for family in collector.collect() for sample in family.samples}


def measure(worker: Worker, namespace: str = "") -> dict[str, float]:
    """Return what tells of processes."""
    member = worker.member
    return samples(GroupProcesses(ProcessCollector(namespace, registry=None), Process(0, 0, 0), member.workers))


def shown(worker: Worker, namespace: str = "") -> dict[str, float]:
    """Return what tells of processes in a whole scrape, which retires the dead before."""
    worker.counts()
    return measure(worker, namespace)


def cpu_seconds(worker: Worker) -> float:
    """Scrape, and return the seconds of CPU of all."""
    return shown(worker)["process_cpu_seconds_total"]


def burn(seconds: float = BURN_SECONDS) -> None:
    """Use that much CPU."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Measured:
    """A worker in a process of its own."""

    def __init__(self, base: Path, *arguments: str, within: Sequence[str] = ()) -> None:
        command = [*within, sys.executable, "-m", "tests.workers.measured", str(base), *arguments]
        self.popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> Any:
        assert self.popen.stdout is not None
        return json.loads(self.popen.stdout.readline())

    def ask(self, word: str) -> Any:
        """Let it do something, and return what it answers."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{word}\n")
        self.popen.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Let it end by itself."""
        self.popen.communicate(timeout=DEADLINE_SECONDS)
        assert self.popen.returncode == 0

    def kill(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.communicate()


@contextlib.contextmanager
def measured(base: Path, *arguments: str, within: Sequence[str] = ()) -> Iterator[Measured]:
    """Start a worker that has used some CPU, and end it in any case."""
    worker = Measured(base, *arguments, within=within)
    try:
        worker.hear()
        yield worker
    finally:
        worker.kill()


def within_pid_namespace() -> list[str]:
    """Return what starts a command in a pid namespace of its own; nothing where that is not allowed."""
    user = ["--user", "--map-current-user"] if os.geteuid() else []
    command = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"]
    allowed = shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode
    return command if allowed else []


def hide_descriptors() -> None:
    """Become a process whose descriptors the kernel shows to nobody but root: as one that changed its user."""
    if not os.geteuid():
        codecs.lookup("ascii")  # as another user, Python may be out of reach
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0


def main(base: str, *arguments: str) -> None:
    if arguments:
        hide_descriptors()
    worker = joined(base)
    burn()
    print(json.dumps(os.getpid()), flush=True)
    for word in map(str.strip, sys.stdin):
        answer: Any = None
        if word == "burn":
            burn()
        elif word == "show":
            answer = shown(worker)
        elif word == "used":
            answer = time.process_time()
        elif word == "lose":
            os.closerange(3, 1000)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
