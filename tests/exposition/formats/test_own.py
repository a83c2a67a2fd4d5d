"""The application's own metrics of all workers, as text."""

from red_middleware.counting.layout import OWN_SUM
from red_middleware.exposition.formats.own import Child, Place


def test_buckets_come_in_the_order_of_their_bounds() -> None:
    """Not of the log: after a reload workers may have other buckets, and the counts are cumulative."""
    child = Child(("seconds", "histogram"), ())
    for number, le in enumerate(["", "1.0", "+Inf", "0.5"]):
        child.add("_bucket" if le else "_sum", le, Place(OWN_SUM, number, ()))
    named = child.named()
    assert [labels["le"] for suffix, labels, _ in named if suffix == "_bucket"] == ["0.5", "1.0", "+Inf"]
    assert [suffix for suffix, _, _ in named[-2:]] == ["_count", "_sum"]
    assert child.numbered == [0, 3, 1, 2]
