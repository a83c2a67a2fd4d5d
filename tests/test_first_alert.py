"""The walk of docs/first_alert.md, as a newcomer takes it: from a new virtual environment to an alert that fires."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .e2e import ROOT, require_program
from .ports import free_port

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="Debian's programs are started"),
]

PAGE = ROOT / "docs" / "first_alert.md"
FIRES_SECONDS = 300.0
"""How long to wait for the alert: two minutes by its rule, and what a busy machine adds."""

DONE = "the block is done"
FAILED = "the shell has ended"


class Shell:
    """A person's shell, which runs one block of commands after the other.

    Args:
        directory: Where.
    """

    def __init__(self, directory: Path) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RED_", "COV"))}
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=directory, env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, block: str) -> str:
        """Run some commands, of which none may fail, and return what they print."""
        assert self.process.stdin
        assert self.process.stdout
        # Where a command fails, the shell ends and says so: its end is not seen, as what it started has its output too.
        self.process.stdin.write(f"trap \"echo '{FAILED}'\" EXIT\nset -e\n{block}\nset +e\necho '{DONE}'\n")
        self.process.stdin.flush()
        shown = ""
        for line in self.process.stdout:
            if line.startswith((DONE, FAILED)):
                assert line.startswith(DONE), f"{block}\n{shown}"
                break
            shown += line
        return shown

    def close(self) -> None:
        """End it, and what it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.communicate()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of what a clone has and the walk needs."""
    for name in ("red_middleware", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def shell(clone: Path) -> Iterator[Shell]:
    shell = Shell(clone)
    yield shell
    shell.close()


def blocks() -> list[str]:
    """Return the commands of the page, at ports that are free here."""
    text = PAGE.read_text(encoding="utf-8")
    for port in ("8000", "19090", "19093"):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def test_a_newcomer_sees_the_first_alert(shell: Shell, clone: Path) -> None:
    """Every line of the page runs, the alert says what it has to, and nothing is left."""
    for program in ("prometheus", "prometheus-alertmanager"):
        require_program(program)
    install, serve, make, start, pay, ask, clean = blocks()
    shell.run(install)
    assert "Nothing is wrong." in shell.run(serve)
    for block in (make, start, pay):
        shell.run(block)
    end = time.monotonic() + FIRES_SECONDS
    while "RedErrorBudgetBurn" not in (shown := shell.run(f"{{\n{ask}}} || true")):  # it may not be up yet
        assert time.monotonic() < end, (clone / "first-alert" / "prometheus.log").read_text()
        time.sleep(1)
    assert 'job="shop"' in shown
    assert "runbooks.md#rederrorbudgetburn" in shown
    shell.run(clean)
    assert not (clone / "first-alert").exists()
    assert sorted(path.name for path in clone.iterdir()) == [
        "LICENSE",
        "README.md",
        "examples",
        "pyproject.toml",
        "red_middleware",
    ]
