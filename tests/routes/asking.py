"""What the tests of routes share: the clients and counts of all tests, and how releases of a framework differ."""

import types
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics

from ..counts import exceptions, faults, requests, routes
from ..drive import ASGIApp, Message, Receive, Scope, Seen, Send, WSGIApp, ask_asgi, ask_wsgi

__all__ = [
    "FASTAPI_INCLUDES",
    "ASGIApp",
    "Message",
    "Receive",
    "Scope",
    "Seen",
    "Send",
    "WSGIApp",
    "ask_asgi",
    "ask_wsgi",
    "exceptions",
    "faults",
    "fresh",
    "in_a_module",
    "release",
    "requests",
    "routes",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def fresh(**options: Any) -> RedMetrics:
    """Return numbers of their own, with the default options."""
    return RedMetrics(registry=CollectorRegistry(), **options)


def in_a_module(function: Function, **variables: object) -> Function:
    """Return the function as if it stood in a module of its own with these global variables."""
    assert isinstance(function, types.FunctionType)
    return types.FunctionType(function.__code__, {**function.__globals__, **variables})  # type: ignore[return-value]  # of the same code


def release(package: str) -> tuple[int, ...]:
    """Return a package's release, to tell where a framework itself differs."""
    return tuple(int(part) for part in version(package).split(".")[:3] if part.isdigit())


FASTAPI_INCLUDES = release("fastapi") >= (0, 137)
"""Since then `include_router` keeps the router, whose routes do not know their prefix."""
