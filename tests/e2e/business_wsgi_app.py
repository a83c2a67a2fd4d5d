"""A WSGI application that counts its own business, wrapped in one line."""

from collections.abc import Callable, Iterable
from typing import Any

from red_middleware import RedWSGIMiddleware

from . import business_metrics


def shop(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    status, body = "200", "well"
    if environ["PATH_INFO"] != "/health":
        with business_metrics.in_progress.track_inprogress():
            status, body = business_metrics.handle(environ["PATH_INFO"])
    start_response(f"{status} As Asked", [("Content-Length", str(len(body)))])
    return [body.encode()]


app = RedWSGIMiddleware(shop, exclude=["/health"])
