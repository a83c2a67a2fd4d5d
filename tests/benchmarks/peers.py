"""The peers: how each is mounted, as its documentation says, and where it tells how many requests it counted.

Each has numbers of its own, where it can have them. They are imported by name, since they are installed for the
benchmark only, and know no types. One that is not installed raises `NotInstalledError`.
"""

import importlib
from collections.abc import Callable, Iterator
from importlib import metadata
from itertools import count
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from red_middleware import RedMetrics

Counted = Callable[[], float]
Mount = Callable[[Any], tuple[Any, Counted]]
"""Mounts a peer on an app; returns what is to be driven, and what tells how many requests were counted."""

VERSIONS = (
    "red-middleware",
    "prometheus-client",
    "starlette",
    "fastapi",
    "flask",
    "django",
    "bottle",
    "pyramid",
    "falcon",
    "cherrypy",
    "werkzeug",
    "quart",
    "litestar",
    "sanic",
    "blacksheep",
    "connexion",
    "starlette-exporter",
    "prometheus-fastapi-instrumentator",
    "starlette-prometheus",
    "aioprometheus",
    "prometheus-flask-exporter",
    "django-prometheus",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-asgi",
    "opentelemetry-instrumentation-wsgi",
    "opentelemetry-instrumentation-django",
    "gunicorn",
    "uwsgi",
    "granian",
    "waitress",
    "cheroot",
    "uvicorn",
    "hypercorn",
)


class NotInstalledError(Exception):
    """A peer, or what it needs, is not installed."""


def module(name: str) -> Any:
    """Return a module of a peer."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotInstalledError(f"{name}: {error}") from error


def versions() -> Iterator[tuple[str, str]]:
    """Yield the distributions that are compared, with their versions."""
    for name in VERSIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def counted_by(registry: CollectorRegistry, sample_name: str) -> Counted:
    """Return what sums the samples of one name in a registry."""
    return lambda: sum(
        sample.value for family in registry.collect() for sample in family.samples if sample.name == sample_name
    )


def counted_by_red(metrics: RedMetrics) -> Counted:
    """Return what sums our own counts, of requests with a route only."""
    return lambda: sum(
        value
        for name, value in metrics.snapshot().items()
        if name.startswith("http_requests_total") and 'route="_' not in name
    )


_prefixes = (f"bench{n}" for n in count())  # starlette_exporter keeps its metrics by prefix, for the whole process


def starlette_exporter(app: Any) -> tuple[Any, Counted]:
    prefix = next(_prefixes)
    app.add_middleware(module("starlette_exporter").PrometheusMiddleware, prefix=prefix)
    return app, counted_by(REGISTRY, f"{prefix}_requests_total")


def prometheus_fastapi_instrumentator(app: Any) -> tuple[Any, Counted]:
    registry = CollectorRegistry()
    module("prometheus_fastapi_instrumentator").Instrumentator(registry=registry).instrument(app)
    return app, counted_by(registry, "http_requests_total")


def starlette_prometheus(app: Any) -> tuple[Any, Counted]:
    app.add_middleware(module("starlette_prometheus").PrometheusMiddleware)  # its metrics are the process's
    return app, counted_by(REGISTRY, "starlette_requests_total")


def aioprometheus(app: Any) -> tuple[Any, Counted]:
    registry = module("aioprometheus").Registry()
    app.add_middleware(module("aioprometheus").MetricsMiddleware, registry=registry)
    return app, lambda: sum(
        value
        for collector in registry.get_all()
        if collector.name == "requests_total_counter"
        for _, value in collector.get_all()
    )


def opentelemetry_asgi(app: Any) -> tuple[Any, Counted]:
    middleware = module("opentelemetry.instrumentation.asgi").OpenTelemetryMiddleware
    registry, provider = _meter_provider()
    wrapped = middleware(app, meter_provider=provider)
    return wrapped, counted_by(registry, "http_server_duration_milliseconds_count")


def opentelemetry_wsgi(app: Any) -> tuple[Any, Counted]:
    middleware = module("opentelemetry.instrumentation.wsgi").OpenTelemetryMiddleware
    registry, provider = _meter_provider()
    wrapped = middleware(app, meter_provider=provider)
    return wrapped, counted_by(registry, "http_server_duration_milliseconds_count")


def prometheus_flask_exporter(app: Any) -> tuple[Any, Counted]:
    return _flask_exporter(app)


def prometheus_flask_exporter_by_rule(app: Any) -> tuple[Any, Counted]:
    return _flask_exporter(app, group_by="url_rule")


def _flask_exporter(app: Any, **options: str) -> tuple[Any, Counted]:
    registry = CollectorRegistry()
    module("prometheus_flask_exporter").PrometheusMetrics(app, registry=registry, **options)
    return app, counted_by(registry, "flask_http_request_total")


def django_prometheus(app: Any) -> tuple[Any, Counted]:
    module("django_prometheus")
    override = module("django.test").override_settings
    names = [f"django_prometheus.middleware.Prometheus{place}Middleware" for place in ("Before", "After")]
    with override(MIDDLEWARE=names):  # a handler reads the setting when it is made
        app = type(app)()
    return app, counted_by(REGISTRY, "django_http_requests_latency_seconds_by_view_method_count")


def opentelemetry_django(app: Any) -> tuple[Any, Counted]:
    instrumentor = module("opentelemetry.instrumentation.django").DjangoInstrumentor()
    registry, provider = _meter_provider()
    with module("django.test").override_settings(MIDDLEWARE=[]):
        instrumentor.instrument(meter_provider=provider)  # it adds its middleware to the settings
        app = type(app)()
        instrumentor.uninstrument()
    return app, counted_by(registry, "http_server_duration_milliseconds_count")


def _meter_provider() -> tuple[CollectorRegistry, Any]:
    """Return a provider of metrics with the Prometheus reader; traces are off, which is their default."""
    registry = CollectorRegistry()
    reader = module("opentelemetry.exporter.prometheus").PrometheusMetricReader(registry=registry)
    return registry, module("opentelemetry.sdk.metrics").MeterProvider(metric_readers=[reader])


STARLETTE_PEERS: dict[str, Mount] = {
    "starlette_exporter": starlette_exporter,
    "prometheus-fastapi-instrumentator": prometheus_fastapi_instrumentator,
    "starlette-prometheus": starlette_prometheus,
    "aioprometheus (counts only, no durations)": aioprometheus,
    "opentelemetry-instrumentation-asgi": opentelemetry_asgi,
}

WITHOUT_DURATIONS = frozenset({"aioprometheus (counts only, no durations)"})
"""Shown, but no measure of RED: most of a histogram's cost is not theirs."""

FLASK_PEERS: dict[str, Mount] = {
    "prometheus_flask_exporter": prometheus_flask_exporter,
    'prometheus_flask_exporter, group_by="url_rule"': prometheus_flask_exporter_by_rule,
    "opentelemetry-instrumentation-wsgi (no route)": opentelemetry_wsgi,
}

DJANGO_PEERS: dict[str, Mount] = {
    "django-prometheus": django_prometheus,
    "opentelemetry-instrumentation-django": opentelemetry_django,
    "opentelemetry-instrumentation-wsgi (no route)": opentelemetry_wsgi,
}
