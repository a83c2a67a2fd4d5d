"""metrics_app: the metrics as an application of its own, for whoever mounts it somewhere or serves it alone."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, overload

from .counting.enclosing import KEY
from .exposition import Access, Authorize, Endpoint
from .metrics import RedMetrics
from .options import check_type


def metrics_app(metrics: RedMetrics | None = None, *, authorize: Authorize | None = None) -> "MetricsApp":
    """Return an application that answers every request with the metrics, in WSGI and in ASGI.

    A middleware of ours around it does not count its requests.

    Args:
        metrics: Which numbers, and whose registry, it shows; by default those of the process, one `RedMetrics()`.
        authorize: Who may read them: a `BearerToken`, `BasicCredentials`, or a plain function, called with the environ
            or scope, which returns `True` for those who may. `None`: everybody.

    Raises:
        TypeError: An argument is of the wrong type.
    """
    if metrics is not None:
        check_type("metrics_app", "metrics", metrics, RedMetrics)
    access = Access("metrics_app", authorize)
    return MetricsApp(Endpoint(metrics or RedMetrics(), access))


class MetricsApp:
    """What `metrics_app` returns. It tells the protocol by the number of arguments.

    Args:
        endpoint: What it shows, and to whom.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint: Endpoint = endpoint

    @overload
    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], /) -> Iterable[bytes]: ...
    @overload
    def __call__(self, scope: Any, receive: Any, send: Any, /) -> Awaitable[None]: ...
    def __call__(self, source: Any, second: Any, send: Any = None, /) -> Iterable[bytes] | Awaitable[None]:
        """Answer one request."""
        if send is not None:
            return self._answer_asgi(source, send)
        from .wsgi import answer_metrics

        _forget(source, source.get("PATH_INFO", ""))
        return answer_metrics(self.endpoint, source, second)

    async def _answer_asgi(self, scope: Any, send: Any) -> None:
        from .asgi import answer_metrics, relative_path

        if scope["type"] != "http":
            raise NotImplementedError(f"metrics_app answers requests of HTTP only, and this is of type {scope['type']}")
        _forget(scope, relative_path(scope["path"], scope.get("root_path", "")))
        await answer_metrics(self.endpoint, scope, send)


def _forget(source: Any, path: str) -> None:
    """Leave the request uncounted by the middlewares around the application."""
    exchange = source.get(KEY)
    if exchange is not None:
        exchange.forget(path)
