"""`inhibit-rules`: the part of Alertmanager's configuration that makes one notification of alerts that say the same."""

import argparse
from typing import Final

from ..monitoring.inhibition import inhibit_rules
from ..monitoring.installation import refused_target_label
from . import Subparsers, add_command
from .output import add_output, write, yaml_text

HELP: Final = """\
example:
  red-middleware inhibit-rules --output inhibit-rules.yml
  amtool check-config alertmanager.yml

Add the entries of the file to `inhibit_rules:` of alertmanager.yml. Append the file as a whole only if there is no such
section yet: Alertmanager refuses a configuration that has it twice.

They are the same for every app. Name the target labels of all apps here: one alert keeps another one quiet only where
these are the same. An app whose targets have none of them is none the worse. If they have one, make its alerts with
that label, too. Where the Prometheuses of several clusters share the Alertmanager, name their external label as well.

Alerts of severity `page` want a person now, those of severity `ticket` within days: route them by that label.
"""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "inhibit-rules",
        "[--target-label NAME] [--output FILE]",
        "Alertmanager's rules for which alert keeps another one quiet",
        HELP,
    )
    parser.add_argument(
        "--target-label", action="append", default=[], type=_name, metavar="NAME",
        help="a label that tells services of one job name apart, such as env; repeatable",
    )  # fmt: skip
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the rules."""
    rules = inhibit_rules(dict.fromkeys(arguments.target_label))
    write(yaml_text([{"inhibit_rules": rules}], arguments.arguments), arguments.output)
    return 0


def _name(text: str) -> str:
    """Read the name of a label; as `name=value`, as the other commands take it, the value says nothing here."""
    name = text.partition("=")[0]
    rule = refused_target_label(name)
    if rule:
        raise argparse.ArgumentTypeError(f"{name!r}: {rule}")
    return name
