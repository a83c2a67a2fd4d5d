"""Where panels lie: rows below one another, and in each row the panels side by side.

Nothing here knows what a panel shows. The rows of the other files come in, the panels of Grafana's JSON model go out.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

Model = dict[str, Any]
"""A part of the JSON model."""

COLUMNS: Final = 24
"""How wide a dashboard is."""


class Panel(NamedTuple):
    """A panel without number and place."""

    model: Model
    width: int
    """Of `COLUMNS`."""
    height: int
    """One is some 30 pixels."""


class Row(NamedTuple):
    """A heading, and the panels below it."""

    title: str
    panels: Sequence[Panel]
    is_collapsed: bool = False
    """Whether it is opened by a click only: for what most apps do not have."""


def placed(rows: Iterable[Row]) -> list[Model]:
    """Return the panels of a dashboard: numbered from 1 on, side by side while there is room, then in the next line."""
    models: list[Model] = []
    number = top = 0
    for row in rows:
        number += 1
        inner: list[Model] = []
        models.append({
            "id": number, "type": "row", "title": row.title, "collapsed": row.is_collapsed, "panels": [],
            "gridPos": _place(0, top, COLUMNS, 1),
        })  # fmt: skip
        left, line, line_height = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, line, line_height = 0, line + line_height, 0
            number += 1
            inner.append({"id": number, **panel.model, "gridPos": _place(left, line, panel.width, panel.height)})
            left, line_height = left + panel.width, max(line_height, panel.height)
        if row.is_collapsed:  # once opened, it pushes down what is below
            models[-1]["panels"] = inner
            top += 1
        else:
            models += inner
            top = line + line_height
    return models


def _place(left: int, top: int, width: int, height: int) -> Model:
    return {"x": left, "y": top, "w": width, "h": height}
