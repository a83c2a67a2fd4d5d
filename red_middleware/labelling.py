"""Which values a request has of the labels of the user's own, and how an application says one.

`counting.detailed` asks `Labels` when it counts a request. A value outside of a label's set becomes its default, never
a new value.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from .counting.detailed import DetailedExchange
from .counting.enclosing import KEY, Source
from .counting.exchange import exchanges
from .counting.labels import (
    MAX_VALUE_BYTES,
    OTHER,
    SERVER_ERROR,
    scheme_label,
    status_label,
    value_label,
    version_label,
)
from .counting.layout import Key
from .faults import log
from .label import Label

Read = Callable[[DetailedExchange, Source], object]
"""Returns what a request says, given it and its environ or scope."""

Close = Callable[[object], str]
"""Returns the value of a label for whatever was said."""


class Labels:
    """Says which values a request has.

    Args:
        labels: By their names, in the order of a key.
        is_otel: Whether there are those of OpenTelemetry behind them, see `families.otel`.
        fault: Takes the kind and the exception of what goes wrong.
    """

    def __init__(self, labels: Mapping[str, Label], is_otel: bool, fault: Callable[[str, BaseException], None]) -> None:
        self.names: frozenset[str] = frozenset(name for name, label in labels.items() if label.constant is None)
        """Of those that an application may set."""
        self.is_otel = is_otel
        self.fault = fault
        self._defaults: list[str] = [label.default for label in labels.values()]
        self._asked: list[tuple[int, str, Read, Collection[str], Close]] = [
            (at, name, _read(label), frozenset(label.values or ()), _close(label))
            for at, (name, label) in enumerate(labels.items())
            if label.constant is None
        ]

    def read(self, exchange: DetailedExchange, failed: bool) -> Key:
        """Return the values of one request. See `counting.enclosing.LabelReader`."""
        values = self._defaults.copy()
        given, source = exchange.given, exchange.source or {}
        for at, name, read, known, close in self._asked:
            try:
                said = given[name] if name in given else read(exchange, source)
                if type(said) is str and said in known:  # as most are: without a call
                    values[at] = said
                elif said is not None:
                    values[at] = close(said)
            except Exception as error:
                self.fault(f"label {name}", error)
        return (*values, *_attributes(exchange, source, failed)) if self.is_otel else tuple(values)


def _attributes(exchange: DetailedExchange, source: Source, failed: bool) -> Key:
    """Return the values of `families.otel.LABELS`."""
    outcome = exchange.outcome
    status = (outcome.code if outcome is not None else 0) or exchange.status
    error = ""
    if failed:  # without an exception or a status that says so, it was cut off
        known = exchange.apart.error if exchange.apart is not None else None
        error = known[1] if known is not None else status_label(status) if status >= SERVER_ERROR else OTHER
    return status_label(status), scheme_label(source), version_label(source), error


def _read(label: Label) -> Read:
    """Return what reads a label's value from where it stands."""
    if label.header is not None:
        wsgi_key = label.header.upper().replace("-", "_")
        if wsgi_key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):  # PEP 3333: CGI's variables for these two
            wsgi_key = f"HTTP_{wsgi_key}"
        in_request = _in_headers(label.header)

        def header(exchange: DetailedExchange, source: Source) -> object:
            found = source.get(wsgi_key)
            if found is None and (headers := source.get("headers")) is not None:
                return in_request(headers)
            return found

        return header
    if label.response_header is not None:
        in_response = _in_headers(label.response_header)
        return lambda exchange, source: in_response(exchange.headers)
    key, function = label.key, label.of
    if key is not None:
        return lambda exchange, source: source.get(key)
    if function is not None:
        return lambda exchange, source: function(source)
    return lambda exchange, source: None


def _in_headers(name: str) -> Callable[[Iterable[tuple[Any, Any]]], str | None]:
    wanted = (name.lower(), name.lower().encode())
    length = len(name)

    def find(headers: Iterable[tuple[Any, Any]]) -> str | None:
        found = None
        for name, value in headers:
            if len(name) == length and name.lower() in wanted:
                found = _text(value) if found is None else f"{found},{_text(value)}"
        return found

    return find


def _text(value: Any) -> str:
    text: str = value.decode("latin-1") if isinstance(value, bytes) else value
    return text


def _close(label: Label) -> Close:
    """Return what makes one of a label's values of anything."""
    if label.values is None:
        return lambda value: value_label(_text(value))
    allowed = {value: value for value in label.values}

    def closed(value: object) -> str:
        return allowed.get(value if type(value) is str else str(_text(value)), OTHER)

    return closed


def set_label(request: Any, name: str, value: object) -> None:
    """Say which value a label has for a request, any time until the request is counted. The last one holds.

    It counts with every `RedMetrics(labels=)` that has a label of this name and counts the request. It raises nothing:
    what has no effect is logged once. Outside of a middleware, as in a test of a view, it does nothing.

    Args:
        request: The environ (WSGI), the scope (ASGI), or a request object of a framework that holds one: those of
            Flask, Starlette, FastAPI, Django, Quart, Litestar, Falcon, Bottle, Pyramid, Sanic, BlackSheep and CherryPy.
        name: The label's.
        value: Its value. What is no text counts as its text, as a number does; `None` as `_OTHER`.
    """
    try:
        found = list(exchanges(_source(request)))
        named = [
            exchange
            for exchange in found
            if isinstance(exchange, DetailedExchange) and name in _names(exchange) and not exchange.is_forgotten
        ]
        for exchange in named:
            exchange.label(name, value)
        if not named and any(not exchange.is_forgotten for exchange in found):
            _doubt(name, "no RedMetrics(labels=) that counts this request has such a label, or it is a constant")
        elif any(exchange.finished for exchange in named):
            _doubt(name, "the request has been counted already")
    except Exception as error:
        _doubt(name, f"{type(error).__name__}: {error}")


def _source(request: Any) -> Source:
    """Return the environ or scope of a request."""
    if isinstance(request, Mapping) and KEY in request:
        return request  # type: ignore[return-value]  # it is only read
    for name in ("scope", "environ", "META", "env", "wsgi_environ"):
        held = getattr(request, name, None)
        if isinstance(held, Mapping) and KEY in held:
            return held  # type: ignore[return-value]  # as above
    return {}


def _names(exchange: DetailedExchange) -> Collection[str]:
    labels = exchange.recorder.labels
    return labels.names if labels is not None else ()


def _doubt(name: object, why: str) -> None:
    """Log once for each reason that a label was not set."""
    said = str(name)[:MAX_VALUE_BYTES], why
    if said not in _doubted and len(_doubted) < MAX_DOUBTS:
        _doubted.add(said)
        log(logging.WARNING, "set_label(%r) has no effect: %s", *said)


MAX_DOUBTS: Final = 100
"""How many warnings of `set_label` there can be: an application may take names from clients."""

_doubted: Final[set[tuple[str, str]]] = set()
