"""The commands that the README and the pages show run as they stand there, and make what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..e2e import ROOT

SHOP = """
from flask import Flask
from red_middleware import RedMetrics, RedWSGIMiddleware

app = Flask("shop")
app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=RedMetrics(slo_availability=0.999, slo_seconds=[0.3]))
"""


def commands(page: str) -> list[str]:
    """Return the lines of a page that call the command and ask no endpoint."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("red-middleware ") and " check " not in line]


@pytest.mark.parametrize(("page", "count"), [("README.md", 4), ("docs/monitoring.md", 12)])
def test_what_a_page_shows_can_be_run(page: str, count: int, tmp_path: Path) -> None:
    """Beside an app of that name: each command writes its file, or prints it."""
    pytest.importorskip("flask")
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = commands(page)
    assert len(found) == count
    for line in found:
        _, *arguments = line.split()
        ran = subprocess.run(
            [sys.executable, "-m", "red_middleware", *arguments], cwd=tmp_path, env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (line, ran.stderr)
        written = re.search(r"--output (\S+)", line)
        assert (tmp_path / written[1]).stat().st_size if written else ran.stdout, line
