"""Where in a row of requests the sizes of their bodies are counted. Only tables of the option `sizes` have any."""

from bisect import bisect_left

from .layout import Kind
from .rows import IS_LOCKED, Row


class SizeCells:
    """The cells of sizes in a row.

    Args:
        kind: Rows with the fields of sizes.
    """

    __slots__ = ("bounds", "request_buckets", "request_bytes", "response_buckets", "response_bytes")

    def __init__(self, kind: Kind) -> None:
        self.bounds: tuple[float, ...] = kind.field("request_size_buckets").bounds
        self.request_bytes: int = kind.offsets["request_size_bytes"]
        self.request_buckets: int = kind.offsets["request_size_buckets"]
        self.response_bytes: int = kind.offsets["response_size_bytes"]
        self.response_buckets: int = kind.offsets["response_size_buckets"]

    def count(self, row: Row, received: int, sent: int) -> None:
        """Add the sizes of one request to its row."""
        start = row.start
        bounds = self.bounds
        first = bounds[0]  # most bodies are no larger: a comparison costs less than the search
        request_bucket = start + self.request_buckets + (bisect_left(bounds, received) if received > first else 0)
        response_bucket = start + self.response_buckets + (bisect_left(bounds, sent) if sent > first else 0)
        request_bytes, response_bytes = start + self.request_bytes, start + self.response_bytes
        if IS_LOCKED:
            row.lock.acquire()
        try:  # from here on without a call, as in `Exchange.finish`
            cells = row.table.http.cells  # not before: `Table.use` exchanges them
            cells[request_bucket] += 1.0
            cells[request_bytes] += received
            cells[response_bucket] += 1.0
            cells[response_bytes] += sent
        finally:
            if IS_LOCKED:
                row.lock.release()


def size_cells(kind: Kind) -> SizeCells | None:
    """Return where rows of a kind count sizes; `None` if they do not."""
    return SizeCells(kind) if "request_size_bytes" in kind.offsets else None
