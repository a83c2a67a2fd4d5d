"""Django's routes by both protocols: the patterns as their authors wrote them, readable, and nothing a client sent."""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from django.urls import ResolverMatch, include, path, re_path
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.routes.django import MAX_UNSEEN, DjangoReader

from . import djangos
from .asking import Seen, ask_asgi, ask_wsgi, exceptions, faults, fresh, in_a_module, requests, routes
from .reading import Read

pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")


class Protocol(NamedTuple):
    """How Django is served and asked."""

    ask: Callable[..., Seen]
    middleware: Callable[..., Any]
    handler: Callable[[], Any]
    copying: Callable[[Any], Any]
    """Returns an app that hands on a copy of each request."""

    def counted(
        self,
        *paths: str,
        method: str = "GET",
        around: Callable[[Any], Any] = lambda handler: handler,
        catch: type[BaseException] | None = None,
    ) -> RedMetrics:
        """Ask Django for some paths, and return what was counted."""
        metrics = fresh()
        app = self.middleware(around(self.handler()), metrics=metrics)
        for each in paths:
            self.ask(app, each, method, catch=catch)
        assert faults(metrics) == 0
        return metrics


WSGI = Protocol(ask_wsgi, RedWSGIMiddleware, WSGIHandler, lambda app: lambda e, s: app({**e}, s))
ASGI = Protocol(ask_asgi, RedASGIMiddleware, ASGIHandler, lambda app: lambda s, r, d: app({**s}, r, d))
PROTOCOLS = pytest.mark.parametrize("protocol", [WSGI, ASGI], ids=["wsgi", "asgi"])


def declared() -> dict[str, set[str] | None]:
    """Return what is declared of the project."""
    read = Read(DjangoReader, WSGIHandler())
    assert read.learn()
    assert len(read.declarations) == 1
    return read.declared


@contextmanager
def urls(*patterns: Any) -> Iterator[None]:
    """Let Django serve these patterns."""
    module = types.ModuleType("urls")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=module):
        yield


@PROTOCOLS
@pytest.mark.parametrize(
    ("asked", "template"),
    [
        ("/", "/"),
        ("/items/4", "/items/<int:item>"),
        ("/shop/orders/4", "/shop/orders/<order>"),
        ("/one/x/", "/one/x/"),
        ("/two/x/", "/two/x/"),
        ("/a.b/(c)/", "/a.b/(c)/"),
        ("/re/2024/", "/re/<year>/"),
        ("/mixed/acme/re/2024/page-3/", "/mixed/<str:tenant>/re/<year>/<opt>"),
        ("/pages/a/b/", "/pages/<arg>"),
        ("/en/loc/4/", "/<language>/loc/<int:id>/"),
        ("/de/loc/4/", "/<language>/loc/<int:id>/"),
        ("/coroutine", "/coroutine"),
        ("/streaming", "/streaming"),
        ("/admin/login/", "/admin/login/"),
        ("/admin/auth/user/7/change/", "/admin/auth/user/<path:object_id>/change/"),
        ("/admin/nowhere", "/admin/<url>"),
        ("/api/", "/api/"),
        ("/api/things/4/", "/api/things/<pk>/"),
        ("/api/things.json", "/api/things.<format>/"),
        ("/ninja/add/3", "/ninja/add/<int:a>"),
        ("/gone", "/gone"),
        ("/early", "_unmatched"),
        ("/nowhere", "_unmatched"),
        ("/slash", "_unmatched"),
    ],
)
def test_a_request_counts_under_the_pattern_that_matched(protocol: Protocol, asked: str, template: str) -> None:
    """With those of all includes; a 404 of the resolver, a redirect and an early answer of a middleware have none."""
    assert routes(protocol.counted(asked)) == {template: 1}


@pytest.mark.parametrize(
    ("template", "methods"),
    [
        ("/items/<int:item>", None),
        ("/hello", {"GET", "HEAD", "OPTIONS"}),
        ("/decorated", {"GET", "HEAD", "OPTIONS"}),
        ("/dispatching", None),
        ("/asked", {"OPTIONS"}),
        ("/got", {"GET"}),
        ("/safe", {"GET", "HEAD"}),
        ("/api/things/", {"GET", "HEAD", "OPTIONS"}),
        ("/api/things/<pk>/", {"GET", "HEAD", "OPTIONS", "DELETE"}),
        ("/ninja/add/<int:a>", {"GET", "POST"}),
        ("/ninja/docs", None),
        ("/admin/<app_label>/", None),
        ("/old", {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}),
    ],
)
def test_each_pattern_is_declared_with_the_methods_that_are_certain(template: str, methods: set[str] | None) -> None:
    """Of views by method, REST framework, ninja and Django's decorators; a plain function takes any."""
    assert declared()[template] == methods


def test_everything_declared_is_a_template() -> None:
    """No regular expression shows, and each is declared once for all languages."""
    found = declared()
    assert len(found) == len(set(found)) > 50
    assert all(template.startswith("/") for template in found)
    assert [template for template in found if any(sign in template for sign in "^$\\?")] == []
    assert [template for template in found if "loc" in template] == ["/<language>/loc/<int:id>/"]


@PROTOCOLS
def test_an_exception_that_django_answers_is_named(protocol: Protocol) -> None:
    """Of a view, and of REST framework; one that a middleware answered is none, nor is `Http404`."""
    metrics = protocol.counted("/bang", "/boom", "/gone")
    assert exceptions(metrics) == {("/bang", "ViewError"): 1}
    assert exceptions(protocol.counted("/api/things/4/", method="DELETE")) == {("/api/things/<pk>/", "ViewError"): 1}


def test_a_signal_that_somebody_else_sends_names_nothing() -> None:
    """Outside of an exception, or without a request."""
    metrics = WSGI.counted("/hello")
    signals.got_request_exception.send(sender=None)
    try:
        raise djangos.ViewError
    except djangos.ViewError:
        signals.got_request_exception.send(sender=None)
        signals.got_request_exception.send(sender=None, request=object())
    assert exceptions(metrics) == {}
    assert faults(metrics) == 0


@PROTOCOLS
def test_one_receiver_is_connected_however_many_apps_there_are(protocol: Protocol) -> None:
    """Whatever the number of mountings and requests."""
    protocol.counted("/hello")
    before = len(signals.got_request_exception.receivers)
    protocol.counted("/hello")
    assert len(signals.got_request_exception.receivers) == before


@PROTOCOLS
def test_an_exception_that_leaves_django_keeps_its_route(protocol: Protocol) -> None:
    """As with the setting for tests of one's own."""
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True):
        metrics = protocol.counted("/bang", catch=djangos.ViewError)
    assert requests(metrics) == {("GET", "/bang", "500"): 1}
    assert exceptions(metrics) == {("/bang", "ViewError"): 1}


def test_an_exception_that_a_middleware_outside_of_django_answers_keeps_its_route() -> None:
    """As a debugger does: the exception is being handled while the response begins."""
    handler = WSGIHandler()

    def debugger(environ: Any, start_response: Any) -> Any:
        try:
            return handler(environ, start_response)
        except djangos.ViewError:
            start_response("500 Oops", [("Content-Type", "text/plain")])
            return [b"oops"]

    metrics = fresh()
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True):
        ask_wsgi(RedWSGIMiddleware(debugger, metrics=metrics), "/bang")
    assert requests(metrics) == {("GET", "/bang", "500"): 1}


def test_a_default_language_may_have_no_prefix() -> None:
    """Then its path is a template of its own."""
    with urls(*i18n_patterns(path("loc/", djangos.view), prefix_default_language=False)):
        assert routes(WSGI.counted("/loc/", "/de/loc/")) == {"/loc/": 1, "/<language>/loc/": 1}
        assert set(declared()) == {"/loc/", "/<language>/loc/"}


def test_an_urlconf_that_includes_itself_is_entered_once() -> None:
    """What is deeper reads as an unknown text does."""
    tree = types.ModuleType("tree")
    tree.urlpatterns = [path("branch/", include(tree)), path("leaf/<int:x>", djangos.view)]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=tree):
        metrics = WSGI.counted("/leaf/1", "/branch/leaf/1", "/branch/branch/leaf/1")
        assert set(declared()) == {"/leaf/<int:x>", "/branch/leaf/<int:x>"}
    assert routes(metrics) == {f"{branch}/leaf/<int:x>": 1 for branch in ("", "/branch", "/branch/branch")}


def test_an_app_whose_requests_alone_have_an_urlconf_is_walked_in_vain_once() -> None:
    """Django needs no other one. The request that shows it has no route."""
    late = types.ModuleType("late")
    late.urlpatterns = [path("late/<int:x>", djangos.view)]  # type: ignore[attr-defined]
    handler: Any = WSGIHandler()
    handler.request_class = type("Asked", (WSGIHandler.request_class,), {"urlconf": late})
    metrics = fresh()
    app = RedWSGIMiddleware(handler, metrics=metrics)
    with override_settings(ROOT_URLCONF=None):
        for n in range(3):
            ask_wsgi(app, f"/late/{n}")
    assert routes(metrics) == {"_unmatched": 1, "/late/<int:x>": 2}
    assert faults(metrics) == 2  # the first request let the app declare its routes, before it showed one


def test_a_pattern_that_comes_late_reads_as_well_as_can_be_told() -> None:
    """An URLconf of one request, say: a regular expression is known by its signs."""
    read = Read(DjangoReader, WSGIHandler())
    read.learn()
    with urls(re_path(r"^late/(?P<x>\d+)/$", djangos.view), path("later/<int:x>", djangos.view)):
        for each in ("/late/3/", "/later/3", "/late/4/"):
            ask_wsgi(read.wsgi, each)
    assert read.labels == ["/late/<x>/", "/later/<int:x>", "/late/<x>/"]
    assert len(read.declarations) == 1


def test_late_patterns_are_remembered_up_to_a_bound() -> None:
    """Beyond it they are read each time. None is declared: a client might choose a language that is in them."""
    read = Read(DjangoReader, WSGIHandler())
    read.learn()
    read.marked.clear()
    with urls(*(path(f"late/{n}", djangos.view) for n in range(MAX_UNSEEN + 2))):
        for n in range(MAX_UNSEEN + 2):
            ask_wsgi(read.wsgi, f"/late/{n}")
    assert read.labels == [f"/late/{n}" for n in range(MAX_UNSEEN + 2)]
    assert read.marked == read.labels[:MAX_UNSEEN]
    assert len(read.declarations) == 1


def reached_by_name(environ: Any, start_response: Any) -> Any:
    """Be an app that leads to Django by a global name only."""
    return hidden(environ, start_response)  # type: ignore[name-defined]  # noqa: F821  # see `in_a_module`


def test_an_app_that_is_found_by_its_first_request_is_declared_then() -> None:
    """The walk follows no globals."""
    read = Read(DjangoReader, in_a_module(reached_by_name, hidden=WSGIHandler()))
    assert not read.learn()
    ask_wsgi(read.wsgi, "/re/2024/")
    with urls(path("late", djangos.view)):
        ask_wsgi(read.wsgi, "/late")
    assert read.labels == ["/re/<year>/", "/late"]
    assert len(read.declarations) == 1


def test_an_unknown_text_of_an_app_that_is_found_late_is_read_after_the_walk() -> None:
    """It is not among those that were walked: the request has an URLconf of its own."""
    handler = WSGIHandler()

    def with_another_urlconf(environ: Any, start_response: Any) -> Any:
        def started(*arguments: Any) -> Any:
            with override_settings(ROOT_URLCONF="tests.routes.djangos"):
                return start_response(*arguments)

        with urls(path("late", djangos.view)):
            return handler(environ, started)

    read = Read(DjangoReader, in_a_module(reached_by_name, hidden=with_another_urlconf))
    ask_wsgi(read.wsgi, "/late")
    assert read.labels == ["/late"]
    assert len(read.declarations) == 1


def test_a_mounted_handler_counts_under_its_mounts() -> None:
    """One handler at two, and another one at the root."""
    twice = WSGIHandler()
    metrics = fresh()
    app = RedWSGIMiddleware(DispatcherMiddleware(WSGIHandler(), {"/a": twice, "/a/b": twice}), metrics=metrics)
    for each in ("/hello", "/a/hello", "/a/b/hello", "/a/nowhere"):
        ask_wsgi(app, each)
    assert routes(metrics) == {"/hello": 1, "/a/hello": 1, "/a/b/hello": 1, "_unmatched": 1}


def test_a_match_that_an_app_made_itself_has_no_route() -> None:
    """Django's own class needs none."""

    def rematching(request: Any) -> Any:
        request.resolver_match = ResolverMatch(rematching, (), {})
        return djangos.view(request)

    metrics = fresh()
    with urls(path("x", rematching)):
        ask_wsgi(RedWSGIMiddleware(WSGIHandler(), metrics=metrics), "/x")
    assert routes(metrics) == {"_unmatched": 1}
    assert faults(metrics) == 0


def test_files_that_a_handler_serves_itself_are_one_route() -> None:
    """Whatever their names: they are no patterns. What it leaves to the app counts as ever."""
    metrics = fresh()
    by_wsgi, by_asgi = StaticFilesHandler(WSGIHandler()), ASGIStaticFilesHandler(ASGIHandler())
    for each in ("/static/admin/css/base.css", "/static/nowhere", "/hello"):
        ask_wsgi(RedWSGIMiddleware(by_wsgi, metrics=metrics), each)
        ask_asgi(RedASGIMiddleware(by_asgi, metrics=metrics), each)
    assert requests(metrics) == {
        ("GET", "/static/*", "200"): 2, ("GET", "/static/*", "404"): 2, ("GET", "/hello", "200"): 2,
    }  # fmt: skip


@PROTOCOLS
def test_a_middleware_that_copies_the_request_hides_nothing(protocol: Protocol) -> None:
    """The handler's request is found all the same, and its exception."""
    metrics = protocol.counted("/bang", around=protocol.copying)
    assert exceptions(metrics) == {("/bang", "ViewError"): 1}


def test_an_app_inside_of_a_view_is_no_request_of_django() -> None:
    """A view may call another application, which is counted for itself: what it does not know, Django did not match."""
    inner_metrics, metrics = fresh(), fresh()

    def legacy(environ: Any, start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no"]

    inner = RedWSGIMiddleware(legacy, metrics=inner_metrics)

    def calling(request: Any) -> Any:
        ask_wsgi(inner, "/inner")
        return djangos.view(request)

    with urls(path("outer", calling)):
        ask_wsgi(RedWSGIMiddleware(WSGIHandler(), metrics=metrics), "/outer")
    assert routes(metrics) == {"/outer": 1}
    assert routes(inner_metrics) == {"_unmatched": 1}


def test_who_answers_when_django_has_returned_hides_its_route() -> None:
    """Nothing is left of the request by then."""
    handler = WSGIHandler()

    def late(environ: Any, start_response: Any) -> Any:
        kept: list[Any] = []
        body = list(handler(environ, lambda *arguments: kept.append(arguments)))
        start_response(*kept[0])
        return body

    metrics = fresh()
    ask_wsgi(RedWSGIMiddleware(late, metrics=metrics), "/hello")
    assert routes(metrics) == {"_unmatched": 1}


def test_a_stack_that_is_too_deep_is_not_followed_to_its_end() -> None:
    """What stands between may take any number of frames."""
    handler = WSGIHandler()

    def deep(environ: Any, start_response: Any) -> Any:
        def started(*arguments: Any, left: int = 200) -> Any:
            return started(*arguments, left=left - 1) if left else start_response(*arguments)

        return handler(environ, started)

    metrics = fresh()
    ask_wsgi(RedWSGIMiddleware(deep, metrics=metrics), "/hello")
    assert routes(metrics) == {"_unmatched": 1}


def test_a_view_whose_variable_is_not_assigned_yet_is_declared() -> None:
    """Its methods are not certain."""

    def make() -> Any:
        def view(request: Any) -> Any:
            return later(request)

        with urls(path("x", view)):
            found = declared()
        later = djangos.view
        return found

    assert make() == {"/x": None}
