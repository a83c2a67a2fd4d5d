"""What was answered, how busy the workers are, and a row for each option that shows more."""

from collections.abc import Iterator
from typing import Final

from ...families import otel
from ..installation import Installation
from .layout import Panel, Row
from .panels import ANY_IS_BAD, BY_STATUS, Query, time_series
from .selection import Selection, quantile, rate, total

_SHARES: Final = {"p50": 0.5, "p95": 0.95}


def detail_rows(installation: Installation) -> Iterator[Row]:
    """Yield the rows of details: those of requests, then those of options, then that of WebSockets."""
    selection = Selection(installation)
    yield Row("Answers", list(_answers(selection)))
    yield Row("Saturation", list(_saturation(selection)))
    if installation.options.first_byte:
        yield Row("First byte", list(_first_byte(selection)))
    if installation.options.sizes:
        yield Row("Sizes", list(_sizes(selection)))
    if installation.options.event_streams:
        yield Row("Event streams", list(_event_streams(selection)))
    yield Row("WebSockets", list(_websockets(selection)), is_collapsed=True)


def _answers(selection: Selection) -> Iterator[Panel]:
    installation, status = selection.installation, selection.installation.status
    yield time_series(
        "Requests by status",
        "What was answered. A rise of 4xx is often a client, or a link, that a release has broken; 499 is a client "
        "that left before the answer began.",
        "reqps",
        [Query(total(rate(selection.statuses()), status), f"{{{{{status}}}}}")],
        alerts=["RedErrorBudgetBurn"],
        is_stacked=True,
        colours=BY_STATUS,
    )
    if installation.is_otel:
        failed = installation.errors(selection.matchers(installation.duration_family))
        yield time_series(
            "Failures by type",
            "Why requests failed: the class of the exception, or the status. Search the logs for it.",
            "reqps",
            [Query(total(rate(failed), otel.ERROR), f"{{{{{otel.ERROR}}}}}")],
            alerts=["RedErrorBudgetBurn"],
        )
    else:
        yield time_series(
            "Exceptions by class",
            "What the application raised and did not catch, by class and route. Search the logs for it.",
            "cps",
            [
                Query(
                    total(rate(selection.series("http_exceptions_total")), "exception", "route"),
                    "{{exception}} {{route}}",
                )
            ],
            alerts=["RedErrorBudgetBurn"],
        )
    disconnects = "http_client_disconnects_total"
    route = selection.route_of(disconnects)
    yield time_series(
        "Disconnects by route",
        "Clients that left before the answer was complete. Many of them on a slow route mean that it is too slow for "
        "its users, or that a proxy waits less long.",
        "reqps",
        [Query(total(rate(selection.series(disconnects)), route), f"{{{{{route}}}}}")],
    )


def _saturation(selection: Selection) -> Iterator[Panel]:
    installation = selection.installation
    in_progress = "http_server_active_requests" if installation.is_otel else "http_requests_in_progress"
    by = selection.route_of(in_progress) or installation.method
    queries = [Query(total(selection.series(in_progress), by), f"{{{{{by}}}}}")]
    if not installation.options.saturation:
        yield time_series(
            "In progress",
            "Requests that are being served now. If the number only rises, something that they wait for is stuck. "
            "`saturation=True` adds how busy the workers are.",
            "none",
            queries,
            is_stacked=True,
            width=24,
        )
        return
    yield time_series(
        "In progress",
        "Requests that are being served now. If the number only rises, something that they wait for is stuck.",
        "none",
        queries,
        is_stacked=True,
    )
    yield time_series(
        "Busy workers",
        "Workers that are serving a request, all workers, and, where the server tells it, how many requests they can "
        "serve at a time. Add workers or instances before all are busy: requests then wait unseen.",
        "none",
        [
            Query(total(selection.series("red_workers_busy")), "busy"),
            Query(total(selection.series("red_workers")), "workers"),
            Query(total(selection.series("red_workers_capacity")), "capacity"),
        ],
    )
    yield time_series(
        "Oldest request",
        "The age of the oldest request that an instance is serving. A line that rises by a second each second is a "
        "request that is stuck: take a stack trace of that worker.",
        "s",
        [Query(f"max by (instance) ({selection.series('http_oldest_request_seconds')})", "{{instance}}")],
    )


def _first_byte(selection: Selection) -> Iterator[Panel]:
    family = "http_time_to_first_byte_seconds"
    route, buckets = selection.route_of(family), selection.series(family, "_bucket")
    yield time_series(
        "Time to first byte",
        "How long users wait until they see something. If it is close to the duration, answers are not streamed.",
        "s",
        [Query(quantile(share, buckets), name, has_exemplars=True) for name, share in _SHARES.items()],
        width=12,
    )
    yield time_series(
        "p95 time to first byte by route",
        "95 % of a route's answers begin within this time.",
        "s",
        [Query(quantile(0.95, buckets, route), f"{{{{{route}}}}}", has_exemplars=True)],
        has_table=True,
        width=12,
    )


def _sizes(selection: Selection) -> Iterator[Panel]:
    installation = selection.installation
    names = {
        "Request": "http_server_request_body_size_bytes" if installation.is_otel else "http_request_size_bytes",
        "Response": "http_server_response_body_size_bytes" if installation.is_otel else "http_response_size_bytes",
    }
    yield time_series(
        "Bytes per second",
        "What bodies carry in and out. Compare it with what the network allows.",
        "Bps",
        [Query(total(rate(selection.series(name, "_sum"))), f"{what.lower()}s") for what, name in names.items()],
    )
    for what, name in names.items():
        buckets, route = selection.series(name, "_bucket"), selection.route_of(name)
        yield time_series(
            f"{what} size, p95 by route",
            f"95 % of a route's {what.lower()} bodies are at most so large. A large one that grows needs a limit, or "
            "pages.",
            "bytes",
            [Query(quantile(0.95, buckets, route), f"{{{{{route}}}}}")],
            has_table=True,
        )


def _event_streams(selection: Selection) -> Iterator[Panel]:
    yield time_series(
        "Open event streams",
        "Streams that are being sent now. Each of them holds a connection, and in WSGI a thread.",
        "none",
        [Query(total(selection.series("http_event_streams_in_progress")), "open")],
    )
    yield time_series(
        "Event streams begun by route",
        "Many that begin while few are open are clients that connect again and again.",
        "cps",
        [Query(total(rate(selection.series("http_event_streams_total")), "route"), "{{route}}")],
    )
    buckets = selection.series("http_event_stream_duration_seconds", "_bucket")
    yield time_series(
        "Duration of event streams",
        "From the beginning of a stream to its end. If most last equally long, a proxy ends them.",
        "s",
        [Query(quantile(share, buckets), name) for name, share in _SHARES.items()],
    )


def _websockets(selection: Selection) -> Iterator[Panel]:
    """Yield the panels of WebSockets. They stay empty until the first handshake."""
    yield time_series(
        "Open WebSockets",
        "Connections that are open now. A sudden drop is a restart, or a proxy that closes them.",
        "none",
        [Query(total(selection.series("websocket_connections_in_progress")), "open")],
    )
    yield time_series(
        "Handshakes by status",
        "101 is a connection that was accepted; anything else is a refusal.",
        "cps",
        [Query(total(rate(selection.series("websocket_handshakes_total")), "status"), "{{status}}")],
        is_stacked=True,
        colours=BY_STATUS,
    )
    yield time_series(
        "Failed WebSockets by route",
        "Refused with 5xx, or closed for an exception or with 1011. There should be none: search the logs.",
        "cps",
        [Query(total(rate(selection.series("websocket_errors_total")), "route"), "{{route}}")],
        steps=ANY_IS_BAD,
    )
    yield time_series(
        "Closed by code",
        "1000 and 1001 are ends as they should be, 1006 is a client that was lost (RFC 6455, 7.4).",
        "cps",
        [Query(total(rate(selection.series("websocket_connections_total")), "close_code"), "{{close_code}}")],
        is_stacked=True,
    )
    buckets = selection.series("websocket_connection_duration_seconds", "_bucket")
    yield time_series(
        "Duration of WebSockets",
        "From the acceptance to the end. If most last equally long, a proxy closes idle connections: send pings.",
        "s",
        [Query(quantile(share, buckets), name) for name, share in _SHARES.items()],
    )
    for unit, grafana in (
        {"messages": "cps", "bytes": "Bps"}.items() if selection.installation.options.websocket_messages else ()
    ):
        yield time_series(
            f"{unit.capitalize()} of WebSockets",
            f"What clients have sent and received, in {unit} per second.",
            grafana,
            [
                Query(total(rate(selection.series(f"websocket_{direction}_{unit}_total"))), direction)
                for direction in ("received", "sent")
            ],
        )
