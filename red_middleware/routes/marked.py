"""How are the views of a declared route marked? Readers ask this, and tell it with `Report.marked`.

The marks are those of `views`. A class of views is asked for the method of it that answers each method of requests.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..counting.labels import METHODS
from ..views import marks
from .reader import Marks


def marks_of(view: object) -> Marks:
    """Return the marks of a view, and of the function in a partial."""
    found = marks(view)
    while isinstance(view, functools.partial):
        view = view.func
        found |= marks(view)
    return found


def views_of(
    methods: Iterable[str] | None, view: object, kind: object = None, names: Mapping[str, str] | None = None
) -> Iterator[tuple[Iterable[str] | None, Marks]]:
    """Yield the methods of a route with the marks of the view that answers them.

    Args:
        methods: Those of the route; `None` where it names none.
        view: The view.
        kind: The class whose methods answer, by the name of the request's method; `None` where it is a function.
        names: What the methods of the class are called that have other names than the request's, in lower case.
    """
    if kind is None and isinstance(view, type):
        kind = view
    whole = marks_of(view) | marks_of(kind)
    if kind is not None:
        asked = METHODS if methods is None else tuple(methods)
        found = {method: marks_of(_answering(kind, method.lower(), names or {})) for method in asked}
        if any(found.values()):
            yield from (((method,), whole | own) for method, own in found.items())
            return
    yield methods, whole


def _answering(kind: Any, name: str, names: Mapping[str, str]) -> object:
    """Return the method of a class of views that answers a method of requests: that of GET answers HEAD as well."""
    found = getattr(kind, names.get(name, name), None)
    return _answering(kind, "get", names) if found is None and name == "head" else found
