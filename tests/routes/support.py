"""Print which frameworks are supported, as `docs/frameworks.md` shows it: `python -m tests.routes.support`.

All of it is what the contract asks: see `contract`. The oldest releases are those of the dependency groups. What is
printed belongs between the two markers of the page, and a test compares both.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby

from ..e2e import ROOT
from .contract import COLUMNS, FRAMEWORKS, SCENARIOS, WEBSOCKET, Framework, Scenario

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

PAGE = ROOT / "docs" / "frameworks.md"
MARKERS = "<!-- printed by python -m tests.routes.support -->\n", "<!-- printed until here -->\n"

SAME, NONE = "✓", "none"

LEGEND = f"""\
What the contract asks, by framework:

- {SAME}: it counts under its own route, or under `_unmatched` where the app serves none, as in every framework.
- {NONE}: the framework has no such thing.
- a request, a route and a status: the framework itself answers otherwise, and it counts under these.
- An exception that the app answers with a 500 counts as an error, and `http_exceptions_total` names it where the table
  says so. One that nobody handles is named everywhere else too. It leaves the app, or the framework answers it.
"""


def main() -> None:
    """Print the page's part."""
    print(printed(), end="")


def printed() -> str:
    """Return the tables, in Markdown."""
    by_name = [list(found) for _, found in groupby(FRAMEWORKS, lambda framework: framework.name)]
    titles = ("framework", "releases", "by", "on Python", "tested beside the contract", "not tested")
    supported = table(titles, (support(alike) for alike in by_name))
    contract = table(("", *COLUMNS), ([alike[0].name, *(cell(alike, name) for name in COLUMNS)] for alike in by_name))
    return f"{supported}\n{LEGEND}\n{contract}"


def on_page() -> str:
    """Return what the page has between its markers."""
    before, after = MARKERS
    return PAGE.read_text(encoding="utf-8").partition(before)[2].partition(after)[0]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def support(alike: Sequence[Framework]) -> Sequence[str]:
    """Return what a framework was tested with. All of its applications are given."""
    one = alike[0]
    releases = " to ".join(dict.fromkeys((oldest(one.package), one.newest)))
    protocols = " and ".join(dict.fromkeys(each.protocol for each in alike))
    kinds = " and ".join(each.kind for each in alike if each.kind)
    by = f"{protocols}, {kinds}" if kinds else protocols
    return one.name, releases, by, one.interpreters, one.beside, one.not_tested


def oldest(package: str) -> str:
    """Return the oldest supported release: the one of the group `oldest`, else the floor of another group."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    for group, sign in (("oldest", "=="), ("frameworks", ">="), ("newest", ">=")):
        for requirement in groups[group]:
            name, _, release = requirement.partition(sign)
            if name == package:
                return str(release)
    raise LookupError(f"no dependency group of pyproject.toml has {package}")


def cell(alike: Sequence[Framework], column: str) -> str:
    """Return what the applications of a framework do in one column, each by its protocol where they differ."""
    texts = {each.protocol: answer(each, column) for each in alike}
    if len(set(texts.values())) == 1:
        return texts[alike[0].protocol]
    return "; ".join(f"{protocol}: {text}" for protocol, text in texts.items())


def answer(framework: Framework, column: str) -> str:
    """Return what a framework does in one column."""
    if column == WEBSOCKET:
        return SAME if framework.socket else NONE
    asked = [scenario for scenario in SCENARIOS if scenario.column == column]
    names = [scenario.says for scenario in asked] or [column]
    if all(framework.differs.get(name, ()) is None for name in names):
        return NONE
    return ", ".join(otherwise(framework, scenario) for scenario in asked if scenario.says in framework.differs) or (
        same(framework, column)
    )


def otherwise(framework: Framework, scenario: Scenario) -> str:
    """Return how a framework differs in a scenario."""
    row = framework.differs[scenario.says]
    path = scenario.path.replace("SLASH", framework.slash[0])
    return f"`{scenario.method} {path}`: {NONE if row is None else f'`{row[1]}` {row[2]}'}"


def same(framework: Framework, column: str) -> str:
    """Return how a framework does what all do, and what it adds."""
    if column == "slash redirect":
        return NONE if framework.slash[1] == 404 else f"{SAME} {framework.slash[1]}"
    if column == "exception answered":
        return f"{SAME} named" if framework.tells_all else SAME
    if column == "exception propagated":
        release = ".".join(map(str, framework.silent_before))
        return f"{SAME} {'leaves' if framework.reraises else '500'}{f', not named before {release}' if release else ''}"
    return SAME


def major_and_minor(release: str) -> tuple[int, ...]:
    """Return what tells releases apart on the page."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:2])


if __name__ == "__main__":
    main()
