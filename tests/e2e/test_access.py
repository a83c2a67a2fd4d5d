"""A real Prometheus reads what it has the secret for, at a port of its own, and nothing else."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from red_middleware import BasicCredentials, BearerToken, RedMetrics, serve_metrics

from ..workers.running import PORT, Kind, Servers, gunicorn, python
from . import require_program
from .prometheus import Prometheus
from .servers import poll

CERTIFICATE = Path(__file__).with_name("certificate.pem")
"""For localhost and 127.0.0.1, with its key, until 2126. It protects nothing."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("the first one\n")
    return file


@pytest.fixture
def prometheus(tmp_path: Path, file: Path) -> Iterator[Prometheus]:
    require_program("prometheus")
    metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None)
    bearer = BearerToken(file=file)
    tls: dict[str, object] = {"scheme": "https", "tls_config": {"ca_file": str(CERTIFICATE)}}
    client_file = tmp_path / "client"
    client_file.write_text("the first one")
    credentials: dict[str, object] = {"authorization": {"credentials_file": str(client_file)}}
    with ExitStack() as stack:

        def port(**options: object) -> int:
            return stack.enter_context(serve_metrics(0, metrics=metrics, **options)).port  # type: ignore[arg-type]

        targets = {
            "open": port(),
            "bearer": port(authorize=bearer),
            "stranger": port(authorize=bearer),
            "basic": port(authorize=BasicCredentials("prometheus", "password")),
            "tls": port(authorize=bearer, certfile=CERTIFICATE),
            "plain-at-tls": port(certfile=CERTIFICATE),
        }
        more: dict[str, dict[str, object]] = {
            "bearer": credentials,
            "basic": {"basic_auth": {"username": "prometheus", "password": "password"}},
            "tls": {**tls, **credentials},
        }
        (tmp_path / "prometheus").mkdir()
        yield stack.enter_context(Prometheus(tmp_path / "prometheus", targets, more))


def test_prometheus_reads_what_it_has_the_secret_for(prometheus: Prometheus, file: Path) -> None:
    """Both files are rotated while it scrapes: first ours, so that it is refused, then its own."""

    def up() -> dict[str, float]:
        return {job: value for (job,), value in prometheus.by("job", "up").items()}

    readers = {"open": 1.0, "bearer": 1.0, "basic": 1.0, "tls": 1.0}
    nobody = {"stranger": 0.0, "plain-at-tls": 0.0}
    poll("those with the secret read", lambda: up() == readers | nobody)
    file.write_text("the second one")
    poll("the old secret is refused", lambda: up() == readers | nobody | {"bearer": 0.0, "tls": 0.0})
    file.with_name("client").write_text("the second one\n")
    prometheus.reload()
    poll("the new secret is taken", lambda: up() == readers | nobody)


APPS = "tests.e2e.secured_app"
WORKERS = {
    "gunicorn": gunicorn(app=f"{APPS}:wsgi"),
    "uvicorn": Kind(python("uvicorn", f"--port={PORT}", "--workers=2", f"{APPS}:asgi"), ("uvicorn",), 2),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", WORKERS.values(), ids=WORKERS)
def test_every_worker_asks_for_the_secret(
    kind: Kind, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in the file now, which was rotated meanwhile; a client without it learns nothing."""
    monkeypatch.setenv("RED_E2E_TOKEN", str(file))
    monkeypatch.setenv("RED_MULTIPROCESS_DIR", str(tmp_path))
    with Servers(kind, tmp_path) as servers:

        def status(path: str, token: str = "") -> int:
            request = urllib.request.Request(f"http://127.0.0.1:{servers.ports[0]}{path}")
            if token:
                request.add_header("Authorization", f"Bearer {token}")
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    assert (b"red_series" in response.read()) == (path == "/metrics")
                    found: int = response.status
                    return found
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code if refused.read() == b"" else -1
            except OSError:  # nobody listens yet
                return 0

        poll("it serves", lambda: status("/") == 200)
        for _ in range(10):
            assert (status("/metrics"), status("/metrics", "the first one")) == (401, 200)
        file.write_text("the second one")
        for _ in range(10):
            assert (status("/metrics", "the first one"), status("/metrics", "the second one")) == (401, 200)
