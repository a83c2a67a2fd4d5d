"""Which declared route a path seems to ask for, before any router has said so.

Only `in_progress_by_route` asks: it must know the route while the application may hang. Frameworks write parameters in
their own ways; all that is read here is whether one takes a segment or several. So where several templates of a method
fit a path, the answer may be another one than that of the router. The recorder holds one, and tells it what is
declared.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..counting.labels import OTHER, UNDECLARED_METHODS, WEBSOCKET, method_label
from .patterns import SEVERAL, Node

WRITTEN: Final = re.compile(r"<[^<>]*>|\{(?:[^{}]|\{[^{}]*\})*\}|(?<=/)\*.*")
"""A parameter as any framework writes it: with a kind, a converter's arguments or a regular expression. Or what is
behind a mount, or a rest (`*traverse`)."""

TAKES_SEVERAL: Final = re.compile(rf"\*|\.[*+]|\b{SEVERAL}\b")
"""What in a parameter says that it takes several segments."""

ONE_SEGMENT, SEGMENTS = "<one>", f"<{SEVERAL}:several>"


class DeclaredRoutes:
    """The declared routes, to be found by a method and a path. Matching takes a microsecond or two."""

    def __init__(self) -> None:
        self._declared: dict[tuple[str, str], None] = {}
        self._planted: tuple[int, dict[str, Node]] = 0, {}
        """How many of these the trees have, and the tree of each method."""

    def add(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        """Take templates with their methods, `None` where the app names none. See `reader.Declare`."""
        for template, methods in routes:
            for method in UNDECLARED_METHODS if methods is None else methods:
                if method != WEBSOCKET:
                    self._declared[method_label(method), template] = None

    def find(self, method: str, path: str) -> str | None:
        """Return the template that a path fits, of several that look alike the one that was declared first.

        Args:
            method: As its label. One that no route names is looked for where any other one is served.
            path: Relative to the mounting.
        """
        number, trees = self._planted
        if number != len(self._declared):
            trees = self._plant()
        if not trees:
            return None
        segments = path.split("/")
        for label in (method, OTHER):
            tree = trees.get(label)
            found = None if tree is None else tree.match(segments, 1)
            if found is not None:
                return found
        return None

    def _plant(self) -> dict[str, Node]:
        """Make the trees anew. Methods that serve the same templates share one: most of an app's do."""
        declared = list(self._declared)
        by_method: dict[str, list[str]] = {}
        for method, template in declared:
            by_method.setdefault(method, []).append(template)
        written = {template: _ways(template) for _, template in declared}
        shared: dict[tuple[str, ...], Node] = {}
        trees: dict[str, Node] = {}
        for method, templates in by_method.items():
            served = tuple(templates)
            if served not in shared:
                shared[served] = _tree(served, written)
            trees[method] = shared[served]
        self._planted = len(declared), trees  # at once: another thread may have declared more meanwhile
        return trees


def _tree(templates: Iterable[str], written: Mapping[str, Sequence[Sequence[str]]]) -> Node:
    root = Node()
    for template in templates:
        for way in written[template]:
            node = root.add(way, str)
            node.template = node.template or template
    return root


def _ways(template: str) -> list[list[str]]:
    return [way for spelling in _spellings(template) for way in ways(spelling)]


def _spellings(template: str) -> list[str]:
    """Return a template as ASGI spells it, and as WSGI does (PEP 3333)."""
    text = template.encode("utf-8", "replace")
    return [template] if template.isascii() else [template, text.decode("latin-1")]


def ways(template: str) -> list[list[str]]:
    """Return the segments of the paths that a template serves, with parameters as `patterns` reads them.

    What is behind a mount may be nothing at all.
    """
    several = 0

    def plain(written: re.Match[str]) -> str:
        nonlocal several
        takes_several = TAKES_SEVERAL.search(written[0]) is not None and not several
        several += takes_several
        return SEGMENTS if takes_several else ONE_SEGMENT

    parts = WRITTEN.sub(plain, template if template.startswith("/") else f"/{template}").split("/")[1:]
    parts = [_one_parameter(part) for part in parts]
    return [parts, parts[:-1], [*parts[:-1], ""]] if template.endswith("/*") else [parts]


def _one_parameter(part: str) -> str:
    """Return a segment with one parameter at most: where there are more, they are one with all that is between."""
    if SEGMENTS in part:
        return SEGMENTS
    before, parameter, rest = part.partition(ONE_SEGMENT)
    return before + parameter + rest.rpartition(ONE_SEGMENT)[2]
