"""`python -m red_middleware serve --name GROUP --port PORT`: tell of a group of processes, and be none of them.

The processes of the group have `multiprocess_name=GROUP` or RED_MULTIPROCESS_NAME=GROUP. Their options must be the same
as here, where RED_NAMESPACE, RED_BUCKETS, RED_MAX_LABEL_SETS and RED_MULTIPROCESS_DIR give them. Until a process of the
group has served something, red_worker_isolated is 1.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from threading import Event

from .exposition import BearerToken
from .metrics import RedMetrics, recorder_of
from .serving import serve_metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line until SIGINT or SIGTERM.

    Returns:
        The exit code: 0, or 1 where the metrics cannot be served; 2, by `argparse`, for a wrong argument.
    """
    parser = argparse.ArgumentParser(prog="python -m red_middleware", description="RED metrics for WSGI and ASGI apps.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the metrics of a named group", description=__doc__)
    serve.add_argument("--name", required=True, metavar="GROUP", help="the name of the group")
    serve.add_argument("--port", required=True, type=int, help="where to listen; 0 takes a free port, which is printed")
    serve.add_argument("--addr", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    serve.add_argument("--token-file", metavar="FILE", help="a file with the bearer token that readers need")
    serve.add_argument("--certfile", metavar="FILE", help="a certificate chain in PEM, for TLS")
    serve.add_argument("--keyfile", metavar="FILE", help="its private key, if that is not in --certfile")
    options = parser.parse_args(arguments)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        metrics = RedMetrics(multiprocess_name=options.name)
        recorder_of(metrics).membership.watch()
        server = serve_metrics(
            options.port, options.addr, metrics=metrics, certfile=options.certfile, keyfile=options.keyfile,
            authorize=options.token_file and BearerToken(file=options.token_file),
        )  # fmt: skip
    except (OSError, TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    with server:
        print(f"Serving the metrics of {options.name} on {options.addr}, port {server.port}", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":  # pragma: no branch  # nobody imports it
    sys.exit(main())
