"""Ways to serve one app by several processes that nothing makes a group, and some that only look like it.

`python -m tests.workers.alone <way> <port>`, run by `test_siblings`.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from socketserver import ForkingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import uvicorn
from prometheus_client import CollectorRegistry
from werkzeug.serving import run_simple

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware
from red_middleware.workers.siblings import sign_of_siblings

from .apps import measure

METRICS = RedMetrics(registry=CollectorRegistry())


def respond(environ: Any, start_response: Any) -> list[bytes]:
    measure(sign_of_siblings)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"well"]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        measure(sign_of_siblings)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"well"})


wsgi = RedWSGIMiddleware(respond, metrics=METRICS)
asgi = RedASGIMiddleware(answer, metrics=METRICS)


class ForkingServer(ForkingMixIn, WSGIServer):
    pass


def forking_wsgiref(port: int) -> None:
    make_server("127.0.0.1", port, wsgi, ForkingServer).serve_forever()


def plain_wsgiref(port: int) -> None:
    make_server("127.0.0.1", port, wsgi).serve_forever()


def forking_werkzeug(port: int) -> None:
    run_simple("127.0.0.1", port, wsgi, processes=4)


def reloading_werkzeug(port: int) -> None:
    run_simple("127.0.0.1", port, wsgi, threaded=True, use_reloader=True)


def serve(opened: socket.socket) -> None:
    uvicorn.Server(uvicorn.Config(asgi, log_level="warning", lifespan="off")).run(sockets=[opened])


def share(port: int, method: str, number: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as opened:
        context: Any = multiprocessing.get_context(method)
        children = [context.Process(target=serve, args=(opened,), daemon=True) for _ in range(number)]
        for child in children:
            child.start()
        for child in children:
            child.join()


def share_with_an_heir(port: int) -> None:
    """One server, and a child that inherits the socket and does something else."""
    with socket.create_server(("127.0.0.1", port)) as opened:
        context = multiprocessing.get_context("fork")
        context.Process(target=signal.pause, daemon=True).start()
        server = context.Process(target=serve, args=(opened,), daemon=True)
        server.start()
        server.join()


def single(port: int) -> None:
    uvicorn.run(asgi, port=port, log_level="warning")


WAYS: dict[str, Callable[[int], None]] = {
    "forking wsgiref": forking_wsgiref,
    "plain wsgiref": plain_wsgiref,
    "forking Werkzeug": forking_werkzeug,
    "reloading Werkzeug": reloading_werkzeug,
    "forked uvicorn": lambda port: share(port, "fork", 3),
    "spawned uvicorn": lambda port: share(port, "spawn", 3),
    "one forked uvicorn": lambda port: share(port, "fork", 1),
    "uvicorn beside an heir": share_with_an_heir,
    "single uvicorn": single,
}

if __name__ == "__main__":
    os.environ.pop("RED_MULTIPROCESS_NAME", None)
    WAYS[sys.argv[1]](int(sys.argv[2]))
