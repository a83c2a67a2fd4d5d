"""Forked and killed workers: what they count counts once, and what they have from others is not theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .forks import SCENARIOS

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 300
LONG = {"under_load", "killed_while_it_folds"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.once] * (name in LONG)) for name in SCENARIOS]
)
def test_forked_and_killed_workers_count_once(scenario: str, tmp_path: Path) -> None:
    """Of a master and of a worker, which join or do not, under load, and killed at any step."""
    command = [sys.executable, "-m", "tests.own_metrics.forks", scenario, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, timeout=DEADLINE_SECONDS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
