"""`rules` and `alerts`: rule files of Prometheus, or objects `PrometheusRule`.

They match one job and no other, so the files of several apps stand beside each other.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Final

from ..monitoring.alerts import alert_groups
from ..monitoring.installation import Installation
from ..monitoring.kubernetes import prometheus_rule
from ..monitoring.rules import Group, rule_groups
from . import Subparsers, add_command
from .flags import add_flags, add_service, chosen
from .forms import KUBERNETES, add_format, check_form, metadata
from .output import add_output, write, yaml_text

USAGE: Final = "--job JOB [--app MODULE:APP] [--output FILE] [OPTION ...]"

HELP: Final = """\
example:
  red-middleware {name} --job shop --app shop:app --output shop-{name}.yml
  promtool check rules shop-{name}.yml
  # in prometheus.yml:
  #   rule_files: [shop-*.yml]

{more}
exit codes: 0 done; 1 the app cannot be read, or the file not be written; 2 a wrong argument.
"""

JOB_HELP: Final = (
    "the job_name by which Prometheus scrapes the app; the rules match it and no other, as other apps expose the same "
    "names"
)

WITHOUT_OBJECTIVES: Final = (
    "there is no objective, so nothing here tells that requests fail or are slow: give the app one, such as "
    "RedMetrics(slo_availability=0.999, slo_seconds=[0.3])"
)

COMMANDS: Final[dict[str, tuple[str, str, Callable[[Installation], list[Group]]]]] = {
    "rules": (
        "recording rules: RED by service and by route, and what is left of error budgets",
        "The alerts and the dashboard read what these record.\n",
        rule_groups,
    ),
    "alerts": (
        "alerts: budgets that burn, targets that are down, and what is wrong with the metrics themselves",
        "They need the recording rules of `red-middleware rules`, and objectives: RedMetrics(slo_availability=0.999,\n"
        "slo_seconds=[0.3]). `red-middleware inhibit-rules` makes one alert of those that say the same.\n",
        alert_groups,
    ),
}


def add(commands: Subparsers) -> None:
    """Add both commands."""
    for name, (summary, more, _) in COMMANDS.items():
        parser = add_command(commands, name, USAGE, summary, HELP.format(name=name, more=more))
        add_service(parser, JOB_HELP)
        add_output(parser)
        add_format(parser, "a PrometheusRule")
        add_flags(parser)
        parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the rules."""
    check_form(arguments)
    installation, _ = chosen(arguments)
    if arguments.command == "alerts" and not installation.objectives:
        print(f"red-middleware alerts: {WITHOUT_OBJECTIVES}", file=sys.stderr)
    groups = COMMANDS[arguments.command][2](installation)
    if arguments.format == KUBERNETES:
        document = prometheus_rule(metadata(arguments, installation.title, arguments.command), groups)
    else:
        document = {"groups": groups}
    write(yaml_text([document], arguments.arguments), arguments.output)
    return 0
