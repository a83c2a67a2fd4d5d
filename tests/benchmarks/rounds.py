"""Medians of interleaved rounds: every candidate in every round, in an order that changes.

What disturbs the machine then disturbs all of them alike. Seconds are those of the CPU that the thread had, so that
other processes cost nothing; the garbage collector runs as in production.
"""

import gc
import math
import random
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from .driving import Serve

PASSES = 4
"""How often a path is asked for in a round, at least: every candidate then runs as warm as it does in production."""


class Candidate(NamedTuple):
    """What is measured: its name, what drives it, and how many requests it says that it has counted."""

    name: str
    serve: Serve
    counted: Callable[[], float] | None = None
    comparable: bool = True
    """Whether it records what RED asks for: counts and durations."""


class Figure(NamedTuple):
    """Microseconds a request: in total, and added over the first candidate, give or take `margin`."""

    name: str
    total: float
    added: float
    margin: float
    """Half of the interval that holds the true median of the added cost in 95 of 100 cases."""
    void: str = ""
    """Why the figure says nothing."""
    comparable: bool = True


def measure(
    candidates: Sequence[Candidate], paths: int, rounds: int, chunk_seconds: float, lowest: bool = False
) -> dict[str, Figure]:
    """Measure candidates that serve the same requests; the first is the bare app.

    Args:
        candidates: Those that have a `counted` are checked before anything is timed.
        paths: How many requests a candidate serves when told to serve once.
        rounds: How often each is measured.
        chunk_seconds: What the bare app should take in one round; it sets how often the paths are asked for.
        lowest: Whether a figure is that of the candidate's fastest round, rather than a median. Where an app takes
            long, what else the machine does moves the differences within a round by more than they are; the fastest
            of many short rounds is hardly disturbed. It knows no margin.
    """
    void = {candidate.name: _check(candidate, paths) for candidate in candidates}
    comparable = {candidate.name: candidate.comparable for candidate in candidates}
    bare = candidates[0]
    times = max(1 if lowest else PASSES, math.ceil(chunk_seconds / max(min(bare.serve(3) / 3 for _ in range(5)), 1e-9)))
    seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    order = list(candidates)
    shuffle = random.Random(1).shuffle
    gc.collect()
    for _ in range(rounds):
        shuffle(order)
        for candidate in order:
            candidate.serve(1)  # what the others left in the processor's caches is not its to pay for
            seconds[candidate.name].append(candidate.serve(times))
    scale = 1e6 / (times * paths)
    figures = {}
    for name, found in seconds.items():
        added, margin = middle([mine - theirs for mine, theirs in zip(found, seconds[bare.name], strict=True)])
        total = median(found)
        if lowest:
            total, added, margin = min(found), min(found) - min(seconds[bare.name]), 0.0
        figures[name] = Figure(name, total * scale, added * scale, margin * scale, void[name], comparable[name])
    return figures


def middle(found: Sequence[float]) -> tuple[float, float]:
    """Return the median, and half of the interval that holds the true one in 95 of 100 cases."""
    ranked = sorted(found)
    reach = math.ceil(0.98 * math.sqrt(len(ranked)))  # the ranks around the median that hold it
    half = len(ranked) // 2
    low, high = ranked[max(0, half - reach)], ranked[min(len(ranked) - 1, half + reach)]
    return median(ranked), (high - low) / 2


def _check(candidate: Candidate, paths: int) -> str:
    """Serve some requests, which also warms up, and return what is wrong with the count."""
    times = max(3, 200 // paths)
    before = candidate.counted() if candidate.counted else 0.0
    candidate.serve(times)
    if candidate.counted is None:
        return ""
    counted = candidate.counted() - before
    return "" if counted == times * paths else f"counted {counted:g} of {times * paths}"
