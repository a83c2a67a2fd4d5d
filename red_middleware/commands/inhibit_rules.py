"""`inhibit-rules`: the part of Alertmanager's configuration that makes one notification of alerts that say the same."""

import argparse
from typing import Final

from ..monitoring.inhibition import inhibit_rules
from . import Subparsers, add_command
from .output import add_output, write, yaml_text

HELP: Final = """\
example:
  red-middleware inhibit-rules --output inhibit-rules.yml
  amtool check-config alertmanager.yml

Add the entries of the file to `inhibit_rules:` of alertmanager.yml. Append the file as a whole only if there is no such
section yet: Alertmanager refuses a configuration that has it twice.

They are the same for every app. Alerts of severity `page` want a person now, those of severity `ticket` within days:
route them by that label.
"""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "inhibit-rules",
        "[--output FILE]",
        "Alertmanager's rules for which alert keeps another one quiet",
        HELP,
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the rules."""
    write(yaml_text([{"inhibit_rules": inhibit_rules()}], arguments.arguments), arguments.output)
    return 0
