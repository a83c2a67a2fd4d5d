"""What an app pays for on import: the protocol that it speaks, and nothing that it has no use for."""

import subprocess
import sys

import pytest

import red_middleware

HEAVY = {"asyncio", "sysconfig", "prometheus_client.multiprocess", "concurrent.futures", "multiprocessing"}


def imported(statement: str) -> set[str]:
    """Return the modules that a new process has once it ran a statement, beyond those of prometheus_client."""
    program = (
        f"import sys, prometheus_client; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(found.stdout.split())


def test_the_package_alone_imports_none_of_its_rooms() -> None:
    assert imported("import red_middleware") <= {"red_middleware", "importlib", "importlib._bootstrap"}


@pytest.mark.parametrize(("name", "other"), [("RedWSGIMiddleware", "asgi"), ("RedASGIMiddleware", "wsgi")])
def test_a_protocol_that_is_not_used_is_not_imported(name: str, other: str) -> None:
    found = imported(f"from red_middleware import {name}")
    assert f"red_middleware.{other}" not in found
    assert not found & HEAVY


def test_what_the_package_offers_can_be_listed_and_nothing_else_be_had() -> None:
    assert set(red_middleware.__all__) <= set(dir(red_middleware))
    assert all(getattr(red_middleware, name).__name__ == name for name in red_middleware.__all__)
    with pytest.raises(AttributeError, match="module 'red_middleware' has no attribute 'RedMiddleware'"):
        _ = red_middleware.RedMiddleware  # type: ignore[attr-defined]
