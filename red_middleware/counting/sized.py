"""One request the sizes of whose bodies are counted too. Only where the option `sizes` asks for it there are any.

The adapters tell the bytes of the bodies as they pass; they are counted with the request, when it is finished.
"""

from collections.abc import Callable

from .enclosing import Recorder, Source
from .exchange import Exchange


class SizedExchange(Exchange):
    """A request that counts its sizes. What comes after it is finished does not count."""

    __slots__ = ()

    def finish(self, complete: bool = True) -> None:
        if self.finished:
            return
        super().finish(complete)
        outcome = self.outcome
        if self.is_sized and outcome is not None and outcome.row.table.size_cells is not None:
            sent = 0 if self.method.label == "HEAD" else self.sent  # the server drops what an application says to HEAD
            outcome.row.table.size_cells.count(outcome, self.received, sent or 0)


def sized(
    start: Callable[..., Exchange | None], recorder: Recorder, method: object, source: Source, path: str = ""
) -> Exchange | None:
    """Begin a request as one of the ways to `start` does, and count its sizes."""
    exchange = start(recorder, method, source, path)
    if exchange is not None:
        exchange.__class__ = SizedExchange
        exchange.received = 0
        exchange.sent = None
        exchange.is_sized = True
    return exchange
