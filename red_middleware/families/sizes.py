"""The families of the sizes of bodies, which need an option."""

from typing import Final

from .family import Family

FAMILIES: Final = (
    Family(
        "http_request_size_bytes", "histogram",
        "Bytes of the request's body that the application received.",
        kind="http", fields=("request_size_buckets", "request_size_bytes"),
    ),
    Family(
        "http_response_size_bytes", "histogram",
        "Bytes of the response's body that the server took to send.",
        kind="http", fields=("response_size_buckets", "response_size_bytes"),
    ),
)  # fmt: skip
