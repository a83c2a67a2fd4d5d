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
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even what is around it
        return False


PACKAGES: Final = {
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "victoria-metrics": "victoria-metrics",
    "vmalert": "victoria-metrics",
}
"""The Debian packages of programs that are not in `prometheus`."""


def require_program(name: str) -> str:
    """Return the path of one of the programs that scrape, and tell of alerts."""
    path = shutil.which(name)
    package = PACKAGES.get(name, "prometheus")
    require(f"{name} is not installed: apt-get install {package}, or https://prometheus.io/download/", path)
    assert path is not None  # require does not return otherwise
    return path
