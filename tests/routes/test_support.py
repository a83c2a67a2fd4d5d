"""What the page and the README say of releases is what the contract was asked of."""

import os
import re
from importlib.metadata import version

import pytest

from ..e2e import ROOT
from .contract import COLUMNS, FRAMEWORKS, SCENARIOS, Framework
from .made import INSTALLED
from .support import major_and_minor, oldest, on_page, printed

by_package = {framework.package: framework for framework in FRAMEWORKS}


def test_the_page_is_what_the_contract_prints() -> None:
    """After a change of the contract: `python -m tests.routes.support` prints what belongs between the markers."""
    assert on_page() == f"\n{printed()}\n"


def test_the_contract_names_only_scenarios_and_columns_that_there_are() -> None:
    """Else a framework that differs would be asked what all are asked."""
    names = {scenario.says for scenario in SCENARIOS} | set(COLUMNS)
    assert {name for framework in FRAMEWORKS for name in framework.differs} <= names


@pytest.mark.parametrize("package", ["flask", "django", "bottle", "starlette", "fastapi"])
def test_the_readme_names_the_same_releases(package: str) -> None:
    """Of the frameworks that most users have; it names the others without them."""
    framework = by_package[package]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{framework.name} {re.sub(r'[.]0$', '', oldest(package))} to {framework.newest}" in readme


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.id)
def test_the_readme_names_every_framework(framework: Framework) -> None:
    """A `Map` of Werkzeug is none, but what Flask is made of."""
    assert framework.name in (ROOT / "README.md").read_text(encoding="utf-8") or framework.package == "werkzeug"


@pytest.mark.skipif(os.environ.get("RED_EVERY_FRAMEWORK") != "oldest", reason="only with the oldest releases")
@pytest.mark.parametrize("package", sorted({framework.package for framework in INSTALLED}))
def test_the_oldest_releases_of_the_contract_are_those_that_are_installed(package: str) -> None:
    assert version(package) == oldest(package)


@pytest.mark.skipif("RED_CHECK_RELEASES" not in os.environ, reason="only at night: others release when they like")
@pytest.mark.parametrize("package", sorted({framework.package for framework in INSTALLED}))
def test_the_newest_releases_of_the_contract_are_those_that_are_installed(package: str) -> None:
    """A newer one is to be written into the contract. Some that are on every interpreter have one for newer ones."""
    framework = by_package[package]
    found, newest = major_and_minor(version(package)), major_and_minor(framework.newest)
    assert found == newest if framework.is_rare else found <= newest
