"""The marks of Django's views, by both protocols: functions, classes and methods, and views of REST framework."""

from importlib import import_module
from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views.generic import View

from red_middleware import uncounted

from . import djangos
from .asking import requests
from .test_django import ASGI, PROTOCOLS, WSGI, Protocol, urls

rest: Any = import_module("rest_framework.response")  # not above: it asks the settings, which `djangos` makes
sets: Any = import_module("rest_framework.viewsets")
decorators: Any = import_module("rest_framework.decorators")


@uncounted
def hidden(request: Any) -> HttpResponse:
    return HttpResponse("hidden")


@uncounted
async def hidden_later(request: Any) -> HttpResponse:
    return HttpResponse("hidden")


class Plain(View):
    """Unmarked."""

    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("plain")

    def post(self, request: Any) -> HttpResponse:
        return HttpResponse("plain")


@uncounted
class Marked(Plain):
    """All of it is marked."""


@method_decorator(uncounted, name="dispatch")
class Dispatched(Plain):
    """Marked as Django's own decorators are used."""


class ByMethod(Plain):
    """One method is marked."""

    @uncounted
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("hidden")


@uncounted
@decorators.api_view(["GET"])  # type: ignore[untyped-decorator]  # it has no annotations
def resource(request: Any) -> Any:
    return rest.Response({})


class Things(sets.ViewSet):
    """One action is marked."""

    @uncounted
    def list(self, request: Any) -> Any:
        return rest.Response([])

    def create(self, request: Any) -> Any:
        return rest.Response({})


PATTERNS = [
    path("hidden/", hidden),
    path("later/", hidden_later),
    path("plain/", Plain.as_view()),
    path("marked/", Marked.as_view()),
    path("dispatched/", Dispatched.as_view()),
    path("registered/", uncounted(Plain.as_view())),
    path("method/", ByMethod.as_view()),
    path("resource/", resource),
    path("things/", Things.as_view({"get": "list", "post": "create"})),
    path("included/", include([path("x/", hidden), path("", Marked.as_view())])),
]


@PROTOCOLS
def test_marked_views_of_django_are_left_out(protocol: Protocol) -> None:
    """However they are marked. A class of which a method is marked counts the other methods."""
    templates = [str(pattern.pattern) for pattern in PATTERNS]
    with urls(*PATTERNS):
        metrics = protocol.counted(*(f"/{template}" for template in templates))
        assert requests(metrics) == {("GET", "/plain/", "200"): 1}
        metrics = protocol.counted("/method/", "/included/x/", method="HEAD")
        assert requests(metrics) == {}
        metrics = protocol.counted("/plain/", "/method/", "/things/", method="OPTIONS")
        assert set(requests(metrics)) == {("OPTIONS", f"/{name}/", "200") for name in ("plain", "method", "things")}


@PROTOCOLS
@pytest.mark.parametrize("is_hidden", [False, True])
def test_patterns_that_the_walk_has_not_seen_are_asked_for_their_marks(protocol: Protocol, is_hidden: bool) -> None:
    """An URLconf of one request: the request that shows the first mark counts, and no other one."""
    view = hidden if is_hidden else djangos.view

    class Module:
        urlpatterns = [path("other/<int:x>/", view)]  # noqa: RUF012  # as a module has it

    def around(handler: Any) -> Any:
        resolve = handler.resolve_request

        def resolving(request: Any) -> Any:
            request.urlconf = Module
            return resolve(request)

        handler.resolve_request = resolving
        return handler

    with urls(path("plain/", djangos.view)):
        metrics = protocol.counted("/other/4/", "/other/5/", around=around)
    assert sum(requests(metrics).values()) == (1 if is_hidden else 2)


def test_a_marked_view_in_several_languages_is_left_out_in_all() -> None:
    """The language is a part of the text that Django joins."""
    with urls(*i18n_patterns(path("hidden/", hidden), path("plain/", djangos.view))):
        for protocol in (WSGI, ASGI):
            metrics = protocol.counted("/en/hidden/", "/de/hidden/", "/en/plain/")
            assert requests(metrics) == {("GET", "/<language>/plain/", "200"): 1}
