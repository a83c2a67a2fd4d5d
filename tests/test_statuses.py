"""Durations by status, and requests by class of status: the same requests, told apart otherwise, and none lost."""

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from red_middleware import RedMetrics
from red_middleware.counting.exchange import asks_for_socket, start
from red_middleware.counting.labels import REGISTERED_CODES, status_class, status_code, status_label
from red_middleware.counting.layout import CLASS_CELLS, STATUS_CELLS
from red_middleware.exposition import Request, answer
from red_middleware.families import sample_text, samples
from red_middleware.metrics import recorder_of
from red_middleware.recorder import Recorder
from red_middleware.workers import State
from red_middleware.workers.carry import carry

from .counts import counted, fresh_metrics, one_session
from .drive import Clock, begun, count
from .scenarios import SCENARIOS, SEEN_BY_WSGI, Scenario
from .test_parity import Protocol, run, through

DURATION: Final = "http_request_duration_seconds"
OPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {"duration_status": "class"},
    {"duration_status": "code"},
    {"status_classes": True},
    {"status_classes": True, "duration_status": "class"},
)
AGREE: Final = OPTIONS[1::2]
"""Those by which requests and durations are told apart alike."""

every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(map(str, options.values())))


def serve(metrics: RedMetrics, status: object, seconds: float = 0.0, route: str = "/a") -> None:
    """Count one request of some duration."""
    exchange = begun(metrics)
    clock = metrics.clock
    assert isinstance(clock, Clock)
    clock.seconds += seconds
    exchange.respond(status, route)
    exchange.finish()


def class_of(label: str) -> str:
    """Return the class of a status, both as labels."""
    return status_label(status_class(status_code(label)))


def told_apart(found: Mapping[str, float], options: Mapping[str, Any]) -> dict[str, float]:
    """Return what one request counts with the options, given what it counts without."""
    status = next((label for text in found for label in re.findall('^http_requests_total.*,status="(.*)"', text)), "")
    shown: dict[str, float] = {}
    for text, number in found.items():
        name = text
        if text.startswith("http_requests_total") and "status_classes" in options:
            name = text.replace(f'status="{status}"', f'status="{class_of(status)}"')
        elif text.startswith(DURATION) and "duration_status" in options:
            label = class_of(status) if options["duration_status"] == "class" else status
            name = f'{text[:-1]},status="{label}"}}'
        shown[name] = number
    return shown


def durations(metrics: RedMetrics, suffix: str = "_count") -> dict[str, float]:
    """Return the counts or sums of durations by status, over all routes."""
    return by_status(metrics, f"{DURATION}{suffix}")


def by_status(metrics: RedMetrics, name: str) -> dict[str, float]:
    """Return the numbers of one sample by status, over all other labels."""
    found: defaultdict[str, float] = defaultdict(float)
    for family in metrics.collect():
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["status"]] += sample.value
    return dict(found)


def without_scrape(text: bytes) -> list[bytes]:
    """Return the lines of a text but those that a scrape itself changes."""
    return [line for line in text.split(b"\n") if b"red_scrape_duration_seconds_" not in line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_status": "codes"}, 'RedMetrics(duration_status=\'codes\'): must be "class", "code" or None'),
        ({"duration_status": True}, "RedMetrics(duration_status=True): must be"),
        ({"duration_status": "code", "status_classes": True}, "(duration_status='code'): needs the codes"),
    ],
)
def test_a_status_that_cannot_be_shown_is_refused(options: dict[str, Any], message: str) -> None:
    """At construction, and so are codes of durations where requests have none."""
    with pytest.raises(ValueError, match=re.escape(message)):
        fresh_metrics(**options)


@pytest.mark.once
@every_option
@pytest.mark.parametrize(("protocol", "scenario"), through(asgi=SCENARIOS, wsgi=SEEN_BY_WSGI))
def test_a_scenario_counts_the_same_under_other_statuses(
    protocol: Protocol, scenario: Scenario, options: dict[str, Any]
) -> None:
    """Errors, 499, interim responses, exceptions and disconnects: every row of the table, through both protocols."""
    metrics, _ = run(protocol, scenario, **options)
    assert counted(metrics) == told_apart(scenario.expected, options)


def test_a_histogram_has_the_label_status_and_leaves_out_what_has_not_come() -> None:
    """Written out: buckets, count and sum of each class that has come, and of no other."""
    metrics = fresh_metrics(duration_status="class")
    for status, seconds in ((200, 0.5), (204, 2.0), (503, 0.25), ("strange", 0.0)):
        serve(metrics, status, seconds)
    row = 'method="GET",route="/a"'
    expected = {"2xx": (1.0, 2.0, 2.5), "5xx": (1.0, 1.0, 0.25), "_OTHER": (1.0, 1.0, 0.0)}
    found = {text: n for text, n in metrics.snapshot().items() if text.startswith(DURATION)}
    assert found == {
        text: number
        for status, (fast, all_of_them, seconds) in expected.items()
        for text, number in {
            f'{DURATION}_bucket{{le="0.9",{row},status="{status}"}}': fast,
            f'{DURATION}_bucket{{le="10.0",{row},status="{status}"}}': all_of_them,
            f'{DURATION}_bucket{{le="+Inf",{row},status="{status}"}}': all_of_them,
            f'{DURATION}_count{{{row},status="{status}"}}': all_of_them,
            f'{DURATION}_sum{{{row},status="{status}"}}': seconds,
        }.items()
    }


def test_durations_by_code_fold_where_requests_do() -> None:
    """The first 15 codes of a row have a histogram each, all others one: those that `http_requests_total` has."""
    metrics = fresh_metrics(duration_status="code")
    for code in range(200, 220):
        serve(metrics, code)
        serve(metrics, code + 300)
    assert len(durations(metrics)) == STATUS_CELLS
    assert durations(metrics)["_OTHER"] == 25.0
    assert durations(metrics) == by_status(metrics, "http_requests_total")


def test_classes_of_durations_do_not_fold_with_the_codes() -> None:
    """A status that a row has no cell for is of a class all the same."""
    metrics = fresh_metrics(duration_status="class")
    for code in range(200, 220):
        serve(metrics, code)
    for code in (404, 499, 503):
        serve(metrics, code)
    assert durations(metrics) == {"2xx": 20.0, "4xx": 2.0, "5xx": 1.0}
    assert by_status(metrics, "http_requests_total")["_OTHER"] == 8.0


def test_errors_are_exact_where_requests_are_counted_by_class() -> None:
    """A class is of errors as a whole or not at all; what is no status is of none."""
    metrics = fresh_metrics(status_classes=True)
    for status in (100, 200, 204, 302, 404, 499, 500, 503, 599, 600, "strange"):
        serve(metrics, status)
    assert by_status(metrics, "http_requests_total") == {
        "1xx": 1.0, "2xx": 2.0, "3xx": 1.0, "4xx": 2.0, "5xx": 3.0, "_OTHER": 2.0,
    }  # fmt: skip
    assert counted(metrics, "http_errors") == {'http_errors_total{method="GET",route="/a"}': 3.0}


@pytest.mark.parametrize("earlier", [100, 103, 200, 404])
def test_a_session_of_a_websocket_is_none_of_the_requests_of_its_class(earlier: int) -> None:
    """Whatever else of its class came first: 101 over WSGI opens a socket, and counts no request."""
    metrics = fresh_metrics(status_classes=True, duration_status="class")
    serve(metrics, earlier)
    source: dict[str, Any] = {}
    exchange = begun(metrics, source=source)
    asks_for_socket(source)
    exchange.respond(101, "/a")
    exchange.finish()
    assert counted(metrics, "websocket_") == one_session("/a")
    assert sum(by_status(metrics, "http_requests_total").values()) == 1.0


@every_option
def test_what_is_remembered_of_statuses_is_bounded(options: dict[str, Any]) -> None:
    """An app that answers whatever a client asks for: at most the codes that have a name are remembered of a row."""
    metrics = fresh_metrics(**options)
    for code in range(100, 600):
        serve(metrics, code)
    method = recorder_of(metrics).table.methods["GET"]
    (row,) = recorder_of(metrics).table.http.rows
    assert len(method.outcomes) <= (len(REGISTERED_CODES) if "status_classes" in options else STATUS_CELLS)
    assert len(row.outcomes) <= STATUS_CELLS + CLASS_CELLS
    assert sum(by_status(metrics, "http_requests_total").values()) == 500.0


@pytest.mark.parametrize("bounds", [(0.5,), (0.1, 0.5, 2.5)])
@every_option
def test_the_bound_follows_and_a_full_row_shows_as_much(options: dict[str, Any], bounds: tuple[float, ...]) -> None:
    """A row shows its histogram once for each slot, and as many statuses as it has cells: not one series more."""
    codes = CLASS_CELLS if "status_classes" in options else STATUS_CELLS
    slots = {None: 1, "class": CLASS_CELLS, "code": STATUS_CELLS}[options.get("duration_status")]
    rows = {
        number: fresh_metrics(buckets=bounds, max_label_sets=number, **options).bound().series for number in (50, 51)
    }
    metrics = fresh_metrics(buckets=bounds, max_label_sets=50, **options)
    table = recorder_of(metrics).table
    before = metrics.snapshot()["red_series"]
    count(metrics)
    (row,) = table.http.rows
    for code in range(1, 6) if "status_classes" in options else range(200, 200 + STATUS_CELLS):
        table.code_cell(row, code)
    table.http.cells[row.start : row.start + row.kind.width] = [1.0] * row.kind.width
    assert metrics.snapshot()["red_series"] - before == rows[51] - rows[50]
    assert rows[51] - rows[50] == slots * (len(bounds) + 1 + 2) + codes + 2


@pytest.mark.once
@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from(["/a", "/b"]),
            st.integers(95, 604) | st.sampled_from([200, 404, 500, "200 OK", "999 x"]),
            st.sampled_from([0.0, 0.125, 1.5, 64.0]),
        ),
        max_size=60,
    )
)
@every_option
def test_durations_by_status_add_up_to_those_without(
    options: dict[str, Any], answers: list[tuple[str, object, float]]
) -> None:
    """Whatever comes: statuses only tell apart, the text is prometheus_client's, and `red_series` says its length."""
    plain, metrics = fresh_metrics(), fresh_metrics(**options)
    for route, status, seconds in answers:
        for one in (plain, metrics):
            serve(one, status, seconds, route)
    summed: defaultdict[str, float] = defaultdict(float)
    for name, number in counted(metrics, DURATION).items():
        summed[re.sub(',status="[^"]*"', "", name)] += number
    assert summed == counted(plain, DURATION)
    assert counted(metrics, "http_errors") == counted(plain, "http_errors")
    if options in AGREE:
        assert durations(metrics) == by_status(metrics, "http_requests_total")
    for _ in range(2):  # formatted anew, and as it was kept
        text = answer(metrics, Request()).body
        assert without_scrape(text) == without_scrape(generate_latest(metrics.registry))
        theirs: bytes = openmetrics.generate_latest(metrics.registry)  # type: ignore[no-untyped-call]  # no annotations
        ours = answer(metrics, Request(headers={"accept": "application/openmetrics-text"})).body
        assert without_scrape(ours) == without_scrape(theirs)
        list(parse_openmetrics(ours.decode()))  # type: ignore[no-untyped-call]  # no annotations; checks histograms
    assert metrics.snapshot()["red_series"] == len([line for line in text.splitlines() if not line.startswith(b"#")])


@every_option
def test_what_is_counted_as_overflow_is_counted_in_every_slot(options: dict[str, Any]) -> None:
    """`red_overflow_requests_total` counts them all, whatever their status."""
    metrics = fresh_metrics(max_label_sets=1, **options)
    for status in (200, 404, 503, "strange"):
        serve(metrics, status, route="x" * 300)
    assert metrics.snapshot()["red_overflow_requests_total"] == 4.0


@every_option
def test_a_status_is_shown_from_the_scrape_after_it_came(options: dict[str, Any]) -> None:
    """What is kept of a row follows it: a slot that was empty at one scrape, and one that was cleared."""
    metrics = fresh_metrics(**options)
    for status in (503, 200, 404, 200, 503):
        serve(metrics, status, 0.5)
        assert without_scrape(answer(metrics, Request()).body) == without_scrape(generate_latest(metrics.registry))
    metrics.clear()
    serve(metrics, 404)
    shown = answer(metrics, Request()).body.decode()
    assert len([line for line in shown.splitlines() if line.startswith(f"{DURATION}_count")]) == 1


class Worker:
    """A recorder of one worker, with a directory one of a group."""

    def __init__(self, options: Mapping[str, Any], base: Path | None) -> None:
        metrics = RedMetrics(
            registry=CollectorRegistry(),
            buckets=(0.9,),
            multiprocess_dir=None if base is None else str(base),
            multiprocess_name=None if base is None else "statuses",
            own_series_limit=10,
            clock=Clock(),
            **options,
        )
        self.recorder = Recorder(recorder_of(metrics).options, CollectorRegistry())
        self.recorder.begin({})
        assert self.recorder.membership.state is (State.ALONE if base is None else State.JOINED)

    def count(self, *statuses: int) -> None:
        """Count a request of each status, of so many milliseconds."""
        for status in statuses:
            exchange = start(self.recorder, "GET", {})
            assert exchange is not None
            clock = self.recorder.clock
            assert isinstance(clock, Clock)
            clock.seconds += status / 1024
            exchange.respond(status, "/a")
            exchange.finish()

    def shown(self) -> dict[str, float]:
        """Return what the families of requests show."""
        found = samples(self.recorder.families, self.recorder.kinds, self.recorder.read())
        return {
            sample_text(family.name + suffix, labels): value
            for family, shown in found.items()
            for suffix, labels, value in shown
            if family.kind == "http"
        }


@every_option
def test_statuses_are_whole_among_workers(options: dict[str, Any], tmp_path: Path) -> None:
    """Two workers that see the statuses in another order show what one alone would, and so does who is left."""
    one, other, alone = Worker(options, tmp_path), Worker(options, tmp_path), Worker(options, None)
    one.count(200, 404)
    other.count(404, 503, 200)
    one.count(503, 299)
    alone.count(200, 404, 404, 503, 200, 503, 299)
    assert one.shown() == other.shown() == alone.shown()
    member = other.recorder.membership.member
    assert member is not None
    member.abandon()  # as the kernel does for a process that is killed
    for _ in range(2):  # when it is folded into the file of the dead, and read from there
        assert one.shown() == alone.shown()


@every_option
def test_statuses_are_carried_by_their_meaning(options: dict[str, Any]) -> None:
    """A worker that joins brings its durations under their statuses, where the group met these in another order."""
    old, new, alone = Worker(options, None), Worker(options, None), Worker(options, None)
    old.count(404, 200, 503, 404)
    new.count(500, 503, 200, 200)
    alone.count(500, 503, 200, 200, 404, 200, 503, 404)
    for _ in range(2):  # what is carried once is carried
        carry(old.recorder.table, new.recorder.table)
        assert new.shown() == alone.shown()
        assert old.shown() == {}


def test_durations_of_a_code_that_finds_no_room_are_carried_to_the_others() -> None:
    """Beside their requests: the two agree afterwards too."""
    old, new = Worker({"duration_status": "code"}, None), Worker({"duration_status": "code"}, None)
    old.count(200, 404)
    new.count(*range(300, 300 + STATUS_CELLS - 1))
    carry(old.recorder.table, new.recorder.table)
    shown = new.shown()
    assert shown[f'{DURATION}_count{{method="GET",route="/a",status="_OTHER"}}'] == 2.0
    assert shown['http_requests_total{method="GET",route="/a",status="_OTHER"}'] == 2.0


@every_option
def test_promtool_has_nothing_to_say_of_statuses(options: dict[str, Any]) -> None:
    """`promtool check metrics` parses and lints the families with their other labels."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it comes with Prometheus (Debian: apt install prometheus)")
    metrics = fresh_metrics(**options, slo_availability=0.999, slo_seconds=[0.3])
    for status in (200, 404, 503, "strange"):
        serve(metrics, status)
    text = answer(metrics, Request()).body
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
