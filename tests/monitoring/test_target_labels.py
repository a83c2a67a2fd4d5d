"""Services of one job name that a target label tells apart: each has its own rules, alerts and budget."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from red_middleware import Label
from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.dashboard import dashboard
from red_middleware.monitoring.rules import rule_groups

from .installations import OBJECTIVES, installation
from .promql import selectors
from .promtool import Question, ask, check
from .queries import queries
from .traffic import Phase, instance, route

PROD, TEST = (installation(target_labels={"env": env, "cluster": "b"}, **OBJECTIVES) for env in ("prod", "test"))
BOTH: Final = [group for one in (PROD, TEST) for group in (*rule_groups(one), *alert_groups(one))]


def test_one_fails_and_the_other_does_not(tmp_path: Path) -> None:
    """Both rule files are loaded. What is recorded of one has its labels, and its alerts alone fire."""
    failing, good = Phase(90, requests=600, bad=30), Phase(90, requests=600)
    series: dict[str, str] = {}
    for one, phase in ((PROD, failing), (TEST, good)):
        series |= {**dict(instance(one, [phase])), **dict(route(one, "/", [phase]))}
    fired = {"RedErrorBudgetBurn": 2, "RedRouteErrorBudgetBurn": 1}
    questions = [
        Question(85, "round(job_cluster_env:http_errors_per_request:ratio_rate5m, 1e-6)", {
            '{cluster="b",env="prod",job="shop"}': 0.05, '{cluster="b",env="test",job="shop"}': 0,
        }),
        Question(85, "round(job_cluster_env_route:http_requests:rate5m, 1e-6)", {
            f'{{cluster="b",env="{env}",job="shop",route="/"}}': 10 for env in ("prod", "test")
        }),
        Question(85, 'count by (alertname, cluster, env) (ALERTS{alertstate="firing"})', {
            f'{{alertname="{name}",cluster="b",env="prod"}}': count for name, count in fired.items()
        }),
    ]  # fmt: skip
    ask(BOTH, series, questions, tmp_path)


def test_one_that_nobody_sees_is_absent_while_the_other_is_there(tmp_path: Path) -> None:
    """And the text says which."""
    series = dict(instance(TEST, [Phase(30)]))
    expected = {
        "exp_labels": {"job": "shop", "cluster": "b", "env": "prod", "severity": "page"},
        "exp_annotations": {
            "summary": "shop b prod: no metrics",
            "description": "Prometheus has no metrics of any instance: it finds none, cannot scrape them, or they are "
            "named otherwise. All other alerts of this service are blind.",
            "runbook_url": "https://github.com/red-middleware/red-middleware/blob/main/docs/runbooks.md"
            "#redmetricsabsent",
        },
    }
    alert = {"eval_time": "20m", "alertname": "RedMetricsAbsent", "exp_alerts": [expected]}
    ask(BOTH, series, [], tmp_path, alerts=[alert])


def test_a_person_reads_which_service_burns(tmp_path: Path) -> None:
    """The worst route and the budget of that service, and not of the other one."""
    series = {
        **dict(route(PROD, "/pay", [Phase(90, requests=600, bad=30)])),
        **dict(route(TEST, "/cart", [Phase(90, requests=600, bad=60)])),
    }
    texts = {"prod": ("5%", "/pay"), "test": ("10%", "/cart")}
    expected = [
        {
            "exp_labels": {
                "job": "shop", "cluster": "b", "env": env, "severity": severity, "level": "service",
                "objective": "availability", "threshold": "0.999",
            },
            "exp_annotations": {
                "summary": f"shop b {env}: too many requests fail, 99.9% should succeed",
                "description": f"{share} of the requests missed the objective lately; at most 0.1% may. "
                f"The worst route now: {where}. 0% of the error budget of 30 days is left.",
                "runbook_url": "https://github.com/red-middleware/red-middleware/blob/main/docs/runbooks.md"
                "#rederrorbudgetburn",
            },
        }
        for env, (share, where) in texts.items()
        for severity in ("page", "ticket")
    ]  # fmt: skip
    alert = {"eval_time": "85m", "alertname": "RedErrorBudgetBurn", "exp_alerts": expected}
    ask(BOTH, series, [], tmp_path, alerts=[alert])


def test_every_rule_asks_for_one_service(tmp_path: Path) -> None:
    """By all of its labels, whatever their values; and what is added up keeps them."""
    check(BOTH, tmp_path)
    one = installation(target_labels={"env": 'a "b" {c}% $1\\ {{ \N{SHOPPING TROLLEY}'}, **OBJECTIVES)
    check([*rule_groups(one), *alert_groups(one)], tmp_path)
    for group in (*rule_groups(one), *alert_groups(one)):
        for rule in group["rules"]:
            for selector in selectors(rule["expr"]):
                assert {name for name, _ in selector.matchers} >= {"job", "env"}, rule
                assert all({"job", "env"} <= kept for kept in selector.groupings), rule


def test_the_dashboard_chooses_by_every_label() -> None:
    """It begins with the service that it is made for; a click on a route keeps the choice."""
    made = dashboard(PROD)
    variables = {variable["name"]: variable for variable in made["templating"]["list"]}
    assert list(variables)[:6] == ["datasource", "job", "cluster", "env", "instance", "route"]
    assert [variables[name]["current"]["value"] for name in ("job", "cluster", "env")] == [["shop"], ["b"], ["prod"]]
    assert variables["env"]["query"]["query"] == 'label_values(red_series{job=~"$job",cluster=~"$cluster"}, env)'
    assert variables["env"]["allValue"] == ".*"  # that of other services may lack the label
    for asked in queries(made):
        for selector in selectors(asked.expr):
            assert {("cluster", "b"), ("env", "prod")} <= selector.matchers, asked
    (address,) = re.findall(r'"url": "(/d/[^"]+)"', str(made).replace("'", '"'))
    assert "${cluster:queryparam}&${env:queryparam}" in address
    assert made["title"] == "RED of shop b prod"
    assert made["uid"] != dashboard(TEST)["uid"] != dashboard(installation())["uid"]


def test_files_are_the_same_in_whatever_order_labels_are_given() -> None:
    """Rules and dashboards are made by two commands, and must name the same series."""
    labels = {"env": "prod", "cluster": "b"}
    given, turned = (
        installation(target_labels=dict(pairs), **OBJECTIVES) for pairs in (labels, reversed([*labels.items()]))
    )
    assert rule_groups(given) == rule_groups(turned) == rule_groups(PROD)
    assert dashboard(given) == dashboard(turned)


@pytest.mark.parametrize(
    ("labels", "said", "options"),
    [
        ({"env": ""}, "must have a value", {}),
        ({"a-b": "c"}, "no target has a label of this name", {}),
        ({"__meta": "c"}, "no target has a label of this name", {}),
        ({"": "c"}, "no target has a label of this name", {}),
        ({"job": "c"}, "this name is taken", {}),
        ({"instance": "c"}, "this name is taken", {}),
        ({"severity": "c"}, "this name is taken", {}),
        ({"datasource": "c"}, "this name is taken", {}),
        ({"objective": "c"}, "this name is taken", {}),
        ({"method": "c"}, "the app itself exposes a label of this name", {}),
        ({"status": "c"}, "the app itself exposes a label of this name", {}),
        ({"close_code": "c"}, "the app itself exposes a label of this name", {}),
        ({"tenant": "c"}, "the app itself exposes a label of this name", {"labels": {"tenant": Label(max_values=2)}}),
        ({"http_route": "c"}, "the app itself exposes a label of this name", {"naming": "otel"}),
        ({"error_type": "c"}, "the app itself exposes a label of this name", {"naming": "otel"}),
    ],
)
def test_a_label_that_cannot_tell_services_apart_is_refused(
    labels: dict[str, str], said: str, options: dict[str, Any]
) -> None:
    """Prometheus would rename what the app exposes under the same name, and rules would find nothing."""
    with pytest.raises(ValueError, match=f"target label '{next(iter(labels))}': {said}"):
        installation(target_labels=labels, **options)
