"""The simulation of growth: its arithmetic, a few instances in a real Prometheus, and what `docs/growth.md` says."""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.monitoring.rules import rule_groups

from ..drive import count
from ..e2e import ROOT, require_packages, require_program
from ..e2e.servers import get
from ..monitoring.promtool import check
from . import growth
from .exposed import HOSTILE, ROUTES, STATUSES, Answer, Exposed, exposed
from .growth import (
    INSTANCES,
    INTERVAL_SECONDS,
    SERIES_OF_SCRAPE,
    Fleet,
    Package,
    Run,
    beside,
    interval_seconds,
    many,
    one,
    recorded,
    scraped,
    shop_installation,
)
from .tables import OURS

PAGE: Final = (ROOT / "docs" / "growth.md").read_text(encoding="utf-8")
BODY: Final = b"# TYPE requests counter\nrequests_total 1\nup_total 2\n\n# EOF\n"


@pytest.fixture(scope="module")
def shop() -> Exposed:
    """Return three scrapes of the shop."""
    require_packages("starlette")
    return exposed(OURS, 3)


def rows_of(title: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the page, without what Markdown adds."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_memory_is_calculated_from_the_largest_run() -> None:
    """Two series an instance, with five of the scrape: 700 in a heap that grew by 2.1 MB are 3 kB each."""
    idle = Run(0, 0, 0, 1e6, 4e6, 50e6)
    runs = [Run(10, 70, 70, 2e6, 9e6, 60e6), Run(100, 700, 700, 3e6, 6.1e6, 55e6)]
    package = Package(Exposed(OURS, [Answer({}, b""), Answer({}, BODY)], 2), idle, runs)
    assert package.series(1_000) == 7_000
    assert package.bytes_per_series == 3_000
    assert package.memory_bytes(1_000) == 50e6 + 7_000 * 3_000
    assert package.run_bytes(1_000) == 50e6 + 7_000 * 5e6 / 700
    assert package._replace(runs=()).run_bytes(1_000) == 50e6
    longer = Run(100, 700, 1_400, 5e6, 9e6, 58e6, scrapes=130)
    assert many(package._replace(longer=longer)).rows == [
        ["1", "7", "0", "0.0", "", "", "", "", "50"],
        ["10", "70", "5", "0.0", "20", "70", "2", "60", "50"],
        ["100", "700", "47", "0.4", "20", "700", "3", "55", "52"],
        ["100", "700", "47", "0.4", "130", "1,400", "5", "58", "52"],
        ["1,000", "7,000", "467", "3.9", "", "", "", "", "71"],
        ["10,000", "70,000", "4,667", "39.3", "", "", "", "", "260"],
    ]
    assert beside([package]).rows == [[OURS, "50", "50", "52", "71", "260", "3,000", "100"]]
    assert one([package.exposed]).rows == [[OURS, "2", "59", "59", "0", "2"]]


@pytest.mark.parametrize(("series", "seconds"), [(0, 0.1), (30_000, 0.1), (30_001, 0.2), (1_141_000, 3.9)])
def test_many_series_are_scraped_less_often(series: int, seconds: float) -> None:
    """Prometheus can keep up with no more than some samples a second."""
    assert interval_seconds(series) == seconds


def test_each_instance_of_a_fleet_answers_one_scrape_after_the_other() -> None:
    """And begins anew after its last."""
    answers = [Answer({"Content-Type": "text/plain"}, body) for body in (b"first", b"second")]
    with Fleet(answers, 2) as fleet:
        asked = [get(f"http://127.0.0.1:{fleet.port}/{instance}") for instance in (1, 0, 1, 1)]
    assert asked == [b"first", b"first", b"second", b"first"]
    assert fleet.scrapes == [1, 3]


@pytest.mark.once
def test_a_shop_shows_the_same_series_in_each_scrape_and_its_counters_rise(shop: Exposed) -> None:
    """What it shows to Prometheus is compressed, and no more after hostile requests than the page says."""
    first, _, last = shop.answers
    assert {answer.series for answer in shop.answers} == {first.series}
    assert first.text != last.text
    assert len(last.body) < len(last.text) / 5
    assert (
        shop.series_after_hostile == first.series + 2 * 19
    )  # of `_unmatched`, by GET and by `_OTHER`, with a status each
    name, series, *_ = rows_of("One instance")[0]
    assert name == OURS
    assert abs(number(series) - first.series) <= first.series / 50  # Python and what it collects make a few


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Prometheus wait longer for an answer than where nothing else runs. It waits as long as an interval."""
    monkeypatch.setattr(growth, "SHORTEST_SECONDS", 0.5)


@pytest.mark.once
@pytest.mark.usefixtures("patience")
def test_prometheus_scrapes_a_few_instances(shop: Exposed) -> None:
    """It has exactly the series that the instances show, and says what it takes."""
    run = scraped(shop.answers, 3, scrapes=3)
    assert run.series == run.chunks == 3 * (shop.answers[0].series + SERIES_OF_SCRAPE)
    assert 1e6 < run.heap_bytes < run.resident_bytes < 1e9


@pytest.mark.once
@pytest.mark.usefixtures("patience")
def test_rules_record_as_many_series_of_three_instances_as_of_one(shop: Exposed) -> None:
    """The page says how many."""
    (series,) = re.findall(r"record ([\d,]+) series", PAGE)
    assert [recorded(shop.answers, instances) for instances in (1, 3)] == [number(series)] * 2


def test_the_page_calculates_as_the_simulation_does() -> None:
    """Series and samples a second of many instances are those of one."""
    series = number(rows_of("One instance")[0][1]) + SERIES_OF_SCRAPE
    rows = rows_of("From 1 to 10,000 instances")
    assert sorted({number(row[0]) for row in rows}) == list(INSTANCES)
    for row in rows:
        instances = number(row[0])
        assert number(row[1]) == instances * series
        assert row[2] == f"{instances * series / INTERVAL_SECONDS:,.0f}"
    assert f"{HOSTILE:,} unknown methods and {HOSTILE:,} unknown paths" in PAGE


@pytest.mark.parametrize("title", ["What holds under attack", "What to turn off first"])
def test_the_bounds_of_the_page_are_those_of_the_code(title: str) -> None:
    """And so is what its app shows of requests."""
    rows = rows_of(title)
    assert rows
    for options, bound, shown in rows:
        make = options.replace("RedMetrics(", "RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None, ")
        metrics: RedMetrics = eval(make, {"RedMetrics": RedMetrics, "CollectorRegistry": CollectorRegistry})
        assert metrics.bound().series == number(bound), options
        for route in range(ROUTES):
            for status in STATUSES:
                count(metrics, f"/section-{route}/items/{{item}}", status)
        assert len(metrics.snapshot()) == number(shown), options


def test_the_sample_limit_of_the_page_leaves_room_for_all_series() -> None:
    """It is the one that alerts ask for."""
    (limit,) = re.findall(r"sample_limit: (\d+)", PAGE)
    assert int(limit) == shop_installation().sample_limit


def test_the_rules_of_the_page_are_three_of_those_that_are_generated(tmp_path: Path) -> None:
    """And what it asks above all shards is PromQL."""
    generated = {
        (rule["record"], rule["expr"]) for group in rule_groups(shop_installation()) for rule in group["rules"]
    }
    rules = re.findall(r"- record: (.*)\n +expr: (.*)\n", PAGE)
    assert len(rules) == 3
    assert set(rules) <= generated
    (queries,) = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    asked = [{"record": f"asked:{n}", "expr": line} for n, line in enumerate(queries.strip().splitlines())]
    assert len(asked) == 3
    check([{"name": "above", "rules": asked}], tmp_path)


@pytest.mark.once
def test_every_instance_is_in_one_shard(tmp_path: Path) -> None:
    """100 instances are relabelled by promtool with the configuration of the page, as each of its shards."""
    promtool = require_program("promtool")
    (block,) = re.findall(r"```yaml\n([^`]*hashmod[^`]*)```", PAGE)
    targets = [f"shop-{instance}:8000" for instance in range(100)]
    kept: list[str] = []
    for shard in range(4):
        text = re.sub(r"targets: \[.*\]", f"targets: {targets}", block).replace('regex: "0"', f'regex: "{shard}"')
        file = tmp_path / f"{shard}.yml"
        file.write_text(text)
        command = [promtool, "check", "service-discovery", "--timeout=1s", str(file), "shop"]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found = [each["labels"]["instance"] for each in json.loads(ran.stdout) if each.get("labels")]
        assert 10 < len(found) < 40
        kept += found
    assert sorted(kept) == sorted(targets)
