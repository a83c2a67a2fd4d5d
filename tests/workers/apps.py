"""An app that says which group its process has found, as WSGI and as ASGI: no framework, no middleware."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from red_middleware.workers.group import Group, find_group
from red_middleware.workers.proc import is_alive
from red_middleware.workers.servers import is_early

MEASURE: Final = "RED_WORKERS_MEASURE"
"""Set where the tests are measured: workers that are killed leave no coverage at their end."""

CHILD: Final = "child"
"""The query that a forked child answers, about itself."""

imported_early: Final = is_early()


def measure(*calls: Callable[[], object]) -> None:
    """Call functions under measurement, once in a process and where that is wanted."""
    if os.environ.pop(MEASURE, None):
        import coverage

        measuring = coverage.Coverage(data_suffix=True)
        with measuring.collect():
            for call in calls:
                call()
        measuring.save()


def answer(query: str) -> bytes:
    """Return what this process knows of its group; the query is the group's explicit name, if any."""
    measure(lambda: _found(query), is_early)
    if query == CHILD:
        return _of_a_child()
    found, unknown = _found(query)
    return json.dumps(
        {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "imported_early": imported_early,
            "is_early": is_early(),
            "group": found,
            "unknown": unknown,
            "master_is_alive": found and is_alive(found.master),
        }
    ).encode()


def _found(name: str) -> tuple[Group | None, str]:
    """Return the group, and why it cannot be told."""
    try:
        return find_group(name or None), ""
    except OSError as error:
        return None, str(error)


def _of_a_child() -> bytes:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, answer(""))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    os.wait()
    return said


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = answer(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    body = answer(scope["query_string"].decode())
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})
