"""What a dashboard asks: its queries, with the variables and Grafana's macros filled in as Grafana would."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

Dashboard = Mapping[str, Any]

MACROS: Final = {"$__rate_interval": "1m", "$__range": "10m"}
"""Durations that any data source understands, for the two macros that the dashboard uses."""


class Asked(NamedTuple):
    """One query, ready to be sent."""

    panel: str
    """The title of its panel."""
    expr: str
    is_instant: bool
    legend: str


def every_panel(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield all panels, those of collapsed rows as well, without the rows themselves."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def filled(expr: str, dashboard: Dashboard, macros: Mapping[str, str] = MACROS) -> str:
    """Return a query as Grafana sends it: variables as first set, "All" as what the variable says for it."""
    texts = {name.removeprefix("$"): text for name, text in macros.items()}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            values = variable["current"]["value"]
            texts[variable["name"]] = variable["allValue"] if values == ["$__all"] else re.escape(values[0])
    return re.sub(r"\$(\w+)", lambda found: texts[found[1]], expr)


def queries(dashboard: Dashboard, macros: Mapping[str, str] = MACROS) -> Iterator[Asked]:
    """Yield every query of every panel, and that of the annotations."""
    for annotation in dashboard["annotations"]["list"]:
        yield Asked(annotation["name"], filled(annotation["expr"], dashboard, macros), False, "")
    for panel in every_panel(dashboard):
        for target in panel.get("targets", ()):
            expr = filled(target["expr"], dashboard, macros)
            yield Asked(panel["title"], expr, target["instant"], target["legendFormat"])
