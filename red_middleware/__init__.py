"""RED metrics (Rate, Errors, Duration) for any WSGI or ASGI app: one line around it, a bounded number of series."""

from .asgi import RedASGIMiddleware
from .metrics import RedMetrics
from .wsgi import RedWSGIMiddleware

__all__ = ["RedASGIMiddleware", "RedMetrics", "RedWSGIMiddleware"]
