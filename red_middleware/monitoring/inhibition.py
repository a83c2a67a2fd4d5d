"""Which alert keeps quiet while another one speaks: `inhibit_rules` of Alertmanager, the same for every app.

An alert inhibits only where all labels named in `equal` are the same. A label that both lack is the same.
"""

from typing import Any, Final

PAGE: Final = 'severity="page"'
TICKET: Final = 'severity="ticket"'


def inhibit_rules() -> list[dict[str, Any]]:
    """Return the rules, each with what it keeps from a person.

    A budget of the service that burns makes three alerts: a page, a ticket, and one of each route that burns it. The
    page goes before the tickets of the service and of its routes. Where no instance can be scraped, one page goes
    before the tickets of all. A ticket keeps nothing quiet: one that stands for days must not hide a route that breaks.
    """
    service = 'alertname="RedErrorBudgetBurn"'
    routes = 'alertname="RedRouteErrorBudgetBurn"'
    objective = ["job", "objective", "threshold"]
    return [
        _rule([service, PAGE], [service, TICKET], objective),
        _rule([service, PAGE], [routes, TICKET], objective),
        _rule(['alertname="RedMetricsAbsent"'], ['alertname="RedTargetDown"', TICKET], ["job"]),
    ]


def _rule(source: list[str], target: list[str], equal: list[str]) -> dict[str, Any]:
    return {"source_matchers": source, "target_matchers": target, "equal": equal}
