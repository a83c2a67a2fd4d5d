"""`dashboard`: a Grafana dashboard that fits one app, as JSON or as a `ConfigMap`."""

import argparse
import json
from typing import Final

from ..monitoring.dashboard import dashboard
from ..monitoring.kubernetes import config_map
from . import Subparsers, add_command
from .flags import add_flags, add_service, chosen
from .forms import KUBERNETES, add_format, check_form, metadata
from .output import add_output, write, yaml_text

USAGE: Final = "[--job JOB] [--app MODULE:APP] [--output FILE] [OPTION ...]"

HELP: Final = """\
example:
  red-middleware dashboard --job shop --app shop:app --output shop.json
  # then in Grafana: Dashboards, New, Import; or into a folder that Grafana provisions

With --app the dashboard begins with the app's own counters, gauges, histograms and summaries. The budgets are read from
what `red-middleware rules` records.

exit codes: 0 done; 1 the app cannot be read, or the file not be written; 2 a wrong argument.
"""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "dashboard", USAGE, "a Grafana dashboard", HELP)
    add_service(parser, "the job that is chosen when the dashboard is opened (default: none)", is_required=False)
    add_output(parser)
    add_format(parser, "a ConfigMap with the label grafana_dashboard")
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the dashboard."""
    check_form(arguments)
    installation, _ = chosen(arguments)
    made = dashboard(installation)
    if arguments.format == KUBERNETES:
        document = config_map(metadata(arguments, installation.title, "dashboard"), made)
        text = yaml_text([document], arguments.arguments)
    else:
        text = json.dumps(made, indent=2) + "\n"
    write(text, arguments.output)
    return 0
