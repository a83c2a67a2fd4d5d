"""Finding a framework's app behind what wraps it."""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from red_middleware import RedWSGIMiddleware
from red_middleware.routes.wrapped import MAX_OBJECTS, wrapped

from ..counts import fresh_metrics
from .asking import in_a_module


class App:
    """What is looked for."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def wsgi_method(self) -> None:
        """Be a bound method, as `Flask.wsgi_app` is."""


class Around:
    """A middleware; where it keeps its app is its own choice."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    """A middleware without a `__dict__`."""

    __slots__ = ("application", "empty")

    def __init__(self, application: object) -> None:
        self.application = application


def found(app: object) -> list[tuple[object, str]]:
    return list(wrapped(app, lambda candidate: isinstance(candidate, App)))


def test_an_app_is_found_by_itself() -> None:
    """Nothing wraps it."""
    app = App()
    assert found(app) == [(app, "")]


def test_an_app_is_found_through_every_way_to_hold_it() -> None:
    """Attributes, slots, bound methods, partials with their arguments, closures."""

    def closure(inner: object) -> Callable[[], object]:
        return lambda: inner

    for wrap in (
        lambda app: Around(inner=app),
        Slotted,
        lambda app: app.wsgi_method,
        lambda app: functools.partial(app.wsgi_method),
        lambda app: functools.partial(print, app),
        lambda app: functools.partial(print, file=app),
        closure,
        lambda app: Around(a=Slotted(closure(functools.partial(print, app.wsgi_method)))),
    ):
        app = App()
        assert found(wrap(app)) == [(app, "")]


def test_a_variable_that_is_not_assigned_yet_is_passed_by() -> None:
    """A closure may be made before what it closes over."""

    def closure() -> object:
        return later

    assert found(closure) == []
    later = App()
    assert found(closure) == [(later, "")]


def test_cycles_end() -> None:
    """A middleware may know itself."""
    app = App()
    around = Around(inner=app)
    around.around = around  # type: ignore[attr-defined]  # any attribute will do
    app.wsgi_app = around  # type: ignore[attr-defined]  # Flask's own way to be wrapped
    assert found(around) == [(app, "")]


def test_the_nearest_comes_first() -> None:
    """Of several apps, the one with the fewest steps between."""
    near, far = App(), App()
    assert found(Around(a=Around(b=far), c=near)) == [(near, ""), (far, "")]


def test_of_an_app_only_what_it_is_wrapped_in_is_followed() -> None:
    """The rest of its attributes is its own business."""
    replaced, inner, other = App(), App(), App()
    app = App(wsgi_app=Around(x=replaced), app=inner, other=other)
    assert [app for app, _ in found(app)] == [app, inner, replaced]


def test_of_what_is_ours_only_the_app_is_followed() -> None:
    """A middleware holds what its readers found. So does one that inherits from it."""

    class Theirs(RedWSGIMiddleware):
        """A user's own."""

    app = App()
    for kind in (RedWSGIMiddleware, Theirs):
        held = kind(lambda environ, start_response: [], metrics=fresh_metrics())
        held.learnt = App()  # type: ignore[attr-defined]  # as a reader's map
        held.app = app.wsgi_method  # type: ignore[assignment]  # nobody calls it
        assert found(held) == [(app, "")]


def test_a_mounted_app_has_its_prefixes() -> None:
    """Mounts may be nested; keys that are no text are not prefixes."""
    root, shop, orders = App(), App(), App()
    inner = Around(app=shop, mounts={"/orders": orders, 7: App()})
    places = found(Around(app=root, mounts={"/shop": inner}))
    assert sorted(places, key=lambda place: place[1]) == [(root, ""), (shop, "/shop"), (orders, "/shop/orders")]


def test_an_app_that_is_mounted_twice_comes_twice() -> None:
    """Each place is one of its own."""
    app = App()
    assert found(Around(mounts={"/a": app, "/b": app})) == [(app, "/a"), (app, "/b")]


def test_the_search_is_bounded() -> None:
    """An app that lies beyond any reason is not found, and a dispatcher that is mounted in itself ends."""
    chain: object = App()
    for _ in range(MAX_OBJECTS):
        chain = Around(inner=chain)
    assert found(chain) == []
    itself = Around(mounts={})
    itself.mounts["/again"] = itself  # type: ignore[attr-defined]  # given above
    assert found(itself) == []


def test_nothing_is_called_on_the_way() -> None:
    """A proxy, a property or a lazy object on the way does not notice."""
    calls: list[str] = []

    class Lazy:  # as lazy objects of frameworks are
        @property
        def application(self) -> NoReturn:
            calls.append("property")
            raise AssertionError

        @property  # type: ignore[misc]  # writable in `object`
        def __class__(self) -> Any:
            calls.append("__class__")
            return App

        @property
        def __dict__(self) -> Any:  # type: ignore[override]  # writable in `object`
            calls.append("__dict__")
            raise RuntimeError("not now")

        def __getattr__(self, name: str) -> NoReturn:
            calls.append(name)
            raise RuntimeError("not now")

    app = App()
    assert list(wrapped(Around(a=Lazy(), b=app), lambda candidate: type(candidate) is App)) == [(app, "")]
    assert calls == []


def test_globals_and_dicts_are_not_followed() -> None:
    """A function may use an app for anything. It is seen when it first matches a route."""
    app = App()
    assert found(in_a_module(calls_it, the_app=app)) == []
    assert found(Around(apps={"shop": app})) == []


def calls_it() -> object:
    return the_app


the_app: object = None
