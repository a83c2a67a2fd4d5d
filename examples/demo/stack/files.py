"""The files of the stack, made by the same commands that a user runs: nothing here can differ from what they make."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..programs import HOST, ROOT

EVERY_SECONDS = 5
"""How often Prometheus scrapes the shops and evaluates rules: people look at it for minutes, and not for days."""

JOBS = {"flask_shop": "examples.flask_app.app:app", "starlette_shop": "examples.starlette_app.app:app"}
"""The apps by the names of their jobs."""


class Ports(NamedTuple):
    """Where each program listens."""

    flask: int
    starlette: int
    prometheus: int
    alertmanager: int


def write_files(directory: Path, ports: Ports) -> None:
    """Write all configuration: of Prometheus, of Alertmanager, and dashboards for Grafana.

    Args:
        directory: Where to. What is there already is replaced.
        ports: Where each program listens.
    """
    directory.mkdir(parents=True, exist_ok=True)
    scrape_configs: list[Any] = []
    often = ["--scrape-interval", f"{EVERY_SECONDS}s", "--scrape-timeout", f"{EVERY_SECONDS - 1}s"]
    for (job, app), port in zip(JOBS.items(), (ports.flask, ports.starlette), strict=True):
        about = ["--job", job, "--app", app]
        for kind in ("rules", "alerts"):
            _command(kind, *about, "--output", str(directory / f"{job}-{kind}.yml"))
        _command("dashboard", *about, "--output", str(directory / f"{job}.json"))
        scrape = _command("scrape-config", *about, "--target", f"{HOST}:{port}", *often)
        scrape_configs += yaml.safe_load(scrape)["scrape_configs"]
    alertmanagers = [{"static_configs": [{"targets": [f"{HOST}:{ports.alertmanager}"]}]}]
    prometheus = {
        "global": {"evaluation_interval": f"{EVERY_SECONDS}s"},
        "rule_files": ["*-rules.yml", "*-alerts.yml"],
        "alerting": {"alertmanagers": alertmanagers},
        "scrape_configs": scrape_configs,
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(prometheus, sort_keys=False))
    alertmanager = {
        "route": {"receiver": "people", "group_by": ["job", "alertname"], "group_wait": "5s"},
        "receivers": [{"name": "people"}],  # it notifies nobody: a real one has a pager or a chat here
    }
    text = yaml.safe_dump(alertmanager, sort_keys=False) + _command("inhibit-rules")
    (directory / "alertmanager.yml").write_text(text)


def _command(*arguments: str) -> str:
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "red_middleware", *arguments]
    # Ctrl-C is for the stack alone, which ends the command.
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True
    ).stdout
