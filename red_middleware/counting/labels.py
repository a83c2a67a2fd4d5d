"""Closed label sets: what a request says becomes one of finitely many label values.

Pure functions and constants. This room knows nothing of tables, requests or frameworks; `table` and `metrics` call it.
A value outside its set folds into a sentinel (`_OTHER`, `_unmatched`, `_overflow`), never into a new value.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

OTHER: Final = "_OTHER"
"""A value outside its closed set. The name is OpenTelemetry's (HTTP semantic conventions, `http.request.method`)."""

UNMATCHED: Final = "_unmatched"
"""No declared (method, route) was known when the response began."""

OVERFLOW: Final = "_overflow"
"""The table was full, or the route's name too long: the request is counted here."""

METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY", OTHER,
)  # fmt: skip
"""Every value of the label `method`: RFC 9110, PATCH (RFC 5789), QUERY, and `_OTHER`. Methods are case-sensitive."""

UNDECLARED_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
"""The methods that are reserved for a route that declares none."""

SCHEMES: Final = ("http", "https", OTHER)
"""Every value of the label for a request's scheme."""

VERSIONS: Final = ("1.0", "1.1", "2", "3", OTHER)
"""Every value of the label for a request's version of HTTP."""

_VERSIONS: Final = {**{version: version for version in VERSIONS}, "2.0": "2", "3.0": "3"}
"""The versions as servers write them. nginx and Apache give those of RFC 9113 and RFC 9114 a minor one."""

WEBSOCKET: Final = "websocket"
"""Stands among the methods of a declared route for WebSockets to it. It is no value of the label `method`."""

OTHER_STATUS: Final = 0
"""The code that stands for the label `_OTHER` where statuses are numbers."""

CLIENT_ERROR: Final = 400
"""The first status that refuses a request."""

CLIENT_GONE: Final = 499
"""The status of a request whose client left before a response began; nginx's number."""

SERVER_ERROR: Final = 500
"""The first status that is an error."""

EVENT_STREAM: Final = "text/event-stream"
_EVENT_STREAMS: Final[frozenset[str | bytes]] = frozenset({EVENT_STREAM, EVENT_STREAM.encode()})
_LENGTH: Final = len(EVENT_STREAM)
_CONTENT_TYPE: Final[frozenset[str | bytes]] = frozenset({"content-type", b"content-type"})
_ENDS: Final[frozenset[str | bytes]] = frozenset({"", ";", " ", b"", b";", b" "})
"""What may follow a media type: nothing, its parameters, or a space in front of them."""

MAX_VALUE_BYTES: Final = 256
"""Label values longer than this, in UTF-8, fold. Prometheus keeps every distinct value in memory."""

Headers = Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
"""Names and values: strings in WSGI, bytes in ASGI."""

_METHODS: Final = frozenset(METHODS)
STATUS_CODES: Final[Mapping[object, int]] = {
    **{key: code for code in range(100, 600) for key in (code, f"{code}", f"{code} ")},
    **{
        f"{status.value} {phrase}": status.value
        for status in HTTPStatus
        for phrase in (status.phrase, status.phrase.upper())
    },
}
"""The answers of `status_code` to what apps commonly say: a dictionary costs a third of a call."""


REGISTERED_CODES: Final[frozenset[int]] = frozenset(HTTPStatus)
"""The codes that have a name, about sixty. Of those that have none a client may invent hundreds."""


def method_label(method: object) -> str:
    """Return one of `METHODS`: the method itself, or `_OTHER`."""
    return method if isinstance(method, str) and method in _METHODS else OTHER


def status_code(status: object) -> int:
    """Return 100 to 599, or 0 (`OTHER_STATUS`) for anything else.

    Args:
        status: An integer, or a WSGI status line (`200 OK`, or a bare `200`).
    """
    try:
        return STATUS_CODES.get(status[:4] if isinstance(status, str) else status, OTHER_STATUS)
    except TypeError:  # unhashable
        return OTHER_STATUS


def close_code(code: object) -> int:
    """Return a WebSocket's close code, 1000 to 4999 (RFC 6455, 7.4), or 0 (`OTHER_STATUS`) for anything else."""
    # It may be of an enumeration, whose members are not written as numbers.
    return int(code) if isinstance(code, int) and 1000 <= code < 5000 else OTHER_STATUS


def status_class(code: int) -> int:
    """Return the class of a code from `status_code`: 1 to 5 of 1xx to 5xx, or 0 (`OTHER_STATUS`)."""
    return code // 100


def status_label(code: int) -> str:
    """Return the label of a code from `status_code` or `close_code`: its digits, or `_OTHER`; `2xx` of a class."""
    return OTHER if not code else f"{code}xx" if code < 100 else str(code)


def value_label(value: object) -> str:
    """Return the text of a value that is none of a closed set, or `_OTHER` where it is none, empty or too long.

    What is no text, as a number or a member of an enumeration, counts as its text. Lone surrogates become `?`.
    """
    return _closed(value if isinstance(value, str) else str(value), OTHER) if value not in (None, "") else OTHER


def route_label(route: object) -> str:
    """Return the label of a route template.

    The template itself, made to start with `/`; `_unmatched` for `None`; `_overflow` where it is longer than
    `MAX_VALUE_BYTES` or no string at all. Lone surrogates, which UTF-8 cannot carry, become `?`.
    """
    if route is None:
        return UNMATCHED
    if not isinstance(route, str):
        return OVERFLOW
    return _closed(route if route.startswith("/") else f"/{route}", OVERFLOW)


def scheme_label(source: Mapping[str, object]) -> str:
    """Return one of `SCHEMES`, given an environ or scope."""
    scheme = source.get("wsgi.url_scheme") or source.get("scheme")
    return str(scheme) if scheme in SCHEMES else OTHER


def version_label(source: Mapping[str, object]) -> str:
    """Return one of `VERSIONS`, given an environ or scope."""
    version = source.get("http_version") or str(source.get("SERVER_PROTOCOL")).partition("/")[2]
    return _VERSIONS.get(str(version), OTHER)


def exception_label(error: BaseException) -> str:
    """Return the name of the exception's class, or `_OTHER` where that is longer than `MAX_VALUE_BYTES`."""
    name: str = type.__dict__["__name__"].__get__(type(error))  # the class's own name, even if its metaclass hides it
    return _closed(name, OTHER)


def is_event_stream(headers: Headers) -> bool:
    """Tell whether a response is one of server-sent events (HTML Living Standard, 9.2), which lasts as it likes."""
    for name, value in headers:
        if name.lower() in _CONTENT_TYPE:
            return len(value) >= _LENGTH and value[:_LENGTH].lower() in _EVENT_STREAMS and value[_LENGTH:][:1] in _ENDS
    return False


def _closed(value: str, fallback: str) -> str:
    encoded = value.encode("utf-8", "replace")
    return encoded.decode("utf-8") if len(encoded) <= MAX_VALUE_BYTES else fallback
