"""The application of these tests in Starlette, wrapped in one line. FastAPI's serves the same functions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from red_middleware import RedASGIMiddleware

from . import marks

PIECE = b"x" * 16_384
PIECES = 40_000  # far more than any socket buffer holds, and than is dropped before the server tells of a reset


async def health(request: Request) -> Response:
    return PlainTextResponse("well")


async def ok(request: Request) -> Response:
    return PlainTextResponse("ok")


async def item(request: Request) -> Response:
    number = int(request.path_params["number"])
    if number >= 1000:
        raise HTTPException(404)
    return PlainTextResponse(f"item {number}")


async def directory(request: Request) -> Response:
    return PlainTextResponse("a directory")


async def fail(request: Request) -> Response:
    return PlainTextResponse("out of order", 503)


async def fall(request: Request) -> Response:
    raise ValueError("as asked")


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield PIECE[:100]

    return StreamingResponse(pieces())


async def paced(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.05)
            yield PIECE[:100]

    return StreamingResponse(pieces())


async def cut(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        raise KeyError("half-way")

    return StreamingResponse(pieces())


async def endless(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield PIECE
            await asyncio.sleep(0)  # the clients share the loop

    return StreamingResponse(pieces())


async def events(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        yield b"data: first\n\n"
        await _wait_for(request.query_params["until"])
        yield b"data: last\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.06)
    return PlainTextResponse("at last")


async def deaf(request: Request) -> Response:
    """Answer once the mark is there, whether the client is or not, which nobody asks."""
    marks.leave(request.query_params["begun"])
    await _wait_for(request.query_params["until"])
    return PlainTextResponse("anybody there?")


async def listening(request: Request) -> Response:
    """Wait for the client to leave, and answer all the same."""
    marks.leave(request.query_params["begun"])
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return PlainTextResponse("nobody there")


async def hang(request: Request) -> Response:
    marks.leave(request.query_params["begun"])
    await asyncio.sleep(60)
    return PlainTextResponse("too late")


async def upload(request: Request) -> Response:
    marks.leave(request.query_params["begun"])
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def task(request: Request) -> Response:
    return PlainTextResponse("begun", background=BackgroundTask(asyncio.sleep, 0))


async def failing_task(request: Request) -> Response:
    return PlainTextResponse("begun", background=BackgroundTask(_fail_afterwards))


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__).with_name("flask_app.py"), media_type="text/plain")


async def big(request: Request) -> Response:
    return FileResponse(marks.directory() / marks.BIG_FILE, media_type="text/plain")


async def _fail_afterwards() -> None:
    raise LookupError("after the response")


async def _wait_for(mark: str) -> None:
    while not marks.is_left(mark):
        await asyncio.sleep(0.005)


ROUTES = {
    "/health": health,
    "/ok": ok,
    "/items/{number:int}": item,
    "/directory/": directory,
    "/fail": fail,
    "/raise": fall,
    "/stream": stream,
    "/paced": paced,
    "/cut": cut,
    "/endless": endless,
    "/events": events,
    "/slow": slow,
    "/deaf": deaf,
    "/listening": listening,
    "/hang": hang,
    "/task": task,
    "/failing-task": failing_task,
    "/file": file,
    "/big": big,
}

app = Starlette(routes=[*(Route(path, served) for path, served in ROUTES.items()),
                        Route("/upload", upload, methods=["POST"])])  # fmt: skip
app.add_middleware(RedASGIMiddleware, exclude=["/health"])
marks.leave_numbers_at_exit()
