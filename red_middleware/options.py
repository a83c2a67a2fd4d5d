"""What the options accept: checked at construction, refused with the option, its value and the rule.

`metrics` makes the `Options` of a recorder; `mounting` calls the checks. Nothing here runs at request time.
"""

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

from .counting.layout import Choices, CustomLabel, Objective
from .families import otel

if TYPE_CHECKING:
    from .label import Label

P = ParamSpec("P")
Constructor = Callable[Concatenate[Any, P], None]
"""An `__init__`."""

MAX_TIMEOUT_SECONDS: Final = 120.0
"""The most that a scrape may wait: longer, and it holds up the others."""

MAX_LABEL_SETS: Final = 1_000_000
"""The most that `max_label_sets` may be. With the default buckets its cells take 272 MB, at construction."""

SWITCHES: Final = (
    "first_byte", "event_streams", "websocket_messages", "sizes", "status_classes", "in_progress_by_route",
    "saturation",
)  # fmt: skip
"""The options that are on or off."""

OWN_NAMING: Final = ("duration_status", "status_classes", "in_progress_by_route")
"""The options that go with our own names only."""

OWN_METRICS: Final = ("shared", "worker")
"""What `own_metrics` may be."""

MAX_OWN_SERIES: Final = 1_000_000
"""The most that `own_series_limit` may be. Its cells take 64 MB of each worker's file."""

SIZE_BUCKETS: Final = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 1048576.0, 8388608.0, 67108864.0)
"""By default the upper bounds of the histograms of sizes, in bytes: from a short answer to a large upload."""

SLO_LATENCY: Final = 0.99
"""By default the share of requests that must be within an objective of seconds."""

LEAST_LIKELY_BUCKET_SECONDS: Final = 1.0
"""A first bucket from here on leaves most requests in it."""

LONGEST_LIKELY_OBJECTIVE_SECONDS: Final = 60.0
"""The longest objective that somebody may have for a request; servers and proxies give up there."""

MOUNTING_OPTIONS: Final = ("metrics", "metrics_path", "authorize", "exclude", "exclude_sizes", "routes", "route_of")
"""The options of both middlewares."""

DIRECTORY: Final = "RED_MULTIPROCESS_DIR"
"""The environment variable that `multiprocess_dir="auto"` stands for."""

NAME: Final = "RED_MULTIPROCESS_NAME"
"""The environment variable that stands for a `multiprocess_name` that is not given."""


@dataclass(frozen=True)
class Options:
    """The options of a `RedMetrics` that make its numbers, checked. Two are equal if the same numbers come of them."""

    namespace: str
    buckets: Sequence[float] = field(compare=False)
    slo_seconds: Sequence[float] = field(compare=False)
    max_label_sets: int
    naming: str
    labels: Mapping[str, "Label"]
    first_byte: bool
    event_streams: bool
    websocket_messages: bool
    sizes: bool
    size_buckets: Sequence[float]
    duration_status: str | None
    status_classes: bool
    in_progress_by_route: bool
    saturation: bool
    slo_availability: float | None
    slo_latency: float
    multiprocess_dir: str | os.PathLike[str] | None
    multiprocess_name: str | None
    own_metrics: str
    own_series_limit: int
    scrape_timeout_seconds: float
    clock: Callable[[], float]
    born: float = field(init=False, compare=False)
    """What the clock said at construction."""
    bounds: tuple[float, ...] = field(init=False)
    """Buckets and objectives in one, in order: an objective that is a bucket as well is the same either way."""

    def __post_init__(self) -> None:
        owner = "RedMetrics"
        check_namespace(self.namespace)
        check_label_sets(self.max_label_sets)
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise refusal(TypeError, owner, name, getattr(self, name), "must be True or False")
        if self.own_metrics not in OWN_METRICS:
            raise refusal(ValueError, owner, "own_metrics", self.own_metrics, 'must be "shared" or "worker"')
        check_count(owner, "own_series_limit", self.own_series_limit, MAX_OWN_SERIES)
        if self.duration_status not in (None, "class", "code"):
            rule = 'must be "class", "code" or None'
            raise refusal(ValueError, owner, "duration_status", self.duration_status, rule)
        if self.duration_status == "code" and self.status_classes:
            rule = 'needs the codes, which status_classes=True leaves out; "class" goes with it'
            raise refusal(ValueError, owner, "duration_status", self.duration_status, rule)
        if self.naming not in ("red", "otel"):
            raise refusal(ValueError, owner, "naming", self.naming, 'must be "red" or "otel"')
        for name in OWN_NAMING if self.naming == "otel" else ():
            if getattr(self, name):
                rule = 'does not go with naming="otel", whose labels are fixed'
                raise refusal(ValueError, owner, name, getattr(self, name), rule)
        for name in otel.NAMES.intersection(self.labels) if self.naming == "otel" else ():
            rule = f'the name {name} is taken with naming="otel"'
            raise refusal(ValueError, owner, "labels", self.labels, rule)
        if self.slo_availability is not None:
            check_share(owner, "slo_availability", self.slo_availability)
        check_share(owner, "slo_latency", self.slo_latency)
        if self.multiprocess_name is not None:
            check_type(owner, "multiprocess_name", self.multiprocess_name, str)
        kept: dict[str, object] = {
            "born": first_seconds(owner, "clock", self.clock),
            "buckets": bucket_bounds(self.buckets),
            "slo_seconds": objectives(owner, self.slo_seconds),
            "size_buckets": increasing(owner, "size_buckets", self.size_buckets, "bytes"),
            "multiprocess_dir": directory(owner, "multiprocess_dir", self.multiprocess_dir),
            "scrape_timeout_seconds": timeout(owner, "scrape_timeout_seconds", self.scrape_timeout_seconds),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # as what it stands for
        object.__setattr__(self, "bounds", tuple(sorted({*self.buckets, *self.slo_seconds})))
        self.base()

    def difference(self, other: "Options") -> str:
        """Return the name of an option that differs in another one that is not equal."""
        names = ["buckets", "slo_seconds"] if self.bounds != other.bounds else []
        names += [one.name for one in fields(self) if one.compare]
        return next(name for name in names if getattr(self, name) != getattr(other, name))

    def doubts(self) -> Iterator[str]:
        """Yield what is allowed and looks like a mistake: milliseconds in place of seconds, or what has no effect."""
        rule = "these are seconds, and look like milliseconds"
        if self.buckets[0] >= LEAST_LIKELY_BUCKET_SECONDS:
            yield f"RedMetrics(buckets={list(self.buckets)}): {rule}"
        if self.slo_seconds and self.slo_seconds[-1] > LONGEST_LIKELY_OBJECTIVE_SECONDS:
            yield f"RedMetrics(slo_seconds={list(self.slo_seconds)}): {rule}"
        if self.size_buckets != SIZE_BUCKETS and not self.sizes:
            yield f"RedMetrics(size_buckets={list(self.size_buckets)}): no sizes are counted without sizes=True"
        if self.slo_latency != SLO_LATENCY and not self.slo_seconds:
            yield f"RedMetrics(slo_latency={self.slo_latency}): there is no objective to aim at without slo_seconds="

    def choices(self) -> Choices:
        """Return what is to be counted."""
        is_shared = self.own_metrics == "shared" and self.multiprocess_dir is not None
        own_series = self.own_series_limit if is_shared else 0
        return Choices(
            bounds=self.bounds,
            max_label_sets=self.max_label_sets,
            first_byte=self.first_byte,
            event_streams=self.event_streams,
            websocket_messages=self.websocket_messages,
            size_bounds=tuple(self.size_buckets) if self.sizes else (),
            duration_status=self.duration_status,
            status_classes=self.status_classes,
            objectives=tuple(self.objectives()),
            in_progress_by_route=self.in_progress_by_route,
            saturation=self.saturation,
            own_series=own_series,
            labels=tuple(
                CustomLabel(name, label.default, label.max_values or 0, label.families)
                for name, label in self.labels.items()
            )
            + (otel.LABELS if self.naming == "otel" else ()),
            is_otel=self.naming == "otel",
        )

    def objectives(self) -> Iterator[Objective]:
        """Yield what is aimed at."""
        if self.slo_availability is not None:
            yield Objective("availability", self.slo_availability, self.slo_availability)
        for seconds in self.slo_seconds:
            yield Objective("latency", seconds, self.slo_latency)

    def asks_details(self) -> bool:
        """Tell whether more is to be known of a request than `exchange.start` remembers."""
        return (
            self.sizes or self.first_byte or self.event_streams
            or self.reads_labels() or self.in_progress_by_route or self.saturation
        )  # fmt: skip

    def reads_labels(self) -> bool:
        """Tell whether a request decides the value of a label of the user's own: of a constant it does not."""
        return self.naming == "otel" or any(label.constant is None for label in self.labels.values())

    def group_name(self) -> str | None:
        """Return the name that makes a group of all processes that give it; `None` where the server tells."""
        return self.multiprocess_name or os.environ.get(NAME) or None

    def base(self) -> str | None:
        """Return the directory where groups lie; `None` where none is named."""
        place = self.multiprocess_dir
        return directory_of_environment() if place == "auto" else None if place is None else os.fspath(place)


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


def refuses_unknown(home: str, others: Callable[[], Collection[str]]) -> Callable[[Constructor[P]], Constructor[P]]:
    """Return a decorator of a constructor, which refuses a name that is no option, and says where it belongs.

    Args:
        home: How to give the options of the other class; `{name}` stands for the option.
        others: Returns their names.
    """

    def decorate(init: Constructor[P]) -> Constructor[P]:
        own = inspect.signature(init).parameters

        @functools.wraps(init)
        def checked(self: Any, /, *args: P.args, **given: P.kwargs) -> None:
            for name, value in given.items():
                if name not in own:
                    rule = _place_of(name, own.keys() - {"self"}, others(), home)
                    raise refusal(TypeError, type(self).__name__, name, value, rule)
            init(self, *args, **given)

        return checked

    return decorate


def _place_of(name: str, own: Collection[str], others: Collection[str], home: str) -> str:
    if name in others:
        return f"belongs to {home.format(name=name)}"
    from difflib import get_close_matches  # only who errs pays for it

    for likely in get_close_matches(name, [*own, *others], 1):
        meant = f"{likely}=" if likely in own else home.format(name=likely)
        return f"there is no such option; {meant} may be meant"
    return "there is no such option"


def is_async(value: Any) -> bool:
    """Tell whether a call makes a coroutine."""
    while isinstance(value, functools.partial):
        value = value.func
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__)


def check_plain_callable(owner: str, option: str, value: object) -> None:
    """Refuse what cannot be called, or returns a coroutine, which nobody would await."""
    check_callable(owner, option, value)
    if is_async(value):
        raise refusal(TypeError, owner, option, value, "must be a plain function, not async")


def check_label_sets(value: object) -> None:
    """Refuse what is no number of rows."""
    check_count("RedMetrics", "max_label_sets", value, MAX_LABEL_SETS)


def check_count(owner: str, option: str, value: object, most: int) -> None:
    """Refuse what is no number from 1 to the most that is allowed."""
    check_type(owner, option, value, int)
    if isinstance(value, int) and not 1 <= value <= most:
        rule = "must be at least 1" if value < 1 else f"must be at most {most}"
        raise refusal(ValueError, owner, option, value, rule)


def first_seconds(owner: str, option: str, clock: Any) -> float:
    """Return the clock's seconds now; refuse a clock that returns no finite seconds, or raises.

    A `Decimal` is refused too: it can be subtracted, but its difference cannot be added to a sum of floats.
    """
    check_callable(owner, option, clock)
    rule = "must return finite seconds, as a float"
    try:
        seconds = clock()
        finite = isinstance(seconds, int | float) and math.isfinite(seconds)
    except Exception as error:  # a huge int does not fit a float
        raise refusal(ValueError, owner, option, clock, rule) from error
    if not finite:
        raise refusal(ValueError, owner, option, clock, f"{rule}, not {seconds!r}")
    return float(seconds)


def check_namespace(value: object) -> None:
    """Refuse what cannot stand in front of a metric's name."""
    check_type("RedMetrics", "namespace", value, str)
    if value and not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", str(value)):
        rule = "must be letters, digits and underscores, and start with no digit"
        raise refusal(ValueError, "RedMetrics", "namespace", value, rule)


def is_template(path: str) -> bool:
    """Tell whether a path holds a parameter, as frameworks write them: `<name>` or `{name}`."""
    return "<" in path or "{" in path


_METHOD_FIRST: Final = re.compile(r"(?:([A-Z]+(?:-[A-Z]+)*) )?(.*)", re.DOTALL)  # WebDAV has VERSION-CONTROL


def split_method(text: str) -> tuple[str, str]:
    """Return the method that stands in front of a path or a template, empty where there is none, and the rest."""
    method, rest = _METHOD_FIRST.fullmatch(text).groups(default="")  # type: ignore[union-attr]  # anything matches
    return method, rest


def check_begins(owner: str, option: str, value: str) -> None:
    """Refuse what does not begin at the root of the mounting."""
    if not value.startswith("/"):
        raise refusal(ValueError, owner, option, value, "must start with /")


def check_path(owner: str, option: str, value: object) -> None:
    """Refuse what is not the path of a request from the root of the mounting, as plain text."""
    check_type(owner, option, value, str)
    path = str(value)
    check_begins(owner, option, path)
    rules = {
        "must be a path without a query or a fragment": "?" in path or "#" in path,
        "must hold no * but at the end of a prefix": "*" in path,
        "must be a path and no template": is_template(path),
        "must be plain text, not percent-encoded": re.search("%[0-9A-Fa-f]{2}", path) is not None,
        "must not end in a space": path != path.rstrip(),
    }
    for rule, is_broken in rules.items():
        if is_broken:
            raise refusal(ValueError, owner, option, value, rule)


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


def directory_of_environment() -> str | None:
    """Return the directory that the environment names, `None` where it names none."""
    value = os.environ.get(DIRECTORY) or None
    if value is not None and not os.path.isabs(value):
        raise ValueError(f"{DIRECTORY}={value!r}: must be an absolute path")
    return value


def bucket_bounds(buckets: Sequence[float]) -> tuple[float, ...]:
    """Return the upper bounds of latency buckets, in seconds."""
    return increasing("RedMetrics", "buckets", buckets, "seconds")


def increasing(owner: str, option: str, values: Sequence[float], unit: str) -> tuple[float, ...]:
    """Return the upper bounds of buckets, in increasing order, without +Inf."""
    bounds = _numbers(owner, option, values, unit)
    if bounds and bounds[-1] == math.inf:
        bounds.pop()
    is_increasing = all(low < high for low, high in zip([0.0, *bounds], [*bounds, math.inf], strict=True))
    if not bounds or not is_increasing:
        raise refusal(ValueError, owner, option, values, f"must be strictly increasing {unit} > 0")
    return tuple(bounds)


def check_share(owner: str, option: str, value: Any) -> None:
    """Refuse what is no share of requests that is aimed at: all of them leave no budget for errors."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refusal(TypeError, owner, option, value, "must be a share of requests, such as 0.999")
    if not 0.0 < value < 1.0:
        raise refusal(ValueError, owner, option, value, "must be a share of requests > 0 and < 1, such as 0.999")


def timeout(owner: str, option: str, seconds: Any) -> float:
    """Return a number of seconds to wait at most."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise refusal(TypeError, owner, option, seconds, "must be seconds")
    if not 0.0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise refusal(ValueError, owner, option, seconds, f"must be seconds > 0 and <= {MAX_TIMEOUT_SECONDS:g}")
    return float(seconds)


def objectives(owner: str, slo_seconds: Sequence[float]) -> tuple[float, ...]:
    """Return objectives, seconds in increasing order."""
    found = _numbers(owner, "slo_seconds", slo_seconds, "seconds")
    if not all(0.0 < objective < math.inf for objective in found):
        raise refusal(ValueError, owner, "slo_seconds", slo_seconds, "must be finite seconds > 0")
    return tuple(sorted(set(found)))


def _numbers(owner: str, option: str, values: object, unit: str) -> list[float]:
    rule = f"must be a sequence of {unit}"
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
