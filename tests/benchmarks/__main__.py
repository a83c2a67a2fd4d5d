"""Measure and print: `python -m tests.benchmarks [--rounds N] [--quick] [table ...]`. The output is Markdown.

Each table has, for every candidate, the median microseconds of a request in total, what it adds to the bare app (the
median of the differences within a round, give or take), and both as ratios to one of the candidates. Of all frameworks
there is one table, with a line for each. On real servers it is the requests a second and the CPU of a request, as
ratios to the bare app. Of the application's own metrics it is a call, as a ratio to the same in memory, and a scrape.
Of growth it is what many instances cost a Prometheus.
Below stand the project's targets. Nothing fails where one is not met.
"""

import argparse
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from . import peers
from .frameworks import FrameworkTable, Row
from .growth import GrowthTable
from .own_metrics import MEMORY, MULTIPROCESS, SHARED, Increment, OwnTable, Scrape
from .rounds import Figure
from .runs import FRAMEWORKS, GROWTH, OWN, SERVERS, TABLES, measured
from .servers import Served, ServerTable
from .tables import MANY_ROUTES, Effort, Table, Target

ROUNDS = 61
CHUNK_SECONDS = 0.004

QUICK = Effort(rounds=31, chunk_seconds=0.001)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tables that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="What the middleware costs.")
    names = ", ".join(TABLES)
    parser.add_argument(
        "table",
        nargs="*",
        choices=[[], *TABLES, OWN, FRAMEWORKS, SERVERS, GROWTH],
        help=f"of {names}, all by default; or {OWN}, {FRAMEWORKS}, {SERVERS}, {GROWTH}",
    )
    parser.add_argument("--rounds", type=int, help=f"how often each candidate is measured, {ROUNDS} by default")
    parser.add_argument("--quick", action="store_true", help="a rough look: few and short rounds")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else Effort(ROUNDS, CHUNK_SECONDS)
    if options.rounds is not None:
        if options.rounds < 3:
            parser.error("--rounds must be at least 3")
        effort = effort._replace(rounds=options.rounds)
    print(f"{platform.python_implementation()} {platform.python_version()}, {_cpu()}, {platform.system()}; ", end="")
    print(f"{effort.rounds} interleaved rounds.\n")
    print(", ".join(f"{name} {version}" for name, version in peers.versions()) + ".")
    targets: list[Target] = []
    for name in options.table or TABLES:
        try:
            for table in measured(name, effort):
                print(f"\n{_markdown(table)}", flush=True)
                targets += table.targets
        except (ImportError, peers.NotInstalledError) as error:
            print(f"\n{name}: left out, {error}.", flush=True)
    if targets:
        print(f"\n{sum(target.met for target in targets)} of {len(targets)} targets are met.")


def _markdown(table: Table | ServerTable | FrameworkTable | OwnTable | GrowthTable) -> str:
    if isinstance(table, FrameworkTable):
        figures = _frameworks(table.rows)
    elif isinstance(table, OwnTable):
        figures = _own(table.rows)
    elif isinstance(table, GrowthTable):
        figures = [_line(table.head), f"|---{'|--:' * (len(table.head) - 1)}|", *map(_line, table.rows)]
    else:
        figures = _served(table.served) if isinstance(table, ServerTable) else _figures(table)
    lines = [f"### {table.title}", "", *figures]
    if table.targets or table.missing:
        lines.append("")
    lines += [_promise(target) for target in table.targets]
    lines += [f"- {line}" for line in table.missing]
    return "\n".join(lines)


def _figures(table: Table) -> list[str]:
    reference = next(figure for figure in table.figures if figure.name == table.reference)
    if table.renders:
        rows = [
            f"| {figure.name} | {figure.total / 1e3:.2f} | {figure.total / reference.total:.2f} |"
            for figure in table.figures
        ]
        return ["| | ms | ratio |", "|---|--:|--:|", *rows]
    ratio = f"{table.reference} = 1"
    head = f"| microseconds a request | added | ± | added, {ratio} | total | total, {ratio} |"
    rows = [_row(figure, reference, figure is table.figures[0]) for figure in table.figures]
    return [head, "|---|--:|--:|--:|--:|--:|", *rows]


def _row(figure: Figure, reference: Figure, bare: bool) -> str:
    if figure.void:
        return f"| {figure.name} | void: {figure.void} | | | | |"
    totals = f"{figure.total:.2f} | {figure.total / reference.total:.2f}"
    if bare:
        return f"| {figure.name} | | | | {totals} |"
    added = f"{figure.added:.2f} | {figure.margin:.2f} | {figure.added / reference.added:.2f}"
    return f"| {figure.name} | {added} | {totals} |"


def _frameworks(rows: Sequence[Row]) -> list[str]:
    few, many = (f"bare app, {routes:,} routes | the least adds | added | ±" for routes in MANY_ROUTES)
    head = f"| microseconds a request | {few} | {many} | added, {MANY_ROUTES[1]:,} / {MANY_ROUTES[0]:,} |"
    return [head, f"|---{'|--:' * 9}|", *(_framework(row) for row in rows)]


def _framework(row: Row) -> str:
    void = row.few.void or row.many.void
    if void:
        return f"| {row.name} | void: {void} |{' |' * 8}"
    bare = [f"{figure.total:.1f}" for figure in row.bare] or ["", ""]
    least = [f"{figure.added:.2f}" for figure in row.least] or ["", ""]
    cells = [
        f"{bare} | {least} | {figure.added:.2f} | {figure.margin:.2f}"
        for bare, least, figure in zip(bare, least, (row.few, row.many), strict=True)
    ]
    return f"| {row.name} | {' | '.join(cells)} | {row.ratio:.2f} |"


def _own(rows: Sequence[Increment] | Sequence[Scrape]) -> list[str]:
    increments = [row for row in rows if isinstance(row, Increment)]
    scrapes = [row for row in rows if isinstance(row, Scrape)]
    if increments:
        head = f"| microseconds a call | {MEMORY} | {SHARED} | ratio | ± | {MULTIPROCESS} | ratio | ± |"
        return [head, f"|---{'|--:' * 7}|", *map(_increment, increments)]
    return ["| | ms | ratio | ± |", "|---|--:|--:|--:|", *map(_scrape, scrapes)]


def _increment(row: Increment) -> str:
    shared = f"{row.shared:.3f} | {row.shared_ratio:.2f} | {row.shared_margin:.2f}"
    multiprocess = f"{row.multiprocess:.3f} | {row.multiprocess_ratio:.2f} | {row.multiprocess_margin:.2f}"
    return f"| `{row.statement}` | {row.memory:.3f} | {shared} | {multiprocess} |"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _scrape(row: Scrape) -> str:
    return f"| {row.name} | {row.milliseconds:.2f} | {row.ratio:.2f} | {row.margin:.2f} |"


def _served(served: Sequence[Served]) -> list[str]:
    if not served:
        return []
    bare = f"{served[0].name} = 1"
    head = f"| | requests a second | {bare} | ± | microseconds of CPU a request | {bare} |"
    rows = [
        f"| {each.name} | void: {each.void} | | | | |"
        if each.void
        else f"| {each.name} | {each.rate:,.0f} | {each.ratio:.3f} | {each.margin:.3f} "
        f"| {each.cpu:.1f} | {each.cpu_ratio:.3f} |"
        for each in served
    ]
    return [head, "|---|--:|--:|--:|--:|--:|", *rows]


def _promise(target: Target) -> str:
    bound = f"at {'least' if target.at_least else 'most'} {target.limit:g}"
    return f"- {target.what}: **{target.ratio:.2f}** (target: {bound}): {'met' if target.met else 'NOT met'}"


def _cpu() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({os.cpu_count()} cores)"


if __name__ == "__main__":
    main()
