"""What a shop counts of its own with prometheus_client, as any app would. Two applications do so, see `handle`.

Each process leaves marks, from which a test knows what must have been counted: `IMPORTED`, `BEGUN` and `TICKED`, each
with the process id behind.
"""

import os
import threading
import time

from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary

from . import marks
from .business import BEGUN, IMPORTED, ITEMS, LAST_SET, LEVEL, MODES, PHASES, PRICES, TICKED, TICKS, TIP

handled = Counter("business_handled", "Imports and requests.")
imports = Counter("business_imports", "Imports, by process.", ["process"])
purchases = Counter("business_purchases", "Purchases.", ["item"])
tips = Counter("business_tips_euros", "Tips.", ["item"])
prices = Histogram("business_price_euros", "Prices.", ["item"], buckets=PRICES)
tip_sizes = Summary("business_tip_size_euros", "Tips.")
ticks = Counter("business_ticks", "Steps of the workers' threads.")
in_progress = Gauge("business_in_progress", "Requests that are being served.")
sessions = Gauge("business_sessions", "Workers that have begun, each of which has incremented it.")
answering = Gauge("business_answering_process", "The process that answers.")
levels = {mode: Gauge(f"business_{mode}_level", "Set by each.", ["by"], multiprocess_mode=mode) for mode in MODES}
build = Info("business_build", "The same everywhere.")
setting = Info("business_setting", "Set by requests.")
phase = Enum("business_phase", "Set by requests.", states=PHASES)

answering.set_function(os.getpid)
build.info({"version": "1"})
handled.inc()
imports.labels(str(os.getpid())).inc()
marks.leave(f"{IMPORTED}-{os.getpid()}")

_lock = threading.Lock()
_begun: set[int] = set()


def handle(path: str) -> tuple[str, str]:
    """Return the status and the body of the answer to a request, once it is counted."""
    _, kind, name = path.split("/")
    _begin()
    handled.inc()
    if kind == "level":
        _set(int(name))
        return LEVEL, str(os.getpid())
    item = ITEMS[name]
    purchases.labels(name).inc()
    tips.labels(item=name).inc(TIP)
    prices.labels(name).observe(item.price)
    tip_sizes.observe(TIP)
    return item.status, name


def _begin() -> None:
    """Say what a worker says once, at its first request: after the fork, if there was one."""
    process = os.getpid()
    with _lock:
        if process not in _begun:
            for level in levels.values():
                level.labels("worker").set(process)
            sessions.inc()
            threading.Thread(target=_tick, daemon=True).start()
            marks.leave(f"{BEGUN}-{process}")
            _begun.add(process)


def _tick() -> None:
    for _ in range(TICKS):
        ticks.inc()
        time.sleep(0.001)  # the server's own threads have their turn, and the worker may end meanwhile
    marks.leave(f"{TICKED}-{os.getpid()}")


def _set(number: int) -> None:
    for mode in LAST_SET:
        levels[mode].labels("request").set(number)
    setting.info({"number": str(number)})
    phase.state(PHASES[number % len(PHASES)])
