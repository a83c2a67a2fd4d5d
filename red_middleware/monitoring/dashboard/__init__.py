"""The Grafana dashboard of an installation, as the JSON model that Grafana 10 to 12 import or provision.

Its rows go from what the app is for down to the middleware itself: `business`, `service`, `routes`, `details` and
`middleware`. Each asks `selection` for its queries and `panels` for the look. Dashboards of the same installation are
the same text, so they can be kept under version control.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from ..alerts import RUNBOOKS
from ..installation import JOB, Installation, both
from .business import business_rows
from .details import detail_rows
from .layout import Model, placed
from .middleware import middleware_rows
from .panels import DATASOURCE, DOCUMENTS, in_words, link
from .routes import route_rows
from .selection import INSTANCE, ROUTE, Selection, chosen
from .service import service_rows

__all__ = ["dashboard", "identity"]

SCHEMA_VERSION: Final = 38
"""That of Grafana 10.0. Later ones read it, and bring it to their own."""

MOST_IDENTITY_LETTERS: Final = 40
"""How long Grafana allows a dashboard's `uid` to be."""


def dashboard(installation: Installation) -> dict[str, Any]:
    """Return the dashboard of an installation.

    Args:
        installation: What the app exposes. The dashboard begins with its job, and can show others that expose the same;
            an empty one stands for all of them.

    Returns:
        The JSON model, without the `id` that Grafana gives.
    """
    uid = identity(installation.title)
    rows = chain(
        business_rows(installation),
        service_rows(installation),
        route_rows(installation, f"/d/{uid}"),
        detail_rows(installation),
        middleware_rows(installation),
    )
    return {
        "uid": uid,
        "title": f"RED of {installation.title}" if installation.title else "RED",
        "description": "Rate, errors and duration of an HTTP service, and what is left of its error budgets. Made by "
        "red_middleware for the options of this application: make it anew when these change.",
        "tags": ["http", "prometheus", "red"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,  # changes would be lost the next time it is made: Grafana offers a copy instead
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "links": [
            link("What the numbers mean", f"{DOCUMENTS}/semantics.md"),
            link("Runbooks", RUNBOOKS),
        ],
        "annotations": {"list": [_alerts(installation)]},
        "templating": {"list": _variables(installation)},
        "panels": placed(rows),
    }


def identity(title: str) -> str:
    """Return the `uid` of an app's dashboard, given its title: always the same, and another one for each title."""
    plain = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    uid = f"red-{plain}"
    if not title:
        return "red"
    if plain == title and len(uid) <= MOST_IDENTITY_LETTERS:
        return uid
    mark = hashlib.sha256(title.encode()).hexdigest()[:8]
    return f"{uid[: MOST_IDENTITY_LETTERS - len(mark) - 1].rstrip('-')}-{mark}"


def _alerts(installation: Installation) -> Model:
    """Return the annotation that marks in every graph when alerts fire."""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": Selection(installation).firing(),
        "titleFormat": "{{alertname}}",
        "tagKeys": "severity",
    }


def _variables(installation: Installation) -> list[Model]:
    selection = Selection(installation)
    everywhere = installation.name("red_series")  # which every instance shows, with or without requests
    requests = installation.name(installation.duration_family, "_count")
    of_instances = f"{requests}{{{selection.of_instances()}}}"
    return [
        _datasource(),
        *_service_variables(installation, everywhere),
        _variable(INSTANCE, "Instance", f"label_values({everywhere}{{{selection.of_services()}}}, {INSTANCE})", ".+"),
        # Requests without a route may lack the label, so all must match nothing as well.
        _variable(ROUTE, "Route", f"label_values({of_instances}, {installation.route})", ".*"),
        *(
            _variable(label, in_words(label), f"label_values({of_instances}, {label})", ".*")
            for label in selection.labels
        ),
    ]


def _service_variables(installation: Installation, everywhere: str) -> Iterator[Model]:
    """Yield those that choose services: the job, then each target label among what the ones before it have chosen."""
    before: list[str] = []
    for name, value in installation.service.items():
        current = {"selected": True, "text": [value], "value": [value]} if value else _ALL
        # What has no target label has none of its values, so all must match nothing as well.
        everything = ".+" if name == JOB else ".*"
        asked = f"{everywhere}{{{both(*before)}}}" if before else everywhere
        yield _variable(name, in_words(name), f"label_values({asked}, {name})", everything, current)
        before.append(chosen(name, name))


_ALL: Final = {"selected": True, "text": ["All"], "value": ["$__all"]}


def _datasource() -> Model:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _variable(name: str, label: str, query: str, everything: str, current: Model = _ALL) -> Model:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": current,
        "hide": 0,
        "includeAll": True,
        "allValue": everything,
        "multi": True,
        "options": [],
        "refresh": 2,  # when the time changes: routes and instances come and go
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
    }
