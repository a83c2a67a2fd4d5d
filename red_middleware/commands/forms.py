"""`--format`: plain files of Prometheus and Grafana, or objects of Kubernetes, and what names those."""

import argparse
import re
from typing import Final

from ..monitoring.kubernetes import Metadata
from . import UsageError

PROMETHEUS: Final = "prometheus"
KUBERNETES: Final = "kubernetes"


def add_format(parser: argparse.ArgumentParser, kind: str) -> argparse._ArgumentGroup:
    """Add `--format` and the metadata of an object, and return the group of these for more.

    Args:
        parser: Where to.
        kind: What the object is, for the help.
    """
    group = parser.add_argument_group("Kubernetes")
    group.add_argument(
        "--format",
        choices=(PROMETHEUS, KUBERNETES),
        default=PROMETHEUS,
        help=f"a plain file, or {kind} (default: %(default)s)",
    )
    group.add_argument("--name", help="the object's name (default: made of the job and the target labels)")
    group.add_argument("--kubernetes-namespace", metavar="NAMESPACE", help="the object's namespace (default: none)")
    group.add_argument(
        "--object-label", action="append", default=[], type=pair, metavar="KEY=VALUE",
        help="a label of the object, such as release=prometheus, by which an operator finds it; repeatable",
    )  # fmt: skip
    return group


def pair(text: str) -> tuple[str, str]:
    """Read `key=value`."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"([a-z0-9A-Z.-]+/)?[a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?", key, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no label: write key=value")
    if not re.fullmatch(r"([a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?)?", value, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: the value must be up to 63 letters, digits, - _ and .")
    return key, value


def metadata(arguments: argparse.Namespace, title: str, what: str) -> Metadata:
    """Return the metadata of an object, whose name is made of what the app is called if none is given.

    Raises:
        UsageError: The name or the namespace is none that Kubernetes accepts.
    """
    made = re.sub(r"[^a-z0-9]+", "-", f"{title}-red-{what}".lower()).strip("-")
    name = arguments.name or made
    for flag, said in (("--name", name), ("--kubernetes-namespace", arguments.kubernetes_namespace)):
        if said is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", said):
            raise UsageError(f"{flag} {said!r}: must be up to 63 lower-case letters, digits and -")
    return Metadata(name, arguments.kubernetes_namespace, dict(arguments.object_label))


def check_form(arguments: argparse.Namespace) -> None:
    """Refuse what only objects of Kubernetes have where a plain file is asked for.

    Raises:
        UsageError: There is such a flag.
    """
    given = {"--name": arguments.name, "--kubernetes-namespace": arguments.kubernetes_namespace}
    given["--object-label"] = arguments.object_label or None
    for flag, said in given.items():
        if arguments.format == PROMETHEUS and said is not None:
            raise UsageError(f"{flag} goes with --format kubernetes only")
