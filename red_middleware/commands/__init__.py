"""The commands of the command line, one file each: `add` says what a command takes, `run` does its work.

`flags` and `application` say which installation a command is about; `output` writes what it makes. What goes wrong is a
`FailureError`, which `__main__` shows as one line. Nothing in the package imports this room but `__main__`.
"""

import argparse
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = object  # argparse has no public name for it

FAILED: Final = 1
"""The exit code where a command could not do its work."""

USAGE: Final = 2
"""The exit code of a wrong argument, as `argparse` has it."""


class FailureError(Exception):
    """A command cannot do its work. The message says why, and what to do."""


class UsageError(Exception):
    """An argument is wrong, or does not go with another one."""


def add_command(commands: Subparsers, name: str, usage: str, summary: str, text: str) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    Args:
        commands: Where to.
        name: How it is called.
        usage: Its arguments, as far as a line has room for them.
        summary: A line for the list of commands.
        text: What its `--help` says at the end: an example, and its exit codes.
    """
    return commands.add_parser(
        name,
        usage=f"red-middleware {name} {usage}",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=text,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
