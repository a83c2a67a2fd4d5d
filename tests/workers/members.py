"""Members of one group: made by hand in this process, and as processes that are killed, stopped, forked or robbed.

`python -m tests.workers.members <scenario> <base> [<argument> ...]`, run by the tests beside it and without coverage,
which no kill survives.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.counting.detailed import start_detailed
from red_middleware.counting.enclosing import Source
from red_middleware.counting.layout import Choices, Key, layout
from red_middleware.counting.rows import Row
from red_middleware.counting.table import ALONE, Table
from red_middleware.metrics import recorder_of
from red_middleware.workers import State, sums
from red_middleware.workers.carry import carry
from red_middleware.workers.cells import DRAFT, LOCK, NEW, WORKER
from red_middleware.workers.directory import Directory, open_directory
from red_middleware.workers.index import NAME as INDEX
from red_middleware.workers.member import Member

from ..drive import begun, count, declare
from ..patience import patient

ROOT: Final = Path(__file__).parents[2]
DEADLINE_SECONDS: Final = 60

ROUTES: Final = 60
ROWS: Final = 60
"""Less than what two racing processes ask for, 2 x 60 routes of which 30 are the same."""


MANY: Final = 40

BOUNDS: Final = (1.0,)
SENTINEL_ROWS: Final = len(layout(Choices(BOUNDS, 1))[-1].sentinels)
"""How many label sets are always there: those of `_unmatched` and `_overflow`."""

LEFT: Final = "this worker's numbers are its own from now on"


class Worker:
    """One member, and what it told of faults."""

    def __init__(self, base: str | Path, max_label_sets: int) -> None:
        self.faults: list[str] = []
        self.has_left = False
        self.seconds = 0.0  # on the member's clock
        self.member = Member(
            open_directory("group", "owner", str(base)),
            lambda kind, error: self.faults.append(kind),
            self._leave,
            self.carry,
            clock=lambda: self.seconds,
        )
        kinds = layout(Choices(BOUNDS, max_label_sets))
        self.table = Table(kinds, self.member, Table(kinds))

    def _leave(self, reason: OSError) -> None:
        """Do what a membership does when the group is gone for good."""
        self.has_left = True
        self.table.sharing = ALONE
        self.faults.append(LEFT)

    def carry(self) -> None:
        """Do what a membership does when the others can be told again, and at each scrape."""
        self.member.is_behind = False
        carry(self.table.earlier, self.table)

    def row(self, route: str | None = "/a", method: str = "GET") -> Row:
        """Look a row up as an exchange does."""
        entry = self.table.methods[method]
        return entry.rows.get(route) or self.table.row(entry, route)

    def count(self, route: str | None = "/a", status: int = 200, times: int = 1) -> None:
        """Count some requests."""
        row = self.row(route)  # maybe one of the table before, as an exchange may get it
        outcome = row.table.outcome(row, status)
        outcome.cells[outcome.status_cell] += times
        outcome.cells[outcome.bucket_cell] += times

    def begin(self) -> None:
        """Begin a request with method GET."""
        self.table.methods["GET"].in_progress.append(None)

    def end(self) -> None:
        """End a request with method GET."""
        self.table.methods["GET"].in_progress.pop()

    def exception_row(self, route: str, exception: str) -> Row:
        """Look up the row that counts an exception."""
        return self.table.admit(self.table.regions["exception"], (route, exception))

    def count_exception(self, route: str, exception: str) -> None:
        """Count an exception."""
        row = self.exception_row(route, exception)
        row.table.add(row, "raised")

    def counts(self) -> dict[tuple[str, str, int], float]:
        """Return what all workers counted, by method, route and code; code 0 is `_OTHER`."""
        return counts(self.table)

    def exceptions(self) -> dict[Key, float]:
        """Return the exceptions of all workers, by route and class."""
        read = self.table.read()
        found = {row.key: read.cells["exception"][row.cell("raised")] for row in read.rows["exception"]}
        return {key: number for key, number in found.items() if number}

    def in_progress(self) -> float:
        """Return the requests with method GET in progress in all workers."""
        read = self.table.read()
        return next(read.cells["method"][row.start] for row in read.rows["method"] if row.key == ("GET",))

    def workers(self) -> int:
        """Return how many workers are added up."""
        return self.table.read().workers

    def pids(self) -> list[int]:
        """Return the living workers."""
        return sorted(process.pid for process in self.member.workers().living)

    def keys(self, kind: str = "http") -> list[Key]:
        """Return the keys of all rows of a kind that are not always there, in the order of their numbers."""
        region = self.table.regions[kind]
        return [row.key for row in region.rows[len(region.kind.sentinels) :]]

    def room(self) -> list[tuple[int, int, int]]:
        """Return what each kind has room for, what it uses, and what is free."""
        return [(region.capacity, region.used, region.free) for region in self.table.regions.values()]

    @property
    def is_isolated(self) -> bool:
        """Whether it shares nothing, for now or for good."""
        return self.has_left or self.member.is_lost

    def die(self) -> None:
        """Leave as the kernel does for a killed process: the locks are free, the files stay."""
        self.member.abandon()


def counts(table: Table) -> dict[tuple[str, str, int], float]:
    """Return what a table reads, by method, route and code; code 0 is `_OTHER`."""
    read = table.read()
    numbers = read.cells["http"]
    return {
        (row.key[0], row.key[1], code): numbers[cell]
        for row in read.rows["http"]
        for code, cell in row.code_cells.items()
        if numbers[cell]
    }


def joined(base: str | Path, declared: Mapping[str, Sequence[str]] | None = None, max_label_sets: int = 100) -> Worker:
    """Join the group."""
    worker = Worker(base, max_label_sets)
    worker.table.earlier.declare((declared or {}).items())
    assert worker.member.enter(worker.table, worker.table.earlier.declared)
    return worker


HOME: Final = f"red_middleware-{os.geteuid()}"
"""Below a base, what keeps the groups of this user."""

Named = Callable[..., RedMetrics]
"""What the fixture `named` returns: it makes metrics of a group by name."""

Join = Callable[..., Worker]
"""What the fixture `join` returns: `joined` in the directory of the test."""

GET_A: Final = ("GET", "/a", 200)


def files(worker: Worker, prefix: str = WORKER) -> list[str]:
    """Return the names of the group's files, by default those of its workers."""
    return [name for name in worker.member.directory.names() if name.startswith(prefix)]


def file_of(worker: Worker, name: str | None = None) -> Path:
    """Return the path of a file of the group, by default of the worker's own."""
    return Path(worker.member.directory.path, name or worker.member.file.name)


def killed_at(
    call: str,
    times: int,
    owner: Any = os,
    before: Callable[..., object] | None = None,
    when: Callable[..., bool] = lambda *arguments: True,
) -> None:
    """Be killed at one of the next such calls of a function: in its place, or after what `before` does of it."""
    original = getattr(owner, call)
    left = times

    def last(*arguments: Any) -> Any:
        nonlocal left
        left -= when(*arguments)
        if left == 0:
            if before is not None:
                before(original, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(owner, call, last)


def half(write: Callable[..., object], fd: int, content: bytes, *at: int) -> None:
    """Write the first half."""
    write(fd, content[: len(content) // 2], *at)


def whole(call: Callable[..., object], *arguments: Any) -> None:
    """Do what is asked."""
    call(*arguments)


class Process:
    """One scenario as it runs."""

    def __init__(self, scenario: str, base: Path, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.workers.members", scenario, str(base), *map(str, arguments)]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def hear(self) -> Any:
        """Return what it says next."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.end()
        return json.loads(line)

    def tell(self) -> None:
        """Let it go on."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what went wrong."""
        _, error = self.popen.communicate(timeout=DEADLINE_SECONDS)
        return self.popen.returncode, error


@contextlib.contextmanager
def running(scenario: str, base: Path, *arguments: object) -> Iterator[Process]:
    """Run a scenario, and end it in any case."""
    process = Process(scenario, base, *arguments)
    with process.popen:
        try:
            yield process
        finally:
            process.popen.kill()


def ended(scenario: str, base: Path, *arguments: object) -> tuple[int, str]:
    """Run a scenario to its end, and return its exit code and what went wrong."""
    with running(scenario, base, *arguments) as process:
        return process.end()


def is_file(prefix: str) -> Callable[..., bool]:
    """Return what tells whether a call is for a file of the group whose name begins so, by name or by descriptor."""

    def matches(*arguments: Any) -> bool:
        if isinstance(arguments[0], Directory):
            return bool(arguments[1].startswith(prefix))
        return Path(f"/proc/self/fd/{arguments[0]}").readlink().name.startswith(prefix)

    return matches


DRAFT_WRITES: Final = 2 + len(layout(Choices(BOUNDS, 1)))
"""How many writes make `retired`: the header, the ids, and the cells of each kind of row."""


def killed_over_the_draft(times: int, before: Callable[..., object] | None = None) -> None:
    """Be killed at one of the writes that make `retired`."""
    killed_at("pwrite", times, os, before, is_file(DRAFT))


def in_batches_of_two(kill: Callable[[], None]) -> None:
    """Be killed while the dead are folded, two at a time."""
    sums.BATCH = 2  # type: ignore[misc]  # a constant, to everybody else
    kill()


ADMITTING: Final[Mapping[str, Callable[[], None]]] = {
    "before the record": lambda: killed_at("pwrite", 1),
    "half a record": lambda: killed_at("pwrite", 1, before=half),
    "before its length": lambda: killed_at("pwrite", 2),
    "after its length": lambda: killed_at("pwrite", 2, before=whole),
}

RETIRING: Final[Mapping[str, Callable[[], None]]] = {
    "before retired.tmp has a size": lambda: killed_at("ftruncate", 1),
    "before retired.tmp": lambda: killed_over_the_draft(1),
    "half a header of retired.tmp": lambda: killed_over_the_draft(1, half),
    "between two writes of retired.tmp": lambda: killed_over_the_draft(3),
    "half of retired.tmp": lambda: killed_over_the_draft(DRAFT_WRITES, half),
    "before the rename": lambda: killed_at("rename", 1, Directory),
    "after the rename": lambda: killed_at("rename", 1, Directory, whole),
    "before the first unlink": lambda: killed_at("unlink", 1, Directory),
    "between the unlinks": lambda: killed_at("unlink", 2, Directory),
    "after the last unlink": lambda: killed_at("unlink", 3, Directory, whole),
    "before the second batch": lambda: in_batches_of_two(lambda: killed_over_the_draft(DRAFT_WRITES + 1)),
    "half of the second batch": lambda: in_batches_of_two(lambda: killed_over_the_draft(2 * DRAFT_WRITES, half)),
    "before the second rename": lambda: in_batches_of_two(lambda: killed_at("rename", 2, Directory)),
    "after the second rename": lambda: in_batches_of_two(lambda: killed_at("rename", 2, Directory, whole)),
}

ENTERING: Final[Mapping[str, Callable[[], None]]] = {
    "before the owner": lambda: killed_at("rename", 1, Directory),
    "before the header of the index": lambda: killed_at("pwrite", 1),
    "half a header of the index": lambda: killed_at("pwrite", 1, before=half),
    "before the first record": lambda: killed_at("pwrite", 2),
    "before the length of the first record": lambda: killed_at("pwrite", 3),
    "before room for the cells": lambda: killed_at("posix_fallocate", 1),
    "before the header of the cells": lambda: killed_at("pwrite", 4),
    "before the name of the cells": lambda: killed_at("rename", 2, Directory),
}


def is_lock(directory: Directory, name: str, flags: int) -> bool:
    """Tell whether a worker's file is opened for its lock."""
    return name.startswith(NEW) and not flags & os.O_CREAT


Fork = Callable[[Callable[[int], object]], None]

FORKING: Final[Mapping[str, Fork]] = {
    "when the index is held": lambda then: forking_at("flock", fcntl, then, is_file(INDEX), after=True),
    "before there is a file": lambda then: forking_at("open", Directory, then, is_file(NEW)),
    "when there is a file": lambda then: forking_at("open", Directory, then, is_file(NEW), after=True),
    "before there is room for the cells": lambda then: forking_at("posix_fallocate", os, then),
    "before the lock is opened": lambda then: forking_at("open", Directory, then, is_lock),
    "when the lock is opened": lambda then: forking_at("open", Directory, then, is_lock, after=True),
    "before the lock is held": lambda then: forking_at("flock", fcntl, then, is_file(NEW)),
    "when the lock is held": lambda then: forking_at("flock", fcntl, then, is_file(NEW), after=True),
    "before the mapping": lambda then: forking_at("mmap", mmap, then),
    "after the mapping": lambda then: forking_at("mmap", mmap, then, after=True),
    "before the name": lambda then: forking_at("rename", Directory, then, is_file(NEW)),
    "after the name": lambda then: forking_at("rename", Directory, then, is_file(NEW), after=True),
    "when the dead are retired": lambda then: forking_at("flock", fcntl, then, is_file(LOCK), after=True),
    "before the dead are retired": lambda then: forking_at("rename", Directory, then, is_file(DRAFT)),
    "after the dead are retired": lambda then: forking_at("rename", Directory, then, is_file(DRAFT), after=True),
}


def admit(base: str, step: str) -> None:
    """Be killed while a new route is admitted; the request that it was for is lost."""
    worker = joined(base)
    worker.count("/a")
    ADMITTING[step]()
    worker.count("/b")


def retire(base: str, step: str) -> None:
    """Be killed while others are retired, who died since this worker entered."""
    worker, *dead = (joined(base) for _ in range(4))
    worker.count("/a")
    for other in dead:
        other.count("/a", times=10)
        other.die()
    RETIRING[step]()
    worker.counts()


def enter_and_retire(base: str, step: str) -> None:
    """Be killed while others are retired on the way in."""
    RETIRING[step]()
    joined(base)


def enter(base: str, step: str) -> None:
    """Be killed on the way in."""
    ENTERING[step]()
    joined(base, {"/a": ["GET"]})


def fork_at(base: str, step: str) -> None:
    """Fork in the middle of joining, as another thread may; the child lives on."""
    children: list[int] = []
    FORKING[step](children.append)
    worker = joined(base)
    worker.count()
    say(*children)


def fork_and_stop_at(base: str, step: str) -> None:
    """Fork in the middle of joining, and come no further."""
    FORKING[step](say)
    joined(base)


def race(base: str, first: str) -> None:
    """Ask for rows, statuses and pairs as fast as possible, when told, and tell where they were found."""
    with patient():
        worker = joined(base, max_label_sets=ROWS)
        say("ready")
        for n in range(int(first), int(first) + ROUTES):
            worker.count(f"/{n}", 200 + n % 7)
            worker.count("/same", 200 + n)
            worker.count_exception(f"/{n}", "E")
            worker.count_exception("/same", f"E{n % 40}")
        worker.counts()
    assert worker.faults == []
    say([[*row.key, row.codes] for row in worker.table.http.rows], worker.keys("exception"))


def crowd(base: str, name: str) -> None:
    """Ask for many rows as fast as possible, when told."""
    with patient():
        worker = joined(base, max_label_sets=MANY * MANY)
    say("ready")
    for n in range(MANY):
        worker.count(f"/{name}/{n}")
    while worker.member.is_behind:  # a scrape tries again, as here
        worker.seconds += 3.0
        worker.carry()
    say("admitted")


def hold(base: str) -> None:
    """Hold the index until the end."""
    worker = joined(base)
    with worker.member.index.locked(1.0):
        say("held")


def live(base: str, requests: str) -> None:
    """Count some requests, keep one in progress, and live until told to scrape."""
    worker = joined(base)
    worker.count(times=int(requests))
    worker.begin()
    say("counted")
    say([[*key, number] for key, number in worker.counts().items()])


def watched_shop(base: str | Path) -> RedMetrics:
    """Return numbers of a group, which show what is in flight."""
    metrics = RedMetrics(
        registry=CollectorRegistry(), multiprocess_dir=base, multiprocess_name="shop",
        in_progress_by_route=True, saturation=True,
    )  # fmt: skip
    declare(metrics, [("/items/<id>", ["GET"])])
    return metrics


def hang(base: str) -> None:
    """Be stuck in a request for ever."""
    metrics = watched_shop(base)
    start_detailed(recorder_of(metrics), "GET", {}, "/items/1")
    say(os.getpid())


def fork(base: str) -> None:
    """Fork in a request; be killed while the child lives on, which counts for itself."""
    worker = joined(base)
    worker.count("/a")
    worker.begin()
    row = worker.row("/a")
    if os.fork():
        signal.pause()
    left = open_files(base)
    assert len(left) == 1, left  # the mapping's own, which holds no lock
    assert worker.member.file.name in left[0]
    worker.count("/a", times=100)
    worker.count("/child", times=100)
    worker.begin()
    worker.table.add(row, "errors")
    assert worker.counts() == {("GET", "/a", 200): 100.0, ("GET", "/child", 200): 100.0}
    assert worker.in_progress() == 1.0
    say(os.getppid())


def fork_without_hooks(base: str) -> None:
    """Fork as uWSGI does, which tells nobody: a master that has counted, and then its workers."""
    metrics = named(base)
    modules: dict[str, Any] = sys.modules
    modules["uwsgi"] = SimpleNamespace(worker_id=lambda: 0)
    running = begun(metrics)
    count(metrics, "/warm-up")
    assert state_of(metrics) is State.EARLY
    assert not os.path.lexists(Path(base, HOME))
    for number in (1, 2):
        if not ctypes.PyDLL(None).fork():
            signal.alarm(DEADLINE_SECONDS)
            modules["uwsgi"] = SimpleNamespace(worker_id=lambda: 1)
            running.respond(200, "/warm-up")  # the master's; it may end anywhere, and is no worker's
            running.finish()
            count(metrics, "/a")
            found = metrics.snapshot()
            is_right = state_of(metrics) is State.JOINED and total(found) == number and not has_route(found, "/warm-up")
            os._exit(0 if is_right else 1)
        _, status = os.wait()
        assert status == 0
    assert state_of(metrics) is State.EARLY
    assert total(metrics.snapshot()) == 1.0


def bring(metrics: RedMetrics, base: Path, state: State) -> None:
    """Count one request, and bring metrics of a group below `base / "home"` into a state."""
    home = base / "home"
    if state is State.EARLY:
        recorder_of(metrics).table.add(recorder_of(metrics).table.own, "faults")
        return
    if state is not State.ALONE:
        home.mkdir()
    count(metrics, "/a")
    if state is State.LEFT:
        shutil.rmtree(home)
        metrics.snapshot()


def fork_from(base: str, value: str) -> None:
    """Fork in any state: the child begins anew, and joins by itself; the parent stays what it is."""
    state = State(value)
    metrics = named(f"{base}/home/base")
    bring(metrics, Path(base), state)
    assert state_of(metrics) is state
    if not os.fork():
        signal.alarm(DEADLINE_SECONDS)
        is_right = state_of(metrics) is State.EARLY and not recorder_of(metrics).membership.is_isolated()
        Path(base, "home").mkdir(exist_ok=True)
        count(metrics, "/child")
        found = metrics.snapshot()
        parents = 1.0 if state is State.JOINED else 0.0
        is_right = is_right and state_of(metrics) is State.JOINED and total(found) == 1.0 + parents
        os._exit(0 if is_right and found["red_workers"] == 1.0 + parents else 1)
    _, status = os.wait()
    assert status == 0
    assert state_of(metrics) is state


def fork_with_the_second_handle(base: str) -> None:
    """Fork where the first handle on the numbers is gone: the second one's process begins anew all the same."""
    registry = CollectorRegistry()
    first, second = (RedMetrics(registry=registry, multiprocess_dir=base, multiprocess_name="shop") for _ in range(2))
    count(second, "/a")
    registry.unregister(first)
    del first
    gc.collect()
    if not os.fork():
        signal.alarm(DEADLINE_SECONDS)
        count(second, "/child")
        found = second.snapshot()
        os._exit(0 if total(found) == 2.0 and found["red_workers"] == 2.0 else 1)
    _, status = os.wait()
    assert status == 0
    found = second.snapshot()
    assert (total(found), found["red_workers"]) == (2.0, 1.0)


class Mounting:
    """What a middleware is to a recorder: it declares routes when the first request or scrape comes."""

    def __init__(
        self,
        metrics: RedMetrics,
        routes: Sequence[tuple[str, Iterable[str]]] = (),
        first: Callable[[], object] = lambda: None,
    ) -> None:
        self.metrics = metrics
        self.routes = routes
        self.first = first
        recorder_of(metrics).mount(self)

    def learn(self, source: Source) -> None:
        """See `recorder.Mounted`."""
        self.first()
        declare(self.metrics, self.routes)


def fork_while_routes_are_learned(base: str) -> None:
    """Fork while another thread waits for the routes of the first of two mountings: the child learns those of both."""
    metrics = named(base)
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        leave.wait()

    mountings = [Mounting(metrics, [(f"/{app}/{n}", ["GET"]) for n in range(1000)], wait) for app in "ab"]
    thread = threading.Thread(target=count, args=(metrics, "/a/1"))
    thread.start()
    entered.wait()
    pid = os.fork()
    if not pid:
        signal.alarm(DEADLINE_SECONDS)
        leave.set()
        count(metrics, "/b/1")
        is_right = state_of(metrics) is State.JOINED and metrics.bound().rows == SENTINEL_ROWS + 1000 * len(mountings)
        os._exit(0 if is_right else 1)
    _, status = os.wait()
    leave.set()
    thread.join()
    assert status == 0
    assert metrics.bound().rows == SENTINEL_ROWS + 1000 * len(mountings)
    assert total(metrics.snapshot()) == 2.0


def has_route(found: Mapping[str, float], route: str) -> bool:
    """Tell whether a snapshot shows a route."""
    return any(f'"{route}"' in text for text in found)


def fork_in_the_middle(base: str) -> None:
    """Fork as another thread may, while locks are held; the children live on, and hold them no longer than we do."""
    worker, *dead = (joined(base) for _ in range(3))
    dead[0].die()
    children: list[int] = []
    forking_at("pwrite", os, children.append)
    forking_at("rename", Directory, children.append)
    worker.count("/a")
    worker.counts()
    dead[1].die()
    worker.count("/b")
    assert worker.counts() == {("GET", "/a", 200): 1.0, ("GET", "/b", 200): 1.0}
    assert [name for name in worker.member.directory.names() if name.startswith("w-")] == [worker.member.file.name]
    assert worker.faults == []
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def close_all(base: str) -> None:
    """Lose every descriptor, as to a daemonising library, and live on among strangers' files."""
    one, other = named(base), named(base, max_label_sets=999)
    count(one, "/a")
    count(other, "/a")
    numbers = [member_of(metrics).directory.fd for metrics in (one, other)]
    os.closerange(3, 1000)
    home = Path(base) / "stranger"
    home.mkdir()
    (home / INDEX).write_bytes(b"theirs")
    strangers = [os.open(home, os.O_RDONLY)] + [os.open(home / f"{n}", os.O_RDWR | os.O_CREAT) for n in range(20)]
    for fd in strangers[1:]:
        os.write(fd, b"theirs")
    for fd in numbers:
        os.dup2(strangers[0], fd)
    count(one, "/b")
    count(other, "/b")
    assert total(one.snapshot()) == 1.0  # comes back, and brings along what was counted apart when it is asked again
    os.dup2(member_of(one).directory.fd, numbers[1])  # as the next number to be free
    count(other, "/c")
    for metrics, requests in ((one, 2.0), (other, 3.0)):
        metrics.snapshot()
        found = metrics.snapshot()
        assert total(found) == requests, found
        assert found["red_workers"] == 1.0
        assert found["red_worker_isolated"] == 0.0
        assert has_route(found, "/c") == (metrics is other)
        count(metrics, "/d")
        assert metrics.snapshot()['http_requests_total{method="GET",route="/d",status="200"}'] == 1.0
    assert {path.read_bytes() for path in home.iterdir()} == {b"theirs"}
    assert len(list(home.iterdir())) == 21


def forking_at(
    call: str,
    owner: Any,
    then: Callable[[int], object],
    when: Callable[..., bool] = lambda *arguments: True,
    after: bool = False,
) -> None:
    """Fork once, before or after the next such call of a function, and tell the child's process id."""
    original = getattr(owner, call)

    def forking(*arguments: Any) -> Any:
        if not when(*arguments):
            return original(*arguments)
        setattr(owner, call, original)
        result = original(*arguments) if after else None
        heard, said = os.pipe()
        child = os.fork()
        if not child:
            os.closerange(0, 3)  # whoever started us waits for their end
            signal.alarm(DEADLINE_SECONDS)
            os.write(said, b"forked")
            signal.pause()
        assert os.read(heard, 6) == b"forked"  # until then the child has every lock
        os.close(heard)
        os.close(said)
        then(child)
        return result if after else original(*arguments)

    setattr(owner, call, forking)


def member_of(metrics: RedMetrics) -> Member:
    """Return this process in the group of these metrics, which it has joined."""
    member = recorder_of(metrics).membership.member
    assert member is not None
    return member


def state_of(metrics: RedMetrics) -> State:
    """Return what this process is among workers."""
    return recorder_of(metrics).membership.state


def groups(base: Path) -> list[Path]:
    """Return the directories of all groups."""
    return sorted((base / HOME).iterdir())


def named(base: str, max_label_sets: int = 1000, namespace: str = "") -> RedMetrics:
    """Return metrics of a group by name."""
    return RedMetrics(
        registry=CollectorRegistry(),
        namespace=namespace,
        max_label_sets=max_label_sets,
        multiprocess_dir=base,
        multiprocess_name="shop",
        buckets=(0.9,),
    )


def total(found: Mapping[str, float]) -> float:
    """Return all requests of a snapshot."""
    return sum(number for text, number in found.items() if text.startswith("http_requests_total"))


def open_files(base: str | Path) -> list[str]:
    """Return the files below a directory that this process has open, by descriptor or under a mapping."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(str(path) for path in links if path.is_relative_to(base))


def say(*words: object) -> None:
    """Print a line of JSON, and wait for an answer."""
    print(json.dumps(words), flush=True)
    sys.stdin.readline()


SCENARIOS: Final[Mapping[str, Callable[..., None]]] = {
    scenario.__name__: scenario
    for scenario in (
        admit,
        crowd,
        retire,
        enter,
        enter_and_retire,
        fork_at,
        fork_and_stop_at,
        race,
        hold,
        live,
        hang,
        fork,
        fork_without_hooks,
        fork_from,
        fork_while_routes_are_learned,
        fork_with_the_second_handle,
        fork_in_the_middle,
        close_all,
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
