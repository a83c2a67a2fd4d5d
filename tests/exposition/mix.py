"""One worker of four, whose Flask and Starlette apps share numbers: `python -m tests.exposition.mix <base> <n>`.

Serves a fixed mix of requests by a clock that stands unless told, says so, and waits; told to scrape, it prints what
`/metrics` answers in every text form. Run by `test_recorded.py`.
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flask import Blueprint, Flask, Response, abort
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from ..drive import ASGIServer, Clock, WSGIServer, environ, scope

FORMS = ("", "application/openmetrics-text;version=1.0.0", "application/openmetrics-text;version=0.0.1")

clock = Clock()


def flask_app() -> Flask:
    app = Flask(__name__)
    shop = Blueprint("shop", __name__, url_prefix="/shop")

    @shop.route("/items/<int:item_id>", methods=["GET", "POST"])
    def item(item_id: int) -> str:
        clock.seconds += item_id / 64
        if item_id == 13:
            raise ZeroDivisionError
        if item_id > 400:
            abort(item_id)
        return f"item {item_id}"

    @shop.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[bytes]:
            for _ in range(3):
                clock.seconds += 0.25
                yield b"piece"

        return Response(pieces())

    app.register_blueprint(shop)
    return app


def starlette_app() -> Starlette:
    async def user(request: Request) -> PlainTextResponse:
        name = request.path_params["name"]
        clock.seconds += len(name) / 128
        if name == "broken":
            raise LookupError(name)
        return PlainTextResponse(name, 200 if name != "made" else 201)

    async def events(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                clock.seconds += 8
                yield b"data: 1\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    api = [Route("/users/{name}", user, methods=["GET", "PUT"]), Route("/events", events)]
    return Starlette(routes=[Mount("/api", routes=api)])


def main(base: str, number: int) -> None:
    metrics = RedMetrics(
        registry=CollectorRegistry(),
        namespace="mix",
        buckets=(0.05, 0.25, 1.0),
        slo_seconds=(0.3,),
        max_label_sets=60,
        multiprocess_dir=base,
        multiprocess_name="mix",
        clock=clock,
    )
    wsgi = RedWSGIMiddleware(flask_app(), metrics=metrics, exclude=["/healthz"])
    asgi = RedASGIMiddleware(
        starlette_app(), metrics=metrics, route_of=lambda scope: scope.get("named")
    )  # "%" and quotes too: what a template may hold

    def ask_wsgi(path: str, method: str = "GET", **server: Any) -> None:
        WSGIServer(**server).serve(wsgi, environ(path, method))

    def ask_asgi(path: str, method: str = "GET", named: str | None = None, **server: Any) -> None:
        ASGIServer(**server).serve(asgi, scope(path, method, named=named))

    for n in range(number, 20, 4):
        ask_wsgi(f"/shop/items/{n}")
        ask_wsgi(f"/shop/items/{n}", "POST")
        ask_wsgi(f"/shop/items/{404 + n}")
        ask_wsgi(f"/scan{n}", "GET" if n % 2 else "BREW")
        ask_asgi(f"/api/users/{'x' * n or 'made'}", "PUT" if n % 3 else "GET")
        ask_asgi(f"/scan{n}", "HEAD")
        ask_asgi("/named", named=f'/of "{n}" 100%\\{n}\n')
    ask_wsgi("/shop/items/13", "HEAD")
    ask_wsgi("/shop/stream")
    ask_wsgi("/shop/stream", stop_at=1)
    ask_wsgi("/shop/stream", fail_at=1)
    ask_wsgi("/healthz")
    ask_asgi("/api/users/broken")
    ask_asgi("/api/users/gone", leave_at=0, fail_at=1)
    ask_asgi("/api/events")
    ask_asgi("/api/users/caf\u00e9", "DELETE")
    print(json.dumps("counted"), flush=True)
    if not sys.stdin.readline():
        return
    found = []
    for accept in FORMS:
        server = ASGIServer().serve(asgi, scope("/metrics", headers=[(b"accept", accept.encode())]))
        found.append([[[name.decode(), value.decode()] for name, value in server.sent[0]["headers"]],
                      server.sent[1]["body"].decode()])  # fmt: skip
    print(json.dumps(found), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
