"""Real applications, each wrapped in the one line of the README: which rows do their requests count in?

What a machine lacks is skipped with what to install, and fails where `RED_APPLICATIONS=1` promises that all is there.
"""

import importlib.util
import os

import pytest


def require(*modules: str, package: str) -> None:
    """Skip the test where an application is not installed; fail it where tox installs every application.

    Args:
        modules: What the test imports.
        package: What to install for it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"{', '.join(missing)} is not installed: pip install {package}"
    if os.environ.get("RED_APPLICATIONS") == "1":
        pytest.fail(f"RED_APPLICATIONS is set, but: {reason}", pytrace=False)
    pytest.skip(reason)
