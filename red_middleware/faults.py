"""What goes wrong in the instrumentation: logged once per kind, counted, and kept from the application."""

import logging
from collections.abc import Callable

logger: logging.Logger = logging.getLogger("red_middleware")


def log(level: int, message: str, *arguments: object, error: BaseException | None = None) -> None:
    """Log. No request may fail because a handler or filter of the user's raises.

    Without any handler Python prints the message alone, which then says whose it is.
    """
    try:
        if not logger.hasHandlers():
            message = f"{logger.name}: {message}"
        logger.log(level, message, *arguments, exc_info=error)
    except Exception:
        pass


class Faults:
    """What one recorder has warned of.

    Args:
        count: Called once per fault.
    """

    def __init__(self, count: Callable[[], None]) -> None:
        self.count = count
        self.told: set[str] = set()

    def fault(self, kind: str, error: BaseException) -> None:
        """Count a fault, and log the first of its kind with its traceback."""
        self.count()
        self.warn_once(kind, "instrumentation fault (%s); the response is not touched", kind, error=error)

    def warn_once(self, kind: str, message: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log a warning, the first time that its kind comes up."""
        if kind not in self.told:
            self.told.add(kind)
            log(logging.WARNING, message, *arguments, error=error)
