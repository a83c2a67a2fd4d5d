"""Which tables there are, and in how many processes each is measured.

What depends on where a process has its memory, a microsecond or two on a framework, is no property of a candidate. So
requests are measured in several new processes, and of their medians the median is shown.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

from .servers import ServerTable, servers
from .tables import TABLES as ALONE
from .tables import Effort, Table
from .workers import workers

TABLES = {**ALONE, "workers": workers}
SERVERS = "servers"
"""Measured when it is asked for: it takes four minutes more, and a load generator."""

PROCESSES = 11
REQUESTS = ("asgi", "wsgi", "starlette", "fastapi", "flask", "django")
"""Tables that are measured in so many processes, each with a fifth of the rounds."""


def measured(name: str, effort: Effort) -> Iterable[Table | ServerTable]:
    """Return the tables of one name, measured; some as soon as each is."""
    if name == SERVERS:
        return servers(effort)
    if name not in REQUESTS:
        return tables_of(name, effort)
    share = effort._replace(rounds=max(5, effort.rounds // 5))
    runs = []
    for _ in range(PROCESSES):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            runs.append(pool.submit(tables_of, name, share).result())
    return [_middle(tables) for tables in zip(*runs, strict=True)]


def tables_of(name: str, effort: Effort) -> list[Table]:
    """Measure in this process."""
    loop = asyncio.new_event_loop()
    try:
        return list(TABLES[name](effort, loop))
    finally:
        loop.close()


def _middle(tables: Sequence[Table]) -> Table:
    """Return the median of each figure of some runs; the margin is that of their medians."""
    figures = []
    for runs in zip(*(table.figures for table in tables), strict=True):
        added = sorted(run.added for run in runs)
        margin = (added[-1] - added[0]) / 2
        figures.append(runs[0]._replace(total=median(run.total for run in runs), added=median(added), margin=margin))
    targets = [
        runs[0]._replace(ratio=median(run.ratio for run in runs))
        for runs in zip(*(table.targets for table in tables), strict=True)
    ]
    return tables[0]._replace(figures=figures, targets=targets)
