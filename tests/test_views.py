"""The marks of views: what can be marked, and which requests they leave out, by every framework."""

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest

from red_middleware import uncounted, unsized
from red_middleware.views import ATTRIBUTE, UNCOUNTED, UNSIZED, marks


def view() -> str:
    return "seen"


async def later() -> str:
    return "seen"


class View:
    """A class of views."""

    __slots__ = ("__dict__",)

    def get(self) -> str:
        return "seen"

    @staticmethod
    def alone() -> str:
        return "seen"


class Slotted:
    """A view that holds no attributes."""

    __slots__ = ()

    def __call__(self) -> str:
        return "seen"


def copied(function: Callable[..., Any]) -> Any:
    """Return a function of the same code that nobody has marked yet."""
    return types.FunctionType(function.__code__, function.__globals__)


@pytest.mark.parametrize(
    "made",
    [
        lambda: copied(view),
        lambda: copied(later),
        lambda: functools.partial(view),
        lambda: type("Fresh", (View,), {}),
        lambda: type("Callable", (), {"__call__": lambda self: "seen"})(),
        lambda: staticmethod(copied(view)),
    ],
    ids=["function", "async function", "partial", "class", "object", "static method"],
)
def test_whatever_a_framework_takes_as_a_view_can_be_marked(made: Callable[[], Any]) -> None:
    """The same object comes back, and holds every mark that it was given."""
    found = made()
    assert uncounted(found) is found
    assert marks(getattr(found, "__func__", found)) == {UNCOUNTED}
    assert unsized(uncounted(found)) is found
    assert marks(getattr(found, "__func__", found)) == {UNCOUNTED, UNSIZED}


def test_of_a_bound_method_the_function_is_marked() -> None:
    """It holds no attributes itself; all objects of the class share the mark."""

    class Views:
        def get(self) -> str:
            return "seen"

    bound = Views().get
    assert uncounted(bound) is bound
    assert marks(Views().get) == marks(Views.get) == {UNCOUNTED}
    assert Views().get() == "seen"


def test_a_mark_survives_what_wraps_the_view_and_is_lost_otherwise() -> None:
    """`functools.wraps` copies it. Marks of what is around do not come back to the view."""
    inner = uncounted(copied(view))

    @functools.wraps(inner)
    def around() -> Any:
        return inner()

    assert marks(unsized(around)) == {UNCOUNTED, UNSIZED}
    assert marks(inner) == {UNCOUNTED}
    assert marks(lambda: inner()) == frozenset()


def test_a_class_hands_its_marks_down_and_takes_none_from_below() -> None:
    """As it does with all else that it holds."""
    above = uncounted(type("Above", (View,), {}))
    below = unsized(type("Below", (above,), {}))
    assert marks(below) == {UNCOUNTED, UNSIZED}
    assert marks(above) == {UNCOUNTED}


@pytest.mark.parametrize("mark", [uncounted, unsized])
@pytest.mark.parametrize("given", ["/healthz", 7, None, {"exclude": True}])
def test_what_is_no_view_is_refused(mark: Callable[[Any], Any], given: object) -> None:
    """By its name and value: a path belongs to `exclude=`."""
    with pytest.raises(TypeError) as refused:
        mark(given)
    rule = "must be a view: a function, a method, a class or another callable"
    assert str(refused.value) == f"{mark.__name__}({given!r}): {rule}"


@pytest.mark.parametrize("given", [Slotted(), len, int], ids=["slots", "built in", "type"])
def test_what_can_hold_no_mark_is_refused(given: Any) -> None:
    """It would be counted, though the code says that it is not."""
    with pytest.raises(TypeError, match="can hold no mark; mark the function below it, so that @uncounted stands next"):
        uncounted(given)


def test_what_does_not_let_itself_be_asked_has_no_mark() -> None:
    """A proxy raises without a request, and a mock answers anything."""

    class Proxy:
        def __getattr__(self, name: str) -> object:
            raise LookupError(name)

    assert marks(Proxy()) == frozenset()
    assert marks(type("Mock", (), {ATTRIBUTE: True})) == frozenset()
