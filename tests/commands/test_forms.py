"""Plain files that Prometheus and Alertmanager accept, by their own checks, and the same as objects of Kubernetes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from red_middleware.__main__ import main

from ..e2e import require_program

OPTIONS = (
    "",
    "--namespace shop --buckets 0.1,0.4 --slo-seconds 0.1",
    "--naming otel --slo-seconds 0.3 --slo-availability 0.9",
    "--slo-availability 0.999 --slo-seconds 0.3,1 --label tenant --duration-status code --saturation",
)  # fmt: skip
KUBERNETES = ("--format", "kubernetes")


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the document that a command writes."""
    assert main(arguments) == 0
    return yaml.safe_load(capsys.readouterr().out)


def checked(program: str, *arguments: object) -> str:
    """Return what a program of Prometheus says of a file that it accepts."""
    ran = subprocess.run(
        [require_program(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("command", ["rules", "alerts"])
def test_promtool_accepts_the_rules(
    command: str, options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a plain file, and as what a `PrometheusRule` holds. A job may be called anything that YAML has to quote."""
    for job in ("shop", 'a "shop": {b}\\', "two\nlines: #", "{{ caf\u00e9 }} \N{SHOPPING TROLLEY}"):
        plain = made(capsys, command, "--job", job, *options.split())
        held = made(capsys, command, "--job", job, *options.split(), *KUBERNETES)
        assert held["spec"] == plain
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(held["spec"]))
        assert main([command, "--job", job, *options.split(), "--output", str(tmp_path / "plain.yml")]) == 0
        for file in ("rules.yml", "plain.yml"):
            assert "SUCCESS" in checked("promtool", "check", "rules", "--lint=all", "--lint-fatal", tmp_path / file)


@pytest.mark.parametrize(("aim", "said"), [("", True), ("--slo-seconds 0.3", False)])
def test_without_an_objective_it_is_said_that_no_alert_is_on_requests(
    aim: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, so that the file is a file. What alerts on the metrics themselves is made all the same."""
    assert main(["alerts", "--job", "shop", *aim.split()]) == 0
    shown = capsys.readouterr()
    assert ("there is no objective" in shown.err) is said
    assert ("ErrorBudgetBurn" in shown.out) is not said
    assert "RedMetricsAbsent" in shown.out


@pytest.mark.parametrize("more", [(), ("--token-file", "{directory}/token", "--scheme", "https")])
def test_promtool_accepts_the_scrape_job(more: tuple[str, ...], tmp_path: Path) -> None:
    """Alone, and beside rules."""
    (tmp_path / "token").write_text("secret")
    file = tmp_path / "prometheus.yml"
    given = [each.format(directory=tmp_path) for each in more]
    arguments = ["scrape-config", "--job", "shop", "--target", "shop:8000", "--target", "[::1]:8000", *given]
    assert main([*arguments, "--output", str(file)]) == 0
    checked("promtool", "check", "config", file)
    (job,) = yaml.safe_load(file.read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["shop:8000", "[::1]:8000"]}]
    assert job.get("authorization") == ({"credentials_file": str(tmp_path / "token")} if more else None)
    assert job["scheme"] == ("https" if more else "http")


def test_amtool_accepts_the_inhibition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind a configuration that has a receiver."""
    file = tmp_path / "alertmanager.yml"
    assert main(["inhibit-rules"]) == 0
    file.write_text("route: {receiver: people}\nreceivers: [{name: people}]\n" + capsys.readouterr().out)
    assert " - 3 inhibit rules" in checked("amtool", "check-config", file)


def test_an_object_is_named_by_its_job_or_as_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Its labels are those by which an operator finds it."""
    assert made(capsys, "rules", "--job", "Shop_1", *KUBERNETES)["metadata"] == {"name": "shop-1-red-rules"}
    named = ("--name", "rules", "--kubernetes-namespace", "shops", "--object-label", "release=prometheus")
    labels = ("--object-label", "example.com/team=a")
    rule = made(capsys, "alerts", "--job", "shop", *KUBERNETES, *named, *labels)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["metadata"] == {
        "name": "rules", "namespace": "shops", "labels": {"release": "prometheus", "example.com/team": "a"},
    }  # fmt: skip


def test_a_dashboard_is_json_or_a_config_map(capsys: pytest.CaptureFixture[str]) -> None:
    """With the label that Grafana's sidecar looks for, which can be another one."""
    assert main(["dashboard", "--job", "shop"]) == 0
    plain = json.loads(capsys.readouterr().out)
    config_map = made(capsys, "dashboard", "--job", "shop", *KUBERNETES)
    assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
    assert config_map["metadata"] == {"name": "shop-red-dashboard", "labels": {"grafana_dashboard": "1"}}
    assert {name: json.loads(text) for name, text in config_map["data"].items()} == {"shop-red-dashboard.json": plain}
    other = made(capsys, "dashboard", "--job", "shop", *KUBERNETES, "--object-label", "grafana_dashboard=red")
    assert other["metadata"]["labels"] == {"grafana_dashboard": "red"}
    assert made(capsys, "dashboard", *KUBERNETES)["metadata"]["name"] == "red-dashboard"


def test_a_monitor_scrapes_pods_or_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    """The job is the one that rules match, whatever the pods are called."""
    pods = made(capsys, "scrape-config", "--job", "my_shop", *KUBERNETES)
    assert (pods["apiVersion"], pods["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert pods["metadata"] == {"name": "my-shop-red-scrape"}
    assert pods["spec"] == {
        "selector": {"matchLabels": {"app.kubernetes.io/name": "my_shop"}},
        "sampleLimit": 46878,
        "podMetricsEndpoints": [
            {
                "port": "http", "path": "/metrics", "scheme": "http", "interval": "15s", "scrapeTimeout": "10s",
                "relabelings": [{"action": "replace", "targetLabel": "job", "replacement": "my_shop"}],
            }
        ],
    }  # fmt: skip
    more = (
        "--service",
        "--selector",
        "app=shop",
        "--selector",
        "tier=web",
        "--port",
        "metrics",
        "--token-secret",
        "s:k",
    )
    times = ("--scrape-interval", "1m30s", "--scrape-timeout", "1m", "--metrics-path", "/m")
    service = made(capsys, "scrape-config", "--job", "shop", *KUBERNETES, *more, *times)
    assert service["kind"] == "ServiceMonitor"
    assert service["spec"]["selector"] == {"matchLabels": {"app": "shop", "tier": "web"}}
    (endpoint,) = service["spec"]["endpoints"]
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": {"name": "s", "key": "k"}}
    assert [endpoint[key] for key in ("port", "path", "interval", "scrapeTimeout")] == ["metrics", "/m", "1m30s", "1m"]


def test_a_monitor_of_a_job_that_is_no_label_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Its selector is given by hand. A $ is doubled, as Prometheus would take it for the name of a group."""
    more = ("--selector", "app=shop", "--service", "--port", "http-metrics-of-it", "--scrape-interval", "2m")
    spec = made(capsys, "scrape-config", "--job", "prod/$1", *KUBERNETES, *more)["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "shop"}}
    (endpoint,) = spec["endpoints"]
    assert endpoint["relabelings"][0]["replacement"] == "prod/$$1"
    assert (endpoint["port"], endpoint["interval"]) == ("http-metrics-of-it", "2m")


def test_a_target_label_is_where_targets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """As a plain job sets it, so does a monitor, but for what the operator sets itself. The object is named by it."""
    arguments = ("scrape-config", "--job", "shop", "--target-label", "env=a=$1", "--target-label", "namespace=east")
    (job,) = made(capsys, *arguments, "--target", "shop:8000")["scrape_configs"]
    labels = {"job": "shop", "env": "a=$1", "namespace": "east"}
    assert job["static_configs"] == [{"targets": ["shop:8000"], "labels": labels}]
    monitor = made(capsys, *arguments, *KUBERNETES)
    assert monitor["metadata"]["name"] == "shop-a-1-east-red-scrape"
    assert monitor["spec"]["podMetricsEndpoints"][0]["relabelings"] == [
        {"action": "replace", "targetLabel": "job", "replacement": "shop"},
        {"action": "replace", "targetLabel": "env", "replacement": "a=$$1"},
    ]
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["east"]}
    for command in ("rules", "alerts", "dashboard"):
        document = made(capsys, command, "--job", "shop", "--target-label", "env=prod", *KUBERNETES)
        assert document["metadata"]["name"] == f"shop-prod-red-{command}"


def test_services_of_one_job_name_are_scraped_by_one_prometheus(tmp_path: Path) -> None:
    """It refuses a configuration that has a `job_name` twice."""
    file = tmp_path / "prometheus.yml"
    jobs = []
    for env in ("prod", "test"):
        arguments = ["scrape-config", "--job", "shop", "--target-label", f"env={env}", "--target", "shop:8000"]
        assert main([*arguments, "--output", str(file)]) == 0
        jobs += yaml.safe_load(file.read_text())["scrape_configs"]
    file.write_text(yaml.safe_dump({"scrape_configs": jobs}))
    checked("promtool", "check", "config", file)


def test_the_operator_tells_of_a_service_only_where_one_leads_to_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    """A `PodMonitor` has to give the label itself: rules that match it would find nothing."""
    arguments = ("scrape-config", "--job", "shop", "--target-label", "service=web", *KUBERNETES)
    pods, service = made(capsys, *arguments)["spec"], made(capsys, *arguments, "--service")["spec"]
    given = [
        [each["targetLabel"] for each in endpoint["relabelings"]]
        for endpoint in (*pods["podMetricsEndpoints"], *service["endpoints"])
    ]
    assert given == [["job", "service"], ["job"]]


def test_inhibition_asks_for_the_labels_that_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Written as for the other commands, too."""
    given = [part for name in ("env", "cluster=b", "env") for part in ("--target-label", name)]
    rules = made(capsys, "inhibit-rules", *given)["inhibit_rules"]
    labels, of_objective = ["job", "env", "cluster"], ["objective", "threshold"]
    assert [rule["equal"] for rule in rules] == [[*labels, *of_objective], [*labels, *of_objective], labels]


def test_inhibit_rules_go_into_the_section_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A file with two such sections is refused, so the help shows no plain `>>`."""
    with pytest.raises(SystemExit):
        main(["inhibit-rules", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Add the entries of the file to `inhibit_rules:`" in text
    assert ">>" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("rules --job shop --name x", "--name goes with --format kubernetes only"),
        ("rules --job shop --object-label a=b", "--object-label goes with --format kubernetes only"),
        ("rules --job shop --format kubernetes --name Shop", "--name 'Shop': must be up to 63 lower-case"),
        ("rules --job _ --format kubernetes --kubernetes-namespace a.b", "--kubernetes-namespace 'a.b': must be"),
        ("rules --job shop --format kubernetes --object-label a", "'a' is no label: write key=value"),
        ("rules --job shop --format kubernetes --object-label a=/", "the value must be up to 63 letters"),
        ("scrape-config --job shop", "--target says where the app answers, such as shop:8000"),
        ("scrape-config --job shop --target a:1 --service", "--service goes with --format kubernetes"),
        ("scrape-config --job shop --target a:1 --selector a=b", "--selector goes with --format kubernetes"),
        ("scrape-config --job shop --format kubernetes --target a:1", "--target does not go with --format kubernetes"),
        ("scrape-config --job shop --format kubernetes --token-file a", "--token-file does not go with --format"),
        ("scrape-config --job shop --format kubernetes --token-secret a", "'a': write name:key"),
        ("scrape-config --job shop --target a:1 --scrape-interval 15", "'15' is no duration, such as 15s"),
        ("scrape-config --job shop --target a:1 --scrape-timeout 0s", "'0s' is no duration"),
        ("scrape-config --job shop --target a:1 --scrape-interval 5m", "an interval of 5m is longer than 2m"),
        ("scrape-config --job shop --target a:1 --scrape-interval 121s", "an interval of 121s is longer than 2m"),
        ("scrape-config --job shop --target http://a:1/metrics", "'http://a:1/metrics': write host:port"),
        ("scrape-config --job shop --target shop", "'shop': write host:port, such as shop:8000 or [::1]:8000"),
        ("scrape-config --job shop --target ::1:80", "'::1:80': write host:port"),
        ("scrape-config --job shop --target a:0", "'a:0': write host:port"),
        ("scrape-config --job shop --target a:65536", "'a:65536': write host:port"),
        ("scrape-config --job shop --target a:1 --metrics-path metrics", "'metrics': must begin with /"),
        ("scrape-config --job shop --target a:1 --metrics-path /metrics?a=b", "must begin with /, and has no ?"),
        ("inhibit-rules --target-label a-b", "'a-b': no target has a label of this name"),
        ("inhibit-rules --target-label alertname", "'alertname': this name is taken"),
        ("scrape-config --job= --target a:1", "argument --job: must not be empty"),
        ("rules --job=", "argument --job: must not be empty"),
        ("alerts --job=", "argument --job: must not be empty"),
        ("scrape-config --job prod/shop --format kubernetes", "say by --selector KEY=VALUE which pods are meant"),
        ("scrape-config --job café --format kubernetes", "--job 'café' cannot be the value of a label"),
        ("scrape-config --job shop --format kubernetes --port 8000", "--port '8000' must be the name of a port"),
        ("scrape-config --job shop --format kubernetes --port HTTP", "--port 'HTTP' must be the name of a port"),
        ("scrape-config --job shop --format kubernetes --port a-", "--port 'a-' must be the name of a port"),
        ("scrape-config --job shop --format kubernetes --port http-metrics-of-it", "up to 15 lower-case letters"),
        ("scrape-config --job shop --target a:1 --scrape-interval 5s", "a timeout of 10s is longer than the interval"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2, and nothing is written."""
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, says in shown.err) == (2, "", True), shown.err
