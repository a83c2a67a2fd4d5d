"""The families of HTTP requests in OpenTelemetry's names.

They are those of its semantic conventions for HTTP (1.23 and later), as its exporter for Prometheus writes them. The
rows are those of `red`, with labels for the attributes of a request.
"""

from typing import Final

from ..counting.labels import OTHER, UNMATCHED
from ..counting.layout import FLIGHT, OTEL_METHOD, OTEL_ROUTE, OTEL_SCHEME, CustomLabel
from .family import Family

STATUS: Final = "http_response_status_code"
VERSION: Final = "network_protocol_version"
ERROR: Final = "error_type"

MOST_ERRORS: Final = 64
"""How many error types are told apart, those that come first; the others are `_OTHER`."""

_UNKNOWN: Final = frozenset({(OTEL_ROUTE, UNMATCHED), (ERROR, "")})
"""What an attribute says that a request has not: the conventions leave it out then."""

DURATION: Final = "http_server_request_duration_seconds"

_RENAMED: Final = {
    "http_request_duration_seconds": (DURATION, "Duration of HTTP server requests."),
    "http_request_size_bytes": ("http_server_request_body_size_bytes", "Size of HTTP server request bodies."),
    "http_response_size_bytes": ("http_server_response_body_size_bytes", "Size of HTTP server response bodies."),
}

_LEFT_OUT: Final = frozenset({"http_requests_total", "http_errors_total", "http_exceptions_total"})
"""What the duration says with its labels."""

ACTIVE: Final = Family(
    "http_server_active_requests", "gauge", "Number of active HTTP server requests.",
    kind=FLIGHT, fields=("in_progress",),
)  # fmt: skip

ATTRIBUTED: Final = frozenset(name for name, _ in _RENAMED.values())
"""The families that have all attributes of a request. Others show what they do in our own names."""

LABELS: Final = (
    CustomLabel(STATUS, OTHER, 0, ATTRIBUTED),
    CustomLabel(OTEL_SCHEME, OTHER, 0, ATTRIBUTED),
    CustomLabel(VERSION, OTHER, 0, ATTRIBUTED),
    CustomLabel(ERROR, "", MOST_ERRORS, ATTRIBUTED),
)
"""Beside method and route."""

NAMES: Final = frozenset({OTEL_METHOD, OTEL_ROUTE, *(label.name for label in LABELS)})


def renamed(family: Family) -> Family | None:
    """Return what a family is in OpenTelemetry's names, `None` where nothing is shown."""
    if family.name in _LEFT_OUT:
        return None
    if family.name == "http_requests_in_progress":
        return ACTIVE
    if family.kind == "http":
        name, text = _RENAMED.get(family.name, (family.name, family.help))
        return family._replace(name=name, help=text, unknown=_UNKNOWN)
    return family
