"""What a panel is in Grafana's JSON model: the classic model, which Grafana 10 to 12 import.

A function for each kind of panel that the dashboard uses, with one way to draw it. Nothing here knows which metrics
there are: `business`, `service` and the other rows fill the panels, and `layout` gives them their places.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..alerts import RUNBOOKS
from .layout import COLUMNS, Model, Panel

Steps = Sequence[tuple[float | None, str]]
"""From which value on a colour holds. The first one has no value: it holds from the lowest one on."""


DOCUMENTS: Final = RUNBOOKS.rpartition("/")[0]

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
"""The data source that the dashboard's variable chooses."""

PLAIN: Final[Steps] = ((None, "green"),)
"""No value is worse than another one."""

ANY_IS_BAD: Final[Steps] = ((None, "green"), (1e-9, "red"))
"""There should be none."""

GREEN_IS_FULL: Final[Steps] = ((None, "red"), (0.0, "orange"), (0.25, "green"))
"""Of something that is used up: gone below 0, soon gone below a quarter."""

Colours = Mapping[str, str]
"""Of lines, by a regular expression for their names."""

NO_COLOURS: Final[Colours] = {}

BY_STATUS: Final[Colours] = {"^1": "purple", "^2": "green", "^3": "blue", "^4": "orange", "^5": "red"}
"""By the first digit of a status."""


class Query(NamedTuple):
    """One question to Prometheus."""

    expr: str
    legend: str = "__auto"
    """The name of a series, with labels as `{{route}}`; by default Grafana finds the labels that differ."""
    has_exemplars: bool = False
    """Whether to ask for exemplars as well, which lead from a slow request to its trace."""


class Column(NamedTuple):
    """One column of a table: a question that has one answer for each row."""

    title: str
    expr: str
    unit: str
    steps: Steps = ()
    """Colours the cells, if given."""
    is_bar: bool = False
    """Whether a bar stands in the cells, from 0 to 1."""


def in_words(label: str) -> str:
    """Return a label as people read it."""
    return label.replace("_", " ").capitalize()


def link(title: str, url: str, *, is_new_tab: bool = True) -> Model:
    """Return a link of a panel or of the dashboard."""
    return {
        "title": title,
        "type": "link",
        "url": url,
        "icon": "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": is_new_tab,
        "includeVars": False,
        "keepTime": False,
    }


def runbook(alert: str) -> Model:
    """Return the link from a panel to what is to do when the alert fires that watches the same numbers."""
    return link(f"What to do about {alert}", f"{RUNBOOKS}#{alert.lower()}")


def time_series(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    steps: Steps = PLAIN,
    alerts: Sequence[str] = (),
    is_stacked: bool = False,
    has_table: bool = False,
    colours: Colours = NO_COLOURS,
    most: float | None = None,
    width: int = 8,
    height: int = 8,
) -> Panel:
    """Return lines over time.

    Args:
        title: What is drawn.
        description: What it means, and what to do.
        unit: Grafana's name of the unit.
        queries: What is asked.
        steps: From which values on the background is coloured.
        alerts: The alerts that watch the same numbers.
        is_stacked: Whether the lines lie on top of each other, as parts of a whole.
        has_table: Whether the legend is a table with the last and the highest value: for many lines.
        colours: Those of lines whose names mean something. The others have one of Grafana's palette.
        most: The upper end of the axis, if it is known.
        width: See `Panel`.
        height: See `Panel`.
    """
    custom: Model = {
        "axisSoftMin": 0,
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if is_stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if len(steps) == 1 else "dashed"},
    }
    defaults = _defaults(unit, steps, custom=custom)
    defaults["color"] = {"mode": "palette-classic"}
    if most is not None:
        defaults["max"] = most
    legend: Model = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    if has_table:
        legend |= {"displayMode": "table", "calcs": ["lastNotNull", "max"], "sortBy": "Last *", "sortDesc": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    overrides = [
        _override("byRegexp", f"/{pattern}/", color={"mode": "shades", "fixedColor": colour})
        for pattern, colour in colours.items()
    ]
    targets = _targets(queries)
    return _panel("timeseries", title, description, options, defaults, overrides, targets, alerts, width, height)


def stat(
    title: str, description: str, unit: str, query: Query, *, steps: Steps = PLAIN, alerts: Sequence[str] = (),
    width: int = 4, height: int = 4, empty: str = "no data",
) -> Panel:  # fmt: skip
    """Return a number in large letters, above its course.

    Args:
        title: What it is.
        description: What it means, and what to do.
        unit: Grafana's name of the unit.
        query: What is asked.
        steps: Its colour.
        alerts: The alerts that watch the same number.
        width: See `Panel`.
        height: See `Panel`.
        empty: What stands there without an answer.
    """
    options = {
        "graphMode": "area",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "reduceOptions": _LAST,
        "orientation": "auto",
    }
    defaults = _defaults(unit, steps, noValue=empty)
    return _panel("stat", title, description, options, defaults, [], _targets([query]), alerts, width, height)


def bar_gauge(
    title: str, description: str, unit: str, query: Query, *, steps: Steps, alerts: Sequence[str] = (), width: int = 8,
    height: int = 8, empty: str = "no data",
) -> Panel:  # fmt: skip
    """Return a bar for each series, from 0 to 1. The arguments are those of `stat`."""
    options = {
        "displayMode": "basic",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "reduceOptions": _LAST,
        "orientation": "horizontal",
    }
    defaults = _defaults(unit, steps, noValue=empty, min=0, max=1)
    return _panel("bargauge", title, description, options, defaults, [], _targets([query]), alerts, width, height)


def heatmap(title: str, description: str, unit: str, query: Query, *, width: int = 12, height: int = 9) -> Panel:
    """Return the buckets of a histogram over time. The arguments are those of `stat`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "scale": "exponential", "exponent": 0.5,
            "steps": 64, "reverse": False,
        },
        "exemplars": {"color": "rgba(31, 96, 196, 0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"unit": unit, "axisPlacement": "left", "reverse": False},
    }  # fmt: skip
    defaults = _defaults(unit, PLAIN)
    targets = [{**target, "format": "heatmap"} for target in _targets([query])]
    return _panel("heatmap", title, description, options, defaults, [], targets, (), width, height)


def table(
    title: str, description: str, label: str, address: str, columns: Sequence[Column], *, alerts: Sequence[str] = (),
    width: int = COLUMNS, height: int = 9,
) -> Panel:  # fmt: skip
    """Return a table with one row for each value of a label, sorted by the first column of numbers.

    Args:
        title: What is listed.
        description: What it means, and what to do.
        label: By which the queries are grouped: the first column.
        address: Where a click on a value of the label leads.
        columns: The others.
        alerts: The alerts that watch the same numbers.
        width: See `Panel`.
        height: See `Panel`.
    """
    overrides = [_override("byName", label, displayName=in_words(label), links=[
        link("Show this one only", address, is_new_tab=False)
    ])]  # fmt: skip
    targets = []
    for n, column in enumerate(columns):
        target = _target(n, Query(column.expr))
        targets.append({**target, "format": "table", "instant": True, "range": False})
        properties: Model = {"displayName": column.title, "unit": column.unit}
        if column.unit == "short":
            properties["decimals"] = 0  # `increase` estimates, and nobody wants half a request
        if column.steps:
            properties["thresholds"] = _thresholds(column.steps)
            properties["custom.cellOptions"] = {"type": "color-text"}
        if column.is_bar:
            properties |= {"min": 0, "max": 1, "custom.cellOptions": {"type": "gauge", "mode": "basic"}}
        overrides.append(_override("byName", f"Value #{target['refId']}", **properties))
    options = {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": columns[0].title, "desc": True}],
    }
    defaults = _defaults("short", PLAIN, custom={"align": "auto", "inspect": False})
    panel = _panel("table", title, description, options, defaults, overrides, targets, alerts, width, height)
    panel.model["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}},
    ]
    return panel


def text(title: str, description: str, content: str, *, width: int = COLUMNS, height: int = 3) -> Panel:
    """Return a text, in Markdown."""
    options = {"mode": "markdown", "content": content}
    model = {"type": "text", "title": title, "description": description, "options": options}
    return Panel(model, width, height)


_LAST: Final = {"values": False, "calcs": ["lastNotNull"], "fields": ""}


def _panel(
    kind: str, title: str, description: str, options: Model, defaults: Model, overrides: Sequence[Model],
    targets: Sequence[Model], alerts: Iterable[str], width: int, height: int,
) -> Panel:  # fmt: skip
    model = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "links": [runbook(alert) for alert in alerts],
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
    }
    return Panel(model, width, height)


def _targets(queries: Iterable[Query]) -> list[Model]:
    return [_target(n, query) for n, query in enumerate(queries)]


def _target(n: int, query: Query) -> Model:
    return {
        "refId": chr(ord("A") + n) if n < 26 else f"A{n}",
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "exemplar": query.has_exemplars,
        "format": "time_series",
        "instant": False,
        "range": True,
    }


def _defaults(unit: str, steps: Steps, **more: Any) -> Model:
    return {"unit": unit, "thresholds": _thresholds(steps), "color": {"mode": "thresholds"}, **more}


def _thresholds(steps: Steps) -> Model:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def _override(matcher: str, fields: str, **properties: Any) -> Model:
    named = [{"id": name, "value": value} for name, value in properties.items()]
    return {"matcher": {"id": matcher, "options": fields}, "properties": named}
