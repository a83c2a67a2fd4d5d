"""The templates of the option `routes=`, for apps without a router that a reader knows.

A path is matched segment by segment down a tree, and the number of templates does not matter. A text goes before a
parameter, and the longer text before the shorter one. A template has one parameter for several segments at most: what
follows it has a known number of segments, so there is one place only where it may begin, however long a path is.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .. import options
from ..counting.labels import MAX_VALUE_BYTES
from .reader import Declare, Source

PARAMETER: Final = re.compile(r"<(?:(\w+):)?\w+>|\{\w+(?::(\w+))?\}")
"""As Flask and Django write it, or as Starlette does; the kind of it may be left out."""

SEVERAL: Final = "path"
"""The kind of a parameter that takes several segments. Any other kind takes one."""


class Node:
    """A place in the tree: which template ends here, and what may follow."""

    __slots__ = ("lengths", "parameters", "several", "template", "texts")

    def __init__(self) -> None:
        self.template: str | None = None
        self.texts: dict[str, Node] = {}
        self.parameters: dict[tuple[str, str], Node] = {}
        """By what stands before and behind a parameter in its segment."""
        self.lengths: list[tuple[int, int]] = []
        """How long these texts are, each pair of lengths once; the longest first."""
        self.several: dict[int, Node] = {}
        """What follows after several segments, by the number of its segments."""

    def match(self, segments: Sequence[str], at: int) -> str | None:
        """Return the template of the segments from one on."""
        if at == len(segments):
            return self.template
        segment = segments[at]
        node = self.texts.get(segment)
        found = None if node is None else node.match(segments, at + 1)
        if found is not None:
            return found
        length = len(segment)
        for before, after in self.lengths:
            if length > before + after:
                node = self.parameters.get((segment[:before], segment[length - after :]))
                found = None if node is None else node.match(segments, at + 1)
                if found is not None:
                    return found
        for behind, node in self.several.items():
            rest = len(segments) - behind
            if rest > at + 1 or (rest == at + 1 and segment):
                found = node.match(segments, rest)
                if found is not None:
                    return found
        return None

    def add(self, parts: Sequence[str], spelled: Callable[[str], str]) -> "Node":
        """Return the node at the end of these segments of a template, made if it is missing."""
        node = self
        for number, part in enumerate(parts):
            parameter = PARAMETER.search(part)
            if parameter is None:
                text = spelled(part)
                if text not in node.texts:
                    node.texts[text] = Node()
                node = node.texts[text]
            elif _is_several(parameter):
                length = len(parts) - number - 1
                if length not in node.several:
                    node.several[length] = Node()
                    node.several = dict(sorted(node.several.items(), reverse=True))
                node = node.several[length]
            else:
                around = spelled(part[: parameter.start()]), spelled(part[parameter.end() :])
                if around not in node.parameters:
                    node.parameters[around] = Node()
                    lengths = {*node.lengths, (len(around[0]), len(around[1]))}
                    node.lengths = sorted(lengths, key=lambda pair: (-sum(pair), -pair[0]))
                node = node.parameters[around]
        return node


class PatternReader:
    """Reads a request's path, and nothing else. See `reader.Reader`; it is made with templates.

    It is asked after the readers of all frameworks.

    Args:
        owner: The middleware, for messages.
        routes: What `routes=` says.
        spelled: How a path is spelled in the protocol's requests.
        declare: As in `reader.Reader`.
    """

    module: str = __package__ or ""  # it needs no framework

    def __init__(self, owner: str, routes: object, spelled: Callable[[str], str], declare: Declare) -> None:
        if isinstance(routes, str | bytes) or not isinstance(routes, Iterable):
            raise options.refusal(TypeError, owner, "routes", routes, "must be a collection of templates")
        self.declare = declare
        self.root: Node = Node()
        self.methods: dict[str, set[str] | None] = {}  # of each template; `None` where all may be
        for given in routes:
            options.check_type(owner, "routes", given, str)
            method, template = options.split_method(str(given))
            options.check_begins(owner, "routes", template)
            rule = _broken_rule(template)
            if rule:
                raise options.refusal(ValueError, owner, "routes", given, rule)
            node = self.root.add(template.split("/")[1:], spelled)
            if node.template not in (None, template):
                rule = f"matches the same paths as {node.template}"
                raise options.refusal(ValueError, owner, "routes", given, rule)
            node.template = template
            known = self.methods.setdefault(template, set())
            self.methods[template] = None if not method or known is None else known | {method}

    def learn(self, app: object, source: Source) -> bool:
        """Declare the templates. They are no app of a framework."""
        self.declare(self.methods.items())
        return False

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        """Return the template that the path matches."""
        return self.root.match(path.split("/"), 1) if path.startswith("/") else None


def _broken_rule(template: str) -> str:
    parts = template.split("/")[1:]
    found = [list(PARAMETER.finditer(part)) for part in parts]
    several = [part for part, parameters in zip(parts, found, strict=True) if any(map(_is_several, parameters))]
    plain = PARAMETER.sub("", template)
    rules = {
        "must be a template without a query or a fragment": "?" in plain or "#" in plain,
        "must have parameters like <name>, <path:name> or {name}": any(sign in plain for sign in "<>{}*"),
        "must be plain text, not percent-encoded": re.search("%[0-9A-Fa-f]{2}", plain) is not None,
        "must have one parameter in a segment at most": any(len(parameters) > 1 for parameters in found),
        "must have one parameter of the kind path at most": len(several) > 1,
        "must have nothing beside a parameter of the kind path": any(PARAMETER.sub("", part) for part in several),
        f"must have at most {MAX_VALUE_BYTES} bytes": len(template.encode("utf-8", "replace")) > MAX_VALUE_BYTES,
    }
    return next((rule for rule, is_broken in rules.items() if is_broken), "")


def _is_several(parameter: re.Match[str]) -> bool:
    return SEVERAL in parameter.groups()
