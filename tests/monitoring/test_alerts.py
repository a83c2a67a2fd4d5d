"""Alerts: each fires for its reason, and for no other. promtool tells what fires after traffic that is written down."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from red_middleware.monitoring.alerts import NAMES, alert_groups
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import rule_groups

from .installations import OBJECTIVES, OPTIONS, installation
from .promtool import Question, ask, check
from .traffic import Phase, instance, route

SHOP: Final = installation(**OBJECTIVES)
RUNBOOKS: Final = Path(__file__).parents[2] / "docs" / "runbooks.md"

GOOD: Final = Phase(90, requests=600)
FAILING: Final = Phase(90, requests=600, bad=30)
"""A twentieth: fifty times what may fail."""

Series = dict[str, str]


class Scene(NamedTuple):
    """What happens, and which alerts fire at its end."""

    series: Series
    fires: Iterable[str]
    """Each as `RedOverflow`, or with its severity, level and objective: `RedErrorBudgetBurn page availability`."""
    minutes: float = 85


def shop(routes: Mapping[str, list[Phase]], *more: tuple[str, list[Phase]]) -> Series:
    """Return the series of instance `a`, whose health is that of the first route, and of routes of other instances."""
    first = next(iter(routes.values()))
    found = dict(instance(SHOP, first))
    for name, phases in routes.items():
        found |= route(SHOP, name, phases)
    for name, phases in more:
        found |= {**dict(instance(SHOP, phases, name)), **dict(route(SHOP, "/", phases, name))}
    return found


def with_own(family: str, values: str, shown: Series | None = None) -> Series:
    """Return a shop, by default a good one, that says something of itself, or of which Prometheus says something."""
    found = shown or shop({"/": [GOOD]})
    name = next(name for name in found if name.startswith(f"{family}{{"))
    return found | {name: values}


BURNS_ALL: Final = ("RedErrorBudgetBurn page availability", "RedErrorBudgetBurn ticket availability")
ROUTE_BURNS: Final = "RedRouteErrorBudgetBurn ticket availability"
UP, DOWN, STEADY = Phase(60, requests=600), Phase(3, is_up=False), Phase(123, requests=600)

SCENES: Final = {
    "all is well": Scene(shop({"/": [GOOD]}), ()),
    "a twentieth fails": Scene(shop({"/": [FAILING]}), (*BURNS_ALL, f"{ROUTE_BURNS} /")),
    "a quarter is slow": Scene(
        shop({"/": [Phase(90, requests=600, slow=150)]}),
        tuple(text.replace("availability", "latency") for text in (*BURNS_ALL, f"{ROUTE_BURNS} /")),
    ),
    "it failed, and is over: nobody is paged any more": Scene(
        shop({"/": [FAILING._replace(samples=20), GOOD._replace(samples=70)]}), (BURNS_ALL[1], f"{ROUTE_BURNS} /"), 89
    ),
    "few requests, of which some fail": Scene(
        shop({"/": [Phase(60, requests=1), Phase(5, requests=1, bad=1), Phase(25, requests=1)]}), (), 66
    ),
    "few requests, and all fail": Scene(
        shop({"/": [Phase(60, requests=1), Phase(30, requests=1, bad=1)]}), (*BURNS_ALL, f"{ROUTE_BURNS} /"), 88
    ),
    "no requests": Scene(shop({"/": [Phase(90)]}), ()),
    "one bad route of fifty": Scene(
        shop({f"/{n}": [Phase(90, requests=600, bad=18 if n == 7 else 0)] for n in range(50)}), (f"{ROUTE_BURNS} /7",)
    ),
    "a deploy restarts half of the instances": Scene(
        shop({"/": [UP, DOWN, UP]}, ("b", [UP, DOWN, UP]), ("c", [STEADY]), ("d", [STEADY])),
        (), 65,
    ),
    "counters begin anew while a twentieth fails": Scene(
        shop({"/": [FAILING._replace(samples=80), DOWN._replace(samples=1), FAILING._replace(samples=20)]}),
        (*BURNS_ALL, f"{ROUTE_BURNS} /"), 95,
    ),
    "one instance of two is down": Scene(
        shop({"/": [UP, DOWN._replace(samples=30)]}, ("b", [GOOD])), ("RedTargetDown",)
    ),
    "all instances are down": Scene(
        shop({"/": [UP, DOWN._replace(samples=30)]}), ("RedTargetDown", "RedMetricsAbsent")
    ),
    "Prometheus knows of no instance": Scene({'up{job="other"}': "1+0x90"}, ("RedMetricsAbsent",)),
    "an instance shows other names": Scene(
        {'up{job="shop",instance="a"}': "1+0x90", 'web_red_series{job="shop",instance="a"}': "9+0x90"},
        ("RedMetricsAbsent",),
    ),
    "requests overflow": Scene(with_own("red_overflow_requests_total", "0+0x60 0+1x30"), ("RedOverflow",)),
    "requests overflowed long ago": Scene(with_own("red_overflow_requests_total", "0+3x5 18+0x85"), ()),
    "nearly all label sets": Scene(with_own("red_unreserved_label_sets", "730+0x90"), ("RedLabelSetsNearLimit",)),
    "many label sets": Scene(with_own("red_unreserved_label_sets", "710+0x90"), ()),
    "routes reserved all label sets": Scene(
        with_own("red_unreserved_label_sets", "0+0x90", with_own("red_unreserved_label_sets_limit", "0+0x90")), ()
    ),
    "a fault": Scene(with_own("red_instrumentation_errors_total", "0+0x80 1+0x10"), ("RedInstrumentationFaults",)),
    "one worker of two is isolated": Scene(with_own("red_worker_isolated", "0 1 " * 45), ("RedWorkerIsolated",)),
    "a worker was isolated for some minutes": Scene(with_own("red_worker_isolated", "0+0x66 1+0x2 0+0x20"), ()),
    "slow scrapes": Scene(with_own("scrape_duration_seconds", "3+0x90"), ("RedScrapeSlow",)),
    "one slow scrape": Scene(with_own("scrape_duration_seconds", "0.05+0x75 9 0.05+0x14"), ()),
    "nearly too many samples": Scene(
        with_own("scrape_samples_post_metric_relabeling", f"{round(0.9 * SHOP.sample_limit)}+0x90"),
        ("RedScrapeNearSampleLimit",),
    ),
}  # fmt: skip


def firing(fires: Iterable[str]) -> dict[str, float]:
    """Return the series that Prometheus has of alerts, without what tells instances apart."""
    found = {}
    for text in fires:
        name, severity, objective, where = (*text.split(), *[""] * 3)[:4]
        labels = {"alertname": name}
        if objective:
            threshold = {"availability": "0.999", "latency": "0.3"}[objective]
            level = "route" if where else "service"
            labels |= {"severity": severity, "objective": objective, "threshold": threshold, "level": level}
            labels |= {"route": where} if where else {}
        written = ",".join(f'{label}="{value}"' for label, value in sorted({**labels, "job": "shop"}.items()))
        found[f"{{{written}}}"] = 1.0
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_what_happens_fires_its_alerts_and_no_other(scene: str, tmp_path: Path) -> None:
    """Once what it waits for is over, and while it lasts."""
    series, fires, minutes = SCENES[scene]
    labels = "alertname, job, severity, objective, threshold, level, route"
    burning = f'group by ({labels}) (ALERTS{{alertstate="firing",objective!=""}})'
    others = 'group by (alertname, job) (ALERTS{alertstate="firing",objective=""})'
    question = Question(minutes, f"{burning} or {others}", firing(fires))
    ask([*rule_groups(SHOP), *alert_groups(SHOP)], series, [question], tmp_path)


@pytest.mark.once
@pytest.mark.parametrize(("bad", "fires"), [(7, ("RedErrorBudgetBurn ticket availability",)), (1, ()), (14, BURNS_ALL)])
def test_a_slow_burn_is_a_ticket(bad: int, fires: tuple[str, ...], tmp_path: Path) -> None:
    """Of a thousand requests one may fail: 3.5 in a thousand for a day are a ticket, 7 for six hours are a page."""
    series = shop({"/": [Phase(800, requests=2000, bad=bad)]})
    asked = (
        'group by (alertname, job, severity, objective, threshold, level) (ALERTS{alertstate="firing",level="service"})'
    )
    ask(
        [*rule_groups(SHOP), *alert_groups(SHOP)],
        series,
        [Question(2 * 799, asked, firing(fires))],
        tmp_path,
        interval="2m",
    )


def test_every_alert_fires_somewhere() -> None:
    """None is in the files of which no scene shows that it can fire."""
    names = {alert["alert"] for group in alert_groups(SHOP) for alert in group["rules"]}
    assert names == {text.split()[0] for scene in SCENES.values() for text in scene.fires} == set(NAMES)


def test_what_alerts_read_as_it_is_never_gets_too_old() -> None:
    """Prometheus looks back for five minutes. What is evaluated as rarely as that is read over a window only."""
    rarely = {
        rule["record"] for group in rule_groups(SHOP) if group.get("interval", "1m") == "5m" for rule in group["rules"]
    }
    assert rarely
    for group in [*rule_groups(SHOP), *alert_groups(SHOP)]:
        for rule in group["rules"]:
            for name, behind in re.findall(r"([a-z_]+:\w+:\w+)\{[^}]*\}(\[|)", rule["expr"]):
                assert name not in rarely or behind == "[", rule


def test_a_new_objective_is_no_page(tmp_path: Path) -> None:
    """Bad requests of a busy hour are not compared with those of the quiet night before the objective was there.

    0.3 % of the requests of the last ten minutes failed, for which a page would need 0.6 % of half an hour.
    """
    series = shop({"/": [Phase(330, requests=10), Phase(20, requests=10000, bad=30)]})
    rules = rule_groups(SHOP)
    for rule in (rule for group in rules for rule in group["rules"] if rule["record"].endswith("red_slo_bad:rate5m")):
        rule["expr"] = f"({rule['expr']}) and on () vector(time()) > 330 * 60"
    question = Question(341, 'count(ALERTS{severity="page"})', {})
    ask([*rules, *alert_groups(SHOP)], series, [question], tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_prometheus_takes_the_alerts_of_every_option(name: str, tmp_path: Path) -> None:
    """Together with the rules that they need."""
    one = installation(name, **OPTIONS[name])
    check([*rule_groups(one), *alert_groups(one)], tmp_path)


def test_an_alert_reads_what_is_recorded(tmp_path: Path) -> None:
    """Of the recorded series that alerts ask for, no one is missing, whatever the options."""
    for name, options in OPTIONS.items():
        one = installation(name, **options)
        recorded = {rule["record"] for group in rule_groups(one) for rule in group["rules"]}
        asked = {
            found
            for group in alert_groups(one)
            for alert in group["rules"]
            for found in re.findall(r"[a-z_]+:\w+:\w+", alert["expr"] + alert["annotations"]["description"])
        }
        assert asked <= recorded, name
        assert bool(asked) is bool(one.objectives)


def test_a_person_reads_what_is_wrong_and_what_is_left(tmp_path: Path) -> None:
    """The text of a page and of a ticket, with the route and the budget in it."""
    missed, budget = (
        "5% of the requests missed the objective lately; at most 0.1% may.",
        "0% of the error budget of 30 days is left.",
    )
    summary, where = "shop: too many requests fail, 99.9% should succeed", '/"50%"'
    worst = f"{missed} The worst route now: {where}. {budget}"
    alerts = [
        expected("RedErrorBudgetBurn", "page", summary, worst),
        expected("RedErrorBudgetBurn", "ticket", summary, worst),
        expected("RedRouteErrorBudgetBurn", "ticket", f"{where} of {summary}", f"{missed} {budget}", route=where),
    ]
    by_name = [
        {"eval_time": "85m", "alertname": name, "exp_alerts": [alert for found, alert in alerts if found == name]}
        for name in dict(alerts)
    ]
    ask([*rule_groups(SHOP), *alert_groups(SHOP)], shop({r"/\"50%\"": [FAILING]}), [], tmp_path, alerts=by_name)


def test_a_ticket_of_what_is_over_names_no_route(tmp_path: Path) -> None:
    """In the last minutes none had more bad requests than another one. A page is of the last minutes, and names one."""
    (page,) = (
        alert["annotations"]["description"]
        for group in alert_groups(SHOP)
        for alert in group["rules"]
        if alert["labels"]
        == {"severity": "page", "level": "service", "objective": "availability", "threshold": "0.999"}
    )
    worst: str = json.loads(re.findall(r'with query ("(?:[^"\\]|\\.)*")', page)[0])
    series = shop({"/": [FAILING._replace(samples=20), GOOD._replace(samples=70)]})
    questions = [Question(15, f"count({worst})", {"{}": 1}), Question(89, worst, {})]
    ask(rule_groups(SHOP), series, questions, tmp_path)


@pytest.mark.parametrize(
    ("family", "values", "name", "summary", "description"),
    [
        (
            "red_overflow_requests_total", "0+0x60 0+7x30", "RedOverflow", "requests count under the route _overflow",
            "Requests of the last hour that found no free row: 168. Their totals are right, their route is unknown.",
        ),
        (
            "red_instrumentation_errors_total", "0+0x80 1+0x10", "RedInstrumentationFaults",
            "faults of the instrumentation",
            "Faults in the last hour: 1. Responses were not harmed; the log says what failed.",
        ),
        (
            "red_worker_isolated", "1+0x90", "RedWorkerIsolated", "a worker shares no numbers",
            "Instances of which a worker tells of its own requests only: 1. Their rates are wrong.",
        ),
    ],
)  # fmt: skip
def test_what_is_counted_is_a_whole_number(
    family: str, values: str, name: str, summary: str, description: str, tmp_path: Path
) -> None:
    """Though `increase` says 1.017 of one fault."""
    runbook = f"https://github.com/red-middleware/red-middleware/blob/main/docs/runbooks.md#{name.lower()}"
    said = {"summary": f"shop: {summary}", "description": description, "runbook_url": runbook}
    expected = {"exp_labels": {"job": "shop", "severity": "ticket"}, "exp_annotations": said}
    alert = {"eval_time": "85m", "alertname": name, "exp_alerts": [expected]}
    ask(alert_groups(SHOP), with_own(family, values), [], tmp_path, alerts=[alert])


def expected(name: str, severity: str, summary: str, description: str, **labels: str) -> tuple[str, dict[str, Any]]:
    """Return an alert on availability as promtool wants it."""
    level = "route" if labels else "service"
    objective = {"objective": "availability", "threshold": "0.999", "level": level}
    runbook = f"https://github.com/red-middleware/red-middleware/blob/main/docs/runbooks.md#{name.lower()}"
    return name, {
        "exp_labels": {"job": "shop", "severity": severity, **objective, **labels},
        "exp_annotations": {"summary": summary, "description": description, "runbook_url": runbook},
    }


def test_every_alert_has_a_runbook() -> None:
    """A heading of the page, whose anchor is what the annotation links to; and the page has no other."""
    headings = {heading.lower() for heading in re.findall(r"^## (Red\w+)$", RUNBOOKS.read_text(), re.MULTILINE)}
    linked = {
        alert["annotations"]["runbook_url"].rpartition("#")[2]
        for group in alert_groups(SHOP)
        for alert in group["rules"]
    }
    assert headings == linked


def test_another_job_has_other_alerts() -> None:
    """Every selector of every rule and alert asks for one job only, whatever its name."""
    one = Installation('web "1"\\', SHOP.options)
    for group in [*rule_groups(one), *alert_groups(one)]:
        for rule in group["rules"]:
            selectors = re.findall(r"\{[^}]*\}", rule["expr"])
            assert selectors
            assert all('job="web \\"1\\"\\\\"' in selector for selector in selectors), rule
