"""Every query of the dashboard, asked of a real Prometheus that scrapes real servers and evaluates the rules."""

import contextlib
import math
import re
import socket
import time
import urllib.error
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol
from xml.etree import ElementTree

import pytest
from websockets.sync.client import connect

from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.dashboard import dashboard
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import BUDGET, PERIOD, Level, rule_groups

from ..monitoring.installations import metrics
from ..monitoring.picture import draw
from ..monitoring.picture.answers import Answers
from ..monitoring.queries import filled, queries
from ..monitoring.showing import ASKED, SERVED_OPTIONS, installation_of
from .prometheus import Prometheus, Vector
from .servers import SHOWING, Kind, Server, get, poll
from .victoria import VictoriaMetrics

SERVED: Final = ("namespace", "every", "otel_every")
"""Options that have each panel between them. Each is a job."""

KIND: Final = Kind("uvicorn", SHOWING, ("--workers=2", "--http=h11"), ("h11", "websockets"))

SILENT: Final = {
    "ALERTS{": "no alert fires",
    "red_workers_capacity{": "uvicorn does not tell how many requests it can serve",
}
"""Which queries have no answer, by a part of them, and why."""

BUDGET_SECONDS: Final = 180.0
"""A budget is the last of a chain of rules, each of which reads what the one before has written."""

ROUNDS: Final = 3
"""How often requests of every kind are sent."""


class Database(Protocol):
    """What is asked."""

    port: int

    def ask(self, promql: str) -> Vector:
        """Return an instant vector."""


def served(job: str) -> Installation:
    return installation_of(metrics(**ASKED[job]), job)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, int]]:
    """Yield where the application is served, by the job."""
    with contextlib.ExitStack() as running:
        found = {}
        for job in SERVED:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(SERVED_OPTIONS, job)
                found[job] = running.enter_context(Server(KIND, tmp_path_factory.mktemp(job))).port
        yield found


@pytest.fixture(scope="module", params=[Prometheus, pytest.param(VictoriaMetrics, marks=pytest.mark.victoria)])
def database(request: Any, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Yield one that has seen requests of every kind, to every server, before and after its first scrapes."""
    groups = [group for job in SERVED for group in (*rule_groups(served(job)), *alert_groups(served(job)))]
    directory = tmp_path_factory.mktemp(request.param.__name__)
    with request.param(directory, ports, groups=groups) as found:
        visit_often(ports, found)
        for job in SERVED:
            name = Level(served(job), "service").recorded(BUDGET, f"left{PERIOD}")
            poll("budgets are recorded", partial(found.ask, f'{name}{{job="{job}"}}'), BUDGET_SECONDS)
        visit_often(ports, found)  # rates look back for a minute, and rules may have taken longer
        yield found


def visit_often(ports: Mapping[str, int], database: Database) -> None:
    """Send requests of every kind to each server, in more than one interval between scrapes: a rate needs two."""
    for _ in range(ROUNDS):
        for port in ports.values():
            visit(port)
        poll("every server has been scraped since", partial(is_scraped_after, database, time.time()))


def is_scraped_after(database: Database, moment: float) -> bool:
    """Tell whether the last scrape of each server began after a moment of `time.time()`, and found it."""
    return len(database.ask(f"timestamp(up) > {moment} and up == 1")) == len(SERVED)


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
def test_every_query_has_an_answer(database: Database, job: str) -> None:
    """A number at least, but for a few of which the reason is known."""
    silent = unanswered(job, database)
    assert [expr for expr in silent if not any(part in expr for part in SILENT)] == []
    assert len(silent) == (2 if served(job).options.saturation else 1)


@pytest.mark.parametrize("job", SERVED)
def test_every_variable_finds_values(database: Database, job: str) -> None:
    """Grafana lists the values that a label has among some series."""
    made = dashboard(served(job))
    for variable in made["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match
            found = {labels.get(match[2]) for labels, _ in database.ask(filled(match[1], made))}
            assert found - {None}, variable["name"]


@pytest.mark.parametrize("job", SERVED)
def test_a_picture_shows_every_panel(database: Database, job: str) -> None:
    """It is well-formed, with each panel that is not in a collapsed row, and the answers in it."""
    made = dashboard(served(job))
    picture = draw(made, Answers(f"http://127.0.0.1:{database.port}", made, seconds=300, scrape_seconds=1))
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    signs = {True: "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}", False: "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"}
    for panel in made["panels"]:
        heading = f"{signs[panel['collapsed']]} {panel['title']}" if panel["type"] == "row" else panel["title"]
        assert any((text or "").startswith(heading) for text in texts), heading
    assert {"/items/<n>", "/fail", "p95"} <= {*texts}
    assert "No data" not in texts, texts[max(texts.index("No data") - 1, 0)]


def unanswered(job: str, database: Database) -> list[str]:
    """Return the queries of a dashboard that have no answer.

    Raises:
        OSError: One is refused.
    """
    asked = [one.expr for one in queries(dashboard(served(job)))]
    return [expr for expr in asked if all(math.isnan(value) for _, value in database.ask(expr))]
