"""The workers of a prefork server answer with one truth: every request once, whichever worker served it or is scraped.

Clients use a new connection for each request, as a worker that is to be replaced closes those that wait, which no
client could tell from a request that was lost.
"""

import asyncio
import itertools
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from . import marks
from .clients import Http1
from .servers import DEADLINE_SECONDS, PLAIN, Kind, Server, poll

WORKERS: Final = 4
REQUESTS: Final = 1_000
pytestmark = pytest.mark.once

AT_ONCE: Final = 16
DEBUG: Final = False
"""Of asyncio in the clients, which PYTHONDEVMODE would make as slow as the servers."""
SCRAPES: Final = 12
"""So many that of four workers most are asked."""

RECYCLES: Final = "max-requests"

GRANIAN: Final = (f"--workers={WORKERS}", "--respawn-interval=0.1")

PLAIN_SYNC: Final = Kind("gunicorn", PLAIN, (f"--workers={WORKERS}",))

PATHS: Final = ("/ok", "/ok", "/ok", "/items/7", "/items/5000", "/fail")

Series = dict[str, float]


def scrape(server: Server) -> Series:
    """Return what one worker says, by name with labels."""
    text = poll("a worker answers", lambda: server.read("/metrics"))
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {sample: float(value) for sample, _, value in lines}


def counters(series: Series) -> Series:
    """Return what must never go backwards."""
    counts = re.compile(r"\w+_(total|bucket|count|sum)\b")
    return {sample: value for sample, value in series.items() if counts.match(sample)}


def by_status(series: Series) -> dict[str, float]:
    found: Counter[str] = Counter()
    for sample, value in series.items():
        if match := re.fullmatch(r'http_requests_total{.*status="(\w+)".*}', sample):
            found[match[1]] += int(value)
    return dict(found)


def total(series: Series) -> float:
    return sum(by_status(series).values())


async def send(server: Server, requests: Iterator[tuple[str, str]]) -> Counter[str]:
    """Send requests, some at once, and return how often each status was seen in full; "" where none was."""
    answered: Counter[str] = Counter()

    async def client() -> None:
        for method, path in requests:
            with closing(Http1(server.port)) as connection:
                try:
                    await connection.begin(method, path, "Connection: close\r\n")
                except ConnectionError:
                    answered[""] += 1
                    continue
                answer = await connection.answer(method)
            answered[str(answer.status) if answer.complete else ""] += 1

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return answered


async def send_and_scrape(
    server: Server, requests: Iterator[tuple[str, str]], meanwhile: Callable[[Server], None] | None = None
) -> tuple[Counter[str], list[Series]]:
    """Do so, and return also what was scraped: while they ran, and as often as `SCRAPES` at rest."""
    scrapes = []
    sending = asyncio.create_task(send(server, requests))
    while not sending.done():
        if meanwhile:
            await asyncio.to_thread(meanwhile, server)
        scrapes.append(await asyncio.to_thread(scrape, server))
        await asyncio.sleep(0.05)
    server.rest()
    return await sending, scrapes + [scrape(server) for _ in range(SCRAPES)]


def load(server: Server, number: int = REQUESTS) -> Counter[str]:
    """Send the usual mix."""
    return asyncio.run(send(server, (("GET", PATHS[count % len(PATHS)]) for count in range(number))), debug=DEBUG)


def workers(server: Server) -> set[int]:
    """Return their process ids."""
    return children(server.process.pid)


def children(pid: int) -> set[int]:
    """Return the process ids of a master's workers."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found if not _is_tracker(child)}


def _is_tracker(pid: str) -> bool:
    """Tell the process that multiprocessing keeps beside the workers."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # gone
        return True


def reload(server: Server) -> None:
    """Have all workers replaced, and wait until they are."""
    server.rest()
    old = workers(server)
    server.process.send_signal(signal.SIGHUP)
    poll("new workers", lambda: len(new := workers(server)) >= WORKERS and not new & old)
    poll("they answer", lambda: all(server.answers() for _ in range(5 * WORKERS)))


def assert_in_order(scrapes: list[Series]) -> None:
    """No counter is less in a scrape than in the one before."""
    for before, after in itertools.pairwise(map(counters, scrapes)):
        less = {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value}
        assert not less


def killer(chance: random.Random) -> tuple[list[int], Callable[[Server], None]]:
    """Return the workers that were killed until now, at most twenty, and what kills one more of a server."""
    killed: list[int] = []

    def kill(server: Server) -> None:
        alive = sorted(workers(server))
        if alive and len(killed) < 20:
            killed.append(chance.choice(alive))
            os.kill(killed[-1], signal.SIGKILL)
            poll("its end is noticed", lambda: killed[-1] not in workers(server))

    return killed, kill


def test_of_killed_workers_only_what_they_were_serving_is_lost(tmp_path: Path) -> None:
    """Random workers get a SIGKILL under load: nothing that was counted before is lost, and nothing counts twice."""
    killed, kill = killer(random.Random(1))

    def requests() -> Iterator[tuple[str, str]]:
        """Yield requests until some workers were killed, however fast the others answer; not without end."""
        for number in range(100 * REQUESTS):
            if number >= 2 * REQUESTS and len(killed) >= 10:
                return
            yield "GET", "/ok"

    with Server(PLAIN_SYNC, tmp_path) as server:
        answered, scrapes = asyncio.run(send_and_scrape(server, requests(), kill), debug=DEBUG)
        sent = sum(answered.values())
        assert len(killed) >= 10
        assert answered["200"] - len(killed) <= total(scrapes[-1]) <= sent  # each served one request at a time
        assert len({total(each) for each in scrapes[-SCRAPES:]}) == 1
        assert_in_order(scrapes)


def test_hostile_clients_of_many_workers_stay_within_the_bound(tmp_path: Path) -> None:
    """Random routes, methods and statuses: all that any worker ever shows are no more series than it says."""
    chance = random.Random(2)

    def requests() -> Iterator[tuple[str, str]]:
        for number in range(3 * REQUESTS):
            method = chance.choice(["GET", "POST", "PUT", "DELETE", "".join(chance.choices("ABCDEF", k=5))])
            yield method, f"/{number if number % 3 else number % 7}?{chance.randrange(200, 1000)}"

    with Server(PLAIN_SYNC, tmp_path, "--max-requests=200", "--preload") as server:
        answered, scrapes = asyncio.run(send_and_scrape(server, requests()), debug=DEBUG)
        assert_in_order(scrapes)
        assert {total(each) for each in scrapes[-SCRAPES:]} == {sum(answered.values())}
        limits = {each["red_series_limit"] for each in scrapes}
        assert len(limits) == 1
        own = {sample for each in scrapes for sample in each if sample.startswith(("http_", "red_", "uptime_"))}
        assert 1_000 < len(own) <= limits.pop()
        assert scrapes[-1]["red_overflow_requests_total"] > 0


def successor(master: int) -> int:
    """Have a master of gunicorn start the one that is to follow it, and return that one's process id."""
    before = children(master)
    found: list[int] = []

    def is_there() -> bool:
        os.kill(master, signal.SIGUSR2)  # refused until it knows that its own predecessor has ended
        found[:] = [child for child in children(master) - before if len(children(child)) >= WORKERS]
        return bool(found)

    poll("a new master with its workers", is_there)
    return found[0]


def assert_whole(server: Server, requests: int) -> None:
    """Every worker, whoever its master is, tells of all requests."""
    server.rest()
    assert {total(scrape(server)) for _ in range(2 * SCRAPES)} == {requests}


def test_masters_that_hand_over_to_one_another_are_one_group(tmp_path: Path) -> None:
    """By gunicorn's signal USR2: before, while two of them serve, after the old one has ended, and one more time."""
    server = Server(PLAIN_SYNC, tmp_path)
    server.command[:3] = [str(Path(sys.executable).with_name("gunicorn"))]  # `python -m gunicorn` cannot do it
    with server:
        first = server.process.pid
        load(server, 100)
        assert_whole(server, 100)
        second = successor(first)
        load(server, 100)
        assert_whole(server, 200)
        os.kill(first, signal.SIGQUIT)
        server.process.wait(DEADLINE_SECONDS)
        load(server, 100)
        assert_whole(server, 300)
        for worker in children(second):  # those that come now find no word of the old master in their environment
            os.kill(worker, signal.SIGKILL)
        load(server, 100)
        assert sum(total(scrape(server)) > 300 for _ in range(SCRAPES)) == SCRAPES
        before = total(scrape(server))
        third = successor(second)
        load(server, 100)
        assert_whole(server, int(before) + 100)
        os.kill(third, signal.SIGQUIT)  # taken back
        poll("it has ended", lambda: third not in children(second))
        load(server, 100)
        assert_whole(server, int(before) + 200)
        assert len(list(tmp_path.glob("red_middleware-*/*"))) == 1


def test_options_that_come_back_with_a_reload_bring_no_old_numbers_back(tmp_path: Path) -> None:
    """The master has moved on. What it left goes when nobody lives there any more."""
    mark = tmp_path / marks.FEWER
    with Server(PLAIN_SYNC, tmp_path) as server:
        load(server, 200)
        assert_whole(server, 200)
        for times in range(1, 5):
            if times % 2:
                mark.touch()
            else:
                mark.unlink()
            reload(server)
            load(server, 10 * times)
            assert_whole(server, 10 * times)
            assert len(list(tmp_path.glob("red_middleware-*/*"))) <= 2
        for worker in workers(server):  # nobody lives there for a moment, and nobody moved
            os.kill(worker, signal.SIGKILL)
        poll("new workers answer", server.answers)
        assert_whole(server, 40)


def test_options_that_come_back_find_no_old_numbers_although_an_old_worker_lives(tmp_path: Path) -> None:
    """It was stopped before the first reload, and serves again after the second one."""
    mark = tmp_path / marks.FEWER

    def reload_the_others() -> None:
        old = workers(server)
        server.process.send_signal(signal.SIGHUP)
        poll("new workers", lambda: len(new := workers(server) - {stopped}) >= WORKERS and not new & old)
        poll("they answer", lambda: all(server.answers() for _ in range(5 * WORKERS)))

    with Server(PLAIN_SYNC, tmp_path) as server:
        load(server, 200)
        assert_whole(server, 200)
        stopped = min(workers(server))
        os.kill(stopped, signal.SIGSTOP)
        try:
            mark.touch()
            reload_the_others()
            load(server, 10)
            assert_whole(server, 10)
            mark.unlink()
            reload_the_others()
            load(server, 20)
            assert_whole(server, 20)
            assert stopped in workers(server)
            assert len(list(tmp_path.glob("red_middleware-*/*"))) == 2
        finally:
            os.kill(stopped, signal.SIGCONT)
        poll("it has ended", lambda: stopped not in workers(server))
        load(server, 20)
        assert_whole(server, 40)
        reload(server)
        assert_whole(server, 40)
        assert len(list(tmp_path.glob("red_middleware-*/*"))) == 1


POST_FORK: Final = """
def post_fork(server, worker):
    import tests.e2e.plain_app
    from prometheus_client import generate_latest
    generate_latest()
"""


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=str)
def test_a_hook_that_reads_the_metrics_keeps_no_worker_apart(options: list[str], tmp_path: Path) -> None:
    """The server calls `post_fork` in the worker before it is one."""
    (tmp_path / "conf.py").write_text(POST_FORK)
    with Server(PLAIN_SYNC, tmp_path, f"--config={tmp_path / 'conf.py'}", *options) as server:
        answered = load(server, 200)
        server.rest()
        assert {total(scrape(server)) for _ in range(SCRAPES)} == {answered["200"]}


def test_two_hundred_workers_leave_no_more_behind_than_ten(tmp_path: Path) -> None:
    """Each serves five requests: neither files nor series grow with the number of workers that there have been."""
    with Server(PLAIN_SYNC, tmp_path, "--max-requests=5", "--preload") as server:
        ten = left_by(server, 5 * 10)
        two_hundred = left_by(server, 5 * 190)
        assert total(scrape(server)) == 5 * 200
        assert two_hundred == ten


def left_by(server: Server, requests: int) -> tuple[set[str], set[str]]:
    """Return the names of the group's files and of its series after some more requests."""
    assert load(server, requests) == {"200": requests}
    server.rest()
    (group,) = server.directory.glob("red_middleware-*/*")
    names: list[str] = []

    def is_tidy() -> bool:
        nonlocal names
        scrape(server)
        names = os.listdir(group)
        return sum(name.startswith("w-") for name in names) <= WORKERS

    poll("dead workers' files are removed", is_tidy)
    return {name for name in names if not name.startswith("w-")}, set(scrape(server))
