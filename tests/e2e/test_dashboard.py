"""Every query of the dashboard, asked of a real Prometheus that scrapes real servers and evaluates the rules."""

import contextlib
import math
import re
import socket
import time
import urllib.error
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import pytest
from websockets.sync.client import connect

from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.dashboard import dashboard
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import BUDGET, PERIOD, Level, rule_groups

from ..monitoring.installations import metrics
from ..monitoring.queries import filled, queries
from ..monitoring.showing import ASKED, SERVED_OPTIONS, installation_of
from .prometheus import Prometheus
from .servers import SHOWING, Kind, Server, get, poll

pytestmark = pytest.mark.once

SERVED: Final = ("namespace", "every", "otel_every")
"""Options that have each panel between them. Each is a job."""

KIND: Final = Kind("uvicorn", SHOWING, ("--workers=2", "--http=h11"), ("h11", "websockets"))

SILENT: Final = {
    'ALERTS{alertname=~"Red.+"': "no alert fires",
    "red_workers_capacity{": "uvicorn does not tell how many requests it can serve",
}
"""Which queries have no answer, by a part of them, and why."""

ROUNDS: Final = 3
"""A rate needs two samples, so there is traffic in more than one scrape interval."""

Ask = Callable[[str], list[tuple[dict[str, str], float]]]
"""Returns an instant vector, as `Prometheus.ask` does."""


def served(job: str) -> Installation:
    return installation_of(metrics(**ASKED[job]), job)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Return one that has seen requests of every kind, to every server, before and after its first scrapes."""
    with contextlib.ExitStack() as running:
        ports = {}
        for job in SERVED:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(SERVED_OPTIONS, job)
                ports[job] = running.enter_context(Server(KIND, tmp_path_factory.mktemp(job))).port
        groups = [group for job in SERVED for group in (*rule_groups(served(job)), *alert_groups(served(job)))]
        with Prometheus(tmp_path_factory.mktemp("prometheus"), ports, groups=groups) as found:
            for _ in range(ROUNDS):
                for job, port in ports.items():
                    visit(port)
                    found.scrape_after(job, time.time())
            for job in SERVED:
                installation = served(job)
                if installation.objectives:
                    name = Level(installation, "service").recorded(BUDGET, f"left{PERIOD}")
                    poll("budgets are recorded", partial(found.ask, f'{name}{{job="{job}"}}'))
            yield found


def visit(port: int) -> None:
    """Send a request of each kind, and a WebSocket."""
    base = f"http://127.0.0.1:{port}"
    get(f"{base}/items/1")
    get(f"{base}/events")
    with contextlib.suppress(urllib.error.HTTPError):
        get(f"{base}/fail")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /leave HTTP/1.1\r\nHost: shop\r\n\r\n")
    with connect(f"ws://127.0.0.1:{port}/chat") as chat:
        chat.send("hello")
        assert chat.recv() == "hello"


@pytest.mark.parametrize("job", SERVED)
def test_every_query_has_an_answer(prometheus: Prometheus, job: str) -> None:
    """A number at least, but for a few of which the reason is known."""
    silent = unanswered(job, prometheus.ask)
    assert [expr for expr in silent if not any(part in expr for part in SILENT)] == []
    assert len(silent) == (2 if served(job).options.saturation else 1)


@pytest.mark.parametrize("job", SERVED)
def test_every_variable_finds_values(prometheus: Prometheus, job: str) -> None:
    """Grafana lists the values that a label has among some series."""
    made = dashboard(served(job))
    for variable in made["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match
            found = {labels.get(match[2]) for labels, _ in prometheus.ask(filled(match[1], made))}
            assert found - {None}, variable["name"]


def unanswered(job: str, ask: Ask) -> list[str]:
    """Return the queries of a dashboard that have no answer.

    Raises:
        OSError: One is refused.
    """
    asked = [one.expr for one in queries(dashboard(served(job)))]
    return [expr for expr in asked if all(math.isnan(value) for _, value in ask(expr))]
