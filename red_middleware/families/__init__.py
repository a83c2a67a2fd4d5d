"""What the numbers are called: a family is data (`family`); the rooms beside it list them."""

from typing import Final

from ..counting.layout import Choices
from . import objectives, otel, red, saturation, sizes, streams, websocket
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


LABELLED: Final = ("http_requests_total", "http_errors_total", "http_request_duration_seconds", otel.DURATION)
"""The families that show a label of the user's own if nothing else is said."""


def families(choices: Choices) -> tuple[Family, ...]:
    """Return the families that options ask for."""
    replaced = {family.name: family for family in (saturation.IN_PROGRESS if choices.in_progress_by_route else ())}
    found = (
        *(replaced.get(family.name, family) for family in FAMILIES),
        *(websocket.MESSAGES if choices.websocket_messages else ()),
        *(streams.FIRST_BYTE if choices.first_byte else ()),
        *(streams.EVENT_STREAMS if choices.event_streams else ()),
        *(sizes.FAMILIES if choices.size_bounds else ()),
        *(objectives.families(choices.objectives) if choices.objectives else ()),
        *(saturation.SATURATION if choices.saturation else ()),
    )
    named = filter(None, map(otel.renamed, found)) if choices.is_otel else found
    return tuple(
        family._replace(hidden=_hidden(family, choices)) if family.kind == "http" else family for family in named
    )


def _hidden(family: Family, choices: Choices) -> frozenset[str]:
    """Return the labels of the user's own that a family does not show."""
    return frozenset(
        label.name
        for label in choices.labels
        if family.name not in (LABELLED if label.families is None else label.families)
    )
