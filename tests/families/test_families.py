"""What the numbers are called: every cell comes up once under its name, and no name comes up twice."""

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from red_middleware import RedMetrics
from red_middleware.families import (
    DISCONNECTS,
    DURATION,
    ERRORS,
    FAMILIES,
    RAISED,
    REQUESTS,
    ROW_FAMILIES,
    SMALL_FAMILIES,
    Sample,
    bound,
    bucket_labels,
    counted_rows,
    number,
    row_series,
    sample_text,
    samples,
)
from red_middleware.counting.labels import METHODS
from red_middleware.table import (
    EXCEPTION_PAIRS,
    EXCEPTIONS,
    FAULTS,
    SCRAPE_SECONDS,
    SCRAPES,
    SENTINEL_ROWS,
    STATUS_CELLS,
    Table,
)

from ..counts import fresh_metrics
from ..drive import count

ROWS = SENTINEL_ROWS + 5


def table_of(*routes: str | None) -> Table:
    """Return a table with a row for GET on each route and two buckets and +Inf."""
    table = Table((1.0, 10.0), ROWS)
    for route in routes:
        table.row(table.methods["GET"], route)
    return table


def test_every_cell_of_a_row_is_shown_under_its_name() -> None:
    """Each cell with a number of its own: the samples of one row, written out."""
    table = table_of("/a")
    (row,) = table.rows
    table.status_cell(row, 200)
    table.status_cell(row, 404)
    for n, cell in enumerate(range(row.seconds - 2, row.other + 1), 1):
        table.cells[cell] = float(n)
    found = samples(table, 0.0)
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


def test_the_fixed_cells_are_shown_under_their_names() -> None:
    """Exceptions, faults, scrapes, requests in progress and overflowed, uptime: nothing else has a cell."""
    table = table_of("_overflow")
    table.row(table.other, "x" * 300)
    for row in table.rows:
        table.cells[row.buckets + 1] = 4.0
    table.cells[table.pair_cell("/a", "KeyError")] = 2.0
    assert table.pair_cell("/a", "Uncounted") == EXCEPTIONS + 1
    table.cells[EXCEPTIONS + EXCEPTION_PAIRS] = 3.0
    table.cells[FAULTS] = 5.0
    table.cells[SCRAPES] = 6.0
    table.cells[SCRAPE_SECONDS] = 0.5
    table.methods["POST"].in_progress += [None, None]
    found = samples(table, 7.5)
    assert found[RAISED] == [
        Sample("", {"exception": "KeyError", "route": "/a"}, 2.0),
        Sample("", {"exception": "_OTHER", "route": "_overflow"}, 3.0),
    ]
    shown = {f.name + s.suffix: s.value for f in SMALL_FAMILIES[2:] for s in found[f]}
    assert shown == {
        "uptime_seconds_total": 7.5,
        "red_series": float(sum(map(len, found.values()))),
        "red_series_limit": ROWS * (2 + 21) + 277.0,
        "red_overflow_requests_total": 4.0,
        "red_instrumentation_errors_total": 5.0,
        "red_workers": 1.0,
        "red_worker_isolated": 0.0,
        "red_scrape_duration_seconds_count": 6.0,
        "red_scrape_duration_seconds_sum": 0.5,
    }
    in_progress = found[SMALL_FAMILIES[0]]
    assert {sample.labels["method"]: sample.value for sample in in_progress} == {
        **dict.fromkeys(METHODS, 0.0),
        "POST": 2.0,
    }


def test_what_has_counted_nothing_is_left_out() -> None:
    """A reserved row, a code and a disconnect at zero are space, not series; errors are 0 from the first request on."""
    table = table_of("/idle", "/busy")
    idle, busy = table.rows
    table.status_cell(idle, 200)
    table.status_cell(busy, 404)
    table.cells[table.status_cell(busy, 200)] = 1.0
    table.cells[busy.buckets] = 1.0
    found = samples(table, 0.0)
    assert {s.labels["route"] for family in ROW_FAMILIES for s in found[family]} == {"/busy"}
    assert [s.labels["status"] for s in found[REQUESTS]] == ["200"]
    assert [s.value for s in found[ERRORS]] == [0.0]
    assert found[DISCONNECTS] == []


def test_the_families_come_in_one_order_without_a_name_twice() -> None:
    """Row families first; names are unique, and so are those that their samples derive from them."""
    table = table_of()
    assert tuple(samples(table, 0.0)) == FAMILIES == (*ROW_FAMILIES, *SMALL_FAMILIES)
    names = [name for family in FAMILIES for name in family.names(family.name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_registry_knows_the_names_that_are_shown(namespace: str) -> None:
    """`describe` and `collect` agree, and every sample belongs to one of its family's names."""
    metrics = fresh_metrics(namespace=namespace)
    count(metrics)
    described = {(family.name, family.type, family.documentation) for family in metrics.describe()}
    assert {(family.name, family.type, family.documentation) for family in metrics.collect()} == described
    for family, collected in zip(FAMILIES, metrics.collect(), strict=True):
        names = family.names(metrics.full_name(family))
        assert {collected.name, *(sample.name for sample in collected.samples)} <= names
        assert names <= set(metrics.registry._names_to_collectors)
    assert sum(len(family.samples) for family in metrics.collect()) == len(metrics.snapshot())


@given(
    bounds=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20, unique=True).map(sorted),
    max_label_sets=st.integers(1, 100),
)
def test_the_bound_is_the_formula(bounds: list[float], max_label_sets: int) -> None:
    """The series are rows x (buckets + 21) + 277, whatever the options; reserved rows count."""
    metrics = RedMetrics(registry=CollectorRegistry(), buckets=bounds, max_label_sets=max_label_sets)
    found = bound(metrics.table)
    assert found.rows >= max_label_sets
    assert found.series == found.rows * (len(bounds) + 21) + 277
    assert found.cells == len(metrics.table.cells)


def test_a_full_table_shows_as_many_series_as_the_bound_says() -> None:
    """Every row with all its codes and cells, every pair and the rest: not one series more, not one less."""
    table = Table((1.0,), ROWS)
    routes = [(table.other, f"/{n}") for n in range(ROWS - SENTINEL_ROWS)]
    for method, route in [*routes, *((m, r) for m in table.methods.values() for r in (None, "x" * 300))]:
        row = table.row(method, route)
        for code in range(200, 200 + STATUS_CELLS - 1):
            table.status_cell(row, code)
    for pair in range(EXCEPTION_PAIRS):
        table.pair_cell("/", f"E{pair}")
    table.cells[:] = [1.0] * len(table.cells)
    found = samples(table, 0.0)
    shown = sum(map(len, found.values()))
    assert shown == bound(table).series
    assert [s.value for s in found[SMALL_FAMILIES[3]]] == [float(shown)]


@given(cells=st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_buckets_are_cumulative_and_the_count_is_the_last(cells: list[int]) -> None:
    """Whatever the cells of a row: what `counted_rows` yields fits what `row_series` names."""
    table = table_of("/a")
    (row,) = table.rows
    table.status_cell(row, 200)
    table.cells[row.buckets : row.errors] = map(float, cells)
    found = list(counted_rows(table.read()))
    assert bool(found) is any(cells)
    for _, codes, values in found:
        assert values[2] == (*accumulate(cells), sum(cells), 0.0)
        series = row_series(row, codes, bucket_labels(table.bounds))
        assert [len(one) for one in series] == [len(one) for one in values]


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
