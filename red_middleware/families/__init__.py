"""What the numbers are called: a family is data (`family`); `red`, `websocket` and the others list them."""

from typing import Final

from ..counting.layout import Choices
from . import red, saturation, streams, websocket
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
    replaced = {family.name: family for family in (saturation.IN_PROGRESS if choices.in_progress_by_route else ())}
    return (
        *(replaced.get(family.name, family) for family in FAMILIES),
        *(websocket.MESSAGES if choices.websocket_messages else ()),
        *(streams.FIRST_BYTE if choices.first_byte else ()),
        *(streams.EVENT_STREAMS if choices.event_streams else ()),
        *(saturation.SATURATION if choices.saturation else ()),
    )
