"""A regular expression as a person reads it: a template, in which each group is a parameter.

For routers whose routes are regular expressions. What Python compiles is well-formed; of anything else the template is
some text. This room knows no framework.
"""

import re
from typing import Final

TOKEN: Final = re.compile(
    r"""
      \\(?P<escaped>.)
    | (?P<quantifier> [*+?] | \{\d*,?\d*\} )
    | (?P<set> \[ \^? \]? (?: \\. | [^\]\\] )* \] )
    | \(\?P<(?P<named>\w+)>
    | \(\?P=(?P<again>\w+)\)
    | (?P<nothing> \(\?[aiLmsux-]+\) | \(\?\#[^)]*\) | [\^$] )
    | (?P<look> \(\?<?[=!] )
    | (?P<part> \(\?[aiLmsux-]*: | \(\?> )
    | (?P<group> \( )
    | (?P<close> \) )
    | (?P<any> \. )
    | (?P<literal> . )
    """,
    re.VERBOSE | re.DOTALL,
)

POSITIONS: Final = "AZzbB"
"""What is escaped and stands between two characters."""

CLASSES: Final = "dDwWsS"
"""What is escaped and stands for one of several characters."""

ARGUMENT: Final = "<arg>"
CHARACTER: Final = "<char>"
OPTIONAL: Final = "<opt>"


def readable(regex: str) -> str:
    """Return the template of a regular expression.

    A named group is `<name>`, another one `<arg>`, a part that may be missing or come again `<opt>`, one of several
    characters `<char>`. Anchors, quantifiers, flags and what is only looked at are left out; what is escaped stands for
    itself.
    """
    groups: list[tuple[str | None, list[str]]] = [(None, [])]  # what each open one is called, and its parts
    for token in TOKEN.finditer(regex):
        kind, text = str(token.lastgroup), token[token.lastgroup or 0]
        if kind in ("named", "group", "look", "part"):
            label = {"named": f"<{text}>", "group": ARGUMENT, "look": "", "part": None}[kind]
            groups.append((label, []))
            continue
        if kind == "close" and len(groups) > 1:
            label, parts = groups.pop()
            if label is None:
                label = OPTIONAL if regex[token.end() : token.end() + 1] in ("*", "?") else _part(parts)
            groups[-1][1].append(label)
        elif kind == "escaped":
            groups[-1][1].append(CHARACTER if text in CLASSES else "" if text in POSITIONS else text)
        elif kind in ("set", "any"):
            groups[-1][1].append(CHARACTER)
        elif kind == "again":
            groups[-1][1].append(f"<{text}>")
        elif kind in ("literal", "close"):
            groups[-1][1].append(text)
    return "".join(part for _, parts in groups for part in parts)


def _part(parts: list[str]) -> str:
    """Return what a group that captures nothing reads: one of several is an argument."""
    return ARGUMENT if "|" in parts else "".join(parts)
