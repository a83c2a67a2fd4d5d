"""What does an application wrap? Follows attributes, bound methods and closures, and calls nothing.

Used by the readers, once, to find the framework's own app behind the middlewares around it.
"""

import types
from collections.abc import Callable, Iterator
from typing import Final

MAX_OBJECTS: Final = 256
"""Where the search ends: a framework's app lies within a few steps of what wraps it."""

_LEAVES: Final = (str, bytes, int, float, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def wrapped(app: object, wanted: Callable[[object], bool]) -> Iterator[tuple[object, str]]:
    """Yield the objects that are wanted, nearest first, each with the prefix under which it is mounted.

    Prefixes come from `mounts`, a mapping of prefixes to apps, as in Werkzeug's `DispatcherMiddleware`. Of an object
    that is wanted only a replaced `wsgi_app` and its mounts are followed: the rest is its own business.
    """
    queue: list[tuple[object, str]] = [(app, "")]
    seen: dict[int, object] = {}
    for found, prefix in queue:  # grows while it is walked
        if id(found) in seen or isinstance(found, _LEAVES):
            continue
        if len(seen) == MAX_OBJECTS:
            return
        seen[id(found)] = found
        attributes = _attributes(found)
        if wanted(found):
            yield found, prefix
            attributes = {key: attributes[key] for key in ("app", "wsgi_app", "mounts") if key in attributes}
        mounts = attributes.pop("mounts", None)
        if isinstance(mounts, dict):
            queue += [(mounted, prefix + mount) for mount, mounted in mounts.items() if isinstance(mount, str)]
        queue += [(value, prefix) for value in (*attributes.values(), *_enclosed(found))]


def _attributes(found: object) -> dict[str, object]:
    attributes = dict(getattr(found, "__dict__", {}))
    for kind in type(found).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(found, name):
                attributes[name] = getattr(found, name)
    return attributes


def _enclosed(found: object) -> Iterator[object]:
    """Yield what a bound method, a partial or a closure holds."""
    yield from (getattr(found, name, None) for name in ("__self__", "__func__", "func"))
    for cell in getattr(found, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
