"""The families of WebSockets. They are left out until the first handshake. Those of messages need an option."""

from typing import Final

from .family import Family

FAMILIES: Final = (
    Family(
        "websocket_handshakes_total", "counter", "Finished WebSocket handshakes: 101 if accepted, else the refusal.",
        kind="handshake", fields=("status",), code_label="status", is_sparse=True, is_quiet=True,
    ),
    Family(
        "websocket_connections_total", "counter", "WebSocket connections that were accepted and have ended.",
        kind="connection", fields=("close_code",), code_label="close_code", is_sparse=True, is_quiet=True,
    ),
    Family(
        "websocket_connection_duration_seconds", "histogram",
        "Time from a WebSocket's acceptance to its end, in seconds.",
        kind="connection", fields=("buckets", "seconds"), is_quiet=True,
    ),
    Family(
        "websocket_connections_in_progress", "gauge", "WebSocket connections that are open now.",
        kind="socket", fields=("in_progress",), is_quiet=True,
    ),
    Family(
        "websocket_errors_total", "counter",
        "WebSockets that failed: refused with 5xx, or closed for an exception or with 1011.",
        kind="handshake", fields=("errors",), is_quiet=True,
    ),
)  # fmt: skip

MESSAGES: Final = tuple(
    Family(
        f"websocket_{direction}_{unit}_total", "counter", f"{what} WebSockets have {direction}.",
        kind="connection", fields=(f"{direction}_{unit}",), is_quiet=True,
    )
    for direction in ("received", "sent")
    for unit, what in (("messages", "Messages that"), ("bytes", "Bytes of the messages that"))
)  # fmt: skip
