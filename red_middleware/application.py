"""Is this an application of the protocol? Told at construction, by what it takes, for `mounting`.

No framework is imported. A wrong refusal is worse than a wrong application that is accepted: what does not tell passes.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from .options import check_callable, is_async, refusal


def check_app(owner: str, app: object, takes: Sequence[str]) -> None:
    """Refuse what no server of the protocol could call.

    Args:
        owner: The middleware.
        app: The application. One that does not tell what it takes is accepted.
        takes: The names of what the protocol calls an application with.

    Raises:
        TypeError: It cannot be called, or not with these.
    """
    check_callable(owner, "app", app)
    try:
        rule = _broken_rule(app, takes)
    except Exception:  # it is written in C, or stands for an object that is not there yet
        return
    if rule:
        raise refusal(TypeError, owner, "app", app, rule)


def _broken_rule(app: Any, takes: Sequence[str]) -> str:
    is_asgi = "scope" in takes
    other = "; for a WSGI application use RedWSGIMiddleware" if is_asgi else "; for an ASGI one use RedASGIMiddleware"
    if isinstance(app, type) and _makes_apps(app):
        return "must be an application and no class: pass an instance"
    if not is_asgi and is_async(app):
        return f"must not be async{other}"
    signature = inspect.signature(app, follow_wrapped=False)  # what a decorator wraps may be of the other protocol
    if can_take(signature, len(takes)):
        return ""
    rule = f"must take {', '.join(takes)}"
    if can_take(signature, 2 if is_asgi else 3):
        rule += other
    elif can_take(signature, 0):
        rule += "; if it makes the application, call it"
    elif can_take(signature, 1):
        place = "asgi.py" if is_asgi else "wsgi.py"
        rule += f"; wrap the whole application in it, in Django in {place}, and do not list it in MIDDLEWARE"
        rule += "; one of ASGI 2 needs asgiref.compatibility.guarantee_single_callable around it" if is_asgi else ""
    return rule


def _makes_apps(kind: type) -> bool:
    """Tell whether instances of a class are applications, and the class is none.

    A class may be an application itself: PEP 3333 has one whose instances are iterated, and Starlette's endpoints are
    awaited. Where `__new__` or a metaclass may return anything, nobody can tell.
    """
    if type(kind).__call__ is not type.__call__ or any("__new__" in vars(base) for base in kind.__mro__[:-1]):
        return False
    if any(hasattr(kind, name) for name in ("__iter__", "__getitem__", "__await__")):
        return False
    call = next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)
    if call is None:
        return False
    signature = inspect.signature(call, follow_wrapped=False)
    if can_take(signature, 1):  # it takes anything, or no request
        return False
    is_asgi_2 = inspect.iscoroutinefunction(call)  # if it takes two
    return can_take(signature, 1 + 3) or (can_take(signature, 1 + 2) and not is_asgi_2)


def can_take(signature: inspect.Signature, count: int) -> bool:
    """Tell whether a signature can be called with so many arguments by position."""
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
