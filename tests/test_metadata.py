"""What a package index shows about the package, and what its own files promise beside it."""

import importlib.metadata
import re

from .e2e import ROOT


def test_a_package_index_shows_where_everything_is() -> None:
    """From the page of the package, each of these is one click away."""
    found = importlib.metadata.metadata("red-middleware")
    urls = dict(each.split(", ") for each in found.get_all("Project-URL") or [])
    assert {"Homepage", "Documentation", "Changelog", "Issues", "Security"} <= set(urls)
    assert found["Author"] == "The red_middleware authors"
    assert "prometheus" in found["Keywords"]


def test_no_environment_needs_a_compiler_unless_it_is_asked_for() -> None:
    """The one package without a wheel, uWSGI, stands in a group of its own, which CI adds."""
    groups = re.split(r"^(?=\w+ = )", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [group.partition(" ")[0] for group in groups if re.search(r'"uwsgi\W', group)] == ["compiled"]
    assert "export RED_MORE_GROUPS=compiled" in (ROOT / ".ci/run").read_text(encoding="utf-8")
