"""One request on its way into its row: the two ways in which cells are added to. For the verbs see `test_metrics`."""

import pytest

from red_middleware import RedMetrics
from red_middleware.counting import exchange as exchange_room

from ..counts import counted, fresh_metrics, one_request
from ..drive import Clock, begun


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


def test_what_is_taken_over_is_no_request_any_more_if_it_ever_was_one() -> None:
    """A copy of an environ may reach a reader without the exchange."""
    metrics = fresh_metrics()
    exchange = begun(metrics)
    exchange_room.upgraded({})
    exchange_room.upgraded({exchange_room.KEY: exchange})
    exchange.respond(200, "/a")
    exchange.finish()
    assert counted(metrics) == {}
