"""The rules of `docs/migration.md` make the peers' metrics out of ours: promtool runs them on what both expose."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..e2e import ROOT, require_packages, require_program

PAGE: Final = ROOT / "docs/migration.md"
RECORDED: Final = Path(__file__).with_name("recorded")

Labels = tuple[tuple[str, str], ...]
"""A sample's labels, sorted by their names."""


class Peer(NamedTuple):
    """Where the page says that the rules' numbers differ from those of a peer.

    Args:
        needs: The package of the app.
        lost: Labels by the part of a name that lacks them here.
        renamed: Values of labels that are others here.
        added: What is to be added to the peer's numbers, by name and labels.
    """

    needs: str
    lost: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    renamed: Mapping[str, str] = MappingProxyType({})
    added: Mapping[tuple[str, Labels], float] = MappingProxyType({})


SCRAPE: Final = "GET"
LATENCY: Final = "django_http_requests_latency_seconds_by_view_method"
RAISING: Final = (("method", "GET"), ("view", "broken"))
PEERS: Final = {
    "starlette_exporter": Peer(
        "starlette",
        lost={"duration": ("status_code",)},
        added={("starlette_requests_in_progress", (("app_name", "starlette"), ("method", SCRAPE))): -1},
    ),
    "prometheus_fastapi_instrumentator": Peer("fastapi"),
    "prometheus_flask_exporter": Peer(
        "flask",
        lost={"duration": ("status",), "exceptions": ("method", "status")},
        renamed={
            "/items/1": "/items/<int:item_id>", "/items/2": "/items/<int:item_id>", "/nowhere": "_unmatched",
        },
    ),
    "django_prometheus": Peer(
        "django",
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


@pytest.mark.parametrize("name", PEERS)
def test_the_rules_keep_the_names_of_a_peer_alive(name: str, tmp_path: Path) -> None:
    """After the same requests each old name has the labels and the counts that it had, but for what the page says."""
    promtool = require_program("promtool")
    require_packages(PEERS[name].needs)
    (tmp_path / "rules.yml").write_text(rules(name))
    ours = subprocess.run(
        [sys.executable, "-m", "tests.migration.expose", name, "ours"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    series = [
        {"series": f"{sample}{shown(labels)}", "values": f"{value:.9f}"}
        for sample, counted in samples(ours).items()
        for labels, value in counted.items()
    ]
    theirs = expected(name)
    asked = []
    for record, counted in theirs.items():
        is_timed = record.endswith("_sum")  # no two requests take the same time
        expression = record + next((chosen for part, chosen in COMPARED.items() if part in record), "")
        wanted = [
            {"labels": shown(labels) if is_timed else record + shown(labels), "value": 0 if is_timed else value}
            for labels, value in counted.items()
        ]
        asked.append({"expr": f"{expression} * 0" if is_timed else expression, "eval_time": "0", "exp_samples": wanted})
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [test]}))  # JSON is YAML

    for command in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        ran = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", PEERS)
def test_each_name_of_a_peer_is_kept_or_named(name: str) -> None:
    """What the page does not keep, it calls lost. A name with `_created` goes with its counter."""
    page = section(name)
    theirs = {
        family.name
        for family in text_string_to_metric_families((RECORDED / f"{name}.txt").read_text())
        if family.name.startswith(("starlette_", "http_", "flask_", "django_http_"))
        and not family.name.endswith("_created")
    }
    assert theirs
    assert [each for each in theirs if each not in page] == []


def section(name: str) -> str:
    """Return what the page says about a peer."""
    (found,) = [
        part
        for part in PAGE.read_text(encoding="utf-8").split("\n## From ")
        if part.partition("\n")[0].replace("-", "_") == name
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
        for labels, value in theirs[record].items():
            kept = tuple((key, peer.renamed.get(each, each)) for key, each in labels if key not in lost)
            if dict(kept).get("le", "+Inf") in BOUNDS:
                counted[kept] = counted.get(kept, 0.0) + value + peer.added.get((record, kept), 0.0)
    return found


def shown(labels: Labels) -> str:
    return "{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in labels) + "}"
