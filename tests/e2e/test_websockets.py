"""WebSockets of WSGI applications, which take the server's socket over: they are no requests, and no errors."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
import simple_websocket  # type: ignore[import-untyped,unused-ignore]  # it has no annotations
from prometheus_client.parser import text_string_to_metric_families

from .servers import Kind, Server

KINDS = {
    "gthread": Kind("gunicorn", "flask_sock", ("--worker-class=gthread", "--threads=8")),
    "gevent": Kind("gunicorn", "flask_sock", ("--worker-class=gevent",), ("gevent",)),
    "werkzeug": Kind("werkzeug", "flask_sock"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_session_is_no_request_and_who_only_asks_for_one_is_counted(kind: Kind, tmp_path: Path) -> None:
    """Five good sessions leave no trace. The header alone hides nothing."""
    with Server(kind, tmp_path) as server:
        for _ in range(5):
            client = simple_websocket.Client(f"ws://127.0.0.1:{server.port}/echo")
            client.send("well?")
            assert client.receive(timeout=60) == "well?"
            with pytest.raises(simple_websocket.ConnectionClosed):  # the server closes when the view returns
                client.receive(timeout=60)
        asking = {"Upgrade": "websocket", "Connection": "Upgrade"}
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/fail", headers=asking)
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(request, timeout=60)
        failed.value.close()
        server.rest()
        text = server.read("/metrics")
    found = {
        (sample.name, sample.labels.get("route"))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("http_") and sample.value
    }
    assert found == {
        ("http_requests_total", "/health"),
        ("http_request_duration_seconds_bucket", "/health"),
        ("http_request_duration_seconds_count", "/health"),
        ("http_request_duration_seconds_sum", "/health"),
        ("http_requests_total", "/fail"),
        ("http_errors_total", "/fail"),
        ("http_request_duration_seconds_bucket", "/fail"),
        ("http_request_duration_seconds_count", "/fail"),
        ("http_request_duration_seconds_sum", "/fail"),
    }
