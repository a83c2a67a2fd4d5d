"""The rule for what a machine lacks."""

import pytest

from . import require, require_program


def test_what_is_missing_is_skipped_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contributor without Prometheus can run all other tests, and is told how to run these."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match=r"promtool is not installed: apt-get install prometheus"):
        require_program("promtool")


def test_what_is_missing_fails_where_ci_promises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI nothing is skipped unseen."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI is set, but: it is not there"):
        require("it is not there", None)
