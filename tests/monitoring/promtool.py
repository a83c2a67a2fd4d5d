"""promtool: check rules, and ask what they say after traffic that is written down."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from red_middleware.monitoring.rules import Group

from ..e2e import require_program

Samples = Mapping[str, float]
"""By their labels as PromQL writes them, with the name in front: `job:x:rate5m{job="shop"}`."""


class Question(NamedTuple):
    """A query at a moment, and the answer that is expected."""

    minutes: float
    promql: str
    expected: Samples


def check(groups: Sequence[Group], directory: Path) -> None:
    """Have promtool check a rule file, with its linter."""
    run("check", "rules", _written(directory / "rules.json", {"groups": groups}))


def ask(
    groups: Sequence[Group], series: Mapping[str, str], questions: Sequence[Question], directory: Path,
    interval: str = "1m", alerts: Sequence[Mapping[str, Any]] = (),
) -> None:  # fmt: skip
    """Have promtool evaluate rules over some series, and compare.

    Args:
        groups: The rules.
        series: The values of each series, in promtool's notation.
        questions: What is asked.
        directory: Where the files are written.
        interval: How far samples lie apart, and evaluations.
        alerts: promtool's own tests of alerts, with their annotations.
    """
    test = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": promql, "eval_time": f"{round(minutes * 60)}s",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
            }
            for minutes, promql, expected in questions
        ],
        "alert_rule_test": list(alerts),
    }  # fmt: skip
    rules = _written(directory / "rules.json", {"groups": groups})
    order = [group["name"] for group in groups]  # else promtool takes any
    whole = {"rule_files": [rules], "evaluation_interval": interval, "group_eval_order": order, "tests": [test]}
    run("test", "rules", _written(directory / "test.json", whole))


def _written(path: Path, content: object) -> str:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")  # JSON is YAML, without surrogates
    return str(path)


def run(*arguments: str) -> None:
    """Run promtool, which must be content."""
    ran = subprocess.run(
        [require_program("promtool"), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
