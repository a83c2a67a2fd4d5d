"""What the numbers are called: a family is data (`family`); `red` and `websocket` list them."""

from typing import Final

from . import red, websocket
from .family import Bound, Family, Reading, Sample, bound, sample_text, samples
from .red import UPTIME

__all__ = [
    "FAMILIES",
    "OWN_FAMILIES",
    "UPTIME",
    "Bound",
    "Family",
    "Reading",
    "Sample",
    "bound",
    "sample_text",
    "samples",
]

FAMILIES: Final = (*red.FAMILIES, *websocket.FAMILIES)

OWN_FAMILIES: Final = tuple(family for family in FAMILIES if family is not UPTIME)
"""Those that no other package is likely to name so: an uptime is no request's, and others have one, too."""
