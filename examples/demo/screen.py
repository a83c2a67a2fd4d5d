"""What the terminal shows: a table of routes, and below it each shop's other numbers and the address of its metrics."""

import io
import math
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .numbers import Red, Scrape, red_between
from .shops import Shop

QUANTILES = (0.5, 0.95, 0.99)
LEGEND = """
req/s to p99 ms: over the time in the title; all other counts: since the start
errors: share of 5xx answers; <5: in the histogram's first bucket, up to 5 ms
_unmatched: no declared route (404, 405); _OTHER: an unusual method, like PURGE
workers: how many have served a request; all numbers are sums over all workers
active: requests in progress; left early: clients that left during the answer
orders: the shop's own metric"""
ROOMY_LINES = 32
"""How many lines a terminal needs to show the tables with the legend."""
PICTURE_COLUMNS = 80
NOTHING = Text("-", "dim")


def screen(
    shops: Sequence[Shop], before: Sequence[Scrape], now: Sequence[Scrape], title: str, legend: bool
) -> RenderableType:
    """Draw the RED of the shops.

    Args:
        shops: The shops, in the order in which they are shown.
        before: A scrape of each shop, taken at the beginning of the time that is shown.
        now: A scrape of each shop, taken at the end of this time.
        title: The text above the table.
        legend: Whether to explain the words below the tables.
    """
    # Everything except the legend fits into 80 columns and 24 lines.
    routes = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", show_edge=False, padding=0
    )
    routes.add_column("service", style="bold cyan")
    routes.add_column("method")
    routes.add_column("route", no_wrap=True)
    for heading in ("total", "req/s", "errors", *(f"p{q * 100:.0f} ms" for q in QUANTILES)):
        routes.add_column(heading, justify="right", no_wrap=True)
    for shop, first, last in zip(shops, before, now, strict=True):
        name = shop.name
        for red in red_between(first, last, QUANTILES):
            routes.add_row(name, *_cells(red))
            name = ""
        routes.add_section()
    notes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    notes.add_column("service", style="bold cyan")
    for heading in ("workers", "active", "left early", "orders"):
        notes.add_column(heading, justify="right")
    notes.add_column("metrics", overflow="fold")
    for shop, last in zip(shops, now, strict=True):
        families = (
            "red_workers",
            "http_requests_in_progress",
            "http_client_disconnects_total",
            "shop_orders_total",
        )
        notes.add_row(shop.name, *(str(last.totals[name]) for name in families), f"{shop.url}/metrics")
    return Group(routes, "", notes, *([Text(LEGEND, "dim")] if legend else []))


def svg(drawn: RenderableType) -> str:
    """Return a picture of a terminal that shows this, as SVG."""
    console = Console(
        record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True, color_system="truecolor",
        highlight=False,
    )  # fmt: skip
    console.print(drawn)
    return console.export_svg(title="tox run -e demo", unique_id="demo")


def _cells(red: Red) -> list[Text]:
    return [
        Text(red.method),
        Text(red.route, "dim" if red.route.startswith("_") else ""),
        Text(str(red.total)),
        NOTHING if math.isnan(red.per_second) else Text(f"{red.per_second:.1f}"),
        _share(red.error_share),
        *(_milliseconds(seconds, red.shortest) for seconds in red.quantiles),
    ]


def _share(share: float) -> Text:
    if math.isnan(share):
        return NOTHING
    return Text(f"{share:.1%}", "bold red") if share else Text("0%", "dim")


def _milliseconds(seconds: float, shortest: float) -> Text:
    if math.isnan(seconds):
        return NOTHING
    if seconds <= shortest:  # a guess within the first bucket would look exact
        return Text(f"<{shortest * 1000:g}", "dim")
    return Text(f"{seconds * 1000:.0f}")
