"""Programs that start single servers as their children: `python -m tests.workers.parents <how> <port> <port>`."""

import multiprocessing
import os
import sys
from wsgiref.simple_server import make_server

import uvicorn

from .apps import asgi, wsgi


def serve(port: int) -> None:
    uvicorn.run(asgi, port=port)


def processes(ports: list[int], method: str) -> None:
    """`multiprocessing`, as in many a start script."""
    context = multiprocessing.get_context(method)
    children = [context.Process(target=serve, args=(port,)) for port in ports]  # type: ignore[attr-defined]  # typeshed
    for child in children:
        child.start()
    for child in children:
        child.join()


def forks(ports: list[int]) -> None:
    """The system's own."""
    children = []
    for port in ports:
        pid = os.fork()
        if pid == 0:
            make_server("127.0.0.1", port, wsgi).serve_forever()
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    how, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
    if how == "os.fork":
        forks(ports)
    else:
        processes(ports, how)
