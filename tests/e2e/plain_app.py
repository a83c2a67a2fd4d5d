"""A WSGI application without a framework, which lets its clients choose the route and the status of every request.

That is the worst that `route_of` can do; the bound of the series has to hold all the same.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from red_middleware import RedMetrics, RedWSGIMiddleware

from . import marks

MAX_LABEL_SETS: Final = 100


def respond(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with the status that the query names, 200 without one."""
    start_response(f"{environ['QUERY_STRING'] or '200'} As Asked", [("Content-Length", "4")])
    return [b"well"]


def route(environ: dict[str, Any]) -> str:
    path: str = environ["PATH_INFO"]
    return path


metrics = RedMetrics(max_label_sets=MAX_LABEL_SETS - marks.is_left(marks.FEWER))
app = RedWSGIMiddleware(respond, metrics=metrics, route_of=route, exclude=["/health"])
