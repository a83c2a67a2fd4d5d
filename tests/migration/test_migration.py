"""The rules of `docs/migration.md` make the peers' metrics out of ours: promtool runs them on what both expose."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..e2e import ROOT, has_package, require_packages, require_program
from ..monitoring import promtool

PAGE: Final = ROOT / "docs/migration.md"
RECORDED: Final = Path(__file__).with_name("recorded")

HEADINGS: Final = {"Litestar's plugin": "litestar"}

Labels = tuple[tuple[str, str], ...]
"""A sample's labels, sorted by their names."""


class Peer(NamedTuple):
    """Where the page says that the rules' numbers differ from those of a peer.

    Args:
        needs: The package of the app.
        lost: Labels by the part of a name that lacks them here.
        renamed: Values of labels that are others here.
        added: What our numbers are more than those of the peer, by name and labels.
    """

    needs: str
    lost: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    renamed: Mapping[str, str] = MappingProxyType({})
    added: Mapping[tuple[str, Labels], float] = MappingProxyType({})


SCRAPE: Final = "GET"
LATENCY: Final = "django_http_requests_latency_seconds_by_view_method"
RAISING: Final = (("method", "GET"), ("view", "broken"))
TIMES: Final = "starlette_requests_processing_time_seconds"
RAISED: Final = (("method", "GET"), ("path_template", "/broken"))
OWN: Final = ("django_prometheus.exports.ExportToDjangoView", "/metrics")
"""How peers name the endpoint that shows their metrics."""
PEERS: Final = {
    "starlette_exporter": Peer(
        "starlette", added={("starlette_requests_in_progress", (("app_name", "starlette"), ("method", SCRAPE))): -1}
    ),
    "starlette_prometheus": Peer(
        "starlette",
        lost={"exceptions": ("method",)},
        renamed={"/nowhere": "_unmatched"},
        added={
            (f"{TIMES}_count", RAISED): 2,
            (f"{TIMES}_sum", RAISED): 0,
            (f"{TIMES}_bucket", (("le", "+Inf"), *RAISED)): 2,
            (f"{TIMES}_bucket", (("le", "1.0"), *RAISED)): 2,
        },
    ),
    "aioprometheus": Peer(
        "starlette", lost={"exceptions": ("method",)}, renamed={"/nowhere": "_unmatched"}
    ),
    "litestar": Peer("litestar", renamed={"/items/{item_id}": "/items/{item_id:int}"}),
    "prometheus_fastapi_instrumentator": Peer("fastapi"),
    "prometheus_flask_exporter": Peer(
        "flask",
        lost={"exceptions": ("method", "status")},
        renamed={
            "/items/1": "/items/<int:item_id>", "/items/2": "/items/<int:item_id>", "/nowhere": "_unmatched",
        },
    ),
    "django_prometheus": Peer(
        "django",
        lost={"transport": ("transport",)},
        added={
            ("django_http_requests_before_middlewares_total", ()): -1,
            ("django_http_requests_total_by_method_total", (("method", SCRAPE),)): -1,
            (f"{LATENCY}_count", RAISING): -2,
            (f"{LATENCY}_bucket", (("le", "+Inf"), *RAISING)): -2,
            (f"{LATENCY}_bucket", (("le", "1.0"), *RAISING)): -2,
        },
    ),
}  # fmt: skip
COMPARED: Final = {"_bucket": '{le=~"1.0|[+]Inf"}', "_in_progress": '{method=~"GET|POST"}'}
"""Ours has more buckets, and shows each method from the start."""
BOUNDS: Final = ("1.0", "+Inf")
"""Buckets that all have, and that no request of a test exceeds."""
PANELS: Final = {
    "starlette_exporter": [
        'rate(starlette_requests_total{app_name="starlette", path="/items", status_code=~"2.."}[30s])',
        'rate(starlette_request_duration_seconds_sum{status_code="200"}[30s])',
        "histogram_quantile(0.9, sum by (path, le) (rate(starlette_request_duration_seconds_bucket[30s])))",
    ],
    "starlette_prometheus": [
        'rate(starlette_responses_total{path_template="/items", status_code="201"}[30s])',
        f"histogram_quantile(0.9, rate({TIMES}_bucket[30s]))",
    ],
    "aioprometheus": [
        'rate(status_codes_counter{path="/items", status_code="201"}[30s])',
        "rate(exceptions_total_counter[30s])",
    ],
    "litestar": [
        'rate(litestar_requests_total{path="/items", status_code="201"}[30s])',
        "rate(litestar_requests_error_total[30s])",
        'rate(litestar_request_duration_seconds_count{status_code="200"}[30s])',
    ],
    "prometheus_fastapi_instrumentator": [
        'rate(http_requests_total{status="5xx"}[30s])',
        'http_request_duration_seconds_sum{handler!="none"} / http_request_duration_seconds_count',
        'increase(http_request_duration_seconds_bucket{le="0.1"}[30s])'
        " / ignoring (le) increase(http_request_duration_seconds_count[30s])",
        "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_highr_seconds_bucket[30s])))",
        'rate(http_response_size_bytes_sum{handler="/items"}[30s])',
    ],
    "prometheus_flask_exporter": [
        "increase(flask_http_request_total[30s])",
        'rate(flask_http_request_duration_seconds_count{status!="200"}[30s])',
        'histogram_quantile(0.5, rate(flask_http_request_duration_seconds_bucket{status="200"}[30s]))',
        'increase(flask_http_request_duration_seconds_bucket{status="200", le="0.25"}[30s])'
        ' / ignoring (le) increase(flask_http_request_duration_seconds_count{status="200"}[30s])',
    ],
    "django_prometheus": [
        'rate(django_http_requests_total_by_view_transport_method_total{view!~"<unnamed view>", method="GET"}[30s])',
        'rate(django_http_responses_total_by_status_view_method_total{view="item", status=~"2.*"}[30s])',
        "histogram_quantile(0.95, rate(django_http_requests_latency_seconds_by_view_method_bucket[30s]))",
        'increase(django_http_exceptions_total_by_view_total{view!="<unnamed view>"}[30s])',
    ],
}
"""What the panels of their public dashboards ask for, each in the shortest window that they use."""


@pytest.mark.parametrize("name", PEERS)
def test_the_rules_keep_the_names_of_a_peer_alive(name: str, tmp_path: Path) -> None:
    """After the same requests each old name has the labels and the counts that it had, but for what the page says."""
    asked = []
    for record, counted in expected(name).items():
        is_timed = record.endswith("_sum")  # no two requests take the same time
        expression = record + next((chosen for part, chosen in COMPARED.items() if part in record), "")
        wanted = [
            {"labels": shown(labels) if is_timed else record + shown(labels), "value": 0 if is_timed else value}
            for labels, value in counted.items()
        ]
        asked.append({"expr": f"{expression} * 0" if is_timed else expression, "eval_time": "0", "exp_samples": wanted})
    ask_rules(name, "{:.9f}", asked, tmp_path)


@pytest.mark.parametrize("name", PANELS)
def test_the_panels_of_a_peer_find_data(name: str, tmp_path: Path) -> None:
    """Prometheus evaluates rules once a minute, unless their group says otherwise: too seldom for half a minute."""
    asked = [
        {"expr": f"count({panel}) > bool 0", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 1}]}
        for panel in PANELS[name]
    ]
    evaluated = (re.findall(r"^    interval: (\S+)$", rules(name), re.MULTILINE) or ["1m"])[0]
    ask_rules(name, "0+1x20", asked, tmp_path, scraped="15s", evaluated=evaluated)


def ask_rules(
    name: str, values: str, asked: Sequence[object], directory: Path, scraped: str = "1m", evaluated: str = "1m"
) -> None:
    """Have promtool check the rules for a peer as the page has them, and ask them over what this middleware shows.

    Args:
        name: The peer.
        values: Those of each series in promtool's notation, as a format of the value that is shown.
        asked: promtool's tests of expressions.
        directory: Where the files are written.
        scraped: How far samples lie apart.
        evaluated: How far evaluations lie apart.
    """
    require_program("promtool")
    require_framework(name)
    series = [
        {"series": f"{sample}{shown(labels)}", "values": values.format(value)}
        for sample, counted in ours(name).items()
        for labels, value in counted.items()
    ]
    test = {"interval": scraped, "input_series": series, "promql_expr_test": asked}
    of_rules, of_tests = directory / "rules.yml", directory / "test.yml"
    document = {"rule_files": [str(of_rules)], "evaluation_interval": evaluated, "tests": [test]}
    of_rules.write_text(rules(name))
    of_tests.write_text(json.dumps(document))  # JSON is YAML
    promtool.run("check", "rules", str(of_rules))
    promtool.run("test", "rules", str(of_tests))


@pytest.mark.parametrize("name", PEERS)
def test_each_name_of_a_peer_is_kept_or_named(name: str) -> None:
    """What the page does not keep, it calls lost. A name with `_created` goes with its counter."""
    page = section(name)
    theirs = {
        family.name
        for family in text_string_to_metric_families((RECORDED / f"{name}.txt").read_text())
        if family.name.startswith(("starlette_", "litestar_", "http_", "flask_", "django_http_"))
        or family.name.endswith("_counter")
        if not family.name.endswith("_created")
    }
    assert theirs
    assert [each for each in theirs if each not in page] == []


def require_framework(name: str) -> None:
    """Ask for the framework of a peer's app. Litestar is only installed where every framework is tested."""
    needs = PEERS[name].needs
    if needs == "litestar" and not has_package(needs) and "RED_EVERY_FRAMEWORK" not in os.environ:
        pytest.skip("litestar is not installed")
    require_packages(needs)


def ours(name: str) -> dict[str, Counter[Labels]]:
    """Return what this middleware shows in place of a peer."""
    command = [sys.executable, "-m", "tests.migration.expose", name, "ours"]
    return samples(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def section(name: str) -> str:
    """Return what the page says about a peer."""
    (found,) = [
        part
        for part in PAGE.read_text(encoding="utf-8").split("\n## From ")
        if HEADINGS.get(part.partition("\n")[0], part.partition("\n")[0].replace("-", "_")) == name
    ]
    return found


def rules(name: str) -> str:
    (found,) = re.findall(r"```yaml\n(groups:.*?)```", section(name), re.DOTALL)
    return str(found)


def samples(text: str) -> dict[str, Counter[Labels]]:
    """Return the values of an exposition by names and labels."""
    found: dict[str, Counter[Labels]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, Counter())[labels] = sample.value  # type: ignore[assignment]  # seconds, too
    return found


def expected(name: str) -> dict[str, dict[Labels, float]]:
    """Return what the peer showed under each name that the rules record, but for what the page says."""
    peer = PEERS[name]
    theirs = samples((RECORDED / f"{name}.txt").read_text())
    found: dict[str, dict[Labels, float]] = {}
    for record in re.findall(r"record: (\S+)", rules(name)):
        lost = {label for part, labels in peer.lost.items() if part in record for label in labels}
        counted = found[record] = {}
        shown_as = record if record in theirs else f"{record}_total"  # the parser adds it to each counter
        for labels, value in theirs[shown_as].items():
            kept = tuple((key, peer.renamed.get(each, each)) for key, each in labels if key not in lost)
            if dict(kept).get("le", "+Inf") in BOUNDS and not set(OWN) & set(dict(kept).values()):
                counted[kept] = counted.get(kept, 0.0) + value
        for (name, labels), more in peer.added.items():
            if name == record:
                counted[labels] = counted.get(labels, 0.0) + more
    return found


def shown(labels: Labels) -> str:
    return "{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in labels) + "}"
