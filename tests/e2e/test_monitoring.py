"""What is generated for each option, against what an app with this option exposes: on Prometheus and VictoriaMetrics.

The databases scrape real traffic through the middleware and evaluate the generated rules.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from red_middleware import RedMetrics, RedWSGIMiddleware, serve_metrics
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.installation import Installation
from red_middleware.monitoring.rules import BAD, ERROR_RATIO, RATE, REQUESTS, levels, rule_groups
from red_middleware.monitoring.scrape import Scrape

from ..drive import Clock, Environ, StartResponse, environ
from ..monitoring.installations import OPTIONS, metrics
from .prometheus import Prometheus, Vector
from .servers import poll
from .victoria import VictoriaMetrics

ROUTES: Final = ["/items/<id>", "/checkout"]
TARGET_LABELS: Final = {"objectives": {"env": "prod", "Region_2": 'a "b"'}, "otel": {"env": "prod"}}
"""Beside the job, by its name. A second service has the first job name, and another value of `env`."""

SOME_SECONDS: Final = 0.05
"""Between two rounds of traffic."""


class Database(Protocol):
    """What is asked."""

    def ask(self, promql: str) -> Vector:
        """Return an instant vector."""


class Exposed(dict[str, int]):
    """The ports of apps by their titles, while traffic goes to them; and what the apps expose."""

    installations: Sequence[Installation]


def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer; the payment fails."""
    start_response("500 Oh" if environ["PATH_INFO"] == "/checkout" else "200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def visit(apps: Sequence[RedWSGIMiddleware], clock: Clock, stop: threading.Event) -> None:
    """Send requests until the end. Time passes between them only: none is slow, however busy the machine is."""
    while not stop.wait(SOME_SECONDS):
        clock.seconds += SOME_SECONDS
        for wrapped in apps:
            for path in ("/items/1", "/items/2", "/checkout", "/nowhere"):
                body = wrapped(environ(path, HTTP_X_TENANT="acme"), lambda *_: lambda _: None)
                b"".join(body)
                body.close()  # type: ignore[attr-defined]  # ours has it


@pytest.fixture(scope="module")
def exposed() -> Iterator[Exposed]:
    """An app for each of the options, under traffic."""
    found = Exposed()
    clock = Clock()
    made: list[tuple[str, RedMetrics, Mapping[str, str]]] = [
        (name, metrics(clock=clock, **options), TARGET_LABELS.get(name, {})) for name, options in OPTIONS.items()
    ]
    another = metrics(clock=clock, **OPTIONS["objectives"])
    made.append(("objectives", another, {**TARGET_LABELS["objectives"], "env": "test"}))
    found.installations = [
        Installation(job, recorder_of(one).options, target_labels=labels) for job, one, labels in made
    ]
    stop = threading.Event()
    apps = [RedWSGIMiddleware(app, metrics=one, routes=ROUTES) for _, one, _ in made]
    visitor = threading.Thread(target=visit, args=(apps, clock, stop))
    with ExitStack() as stack:
        for installation, (_, one, _) in zip(found.installations, made, strict=True):
            found[installation.title] = stack.enter_context(serve_metrics(0, metrics=one)).port
        stack.callback(visitor.join)
        stack.callback(stop.set)
        visitor.start()
        yield found


@pytest.fixture(scope="module", params=[Prometheus, pytest.param(VictoriaMetrics, marks=pytest.mark.victoria)])
def database(request: Any, exposed: Exposed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that scrapes the apps, and evaluates their rules and alerts."""
    groups = [group for one in exposed.installations for group in (*rule_groups(one), *alert_groups(one))]
    directory: Path = tmp_path_factory.mktemp(request.param.__name__)
    more = {one.title: scrape_job(one, exposed[one.title]) for one in exposed.installations if one.target_labels}
    with request.param(directory, dict(exposed), more, groups) as found:
        yield found


def scrape_job(one: Installation, port: int) -> dict[str, Any]:
    """Return the job that is generated, but for how often it scrapes."""
    scrape = Scrape(one.service, one.sample_limit, "1s", "1s")
    return scrape.job_of([f"127.0.0.1:{port}"])


def test_every_rule_records_something(exposed: Exposed, database: Database) -> None:
    """For each option: under its names, its labels, and its bounds as they are exposed."""
    due = {
        one.title: (one.of_service(), {rule["record"] for group in rule_groups(one) for rule in group["rules"]})
        for one in exposed.installations
    }
    last: list[dict[str, set[str]]] = [{}]

    def missing() -> dict[str, set[str]]:
        found = {}
        for title, (service, records) in due.items():
            there = database.ask(f'count by (__name__) ({{__name__=~".+:.+:.+",{service}}})')
            found[title] = records - {labels["__name__"] for labels, _ in there}
        return {title: records for title, records in found.items() if records}

    def all_there() -> bool:
        last[0] = missing()
        return not last[0]

    try:
        poll("every rule has recorded something", all_there, 180)  # a rule reads what others wrote before it
    except TimeoutError:
        pytest.fail(f"never recorded: {last[0]}", pytrace=False)


def test_what_is_recorded_is_what_happened(exposed: Exposed, database: Database) -> None:
    """A quarter of the requests fail, all of them of one route; none is slow."""
    for one in exposed.installations:
        is_what_happened(one, database)


def is_what_happened(one: Installation, database: Database) -> None:
    """Compare what was recorded last. Two rules may read at two moments, between which there was a scrape."""
    route, service = levels(one)
    of_routes, of_all = (level.selector(ERROR_RATIO, f"ratio_{RATE}") for level in (route, service))

    def shares() -> bool:
        found = [(labels[one.route], round(share, 1)) for labels, share in database.ask(f"{of_routes} > 0")]
        return found == [("/checkout", 1.0)] and [0.2 < share < 0.3 for _, share in database.ask(of_all)] == [True]

    poll("a rate", lambda: database.ask(f"{service.selector(REQUESTS, RATE)} > 0"))
    poll(f"one route of {one.title} fails, and a quarter of the requests", shares)
    for objective in one.objectives:
        slow = service.selector(BAD, RATE, 'objective="latency"')
        assert {value for _, value in database.ask(slow)} == {0.0}, objective


def test_every_alert_can_be_asked(exposed: Exposed, database: Database) -> None:
    """The database understands it."""
    for one in exposed.installations:
        for group in alert_groups(one):
            for alert in group["rules"]:
                database.ask(alert["expr"])


@pytest.mark.once
def test_a_budget_that_burns_is_told_of(exposed: Exposed, database: Database) -> None:
    """With every option: of the service and of its one bad route."""
    for one in exposed.installations:
        for level in ("service", "route") if one.objectives else ():
            burning = f'ALERTS{{{one.of_service()},level="{level}",objective="availability"}}'
            found = poll(f"{one.title} burns", lambda: database.ask(burning), 150)  # noqa: B023
            assert {labels.get(one.route) for labels, _ in found} == {"/checkout" if level == "route" else None}
