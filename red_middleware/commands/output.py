"""What a command makes, as text, and where it goes: to stdout, or to a file that is replaced as a whole.

YAML is written by PyYAML, which only these commands need.
"""

import argparse
import os
import re
import shlex
import stat
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from . import FailureError

ELSEWHERE_NO_TEXT: Final = re.compile("[yYnN]|[-+.0-9][-+._0-9a-fA-FoOxX]*")
"""What Kubernetes may read as a truth value or a number, where PyYAML sees a text: `y`, `1e7`, `0o17`."""


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`."""
    parser.add_argument(
        "--output", metavar="FILE", help="write here, and replace the file only once all is there (default: stdout)"
    )


def yaml_text(documents: Sequence[object], arguments: Sequence[str], *notes: str) -> str:
    """Return documents in YAML, behind a comment that says how they were made.

    Args:
        documents: Plain dicts and lists.
        arguments: Those of the command line.
        notes: More lines of the comment.

    Raises:
        FailureError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise FailureError("YAML needs PyYAML, which is not installed: python -m pip install pyyaml") from None

    class Dumper(yaml.SafeDumper):
        """Writes no anchors, and a text of several lines as such."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else "'" if ELSEWHERE_NO_TEXT.fullmatch(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_text)
    comment = [f"Made by: red-middleware {shlex.join(_without_output(arguments))}", *notes]
    lines = "".join(f"# {line}\n" for each in comment for line in each.splitlines())
    return lines + str(yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True))


def write(text: str, file: str | None) -> None:
    """Write a text to stdout, or to a file.

    The text goes to a file beside it first, which then takes its place: whoever reads it meets the old file or the new
    one, and an error leaves the old one. What is no file, such as a pipe, is written to as it is.

    Raises:
        FailureError: It cannot be written.
    """
    if file is None or file == "-":
        if sys.stdout is None:
            raise FailureError("stdout is closed; --output FILE writes to a file")
        say(text)
        return
    if os.path.basename(file) in ("", ".", ".."):
        raise FailureError(f"{file!r} is not written: it names a directory, and not a file")
    place = os.path.realpath(file)  # of a symbolic link, what it leads to is replaced
    try:
        if os.path.exists(place) and not os.path.isfile(place):
            with open(place, "w", encoding="utf-8") as pipe:
                pipe.write(text)
        else:
            _replace(place, text)
    except OSError as error:
        raise FailureError(f"{file} is not written: {error.strerror}") from error


def say(text: str) -> None:
    """Print a text at once. Nothing happens if stdout is closed.

    Raises:
        FailureError: It cannot be written.
    """
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise  # the reader has seen enough, which is nothing to complain about
    except OSError as error:
        raise FailureError(f"stdout is not written: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise FailureError(
            f"stdout is not written: it takes {error.encoding} only; --output FILE writes UTF-8"
        ) from error


def _replace(place: str, text: str) -> None:
    """Put a text in the place of a file, with the permissions that the file had, or that a new one has."""
    mode = stat.S_IMODE(os.stat(place).st_mode) if os.path.exists(place) else 0o666 & ~_umask()
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(place), prefix=f".{os.path.basename(place)}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as beside:
            beside.write(text)
            beside.flush()
            os.fsync(beside.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """Return which permissions a new file must not have; there is no way to ask but to set it."""
    os.umask(mask := os.umask(0o077))
    return mask


def _without_output(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--output`, so that a file is the same wherever it is written."""
    kept: list[str] = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before != "--output" and argument != "--output" and not argument.startswith("--output="):
            kept.append(argument)
    return kept
