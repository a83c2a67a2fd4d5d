"""How are the views of a declared route marked? Readers ask this, and tell it with `Report.marked`.

The marks are those of `views`. A class of views is asked for the method of it that answers each method of requests.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..counting.labels import METHODS
from ..views import marks
from .reader import Marks

DISPATCHERS: Final = ("dispatch", "dispatch_request")
"""The method of a class of views that answers every request: of Django and Starlette, and of Flask and Quart."""


def marks_of(view: object) -> Marks:
    """Return the marks of a view, of the function in a partial, and of the method by which an object is called."""
    found = marks(view)
    while isinstance(view, functools.partial):
        view = view.func
        found |= marks(view)
    return found | marks(getattr(type(view), "__call__", None))  # noqa: B004  # its marks, not whether there is one


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
        whole = whole.union(*(marks_of(getattr(kind, name, None)) for name in DISPATCHERS))
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
