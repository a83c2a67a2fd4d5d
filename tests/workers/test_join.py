"""Metrics in a group of workers, by name and without a server: who joins, when, and what becomes of who cannot."""

import importlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from wsgiref.simple_server import demo_app

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from red_middleware import RedMetrics, RedWSGIMiddleware
from red_middleware.metrics import recorder_of
from red_middleware.workers import State, generations
from red_middleware.workers.cells import WORKER
from red_middleware.workers.directory import open_directory
from red_middleware.workers.index import NAME as INDEX
from red_middleware.workers.proc import STARTED, stat_field

from ..drive import begun, count, declare, restart
from ..e2e import require_packages
from .members import HOME, ROOT, Named, groups, member_of, open_files, state_of, total


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a small tmpfs with the given options."""
    path = tmp_path / "mounted"
    path.mkdir()

    def mount(options: str) -> Path:
        found = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"no tmpfs can be mounted: {found.stderr.strip()}")
        return path

    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", path], capture_output=True)


def test_the_first_request_joins(named: Named, tmp_path: Path) -> None:
    """Not the construction, nor the declaration of routes, which may be before the fork; these are the group's then."""
    metrics = named()
    declare(metrics, [("/a", ["GET"])])
    assert list(tmp_path.iterdir()) == []
    count(metrics, "/a")
    count(metrics, "/a")
    (group,) = groups(tmp_path)
    assert sorted(path.name.partition("-")[0] for path in group.iterdir()) == ["index", "lock", "owner", "w"]
    found = metrics.snapshot()
    assert found['http_requests_total{method="GET",route="/a",status="200"}'] == 2.0
    assert found["red_workers"] == 1.0
    assert found["red_worker_isolated"] == 0.0
    assert found["red_instrumentation_errors_total"] == 0.0
    assert recorder_of(metrics).table.declared == {"/a": {"GET"}}
    assert 0.0 < metrics.snapshot()["uptime_seconds_total"] < 60.0


JOIN_IN_A_NEW_PROCESS = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None  # as if the platform had none
from red_middleware import RedMetrics
from red_middleware.counting.exchange import start
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
known = set(sys.modules)
metrics = RedMetrics(multiprocess_dir=sys.argv[1], multiprocess_name="shop")
exchange = start(recorder_of(metrics), "GET", {})
exchange.respond(500, "/a")
exchange.raised(KeyError())
exchange.finish()
answer(metrics, Request())
answer(metrics, Request(headers={"accept": "application/openmetrics-text", "accept-encoding": "gzip"}))
print(recorder_of(metrics).membership.state.value, sorted(set(sys.modules) - known))
"""


def test_to_join_imports_nothing(tmp_path: Path) -> None:
    """A child that another thread forks in the middle of an import would wait for its end for ever."""
    command = [sys.executable, "-c", JOIN_IN_A_NEW_PROCESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("joined []\n", "")


def test_without_file_locks_a_process_counts_for_itself(tmp_path: Path) -> None:
    """On Windows, which has no fcntl."""
    command = [sys.executable, "-c", JOIN_IN_A_NEW_PROCESS, str(tmp_path), "fcntl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("alone ")
    assert "this worker's numbers are its own" in done.stderr
    assert "this platform cannot lock directories" in done.stderr
    assert list(tmp_path.iterdir()) == []


FIRST_REQUESTS_OF_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import fcntl, gevent, os, sys
from red_middleware import RedMetrics
from red_middleware.counting.exchange import start
from red_middleware.metrics import recorder_of
from red_middleware.workers import directory, index, member
directory.PATIENCE_SECONDS = index.PATIENCE_SECONDS = member.PATIENCE_SECONDS = 60.0  # of a machine that stands still
metrics = RedMetrics(multiprocess_dir=sys.argv[1], multiprocess_name="shop")
def serve():
    exchange = start(recorder_of(metrics), "GET", {})
    exchange.respond(200, "/a")
    exchange.finish()
joined, real = [], directory._join
def join(*arguments):
    joined.append(real(*arguments))
    if len(joined) == 1:  # as if a cleaner judged the new directory at this moment
        joined[0].close()
        raise BlockingIOError
    held = os.open(joined[1].path + "/index", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)  # as if another worker was adding a row, which it ends a little later
    gevent.get_hub().threadpool.spawn(lambda: (monkey.get_original("time", "sleep")(0.05), os.close(held)))
    return joined[1]
directory._join = join
gevent.joinall([gevent.spawn(serve) for _ in range(10)], raise_error=True)
numbers = metrics.snapshot()
print(len(joined), numbers["red_worker_isolated"], numbers['http_requests_total{method="GET",route="/a",status="200"}'])
"""


def test_no_greenlet_counts_elsewhere_while_another_one_joins(tmp_path: Path) -> None:
    """Under gevent every wait but a system call is a switch, and the first requests of a worker come together."""
    require_packages("gevent")
    command = [sys.executable, "-c", FIRST_REQUESTS_OF_GREENLETS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert (done.stdout, done.stderr) == ("2 0.0 10.0\n", "")


def test_a_request_whose_method_cannot_be_looked_up_joins_as_well(named: Named) -> None:
    """As ASGI servers of a later version may pass it."""
    metrics = named()
    exchange = begun(metrics, [])
    assert state_of(metrics) is State.JOINED
    exchange.respond(200, "/a")
    exchange.finish()
    assert metrics.snapshot()['http_requests_total{method="_OTHER",route="/a",status="200"}'] == 1.0


@pytest.mark.parametrize("scrape", [RedMetrics.snapshot, lambda metrics: list(metrics.collect())])
def test_a_first_scrape_joins(named: Named, scrape: Callable[[RedMetrics], object]) -> None:
    """It may come to a worker that served nothing yet, but whose app is mounted: its routes are known."""
    metrics = named()
    RedWSGIMiddleware(demo_app, metrics=metrics)
    assert scrape(metrics)
    assert state_of(metrics) is State.JOINED
    assert metrics.snapshot()["red_workers"] == 1.0


def test_a_single_process_makes_no_file(named: Named, tmp_path: Path) -> None:
    """Neither where a directory is given, which alone makes no group, nor where none is."""
    for metrics in (named(name=None), named(directory="auto", name=None), named(directory=None)):
        count(metrics, "/a")
        found = metrics.snapshot()
        assert state_of(metrics) is State.ALONE
        assert found['http_requests_total{method="GET",route="/a",status="200"}'] == 1.0
        assert (found["red_workers"], found["red_worker_isolated"]) == (1.0, 0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, False),
        ({"namespace": "tenant"}, True),
        ({"name": "tenant"}, True),
        ({"registry": REGISTRY, "namespace": "late"}, True),
    ],
)
def test_a_registry_that_comes_late_is_known_again_by_a_name_only(
    named: Named, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], shares: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Apps that are made when a request asks for them come in another order in each worker: tenants would be mixed."""
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "shop")
    first, second = named(name=None), named(name=None)
    count(first, "/a")
    late = named(**{"name": None, **options})
    try:
        for metrics in (second, late):
            count(metrics, "/a")
        assert state_of(second) is State.JOINED
        assert (state_of(late) is State.JOINED) == shares
        assert recorder_of(late).membership.is_isolated() != shares
        assert any("counts for this one alone" in message for message in caplog.messages) != shares
    finally:
        late.registry.unregister(late)


def test_a_late_registry_of_a_single_process_is_nothing_to_tell(named: Named, caplog: pytest.LogCaptureFixture) -> None:
    """There is nobody whom it could be mixed up with."""
    count(named(name=None), "/a")
    late = named(name=None)
    count(late, "/a")
    assert not recorder_of(late).membership.is_isolated()
    assert not caplog.messages


@pytest.mark.parametrize("where", ["construction", "first request"])
def test_a_relative_directory_of_the_environment_is_refused(
    named: Named, monkeypatch: pytest.MonkeyPatch, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Workers may each have a working directory of their own. One that is set late is said, and harms no request."""
    early = named(directory="auto")
    monkeypatch.setenv("RED_MULTIPROCESS_DIR", "relative")
    named(directory=None)
    if where == "construction":
        with pytest.raises(ValueError, match=r"RED_MULTIPROCESS_DIR='relative': must be an absolute path"):
            named(directory="auto")
    else:
        count(early, "/a")
        assert recorder_of(early).membership.is_isolated()
        assert total(early.snapshot()) == 1.0
        assert "must be an absolute path" in caplog.text


def test_none_never_joins(named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("RED_MULTIPROCESS_DIR", str(tmp_path))
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "shop")
    metrics = named(directory=None, name=None)
    count(metrics, "/a")
    assert state_of(metrics) is State.ALONE
    assert list(tmp_path.iterdir()) == []


def test_the_environment_says_where_and_by_which_name(
    named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For apps whose code is not to know; read at the first request, as a server may set them late."""
    one, other, third = named(directory="auto", name=None), named(directory="auto"), named(directory=tmp_path / "own")
    monkeypatch.setenv("RED_MULTIPROCESS_DIR", str(tmp_path / "elsewhere"))
    count(other, "/a")
    assert len(groups(tmp_path / "elsewhere")) == 1
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "from the environment")
    count(one, "/a")
    assert len(groups(tmp_path / "elsewhere")) == 2
    count(third, "/a")
    assert len(groups(tmp_path / "own")) == 1


def test_empty_variables_are_none(named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a compose file leaves them."""
    monkeypatch.setenv("RED_MULTIPROCESS_DIR", "")
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "")
    metrics = named(directory="auto", name="")
    count(metrics, "/a")
    assert state_of(metrics) is State.ALONE


def test_tables_that_differ_are_groups_of_their_own(named: Named, tmp_path: Path) -> None:
    """Another namespace, other bounds or another registry: cells that mean something else are not added up."""
    one, other = CollectorRegistry(), CollectorRegistry()
    for metrics in (named(registry=one), named(registry=one, namespace="shop"), named(registry=other),
                    named(max_label_sets=101)):  # fmt: skip
        count(metrics, "/a")
        assert (
            total(metrics.snapshot())
            + metrics.snapshot().get('shop_http_requests_total{method="GET",route="/a",status="200"}', 0.0)
            == 1.0
        )
    assert len(groups(tmp_path)) == 4


TENANTS = """
import sys
from prometheus_client import CollectorRegistry
from tests.drive import count
from tests.workers.members import named
base, is_named, *tenants = sys.argv[1:]
metrics = {tenant: named(base, namespace=tenant if is_named == "True" else "") for tenant in tenants}
for tenant in tenants:
    count(metrics[tenant], f"/{tenant}")
for tenant in sorted(tenants):
    found = metrics[tenant].snapshot()
    print(*(f"{text}={n:g}" for text, n in found.items() if n and ("isolated" in text or "requests_total" in text)))
"""


@pytest.mark.parametrize("is_named", [True, False])
def test_two_registries_are_mixed_up_in_no_order(is_named: bool, tmp_path: Path) -> None:
    """Each worker may make them in another one, as from a set. A namespace tells which is which; nothing else does."""
    for tenants in (("acme", "globex"), ("globex", "acme")):
        command = [sys.executable, "-c", TENANTS, str(tmp_path), str(is_named), *tenants]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = ran.stdout.splitlines()
    for tenant, line in zip(("acme", "globex"), found, strict=True):
        prefix, requests = (f"{tenant}_", 2) if is_named else ("", 1)
        of_tenant = f'{prefix}http_requests_total{{method="GET",route="/{tenant}",status="200"}}={requests}'
        assert line.split() == [of_tenant, *([] if is_named else ["red_worker_isolated=1"])]
    assert ran.stderr.count("cannot tell which of theirs this RedMetrics is") == (0 if is_named else 2)


def test_a_registry_that_shares_nothing_is_no_other_ones_double(tmp_path: Path) -> None:
    """That of a tool of the same process, say, which is to keep its numbers to itself."""
    program = """
import sys
from prometheus_client import CollectorRegistry
from red_middleware import RedMetrics
from tests.drive import count
options = {"registry": CollectorRegistry(), "buckets": (1.0,)}
alone = RedMetrics(**options, multiprocess_dir=None, multiprocess_name="shop")
options["registry"] = CollectorRegistry()
shared = RedMetrics(**options, multiprocess_dir=sys.argv[1], multiprocess_name="shop")
count(shared)
count(alone)
print(*(metrics.snapshot()["red_worker_isolated"] for metrics in (alone, shared)))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "0.0 0.0\n"
    assert len(groups(tmp_path)) == 1


def test_those_that_share_the_numbers_share_the_membership(named: Named, tmp_path: Path) -> None:
    """A factory that runs twice makes one worker."""
    registry = CollectorRegistry()
    one, other = named(registry=registry), named(registry=registry)
    count(one, "/a")
    count(other, "/a")
    assert total(one.snapshot()) == total(other.snapshot()) == 2.0
    assert [path.name.partition("-")[0] for path in groups(tmp_path)[0].iterdir()].count("w") == 1


def test_requests_that_began_before_a_process_was_a_worker_are_finished_where_they_began(named: Named) -> None:
    """The handler of the first one may be slow, and other metrics may be scraped in it."""
    metrics = named()
    first = begun(metrics)
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 1.0
    first.respond(200, "/a")
    first.finish()
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
    assert total(metrics.snapshot()) == 1.0


def test_a_master_of_uwsgi_joins_nothing_yet(named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without `--master` it is worker 1 once it has forked the others, and what it counted until then is its own.

    What becomes of it in a worker that it forks is in `test_membership`.
    """
    metrics = named()
    with monkeypatch.context() as master:
        master.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 0))
        count(metrics, "/warm-up")
        assert total(metrics.snapshot()) == 1.0
    assert list(tmp_path.iterdir()) == []
    count(metrics, "/a")
    assert state_of(metrics) is State.JOINED
    assert total(metrics.snapshot()) == 2.0


@pytest.mark.parametrize("boots", [True, False])
def test_a_gunicorn_worker_in_its_hook_post_fork_joins_when_it_has_booted(
    named: Named, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, boots: bool
) -> None:
    """There it looks like its master still, and may be another user; what it counts comes along.

    A process that is the master itself joins nobody before there are workers, and says so.
    """
    require_packages("gunicorn")
    master = object.__new__(importlib.import_module("gunicorn.arbiter").Arbiter)
    master.pid = os.getpid() + boots
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/27.0.1")
    metrics = named()
    before = signal.signal(signal.SIGTERM, master.handle_term)
    try:
        for _ in range(2):
            count(metrics, "/warm-up")
            assert metrics.snapshot()["red_worker_isolated"] == (not boots)
        assert state_of(metrics) is State.EARLY
    finally:
        signal.signal(signal.SIGTERM, before)
    count(metrics, "/a")
    assert state_of(metrics) is State.JOINED
    assert total(metrics.snapshot()) == 3.0


@pytest.mark.parametrize("place", ["missing/below", "file", "/proc/red_middleware", "/proc"])
def test_where_no_file_can_be_made_a_worker_counts_for_itself(
    named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """It says so once, in the log and for ever in its metrics; no request is harmed."""
    (tmp_path / "file").write_text("")
    metrics = named(directory=tmp_path / place)
    declare(metrics, [("/a", ["GET"])])
    with caplog.at_level(logging.WARNING, "red_middleware"):
        for _ in range(3):
            count(metrics, "/a")
            found = metrics.snapshot()
    assert total(found) == 3.0
    assert (found["red_worker_isolated"], found["red_workers"]) == (1.0, 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "this worker's numbers are its own, not those of its group"
    ]
    reported = caplog.records[0].exc_info
    assert reported is not None
    assert isinstance(reported[1], OSError)
    assert not isinstance(reported[1].__context__, KeyError)  # how the first request found that it is the first


def test_a_worker_that_cannot_see_its_group_counts_for_itself_and_says_so(
    named: Named, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a chroot, or with another pid namespace's /proc: a scrape of one of several workers would look well."""
    monkeypatch.setenv("RED_MULTIPROCESS_NAME", "shop")
    early = named(name=None)
    with monkeypatch.context() as blind:
        blind.setattr(os, "geteuid", (0).__truediv__)  # something that names the group cannot be told
        count(early, "/a")
        for metrics in (early, named(name=None)):
            count(metrics, "/a")
            assert metrics.snapshot()["red_worker_isolated"] == 1.0
    assert total(early.snapshot()) == 2.0
    message = "this worker's numbers are its own, not those of its group"
    assert [record.getMessage() for record in caplog.records] == [message, message]
    found = early.snapshot()
    assert (found["red_worker_isolated"], total(found)) == (0.0, 2.0)


def test_a_worker_that_was_alone_finds_its_group_at_a_later_scrape(
    named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With all that it counted until then, and what had begun and ends later; nothing is lost, nothing counts twice."""
    here, there = named(directory=tmp_path / "missing" / "base"), named(directory=tmp_path / "missing" / "base")
    count(here, "/a")
    running = begun(here)
    assert here.snapshot()["red_worker_isolated"] == 1.0
    (tmp_path / "missing").mkdir()
    with caplog.at_level(logging.INFO, "red_middleware"):
        found = here.snapshot()
    assert sum("its group now" in message for message in caplog.messages) == 1
    assert (found["red_worker_isolated"], total(found)) == (0.0, 1.0)
    assert member_of(here)
    count(here, "/a")
    running.respond(500, "/a")
    running.finish()
    for _ in range(2):
        found = here.snapshot()
        assert found['http_requests_total{method="GET",route="/a",status="200"}'] == 2.0
        assert found['http_errors_total{method="GET",route="/a"}'] == 1.0
        assert total(found) == 3.0
    count(there, "/a")  # of another registry, and so of another group
    assert total(there.snapshot()) == 1.0


def test_what_cannot_be_carried_over_fails_no_scrape(named: Named, tmp_path: Path) -> None:
    """It stays where it is, and is tried again."""
    metrics = named(directory=tmp_path / "missing" / "base")
    count(metrics, "/a")
    (tmp_path / "missing").mkdir()
    rows = recorder_of(metrics).table.http.rows
    row = rows[0]
    rows[0] = object()  # type: ignore[call-overload]  # something is wrong with it
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 1.0
    count(metrics, "/b")  # in the group, from now on
    rows[0] = row
    assert total(metrics.snapshot()) == 2.0


@pytest.mark.parametrize("options", ["ro", "size=16k", "size=64k", "nr_inodes=4"])
def test_on_a_file_system_without_room_a_worker_counts_for_itself(
    named: Named, mount: Callable[[str], Path], caplog: pytest.LogCaptureFixture, options: str
) -> None:
    """Found out before anything is mapped: later it would be a SIGBUS."""
    metrics = named(directory=mount(options), max_label_sets=1000)
    count(metrics, "/a")
    found = metrics.snapshot()
    assert total(found) == 1.0
    assert found["red_worker_isolated"] == 1.0
    assert len(caplog.records) == 1


def test_a_handler_of_the_log_may_count_while_a_worker_joins(named: Named, tmp_path: Path) -> None:
    """It is asked from within: what it counts goes where the numbers are then, and nothing hangs."""
    (tmp_path / "file").write_text("")
    metrics = named(directory=tmp_path / "file")

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            count(metrics, "/logged")

    handler = Counting()
    logger = logging.getLogger("red_middleware")
    logger.addHandler(handler)
    try:
        count(metrics, "/a")
    finally:
        logger.removeHandler(handler)
    assert total(metrics.snapshot()) == 2.0


def test_a_fault_with_the_groups_files_is_counted_and_logged_once(
    named: Named, caplog: pytest.LogCaptureFixture
) -> None:
    """Every scrape and every request is answered as if nothing was."""
    metrics = named()
    count(metrics, "/a")
    directory = Path(member_of(metrics).directory.path)
    (directory / f"{WORKER}foreign").write_bytes(b"garbage")
    assert metrics.snapshot()["red_instrumentation_errors_total"] == 1.0
    (directory / INDEX).write_bytes(b"garbage")
    for _ in range(3):
        count(metrics, "/a")
        count(metrics, "/new")
        found = metrics.snapshot()
    assert found['http_requests_total{method="GET",route="/a",status="200"}'] == 4.0
    assert found['http_requests_total{method="GET",route="_overflow",status="_OTHER"}'] == 3.0
    assert found["red_instrumentation_errors_total"] > 2.0
    assert len(caplog.records) == 2


def test_a_worker_whose_directory_is_removed_counts_on_and_founds_the_group_anew(
    named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As systemd-logind does when a user logs out (RemoveIPC): its own numbers stay, and come along."""
    metrics = named()
    count(metrics, "/a")
    assert metrics.snapshot()["red_worker_isolated"] == 0.0
    shutil.rmtree(tmp_path / HOME)
    for _ in range(2):
        count(metrics, "/a")
        count(metrics, "/new")
        found = metrics.snapshot()
    assert found['http_requests_total{method="GET",route="/a",status="200"}'] == 3.0
    assert found['http_requests_total{method="GET",route="/new",status="200"}'] == 2.0
    assert found["red_instrumentation_errors_total"] == 1.0
    assert (found["red_worker_isolated"], found["red_workers"]) == (0.0, 1.0)
    assert len(groups(tmp_path)) == 1
    assert len(caplog.records) == 1


def test_clear_begins_anew_among_workers(named: Named) -> None:
    """For tests, this worker's numbers; a request in progress stays in progress."""
    metrics = named()
    count(metrics, "/a")
    running = begun(metrics)
    metrics.clear()
    assert total(metrics.snapshot()) == 0.0
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 1.0
    running.finish()
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
    metrics.clear()
    count(metrics, "/a")
    assert total(metrics.snapshot()) == 1.0


def test_a_child_of_a_worker_begins_with_cells_of_its_own(named: Named) -> None:
    """What happens after a fork, seen from close by: the index is kept, numbers and membership are not."""
    metrics = named()
    count(metrics, "/a")
    running = begun(metrics)
    member, before = member_of(metrics), recorder_of(metrics).table.http.cells
    restart(metrics)
    assert state_of(metrics) is State.EARLY
    assert member.directory.fd == -1
    assert recorder_of(metrics).table.http.rows[-1].key == ("GET", "/a")
    counted = list(before)
    running.respond(200, "/a")
    running.finish()
    count(metrics, "/child")
    assert total(metrics.snapshot()) == 3.0  # with the parent's, whose group it finds by the same name
    assert member_of(metrics) is not member
    assert list(before) == counted


def test_groups_whose_master_is_gone_are_removed(named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next worker of this user that joins any group; others are kept."""
    count(named(), "/a")
    boot, namespace, *_ = (groups(tmp_path)[0] / "owner").read_text().split()
    own = stat_field(os.getpid(), STARTED)
    owners = {
        "another-boot": f"not-{boot} {namespace} {os.getpid()} {own}",
        "gone": f"{boot} {namespace} {os.getpid()} {own + 1}",
        "living": f"{boot} {namespace} {os.getpid()} {own}",
        "another-namespace": f"{boot} {int(namespace) + 1} {os.getpid()} {own + 1}",
    }
    for name, owner in owners.items():
        open_directory(name, owner, str(tmp_path)).close()
    count(named(namespace="another"), "/a")
    left = {path.name for path in groups(tmp_path)} & set(owners)
    assert left == {"living", "another-namespace"}


WORKER_OF_THIS: Final = """
import os, sys
from red_middleware import RedMetrics
from red_middleware.workers import directory, group, index, member
from tests.drive import count
from tests.workers.members import total
group.find_master = os.getppid
directory.PATIENCE_SECONDS = index.PATIENCE_SECONDS = member.PATIENCE_SECONDS = 60.0  # of a machine that stands still
metrics = RedMetrics(multiprocess_dir=sys.argv[1], max_label_sets=int(sys.argv[2]))
print("up", flush=True)
for line in sys.stdin:
    if line.strip() == "count":
        count(metrics, "/a")
    print(total(metrics.snapshot()), flush=True)
"""


class Forked:
    """A worker of this process, which is their master; one of the options of a worker is new after a reload."""

    def __init__(self, base: Path, max_label_sets: int) -> None:
        command = [sys.executable, "-c", WORKER_OF_THIS, str(base), str(max_label_sets)]
        self.popen = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, word: str) -> None:
        """Let it count a request, or only tell of all."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{word}\n")
        self.popen.stdin.flush()

    def hear(self) -> str:
        """Return how many requests of all workers it knew when it was last told something."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def end(self) -> None:
        """End it."""
        self.popen.communicate()


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Callable[[int], list[Forked]]]:
    """Return a function that starts eight workers at once, and lets all of them serve at once."""
    made: list[Forked] = []

    def forked(max_label_sets: int) -> list[Forked]:
        new = [Forked(tmp_path, max_label_sets) for _ in range(8)]
        made.extend(new)
        assert [worker.hear() for worker in new] == ["up"] * 8
        for worker in new:
            worker.tell("count")
        for worker in new:
            worker.hear()
        return new

    yield forked
    for worker in made:
        worker.end()


@pytest.mark.once
@pytest.mark.parametrize("is_over", [True, False], ids=["the old ones have ended", "the old ones live"])
def test_workers_that_come_at_once_after_a_reload_are_one_group(
    forked: Callable[[int], list[Forked]], is_over: bool, tmp_path: Path
) -> None:
    """With options that are new, and with those from before, whose numbers do not come back."""
    for options in (100, 50, 100, 60, 50, 60):
        workers = forked(options)
        for worker in workers:
            worker.tell("tell")
        assert [worker.hear() for worker in workers] == ["8.0"] * 8
        if is_over:
            for worker in workers:
                worker.end()
    assert len(groups(tmp_path)) == (1 if is_over else 6)


def test_a_worker_of_whose_group_another_directory_was_made_meanwhile_goes_there(
    named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks again when it has opened one. If that does not end, it counts for itself until the next scrape."""
    find = generations.find_generation
    suffixes = iter(["2", "3", "3"])
    monkeypatch.setattr(generations, "find_generation", lambda *given: find(*given)[:-1] + next(suffixes))
    metrics = named()
    count(metrics, "/a")
    assert member_of(metrics).directory.path.endswith(".3")
    assert open_files(tmp_path).count(member_of(metrics).directory.path) == 1
    numbers = itertools.count(4)
    monkeypatch.setattr(generations, "find_generation", lambda *given: f"{find(*given)[:-1]}{next(numbers)}")
    other = named(namespace="other")
    count(other, "/a")
    assert state_of(other) is State.ALONE
    assert "change again and again" in caplog.text
    monkeypatch.setattr(generations, "find_generation", find)
    assert other.snapshot()['other_http_requests_total{method="GET",route="/a",status="200"}'] == 1.0
    assert state_of(other) is State.JOINED
