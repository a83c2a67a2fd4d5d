"""Marks on the views of an application: which of them are left out of the metrics, and whose sizes are.

A mark is data on the view itself, so nothing happens when the view is called. The readers of frameworks look at it when
they learn the routes. This module imports nothing of the package.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE: Final = "red_middleware_marks"
"""Where a view holds its marks. `functools.wraps` copies it to what stands around the view."""

UNCOUNTED: Final = "uncounted"
UNSIZED: Final = "unsized"


def uncounted(view: View) -> View:
    """Leave a view out of all metrics, as a template in `exclude=` does: `@uncounted`.

    A view is a function, an async function, a class of views, one method of such a class, a partial, or whatever else
    the framework is given as one. Of a bound method the function is marked, and classes that inherit from a marked
    class are marked too. GET stands for HEAD as well. Put the mark directly on the view, below what registers it:

        @app.get("/healthz")
        @uncounted
        async def healthz(): ...

    A decorator between the two keeps the mark if it uses `functools.wraps`, and loses it otherwise. Django's classes
    may also be marked by `@method_decorator(uncounted, name="dispatch")`, or where they are registered:
    `uncounted(MyView.as_view())`. With Django REST framework the mark stands above `@api_view`.

    Where several views serve one template, a request is left out if those that take its method are all marked. Of a
    route that is added while the app serves, the request that shows it counts.

    Args:
        view: The view.

    Returns:
        The same object.

    Raises:
        TypeError: It is no view, or an object that can hold no mark.
    """
    return _mark(view, UNCOUNTED)


def unsized(view: View) -> View:
    """Count a view without the sizes of its requests and responses, as `exclude_sizes=` does: `@unsized`.

    It changes nothing unless `RedMetrics(sizes=True)` counts sizes. What can be marked, and where the mark stands, is
    the same as with `uncounted`.

    Args:
        view: The view.

    Returns:
        The same object.

    Raises:
        TypeError: It is no view, or an object that can hold no mark.
    """
    return _mark(view, UNSIZED)


def marks(view: object) -> frozenset[str]:
    """Return the marks of a view. An object that does not let itself be asked has none."""
    try:
        found = getattr(view, ATTRIBUTE, None)
    except Exception:  # a proxy without a request, say
        return frozenset()
    return found if isinstance(found, frozenset) else frozenset()


def _mark(view: View, mark: str) -> View:
    target = getattr(view, "__func__", view)  # of a bound, static or class method: these hold no mark, or lose it
    if not callable(target):
        raise TypeError(f"{mark}({view!r}): must be a view: a function, a method, a class or another callable")
    try:
        setattr(target, ATTRIBUTE, marks(target) | {mark})
    except (AttributeError, TypeError) as error:  # it has slots, or is built in
        rule = f"can hold no mark; mark the function below it, so that @{mark} stands next to the view"
        raise TypeError(f"{mark}({view!r}): {rule}") from error
    return view
