"""What the numbers are called: a family is data (`family`); `red`, `websocket` and `streams` list them."""

from typing import Final

from . import red, streams, websocket
from .family import Bound, Family, Reading, Sample, bound, sample_text, samples
from .red import UPTIME

__all__ = [
    "FAMILIES",
    "UPTIME",
    "Bound",
    "Family",
    "Reading",
    "Sample",
    "bound",
    "families",
    "sample_text",
    "samples",
]

FAMILIES: Final = (*red.FAMILIES, *websocket.FAMILIES)
"""Those that no option asks for."""


def families(first_byte: bool, event_streams: bool, websocket_messages: bool) -> tuple[Family, ...]:
    """Return the families that these options ask for. Their meaning is that of `layout.layout`."""
    return (
        *FAMILIES,
        *(websocket.MESSAGES if websocket_messages else ()),
        *(streams.FIRST_BYTE if first_byte else ()),
        *(streams.EVENT_STREAMS if event_streams else ()),
    )
