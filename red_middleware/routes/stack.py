"""Who is answering? A framework that starts the response itself stands on the stack, with what it knows of the request.

Nothing is touched by looking. It does not help where a response is started by somebody else: a bridge between threads
or tasks, or a middleware that answers when the framework has returned.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

MAX_FRAMES: Final = 100
"""How far the stack is followed: middlewares take a frame or two each."""

MAX_RAISED: Final = 1000
"""How far a traceback is followed: Python's own limit of recursion."""

OURS: Final = frozenset({"red_middleware.wsgi", "red_middleware.asgi", "red_middleware.routes.bridges"})


def above(innermost: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those around it, up to the middleware itself: what is further out serves another request."""
    frame = innermost
    for _ in range(MAX_FRAMES):
        if frame is None or (frame.f_code.co_name == "__call__" and frame.f_globals.get("__name__") in OURS):
            break
        yield frame
        frame = frame.f_back


def below(error: BaseException | None) -> Iterator[FrameType]:
    """Yield the frames through which an exception came, the outermost first."""
    traceback = None if error is None else error.__traceback__
    for _ in range(MAX_RAISED):
        if traceback is None:
            break
        yield traceback.tb_frame
        traceback = traceback.tb_next


def around(innermost: FrameType | None, error: BaseException | None) -> Iterator[FrameType]:
    """Yield the frames of `above`, then those that an exception came through, each time the innermost first."""
    yield from above(innermost)
    yield from [*below(error)][::-1]


def answered(*is_answer: Callable[[object], bool]) -> BaseException | None:
    """Return the exception that is being handled: a framework may send its answer to it meanwhile.

    Args:
        is_answer: Each tells exceptions that are only a way to answer, such as a 404.
    """
    error = sys.exc_info()[1]
    return None if error is None or any(tells(error) for tells in is_answer) else error
