"""Numbers as a dashboard shows them: short, with the unit that Grafana means by its name."""

import math
from collections.abc import Iterator
from typing import Final

STEPS: Final = (1, 2, 2.5, 5, 10)
SUFFIXES: Final = {"reqps": " req/s", "cps": " /s", "Bps": "B/s", "bytes": "B"}
LARGE: Final = ((1e9, " G"), (1e6, " M"), (1e3, " k"))


def said(value: float, unit: str) -> str:
    """Return a value with its unit."""
    if math.isnan(value):
        return "none"
    if unit == "percentunit":
        return f"{_digits(100 * value)} %"
    if unit == "s":
        return f"{_digits(1000 * value)} ms" if 0 < abs(value) < 1 else f"{_digits(value)} s"
    suffix = SUFFIXES.get(unit, "")
    for size, letter in LARGE:
        if abs(value) >= size:
            return f"{_digits(value / size)}{letter}{suffix.lstrip()}"
    return _digits(value) + (" " if suffix[:1] == "B" else "") + suffix


def _digits(value: float) -> str:
    """Return three digits, without zeros behind the point."""
    if value == 0 or abs(value) < 5e-4:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    shown = f"{value:.{min(places, 3)}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def ticks(most: float, count: int = 4) -> Iterator[float]:
    """Yield round numbers from 0 up to at least the given one."""
    most = most or 1
    raw = most / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(one * size for one in STEPS if one * size >= raw * 0.999)
    value = 0.0
    while value < most + step * 0.999:
        yield value
        value = round(value + step, 12)
