"""Recording rules: each says what a person would work out by hand, for the service and for each route."""

import re
from pathlib import Path
from typing import Any

import pytest

from red_middleware.exposition import Request, answer
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.dashboard import dashboard
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import apdex_bounds, rule_groups

from ..drive import count
from .installations import OBJECTIVES, OPTIONS, installation, metrics
from .promql import selectors
from .promtool import Question, ask, check
from .queries import queries
from .traffic import Phase, route

AVAILABILITY = '{objective="availability",threshold="0.999"}'
LATENCY = '{objective="latency",threshold="0.3"}'


@pytest.mark.parametrize("name", OPTIONS)
def test_prometheus_takes_the_rules_of_every_option(name: str, tmp_path: Path) -> None:
    """Its linter finds nothing either."""
    check(rule_groups(installation(name, **OPTIONS[name])), tmp_path)


def test_rates_add_up_over_instances_and_routes(tmp_path: Path) -> None:
    """Two instances with two routes; a tenth of the requests of one fail, and a fifth of them take 2 s."""
    expected = {
        "http_requests:rate5m": (2.0, 1.0, 3.0),
        "http_errors:rate5m": (0.2, 0.0, 0.2),
        "http_errors_per_request:ratio_rate5m": (0.1, 0.0, 0.066667),
        "http_request_duration_seconds_sum:rate5m": (0.96, 0.1, 1.06),
        "http_request_duration_seconds:mean5m": (0.48, 0.1, 0.353333),
        "http_request_duration_seconds:p50_rate5m": (0.090625, 0.0875, 0.089423),
        "http_request_duration_seconds:p95_rate5m": (2.125, 0.09875, 1.9375),
        "http_request_duration_seconds:p99_rate5m": (2.425, 0.09975, 2.3875),
        "http_request_duration_seconds:apdex_rate5m": (0.8, 1.0, 0.866667),
        f"red_slo_bad:rate5m{AVAILABILITY}": (0.2, 0.0, 0.2),
        f"red_slo_bad:rate5m{LATENCY}": (0.4, 0.0, 0.4),
        f"red_slo_bad_per_request:ratio_rate5m{AVAILABILITY}": (0.1, 0.0, 0.066667),
        f"red_slo_bad_per_request:ratio_rate5m{LATENCY}": (0.2, 0.0, 0.133333),
        "http_requests:rate30m": (2.0, 1.0, 3.0),
        f"red_slo_bad:rate30m{AVAILABILITY}": (0.2, 0.0, 0.2),
        f"red_slo_bad_per_request:ratio_rate30m{LATENCY}": (0.2, 0.0, 0.133333),
    }
    shop = installation(**OBJECTIVES)
    calm, busy = [Phase(61, requests=30)], [Phase(61, requests=60, bad=6, slow=12)]
    series = {
        name: values
        for where in "ab"
        for found in (route(shop, "/calm", calm, where), route(shop, "/busy", busy, where))
        for name, values in found
    }
    questions = [question for what, values in expected.items() for question in asked(60, what, *values)]
    questions.append(
        Question(30, 'round(job_le:http_request_duration_seconds_bucket:rate5m{le=~"0.3|2.5"}, 1e-6)', {
            '{job="shop",le="0.3"}': 2.6, '{job="shop",le="2.5"}': 3.0,
        })
    )  # fmt: skip
    ask(rule_groups(shop), series, questions, tmp_path)


@pytest.mark.once
def test_a_window_is_the_share_of_its_requests_and_no_mean_of_shares(tmp_path: Path) -> None:
    """Busy half hours in which nothing fails, quiet ones in which a twentieth does: 5 of 1000, which is 5 budgets.

    Both shares are rounded: a rate over five minutes remembers five minutes from before a window.
    """
    shop = installation(**OBJECTIVES)
    phases = [phase for _ in range(26) for phase in (Phase(15, requests=900), Phase(15, requests=100, bad=5))]
    windows = ("1h", "2h", "6h", "1d", "3d", "30d")
    questions = [
        question
        for window in windows
        for question in asked(26 * 60 - 2, f"red_slo_bad_per_request:ratio_rate{window}{AVAILABILITY}", 0.005, digits=3)
    ]
    questions += asked(26 * 60 - 2, f"red_slo_budget:left30d{AVAILABILITY}", -4.0, digits=0)
    questions += asked(26 * 60 - 2, f"red_slo_budget:left30d{LATENCY}", 1.0, digits=0)
    ask(rule_groups(shop), dict(route(shop, "/busy", phases)), questions, tmp_path, interval="2m")


def test_a_restart_is_no_traffic_and_no_loss(tmp_path: Path) -> None:
    """A counter that begins anew adds what it counted since, and takes nothing away."""
    shop = installation(**OBJECTIVES)
    before, down, after = Phase(20, requests=60), Phase(1, is_up=False), Phase(20, requests=60)
    series = {
        **dict(route(shop, "/busy", [before, down, after], "a")),
        **dict(route(shop, "/busy", [Phase(41, requests=60)], "b")),
    }
    lowest = "min_over_time(job:http_requests:rate5m[30m]) > bool 1.4"
    highest = "max_over_time(job:http_requests:rate5m[30m]) > bool 2.01"
    questions = [Question(40, lowest, {'{job="shop"}': 1}), Question(40, highest, {'{job="shop"}': 0})]
    ask(rule_groups(shop), series, questions, tmp_path)


def test_without_traffic_nothing_is_said_of_shares(tmp_path: Path) -> None:
    """No ratio is zero, or one, where there were no requests: it is NaN, which no alert exceeds."""
    shop = installation(**OBJECTIVES)
    ratio = "job:red_slo_bad_per_request:ratio_rate1h"
    questions = [Question(80, f"{ratio} >= 0", {}), Question(80, f"count({ratio})", {"{}": 2})]
    ask(rule_groups(shop), dict(route(shop, "/idle", [Phase(90)])), questions, tmp_path)


def test_failures_of_opentelemetrys_names_are_those_with_an_error_type(tmp_path: Path) -> None:
    """Where nothing has failed yet there is no such series, and the rate is zero all the same."""
    shop = installation(**OBJECTIVES, naming="otel")
    count = 'http_server_request_duration_seconds_count{job="shop",http_request_method="GET",http_route='
    bucket = count.replace("_count", "_bucket").replace("{", '{le="0.3",')
    series = {
        f'{count}"/busy"}}': "0+57x30", f'{count}"/busy",error_type="500"}}': "0+3x30", f'{count}"/calm"}}': "0+60x30",
        f'{bucket}"/busy"}}': "0+57x30", f'{bucket}"/busy",error_type="500"}}': "0+3x30",
    }  # fmt: skip
    questions = [
        Question(30, "round(job_http_route:http_errors:rate5m, 1e-6)", {
            '{http_route="/busy",job="shop"}': 0.05, '{http_route="/calm",job="shop"}': 0,
        }),
        Question(30, "round(job:http_errors_per_request:ratio_rate5m, 1e-6)", {'{job="shop"}': 0.025}),
        Question(30, f"round(job_http_route:red_slo_bad:rate5m{LATENCY}, 1e-6)", {
            '{http_route="/busy",job="shop",objective="latency",threshold="0.3"}': 0,
        }),
    ]  # fmt: skip
    ask(rule_groups(shop), series, questions, tmp_path)


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({}, (0.25, 1.0)),
        ({"slo_seconds": [0.02]}, (0.025, 0.1)),
        ({"slo_seconds": [0.3, 1.2]}, (0.3, 1.2)),
        ({"buckets": [0.1, 1, 10]}, None),
        ({"buckets": [0.1, 0.4]}, (0.1, 0.4)),
    ],
)
def test_apdex_begins_where_two_buckets_allow_it(options: dict[str, Any], bounds: tuple[float, float] | None) -> None:
    """Near the first objective; without two bounds of which one is four times the other nothing is recorded."""
    shop = installation(**options)
    assert apdex_bounds(shop) == bounds
    names = [rule["record"] for group in rule_groups(shop) for rule in group["rules"]]
    assert any("apdex" in name for name in names) is (bounds is not None)


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
def test_an_objective_is_spelled_as_it_is_exposed(accept: str) -> None:
    """Whole seconds, parts of one, and the very long: what `le` says in a rule is what it says at the endpoint."""
    shop = metrics(slo_seconds=[1e-05, 0.3, 1, 2, 60, 1_000_000, 1e7])
    count(shop)
    exposed = answer(shop, Request(headers={"accept": accept})).body.decode()
    rules = rule_groups(Installation("shop", recorder_of(shop).options))
    asked_for = set(re.findall('le="[^"]+"', str(rules)))
    assert len(asked_for) >= len(shop.slo_seconds)
    assert asked_for <= set(re.findall('le="[^"]+"', exposed))


def test_the_table_shows_no_quotient_of_zeros(tmp_path: Path) -> None:
    """Of a route that nobody asks for, or that is known since the last scrape only."""
    shop = installation(**OBJECTIVES)
    exprs = [asked.expr for asked in queries(dashboard(shop)) if asked.panel == "What hurts"]
    questions = [Question(20, f"({expr}) != ({expr})", {}) for expr in exprs]  # NaN is not equal to itself
    questions.append(Question(20, "count(job_route:red_slo_budget:left30d)", {"{}": 2}))
    ask(rule_groups(shop), dict(route(shop, "/idle", [Phase(30)])), questions, tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_a_rule_reads_was_recorded_at_one_moment(name: str) -> None:
    """Prometheus evaluates each group at a moment of its own, so a rule that reads two of them compares two moments.

    A real one said that 100.9 % of the requests were slow.
    """
    groups = rule_groups(installation(name, **OPTIONS[name]))
    recorded_by = {rule["record"]: group["name"] for group in groups for rule in group["rules"]}
    for group in groups:
        for rule in group["rules"]:
            read = {recorded_by[one.name] for one in selectors(rule["expr"]) if one.name in recorded_by}
            assert len(read) <= 1, rule


def test_every_rule_is_asked_for_its_value() -> None:
    """No rule is in the files that none of these tests evaluates by hand."""
    asked_for = Path(__file__).read_text()
    for group in rule_groups(installation(**OBJECTIVES)):
        for rule in group["rules"]:
            _, metric, operations = rule["record"].split(":")
            window = operations.removeprefix("ratio_rate")
            assert f"{metric}:{operations}" in asked_for or f'"{window}"' in asked_for, rule["record"]


def asked(minutes: float, what: str, *values: float, digits: int = 6) -> list[Question]:
    """Return questions for what is recorded of the busy route, of the calm one if it is there, and of the service."""
    matchers = what.partition("{")[2]
    given = f"{matchers.removesuffix('}')}," if matchers else ""
    of_routes = {
        f'{{job="shop",{given}route="{name}"}}': value for name, value in zip(("/busy", "/calm"), values, strict=False)
    }
    of_service = {f'{{{given}job="shop"}}': values[-1]}
    return [
        Question(minutes, f"round(job_route:{what}, 1e-{digits})", of_routes),
        Question(minutes, f"round(job:{what}, 1e-{digits})", of_service),
    ]
