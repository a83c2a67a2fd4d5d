"""Facts about servers that decide what an application, and so its middleware, can know. SERVERS.md lists them."""

import asyncio
from pathlib import Path

from . import require_packages, servers
from .clients import Answer, Http1
from .conftest import Watched
from .servers import Server


def test_httptools_refuses_unknown_methods_itself(stack: dict[str, Watched]) -> None:
    """A method outside llhttp's list is answered 400 by the server: the application gets no request to count."""
    require_packages(*servers.HTTPTOOLS.needs())
    server = stack["starlette-httptools"].server
    before = _requests(server)
    assert _ask(server, "BREW", "/ok").status == 400
    assert _requests(server) == before


ABORTED = """
def worker_abort(worker):
    worker.notify()
"""
"""A worker of gunicorn that is past its timeout has a second to end until it is killed; and now its timeout again."""


def test_a_sync_worker_past_its_timeout_is_an_error(tmp_path: Path) -> None:
    """SystemExit is raised within the application, the client sees 500, and the dying worker has counted that."""
    (tmp_path / "conf.py").write_text(ABORTED)
    with Server(servers.SYNC, tmp_path, "--timeout=5", f"--config={tmp_path / 'conf.py'}") as server:
        assert _ask(server, "GET", "/hang?begun=hanging").status == 500
        server.terminate()
        found = [numbers for numbers in server.all_last_numbers() if numbers]
    assert found == [
        {
            'http_requests_total{method="GET",route="/hang",status="500"}': 1.0,
            'http_errors_total{method="GET",route="/hang"}': 1.0,
            'http_exceptions_total{exception="SystemExit",route="/hang"}': 1.0,
        }
    ]


def _ask(server: Server, method: str, path: str) -> Answer:
    client = Http1(server.port)
    try:
        return asyncio.run(asyncio.wait_for(client.ask(method, path), servers.DEADLINE_SECONDS))
    finally:
        client.close()


def _requests(server: Server) -> list[str]:
    return [line for line in server.read("/metrics").splitlines() if line.startswith("http_requests_total")]
