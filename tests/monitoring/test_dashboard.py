"""The dashboard follows the options, and keeps the rules of Grafana's linter, github.com/grafana/dashboard-linter."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from red_middleware import Label
from red_middleware.families import Family
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.alerts import RUNBOOKS, alert_groups
from red_middleware.monitoring.dashboard import dashboard, identity
from red_middleware.monitoring.dashboard.business import MOST_PANELS
from red_middleware.monitoring.installation import Installation, OwnMetric
from red_middleware.monitoring.rules import rule_groups
from red_middleware.settings import DEFAULT_BUCKETS

from ..counts import fresh_metrics
from ..e2e import ROOT
from .promql import selectors
from .queries import Dashboard, every_panel, queries
from .showing import ASKED, JOB, OWN, installation_of, shown

UNITS: Final = {"none", "short", "percentunit", "s", "bytes", "Bps", "cps", "reqps"}
"""Those in use, of Grafana's `valueFormats/categories.ts`."""

OF_PROMETHEUS: Final = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "job"}}
"""What Prometheus makes itself, with the labels that are asked for."""

TOLD_BY_SERVERS: Final = "red_workers_capacity"
"""What is shown only where the server tells it, and no server runs here."""


@pytest.fixture(scope="module", params=ASKED)
def installation(request: pytest.FixtureRequest) -> Installation:
    return installation_of(fresh_metrics(**ASKED[request.param]))


@pytest.fixture(scope="module")
def made(installation: Installation) -> Dashboard:
    return dashboard(installation)


def panel_of(made: Dashboard, title: str) -> dict[str, Any]:
    """Return the panel of a title."""
    return next(panel for panel in every_panel(made) if panel["title"] == title)


def titles(made: Dashboard) -> list[str]:
    return [panel["title"] for panel in every_panel(made)]


def variables(made: Dashboard) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in made["templating"]["list"]}


def test_every_panel_says_what_it_is_and_what_to_do(made: Dashboard) -> None:
    """Title, description, unit and data source; no title comes twice."""
    for panel in every_panel(made):
        assert panel["title"]
        assert panel["description"].endswith(".")
        if panel["type"] == "text":
            assert panel["options"]["content"]
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len(set(titles(made))) == len(titles(made))


def test_variables_choose_what_is_shown(made: Dashboard) -> None:
    """Data source, job, instance and route; the job is at first the installation's own, everything else is all."""
    found = variables(made)
    assert list(found)[:4] == ["datasource", "job", "instance", "route"]
    assert (found["datasource"]["type"], found["datasource"]["query"]) == ("datasource", "prometheus")
    assert [found[name]["label"] for name in ("datasource", "job", "instance")] == ["Data source", "Job", "Instance"]
    assert found["job"]["current"]["value"] == [JOB]
    for name, variable in found.items():
        assert variable["label"]
        if name != "datasource":
            assert variable["type"] == "query"
            assert variable["datasource"]["uid"] == "${datasource}"
            assert variable["multi"]
            assert variable["includeAll"]
            assert variable["refresh"] == 2  # whenever the time changes
            assert variable["allValue"] == (".+" if name in {"job", "instance"} else ".*")
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match
            assert selectors(match[1])


def test_without_a_job_it_begins_with_all() -> None:
    """One dashboard can show every app with the same options."""
    made = dashboard(installation_of(fresh_metrics(), job=""))
    assert made["title"] == "RED"
    assert variables(made)["job"]["current"]["value"] == ["$__all"]


def test_each_label_of_the_users_own_has_a_variable() -> None:
    """Those that all of requests, errors and durations show; a ratio whose parts are filtered differently is wrong."""
    plain = {"datasource", "job", "instance", "route"}
    found = variables(dashboard(installation_of(fresh_metrics(**ASKED["every_label"])))).keys() - plain
    assert found == {"tenant", "plan", "agent", "version"}  # `cache` is shown by disconnects only
    partial = variables(dashboard(installation_of(fresh_metrics(**ASKED["label_of_durations"]))))
    assert partial.keys() == plain
    taken = fresh_metrics(labels={"datasource": Label(constant="east")})
    assert variables(dashboard(installation_of(taken))).keys() == plain


def test_every_query_parses(made: Dashboard) -> None:
    """By a PromQL parser, with macros and variables filled in as Grafana does."""
    for asked in queries(made):
        assert "$" not in asked.expr
        assert selectors(asked.expr), asked


def test_every_query_can_be_filtered(made: Dashboard) -> None:
    """By job everywhere; by instance as well, but where the instances are added up already."""
    for asked in queries(made):
        for selector in selectors(asked.expr):
            names = {name for name, _ in selector.matchers}
            assert ("job", re.escape(JOB)) in selector.matchers, asked
            is_recorded = ":" in selector.name or selector.name == "ALERTS"
            assert ("instance" in names) is not is_recorded, asked


def test_rates_follow_the_scrape_interval(made: Dashboard) -> None:
    """A counter is in `rate` over `$__rate_interval`, in a table in `increase` over `$__range`; a gauge is not."""
    for asked in queries(made, {"$__rate_interval": "61s", "$__range": "62s"}):
        for selector in selectors(asked.expr):
            is_counter = selector.name.endswith(("_total", "_count", "_sum", "_bucket"))
            assert is_counter is (selector.window_seconds is not None), asked
            if is_counter:
                expected = ("increase", 62) if asked.is_instant else ("rate", 61)
                assert (selector.functions[-1], selector.window_seconds) == expected, asked


def test_legends_name_labels_that_are_left(made: Dashboard) -> None:
    """Each label of a legend is one by which the query groups."""
    for asked in queries(made):
        for label in re.findall(r"{{(\w+)}}", asked.legend):
            for selector in selectors(asked.expr):
                assert label in selector.groupings[0], asked
        assert len(asked.legend) < 40


def test_several_queries_of_a_panel_can_be_told_apart(made: Dashboard) -> None:
    """By their reference, and by their legend, unless it names labels that differ."""
    for panel in every_panel(made):
        targets = panel.get("targets", ())
        assert len({target["refId"] for target in targets}) == len(targets)
        legends = [target["legendFormat"] for target in targets]
        plain = [legend for legend in legends if "{{" not in legend and legend != "__auto"]
        assert len(set(plain)) == len(plain)


def test_panels_lie_side_by_side(made: Dashboard) -> None:
    """Every number is there once, nothing overlaps or leaves the width, and each row fills its first line."""
    rows = [panel for panel in made["panels"] if panel["type"] == "row"]
    numbers = [panel["id"] for panel in (*rows, *every_panel(made))]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for group in (made["panels"], *(row["panels"] for row in rows)):
        places = [panel["gridPos"] for panel in group]
        for place in places:
            assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        for one, other in combinations(places, 2):
            is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            is_below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert is_beside or is_below
    filled = {line for panel in made["panels"] for line in range(panel["gridPos"]["y"], _bottom(panel))}
    assert filled == set(range(max(map(_bottom, made["panels"]))))
    for row in rows:
        widths: defaultdict[int, int] = defaultdict(int)
        for panel in row["panels"] or made["panels"]:
            widths[panel["gridPos"]["y"]] += panel["gridPos"]["w"]
        assert widths[row["gridPos"]["y"] + 1] == 24, row["title"]


def _bottom(panel: Mapping[str, Any]) -> int:
    bottom: int = panel["gridPos"]["y"] + panel["gridPos"]["h"]
    return bottom


def test_what_the_queries_name_is_exposed_or_recorded(installation: Installation, made: Dashboard) -> None:
    """Families by the options in use; recorded series by the rules of the same installation; the app's own metrics."""
    exposed = {name for family in installation.families for name in family.names(installation.name(family.name))}
    recorded = {rule["record"] for group in rule_groups(installation) for rule in group["rules"]}
    own = {metric.name + end for metric in OWN for end in ("", "_bucket", "_sum", "_count")}
    for asked in queries(made):
        for selector in selectors(asked.expr):
            assert selector.name in exposed | recorded | own | OF_PROMETHEUS.keys(), asked


@pytest.mark.parametrize("name", ASKED)
def test_the_labels_that_the_queries_name_are_there(name: str) -> None:
    """Each label of a matcher or a grouping is one that the series have, as an app with these options shows them."""
    metrics = shown(ASKED[name])
    installation = installation_of(metrics)
    labels = exposed_labels(metrics.snapshot())
    labels |= {rule["record"]: recorded_labels(rule) for group in rule_groups(installation) for rule in group["rules"]}
    labels |= {name: {*found, "job", "instance"} for name, found in labels.items() if ":" not in name}
    labels |= OF_PROMETHEUS
    own = {metric.name for metric in OWN}
    for asked in queries(dashboard(installation)):
        for selector in selectors(asked.expr):
            named = {label for label, _ in selector.matchers}.union(*selector.groupings)
            if selector.name.endswith(TOLD_BY_SERVERS) or any(selector.name.startswith(one) for one in own):
                assert named == {"job", "instance"}
            else:
                assert named <= labels[selector.name], asked


def exposed_labels(samples: Iterable[str]) -> dict[str, set[str]]:
    """Return the labels of each name, of series as the endpoint shows them."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text in samples:
        name, _, labels = text.partition("{")
        found[name].update(re.findall(r'(\w+)="', labels))
    return dict(found)


def recorded_labels(rule: Mapping[str, Any]) -> set[str]:
    """Return the labels of a recorded series: its name begins with them, and those of objectives have two more."""
    level = rule["record"].partition(":")[0]
    of_objectives = {"objective", "threshold"} if "red_slo" in rule["record"] else set()
    return {"job", *of_objectives, level.removeprefix("job").removeprefix("_")} - {""}


def test_every_family_of_requests_and_of_the_middleware_has_a_panel(
    installation: Installation, made: Dashboard
) -> None:
    """What an option adds is shown. Left out is what others say as well."""
    asked = {selector.name for one in queries(made) for selector in selectors(one.expr)}

    def is_asked(family: Family) -> bool:
        return bool(asked & family.names(installation.name(family.name)))

    left_out = {family.name for family in installation.families if not is_asked(family)}
    assert left_out <= {"uptime_seconds_total", "red_slo_info", "red_slo_ratio"}


def test_panels_link_to_runbooks_of_alerts_that_there_are(installation: Installation, made: Dashboard) -> None:
    """Only alerts of the same installation, but for those of objectives, where there are none yet."""
    alerts = {rule["alert"] for group in alert_groups(installation) for rule in group["rules"]}
    linked = {link["url"] for panel in every_panel(made) for link in panel.get("links", ())}
    urls = {f"{RUNBOOKS}#{alert.lower()}" for alert in alerts}
    of_objectives = {f"{RUNBOOKS}#{name}" for name in ("rederrorbudgetburn", "redrouteerrorbudgetburn")}
    assert linked <= urls | of_objectives
    assert urls <= linked


def test_objectives_decide_what_is_shown_of_budgets() -> None:
    """With some, the budget and the speed of its spending, for each; without any, how to set one."""
    without = dashboard(installation_of(fresh_metrics()))
    assert "slo_availability" in panel_of(without, "Objectives")["options"]["content"]
    assert panel_of(without, "What hurts")["options"]["sortBy"][0]["displayName"] == "Time spent"
    with_some = dashboard(installation_of(fresh_metrics(**ASKED["several_objectives"])))
    assert "Objectives" not in titles(with_some)
    assert (
        "99.9 % of requests do not fail and 95 % of requests take at most 0.3 s"
        in (panel_of(with_some, "Error budget left of 30d")["description"])
    )
    assert len(panel_of(with_some, "Speed at which the error budget is spent")["targets"]) == 3
    assert panel_of(with_some, "What hurts")["options"]["sortBy"][0]["displayName"] == "Budget burnt"
    errors, duration = (
        panel_of(with_some, title)["fieldConfig"]["defaults"]["thresholds"]["steps"]
        for title in ("Errors", "p95 duration")
    )
    assert [step["value"] for step in errors] == [None, 0.001, 0.005]
    assert [step["value"] for step in duration] == [None, 0.3, 2.0]


def test_apdex_needs_two_buckets_that_can_tell_it() -> None:
    """One at four times the seconds of the other; else the mean stands there."""
    found = panel_of(dashboard(installation_of(fresh_metrics(buckets=(0.1, 0.25, 1.0)))), "Apdex")
    assert 'le="0.25"' in found["targets"][0]["expr"]
    assert 'le="1.0"' in found["targets"][0]["expr"]
    assert "at most 0.25 s" in found["description"]
    assert "Mean duration" in titles(dashboard(installation_of(fresh_metrics(buckets=(0.1, 0.25)))))


@pytest.mark.parametrize(
    ("name", "operator", "unit"),
    [
        ("stock", "sum", "short"),
        ("cache_hit_ratio", "avg", "percentunit"),
        ("last_import_timestamp_seconds", "1000 * max", "dateTimeFromNow"),
        ("oldest_order_seconds", "sum", "s"),
    ],
)
def test_a_gauge_of_several_instances_is_one_that_makes_sense(name: str, operator: str, unit: str) -> None:
    """Shares and dates are not added up."""
    own = (OwnMetric(name, "gauge", "What it says."),)
    panel = dashboard(installation_of(fresh_metrics(), own=own))["panels"][1]
    assert panel["targets"][0]["expr"].startswith(f"{operator} without (instance, pod, pid) ({name}{{")
    assert panel["fieldConfig"]["defaults"]["unit"] == unit


@pytest.mark.parametrize(
    ("name", "unit"), [("orders_total", "cps"), ("received_bytes_total", "Bps"), ("busy_seconds_total", "none")]
)
def test_a_counter_has_its_unit_per_second(name: str, unit: str) -> None:
    """Seconds per second are a plain number."""
    own = (OwnMetric(name, "counter", "What it counts."),)
    panel = dashboard(installation_of(fresh_metrics(), own=own))["panels"][1]
    assert panel["fieldConfig"]["defaults"]["unit"] == unit


def test_the_apps_own_metrics_come_first() -> None:
    """Each by its type, with all of its labels; beyond some, the others are named."""
    made = dashboard(installation_of(fresh_metrics()))
    assert made["panels"][0]["title"] == "Business"
    assert titles(made)[: len(OWN)] == [metric.name for metric in OWN]
    units = [panel_of(made, metric.name)["fieldConfig"]["defaults"]["unit"] for metric in OWN]
    assert units == ["cps", "Bps", "short", "s", "bytes"]
    more = tuple(OwnMetric(f"shop_{n}_total", "counter", f"Number {n}.") for n in range(MOST_PANELS + 2))
    many = dashboard(installation_of(fresh_metrics(), own=more))
    assert sum(title.startswith("shop_") for title in titles(many)) == MOST_PANELS
    content = panel_of(many, "More metrics of the application")["options"]["content"]
    assert re.findall("shop_[0-9]+_total", content) == ["shop_12_total", "shop_13_total"]
    assert dashboard(installation_of(fresh_metrics(), own=()))["panels"][0]["title"] == "Service"


def test_a_click_on_a_route_shows_it_alone(made: Dashboard) -> None:
    """The link leads to this dashboard, and keeps what is chosen beside the route."""
    (address,) = re.findall(r'"url": "(/d/[^"]+)"', json.dumps(panel_of(made, "What hurts")))
    assert address.startswith(f"/d/{made['uid']}?var-route=${{__value.raw:percentencode}}&")
    for name in variables(made).keys() - {"route"}:
        assert f"${{{name}:queryparam}}" in address


def test_the_picture_in_the_docs_shows_what_is_made_today() -> None:
    """Its panels are those of the first rows, for an app with objectives as the example has them."""
    texts = [element.text for element in ElementTree.parse(ROOT / "docs/dashboard.svg").iter()]
    installation = installation_of(
        fresh_metrics(buckets=DEFAULT_BUCKETS, slo_availability=0.999, slo_seconds=[0.3]), own=OWN[:1]
    )
    first_rows: list[dict[str, Any]] = []
    for panel in dashboard(installation)["panels"]:
        if panel["title"] == "Answers":
            break
        first_rows.append(panel)
    assert len(first_rows) == 22
    missing = [panel["title"] for panel in first_rows if panel["type"] != "row" and panel["title"] not in texts]
    assert missing == []


def test_it_can_be_kept_under_version_control(installation: Installation, made: Dashboard) -> None:
    """It is JSON, the same each time, with no number that a Grafana has given."""
    assert json.dumps(made) == json.dumps(dashboard(installation))
    assert "id" not in made
    assert made["editable"] is False


@pytest.mark.parametrize(
    ("job", "uid"),
    [
        ("", "red"),
        ("shop", "red-shop"),
        ("my-shop-2", "red-my-shop-2"),
        ("my shop", "red-my-shop-21e02318"),
        ("Laden für Tee", "red-laden-f-r-tee-e1b56dda"),
        ("x" * 60, f"red-{'x' * 27}-42f2d973"),
    ],
)
def test_its_identity_is_that_of_the_job(job: str, uid: str) -> None:
    """Short and plain, as Grafana has it; jobs that would be written the same are told apart."""
    assert identity(job) == uid
    assert re.fullmatch("[a-z0-9-]{1,40}", uid)


def test_a_dashboard_of_a_live_app_is_that_of_its_options() -> None:
    """Nothing but the options decides, not what has been counted."""
    options = ASKED["every"]
    assert dashboard(installation_of(shown(options))) == dashboard(installation_of(fresh_metrics(**options)))
    assert recorder_of(shown(options)).options.namespace == ""
