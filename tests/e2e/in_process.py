"""Serves an application by a server that a program starts.

Its command line is `python -m tests.e2e.in_process SERVER PORT MODULE:APP`.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def cheroot(port: int, app: Any) -> Callable[[], object]:
    server = importlib.import_module("cheroot.wsgi").Server(("127.0.0.1", port), app)  # it has no types
    return server.safe_start  # type: ignore[no-any-return]


def waitress(port: int, app: Any) -> Callable[[], object]:
    server = importlib.import_module("waitress").create_server(app, host="127.0.0.1", port=port)  # it has no types
    return server.run  # type: ignore[no-any-return]


def werkzeug(port: int, app: Any) -> Callable[[], object]:
    from werkzeug.serving import make_server

    return make_server("127.0.0.1", port, app, threaded=True).serve_forever


def wsgiref(port: int, app: Any) -> Callable[[], object]:
    from wsgiref.simple_server import make_server

    return make_server("127.0.0.1", port, app).serve_forever


if __name__ == "__main__":
    name, port, path = sys.argv[1:]
    module, _, attribute = path.partition(":")
    serve = globals()[name](int(port), getattr(importlib.import_module(module), attribute))
    print(f"http://127.0.0.1:{port}", flush=True)
    serve()
