"""Which format and which encoding a client asked for (RFC 9110, 12.5). A strange header never fails: it is ignored."""

import re
from typing import Final, NamedTuple


class Format(NamedTuple):
    """A format on offer: its media type, and its versions, the newest first."""

    media_type: str
    versions: tuple[str, ...]

    def content_type(self, version: str) -> str:
        """Return the header for one of the versions."""
        return f"{self.media_type}; version={version}; charset=utf-8"


TEXT: Final = Format("text/plain", ("0.0.4",))
OPENMETRICS: Final = Format("application/openmetrics-text", ("1.0.0", "0.0.1"))

MAX_HEADER: Final = 8192
"""Characters of a header that are read: as long as servers let a line be, and a bound for the time that it takes."""

_QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)


class Range(NamedTuple):
    """One element of an Accept header, split."""

    name: str
    parameters: dict[str, str]
    quality: float


def choose_format(accept: str) -> tuple[Format, str]:
    """Return the format, and its version, that an Accept header prefers.

    The most specific range that names an offer gives its quality; of equal qualities the one listed first wins, then
    the text format. Where nothing on offer is acceptable the answer is the text format all the same: an answer that a
    person can read helps more than a 406.
    """
    ranges = _ranges(accept)
    best, best_rank = (TEXT, TEXT.versions[0]), (0.0, 0)
    for offer in (TEXT, OPENMETRICS):
        for version in offer.versions:
            matches = [
                (specificity, -position, element.quality)
                for position, element in enumerate(ranges)
                if (specificity := _specificity(element, offer, version))
            ]
            _, position, quality = max(matches, default=(0, 0, 0.0))
            if quality and (quality, position) > best_rank:
                best, best_rank = (offer, version), (quality, position)
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether gzip is taken, and no less than no encoding: `gzip;q=0` refuses it, `*` is all that is not named."""
    qualities = {element.name: element.quality for element in _ranges(accept_encoding)}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0.0 and gzip >= qualities.get("identity", 0.0)


def _specificity(element: Range, offer: Format, version: str) -> int:
    """Return how closely a range names an offer: 4 with its version, 3, `type/*` 2, `*/*` 1; 0 if it does not."""
    if element.name == offer.media_type:
        asked = element.parameters.get("version")
        return 4 if asked == version else 0 if asked else 3
    if element.name == f"{offer.media_type.split('/')[0]}/*":
        return 2
    return 1 if element.name == "*/*" else 0


def _ranges(header: str) -> list[Range]:
    found = []
    for element in _QUOTED.sub(_bare, header[:MAX_HEADER]).split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip() for key, _, value in pairs}
        quality = parameters.pop("q", "1")
        if name and _QUALITY.fullmatch(quality):
            found.append(Range(name.lower(), parameters, float(quality)))
    return found


def _bare(quoted: re.Match[str]) -> str:
    """Return a quoted string without its quotes and without what would separate outside of them."""
    return quoted[1].replace(",", " ").replace(";", " ")
