"""What a query of PromQL names, found by a parser: series, matchers, windows and labels."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser as promql


class Selector(NamedTuple):
    """One selector of series."""

    name: str
    matchers: frozenset[tuple[str, str]]
    """Label and value."""
    functions: tuple[str, ...]
    """The calls around it, the outermost first."""
    window_seconds: float | None
    """That of a range selector."""
    groupings: tuple[frozenset[str], ...]
    """The labels that each `by` around it keeps."""


def selectors(expr: str) -> list[Selector]:
    """Return the selectors of a query.

    Raises:
        ValueError: It is no PromQL.
    """
    return list(_selectors(promql.parse(expr), (), ()))


def _selectors(
    node: Any, functions: tuple[str, ...], groupings: tuple[frozenset[str], ...], window: float | None = None
) -> Iterator[Selector]:
    if isinstance(node, promql.VectorSelector):
        matchers = frozenset((matcher.name, matcher.value) for matcher in node.matchers.matchers)
        yield Selector(node.name or "", matchers, functions, window, groupings)
    elif isinstance(node, promql.MatrixSelector):
        yield from _selectors(node.vector_selector, functions, groupings, node.range.total_seconds())
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from _selectors(argument, (*functions, node.func.name), groupings)
    elif isinstance(node, promql.AggregateExpr):
        modifier = node.modifier
        if modifier is not None and modifier.type == promql.AggModifierType.By:
            groupings = (*groupings, frozenset(modifier.labels))
        yield from _selectors(node.expr, functions, groupings)
    elif isinstance(node, promql.BinaryExpr):
        yield from _selectors(node.lhs, functions, groupings)
        yield from _selectors(node.rhs, functions, groupings)
    elif isinstance(node, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        yield from _selectors(node.expr, functions, groupings)
    else:
        assert isinstance(node, promql.NumberLiteral | promql.StringLiteral), node
