"""Settings: the options that an operator may give by the environment, without code.

A setting stands as the default of its option, so an option in code wins. What a variable says is checked as the option
is, when the object is constructed.
"""

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Setting(Generic[T]):
    """An option's default: what an environment variable says, else a value. An empty variable says nothing."""

    variable: str
    default: T
    read: Callable[[str], T]
    """Returns the value that a text stands for. Raises `ValueError` with the rule."""

    def __repr__(self) -> str:
        return f"${self.variable} or {self.default!r}"

    def value(self, check: Callable[[T], object] | None = None) -> T:
        """Return what the variable says, else the default.

        Args:
            check: Raises `TypeError` or `ValueError` where the option must not have a value.

        Raises:
            ValueError: The variable has a wrong value; the message names it.
        """
        text = os.environ.get(self.variable)
        if not text:
            return self.default
        try:
            value = self.read(text)
            if check is not None:
                check(value)
        except (TypeError, ValueError) as wrong:
            raise ValueError(f"{self.variable}={text!r}: {wrong}") from wrong
        return value


def chosen(given: T | Setting[T], check: Callable[[T], object]) -> T:
    """Return the value of an option: what was given, unchecked, or what its setting says. See `Setting.value`."""
    return given.value(check) if isinstance(given, Setting) else given


def _boolean(text: str) -> bool:
    said = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return said[text.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be an integer") from None


def _seconds(text: str) -> Sequence[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError("must be seconds, separated by commas") from None


def _list(text: str) -> Collection[Any]:
    """Return what commas separate. Those within the parameter of a template separate nothing."""
    return [part.strip() for part in re.findall(r"(?:<[^>]*>|\{[^}]*\}|[^,])+", text)]


DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds, as OpenTelemetry advises for `http.server.request.duration`."""

ENABLED: Final = Setting[bool]("RED_ENABLED", True, _boolean)
METRICS_PATH: Final = Setting[str | None]("RED_METRICS_PATH", "/metrics", str)
EXCLUDE: Final = Setting[Any]("RED_EXCLUDE", (), _list)
NAMESPACE: Final = Setting("RED_NAMESPACE", "", str)
BUCKETS: Final = Setting[Sequence[float]]("RED_BUCKETS", DEFAULT_BUCKETS, _seconds)
MAX_LABEL_SETS: Final = Setting("RED_MAX_LABEL_SETS", 1000, _integer)


def is_enabled() -> bool:
    """Tell whether middlewares do anything."""
    return ENABLED.value()
