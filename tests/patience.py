"""The patience that workers have with one another, where a test counts on nobody giving up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from red_middleware.workers import index, member

SECONDS: Final = 60.0


@contextmanager
def patient() -> Iterator[None]:
    """Wait for the group's index until it is free, not for a quarter of a second.

    On a busy machine, or on a slow disk, another process may stand still for longer in the middle of an addition. Who
    gives up counts for itself until the next scrape, as it should, and has had a fault.
    """
    before = index.PATIENCE_SECONDS
    modules = [vars(module) for module in (index, member)]  # constants, to everybody else
    for names in modules:
        names["PATIENCE_SECONDS"] = SECONDS
    try:
        yield
    finally:
        for names in modules:
            names["PATIENCE_SECONDS"] = before
