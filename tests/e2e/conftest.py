"""The servers that share one Prometheus, which takes some seconds to find them and so is started once."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from . import has_package, require_packages, require_program, servers
from .mix import Expected, drive
from .prometheus import Prometheus
from .servers import Kind, Server, all_of, poll

KINDS: Final = {
    "flask-gthread": servers.GTHREAD,
    "flask-gevent": servers.GEVENT,
    "starlette-httptools": servers.HTTPTOOLS,
    "starlette-h11": servers.H11,
    "fastapi-httptools": servers.FASTAPI_HTTPTOOLS,
    "fastapi-h11": servers.FASTAPI_H11,
    "starlette-hypercorn": servers.HYPERCORN,
}


class Watched(NamedTuple):
    """A server, and the Prometheus that scrapes it under the name of a job."""

    job: str
    server: Server
    prometheus: Prometheus

    @property
    def kind(self) -> Kind:
        return self.server.kind


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Watched]]:
    require_program("prometheus")
    found = {job: kind for job, kind in KINDS.items() if all(map(has_package, kind.needs()))}
    running = {job: Server(kind, tmp_path_factory.mktemp(job)) for job, kind in found.items()}
    with all_of(list(running.values())):
        targets = {job: server.port for job, server in running.items()}
        with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as prometheus:
            poll("Prometheus scrapes them all", lambda: prometheus.number("sum(up)") == len(targets))
            yield {job: Watched(job, server, prometheus) for job, server in running.items()}


@pytest.fixture(scope="package", params=KINDS)
def watched(stack: dict[str, Watched], request: pytest.FixtureRequest) -> Watched:
    require_packages(*KINDS[request.param].needs())
    return stack[request.param]


@pytest.fixture(scope="package")
def expected(watched: Watched) -> Expected:
    """What the mix must have led to, once it has been sent and Prometheus has seen the end of it."""
    found = asyncio.run(drive(watched.server))
    watched.prometheus.scrape_after(watched.job, time.time())
    return found
