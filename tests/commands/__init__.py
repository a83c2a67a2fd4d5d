"""The command line, run as users run it: each in a process of its own, as an app registers on a process's registry."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from coverage import Coverage

from ..e2e import ROOT

DEADLINE_SECONDS: Final = 60.0


class Ran(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """Return the YAML that it wrote. It must have succeeded."""
        assert self.code == 0, self.err
        return yaml.safe_load(self.out)


def command(*arguments: object, flags: tuple[str, ...] = ()) -> list[str]:
    """Return the command line of a command. It is measured where the tests are."""
    settings = f"--rcfile={ROOT / 'pyproject.toml'}"  # the command may run anywhere
    measured = ["-m", "coverage", "run", settings, "--parallel-mode"] if Coverage.current() else []
    return [sys.executable, *flags, *measured, "-m", "red_middleware", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which the package and the tests' packages are found, whatever the directory is."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RED_")}
    return {**plain, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def run(*arguments: object, cwd: Path | None = None, stdin: str = "", **more: str) -> Ran:
    """Run a command.

    Args:
        arguments: Those of the command line.
        cwd: Where.
        stdin: What it reads.
        more: Variables of the environment.
    """
    ran = subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**more), input=stdin, capture_output=True, text=True,
        timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)
