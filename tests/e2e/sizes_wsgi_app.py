"""A WSGI application that counts sizes: `/upload` reads a body, `/half` a part of one, `/file` sends a file."""

from typing import Any

from red_middleware import RedMetrics, RedWSGIMiddleware

from .marks import FILE, HALF_BYTES


def respond(environ: dict[str, Any], start_response: Any) -> Any:
    path, length = environ["PATH_INFO"], int(environ.get("CONTENT_LENGTH") or 0)
    if path == "/file":
        start_response("200 OK", [("Content-Length", str(FILE.stat().st_size))])
        return environ["wsgi.file_wrapper"](FILE.open("rb"))
    content = b"well"
    if path in ("/upload", "/half"):
        content = f"{len(environ['wsgi.input'].read(length if path == '/upload' else HALF_BYTES))}".encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


def route(environ: dict[str, Any]) -> str:
    path: str = environ["PATH_INFO"]
    return path


app = RedWSGIMiddleware(respond, metrics=RedMetrics(sizes=True), route_of=route, exclude=["/health"])
