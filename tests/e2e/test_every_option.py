"""Every option on real servers with two workers: each request counts once in each family, whoever is asked or dies."""

import os
import re
import signal
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from .servers import DEADLINE_SECONDS, EVERY_ASGI, EVERY_WSGI, Kind, Server, get, poll

pytestmark = pytest.mark.once

KINDS: Final = {
    "gunicorn": Kind("gunicorn", EVERY_WSGI, ("--workers=2",)),
    "gunicorn-gthread": Kind("gunicorn", EVERY_WSGI, ("--workers=2", "--worker-class=gthread", "--threads=4")),
    "uvicorn": Kind("uvicorn", EVERY_ASGI, ("--workers=2", "--http=h11"), ("h11",)),
}
TIMES: Final = 40


def sums(text: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return what a name counted by some labels."""
    found: dict[tuple[str, ...], float] = {}
    for pairs, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE):
        known = dict(re.findall(r'(\w+)="([^"]*)"', pairs))
        key = tuple(known.get(label, "") for label in labels)
        found[key] = found.get(key, 0.0) + float(value)
    return {key: value for key, value in found.items() if value}


@pytest.mark.parametrize("name", KINDS)
def test_all_is_whole_among_workers_and_after_a_kill(name: str, tmp_path: Path) -> None:
    """Labels, statuses, sizes and failures; what is in flight is nothing; who was killed takes no count along."""
    with Server(KINDS[name], tmp_path) as server:
        base = f"http://127.0.0.1:{server.port}"
        for n in range(TIMES):
            request = urllib.request.Request(f"{base}/items/{n}", headers={"X-Tenant": "acme"})
            urllib.request.urlopen(request, timeout=DEADLINE_SECONDS).close()
            with pytest.raises(urllib.error.HTTPError):
                get(f"{base}/fail")
        for _ in range(2):
            server.rest()
            text = server.read("/metrics")
            by_plan = sums(text, "http_requests_total", "route", "tenant", "plan", "status")
            assert sum(by_plan.values()) >= 2 * TIMES
            assert sum(n for (route, *_), n in by_plan.items() if route == "/items/<n>") == TIMES
            assert len([plan for route, _, plan, _ in by_plan if route == "/items/<n>"]) == 4  # three, and _OTHER
            assert {(tenant, status) for route, tenant, _, status in by_plan if route == "/items/<n>"} == {
                ("acme", "2xx")
            }
            assert sums(text, "http_request_duration_seconds_count", "route", "status")["/fail", "5xx"] == TIMES
            assert sums(text, "http_exceptions_total", "exception") == {("LookupError",): TIMES}
            assert sums(text, "http_response_size_bytes_count", "route")["/items/<n>",] == TIMES
            assert sums(text, "http_requests_in_progress", "route") == {}
            assert sums(text, "red_instrumentation_errors_total") == {}
            assert 'red_slo_info{objective="latency",threshold="0.9"} 1.0' in text
            killed = int(get(f"{base}/pid"))
            os.kill(killed, signal.SIGKILL)
            poll("a worker takes its place", partial(_is_replaced, server, killed))


def _is_replaced(server: Server, killed: int) -> bool:
    try:
        text = server.read("/metrics")
    except OSError:  # the connection was the killed one's
        return False
    return "\nred_workers 2.0\n" in text and f'pid="{killed}"' not in text
