"""End to end: real servers, real clients, a real Prometheus.

What a machine lacks is skipped with what to install, and fails where `CI` is set: `require` is that rule, for all.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
UWSGI: Final = Path(sys.executable).with_name("uwsgi")
"""A program with the interpreter inside, and no module that could be imported."""


def require(reason: str, present: object) -> None:
    """Skip the test where something is not installed; fail it where `CI` promises that everything is.

    Args:
        reason: What is missing and how to install it.
        present: Whether it is there.
    """
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, but: {reason}", pytrace=False)
    pytest.skip(reason)


def require_packages(*names: str) -> None:
    """Ask for packages that a server or its application imports."""
    for name in names:
        how = "with a C compiler, pip install uwsgi" if name == UWSGI.name else f"pip install {name}"
        require(f"{name} is not installed: {how}", has_package(name))


def has_package(name: str) -> bool:
    if name == UWSGI.name:
        return UWSGI.exists()
    return importlib.util.find_spec(name) is not None


def require_program(name: str) -> str:
    """Return the path of one of Prometheus's programs."""
    path = shutil.which(name)
    require(
        f"{name} is not installed: apt-get install prometheus prometheus-alertmanager, or https://prometheus.io/download/",
        path,
    )
    assert path is not None  # require does not return otherwise
    return path
