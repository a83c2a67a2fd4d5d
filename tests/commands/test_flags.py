"""Flags stand for the options of `RedMetrics`: the same files come of both, and of the environment as in the app."""

import json
import subprocess
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from red_middleware import Label, RedMetrics
from red_middleware.__main__ import main
from red_middleware.commands.flags import NO_FLAGS
from red_middleware.metrics import option_names, recorder_of
from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import rule_groups

from . import command, environment, run

METRICS = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)

TABLE: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("--namespace shop", {"namespace": "shop"}),
    ("--buckets 0.1,0.5,2", {"buckets": (0.1, 0.5, 2.0)}),
    ("--slo-availability 0.999", {"slo_availability": 0.999}),
    ("--slo-seconds 0.3,1 --slo-latency 0.95", {"slo_seconds": (0.3, 1.0), "slo_latency": 0.95}),
    ("--naming otel --slo-availability 0.99", {"naming": "otel", "slo_availability": 0.99}),
    ("--duration-status code", {"duration_status": "code"}),
    ("--duration-status class --status-classes", {"duration_status": "class", "status_classes": True}),
    ("--label tenant --label plan", {"labels": {"tenant": Label(max_values=1), "plan": Label(max_values=1)}}),
    ("--max-label-sets 50 --own-series-limit 7", {"max_label_sets": 50, "own_series_limit": 7}),
    (
        "--sizes --size-buckets 1,1000 --first-byte --event-streams --websocket-messages --in-progress-by-route "
        "--saturation",
        {
            "sizes": True, "size_buckets": (1, 1000), "first_byte": True, "event_streams": True,
            "websocket_messages": True, "in_progress_by_route": True, "saturation": True,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "options"), TABLE, ids=[flags or "none" for flags, _ in TABLE])
def test_flags_make_what_the_options_make(
    flags: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules, alerts, and the limit of the scrape job."""
    metrics = RedMetrics(registry=CollectorRegistry(), **options)
    expected = Installation("shop", recorder_of(metrics).options)
    for name, groups in (("rules", rule_groups(expected)), ("alerts", alert_groups(expected))):
        assert main([name, "--job", "shop", *flags.split()]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == {"groups": groups}
    assert main(["scrape-config", "--job", "shop", "--target", "shop:80", *flags.split()]) == 0
    (job,) = yaml.safe_load(capsys.readouterr().out)["scrape_configs"]
    assert job["sample_limit"] == metrics.bound().series + metrics.own_series_limit == expected.sample_limit


@pytest.mark.parametrize("app", [(), ("--app", "tests.commands.test_flags:METRICS")])
def test_target_labels_tell_services_of_one_job_apart(app: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the app is read or its options are flags."""
    expected = Installation("shop", recorder_of(METRICS).options, target_labels={"env": "prod", "cluster": """ "b" """})
    given = ("--job", "shop", "--target-label", "env=prod", "--target-label", 'cluster= "b" ', *app)
    for name, groups in (("rules", rule_groups(expected)), ("alerts", alert_groups(expected))):
        assert main([name, *given]) == 0
        assert yaml.safe_load(capsys.readouterr().out) == {"groups": groups}
    assert main(["dashboard", *given]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == 'RED of shop  "b"  prod'


def test_every_option_is_a_flag_or_named_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A new option of `RedMetrics` is a flag by itself, described in the words of its docstring."""
    with pytest.raises(SystemExit):
        main(["rules", "--help"])
    words = capsys.readouterr().out.split()
    flags = {name for name in option_names() if f"--{name.replace('_', '-')}" in words}
    assert flags == set(option_names()).difference(NO_FLAGS)
    assert "The share of requests that must not fail" in " ".join(words)


def test_without_docstrings_the_flags_are_there() -> None:
    """`python -OO` removes the words, and nothing else."""
    ran = subprocess.run(
        command("rules", "--help", flags=("-OO",)), env=environment(), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, "--slo-availability" in ran.stdout) == (0, True), ran.stderr


def test_the_environment_counts_as_it_does_in_the_app(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag goes before it, as an option in code does."""
    monkeypatch.setenv("RED_NAMESPACE", "shop")
    monkeypatch.setenv("RED_METRICS_PATH", "/internal")
    assert main(["scrape-config", "--job", "shop", "--target", "shop:80"]) == 0
    assert "metrics_path: /internal\n" in capsys.readouterr().out
    assert main(["rules", "--job", "shop"]) == 0
    assert "(shop_http_errors_total{" in capsys.readouterr().out.replace("rate(", "(")
    assert main(["rules", "--job", "shop", "--namespace", "other"]) == 0
    assert "other_http_errors_total{" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("rules", "the following arguments are required: --job"),
        ("rules --job shop --buckets 1,0.5", "RedMetrics(buckets=[1.0, 0.5]): must be strictly increasing seconds > 0"),
        ("rules --job shop --buckets 1,x", "argument --buckets: '1,x': must be numbers, separated by commas"),
        ("rules --job shop --max-label-sets x", "argument --max-label-sets: 'x': must be an integer"),
        ("rules --job shop --max-label-sets 0", "must be at least 1"),
        ("rules --job shop --slo-availability 99.9", "must be a share of requests > 0 and < 1"),
        ("rules --job shop --label le", "the name le is taken"),
        ("rules --job shop --naming ours", "argument --naming: invalid choice: 'ours'"),
        ("rules --job shop --app x:y --sizes --label t", "leave out --sizes and --label"),
        ("rules --job shop --target-label env", "argument --target-label: 'env': write name=value, such as env=prod"),
        ("rules --job shop --target-label env=", "--target-label: target label 'env': must have a value"),
        ("alerts --job shop --target-label le=1", "--target-label: target label 'le': this name is taken"),
        ("rules --job \udcff", "argument --job: '\\udcff': has a control character, or is not in UTF-8"),
        ("rules --job a\x7fb", "argument --job: 'a\\x7fb': has a control character, or is not in UTF-8"),
        ("dashboard --job \udcff", "argument --job: '\\udcff': has a control character, or is not in UTF-8"),
        (
            "rules --job shop --target-label env=\udcff",
            "'env=\\udcff': has a control character",
        ),
        ("dashboard --target-label t=1 --label t", "target label 't': the app itself exposes a label of this name"),
        ("rules --job shop --target-label a=1 --target-label a=2", "files are made for one service at a time"),
        ("check x --target-label a=1", "unrecognized arguments: --target-label"),
        ("nothing", "invalid choice: 'nothing'"),
    ],
)
def test_a_wrong_flag_is_said_in_a_line(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2, behind a short usage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert says in shown.err
    assert len(shown.err.splitlines()) <= 3


def test_a_wrong_variable_is_named() -> None:
    """As the app would name it."""
    ran = run("rules", "--job", "shop", RED_BUCKETS="5,1")
    assert (ran.code, "RED_BUCKETS='5,1': RedMetrics(buckets=[5.0, 1.0])" in ran.err) == (2, True), ran.err


def test_every_command_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With an example; the first help names all of them, and the exit codes."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "exit codes: 0" in text
    for name in ("rules", "alerts", "dashboard", "scrape-config", "inhibit-rules", "check", "serve"):
        assert f"\n    {name}" in text
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert (
            f"example:\n  {'RED_MULTIPROCESS_NAME' if name == 'serve' else f'red-middleware {name}'}"
            in capsys.readouterr().out
        )
