"""How each kind of panel is drawn."""

import math
import re
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .answers import Answers, Series, name_of
from .marks import COLOURS, PALETTE, across, area, line, rectangle, text
from .units import said, ticks

Panel = Mapping[str, Any]

HEAD: Final = 28
"""Where the title ends."""
LEFT, RIGHT = 60, 12
LETTER_PIXELS: Final = 5.9
"""How wide a letter is, on average."""
CLOCK_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 360)
"""How far the times on an axis may lie apart."""
MOST_LEGENDS: Final = 5
"""How many lines a legend in the form of a table has."""


def body_of(panel: Panel, width: float, height: float, answers: Answers) -> str:
    """Return what is below the title of a panel."""
    draw = {
        "bargauge": _bar_gauge, "heatmap": _heatmap, "stat": _stat, "table": _table, "text": _text,
        "timeseries": _time_series,
    }[panel["type"]]  # fmt: skip
    return "".join(draw(panel, width, height, answers))


class Line(NamedTuple):
    """One line of a graph."""

    name: str
    series: Series
    colour: str


def _unit(panel: Panel) -> str:
    unit: str = panel["fieldConfig"]["defaults"]["unit"]
    return unit


def _steps(panel: Panel) -> list[tuple[float, str]]:
    """Return the thresholds and their colours."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [(-math.inf if step["value"] is None else step["value"], COLOURS[step["color"]]) for step in steps]


def _colour(value: float, steps: Iterable[tuple[float, str]]) -> str:
    return [colour for limit, colour in steps if value >= limit][-1]


def _stat(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    (target,) = panel["targets"]
    found = answers.over_time(target["expr"])
    if not found or not found[0].points:
        yield text(width / 2, height / 2 + 10, panel["fieldConfig"]["defaults"]["noValue"], "middle")
        return
    value = found[0].last
    colour = _colour(value, _steps(panel))
    most = max((number for _, number in found[0].points), default=0) or 1
    floor, scale = height - 1, 0.3 * height / most
    upper = [(_x(moment, answers, 1, width - 1), floor - number * scale) for moment, number in found[0].points]
    yield area(upper, [(upper[0][0], floor), (upper[-1][0], floor)], colour, 0.13)
    yield line(upper, colour)
    yield text(width / 2, height / 2 + 8, said(value, _unit(panel)), "middle", colour, 25)


def _time_series(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    lines = _lines(panel, answers)
    is_stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    is_table = panel["options"]["legend"]["displayMode"] == "table"
    floor = height - 24 - (14 * min(len(lines), MOST_LEGENDS) + 14 if is_table else 18)
    unit = _unit(panel)
    if not any(one.series.points for one in lines):
        yield text(width / 2, height / 2, "No data", "middle")
        return
    tops = _tops(lines) if is_stacked else [dict(one.series.points) for one in lines]
    values = [value for top in tops for value in top.values()]
    marks = list(ticks(panel["fieldConfig"]["defaults"].get("max") or max(values)))
    scale = (floor - HEAD - 4) / marks[-1]
    for mark in marks:
        yield across(LEFT, width - RIGHT, floor - mark * scale, "grid")
        yield text(LEFT - 6, floor - mark * scale + 3.5, said(mark, unit), "faint end")
    yield from _clock(width, floor, answers)
    if panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"] != "off":
        for limit, colour in _steps(panel)[1:]:
            if limit <= marks[-1]:
                yield across(LEFT, width - RIGHT, floor - limit * scale, "aim", colour)
    opacity = panel["fieldConfig"]["defaults"]["custom"]["fillOpacity"] / 100
    below: dict[float, float] = {}
    for one, top in zip(lines, tops, strict=True):
        if top:
            upper = [(_x(moment, answers, LEFT, width - RIGHT), floor - value * scale) for moment, value in top.items()]
            lower = [(x, floor - below.get(moment, 0) * scale) for (x, _), moment in zip(upper, top, strict=True)]
            yield area(upper, lower, one.colour, opacity)
            yield line(upper, one.colour)
            below = top if is_stacked else {}
    yield from _legend(lines, floor + 30, width, unit, is_table=is_table)


def _lines(panel: Panel, answers: Answers) -> list[Line]:
    """Return the lines of a graph, each with a colour of its own, or the one that the dashboard gives it."""
    found = [
        (name_of(series, target["legendFormat"]), series)
        for target in panel["targets"]
        for series in answers.over_time(target["expr"])
    ]
    given = [
        (override["matcher"]["options"].strip("/"), one["value"]["fixedColor"])
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    ]
    lines = []
    for n, (name, series) in enumerate(sorted(found, key=lambda one: one[0]) if len(found) > 3 else found):
        own = [COLOURS[colour] for pattern, colour in given if re.search(pattern, name)]
        lines.append(Line(name, series, own[0] if own else PALETTE[n % len(PALETTE)]))
    return lines


def _tops(lines: Sequence[Line]) -> list[dict[float, float]]:
    """Return the upper edge of each line, where they lie on top of each other."""
    heights: defaultdict[float, float] = defaultdict(float)
    tops = []
    for one in lines:
        for moment, value in one.series.points:
            heights[moment] += value
        tops.append({moment: heights[moment] for moment, _ in one.series.points})
    return tops


def _legend(lines: Sequence[Line], top: float, width: float, unit: str, *, is_table: bool) -> Iterator[str]:
    if not is_table:
        left = 12.0
        for one in lines:
            need = 20 + LETTER_PIXELS * len(one.name)
            if left + need > width:
                return
            yield rectangle(left, top - 5, 10, 3, one.colour)
            yield text(left + 14, top, one.name)
            left += need + 8
        return
    yield text(width - 78, top, "last", "faint end") + text(width - 14, top, "max", "faint end")
    for n, one in enumerate(sorted(lines, key=lambda one: -one.series.last)[:MOST_LEGENDS]):
        base = top + 14 * (n + 1)
        name = textwrap.shorten(one.name, int((width - 170) / LETTER_PIXELS), placeholder="…")
        yield rectangle(12, base - 5, 10, 3, one.colour) + text(26, base, name)
        values = [value for _, value in one.series.points] or [math.nan]
        yield text(width - 78, base, said(values[-1], unit), "end") + text(
            width - 14, base, said(max(values), unit), "end"
        )


def _clock(width: float, floor: float, answers: Answers) -> Iterator[str]:
    """Yield the times below a graph."""
    minutes = (answers.end - answers.start) / 60
    step = next((step for step in CLOCK_MINUTES if minutes / step <= width / 80), CLOCK_MINUTES[-1]) * 60
    moment = answers.start // step * step + step
    while moment < answers.end:
        shown = time.strftime("%H:%M", time.gmtime(moment))
        yield text(_x(moment, answers, LEFT, width - RIGHT), floor + 13, shown, "faint middle")
        moment += step


def _x(moment: float, answers: Answers, left: float, right: float) -> float:
    return left + (right - left) * (moment - answers.start) / (answers.end - answers.start)


def _bar_gauge(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    (target,) = panel["targets"]
    found = [series for series in answers.over_time(target["expr"]) if series.points]
    if not found:
        yield text(width / 2, height / 2, panel["fieldConfig"]["defaults"]["noValue"], "middle")
    room = (height - HEAD - 8) / max(len(found), 1)
    thick = min(room - 22, 26)
    for n, series in enumerate(found):
        top = HEAD + n * room + 6
        colour = _colour(series.last, _steps(panel))
        share = min(max(series.last, 0), 1)
        yield text(12, top + 10, name_of(series, target["legendFormat"]))
        yield text(width - 12, top + 11, said(series.last, _unit(panel)), "end name", colour, 14)
        yield rectangle(12, top + 16, width - 24, thick, "#eef0f2")
        yield rectangle(12, top + 16, (width - 24) * share, thick, colour)


def _heatmap(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    (target,) = panel["targets"]
    found = sorted(answers.over_time(target["expr"]), key=lambda series: float(series.labels["le"]))
    floor = height - 24
    single: list[tuple[str, dict[float, float]]] = []
    below: dict[float, float] = {}
    for series in found:
        points = dict(series.points)
        single.append((series.labels["le"], {moment: value - below.get(moment, 0) for moment, value in points.items()}))
        below = points
    most = max((value for _, cells in single for value in cells.values()), default=0) or 1
    tall = (floor - HEAD) / max(len(single), 1)
    wide = (width - LEFT - RIGHT) / ((answers.end - answers.start) / answers.step)
    for n, (bound, cells) in enumerate(single):
        top = floor - (n + 1) * tall
        if n % 2 == 0 or tall > 12:
            yield text(LEFT - 6, top + 4, "∞" if bound == "+Inf" else said(float(bound), "s"), "faint end")
        for moment, value in cells.items():
            if value > 1e-9:
                left = _x(moment, answers, LEFT, width - RIGHT) - wide
                yield rectangle(left, top + 0.5, wide - 0.5, tall - 0.5, _orange(math.sqrt(value / most)))
    yield from _clock(width, floor, answers)


def _orange(share: float) -> str:
    """Return a colour between a light and a dark orange."""
    light, dark = (255, 237, 213), (166, 54, 3)
    mixed = [round(low + (high - low) * min(share, 1) / 16 * 16) for low, high in zip(light, dark, strict=True)]
    return f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"


def _table(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    first, *others = panel["fieldConfig"]["overrides"]
    label = first["matcher"]["options"]
    columns = [{one["id"]: one["value"] for one in override["properties"]} for override in (first, *others)]
    rows: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for n, target in enumerate(panel["targets"], 1):
        for series in answers.at_the_end(target["expr"]):
            if series.points:
                rows[series.labels.get(label, "")][n] = series.last
    room = (width - 250) / len(others)
    yield text(14, HEAD + 12, columns[0]["displayName"], "head")
    for n, column in enumerate(columns[1:], 1):
        sign = " ↓" if n == 1 else ""
        yield text(240 + n * room, HEAD + 12, column["displayName"] + sign, "head end")
    ordered = sorted(rows.items(), key=lambda row: -row[1].get(1, -math.inf))
    for position, (route, values) in enumerate(ordered[: int((height - HEAD - 22) / 22)]):
        base = HEAD + 36 + 22 * position
        yield across(10, width - 10, base - 15, "grid") + text(14, base, route or "(none)", "link")
        for n, column in enumerate(columns[1:], 1):
            if n in values:
                yield from _cell(values[n], column, 240 + n * room, base, room)


def _cell(value: float, column: Mapping[str, Any], right: float, base: float, room: float) -> Iterator[str]:
    kind = column.get("custom.cellOptions", {}).get("type")
    steps = column.get("thresholds", {}).get("steps", ())
    limits = [(-math.inf if step["value"] is None else step["value"], COLOURS[step["color"]]) for step in steps]
    if kind == "gauge":
        wide = room - 70
        yield rectangle(right - room + 16, base - 9, wide, 11, "#eef0f2")
        yield rectangle(right - room + 16, base - 9, wide * min(max(value, 0), 1), 11, COLOURS["blue"])
    shown = round(value) if column.get("decimals") == 0 else value
    yield text(right, base, said(shown, column["unit"]), "end", _colour(value, limits) if limits else "")


def _text(panel: Panel, width: float, height: float, answers: Answers) -> Iterator[str]:
    content = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", panel["options"]["content"]).replace("`", "")
    lines = [part for paragraph in content.split("\n") for part in textwrap.wrap(paragraph, int(width / LETTER_PIXELS))]
    for n, part in enumerate(lines):
        yield text(12, HEAD + 14 + 15 * n, part)
