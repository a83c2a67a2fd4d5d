"""What an app exposes, by name: no query can ask for what is not there."""

import pytest

from .installations import OBJECTIVES, installation


def test_a_family_that_no_option_asks_for_has_no_name() -> None:
    """A query for it would find nothing, and nobody would see why."""
    with pytest.raises(LookupError, match="http_request_size_bytes"):
        installation().name("http_request_size_bytes")
    assert installation(sizes=True, namespace="shop").name("http_request_size_bytes") == "shop_http_request_size_bytes"


def test_only_a_bound_of_the_histogram_can_be_asked_for() -> None:
    """An objective is one; what lies between two is counted nowhere."""
    shop = installation(**OBJECTIVES)
    assert shop.within(0.3, 'job="shop"') == 'http_request_duration_seconds_bucket{job="shop",le="0.3"}'
    with pytest.raises(ValueError, match=r"0\.4 is no bound of the latency histogram: 0\.005, .*0\.3, "):
        shop.within(0.4)


def test_a_scrape_may_bring_all_series_that_can_ever_be() -> None:
    """36,878 by default, and 10,000 of the app's own; where more routes are declared, what the app says."""
    shop = installation()
    assert shop.sample_limit == 36_878 + 10_000
