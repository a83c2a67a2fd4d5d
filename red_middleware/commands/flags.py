"""Which installation a command is about: what Prometheus calls it, and its options.

`--app` reads the options from the app, and else each of them is a flag.
The flags are the options of `RedMetrics` that shape what it exposes, with their types and words from there, so that an
option is described in one place. What the environment says counts as it does in the app.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from prometheus_client import CollectorRegistry

from ..label import Label
from ..metrics import RedMetrics, recorder_of
from ..monitoring.installation import Installation
from ..settings import Setting
from . import UsageError
from .application import Application, read

NO_FLAGS: Final = (
    "registry", "labels", "multiprocess_dir", "multiprocess_name", "own_metrics", "scrape_timeout_seconds", "clock",
)  # fmt: skip
"""The options of `RedMetrics` that are no flags: they shape nothing that is exposed. Labels have one by hand."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--app` and the flags that stand for it."""
    app = parser.add_argument_group("the app", "read its options from itself; it is imported, and not served")
    app.add_argument(
        "--app", metavar="MODULE:APP", help="such as shop.main:app, or shop.main:create_app() for a factory"
    )
    app.add_argument("--traceback", action="store_true", help="show where an error of the app comes from")
    group = parser.add_argument_group(
        "its options, without --app", "those of RedMetrics that shape what it exposes; with --app, --namespace chooses"
    )
    for name, described in _described():
        group.add_argument(_flag(name), **described)
    group.add_argument(
        "--label", action="append", metavar="NAME", help="the name of a label of your own, as in labels=; repeatable"
    )


def add_service(parser: argparse.ArgumentParser, said: str, *, is_required: bool = True) -> None:
    """Add `--job` and `--target-label`, by which Prometheus tells the app from all others.

    Args:
        parser: Where to.
        said: What the job is for, for the help.
        is_required: Whether there must be a job.
    """
    parser.add_argument("--job", required=is_required, default="", type=_job if is_required else _text, help=said)
    parser.add_argument(
        "--target-label", action="append", default=[], type=_target_label, metavar="NAME=VALUE",
        help="a label that the targets have beside the job, such as env=prod, where several services have one job name;"
        " repeatable",
    )  # fmt: skip


def are_given(arguments: argparse.Namespace) -> bool:
    """Tell whether anything says which installation is meant."""
    return bool(arguments.app or _given(arguments))


def chosen(arguments: argparse.Namespace) -> tuple[Installation, Application | None]:
    """Return the installation that is meant, and the app where it is imported.

    A command without `add_service` sets `job` and `target_label` to what is empty.

    Raises:
        UsageError: The flags do not go together, or one is wrong.
        FailureError: The app cannot be read.
    """
    given = _given(arguments)
    if arguments.app:
        beside = [_flag(name) for name in given if name != "namespace"]
        if beside:
            raise UsageError(f"--app reads the options from the app; leave out {' and '.join(beside)}")
        app = read(arguments.app, arguments.namespace, arguments.traceback)
        found = Installation(arguments.job, app.recorder.options, app.own, app.recorder.bound().series)
        return _labelled(found, arguments.target_label), app
    labels = {name: Label(max_values=1) for name in given.pop("label", ())}
    try:
        metrics = RedMetrics(registry=CollectorRegistry(), multiprocess_dir=None, labels=labels, **given)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    return _labelled(Installation(arguments.job, recorder_of(metrics).options), arguments.target_label), None


def _labelled(installation: Installation, pairs: Sequence[tuple[str, str]]) -> Installation:
    """Return the installation with its target labels."""
    try:
        labelled = replace(installation, target_labels=dict(pairs))
    except ValueError as error:
        raise UsageError(f"--target-label: {error}") from error
    if len(labelled.target_labels) < len(pairs):
        raise UsageError("--target-label: a label has one value, and files are made for one service at a time")
    return labelled


def _job(text: str) -> str:
    """Read `--job`. Prometheus refuses a job without a name."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty: it is the job_name of Prometheus")
    return _text(text)


def _target_label(text: str) -> tuple[str, str]:
    name, equals, value = _text(text).partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: write name=value, such as env=prod")
    return name, value


def _text(text: str) -> str:
    """Read what is to be the value of a label.

    YAML takes no control characters. Python has surrogates where the command line is not in UTF-8.
    """
    if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: has a control character, or is not in UTF-8")
    return text


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given, by the names of the options."""
    names = [*(name for name, _ in _described()), "label"]
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the options that are flags, each with what `add_argument` takes."""
    hints = get_type_hints(RedMetrics.__init__)
    said = _said()
    for name, parameter in inspect.signature(RedMetrics).parameters.items():
        if name not in NO_FLAGS:
            text = said.get(name, "").replace("%", "%%")
            yield name, {"default": None, "help": text, **_taken(hints[name], parameter.default)}


def _taken(hint: Any, default: object) -> dict[str, Any]:
    """Return how a flag is read, given the type and the default of the option."""
    kinds = {hint, *get_args(hint)}
    literals = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    if isinstance(default, bool):
        return {"action": "store_const", "const": True}
    if literals:
        return {"choices": sorted(literals)}
    if any(get_origin(kind) is get_origin(Sequence[float]) for kind in kinds):
        return {"type": _reader(_numbers), "metavar": "NUMBER,NUMBER"}
    if isinstance(default, Setting):
        return {"type": _reader(default.read), "metavar": "COUNT" if int in kinds else "NAME"}
    return {"type": int, "metavar": "COUNT"} if int in kinds else {"type": float, "metavar": "SHARE"}


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError("must be numbers, separated by commas") from None


def _reader(read_text: Callable[[str], object]) -> Callable[[str], object]:
    """Return a function that reads a flag as the environment's variable is read, with its rule in the error."""

    def reader(text: str) -> object:
        try:
            return read_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return reader


def _said() -> dict[str, str]:
    """Return the first sentence that the docstring of `RedMetrics` says of each option; nothing with `python -OO`."""
    section = (inspect.getdoc(RedMetrics) or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: re.split(r"(?<=[.;]) ", " ".join(text.split()))[0].rstrip(".;") for name, text in entries}
