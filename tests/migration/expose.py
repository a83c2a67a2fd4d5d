"""What a package that counts requests shows after the same few of them: `python -m tests.migration.expose PEER [ours]`.

Without `ours` this prints the peer's own exposition. That made the files below `recorded`, each with the release that
its first line names. With `ours` it prints what this middleware shows on the same app, mounted as `docs/migration.md`
says.
"""

import asyncio
import importlib
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

REQUESTS: Final = [
    ("GET", "/items/1"), ("GET", "/items/2"), ("POST", "/items"), ("GET", "/broken"), ("GET", "/broken"),
    ("GET", "/nowhere"),
]  # fmt: skip
MOUNTED: Final = [("GET", "/files/a.txt")]
"""Served by an application that is mounted, where the framework has mounts."""
BY_STATUS: Final = ("starlette_exporter", "prometheus_flask_exporter", "litestar")
"""Those whose durations have a status: the page says `duration_status="code"`."""
REGISTRY: Final = CollectorRegistry()


def main(peer: str, ours: bool) -> None:
    show = {
        "starlette_exporter": starlette,
        "starlette_prometheus": starlette_prometheus,
        "litestar": litestar,
        "aioprometheus": aioprometheus,
        "prometheus_fastapi_instrumentator": fastapi,
        "prometheus_flask_exporter": flask,
        "django_prometheus": django,
    }[peer]
    metrics = RedMetrics(
        registry=REGISTRY, namespace="shop", multiprocess_dir=None,
        duration_status="code" if peer in BY_STATUS else None,
        sizes=peer == "prometheus_fastapi_instrumentator",
        clock=lambda: 100.0,  # it stands: on a slow machine a request may take longer than the bounds that are compared
    )  # fmt: skip
    if not ours:
        print(f"# {peer} {version(peer.replace('_', '-'))}")
    print(show(metrics if ours else None), end="")


def starlette(
    metrics: RedMetrics | None,
    middleware: str = "starlette_exporter:PrometheusMiddleware",
    endpoint: str = "starlette_exporter:handle_metrics",
) -> str:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Mount, Route

    def item(request: Any) -> Response:
        return PlainTextResponse("an item")

    def add(request: Any) -> Response:
        return PlainTextResponse("added", 201)

    app = Starlette(
        routes=[
            Route("/items/{item_id:int}", item),
            Route("/items", add, methods=["POST"]),
            Route("/broken", _broken),
            Mount("/files", PlainTextResponse("a file")),
        ]
    )
    if metrics is not None:
        app.add_middleware(RedASGIMiddleware, metrics=metrics)
    else:
        app.add_middleware(pkgutil.resolve_name(middleware))
        app.add_route("/metrics", pkgutil.resolve_name(endpoint))
    return asyncio.run(_drive_asgi(app, REQUESTS + MOUNTED))


def starlette_prometheus(metrics: RedMetrics | None) -> str:
    return starlette(metrics, "starlette_prometheus:PrometheusMiddleware", "starlette_prometheus:metrics")


def aioprometheus(metrics: RedMetrics | None) -> str:
    return starlette(metrics, "aioprometheus:MetricsMiddleware", "aioprometheus.asgi.starlette:metrics")


def litestar(metrics: RedMetrics | None) -> str:
    framework: Any = importlib.import_module("litestar")

    async def item(item_id: int) -> str:
        return "an item"

    async def add() -> str:
        return "added"

    async def broken() -> str:
        raise ZeroDivisionError

    handlers = [
        framework.get("/items/{item_id:int}")(item),
        framework.post("/items")(add),
        framework.get("/broken")(broken),
    ]
    app: Any
    if metrics is not None:
        app = RedASGIMiddleware(framework.Litestar(handlers), metrics=metrics)
    else:
        peer: Any = importlib.import_module("litestar.plugins.prometheus")
        middleware = peer.PrometheusConfig(group_path=True).middleware
        app = framework.Litestar([*handlers, peer.PrometheusController], middleware=[middleware])
    return asyncio.run(_drive_asgi(app, REQUESTS))


def fastapi(metrics: RedMetrics | None) -> str:
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()
    app.mount("/files", PlainTextResponse("a file"))

    @app.get("/items/{item_id}")
    def item(item_id: int) -> str:
        return "an item"

    @app.post("/items", status_code=201)
    def add() -> str:
        return "added"

    app.get("/broken")(_no_argument_broken)
    if metrics is not None:
        app.add_middleware(RedASGIMiddleware, metrics=metrics)
    else:
        peer: Any = importlib.import_module("prometheus_fastapi_instrumentator")
        peer.Instrumentator().instrument(app).expose(app)
    return asyncio.run(_drive_asgi(app, REQUESTS + MOUNTED))


def flask(metrics: RedMetrics | None) -> str:
    import flask

    app = flask.Flask("shop")

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> str:
        return "an item"

    @app.post("/items")
    def add() -> tuple[str, int]:
        return "added", 201

    app.get("/broken")(_no_argument_broken)
    if metrics is not None:
        app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=metrics)  # type: ignore[method-assign]  # Flask's way
    else:
        peer: Any = importlib.import_module("prometheus_flask_exporter")
        peer.PrometheusMetrics(app)
    return _drive_wsgi(app)


def django(metrics: RedMetrics | None) -> str:
    settings: Any = importlib.import_module("django.conf").settings
    middleware = ["tests.migration.expose.django_route"]
    if metrics is None:
        middleware = [f"django_prometheus.middleware.Prometheus{place}Middleware" for place in ("Before", "After")]
    settings.configure(
        ROOT_URLCONF=_django_urls(metrics is None), MIDDLEWARE=middleware, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None,
        INSTALLED_APPS=[] if metrics is not None else ["django_prometheus"],
    )  # fmt: skip
    app: Any = importlib.import_module("django.core.wsgi").get_wsgi_application()
    if metrics is not None:
        app = RedWSGIMiddleware(app, metrics=metrics, route_of=lambda environ: environ.get("shop.view"))
    return _drive_wsgi(app)


def django_route(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Leave the name of the view where `route_of` finds it."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        if request.resolver_match is not None:
            request.META["shop.view"] = request.resolver_match.view_name
        return response

    return middleware


def _django_urls(with_metrics: bool) -> tuple[Any, ...]:
    http: Any = importlib.import_module("django.http")
    path: Any = importlib.import_module("django.urls").path

    def item(request: Any, item_id: int) -> Any:
        return http.HttpResponse("an item")

    def add(request: Any) -> Any:
        return http.HttpResponse("added", status=201)

    add.csrf_exempt = True  # type: ignore[attr-defined]  # as Django's decorator does
    urls = [path("items/<int:item_id>", item, name="item"), path("items", add, name="add")]
    urls.append(path("broken", _broken, name="broken"))
    if with_metrics:
        urls.append(path("metrics", importlib.import_module("django_prometheus.exports").ExportToDjangoView))
    return tuple(urls)


def _broken(request: Any) -> Any:
    raise ZeroDivisionError


def _no_argument_broken() -> str:
    raise ZeroDivisionError


def _drive_wsgi(app: Any) -> str:
    from werkzeug.test import Client

    client = Client(app)
    for method, path in REQUESTS:
        client.open(path, method=method, buffered=True)
    return client.get("/metrics", buffered=True).text


async def _drive_asgi(app: Any, requests: list[tuple[str, str]]) -> str:
    import httpx

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for method, path in requests:
            await client.request(method, path)
        return (await client.get("/metrics")).text


if __name__ == "__main__":
    main(sys.argv[1], "ours" in sys.argv[2:])
