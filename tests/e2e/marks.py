"""How an application under test and its test talk without a request: files in a directory, named in the environment.

A handler leaves a mark when it has begun, and may wait for a mark of the test's; at the end of the process the
application leaves its numbers. Nothing of this passes the middleware.
"""

import atexit
import json
import os
from pathlib import Path
from typing import Final

from red_middleware import RedMetrics

DIRECTORY: Final = "RED_E2E_MARKS"
NUMBERS: Final = "numbers"
PIPE: Final = "pipe"
FILE: Final = Path(__file__)
"""Is sent as a download."""
HALF_BYTES: Final = 500
"""Of an upload, which is not read to its end."""
FEWER: Final = "fewer"
"""Lets the app without a framework begin with other options when it is loaded again."""
BIG_FILE: Final = "big"
BIG_BYTES: Final = 256 << 20  # more than any socket buffer holds, and sparse


def directory() -> Path:
    return Path(os.environ[DIRECTORY])


def leave(name: str) -> None:
    (directory() / name).touch()


def is_left(name: str) -> bool:
    return (directory() / name).exists()


def leave_numbers_at_exit() -> None:
    """Write what the process has counted when it ends, as a dying process can be asked no more.

    Of several processes each leaves its own: gunicorn's workers import the application after their fork.
    """

    def write() -> None:
        found = json.dumps(RedMetrics().snapshot())
        path = directory() / f"{NUMBERS}-{os.getpid()}"
        partial = path.with_name(f"partial-{os.getpid()}")
        partial.write_text(found)
        partial.rename(path)

    atexit.register(write)
