"""What each option adds to a request, alone and all together, on an app that does nothing. Off, an option adds nothing.

`python -m tests.benchmarks options`.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry

from red_middleware import Label, RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from .driving import Serve, null_asgi, null_wsgi, serve_asgi, serve_wsgi
from .rounds import Candidate, measure
from .tables import BARE, OURS, Effort, Table, Target, counted_anywhere

LABELS: Final = {
    "tenant": Label(values=["acme", "globex"], header="x-tenant"),
    "version": Label(constant="1.4"),
}
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "labels": {"labels": LABELS},
    "sizes": {"sizes": True},
    "duration_status": {"duration_status": "class"},
    "status_classes": {"status_classes": True},
    "in_progress_by_route": {"in_progress_by_route": True},
    "saturation": {"saturation": True},
    "objectives": {"slo_seconds": [0.3], "slo_availability": 0.999},
}
"""Those that this page is about; `first_byte` and `event_streams` stand beside them."""
OLDER: Final[Mapping[str, Mapping[str, Any]]] = {
    "first_byte": {"first_byte": True},
    "event_streams": {"event_streams": True},
}
ALL: Final = "all of them"
MOST_MICROSECONDS: Final = 3.0
"""What all of them should add at most."""


def options(effort: Effort, loop: asyncio.AbstractEventLoop) -> Iterator[Table]:
    """Compare a middleware without options with one for each option, and with one that has all."""
    logging.getLogger("red_middleware").setLevel(logging.ERROR)  # each says that such an app has no routes
    for protocol in ("WSGI", "ASGI"):
        candidates = [Candidate(BARE, _serve(protocol, loop)), _candidate(protocol, loop, OURS, {})]
        for name, chosen in {**OPTIONS, **OLDER}.items():
            candidates.append(_candidate(protocol, loop, f"{OURS}, {name}", chosen))
        together = {key: value for chosen in OPTIONS.values() for key, value in chosen.items()}
        candidates.append(_candidate(protocol, loop, f"{OURS}, {ALL}", together))
        for chosen in OLDER.values():
            together = {**together, **chosen}
        candidates.append(_candidate(protocol, loop, f"{OURS}, {ALL} and the older two", together))
        candidates.append(_candidate(protocol, loop, f'{OURS}, naming="otel"', {"naming": "otel"}))
        figures = measure(candidates, 1, effort.rounds, effort.chunk_seconds)
        added = figures[f"{OURS}, {ALL}"].added - figures[OURS].added
        targets = [Target("microseconds that all of them add to a request without", added, MOST_MICROSECONDS)]
        yield Table(f"Options, {protocol}, null app", list(figures.values()), OURS, targets)


def _candidate(protocol: str, loop: asyncio.AbstractEventLoop, name: str, chosen: Mapping[str, Any]) -> Candidate:
    metrics = RedMetrics(registry=CollectorRegistry(), **chosen)
    return Candidate(name, _serve(protocol, loop, metrics), None if "naming" in chosen else counted_anywhere(metrics))


def _serve(protocol: str, loop: asyncio.AbstractEventLoop, metrics: RedMetrics | None = None) -> Serve:
    if protocol == "WSGI":
        return serve_wsgi(null_wsgi if metrics is None else RedWSGIMiddleware(null_wsgi, metrics=metrics), ["/"])
    return serve_asgi(null_asgi if metrics is None else RedASGIMiddleware(null_asgi, metrics=metrics), ["/"], loop)
