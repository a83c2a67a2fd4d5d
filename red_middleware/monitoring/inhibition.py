"""Which alert keeps quiet while another one speaks: `inhibit_rules` of Alertmanager, the same for every app.

An alert inhibits only where all labels named in `equal` are the same. A label that both lack is the same.
"""

from collections.abc import Iterable
from typing import Any, Final

PAGE: Final = 'severity="page"'
TICKET: Final = 'severity="ticket"'


def inhibit_rules(target_labels: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return the rules, each with what it keeps from a person.

    Args:
        target_labels: The names of the labels that tell apart what has one job name, of all apps. If the targets of an
            app lack one, it is the same in all of its alerts.

    A budget of the service that burns makes three alerts: a page, a ticket, and one of each route that burns it. The
    page goes before the tickets of the service and of its routes. Where no instance can be scraped, one page goes
    before the tickets of all. A ticket keeps nothing quiet: one that stands for days must not hide a route that breaks.
    """
    service = 'alertname="RedErrorBudgetBurn"'
    routes = 'alertname="RedRouteErrorBudgetBurn"'
    of_service = ["job", *target_labels]
    of_objective = [*of_service, "objective", "threshold"]
    return [
        _rule([service, PAGE], [service, TICKET], of_objective),
        _rule([service, PAGE], [routes, TICKET], of_objective),
        _rule(['alertname="RedMetricsAbsent"'], ['alertname="RedTargetDown"', TICKET], of_service),
    ]


def _rule(source: list[str], target: list[str], equal: list[str]) -> dict[str, Any]:
    return {"source_matchers": source, "target_matchers": target, "equal": equal}
