"""When a scrape runs, and how long: one at a time, in a thread of its own, no longer than the scraper waits.

A scrape takes none of the application's own threads, and answers also while those are busy. `endpoint` makes the
answer; the adapters wait for it, each in the way of its protocol. A scrape that comes while the same one runs shares
its answer.
"""

import math
import threading
from _thread import LockType
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from ..options import MAX_TIMEOUT_SECONDS

MAX_SCRAPES: Final = 8
"""How many different scrapes run or wait at once. Two Prometheus servers and a person make three; further ones are
answered 503. Who asks for the same makes no more work, and is always let in: a worker that was busy for long finds all
at once what a Prometheus has asked meanwhile and given up, and must not refuse the one who still waits."""

MARGIN_SECONDS: Final = 0.5
"""How long before a scraper gives up it is answered, or half of its time if that is less."""

MIN_TIMEOUT_SECONDS: Final = 0.5
"""The least that a client may say that it waits: less would leave out what only takes its time."""

TIMEOUT_HEADER: Final = "x-prometheus-scrape-timeout-seconds"

Result = TypeVar("Result")


def seconds_left(headers: Mapping[str, str], default: float) -> float:
    """Return how long a scrape may take, in seconds.

    Args:
        headers: Those of the request, by lower-case name. Prometheus says in one of them how long it waits.
        default: The answer without such a header, or with one that is no number of seconds.
    """
    try:
        timeout = float(headers[TIMEOUT_HEADER])
    except (KeyError, ValueError):
        return default
    if not 0.0 < timeout < math.inf:
        return default
    timeout = min(max(timeout, MIN_TIMEOUT_SECONDS), MAX_TIMEOUT_SECONDS)
    return max(timeout - MARGIN_SECONDS, timeout / 2)


class _Job(Generic[Result]):
    """One scrape, and who waits for its answer."""

    def __init__(self, work: Callable[[], Result], done: Callable[[Result], None]) -> None:
        self.work = work
        self.waiting = [done]


class Queue(Generic[Result]):
    """The scrapes that run or wait, in a thread that lives as long as there are any.

    It is a daemon: it keeps no process from ending. A forked child has a queue of its own.
    """

    def __init__(self) -> None:
        self.lock: LockType = threading.Lock()
        self.jobs: dict[Hashable, _Job[Result]] = {}  # in the order in which they came; the first one runs

    def ask(self, key: Hashable, work: Callable[[], Result], done: Callable[[Result], None]) -> bool:
        """Let a scrape run, or share one that runs or waits and asks for the same.

        Args:
            key: What is asked for.
            work: Makes the answer, and raises nothing.
            done: Takes the answer, in another thread, and raises nothing.

        Returns:
            Whether there was room. If not, `done` is never called.
        """
        with self.lock:
            if key in self.jobs:
                self.jobs[key].waiting.append(done)
                return True
            if len(self.jobs) >= MAX_SCRAPES:
                return False
            self.jobs[key] = _Job(work, done)
            is_first = len(self.jobs) == 1
        if is_first:
            start(self._run)
        return True

    def _run(self) -> None:
        is_last = False
        while not is_last:
            with self.lock:
                key, job = next(iter(self.jobs.items()))
            result = job.work()
            with self.lock:
                del self.jobs[key]
                is_last = not self.jobs
            for done in job.waiting:
                done(result)


class Collecting:
    """Asks collectors one after the other, in a thread of its own. One that hangs keeps that thread.

    Args:
        collectors: What collects and writes each, with its name.
    """

    def __init__(self, collectors: Sequence[tuple[str, Callable[[], bytes]]]) -> None:
        self.collectors = collectors
        self.results: list[bytes | BaseException] = []  # of the first so many collectors
        self.is_over: bool = False
        self.ended: threading.Event = threading.Event()

    def wait(self, seconds: float) -> Iterator[tuple[str, bytes | BaseException]]:
        """Collect for some time, and yield what came of each collector until then."""
        if self.collectors:
            start(self._run)
            self.ended.wait(seconds)
        self.is_over = True
        return ((name, result) for (name, _), result in zip(self.collectors, tuple(self.results), strict=False))

    def hung(self) -> str | None:
        """Return the name of the collector that is still asked, if there is one."""
        at = len(self.results)
        return None if self.ended.is_set() or at == len(self.collectors) else self.collectors[at][0]

    def _run(self) -> None:
        try:
            for _, collect in self.collectors:
                if self.is_over:
                    break
                try:
                    self.results.append(collect())
                except BaseException as error:  # SystemExit, too, is the collector's
                    self.results.append(error)
        finally:
            self.ended.set()


def start(work: Callable[[], None]) -> None:
    """Run in a new thread; in this one where no thread can be made, as when the interpreter is about to end."""
    try:
        threading.Thread(target=work, name="red_middleware scrape", daemon=True).start()
    except RuntimeError:
        work()
