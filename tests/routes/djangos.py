"""A Django project for the tests, with admin, REST framework and django-ninja. Settings hold for a whole process."""

import warnings
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="tests.routes.djangos",
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
        "django.contrib.sessions", "django.contrib.staticfiles", "rest_framework",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware", "tests.routes.djangos.answering",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LANGUAGE_CODE="en",
    LANGUAGES=[("en", "English"), ("de", "German")],
    LOGGING_CONFIG=None, STATIC_URL="/static/", USE_I18N=True, USE_TZ=True,
)  # fmt: skip
django.setup()

from django.conf.urls.i18n import i18n_patterns  # noqa: E402  # all of it asks the settings
from django.contrib import admin  # noqa: E402
from django.http import Http404, HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import include, path, re_path  # noqa: E402
from django.utils.decorators import method_decorator  # noqa: E402
from django.views.decorators.cache import never_cache  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from django.views.decorators.http import require_GET, require_http_methods, require_safe  # noqa: E402
from django.views.generic import RedirectView, View  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.routers import DefaultRouter  # noqa: E402
from rest_framework.viewsets import ViewSet  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the oldest release is older than its pydantic
    from ninja import NinjaAPI


class HandledError(Exception):
    """Raised by a view; a middleware answers it."""


class ViewError(Exception):
    """Raised by a view; nobody handles it."""


class answering:  # noqa: N801  # a middleware by its dotted name, as those of Django's authors
    """Answers requests to `/early`, and `HandledError`."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        if request.path_info == "/early":
            return HttpResponse("early")
        return self.get_response(request)

    def process_exception(self, request: Any, error: Exception) -> Any:
        """Answer one kind of exception."""
        return HttpResponse("boom", status=500) if isinstance(error, HandledError) else None


class Hello(View):
    """A view by methods."""

    def get(self, request: Any) -> Any:
        """Answer."""
        return HttpResponse("hello")


class Dispatching(View):
    """A view that answers any method itself."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        return HttpResponse("dispatched")


class Things(ViewSet):
    """Of REST framework, with some of the actions."""

    def list(self, request: Any, **parameters: Any) -> Any:
        """Answer."""
        return Response([])

    def retrieve(self, request: Any, pk: str, **parameters: Any) -> Any:
        """Answer."""
        return Response({"pk": pk})

    def destroy(self, request: Any, pk: str) -> Any:
        """Fail."""
        raise ViewError


def view(request: Any, *arguments: Any, **parameters: Any) -> Any:
    """Answer any method."""
    return HttpResponse("view")


async def coroutine(request: Any) -> Any:
    """Answer on the event loop."""
    return HttpResponse("coroutine")


def streaming(request: Any) -> Any:
    """Answer in parts."""
    return StreamingHttpResponse(iter([b"one", b"two"]))


def gone(request: Any) -> Any:
    """Answer 404 by Django's own exception."""
    raise Http404


def boom(request: Any) -> Any:
    """Fail with what is handled."""
    raise HandledError


def bang(request: Any) -> Any:
    """Fail."""
    raise ViewError


api = NinjaAPI()


@api.get("/add/{int:a}")
def add(request: Any, a: int) -> int:
    """Answer a GET request."""
    return a + 1


@api.post("/add/{int:a}")
def put(request: Any, a: int) -> int:
    """Answer a POST request."""
    return a + 2


router = DefaultRouter()
router.register("things", Things, basename="thing")

urlpatterns: list[Any] = [
    path("", view),
    path("hello", Hello.as_view()),
    path("items/<int:item>", view),
    path("slash/", view),
    path("asked", require_http_methods(["OPTIONS"])(view)),
    path("got", never_cache(require_GET(view))),
    path("safe", csrf_exempt(require_safe(view))),
    path("gone", gone),
    path("boom", boom),
    path("bang", bang),
    path("any", view),
    path("dispatching", Dispatching.as_view()),
    path("decorated", method_decorator(never_cache, name="dispatch")(Hello).as_view()),
    path("old", RedirectView.as_view(url="/hello")),
    path("coroutine", coroutine),
    path("streaming", streaming),
    path("a.b/(c)/", view),
    path("shop/", include([path("orders/", include([path("<order>", view)]))])),
    path("one/", include(([path("x/", view)], "app"), namespace="one")),
    path("two/", include(([path("x/", view)], "app"), namespace="two")),
    re_path(r"^re/(?P<year>[0-9]{4})/$", view),
    path("mixed/<str:tenant>/", include([re_path(r"^re/(?P<year>[0-9]{4})/(?:page-(\d+)/)?$", view)])),
    path("admin/", admin.site.urls),
    path("api/", include(router.urls)),
    path("ninja/", api.urls),
    *i18n_patterns(path("loc/<int:id>/", view)),
    re_path(r"^pages/((?:[\w\-]+/)*)$", view),
]
