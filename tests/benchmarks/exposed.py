"""What one instance of a shop shows to Prometheus, by this middleware and by the peers with their defaults.

Each is mounted as its documentation says, in a process of its own, with the default registry. The shop is the same
everywhere. The answers to a few scrapes are kept whole, with what was counted between them, so that counters rise as
they do in production. `growth` serves them to a Prometheus.
"""

import gzip
import logging
import random
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

from red_middleware import RedASGIMiddleware, RedMetrics

from ..drive import Seen, ask_asgi, ask_wsgi
from .peers import module

ROUTES: Final = 50
STATUSES: Final = (200, 400, 404, 500)
ITEMS: Final = 5
"""How many items of each route are asked for. It matters to who counts by path."""
HOSTILE: Final = 1_000
"""Methods that nobody knows, and as many paths."""
MEAN_SECONDS: Final = 0.1

_seconds = [0.0]
_chance = random.Random(1)

SCRAPE: Final[Mapping[str, str]] = {
    "accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "accept-encoding": "gzip",
}
"""What Prometheus 2.42 asks with."""

Ask = Callable[..., Seen]
"""Asks an app for a path; `method` and `headers` may be given."""


class Answer(NamedTuple):
    """What the endpoint answers to a scrape, as it is on the wire."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> bytes:
        return gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body

    @property
    def series(self) -> int:
        return sum(bool(line) and not line.startswith(b"#") for line in self.text.splitlines())


class Exposed(NamedTuple):
    """What one package shows of the shop.

    Args:
        name: The package's.
        answers: To one scrape after the other. All have the same series.
        series_after_hostile: How many series there are after hostile requests.
    """

    name: str
    answers: Sequence[Answer]
    series_after_hostile: int


def exposed(name: str, scrapes: int) -> Exposed:
    """Serve the shop with one package in a new process, and scrape it so many times.

    Raises:
        NotInstalledError: The package, or the framework, is not installed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_exposed, name, scrapes).result()


def _exposed(name: str, scrapes: int) -> Exposed:
    logging.disable(logging.ERROR)  # Django logs each error that it answers
    time.perf_counter = timeit.default_timer = now  # before a peer is imported
    ask = PACKAGES[name]()
    for path in _paths():
        ask(path)
    _scrape(ask)  # some peers count their own scrapes: the first makes series
    answers = []
    for _ in range(scrapes):
        for path in _paths():
            for _ in range(_chance.randint(0, 2)):
                ask(path)
        answers.append(_scrape(ask))
    for number in range(HOSTILE):
        ask(f"/nowhere-{number}")
        ask("/section-0/items/200", method=f"HOSTILE-{number}")
    return Exposed(name, answers, _scrape(ask).series)


def _paths() -> Iterator[str]:
    """Yield what clients ask for: each item with success, and one with each of the other statuses."""
    for route in range(ROUTES):
        for item in range(ITEMS):
            for status in STATUSES if item == 0 else STATUSES[:1]:
                yield f"/section-{route}/items/{item}{status}"


def _scrape(ask: Ask) -> Answer:
    found = ask("/metrics", headers=SCRAPE)
    kept = {
        name: found.headers[name.lower()]
        for name in ("Content-Type", "Content-Encoding")
        if name.lower() in found.headers
    }
    return Answer(kept, found.body)


def now() -> float:
    """Return what the clock of the shop says. Time passes while a request is served, and at no other time."""
    return _seconds[0]


def _serve(item: int) -> int:
    """Let a request take its time, and return the status that it asks for: the last three digits of the item.

    Durations are spread over the buckets as those of a real app are. If all were in one, a body would compress to less.
    """
    _seconds[0] += _chance.expovariate(1 / MEAN_SECONDS)
    return item % 1000


def _ask_asgi(app: Any) -> Ask:
    return lambda path, method="GET", headers=SCRAPE: ask_asgi(app, path, method, headers=list(headers.items()))


def _ask_wsgi(app: Any) -> Ask:
    def ask(path: str, method: str = "GET", headers: Mapping[str, str] = SCRAPE) -> Seen:
        environ = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()}
        return ask_wsgi(app, path, method, environ=environ, validate=False)

    return ask


def _starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def item(request: Request) -> Response:
        return PlainTextResponse("an item", _serve(request.path_params["item"]))

    return Starlette(routes=[Route(f"/section-{n}/items/{{item:int}}", item) for n in range(ROUTES)])


def _fastapi() -> Any:
    from fastapi import FastAPI, Response

    async def read(item: int) -> Response:
        return Response("an item", _serve(item))

    app = FastAPI()
    for n in range(ROUTES):
        app.add_api_route(f"/section-{n}/items/{{item}}", read)
    return app


def _flask() -> Any:
    from flask import Flask

    app = Flask("shop")
    for n in range(ROUTES):
        app.add_url_rule(f"/section-{n}/items/<int:item>", f"item_{n}", lambda item: ("an item", _serve(item)))
    return app


def _red_middleware() -> Ask:
    return _ask_asgi(RedASGIMiddleware(_starlette(), metrics=RedMetrics(clock=now)))


def _starlette_exporter() -> Ask:
    app, peer = _starlette(), module("starlette_exporter")
    app.add_middleware(peer.PrometheusMiddleware)
    app.add_route("/metrics", peer.handle_metrics)
    return _ask_asgi(app)


def _prometheus_fastapi_instrumentator() -> Ask:
    app = _fastapi()
    module("prometheus_fastapi_instrumentator").Instrumentator().instrument(app).expose(app)
    return _ask_asgi(app)


def _prometheus_flask_exporter(**options: str) -> Ask:
    app = _flask()
    module("prometheus_flask_exporter").PrometheusMetrics(app, **options)
    return _ask_wsgi(app)


def _django_prometheus() -> Ask:
    settings, urls, http = (module(f"django.{name}") for name in ("conf", "urls", "http"))

    def item(request: Any, item: int) -> Any:
        return http.HttpResponse("an item", status=_serve(item))

    export = module("django_prometheus.exports").ExportToDjangoView
    settings.settings.configure(
        ROOT_URLCONF=(
            urls.path("metrics", export),
            *(urls.path(f"section-{n}/items/<int:item>", item, name=f"item-{n}") for n in range(ROUTES)),
        ),
        MIDDLEWARE=[f"django_prometheus.middleware.Prometheus{place}Middleware" for place in ("Before", "After")],
        INSTALLED_APPS=["django_prometheus"], ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None,
    )  # fmt: skip
    return _ask_wsgi(module("django.core.wsgi").get_wsgi_application())


PACKAGES: Final[Mapping[str, Callable[[], Ask]]] = {
    "red_middleware": _red_middleware,
    "starlette_exporter": _starlette_exporter,
    "prometheus-fastapi-instrumentator": _prometheus_fastapi_instrumentator,
    "prometheus_flask_exporter": _prometheus_flask_exporter,
    'prometheus_flask_exporter, group_by="url_rule"': lambda: _prometheus_flask_exporter(group_by="url_rule"),
    "django-prometheus": _django_prometheus,
}
