"""Objectives as metrics: constant series, which rules join with what is counted, and which count nothing."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from red_middleware import RedMetrics
from red_middleware.exposition import Request, answer
from red_middleware.families import samples
from red_middleware.metrics import recorder_of
from red_middleware.recorder import Recorder
from red_middleware.workers import State

from ..counts import fresh_metrics
from ..drive import count

NAMES = {"red_slo_info", "red_slo_ratio"}


def shown(metrics: RedMetrics) -> dict[str, float]:
    """Return the series of objectives."""
    return {text: number for text, number in metrics.snapshot().items() if "red_slo_" in text}


def unscraped(text: bytes) -> list[bytes]:
    """Return the lines of a text but those that a scrape itself changes."""
    return [line for line in text.split(b"\n") if b"red_scrape_duration_seconds_" not in line]


def test_objectives_are_shown_with_the_share_that_is_aimed_at() -> None:
    """Availability by its own share, each latency by that of all of them."""
    metrics = fresh_metrics(slo_availability=0.999, slo_seconds=[2, 0.3], slo_latency=0.95)
    assert shown(metrics) == {
        'red_slo_info{objective="availability",threshold="0.999"}': 1.0,
        'red_slo_info{objective="latency",threshold="0.3"}': 1.0,
        'red_slo_info{objective="latency",threshold="2.0"}': 1.0,
        'red_slo_ratio{objective="availability",threshold="0.999"}': 0.999,
        'red_slo_ratio{objective="latency",threshold="0.3"}': 0.95,
        'red_slo_ratio{objective="latency",threshold="2.0"}': 0.95,
    }


@pytest.mark.parametrize(
    ("options", "objectives"),
    [
        ({}, []),
        ({"slo_latency": 0.9}, []),
        ({"slo_availability": 0.99}, ['objective="availability",threshold="0.99"']),
        ({"slo_seconds": [0.3]}, ['objective="latency",threshold="0.3"']),
    ],
)
def test_what_is_aimed_at_nowhere_is_left_out(options: dict[str, Any], objectives: list[str]) -> None:
    """Without any objective there is no such family, nor its name in the registry."""
    metrics = fresh_metrics(**options)
    assert set(shown(metrics)) == {f"{name}{{{labels}}}" for name in NAMES for labels in objectives}
    assert ("red_slo_info" in answer(metrics, Request()).body.decode()) is bool(objectives)
    assert NAMES.issubset(metrics.registry._names_to_collectors) is bool(objectives)


@pytest.mark.parametrize("option", ["slo_availability", "slo_latency"])
@pytest.mark.parametrize(
    ("share", "error"),
    [(0.0, ValueError), (1.0, ValueError), (99.9, ValueError), (math.nan, ValueError), ("0.9", TypeError),
     (True, TypeError)],
)  # fmt: skip
def test_what_is_no_share_to_aim_at_is_refused(option: str, share: object, error: type[Exception]) -> None:
    """All requests would leave no budget for errors, and a percentage looks like a share."""
    with pytest.raises(error) as refused:
        fresh_metrics(**{option: share})
    assert str(refused.value).startswith(f"RedMetrics({option}={share!r}): must be a share of requests")


@given(
    seconds=st.lists(st.floats(1e-9, 1e9, exclude_max=True), min_size=1, max_size=4),
    availability=st.none() | st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
)
def test_a_threshold_is_spelled_as_the_bucket_that_it_is(seconds: list[float], availability: float | None) -> None:
    """Whatever the objectives: a rule joins them with the histogram by the text of the label."""
    metrics = fresh_metrics(slo_seconds=seconds, slo_availability=availability)
    count(metrics)
    les = {
        sample.labels["le"]
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "http_request_duration_seconds_bucket"
    }
    latencies = [
        sample.labels["threshold"]
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "red_slo_info" and sample.labels["objective"] == "latency"
    ]
    assert len(latencies) == len(set(latencies)) == len(set(seconds))
    assert les.issuperset(latencies)
    assert unscraped(answer(metrics, Request()).body) == unscraped(generate_latest(metrics.registry))
    theirs: bytes = openmetrics.generate_latest(metrics.registry)  # type: ignore[no-untyped-call]  # no annotations
    ours = answer(metrics, Request(headers={"accept": "application/openmetrics-text"})).body
    assert unscraped(ours) == unscraped(theirs)


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_they_are_in_the_bound_and_among_the_series(namespace: str) -> None:
    """Two series an objective, from the first scrape on; an objective that is no bucket is one more of every row."""
    options: dict[str, Any] = {"namespace": namespace, "buckets": (0.3, 10)}
    plain = fresh_metrics(**options)
    metrics = fresh_metrics(**options, slo_availability=0.999, slo_seconds=[0.3])
    assert metrics.bound().series == plain.bound().series + 4
    assert metrics.bound().cells == plain.bound().cells
    name = f"{namespace}_red_series" if namespace else "red_series"
    assert metrics.snapshot()[name] == plain.snapshot()[name] + 4 == len(metrics.snapshot())
    lines = answer(metrics, Request()).body.decode().splitlines()
    assert f"{name} {float(len([line for line in lines if not line.startswith('#')]))}" in lines


def test_one_of_them_can_be_asked_for() -> None:
    """`name[]` chooses it as any family."""
    metrics = fresh_metrics(slo_availability=0.5)
    text = answer(metrics, Request(query="name[]=red_slo_ratio")).body.decode()
    assert [line for line in text.splitlines() if line.startswith("red_")] == [
        'red_slo_ratio{objective="availability",threshold="0.5"} 0.5'
    ]


def test_workers_show_the_same_and_no_sum(tmp_path: Path) -> None:
    """They are constants of the options, and no cells: two workers do not make a 2."""
    metrics = fresh_metrics(
        slo_availability=0.99, multiprocess_dir=str(tmp_path), multiprocess_name="shop", own_series_limit=10
    )
    workers = [Recorder(recorder_of(metrics).options, CollectorRegistry()) for _ in range(2)]
    for worker in workers:
        worker.begin({})
        assert worker.membership.state is State.JOINED
    for worker in workers:
        reading = worker.read()
        found = samples(worker.families, worker.kinds, reading)
        assert reading.workers == 2
        assert {family.name: [s.value for s in shown] for family, shown in found.items() if family.name in NAMES} == {
            "red_slo_info": [1.0],
            "red_slo_ratio": [0.99],
        }
