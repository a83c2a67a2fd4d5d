"""What a fixed mix of requests shows: two frameworks, both adapters, four workers, three text forms, byte for byte.

`python -m tests.exposition.test_recorded <directory>` records anew, which is for a change that is meant to be seen.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ..e2e import require_packages
from .mix import FORMS

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("recorded")
WORKERS = 4
DEADLINE_SECONDS = 60

TIMES = re.compile(r"^(mix_uptime_seconds_total|mix_red_scrape_duration_seconds_sum) .*$", re.MULTILINE)
"""Lines that say how long something took in this very run."""


def shown(base: str) -> list[str]:
    """Return what the last of the workers answers, a text for each form: its headers, an empty line, its body."""
    command = [sys.executable, "-m", "tests.exposition.mix", base]
    pipe = subprocess.PIPE
    workers = []
    try:
        for n in range(WORKERS):  # one after the other, so that rows come in one order
            worker = subprocess.Popen([*command, str(n)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
            workers.append(worker)
            assert worker.stdout is not None
            assert json.loads(worker.stdout.readline()) == "counted"
        found, _ = workers[-1].communicate("scrape\n\n", timeout=DEADLINE_SECONDS)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    texts = []
    for headers, body in json.loads(found):
        lines = [f"{name}: {value}" for name, value in headers if name != "content-length"]
        texts.append("\n".join([*lines, "", TIMES.sub(r"\1 …", body)]))
    return texts


def files(directory: Path) -> list[Path]:
    return [directory / f"{number}.txt" for number in range(len(FORMS))]


@pytest.mark.once
def test_the_exposition_of_a_mix_is_what_was_recorded(tmp_path: Path) -> None:
    """A dashboard built on any release reads the next one."""
    require_packages("flask", "starlette")
    for found, file in zip(shown(str(tmp_path)), files(RECORDED), strict=True):
        assert found == file.read_text(encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for text, file in zip(shown(place), files(Path(sys.argv[1])), strict=True):
            file.write_text(text, encoding="utf-8")
