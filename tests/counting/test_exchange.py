"""One request on its way into its row: the two ways in which cells are added to. For the verbs see `test_metrics`."""

from typing import Any

import pytest

from red_middleware import RedMetrics
from red_middleware.counting import exchange as exchange_room

from ..counts import counted, fresh_metrics, one_request, one_session
from ..drive import Clock, begun, restart


def serve(metrics: RedMetrics, seconds: float, status: int, raises: bool) -> None:
    """Count one request; one that names an exception is no common case, and takes the longer way."""
    exchange = begun(metrics)
    if raises:
        exchange.raised(KeyError())
    exchange.respond(status, "/a")
    clock = metrics.clock
    assert isinstance(clock, Clock)
    clock.seconds += seconds
    exchange.finish()


@pytest.mark.parametrize("is_locked", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("status", [200, 404])
def test_a_request_adds_the_same_with_a_lock_and_without(
    seconds: float, status: int, is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The common case stands twice, since a call and a lock would cost a sixth of it; both are `_add`'s additions."""
    monkeypatch.setattr(exchange_room, "IS_LOCKED", is_locked)  # what the interpreter is, which no test can choose
    common, longer = fresh_metrics(), fresh_metrics()
    serve(common, seconds, status, raises=False)
    serve(longer, seconds, status, raises=True)
    if seconds <= 10.0:
        assert counted(common) == one_request(str(status), route="/a", seconds=seconds)
    assert counted(common) == counted(longer, "http_requests", "http_errors", "http_request_duration", "http_client")


@pytest.mark.parametrize(("status", "counts"), [(200, False), (101, False), (403, True), (500, True), (999, True)])
def test_a_session_of_a_websocket_is_no_request_and_a_refusal_is_one(status: int, counts: bool) -> None:
    """Of all recorders; a copy of an environ may have come to a reader without the exchange."""
    metrics = fresh_metrics()
    source: dict[str, Any] = {}
    exchange = begun(metrics, source=source)
    exchange_room.asks_for_socket({})
    exchange_room.asks_for_socket(source)
    exchange.respond(status, "/a")
    exchange.finish()
    label = "_OTHER" if status == 999 else f"{status}"
    assert counted(metrics) == (one_request(label, route="/a", error=status == 500) if counts else one_session("/a"))


def test_an_exception_in_a_session_is_counted() -> None:
    """Whatever its client was told."""
    metrics = fresh_metrics()
    source: dict[str, Any] = {}
    exchange = begun(metrics, source=source)
    exchange_room.asks_for_socket(source)
    exchange.raised(KeyError())
    exchange.respond(200, "/a")
    exchange.finish()
    assert counted(metrics) == one_request(route="/a", raised="KeyError")


def test_a_session_of_what_is_excluded_is_none() -> None:
    """As a request would be."""
    metrics = fresh_metrics()
    exchange = begun(metrics)
    exchange.forget("")
    exchange.switch("/a")
    assert counted(metrics) == {}


@pytest.mark.parametrize("complete", [True, False])
def test_a_request_that_began_before_a_fork_ends_in_peace(complete: bool) -> None:
    """In the child it was never in progress, whichever way it ends."""
    metrics = fresh_metrics()
    exchange = begun(metrics)
    exchange.respond(200, "/a")
    restart(metrics)
    exchange.finish(complete)
    assert metrics.snapshot()['http_requests_in_progress{method="GET"}'] == 0.0
