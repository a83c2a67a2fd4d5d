"""Which alert keeps another one quiet: asked of a real Alertmanager."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.inhibition import inhibit_rules

from ..e2e import require_program
from ..e2e.servers import free_port, get, poll
from .installations import OBJECTIVES, installation

Labels = dict[str, str]

AVAILABILITY = {"job": "shop", "objective": "availability", "threshold": "0.999"}
SERVICE = {"alertname": "RedErrorBudgetBurn", "level": "service", **AVAILABILITY}
ROUTE = {"alertname": "RedRouteErrorBudgetBurn", "level": "route", **AVAILABILITY, "severity": "ticket"}


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of an Alertmanager with the rules."""
    program = require_program("prometheus-alertmanager")
    directory = tmp_path_factory.mktemp("alertmanager")
    whole = {"route": {"receiver": "people"}, "receivers": [{"name": "people"}], "inhibit_rules": inhibit_rules()}
    (directory / "alertmanager.yml").write_text(json.dumps(whole))  # JSON is YAML
    port = free_port()
    command = [program, f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/data",
               f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]  # fmt: skip
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=directory) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            poll("Alertmanager is ready", lambda: get(f"{url}/-/ready"))
            yield url
        finally:
            process.terminate()


def quiet(url: str, job: str, *alerts: Labels) -> list[Labels]:
    """Return which of some alerts are kept quiet, each for the job of this test."""
    sent = [{**alert, "job": job} for alert in alerts]
    body = json.dumps([{"labels": labels} for labels in sent]).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()

    def states() -> dict[str, str]:
        found = [each for each in json.loads(get(f"{url}/api/v2/alerts")) if each["labels"]["job"] == job]
        known = {json.dumps(one["labels"], sort_keys=True): one["status"]["state"] for one in found}
        return known if len(known) == len(sent) and "unprocessed" not in known.values() else {}

    state = poll("all are there", states)
    return [alert for alert in alerts if state[json.dumps({**alert, "job": job}, sort_keys=True)] == "suppressed"]


def test_a_page_goes_before_the_tickets_of_its_objective(alertmanager: str) -> None:
    """And the service before its routes; what is said of another objective stays."""
    page, ticket = {**SERVICE, "severity": "page"}, {**SERVICE, "severity": "ticket"}
    cart, pay = {**ROUTE, "route": "/cart"}, {**ROUTE, "route": "/pay"}
    latency = {**ROUTE, "route": "/cart", "objective": "latency", "threshold": "0.3"}
    assert quiet(alertmanager, "all", page, ticket, cart, pay, latency) == [ticket, cart, pay]
    assert quiet(alertmanager, "tickets", ticket, cart) == [cart]
    assert quiet(alertmanager, "routes", cart, pay, latency) == []


def test_no_metrics_at_all_go_before_each_instance(alertmanager: str) -> None:
    """One page in place of a ticket for each."""
    absent = {"alertname": "RedMetricsAbsent", "severity": "page"}
    down = [{"alertname": "RedTargetDown", "severity": "ticket", "instance": f"shop:{n}"} for n in range(3)]
    assert quiet(alertmanager, "down", absent, *down) == down
    assert quiet(alertmanager, "some", *down) == []


def test_other_apps_are_not_kept_quiet(alertmanager: str) -> None:
    """Every rule asks for the same job."""
    assert quiet(alertmanager, "one", {**SERVICE, "severity": "page"}) == []
    assert quiet(alertmanager, "other", ROUTE, {"alertname": "RedTargetDown", "severity": "ticket"}) == []
    assert all("job" in rule["equal"] for rule in inhibit_rules())


def test_a_ticket_never_keeps_a_page_quiet() -> None:
    """And all that the rules name are alerts that there are, with labels that these have."""
    alerts = [rule for group in alert_groups(installation(**OBJECTIVES)) for rule in group["rules"]]
    for rule in inhibit_rules():
        assert 'severity="ticket"' in rule["target_matchers"]
        for matchers in (rule["source_matchers"], rule["target_matchers"]):
            said = dict(matcher.replace('"', "").split("=") for matcher in matchers)
            name = said.pop("alertname")
            meant = [alert["labels"] for alert in alerts if alert["alert"] == name]
            assert any(said.items() <= labels.items() for labels in meant)
            assert all({"objective", "threshold"} <= set(labels) for labels in meant if "objective" in rule["equal"])
