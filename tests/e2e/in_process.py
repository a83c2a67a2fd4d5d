"""Serves an application by a server that has no command line: `python -m tests.e2e.in_process SERVER PORT MODULE:APP`."""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def cheroot(port: int, app: Any) -> Callable[[], object]:
    from cheroot.wsgi import Server

    return Server(("127.0.0.1", port), app).safe_start  # type: ignore[no-any-return]  # it has no types


def waitress(port: int, app: Any) -> Callable[[], object]:
    from waitress import create_server

    return create_server(app, host="127.0.0.1", port=port).run  # type: ignore[no-any-return]  # it has no types


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
