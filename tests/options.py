"""Every option at once, in our own names and in OpenTelemetry's, and what was counted under them in plain terms."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from red_middleware import Label, RedMetrics
from red_middleware.counting.labels import status_class, status_code, status_label

from .counts import counted

LABELS: Final = {
    "tenant": Label(values=["acme", "globex"], header="x-tenant"),
    "plan": Label(max_values=3, header="x-plan"),
    "cache": Label(max_values=2, response_header="x-cache", families=["http_client_disconnects_total"]),
    "agent": Label(max_values=4, of=lambda source: source.get("PATH_INFO") or source["path"]),
    "version": Label(constant="1.4"),
}
COMMON: Final[Mapping[str, Any]] = {
    "slo_seconds": (0.9,),
    "slo_availability": 0.999,
    "first_byte": True,
    "event_streams": True,
    "websocket_messages": True,
    "sizes": True,
    "size_buckets": (1, 1000),
    "saturation": True,
}
EVERY: Final[Mapping[str, Any]] = {
    **COMMON,
    "labels": LABELS,
    "duration_status": "class",
    "status_classes": True,
    "in_progress_by_route": True,
}
BY_CODE: Final[Mapping[str, Any]] = {**EVERY, "duration_status": "code", "status_classes": False}
OTEL: Final[Mapping[str, Any]] = {
    **COMMON,
    "naming": "otel",
    "labels": {name: label for name, label in LABELS.items() if label.families is None},
}

PLAIN: Final = (
    "http_requests_total", "http_errors_total", "http_request_duration_seconds", "http_client_disconnects_total",
    "http_exceptions_total", "websocket_handshakes_total", "websocket_connections_total", "websocket_errors_total",
    "websocket_connection_duration_seconds", "red_overflow_requests_total", "red_instrumentation_errors_total",
)  # fmt: skip
"""The families that are there without any option, and tell what was counted."""


def plainly(found: Mapping[str, float]) -> dict[str, float]:
    """Return samples as they are without options, but with statuses by class: what options add is added up."""
    totals: defaultdict[str, float] = defaultdict(float)
    for text, value in found.items():
        name, _, rest = text.partition("{")
        if not name.startswith(PLAIN):
            continue
        labels = {key: said for key, said in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest) if key not in LABELS}
        if name.startswith("http_request"):
            status = labels.pop("status", "")
            if name == "http_requests_total":
                code = status_code(status)
                labels["status"] = status_label(status_class(code)) if code else status
        totals[f"{name}{sorted(labels.items())}"] += value
    return {text: value for text, value in totals.items() if value}


def plainly_counted(metrics: RedMetrics) -> dict[str, float]:
    """Return what was counted, as `plainly` says."""
    return plainly(counted(metrics))
