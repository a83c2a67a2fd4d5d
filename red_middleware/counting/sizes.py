"""Where in a row of requests the sizes of their bodies are counted. Only tables of the option `sizes` have any."""

from bisect import bisect_left

from .layout import Kind
from .rows import IS_LOCKED, Row


class SizeCells:
    """The cells of sizes in a row.

    Args:
        kind: Rows with the fields of sizes.
    """

    __slots__ = ("bounds", "first_bound", "request_buckets", "request_bytes", "response_buckets", "response_bytes")

    def __init__(self, kind: Kind) -> None:
        self.bounds: tuple[float, ...] = kind.field("request_size_buckets").bounds
        self.first_bound: float = self.bounds[0]
        self.request_bytes: int = kind.offsets["request_size_bytes"]
        self.request_buckets: int = kind.offsets["request_size_buckets"]
        self.response_bytes: int = kind.offsets["response_size_bytes"]
        self.response_buckets: int = kind.offsets["response_size_buckets"]

    def count(self, row: Row, received: int, sent: int) -> None:
        """Add the sizes of one request to its row."""
        start, first = row.start, self.first_bound
        request_bucket, response_bucket = start + self.request_buckets, start + self.response_buckets
        if received > first:  # most bodies are no larger: a comparison costs less than the search
            request_bucket += bisect_left(self.bounds, received)
        if sent > first:
            response_bucket += bisect_left(self.bounds, sent)
        if IS_LOCKED:
            row.lock.acquire()
        try:  # from here on without a call, as in `Exchange.finish`
            cells = row.table.http.cells  # not before: `Table.use` exchanges them
            cells[request_bucket] += 1.0
            cells[start + self.request_bytes] += received
            cells[response_bucket] += 1.0
            cells[start + self.response_bytes] += sent
        finally:
            if IS_LOCKED:
                row.lock.release()


def size_cells(kind: Kind) -> SizeCells | None:
    """Return where rows of a kind count sizes; `None` if they do not."""
    return SizeCells(kind) if "request_size_bytes" in kind.offsets else None
