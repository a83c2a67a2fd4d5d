"""A new application of a framework of the contract, bare or wrapped, with the client that asks it."""

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from ..e2e import has_package
from . import apps, frameworks
from .asking import Seen, ask_asgi, ask_wsgi
from .contract import FRAMEWORKS, Framework

INSTALLED = [framework for framework in FRAMEWORKS if has_package(framework.package)]
"""No release of Quart works with the oldest Flask, and the rare ones are in few environments."""


class Made(NamedTuple):
    """An application, before it is wrapped."""

    app: Any
    add: Callable[[str], None]
    """Adds a route to it, which answers GET."""
    holds: Callable[[], AbstractContextManager[object]] = nullcontext
    """Makes what holds while it serves."""

    def asked_by(self, ask: Callable[..., Seen], app: Any, *arguments: Any, **options: Any) -> Seen:
        """Ask an application that leads to this one."""
        with self.holds():
            return ask(app, *arguments, **options)


class Wrapped(NamedTuple):
    """An app behind the middleware."""

    framework: Framework
    ask: Callable[..., Seen]
    app: Any
    add: Callable[[str], None]


def make(framework: Framework, **options: Any) -> Made:
    """Return a new application. Litestar warns of handlers that its oldest release takes as well.

    Args:
        framework: One of the contract.
        options: Settings of Django.
    """
    if framework.package == "django":
        urls = apps.django_urls()
        app = WSGIHandler() if framework.protocol == "WSGI" else ASGIHandler()
        return Made(
            app,
            functools.partial(apps.add_pattern, urls),
            functools.partial(override_settings, ROOT_URLCONF=urls, **options),
        )
    build, add = _ways(framework)[framework.package]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        app = build()

    def added(template: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            add(app, template)

    return Made(app, added)


def _ways(framework: Framework) -> dict[str, tuple[Callable[[], Any], Callable[[Any, str], None]]]:
    """Return how an application is built, and how it takes a route, by the package."""
    module = "falcon" if framework.protocol == "WSGI" else "falcon.asgi"
    return {
        "flask": (apps.flask_app, apps.add_view),
        "bottle": (apps.bottle_app, apps.add_rule),
        "starlette": (apps.starlette_app, apps.add_route),
        "fastapi": (apps.fastapi_app, apps.add_api_route),
        "quart": (apps.quart_app, apps.add_view),
        "litestar": (frameworks.litestar, frameworks.add_to_litestar),
        "pyramid": (frameworks.pyramid, frameworks.add_to_pyramid),
        "falcon": (lambda: frameworks.falcon(module), frameworks.add_to_falcon),
        "sanic": (frameworks.sanic, frameworks.add_to_sanic),
        "cherrypy": (frameworks.cherrypy, frameworks.add_to_cherrypy),
        "blacksheep": (frameworks.blacksheep, frameworks.add_to_blacksheep),
        "connexion": (lambda: frameworks.connexion(framework.kind), frameworks.add_to_connexion),
        "werkzeug": (frameworks.werkzeug, frameworks.add_to_werkzeug),
    }


def wrap(framework: Framework, metrics: RedMetrics, made: Made | None = None) -> Wrapped:
    """Wrap an application, by default a new one, from outside."""
    made = made or make(framework)
    wrapped = middleware(framework)(made.app, metrics=metrics)
    return served(framework, made, frameworks.started(wrapped) if framework.package == "sanic" else wrapped)


def middleware(framework: Framework) -> Any:
    """Return the middleware of the framework's protocol."""
    return RedWSGIMiddleware if framework.protocol == "WSGI" else RedASGIMiddleware


def served(framework: Framework, made: Made, wrapped: Any) -> Wrapped:
    """Return an application that is wrapped in whatever way, with its client."""
    if framework.protocol == "WSGI":
        ask: Callable[..., Seen] = functools.partial(ask_wsgi, validate=framework.package != "cherrypy")
    else:
        ask = ask_asgi
    return Wrapped(framework, functools.partial(made.asked_by, ask), wrapped, made.add)
