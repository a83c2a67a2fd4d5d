"""SVG: the few marks that panels are drawn with, and their look."""

from collections.abc import Iterable, Sequence
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 1200
COLUMN_PIXELS: Final = WIDTH / 24
LINE_PIXELS: Final = 26

COLOURS: Final = {
    "green": "#4a9c40", "yellow": "#d9a800", "orange": "#f2760a", "red": "#d92d42", "blue": "#3274d9",
    "purple": "#9a4fc4",
}  # fmt: skip
"""Those that the dashboard names."""

PALETTE: Final = (
    "#56a64b", "#e0a400", "#3274d9", "#f2760a", "#d92d42", "#8f5ec9", "#19a5b5", "#c15c9c", "#7a8a3c", "#5b6b7f",
    "#a8602f", "#2f8f6b",
)  # fmt: skip
"""Those of lines that have none of their own."""

STYLE: Final = """
text{font:11px system-ui,'Liberation Sans',Arial,sans-serif;fill:#464c54}
.title{font-size:18px;font-weight:600;fill:#1f2328}.row{font-size:13px;font-weight:600;fill:#1f2328}
.name{font-size:12px;font-weight:600;fill:#24292e}.end{text-anchor:end}.middle{text-anchor:middle}
.faint{font-size:10px;fill:#7b828a}.head{font-weight:600;fill:#3274d9}.link{fill:#3274d9}
.grid{stroke:#e9ecef;stroke-width:1}.line{fill:none;stroke-width:1.4}.aim{stroke-width:1;stroke-dasharray:5 4}
"""

Point = tuple[float, float]


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """Return a whole picture."""
    size = f'width="{width}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" {size}>\n<style>{STYLE}</style>'
    return "\n".join([head, f'<rect {size} fill="#f4f5f7"/>', *parts, "</svg>", ""])


def shifted(left: float, top: float, inner: str) -> str:
    """Return something at its place, one mark a line."""
    return f'<g transform="translate({left:g} {top:g})">{inner}</g>'


def box(width: float, height: float) -> str:
    """Return the background of a panel."""
    return f'<rect width="{width:g}" height="{height:g}" rx="3" fill="#fff" stroke="#dfe2e6"/>'


def text(left: float, base: float, content: str, kind: str = "", colour: str = "", size: float = 0) -> str:
    """Return a line of text: `kind` is one or more classes of `STYLE`."""
    style = (f"fill:{colour};" if colour else "") + (f"font-size:{size:g}px" if size else "")
    attributes = (f' class="{kind}"' if kind else "") + (f' style="{style}"' if style else "")
    return f'<text x="{left:.6g}" y="{base:.6g}"{attributes}>{escape(content)}</text>'


def rectangle(left: float, top: float, width: float, height: float, colour: str, opacity: float = 1) -> str:
    """Return a bar or a cell."""
    more = f' fill-opacity="{opacity:.2g}"' if opacity < 1 else ""
    return f'<rect x="{left:.4g}" y="{top:.4g}" width="{width:.4g}" height="{height:.4g}" fill="{colour}"{more}/>'


def line(points: Sequence[Point], colour: str) -> str:
    """Return a line through points."""
    return f'<path class="line" stroke="{colour}" d="{_way(points)}"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], colour: str, opacity: float) -> str:
    """Return what lies between two lines."""
    way = _way([*upper, *reversed(lower)])
    return f'<path fill="{colour}" fill-opacity="{opacity:g}" d="{way}Z"/>'


def across(left: float, right: float, height: float, kind: str, colour: str = "") -> str:
    """Return a horizontal line."""
    stroke = f' stroke="{colour}"' if colour else ""
    return f'<path class="{kind}"{stroke} d="M{left:.4g} {height:.4g}H{right:.4g}"/>'


def _way(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in points)
