"""What the numbers are called: a family is data (`family`); `red`, `websocket`, `streams` and `sizes` list them."""

from typing import Final

from ..counting.layout import Choices
from . import red, sizes, streams, websocket
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


def families(choices: Choices) -> tuple[Family, ...]:
    """Return the families that options ask for."""
    return (
        *FAMILIES,
        *(websocket.MESSAGES if choices.websocket_messages else ()),
        *(streams.FIRST_BYTE if choices.first_byte else ()),
        *(streams.EVENT_STREAMS if choices.event_streams else ()),
        *(sizes.FAMILIES if choices.size_bounds else ()),
    )
