"""What the numbers are called: a family is data (`family`), and `red` is the list of them."""

from .family import Bound, Family, Reading, Sample, bound, sample_text, samples
from .red import FAMILIES, OWN_FAMILIES, UPTIME

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
