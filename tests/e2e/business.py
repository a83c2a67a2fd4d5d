"""What the tests of the application's own metrics and their applications must agree about."""

from typing import Final, Literal, NamedTuple, get_args

Mode = Literal[
    "all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"
]  # fmt: skip
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
LAST_SET: Final[tuple[Mode, ...]] = ("all", "mostrecent", "livemostrecent")

IMPORTED: Final = "imported"
BEGUN: Final = "begun"
TICKED: Final = "ticked"


class Item(NamedTuple):
    """Something to buy. Its status tells clients that it was this one."""

    status: str
    price: float


ITEMS: Final = {"apples": Item("200", 0.5), "pears": Item("201", 3.0), "plums": Item("202", 20.0)}
LEVEL: Final = "203"
"""The status of `/level/<number>`, which sets whatever shows what was set last."""
TIP: Final = 0.1
"""A fraction that no float is, so that the order of additions could show."""
PRICES: Final = (1.0, 5.0, 10.0)
TICKS: Final = 200
PHASES: Final = ("opening", "open", "closing")
