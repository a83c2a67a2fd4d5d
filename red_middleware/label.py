"""Labels of the user's own: what `RedMetrics(labels=)` takes. `labelling` says which values a request has."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final

from . import options
from .counting.labels import MAX_VALUE_BYTES, OTHER, value_label

MAX_VALUES: Final = 10_000
"""The most that `max_values` may be."""

HELD_NAMES: Final = frozenset(
    {
        "close_code", "error_type", "exception", "instance", "job", "le", "method", "pid", "quantile", "route",
        "status",
    }
)  # fmt: skip
"""Names of labels that Prometheus adds to every series, or that mean something to it or to us."""


DERIVED: Final = ("default", "written")
"""Fields of a label that nobody gives."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Label:
    """A label of your own, with a bounded number of values.

    Exactly one of the first three says which values there can be. A value outside of them, or none, counts as `_OTHER`.
    At most one of the next four says where the value stands in a request; `set_label` goes before it. Labels make no
    rows beside `max_label_sets`: where that has no room for another combination, all labels of the request fold.

    Args:
        values: The values that there can be.
        max_values: How many values there can be, 1 to 10,000: those that come first. Clients can use them up if they
            choose the value; prefer `values` then.
        constant: The only value. It costs a request nothing.
        header: The name of a request's header, in any case. Of a header that stands there several times the values are
            joined by commas.
        response_header: The name of a response's header, in the same way.
        key: A key of the environ (WSGI) or of the scope (ASGI).
        of: A plain function, called with the environ or scope when the request is counted. If it raises, that is a
            fault of the instrumentation, and the value is `_OTHER`.
        families: The families that show it, by their names without a namespace; those that do not show the sum over its
            values. By default requests, errors and durations.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A value cannot be one of a label, or the arguments do not go together.
    """

    values: Collection[str] | None = None
    max_values: int | None = None
    constant: str | None = None
    header: str | None = None
    response_header: str | None = None
    key: str | None = None
    of: Callable[[Any], object] | None = field(default=None, compare=False)
    families: Collection[str] | None = None
    default: str = field(init=False, compare=False)
    """What counts in place of a value that is none of the label's."""
    written: object = field(init=False)
    """What tells the function from another one. An app factory that runs twice makes the same one twice."""

    def __post_init__(self) -> None:
        kinds = [name for name in ("values", "max_values", "constant") if getattr(self, name) is not None]
        if len(kinds) != 1:
            given = ", ".join(f"{name}=" for name in kinds)
            raise ValueError(f"Label({given}): needs exactly one of values=, max_values= and constant=")
        sources = [name for name in ("header", "response_header", "key", "of") if getattr(self, name) is not None]
        if len(sources) > 1:
            given = ", ".join(f"{name}=" for name in sources)
            raise ValueError(f"Label({given}): takes its value from one place only")
        if sources and self.constant is not None:
            raise self._refusal(ValueError, sources[0], "goes with no constant=")
        for name in ("header", "response_header", "key"):
            if getattr(self, name) is not None:
                options.check_type("Label", name, getattr(self, name), str)
        for name in ("header", "response_header"):
            if getattr(self, name) is not None and not re.fullmatch(
                r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", getattr(self, name)
            ):
                raise self._refusal(ValueError, name, "must be the name of a header (RFC 9110, 5.1)")
        if self.of is not None:
            options.check_plain_callable("Label", "of", self.of)
        if self.values is not None:
            object.__setattr__(self, "values", tuple(dict.fromkeys(self._texts("values"))))
            if not self.values:
                raise self._refusal(ValueError, "values", "must be at least one")
            for value in self.values:
                self._check_value("values", value)
        elif self.max_values is not None:
            options.check_count("Label", "max_values", self.max_values, MAX_VALUES)
        else:
            options.check_type("Label", "constant", self.constant, str)
            self._check_value("constant", str(self.constant))
        if self.families is not None:
            object.__setattr__(self, "families", frozenset(self._texts("families")))
        object.__setattr__(self, "written", _written(self.of))
        object.__setattr__(self, "default", OTHER if self.constant is None else self.constant)

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in vars(self).items() if name not in DERIVED and value is not None]
        return f"Label({', '.join(given)})"

    def _texts(self, option: str) -> list[str]:
        given = getattr(self, option)
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise self._refusal(TypeError, option, "must be a collection of texts")
        found = list(given)
        if not all(isinstance(text, str) for text in found):
            raise self._refusal(TypeError, option, "must be a collection of texts")
        return found

    def _check_value(self, option: str, value: str) -> None:
        if not value or value_label(value) != value:
            rule = f"must be text of 1 to {MAX_VALUE_BYTES} bytes in UTF-8, and not {OTHER}"
            raise self._refusal(ValueError, option, rule)
        if value == OTHER:
            raise self._refusal(ValueError, option, f"must not be {OTHER}, which counts what is no value")

    def _refusal(self, kind: type[Exception], option: str, rule: str) -> Exception:
        return options.refusal(kind, "Label", option, getattr(self, option), rule)


def _written(function: Any) -> object:
    """Return the code of a plain function that depends on nothing else, which is equal if it is written the same."""
    is_function = isinstance(function, FunctionType)  # a bound method depends on its object
    depends = is_function and (function.__closure__ or function.__defaults__ or function.__kwdefaults__)
    return function.__code__ if is_function and not depends else function


def check_labels(owner: str, labels: object) -> dict[str, Label]:
    """Return labels by their names, in the order of these; refuse what cannot be the name of one."""
    if not isinstance(labels, Mapping):
        raise options.refusal(TypeError, owner, "labels", labels, "must be a mapping of names to Label(...)")
    for name, label in labels.items():
        if not isinstance(name, str) or not isinstance(label, Label):
            raise options.refusal(TypeError, owner, "labels", labels, "must be a mapping of names to Label(...)")
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
            rule = "a name must be letters, digits and underscores, start with no digit and not with __"
            raise options.refusal(ValueError, owner, "labels", {name: label}, rule)
        if name in HELD_NAMES:
            raise options.refusal(
                ValueError, owner, "labels", {name: label}, f"the name {name} is taken, by Prometheus or by us"
            )
    return dict(sorted(labels.items()))


def check_families(owner: str, labels: Mapping[str, Label], names: Collection[str]) -> None:
    """Refuse a label for a family that is not there, or shows no requests by route."""
    for name, label in labels.items():
        unknown = sorted(set(label.families or ()).difference(names))
        if unknown:
            rule = f"families= knows no {unknown[0]}; there are {', '.join(sorted(names))}"
            raise options.refusal(ValueError, owner, "labels", {name: label}, rule)
