"""What the numbers are called: every cell comes up once under its name, and no name comes up twice."""

import math
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from red_middleware import RedMetrics
from red_middleware.counting.connection import count_session
from red_middleware.counting.labels import METHODS, OTHER, OVERFLOW, UNMATCHED
from red_middleware.counting.layout import EXCEPTION_ROWS, SENTINEL_ROUTES, SOCKET_ROUTES, STATUS_CELLS, Choices, layout
from red_middleware.counting.table import Table
from red_middleware.families import FAMILIES, Bound, Family, Reading, Sample, bound, sample_text, samples
from red_middleware.families.family import Shown, counted_rows, most_series, number
from red_middleware.metrics import recorder_of

from ..counts import BESIDE_ROWS, SHOWN_AT_ONCE, fresh_metrics
from ..drive import count

SENTINEL_ROWS = len(METHODS) * len(SENTINEL_ROUTES)
ROWS = SENTINEL_ROWS + 5
PAIRS = EXCEPTION_ROWS - 1

NAMED = {family.name: family for family in FAMILIES}
REQUESTS = NAMED["http_requests_total"]
ERRORS = NAMED["http_errors_total"]
DURATION = NAMED["http_request_duration_seconds"]
DISCONNECTS = NAMED["http_client_disconnects_total"]
IN_PROGRESS = NAMED["http_requests_in_progress"]
RAISED = NAMED["http_exceptions_total"]
ROW_FAMILIES = (REQUESTS, ERRORS, DURATION, DISCONNECTS)


def table_of(*routes: str | None, bounds: tuple[float, ...] = (1.0, 10.0)) -> Table:
    """Return a table with a row for GET on each route and two buckets and +Inf."""
    table = Table(layout(Choices(bounds, ROWS)))
    for route in routes:
        table.row(table.methods["GET"], route)
    return table


def bound_of(table: Table) -> Bound:
    """Return the bound of a table that is shown in our families."""
    return bound(FAMILIES, table.kinds, {name: region.capacity for name, region in table.regions.items()})


def reading_of(table: Table, uptime_seconds: float = 0.0) -> Reading:
    """Return what a scrape copies."""
    return Reading(*table.read(), uptime_seconds, isolated=False, series_limit=bound_of(table).series)


def samples_of(table: Table, uptime_seconds: float = 0.0) -> dict[Family, list[Sample]]:
    """Return what our families show of a table."""
    return samples(FAMILIES, table.kinds, reading_of(table, uptime_seconds))


def test_every_cell_of_a_row_is_shown_under_its_name() -> None:
    """Each cell with a number of its own: the samples of one row, written out."""
    table = table_of("/a")
    (row,) = table.http.rows
    table.code_cell(row, 200)
    table.code_cell(row, 404)
    table.http.cells[row.cell("status")] = 9.0
    for n, cell in enumerate(range(row.cell("seconds") - 2, row.start + row.kind.width), 1):
        table.http.cells[cell] = float(n)
    found = samples_of(table)
    get = {"method": "GET", "route": "/a"}
    assert found[DURATION] == [
        Sample("_bucket", {**get, "le": "1.0"}, 4.0),
        Sample("_bucket", {**get, "le": "10.0"}, 9.0),
        Sample("_bucket", {**get, "le": "+Inf"}, 15.0),
        Sample("_count", get, 15.0),
        Sample("_sum", get, 3.0),
    ]
    assert found[ERRORS] == [Sample("", get, 7.0)]
    assert found[DISCONNECTS] == [Sample("", get, 8.0)]
    assert found[REQUESTS] == [
        Sample("", {**get, "status": "200"}, 2.0),
        Sample("", {**get, "status": "404"}, 1.0),
        Sample("", {**get, "status": "_OTHER"}, 9.0),
    ]


def test_the_rows_of_the_other_kinds_are_shown_under_their_names() -> None:
    """Exceptions, faults, scrapes, requests in progress and overflowed, uptime: nothing else has a cell."""
    table = table_of("_overflow")
    table.row(table.methods[OTHER], "x" * 300)
    for row in table.http.rows:
        table.http.cells[row.cell("buckets") + 1] = 4.0
    exceptions = table.regions["exception"]
    table.add(table.admit(exceptions, ("/a", "KeyError")), "raised", 2.0)
    assert table.admit(exceptions, ("/a", "Uncounted")).number == 1
    table.add(table.admit(exceptions, ("_overflow", "_OTHER")), "raised", 3.0)
    table.add(table.own, "faults", 5.0)
    table.add(table.own, "scrapes", 6.0)
    table.add(table.own, "scrape_seconds", 0.5)
    table.methods["POST"].in_progress += [None, None]
    found = samples_of(table, 7.5)
    assert found[RAISED] == [
        Sample("", {"exception": "KeyError", "route": "/a"}, 2.0),
        Sample("", {"exception": "_OTHER", "route": "_overflow"}, 3.0),
    ]
    shown = {f.name + s.suffix: s.value for f in SHOWN_AT_ONCE if f.kind in ("", "own") for s in found[f]}
    assert shown == {
        "uptime_seconds_total": 7.5,
        "red_series": float(sum(map(len, found.values()))),
        "red_series_limit": ROWS * (2 + 21.0) + BESIDE_ROWS,
        "red_unreserved_label_sets": 1.0,
        "red_unreserved_label_sets_limit": 5.0,
        "red_overflow_requests_total": 4.0,
        "red_instrumentation_errors_total": 5.0,
        "red_workers": 1.0,
        "red_worker_isolated": 0.0,
        "red_scrape_duration_seconds_count": 6.0,
        "red_scrape_duration_seconds_sum": 0.5,
    }
    assert {sample.labels["method"]: sample.value for sample in found[IN_PROGRESS]} == {
        **dict.fromkeys(METHODS, 0.0),
        "POST": 2.0,
    }


def test_what_has_counted_nothing_is_left_out() -> None:
    """A reserved row, a code and a disconnect at zero are space, not series; errors are 0 from the first request on."""
    table = table_of("/idle", "/busy")
    idle, busy = table.http.rows
    table.code_cell(idle, 200)
    table.code_cell(busy, 404)
    table.http.cells[table.code_cell(busy, 200)] = 1.0
    table.http.cells[busy.cell("buckets")] = 1.0
    found = samples_of(table)
    assert {s.labels["route"] for family in ROW_FAMILIES for s in found[family]} == {"/busy"}
    assert [s.labels["status"] for s in found[REQUESTS]] == ["200"]
    assert [s.value for s in found[ERRORS]] == [0.0]
    assert found[DISCONNECTS] == []


def test_the_families_come_in_one_order_without_a_name_twice() -> None:
    """Row families first; names are unique, and so are those that their samples derive from them."""
    assert tuple(samples_of(table_of())) == SHOWN_AT_ONCE
    assert FAMILIES[: len(ROW_FAMILIES)] == ROW_FAMILIES
    names = [name for family in FAMILIES for name in family.names(family.name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_registry_knows_the_names_that_are_shown(namespace: str) -> None:
    """`describe` and `collect` agree, and every sample belongs to one of its family's names."""
    metrics = fresh_metrics(namespace=namespace)
    count(metrics)
    described = {(family.name, family.type, family.documentation) for family in metrics.describe()}
    shown = {(family.name, family.type, family.documentation) for family in metrics.collect()}
    assert len(described) - len(shown) == len(FAMILIES) - len(SHOWN_AT_ONCE)
    assert shown < described
    count_session(recorder_of(metrics).table, "/socket", 1.0)
    for family, collected in zip(FAMILIES, metrics.collect(), strict=True):
        names = family.names(recorder_of(metrics).full_name(family))
        assert {collected.name, *(sample.name for sample in collected.samples)} <= names
        assert names <= set(metrics.registry._names_to_collectors)
    assert sum(len(family.samples) for family in metrics.collect()) == len(metrics.snapshot())


def test_the_formula_that_the_documents_state_follows_from_the_layout() -> None:
    """Whoever adds a field is told where it stands in prose."""
    small, large = (fresh_metrics(max_label_sets=rows, buckets=[1.0]).bound() for rows in (100, 101))
    of_a_row = large.series - small.series
    formula = f"(buckets + {of_a_row - 1}) + {small.series - 100 * of_a_row}"
    assert formula in str(RedMetrics.bound.__doc__)
    assert f"label sets x {formula}" in Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")


@given(
    bounds=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20, unique=True).map(sorted),
    max_label_sets=st.integers(1, 100),
)
def test_the_bound_is_the_formula(bounds: list[float], max_label_sets: int) -> None:
    """The series are rows x (buckets + 21) + 1878, whatever the options; reserved rows count."""
    metrics = RedMetrics(registry=CollectorRegistry(), buckets=bounds, max_label_sets=max_label_sets)
    found = metrics.bound()
    assert found.rows >= max_label_sets
    assert found.series == found.rows * (len(bounds) + 21) + BESIDE_ROWS
    regions = recorder_of(metrics).table.regions.values()
    assert found.cells == sum(len(region.cells) for region in regions)
    assert found.cells == found.rows * (len(bounds) + 20) + EXCEPTION_ROWS + len(METHODS) + 3 + 34 * 46 + 2


def test_a_full_table_shows_as_many_series_as_the_bound_says() -> None:
    """Every row with all its codes and cells, every pair and the rest: not one series more, not one less."""
    table = table_of(bounds=(1.0,))
    routes = [(table.methods[OTHER], f"/{n}") for n in range(ROWS - SENTINEL_ROWS)]
    for method, route in [*routes, *((m, r) for m in table.methods.values() for r in (None, "x" * 300))]:
        row = table.row(method, route)
        for code in range(200, 200 + STATUS_CELLS - 1):
            table.code_cell(row, code)
    for pair in range(PAIRS + 1):
        table.admit(table.regions["exception"], ("/", f"E{pair}"))
    for kind in (table.regions["handshake"], table.regions["connection"]):
        for name in (UNMATCHED, OVERFLOW, *(f"/{n}" for n in range(SOCKET_ROUTES))):
            found_row = table.admit(kind, (name,))
            for code in range(1000, 1000 + STATUS_CELLS - 1):
                table.code_cell(found_row, code)
    for region in table.regions.values():
        assert region.used == region.capacity
        region.cells[:] = [1.0] * len(region.cells)
    found = samples_of(table)
    shown = sum(map(len, found.values()))
    assert shown == bound_of(table).series
    assert [s.value for s in found[NAMED["red_series"]]] == [float(shown)]


@given(cells=st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_buckets_are_cumulative_and_the_count_is_the_last(cells: list[int]) -> None:
    """Whatever the cells of a row: its family's values fit the series that it names."""
    table = table_of("/a")
    (row,) = table.http.rows
    table.code_cell(row, 200)
    start = row.cell("buckets")
    table.http.cells[start : start + 3] = map(float, cells)
    reading = reading_of(table)
    found = list(counted_rows(table.http.kind, reading))
    assert found == ([row] if any(cells) else [])
    for family in ROW_FAMILIES:
        shown = Shown(family, table.http.kind)
        values = shown.values(reading.cells["http"], row.start, len(row.codes))
        assert len(shown.series(row, row.codes)) == len(values) <= most_series(shown.family, shown.kind)
        if family is DURATION:
            assert list(values) == [*accumulate(cells), sum(cells), 0.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.005, "0.005"), (1.0, "1.0"), (1e-07, "1e-07"), (1e6, "1e+06"), (math.inf, "+Inf"),
     (-math.inf, "-Inf"), (math.nan, "NaN")],
)  # fmt: skip
def test_a_number_is_written_as_go_writes_it(value: float, text: str) -> None:
    """The values of `le`, and those of the few families without rows."""
    assert number(value) == text


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_labels_of_any_text_are_read_back(labels: dict[str, str]) -> None:
    """Backslash, quote and newline are escaped, names are in order: the parser finds the labels that went in."""
    text = sample_text("name", labels)
    assert "\n" not in text
    ((family),) = text_string_to_metric_families(f"{text} 1\n")
    assert family.samples[0].labels == labels
    assert list(family.samples[0].labels) == sorted(labels)
