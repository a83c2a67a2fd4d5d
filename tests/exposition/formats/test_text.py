"""Our text is what prometheus_client writes, is what its parsers read back, and pleases promtool."""

import copy
import gc
import math
import os
import random
import shutil
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from red_middleware import RedMetrics
from red_middleware.counting.rows import Row
from red_middleware.counting.table import Table
from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of

from ...counts import SHOWN_AT_ONCE, fresh_metrics
from ...drive import begun
from ...drive import count as request

OPENMETRICS: Final = "application/openmetrics-text"

PARSERS: Final[Mapping[str, Callable[[str], Iterable[Metric]]]] = {"": parse_text, OPENMETRICS: parse_openmetrics}
"""What reads the answer to an Accept header."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

NASTY: Final = (
    '/"quoted"', "/back\\slash", "/new\nline", "/per%cent/%s/%d/%%", "/{id}", "/}{", "/nul\x00", "/\r", "/\x85\u2028",
    "/tab\t", "/caf\xe9", b"/\xff\xfe".decode("latin-1"), b"/\xff\xfe".decode("utf-8", "surrogateescape"), "/\ud800",
    "/\U0001f600", "/ # {a=\"b\"} 1", "/,le=\"1\"", "/\\n", "/\\\\\"", "", "/ ", "/#",
)  # fmt: skip


def seen(metrics: RedMetrics, accept: str = "") -> str:
    """Return what a scraper sees."""
    return answer(metrics, Request(headers={"accept": accept})).body.decode()


def read_back(metrics: RedMetrics, accept: str) -> Samples:
    """Return every sample as a parser understands the answer; none comes twice."""
    found = [
        ((sample.name, frozenset(sample.labels.items())), float(sample.value))
        for family in PARSERS[accept](seen(metrics, accept))
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def table_of(metrics: RedMetrics) -> Table:
    """Return the table, for numbers that no request makes."""
    return recorder_of(metrics).table


def only_row(metrics: RedMetrics) -> Row:
    """Return the row of all requests."""
    (row,) = table_of(metrics).http.rows
    return row


def held(metrics: RedMetrics) -> Samples:
    """Return every sample as it is given to other writers."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


def busy(metrics: RedMetrics) -> RedMetrics:
    """Return the metrics after some of everything: all kinds of label sets, errors, disconnects, exceptions."""
    for route in (*NASTY, None, "/plain", "x" * 300):
        for status in (200, 404, 500, "strange"):
            request(metrics, route, status, "GET" if status == 200 else "BREW")
    for status in range(200, 220):
        request(metrics, "/codes", status)
    for number in range(3):
        exchange = begun(metrics, "POST")
        if number:
            exchange.respond(201, "/left")
        exchange.disconnect()
        exchange.finish()
        exchange.raised(ValueError("after"))
    begun(metrics, "PUT")  # and is still in progress
    cells = table_of(metrics).http.cells
    for number, row in enumerate(table_of(metrics).http.rows):
        cells[row.cell("seconds")] = number / 7
        cells[row.cell("buckets")] += number * 1000
    return metrics


@pytest.mark.parametrize("namespace", ["", "shop"])
@pytest.mark.parametrize("buckets", [(1, 10), (0.005, 0.1, 2.5), (1e-07, 123456.0, 1234567.0, math.inf)])
def test_the_fast_text_is_prometheus_clients_to_the_byte(namespace: str, buckets: tuple[float, ...]) -> None:
    """Both formats: the same families, lines, order, numbers and escapes as the slow way of any other exposition."""
    metrics = busy(fresh_metrics(namespace=namespace, buckets=buckets))
    for _ in range(2):  # formatted anew, and as it was kept
        assert unscraped(seen(metrics).encode()) == unscraped(generate_latest(metrics.registry))
        theirs: bytes = openmetrics.generate_latest(metrics.registry)  # type: ignore[no-untyped-call]  # no annotations
        assert unscraped(seen(metrics, OPENMETRICS).encode()) == unscraped(theirs)


def unscraped(text: bytes) -> list[bytes]:
    """Return the lines of a text but those that a scrape itself changes."""
    return [line for line in text.split(b"\n") if b"red_scrape_duration_seconds_" not in line]


def test_what_is_new_in_a_row_is_seen_at_the_next_scrape() -> None:
    """A row's first request, its next code, `_OTHER` and a disconnect: what is kept of a row follows the row."""
    metrics = fresh_metrics()
    for step in range(20):
        request(metrics, "/", 200 + step)
        exchange = begun(metrics)
        exchange.respond(200, f"/{step}")
        if step % 2:
            exchange.disconnect()
        exchange.finish()
        assert unscraped(seen(metrics).encode()) == unscraped(generate_latest(metrics.registry))
    assert 'status="_OTHER"' in seen(metrics)
    metrics.clear()
    assert "http_requests_total{" not in seen(metrics)


def test_an_empty_table_is_a_valid_answer() -> None:
    """Before the first request the families are there, without rows, and the middleware's own numbers are."""
    metrics = fresh_metrics()
    for accept in PARSERS:
        assert "# TYPE http_request_duration_seconds histogram\n# HELP" in seen(metrics, accept)
        assert {name for name, _ in read_back(metrics, accept)} == {
            "http_requests_in_progress",
            "uptime_seconds_total",
            "red_series",
            "red_series_limit",
            "red_unreserved_label_sets",
            "red_unreserved_label_sets_limit",
            "red_overflow_requests_total",
            "red_instrumentation_errors_total",
            "red_workers",
            "red_worker_isolated",
            "red_scrape_duration_seconds_count",
            "red_scrape_duration_seconds_sum",
        }


labels = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(NASTY)
decoded = st.binary(max_size=12).flatmap(
    lambda raw: st.sampled_from([raw.decode("latin-1"), raw.decode("utf-8", "surrogateescape")])
)
counts = st.integers(1, 2**53).map(float) | st.sampled_from([999_999.0, 1e6, 1e7, 2.0**60, 1e16, 1e17, 1e22, 1e300])
sums = st.floats(min_value=0, allow_nan=False)


@given(
    filling=st.dictionaries(labels | decoded, st.tuples(counts, sums, counts), min_size=1, max_size=5),
    exceptions=st.lists(st.tuples(labels | decoded, labels), max_size=3),
)
@pytest.mark.parametrize("accept", PARSERS, ids=["text", "openmetrics"])
def test_every_value_is_read_back_exactly(
    accept: str, filling: dict[str, tuple[float, float, float]], exceptions: list[tuple[str, str]]
) -> None:
    """Whatever the routes, the class names and the numbers, prometheus_client's parsers find what the table holds."""
    metrics = fresh_metrics()
    for route, (count, seconds, by_code) in filling.items():
        request(metrics, route)
        table = table_of(metrics)
        row = table.row(table.methods["GET"], route)
        table.http.cells[row.cell("buckets")] = count
        table.http.cells[row.cell("seconds")] = seconds
        table.http.cells[table.code_cell(row, 200)] = by_code
    for route, name in exceptions:
        error = type("Error", (Exception,), {})
        error.__name__ = name.replace("\x00", "0").encode("utf-8", "replace").decode()
        exchange = begun(metrics)
        exchange.respond(200, route)
        exchange.raised(error())
        exchange.finish()
    assert unscraped_samples(read_back(metrics, accept)) == unscraped_samples(held(metrics))


def unscraped_samples(found: Samples) -> Samples:
    return {key: value for key, value in found.items() if not key[0].startswith("red_scrape_duration")}


@pytest.mark.parametrize("accept", PARSERS, ids=["text", "openmetrics"])
def test_a_million_is_written_in_digits_and_read_back(accept: str) -> None:
    """prometheus_client writes `1e+06`, as Go does; we write `1000000.0`, the same number."""
    metrics = fresh_metrics()
    request(metrics)
    row, cells = only_row(metrics), table_of(metrics).http.cells
    for count in (999_999.0, 1e6, 1_234_567.0, 2.0**53, 1e16, 1e22, 1.7e308):
        cells[row.cell("buckets")] = count
        cells[row.cell("seconds")] = count + 0.25
        shown = read_back(metrics, accept)
        assert shown["http_request_duration_seconds_count", frozenset({("method", "GET"), ("route", "/")})] == count
        assert unscraped_samples(shown) == unscraped_samples(held(metrics))
        written = generate_latest(metrics.registry).decode()
        assert (unscraped(written.encode()) == unscraped(seen(metrics).encode())) is (count < 1e6)


class OtherFloat(float):
    """As NumPy's float64: its sums are of its kind, and its repr is no number."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"

    def __sub__(self, other: float) -> "OtherFloat":
        return OtherFloat(float(self) - other)

    def __radd__(self, other: float) -> "OtherFloat":
        return OtherFloat(other + float(self))


def test_a_clock_may_say_floats_of_another_kind() -> None:
    """What an option accepts makes no scrape that Prometheus refuses whole."""
    metrics = RedMetrics(registry=CollectorRegistry(), clock=lambda: OtherFloat(0.5))
    request(metrics)
    row, cells = only_row(metrics), table_of(metrics).http.cells
    assert type(cells[row.cell("seconds")]) is OtherFloat
    for accept in PARSERS:
        assert read_back(metrics, accept)["uptime_seconds_total", frozenset()] == 0.0
        assert "float64" not in seen(metrics, accept)


def test_a_sum_without_end_is_read_back() -> None:
    """A clock that jumps to infinity spoils one sum, and no other line."""
    metrics = fresh_metrics()
    request(metrics)
    row, cells = only_row(metrics), table_of(metrics).http.cells
    cells[row.cell("seconds")] = math.inf
    for accept in PARSERS:
        assert unscraped_samples(read_back(metrics, accept)) == unscraped_samples(held(metrics))


def test_red_series_is_the_number_of_series_and_stays_within_its_limit() -> None:
    """At every step of filling a small table: `red_series` counts what is shown, `red_series_limit` is the formula."""
    metrics = fresh_metrics(max_label_sets=3)
    random.seed(2)
    for step in range(600):
        exchange = begun(metrics, random.choice(("GET", "PUT", "BREW")))
        exchange.respond(random.randrange(90, 600), random.choice((None, f"/{step}")))
        if step % 3 == 0:
            exchange.disconnect()
        else:
            exchange.raised(type(f"Error{step}", (Exception,), {})())
        exchange.finish()
        if step % 50 == 0 or step == 599:
            shown = read_back(metrics, "")
            assert shown["red_series", frozenset()] == len(shown)
            assert len(shown) <= shown["red_series_limit", frozenset()] == metrics.bound().series
    assert shown["red_overflow_requests_total", frozenset()] == sum(
        value for (name, labels), value in shown.items()
        if name == "http_requests_total" and ("route", "_overflow") in labels
    )  # fmt: skip
    assert sum(value for (name, _), value in shown.items() if name == "http_exceptions_total") == 400


def test_an_exception_that_has_no_place_and_no_name_is_one_series() -> None:
    """`_overflow` with `_OTHER` is the row of all other pairs too: it takes no room from those that are told apart."""
    metrics = fresh_metrics(max_label_sets=1)
    request(metrics, "/takes the only row")
    nameless = type("E" * 300, (Exception,), {})
    for number in range(300):
        exchange = begun(metrics)
        exchange.respond(500, "/other")
        exchange.raised(nameless() if number == 0 else type(f"E{number}", (Exception,), {})())
        exchange.finish()
    key = ("http_exceptions_total", frozenset({("route", "_overflow"), ("exception", "_OTHER")}))
    for accept in PARSERS:
        assert read_back(metrics, accept)[key] == 1 + (299 - 256)


def test_families_are_introduced_for_a_person() -> None:
    """HELP is one plain sentence, TYPE follows the name: a counter ends in `_total`, nothing else does."""
    lines = seen(fresh_metrics()).splitlines()
    assert [line for line in lines if line.startswith("# TYPE")] == [
        f"# TYPE {family.name} {family.type}" for family in SHOWN_AT_ONCE
    ]
    for family in SHOWN_AT_ONCE:
        assert f"# HELP {family.name} {family.help}" in lines
        assert family.help[0].isupper()
        assert family.help.endswith(".")
        assert family.help.count(".") == 1
        assert len(family.help) <= 100
        assert "\\" not in repr(family.help)  # nothing to escape
        assert (family.type == "counter") is family.name.endswith("_total")


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_promtool_has_nothing_to_say(namespace: str) -> None:
    """`promtool check metrics` parses and lints: no word on the families, full and empty, default and namespaced."""
    promtool = shutil.which("promtool")
    if promtool is None:
        hint = "promtool is not installed: it comes with Prometheus (Debian: apt install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    metrics = fresh_metrics(namespace=namespace)
    for text in (seen(metrics), seen(busy(metrics))):
        checked = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_reading_holds_together_while_threads_record() -> None:
    """Eight threads record, two scrape: buckets never decrease, +Inf is `_count`, nothing goes backwards, none is lost.

    Of one request the bucket and the code may be seen a moment apart, so the two are equal at rest only.
    """
    metrics = fresh_metrics()
    faults: list[str] = []

    def record() -> None:
        for n in range(3000):
            request(metrics, f"/{n % 40}", 200 + n % 30)

    def scrape() -> None:
        last: Samples = {}
        while any(thread.is_alive() for thread in recording):
            for accept in PARSERS:
                try:
                    shown = read_back(metrics, accept)  # the OpenMetrics parser checks the histogram
                except Exception as error:
                    faults.append(repr(error))
                    return
                faults.extend(
                    f"{name} went back"
                    for (name, labels), value in last.items()
                    if name.endswith(("_total", "_count", "_bucket")) and shown[name, labels] < value
                )
                last = shown

    recording = [Thread(target=record) for _ in range(8)]
    scraping = [Thread(target=scrape) for _ in range(2)]
    for thread in (*recording, *scraping):
        thread.start()
    for thread in (*recording, *scraping):
        thread.join()
    assert faults == []
    shown = read_back(metrics, "")
    for name in ("http_requests_total", "http_request_duration_seconds_count"):
        assert sum(value for (found, _), value in shown.items() if found == name) == 8 * 3000


def test_what_is_kept_of_a_table_goes_with_it() -> None:
    """Formatted lines hold neither the table nor the metrics: a test suite makes thousands of them."""
    metrics = busy(fresh_metrics())
    seen(metrics)
    for thread in threading.enumerate():  # that of the scrape holds the metrics until it ends, just after the answer
        if thread.name == "red_middleware scrape":
            thread.join(60)
    again = copy.copy(metrics)
    assert again is metrics
    gone = weakref.ref(table_of(metrics))
    del metrics, again
    gc.collect()
    assert gone() is None
