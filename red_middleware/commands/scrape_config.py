"""`scrape-config`: a scrape job of Prometheus, or a `PodMonitor` or `ServiceMonitor`.

Its `sample_limit` follows from the bound of the app's series, which is known once the app has declared its routes.
"""

import argparse
import re
from typing import Final

from ..monitoring.kubernetes import monitor
from ..monitoring.scrape import Scrape
from ..settings import METRICS_PATH
from . import Subparsers, UsageError, add_command
from .flags import add_flags, add_service, chosen
from .forms import KUBERNETES, add_format, check_form, metadata, pair
from .output import add_output, write, yaml_text

USAGE: Final = "--job JOB --target HOST:PORT [--app MODULE:APP] [--output FILE] [OPTION ...]"

HELP: Final = """\
example:
  red-middleware scrape-config --job shop --app shop:app --target shop:8000 --output shop-scrape.yml
  promtool check config shop-scrape.yml
  # in prometheus.yml, from Prometheus 2.43 on:
  #   scrape_config_files: [shop-scrape.yml]

  red-middleware scrape-config --job shop --app shop:app --format kubernetes --object-label release=prometheus \\
      --selector app=shop --port http

sample_limit is what RedMetrics.bound() says, the most series that any client can make, and own_series_limit for the
app's own metrics. A scrape with more samples fails as a whole, so it means that something is wrong.

exit codes: 0 done; 1 the app cannot be read, or the file not be written; 2 a wrong argument.
"""


ROUTES_UNKNOWN: Final = (
    "The routes of the app are not known here. If an instance shows a larger red_series_limit, count with that."
)


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands, "scrape-config", USAGE, "a scrape job with a limit that follows from the bound", HELP
    )
    add_service(parser, "the job_name, which the series have as a label, and rules match")
    parser.add_argument(
        "--target", action="append", type=_target, metavar="HOST:PORT", help="where an instance answers; repeatable"
    )
    parser.add_argument(
        "--metrics-path", type=_path, metavar="PATH", help="where the endpoint is (default: as the app has it)"
    )
    parser.add_argument("--scheme", choices=("http", "https"), default="http", help="default: %(default)s")
    parser.add_argument("--scrape-interval", default="15s", metavar="TIME", help="default: %(default)s")
    parser.add_argument("--scrape-timeout", default="10s", metavar="TIME", help="default: %(default)s")
    parser.add_argument("--token-file", metavar="FILE", help="on Prometheus's machine: the file with the bearer token")
    add_output(parser)
    kubernetes = add_format(parser, "a PodMonitor")
    kubernetes.add_argument("--service", action="store_true", help="a ServiceMonitor in place of a PodMonitor")
    kubernetes.add_argument(
        "--selector", action="append", type=pair, metavar="KEY=VALUE",
        help="a label of the pods, or of the service (default: app.kubernetes.io/name=JOB); repeatable",
    )  # fmt: skip
    kubernetes.add_argument("--port", metavar="NAME", help="the name of the port (default: http)")
    kubernetes.add_argument("--token-secret", type=_secret, metavar="NAME:KEY", help="the secret with the bearer token")
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the job."""
    check_form(arguments)
    is_kubernetes = arguments.format == KUBERNETES
    theirs = ("target", "token_file") if is_kubernetes else ("service", "selector", "port", "token_secret")
    for name in theirs:
        if getattr(arguments, name):
            other = "does not go" if is_kubernetes else "goes"
            raise UsageError(f"--{name.replace('_', '-')} {other} with --format kubernetes")
    if not is_kubernetes and not arguments.target:
        raise UsageError("--target says where the app answers, such as shop:8000")
    installation, app = chosen(arguments)
    try:
        scrape = Scrape(
            service=installation.service,
            sample_limit=installation.sample_limit,
            interval=arguments.scrape_interval,
            timeout=arguments.scrape_timeout,
            path=arguments.metrics_path or (app and app.metrics_path) or METRICS_PATH.value() or "/metrics",
            scheme=arguments.scheme,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if is_kubernetes:
        document = monitor(
            metadata(arguments, installation.title, "scrape"), scrape, _selector(arguments), _port(arguments),
            by_service=arguments.service, token_secret=arguments.token_secret,
        )  # fmt: skip
    else:
        document = {"scrape_configs": [scrape.job_of(arguments.target, arguments.token_file)]}
    own = installation.options.own_series_limit
    notes = [
        f"sample_limit: {installation.most_series} series are all that red_middleware can expose, {own} the app's own."
    ]
    if not (app and app.middlewares):
        notes.append(ROUTES_UNKNOWN)
    write(yaml_text([document], arguments.arguments, *notes), arguments.output)
    return 0


def _selector(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the labels of the pods or of the service: those that were given, or one that is made of the job."""
    if arguments.selector:
        return dict(arguments.selector)
    try:
        return dict([pair(f"app.kubernetes.io/name={arguments.job}")])
    except argparse.ArgumentTypeError as error:
        rule = "cannot be the value of a label of Kubernetes; say by --selector KEY=VALUE which pods are meant"
        raise UsageError(f"--job {arguments.job!r} {rule}") from error


def _port(arguments: argparse.Namespace) -> str:
    """Return the name of the port. A service may give its ports longer names than a container can."""
    port: str = arguments.port or "http"
    longest = 63 if arguments.service else 15
    if len(port) > longest or not re.fullmatch(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", port):
        rule = f"must be the name of a port: up to {longest} lower-case letters, digits and -, at least one a letter"
        raise UsageError(f"--port {port!r} {rule}")
    return port


def _target(text: str) -> str:
    """Read where an instance answers. Prometheus refuses a URL."""
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):([0-9]{1,5})", text)
    if not found or not 0 < int(found[1]) < 65536:
        rule = "write host:port, such as shop:8000 or [::1]:8000; --scheme and --metrics-path give the rest of the URL"
        raise argparse.ArgumentTypeError(f"{text!r}: {rule}")
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or re.search(r"[?#\s]", text):
        rule = "must begin with /, and has no ?, # or space: Prometheus would ask for a path that has them in its name"
        raise argparse.ArgumentTypeError(f"{text!r}: {rule}")
    return text


def _secret(text: str) -> tuple[str, str]:
    name, _, key = text.partition(":")
    if not name or not key:
        raise argparse.ArgumentTypeError(f"{text!r}: write name:key, such as shop-scrape:token")
    return name, key
