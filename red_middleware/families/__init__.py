"""What the numbers are called: a family is data (`family`), and `red` is the list of them."""

from .family import Bound, Family, Reading, Sample, bound, sample_text, samples
from .red import FAMILIES

__all__ = ["FAMILIES", "Bound", "Family", "Reading", "Sample", "bound", "sample_text", "samples"]
