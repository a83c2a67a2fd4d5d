"""`serve --name GROUP --port PORT`: tell of a group of processes, and be none of them.

The processes of the group have `multiprocess_name=GROUP` or RED_MULTIPROCESS_NAME=GROUP. Their options must be the same
as here, where RED_NAMESPACE, RED_BUCKETS, RED_MAX_LABEL_SETS and RED_MULTIPROCESS_DIR give them.
"""

import argparse
import signal
from threading import Event
from typing import Final

from ..exposition import BearerToken
from ..metrics import RedMetrics, recorder_of
from ..serving import serve_metrics
from . import FailureError, Subparsers, add_command
from .output import say

USAGE: Final = "--name GROUP --port PORT [OPTION ...]"

HELP: Final = """\
example:
  RED_MULTIPROCESS_NAME=shop python shop.py &
  red-middleware serve --name shop --port 9090

The processes of the group have multiprocess_name=GROUP or RED_MULTIPROCESS_NAME=GROUP. Their options must be
the same as here, where RED_NAMESPACE, RED_BUCKETS, RED_MAX_LABEL_SETS and RED_MULTIPROCESS_DIR give them. Until
a process of the group has served something, red_worker_isolated is 1. SIGINT or SIGTERM ends it, with exit code 0.
"""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "serve", USAGE, "serve the metrics of a named group of processes", HELP)
    parser.add_argument("--name", required=True, metavar="GROUP", help="the name of the group")
    parser.add_argument(
        "--port", required=True, type=int, help="where to listen; 0 takes a free port, which is printed"
    )
    parser.add_argument("--addr", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="a file with the bearer token that readers need")
    parser.add_argument("--certfile", metavar="FILE", help="a certificate chain in PEM, for TLS")
    parser.add_argument("--keyfile", metavar="FILE", help="its private key, if that is not in --certfile")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        metrics = RedMetrics(multiprocess_name=arguments.name)
        recorder_of(metrics).membership.watch()
        server = serve_metrics(
            arguments.port, arguments.addr, metrics=metrics, certfile=arguments.certfile, keyfile=arguments.keyfile,
            authorize=arguments.token_file and BearerToken(file=arguments.token_file),
        )  # fmt: skip
    except (OSError, TypeError, ValueError) as error:
        raise FailureError(getattr(error, "strerror", None) or str(error)) from error
    with server:
        say(f"Serving the metrics of {arguments.name} on {arguments.addr}, port {server.port}\n")
        stop.wait()
    return 0
