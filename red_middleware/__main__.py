"""The command line: `red-middleware`, or `python -m red_middleware`.

It serves the metrics of a group of processes, makes the files of Prometheus, Alertmanager and Grafana that fit an app,
and checks what an app exposes. Each command is a file of `commands`.
"""

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TextIO

from . import __version__
from .commands import FAILED, FailureError, UsageError, check, dashboard, inhibit_rules, rules, scrape_config, serve

HELP: Final = """\
from one app to its files, and a look at what it exposes:
  red-middleware rules --job shop --app shop:app --output shop-rules.yml
  red-middleware alerts --job shop --app shop:app --output shop-alerts.yml
  red-middleware dashboard --job shop --app shop:app --output shop.json
  red-middleware scrape-config --job shop --app shop:app --target shop:8000 --output shop-scrape.yml
  red-middleware check http://localhost:8000/metrics --app shop:app

exit codes: 0 done; 1 it could not be done, or check found something; 2 a wrong argument, or check cannot read.
"""


INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Those of the process, if none are given.

    Returns:
        The exit code: 0, or 1 where a command could not do its work. A wrong argument exits with 2, as `argparse` does.
    """
    parser = argparse.ArgumentParser(
        prog="red-middleware",
        description="RED metrics for WSGI and ASGI apps.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (rules, dashboard, scrape_config, inhibit_rules, check, serve):
        command.add(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser.parse_args(given)
    chosen.arguments = given
    try:
        code: int = chosen.run(chosen)
    except UsageError as error:
        commands.choices[chosen.command].error(str(error))
    except FailureError as error:
        print(f"red-middleware {chosen.command}: {error}", file=sys.stderr)
        return getattr(chosen, "failed", FAILED)
    return code


def run() -> NoReturn:
    """Run the command line as a program, and end the process.

    Only the result goes to stdout. What an app, its child processes and its exit handlers print goes to stderr.
    """
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")  # it is `None` where it was closed
    sys.stdout = result = _result()  # it is `None` where stdout was closed
    try:
        code = main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    processes: Any = sys.modules.get("multiprocessing")
    for child in processes.active_children() if processes else ():
        child.kill()  # the app that was imported has started it, and Python would wait for its end
    sys.stdout = sys.stderr
    try:
        if result:
            result.close()
    except OSError as error:
        if not code and not isinstance(error, BrokenPipeError):  # else it has been said
            print(f"red-middleware: stdout is not written: {error.strerror}", file=sys.stderr)
        code = code or FAILED
    if any(not one.daemon for one in threading.enumerate() if one is not threading.main_thread()):  # pragma: no cover
        # The app that was imported has started threads, and nothing would ever end them. No coverage survives this.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _result() -> TextIO | None:
    """Return a stream to where stdout leads, and let descriptor 1 lead to stderr from now on.

    An app can start processes and call C code. These know the descriptor only, and not `sys.stdout`.
    """
    if sys.stdout is not None:
        result = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        os.dup2(sys.stderr.fileno(), 1)
        return result
    try:
        os.fstat(1)  # stdout was closed: if this is open, it is another file
    except OSError:
        os.dup2(sys.stderr.fileno(), 1)
    return None


if __name__ == "__main__":  # pragma: no branch  # nobody imports it
    run()
