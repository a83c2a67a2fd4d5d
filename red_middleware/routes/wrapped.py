"""What does an application wrap? A reader asks once, to find its framework's app behind the middlewares around it.

The search follows attributes, slots, bound methods, partials with their arguments, the variables of closures, and
mounts. It follows no globals: an app that a plain function reaches by a global name is seen when it first matches a
route. Nothing is called. An object is looked at by its type and its own storage only, so that a proxy or a lazy object
on the way stays as it is.
"""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

MAX_OBJECTS: Final = 1000
"""Where the search ends. A framework's app lies within a few steps of what wraps it."""

_PACKAGE: Final = __name__.partition(".")[0]

_LEAVES: Final = (str, bytes, int, float, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def wrapped(app: object, wanted: Callable[[object], bool]) -> Iterator[tuple[object, str]]:
    """Yield the objects that are wanted, nearest first, each with the prefix under which it is mounted.

    Prefixes come from the attribute `mounts`, a dict of prefixes and apps, as in Werkzeug's `DispatcherMiddleware`. Of
    the dicts in other attributes only `application_mapping` is followed, as in Channels' `ProtocolTypeRouter`.

    An object that is mounted twice comes twice. Of an object that is wanted, only `app`, `wsgi_app` and `mounts` are
    followed: it may wrap another app there, or be wrapped itself. So it is with an object of this package: a middleware
    also holds what its readers have found, such as the map of a Flask app whose `wsgi_app` it is.

    Args:
        app: Where the search begins.
        wanted: Tells the objects that are looked for.
    """
    queue: list[tuple[object, str]] = [(app, "")]
    seen: dict[tuple[int, str], object] = {}
    for found, prefix in queue:  # grows while it is walked
        if (id(found), prefix) in seen or issubclass(type(found), _LEAVES):
            continue
        if len(seen) == MAX_OBJECTS:
            return
        seen[id(found), prefix] = found
        attributes, is_wanted = _attributes(found), wanted(found)
        if is_wanted:
            yield found, prefix
        if is_wanted or _is_ours(found):
            attributes = {key: attributes[key] for key in ("app", "wsgi_app", "mounts") if key in attributes}
        mounts = attributes.pop("mounts", None)
        if isinstance(mounts, dict):
            queue += [(mounted, prefix + mount) for mount, mounted in mounts.items() if isinstance(mount, str)]
        by_protocol = attributes.get("application_mapping")  # of Django Channels
        more = by_protocol.values() if isinstance(by_protocol, dict) else ()
        queue += [(value, prefix) for value in (*attributes.values(), *more, *_enclosed(found))]


def of_class(module: str, name: str) -> Callable[[object], bool]:
    """Return a function that tells instances of a class, whose module may not be imported, or only half as yet."""

    def is_one(found: object) -> bool:
        kind = getattr(sys.modules.get(module), name, None)
        return isinstance(kind, type) and issubclass(type(found), kind)

    return is_one


def _is_ours(found: object) -> bool:
    """Tell whether an object is of a class of this package, or of one that inherits from it."""
    modules = (str(vars(kind).get("__module__")) for kind in type(found).__mro__)
    return any(module.partition(".")[0] == _PACKAGE for module in modules)


def _attributes(found: object) -> dict[str, object]:
    """Return what the object holds in its `__dict__` and its slots. No code of its class runs."""
    attributes: dict[str, object] = {}
    for kind in type(found).__mro__:
        for name, member in vars(kind).items():
            if name == "__dict__" and isinstance(member, types.GetSetDescriptorType):
                attributes = {**member.__get__(found), **attributes}
            elif kind is types.FunctionType:  # its slots hold its whole module
                continue
            elif isinstance(member, types.MemberDescriptorType):
                try:
                    attributes[name] = member.__get__(found)
                except AttributeError:  # an empty slot
                    continue
    return attributes


def _enclosed(found: object) -> Iterator[object]:
    """Yield what a bound method, a partial or a closure holds."""
    held: Any = found
    if issubclass(type(found), types.MethodType):
        yield from (held.__self__, held.__func__)
    elif issubclass(type(found), functools.partial):
        yield from (held.func, *held.args, *held.keywords.values())
    elif issubclass(type(found), types.FunctionType):
        yield from closed_over(held).values()


def closed_over(function: types.FunctionType) -> dict[str, object]:
    """Return the variables of a function's closure."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found
