"""RED metrics (Rate, Errors, Duration) for any WSGI or ASGI app: one line around it, a bounded number of series."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .asgi import RedASGIMiddleware
    from .endpoint_app import metrics_app
    from .exposition import BasicCredentials, BearerToken
    from .label import Label
    from .labelling import set_label
    from .metrics import RedMetrics
    from .serving import serve_metrics
    from .views import uncounted, unsized
    from .wsgi import RedWSGIMiddleware

__version__ = "0.1.0"

__all__ = [
    "BasicCredentials",
    "BearerToken",
    "Label",
    "RedASGIMiddleware",
    "RedMetrics",
    "RedWSGIMiddleware",
    "metrics_app",
    "serve_metrics",
    "set_label",
    "uncounted",
    "unsized",
]


if not TYPE_CHECKING:  # pragma: no branch  # a type checker would take any name for one of the package

    def __getattr__(name: str) -> object:
        """Import what is asked for: an app pays for the protocol that it speaks only."""
        homes = {
            "BasicCredentials": ".exposition",
            "BearerToken": ".exposition",
            "Label": ".label",
            "RedASGIMiddleware": ".asgi",
            "RedMetrics": ".metrics",
            "RedWSGIMiddleware": ".wsgi",
            "metrics_app": ".endpoint_app",
            "serve_metrics": ".serving",
            "set_label": ".labelling",
            "uncounted": ".views",
            "unsized": ".views",
        }
        if name not in homes:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(homes[name], __name__), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
