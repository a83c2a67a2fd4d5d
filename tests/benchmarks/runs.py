"""Which tables there are, and in how many processes each is measured.

What depends on where a process has its memory, a microsecond or two on a framework, is no property of a candidate. So
requests are measured in several new processes, and of their medians the median is shown.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import median

from .frameworks import FRAMEWORKS as READ
from .frameworks import FrameworkTable, summary
from .growth import GrowthTable, growth
from .options import options
from .own_metrics import OwnTable, own_metrics
from .peers import NotInstalledError
from .servers import ServerTable, servers
from .tables import TABLES as ALONE
from .tables import Effort, Framework, Table, with_routes
from .workers import workers

TABLES = {**ALONE, "workers": workers, "options": options}
SERVERS = "servers"
"""Measured when it is asked for: it takes four minutes more, and a load generator."""
FRAMEWORKS = "frameworks"
"""Measured when it is asked for, too: it takes ten to twenty minutes more."""

OWN = "own"
"""Measured when it is asked for, too: it takes a minute or two."""
GROWTH = "growth"
"""Measured when it is asked for, too: it takes six minutes, 4 GB, and a Prometheus."""

PROCESSES = 11
REQUESTS = ("asgi", "wsgi", "starlette", "fastapi", "flask", "django", "options")
"""Tables that are measured in so many processes, each with a fifth of the rounds."""
PROCESSES_OF_FRAMEWORK = 5
"""So many for each framework, and as many rounds."""

Compare = Callable[[Effort, asyncio.AbstractEventLoop], Iterator[Table]]


def measured(name: str, effort: Effort) -> Iterable[Table | ServerTable | FrameworkTable | OwnTable | GrowthTable]:
    """Return the tables of one name, measured; some as soon as each is."""
    if name == SERVERS:
        return servers(effort)
    if name == OWN:
        return own_metrics(effort)
    if name == GROWTH:
        return growth()
    share = effort._replace(rounds=max(5, effort.rounds // 5))
    if name == FRAMEWORKS:
        return [_frameworks(READ, share)]
    if name not in REQUESTS:
        return tables_of(TABLES[name], effort)
    runs = [_apart(TABLES[name], share) for _ in range(PROCESSES)]
    return [_middle(tables) for tables in zip(*runs, strict=True)]


def tables_of(compare: Compare, effort: Effort) -> list[Table]:
    """Measure in this process."""
    loop = asyncio.new_event_loop()
    try:
        return list(compare(effort, loop))
    finally:
        loop.close()


def _apart(compare: Compare, effort: Effort) -> list[Table]:
    """Measure in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(tables_of, compare, effort).result()


def _frameworks(frameworks: Sequence[Framework], effort: Effort) -> FrameworkTable:
    """Measure each framework in processes of its own, in turn with the others."""
    runs: dict[str, list[list[Table]]] = {framework.name: [] for framework in frameworks}
    missing = {}
    for _ in range(PROCESSES_OF_FRAMEWORK):
        for framework in frameworks:
            if framework.name in runs:
                try:
                    runs[framework.name].append(_apart(partial(with_routes, framework, lowest=True), effort))
                except (ImportError, NotInstalledError) as error:
                    missing[framework.name] = f"{framework.name} is not installed, and not measured ({error})"
                    del runs[framework.name]
    middles = {name: [_middle(tables) for tables in zip(*found, strict=True)] for name, found in runs.items()}
    return summary(middles, list(missing.values()))


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
