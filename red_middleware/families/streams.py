"""The families of long answers, each by an option: the time to the first byte, and event streams."""

from typing import Final

from .family import Family

FIRST_BYTE: Final = (
    Family(
        "http_time_to_first_byte_seconds", "histogram",
        "Time from a request's arrival to the first byte of the response's body, in seconds.",
        kind="http", fields=("first_byte_buckets", "first_byte_seconds"),
    ),
)  # fmt: skip

EVENT_STREAMS: Final = (
    Family(
        "http_event_streams_total", "counter", "Event streams that have begun.",
        kind="stream", fields=("begun",),
    ),
    Family(
        "http_event_stream_duration_seconds", "histogram",
        "Time from the beginning of an event stream to its end, in seconds.",
        kind="stream", fields=("buckets", "seconds"),
    ),
    Family(
        "http_event_streams_in_progress", "gauge", "Event streams that are being sent now.",
        kind="streams", fields=("in_progress",),
    ),
)  # fmt: skip
