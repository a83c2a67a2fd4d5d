"""How many bytes of a body a message of ASGI brings to the server. `asgi` asks where `sizes` or `first_byte` is on."""

import os
from collections.abc import MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]

FILES: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages for a file that the server sends itself: its first byte follows at once."""


def body_bytes(message: Message, measures_files: bool) -> int:
    """Return how many bytes of the response's body the server takes with a message; 0 where nobody can tell.

    Args:
        message: Any message of ASGI.
        measures_files: Whether the size of a file is asked for, which the file system has to tell.
    """
    try:
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            return body.nbytes if isinstance(body, memoryview) else len(body)  # its length may be one of numbers
        return file_bytes(message) if measures_files and kind in FILES else 0
    except Exception:  # not a message, or no file: the server will refuse it
        return 0


def file_bytes(message: Message) -> int:
    """Return how many bytes of a file the server is going to send itself.

    Args:
        message: `http.response.pathsend` or `http.response.zerocopysend` (ASGI extensions).
    """
    if message["type"] == "http.response.pathsend":
        return os.stat(message["path"]).st_size
    file, offset, count = message["file"], message.get("offset"), message.get("count")
    try:
        number = file if isinstance(file, int) else file.fileno()
        if offset is None:
            offset = os.lseek(number, 0, os.SEEK_CUR)
        rest = max(0, os.fstat(number).st_size - offset)
    except OSError:  # a pipe has neither
        return count or 0
    return rest if count is None else min(count, rest)
