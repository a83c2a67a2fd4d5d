"""The stack beside the examples: what it loads, in containers as without, and that it leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from .e2e import ROOT, require_program
from .ports import free_port
from .test_examples import DEADLINE_SECONDS, all_end, awaited, body, end

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found through /proc"),
]

STACK = [sys.executable, "-m", "examples.demo.stack"]
HOME = ROOT / "examples" / "demo" / "stack"
JOBS = ("flask_shop", "starlette_shop")
MADE = ("rules.yml", "alerts.yml")


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark the environment of a stack, and so of all its descendants; end what it leaves."""
    mark = f"RED_STACK_MARK={uuid.uuid4()}"
    monkeypatch.setenv(*mark.split("="))
    yield mark
    end(mark)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the files that the stack loads."""
    directory = tmp_path_factory.mktemp("files") / "new"
    ports = (
        "--flask-port",
        "8000",
        "--starlette-port",
        "8001",
        "--prometheus-port",
        "9090",
        "--alertmanager-port",
        "9093",
    )
    subprocess.run([*STACK, "--files", str(directory), *ports], cwd=ROOT, check=True, timeout=DEADLINE_SECONDS)
    return directory


def asked(url: str) -> Any:
    """Return what an API answers, nothing while it does not."""
    return json.loads(body(url) or "null")


def test_the_stack_runs_and_leaves_nothing(mark: str, tmp_path: Path) -> None:
    """Both shops are scraped, every rule of each is evaluated, Alertmanager is known; an interrupt ends all of it."""
    for program in ("prometheus", "prometheus-alertmanager"):
        require_program(program)
    (tmp_path / "left").mkdir()
    # Nobody takes these while the files are made. The kernel may give those that the stack finds to a client meanwhile.
    ports = [f"--{name}-port={free_port()}" for name in ("flask", "starlette", "prometheus", "alertmanager")]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        stack = subprocess.Popen(
            [*STACK, *ports], cwd=ROOT, stdout=out, stderr=err, env=os.environ | {"TMPDIR": str(tmp_path / "left")}
        )
    shown = tmp_path / "out"
    (prometheus,) = awaited(lambda: re.findall(r"Prometheus: (http://\S+:\d+)", shown.read_text()))
    (alertmanager,) = awaited(lambda: re.findall(r"Alertmanager: (http://\S+)", shown.read_text()))

    def value(query: str) -> list[float]:
        found = asked(f"{prometheus}/api/v1/query?query={query}")
        return [float(each["value"][1]) for each in found["data"]["result"]] if found else []

    assert awaited(lambda: value("up") == [1, 1])
    assert awaited(lambda: len(value("job:http_requests:rate5m")) == 2)
    groups = awaited(lambda: asked(f"{prometheus}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule for rule in rules if rule["health"] == "err"] == []
    assert {rule["name"] for rule in rules} >= {"RedErrorBudgetBurn", "job:red_slo_bad:rate5m"}
    managers = f"{prometheus}/api/v1/alertmanagers"
    assert len(awaited(lambda: (asked(managers) or {"data": {}})["data"].get("activeAlertmanagers"))) == 1
    assert awaited(lambda: body(alertmanager)).strip() == "[]"
    stack.send_signal(signal.SIGINT)

    assert stack.wait(DEADLINE_SECONDS) == 0
    assert "Ctrl-C ends all of it." in shown.read_text()
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert all_end(mark)
    assert list((tmp_path / "left").iterdir()) == []


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_while_the_files_are_made_ends_it(mark: str, tmp_path: Path) -> None:
    """Without a traceback, and nothing stays."""
    for program in ("prometheus", "prometheus-alertmanager"):
        require_program(program)
    stack = subprocess.Popen(
        STACK, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
    )  # fmt: skip
    awaited(lambda: list(tmp_path.glob("red_stack-*/*-rules.yml")))
    os.killpg(stack.pid, signal.SIGINT)  # as Ctrl-C does
    _, err = stack.communicate(timeout=DEADLINE_SECONDS)
    assert (stack.returncode, list(tmp_path.iterdir()), "Traceback" in err) == (0, [], False), err
    assert all_end(mark)


def test_missing_programs_and_packages_are_named() -> None:
    """By the command that installs them."""
    ran = subprocess.run(STACK, cwd=ROOT, env=os.environ | {"PATH": ""}, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        1, "The stack needs more programs: apt-get install prometheus prometheus-alertmanager\n",
    )  # fmt: skip
    hide = "import sys, runpy; sys.modules.update(httpx=None, yaml=None); "
    hide += "runpy.run_module('examples.demo.stack', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, "The stack needs more packages: python -m pip install httpx pyyaml\n")


def test_the_files_are_accepted(files: Path) -> None:
    """By Prometheus's and Alertmanager's own checks, with a dashboard for each shop beside them."""
    for command in (
        ["promtool", "check", "config", "prometheus.yml"],
        ["promtool", "check", "rules", *(f"{job}-{made}" for job in JOBS for made in MADE)],
        ["amtool", "check-config", "alertmanager.yml"],
    ):
        require_program(command[0])
        ran = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert all(json.loads((files / f"{job}.json").read_text())["title"] for job in JOBS)
    assert {path.name for path in files.iterdir()} == {
        "prometheus.yml", "alertmanager.yml", *(f"{job}.json" for job in JOBS),
        *(f"{job}-{made}" for job in JOBS for made in MADE),
    }  # fmt: skip


def test_the_containers_load_these_files(files: Path) -> None:
    """Every image is of one version, and every path that a container needs is in the repository or made."""
    services = yaml.safe_load((HOME / "compose.yaml").read_text())["services"]
    assert set(services) == {"shops", "prometheus", "alertmanager", "grafana"}
    named: set[str] = set()
    for service in services.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-slim)?", service["image"])
        for place in (volume.split(":")[0] for volume in service["volumes"]):
            assert place == "files" or (HOME / place).exists()
        command: str | Sequence[str] = service.get("command", "")
        named |= set(re.findall(r"/files/(\S+)", command if isinstance(command, str) else " ".join(command)))
    assert named == {"prometheus.yml", "alertmanager.yml"}
    assert named <= {path.name for path in files.iterdir()}
    ports = [port.rpartition(":")[2] for port in services["shops"]["ports"]]
    shops = services["shops"]["command"][-1]
    assert "9093" in (files / "prometheus.yml").read_text()
    assert {"3000", *re.findall(r"--(?:prometheus|alertmanager)-port (\d+)", shops)} == set(ports)
    (datasource,) = yaml.safe_load((HOME / "grafana/datasource.yml").read_text())["datasources"]
    assert datasource["url"] == "http://127.0.0.1:9090"
    (provider,) = yaml.safe_load((HOME / "grafana/dashboards.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/files"
