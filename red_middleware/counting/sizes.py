"""How many bytes of a request's and of a response's body were transferred, and the cells that count them.

The adapters add to a `Transfer` what passes them; `exchange` counts it when the request is finished. Only where the
option `sizes` asks for it there is any of this.
"""

from bisect import bisect_left

from .layout import Kind
from .rows import Row


class Transfer:
    """The bytes of the bodies of one request, as far as they have come."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received: int = 0
        """What the application got of the request's body."""
        self.sent: int | None = None
        """What the server took of the response's body; `None` before it took any."""


class SizeCells:
    """Where in a row of requests its sizes are counted.

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
        """Add the sizes of one request."""
        start, region = row.start, row.table.http
        request_bytes, response_bytes = start + self.request_bytes, start + self.response_bytes
        request_bucket = start + self.request_buckets + bisect_left(self.bounds, received)
        response_bucket = start + self.response_buckets + bisect_left(self.bounds, sent)
        with row.lock:
            cells = region.cells  # not before: `Table.use` exchanges them
            cells[request_bytes] += received
            cells[request_bucket] += 1.0
            cells[response_bytes] += sent
            cells[response_bucket] += 1.0


def size_cells(kind: Kind) -> SizeCells | None:
    """Return where rows of a kind count sizes; `None` if they do not."""
    return SizeCells(kind) if "request_size_bytes" in kind.offsets else None
