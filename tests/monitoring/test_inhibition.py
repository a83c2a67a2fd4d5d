"""Which alert keeps another one quiet: asked of a real Alertmanager."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.inhibition import inhibit_rules

from ..e2e import require_program
from ..e2e.servers import get, poll
from ..ports import free_port
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
    whole = {
        "route": {"receiver": "people"},
        "receivers": [{"name": "people"}],
        "inhibit_rules": inhibit_rules(["env"]),
    }
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
    """Return which of some alerts are kept quiet, each for the job of this test.

    Alertmanager takes them one after the other. It is through once it has taken the last ones, a page and its ticket
    for another job.
    """
    last = [{**SERVICE, "job": f"{job}, the last", "severity": severity} for severity in ("page", "ticket")]
    sent = [{**alert, "job": job} for alert in alerts] + last
    body = json.dumps([{"labels": labels} for labels in sent]).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()

    def states() -> dict[str, str]:
        found = json.loads(get(f"{url}/api/v2/alerts"))
        known = {written(each["labels"]): each["status"]["state"] for each in found}
        is_through = known.get(written(last[1])) == "suppressed" and all(written(labels) in known for labels in sent)
        return known if is_through else {}

    poll("all are taken", states)
    state = poll("all are there", states)  # anew: in the answer before, the first may stand as they were a moment ago
    return [alert for alert in alerts if state[written({**alert, "job": job})] == "suppressed"]


def written(labels: Labels) -> str:
    return json.dumps(labels, sort_keys=True)


def test_a_page_goes_before_the_tickets_of_its_objective(alertmanager: str) -> None:
    """Those of the service and of its routes; what is said of another objective stays. A ticket keeps none quiet."""
    page, ticket = {**SERVICE, "severity": "page"}, {**SERVICE, "severity": "ticket"}
    cart, pay = {**ROUTE, "route": "/cart"}, {**ROUTE, "route": "/pay"}
    latency = {**ROUTE, "route": "/cart", "objective": "latency", "threshold": "0.3"}
    assert quiet(alertmanager, "all", page, ticket, cart, pay, latency) == [ticket, cart, pay]
    assert quiet(alertmanager, "tickets", ticket, cart) == []
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


def test_another_environment_is_not_kept_quiet(alertmanager: str) -> None:
    """Not where it was said that a label tells environments apart; all that lack the label are one."""
    page, ticket = {**SERVICE, "severity": "page", "env": "prod"}, {**SERVICE, "severity": "ticket"}
    other = {**ticket, "env": "test"}
    assert quiet(alertmanager, "environments", page, {**ticket, "env": "prod"}, other, ticket) == [
        {**ticket, "env": "prod"}
    ]


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
