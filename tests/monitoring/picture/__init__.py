"""A picture of the dashboard where no Grafana can be had: its JSON, drawn with the answers of a real Prometheus.

    python -m tests.monitoring.picture --help

`answers` asks, `panels` draws each kind of panel, `marks` writes SVG and `units` writes numbers. It is no Grafana: it
knows the kinds of panel and the options that this dashboard has, and shows where each panel lies and what it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..queries import Dashboard
from .answers import Answers
from .marks import COLUMN_PIXELS, LINE_PIXELS, WIDTH, box, document, shifted, text
from .panels import body_of

GAP = 8
TOP = 44


def draw(dashboard: Dashboard, answers: Answers, most_rows: int | None = None) -> str:
    """Return the dashboard as SVG.

    Args:
        dashboard: Its JSON model.
        answers: Where its queries are asked, and for which time.
        most_rows: How many of its rows are drawn; all of them if not given. Collapsed rows stay collapsed.
    """
    panels = list(_first_rows(dashboard["panels"], most_rows))
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    parts = [_heading(dashboard, answers)]
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] * COLUMN_PIXELS, TOP + place["y"] * LINE_PIXELS
        width, height = place["w"] * COLUMN_PIXELS - GAP, place["h"] * LINE_PIXELS - GAP
        parts.append(shifted(left + GAP / 2, top, _panel(panel, width, height, answers)))
    return document(WIDTH, TOP + bottom * LINE_PIXELS + GAP, parts)


def _first_rows(panels: Sequence[Mapping[str, Any]], most_rows: int | None) -> Iterator[Mapping[str, Any]]:
    rows = 0
    for panel in panels:
        rows += panel["type"] == "row"
        if most_rows is None or rows <= most_rows:
            yield panel


def _heading(dashboard: Dashboard, answers: Answers) -> str:
    """Return the title, and what the variables choose."""
    chosen = " | ".join(
        f"{variable['label']}: {', '.join(variable['current']['text'])}"
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    )
    return text(GAP, 27, dashboard["title"], "title") + text(WIDTH - GAP, 27, f"{chosen} | {answers.period}", "end")


def _panel(panel: Mapping[str, Any], width: float, height: float, answers: Answers) -> str:
    if panel["type"] == "row":
        sign = (
            "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
            if panel["collapsed"]
            else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        )
        more = f" ({len(panel['panels'])} panels)" if panel["collapsed"] else ""
        return text(2, 17, f"{sign} {panel['title']}{more}", "row")
    return box(width, height) + text(10, 18, panel["title"], "name") + body_of(panel, width, height, answers)
