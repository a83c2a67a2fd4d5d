"""What does an application wrap? Follows attributes, bound methods, partials and closures, and calls nothing.

Used by the readers, once, to find the framework's own app behind the middlewares around it. Objects are looked at by
their type and their own storage only: a proxy or a lazy object on the way stays as it is.

Where these lead to no app, a plain function may call one by its name. Then the globals that functions use are followed
too, and the values of small dicts, but neither modules nor classes. A name says less than an attribute: an app that a
function uses for anything else is taken for one that it calls. At worst rows are reserved for it that no request fills,
and it keeps `/metrics` if it has that route.
"""

import dis
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

MAX_OBJECTS: Final = 1000
"""Where the search ends: a framework's app lies within a few steps of what wraps it."""

MAX_DICT: Final = 64
"""How many values a dict has at most that is followed: a handful of apps by name, and not a cache or a registry."""

_LEAVES: Final = (str, bytes, int, float, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def wrapped(app: object, wanted: Callable[[object], bool], *, by_name: bool = False) -> Iterator[tuple[object, str]]:
    """Yield the objects that are wanted, nearest first, each with the prefix under which it is mounted.

    Prefixes come from `mounts`, a mapping of prefixes to apps, as in Werkzeug's `DispatcherMiddleware`; an object that
    is mounted twice comes twice. Of an object that is wanted only what it may be wrapped in, or wrap, is followed
    (`app`, `wsgi_app`) and its mounts: the rest is its own business.

    Args:
        app: Where the search begins.
        wanted: Tells the objects that are looked for.
        by_name: Whether to follow also the globals that functions use, and dicts.
    """
    queue: list[tuple[object, str]] = [(app, "")]
    seen: dict[tuple[int, str], object] = {}
    for found, prefix in queue:  # grows while it is walked
        if (id(found), prefix) in seen or issubclass(type(found), _LEAVES):
            continue
        if len(seen) == MAX_OBJECTS:
            return
        seen[id(found), prefix] = found
        attributes = _attributes(found)
        used = _used(found) if by_name else iter(())
        if wanted(found):
            yield found, prefix
            used = iter(())
            attributes = {key: attributes[key] for key in ("app", "wsgi_app", "mounts") if key in attributes}
        mounts = attributes.pop("mounts", None)
        if isinstance(mounts, dict):
            queue += [(mounted, prefix + mount) for mount, mounted in mounts.items() if isinstance(mount, str)]
        queue += [(value, prefix) for value in (*attributes.values(), *_enclosed(found), *used)]


def _attributes(found: object) -> dict[str, object]:
    """Return what the object holds in its `__dict__` and its slots, by descriptors that run no code of its class."""
    attributes: dict[str, object] = {}
    for kind in type(found).__mro__:
        for name, member in vars(kind).items():
            if name == "__dict__" and isinstance(member, types.GetSetDescriptorType):
                attributes = {**member.__get__(found), **attributes}
            elif kind is types.FunctionType:  # whose slots hold its whole module
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
        for cell in held.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not assigned yet
                continue


def _used(found: object) -> Iterator[object]:
    """Yield the globals that a function uses, the function that calling an instance runs, the values of a dict."""
    held: Any = found
    if issubclass(type(found), types.FunctionType):
        for instruction in dis.get_instructions(held.__code__):  # `co_names` would name attributes as well
            if instruction.opname == "LOAD_GLOBAL":
                yield held.__globals__.get(instruction.argval)
    elif issubclass(type(found), dict):
        if dict.__len__(held) <= MAX_DICT:
            yield from list(dict.values(held))
    else:
        call = next((vars(kind)["__call__"] for kind in type(found).__mro__ if "__call__" in vars(kind)), None)
        if issubclass(type(call), types.FunctionType):
            yield call
