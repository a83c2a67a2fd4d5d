"""The dashboard is one by Grafana's published model, which its foundation SDK has as classes.

The SDK reads whatever it is given: it drops keys that the model does not have, and checks no value. So a dashboard is
one by the model if nothing is lost when it is read and written again, and if each value is of the type that is
annotated where it lies.
"""

import copy
import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Final

import pytest

from red_middleware.monitoring.dashboard import dashboard

from ..counts import fresh_metrics
from ..e2e import require_packages
from .queries import Dashboard
from .showing import ASKED, installation_of

pytestmark = pytest.mark.once

OF_THE_DATA_SOURCE: Final = frozenset({".annotations.list[].titleFormat", ".annotations.list[].tagKeys"})
"""What Grafana's Prometheus plugin reads in an annotation. Its part of the model has no class."""


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    require_packages("grafana_foundation_sdk")
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()


@pytest.mark.parametrize("name", ASKED)
def test_a_dashboard_is_one_by_grafanas_model(name: str) -> None:
    """Every key is known, for each kind of panel and for queries of Prometheus; every value is of its type."""
    made = json.loads(json.dumps(dashboard(installation_of(fresh_metrics(**ASKED[name])))))
    assert set(mistakes(made)) == OF_THE_DATA_SOURCE


@pytest.mark.parametrize(
    ("path", "key", "value", "mistake"),
    [
        ((), "colour", "red", ".colour"),
        (("panels", 1, "options"), "tooltips", {}, ".panels[].options.tooltips"),
        (("panels", 1, "options", "legend"), "displayMode", "lst", ".panels.options.legend.display_mode: 'lst'"),
        (("panels", 1, "targets", 0), "exemplar", "yes", ".panels.targets.exemplar: 'yes'"),
        (("templating", "list", 0), "type", "data source", ".templating.list_val.type_val: 'data source'"),
    ],
)  # fmt: skip
def test_mistakes_are_found(path: tuple[str | int, ...], key: str, value: object, mistake: str) -> None:
    """A key that is misspelt, or a value that is none, wherever it lies: else this file would hold nothing."""
    made = copy.deepcopy(json.loads(json.dumps(dashboard(installation_of(fresh_metrics())))))
    place = made
    for step in path:
        place = place[step]
    place[key] = value
    assert set(mistakes(made)) - OF_THE_DATA_SOURCE == {mistake}


def mistakes(made: Dashboard) -> Iterator[str]:
    """Yield what is lost when the SDK reads and writes a dashboard, and what is of another type than it says."""
    from grafana_foundation_sdk.models.dashboard import Dashboard as Model

    model = Model.from_json(dict(made))
    yield from mistyped(model)
    yield from lost(made, _written(model))


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield where something is that is not there any more, or not the same. Defaults may be added."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from lost(one, other, f"{path}[]")
    elif before != after:
        yield path


def mistyped(model: Any, path: str = "") -> Iterator[str]:
    """Yield the attributes, of an object of the SDK and of those in it, whose values are not of their type."""
    for name, hint in typing.get_type_hints(type(model)).items():
        value = getattr(model, name, None)
        if not _is_of(value, hint):
            yield f"{path}.{name}: {value!r}"
        for part in value if isinstance(value, list) else [value]:
            if type(part).__module__.startswith("grafana_foundation_sdk.models"):
                yield from mistyped(part, f"{path}.{name}")


def _is_of(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object) or origin is dict:
        return hint is not dict or isinstance(value, dict)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_is_of(part, arguments[0]) for part in value)
    if isinstance(hint, enum.EnumMeta):
        members: list[Any] = list(hint)
        return value in [member.value for member in members]
    if isinstance(value, dict) and hasattr(hint, "from_json"):  # links of panels, which the SDK leaves as they are
        model = hint.from_json(value)
        return not [*mistyped(model), *lost(value, _written(model))]
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _written(model: Any) -> Any:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.loads(json.dumps(model, cls=JSONEncoder))
