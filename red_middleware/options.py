"""What the options accept: checked at construction, refused with the option, its value and the rule.

Pure functions; `metrics` and `mounting` call them. Nothing here runs at request time.
"""

import functools
import inspect
import math
import os
import re
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Final

MAX_LABEL_SETS: Final = 1_000_000
"""The most that `max_label_sets` may be: with the default buckets 272 MB of cells, which are taken at construction."""


def refusal(kind: type[Exception], owner: str, option: str, value: object, rule: str) -> Exception:
    """Return the error for a wrong option: `RedMetrics(buckets=[1, 0.5]): must be strictly increasing seconds > 0`."""
    return kind(f"{owner}({option}={value!r}): {rule}")


def check_type(owner: str, option: str, value: object, kind: type) -> None:
    """Refuse what is not of a type; a bool is no int."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise refusal(TypeError, owner, option, value, f"must be of type {kind.__name__}")


def check_callable(owner: str, option: str, value: object) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise refusal(TypeError, owner, option, value, "must be callable")


def check_plain_callable(owner: str, option: str, value: object) -> None:
    """Refuse what cannot be called, or whose call makes a coroutine: nobody would await it."""
    check_callable(owner, option, value)
    called: Any = value
    while isinstance(called, functools.partial):
        called = called.func
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(type(called).__call__):
        raise refusal(TypeError, owner, option, value, "must be a plain function, not async")


def check_count(owner: str, option: str, value: object, most: int) -> None:
    """Refuse what is not an integer from 1 to `most`."""
    check_type(owner, option, value, int)
    if isinstance(value, int) and not 1 <= value <= most:
        rule = "must be at least 1" if value < 1 else f"must be at most {most}"
        raise refusal(ValueError, owner, option, value, rule)


def first_seconds(owner: str, option: str, clock: Any) -> float:
    """Return what a clock says now; refuse one that says no finite seconds, or raises.

    A `Decimal` is refused too: it can be subtracted, and then not be added to a sum.
    """
    check_callable(owner, option, clock)
    rule = "must return finite seconds, as a float"
    try:
        seconds = clock()
        finite = isinstance(seconds, int | float) and math.isfinite(seconds)
    except Exception as error:  # an int may be too long to be finite
        raise refusal(ValueError, owner, option, clock, rule) from error
    if not finite:
        raise refusal(ValueError, owner, option, clock, f"{rule}, not {seconds!r}")
    return float(seconds)


def check_namespace(owner: str, value: object) -> None:
    """Refuse what cannot stand in front of a metric's name."""
    check_type(owner, "namespace", value, str)
    if value and not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", str(value)):
        rule = "must be letters, digits and underscores, and start with no digit"
        raise refusal(ValueError, owner, "namespace", value, rule)


def paths(owner: str, option: str, value: object) -> frozenset[str]:
    """Return a collection of paths; one string is none."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise refusal(TypeError, owner, option, value, "must be a collection of paths")
    found = tuple(value)
    for path in found:
        check_path(owner, option, path)
    return frozenset(found)


def check_path(owner: str, option: str, value: object) -> None:
    """Refuse what is not a path from the root of the mounting."""
    check_type(owner, option, value, str)
    if not str(value).startswith("/"):
        raise refusal(ValueError, owner, option, value, "must start with /")


def directory(owner: str, option: str, value: object) -> str | None:
    """Return a directory's path, `"auto"`, or `None`."""
    if value is None or value == "auto":
        return value if value is None else "auto"
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise refusal(TypeError, owner, option, value, 'must be a path, "auto" or None')
    path: str = os.fspath(value)
    if not os.path.isabs(path):
        raise refusal(ValueError, owner, option, value, 'must be an absolute path, "auto" or None')
    return path


def directory_of_environment(variable: str) -> str | None:
    """Return the directory that a variable of the environment names, `None` where it is unset or empty."""
    value = os.environ.get(variable) or None
    if value is not None and not os.path.isabs(value):
        raise ValueError(f"{variable}={value!r}: must be an absolute path")
    return value


def bucket_bounds(owner: str, buckets: Sequence[float]) -> tuple[float, ...]:
    """Return the upper bounds of buckets, seconds in increasing order, without +Inf."""
    bounds = _seconds(owner, "buckets", buckets)
    if bounds and bounds[-1] == math.inf:
        bounds.pop()
    increasing = all(low < high for low, high in zip([0.0, *bounds], [*bounds, math.inf], strict=True))
    if not bounds or not increasing:
        raise refusal(ValueError, owner, "buckets", buckets, "must be strictly increasing seconds > 0")
    return tuple(bounds)


def objectives(owner: str, slo_seconds: Sequence[float]) -> tuple[float, ...]:
    """Return objectives, seconds in increasing order."""
    found = _seconds(owner, "slo_seconds", slo_seconds)
    if not all(0.0 < objective < math.inf for objective in found):
        raise refusal(ValueError, owner, "slo_seconds", slo_seconds, "must be finite seconds > 0")
    return tuple(sorted(set(found)))


def _seconds(owner: str, option: str, values: object) -> list[float]:
    rule = "must be a sequence of seconds"
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise refusal(TypeError, owner, option, values, rule)
    found = []
    for number in values:
        if not isinstance(number, Real) or isinstance(number, bool):
            raise refusal(TypeError, owner, option, values, rule)
        try:
            found.append(float(number))
        except OverflowError:
            raise refusal(ValueError, owner, option, values, rule) from None
    return found
