"""One application that shows everything that options can show, and more of these for the dashboard to follow."""

from collections.abc import Mapping
from typing import Any, Final

from red_middleware import Label, RedASGIMiddleware, RedMetrics
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.installation import Installation, OwnMetric

from ..counts import fresh_metrics
from ..drive import by_hand
from ..drive import scope as scope_of
from ..options import BY_CODE, LABELS, OTEL
from .installations import OBJECTIVES, OPTIONS

JOB: Final = "shop"

ASKED: Final[Mapping[str, Mapping[str, Any]]] = {
    **OPTIONS,
    "apdex": {"buckets": (0.1, 0.25, 1.0, 4.0)},
    "several_objectives": {"slo_availability": 0.999, "slo_seconds": (0.3, 2.0), "slo_latency": 0.95},
    "latency_only": {"slo_seconds": (0.3,)},
    "every_label": {"labels": LABELS},
    "label_of_durations": {
        "labels": {"tenant": Label(max_values=2, header="x-tenant", families=["http_request_duration_seconds"])}
    },
    "in_progress_by_route": {"in_progress_by_route": True},
    "saturation": {"saturation": True},
    "sizes": {"sizes": True},
    "first_byte": {"first_byte": True},
    "event_streams": {"event_streams": True},
    "messages": {"websocket_messages": True},
    "by_code": BY_CODE,
    "otel_plain": {"naming": "otel"},
    "otel_every": {**OTEL, **OBJECTIVES, "namespace": "shop"},
}
"""Options that change what the dashboard asks."""

SERVED_OPTIONS: Final = "RED_TESTS_OPTIONS"
"""The environment variable that says by which of them the application is served."""

OWN: Final = (
    OwnMetric("shop_orders_total", "counter", "Orders paid for."),
    OwnMetric("shop_sent_bytes_total", "counter", "Bytes of receipts."),
    OwnMetric("shop_carts", "gauge", ""),
    OwnMetric("shop_payment_seconds", "histogram", "Time that a payment takes."),
    OwnMetric("shop_parcel_bytes", "summary", "Size of a parcel's label."),
)


def installation_of(metrics: RedMetrics, job: str = JOB, own: tuple[OwnMetric, ...] = OWN) -> Installation:
    """Return what an app with these metrics exposes."""
    return Installation(job, recorder_of(metrics).options, own)


async def respond(scope: Any, receive: Any, send: Any) -> None:
    """Answer any path; `/fail` raises, `/events` is an event stream, and a WebSocket gets its message back."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    message = await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await send({"type": "websocket.close", "code": 1000})
        return
    if scope["path"] == "/fail":
        raise LookupError
    kind = b"text/event-stream" if scope["path"] == "/events" else b"text/plain"
    if scope["path"] == "/leave":
        while message["type"] != "http.disconnect":
            message = await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": b"well" if scope["path"] == "/health" else b"data: 1\n\n"})


ROUTES: Final = ("/items/<n>", "/fail", "/events", "/leave", "/chat")


def shown(options: Mapping[str, Any]) -> RedMetrics:
    """Return metrics with these options that have counted one request of each kind, and so show all their families."""
    metrics = fresh_metrics(**options)
    app = RedASGIMiddleware(respond, metrics=metrics, routes=ROUTES)
    for path in ("/items/1", "/fail", "/events", "/leave"):
        _serve(app, scope_of(path), {"type": "http.request", "body": b"a"}, {"type": "http.disconnect"})
    chat = scope_of("/chat")
    chat["type"] = "websocket"
    del chat["method"]
    _serve(app, chat, {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"})
    return metrics


def _serve(app: RedASGIMiddleware, scope: Any, *messages: Any) -> None:
    left = iter(messages)

    async def receive() -> Any:
        return next(left)

    async def send(message: Any) -> None:
        pass

    try:
        by_hand(app(scope, receive, send))
    except LookupError:  # the application's own
        pass
