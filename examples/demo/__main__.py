"""`python -m examples.demo`: serve both shops, send them customers, and show the RED of each route live.

Ctrl-C ends the demo. With `--seconds N` it ends by itself. With `--once` it draws only the table at the end.
With `--svg FILE` it also writes that table as a picture: `--once --seconds 60 --svg docs/demo.svg` made the README's.
"""

import argparse
import io
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("flask", "starlette", "gunicorn", "uvicorn", "httpx", "rich", "prometheus_client", "red_middleware")
ONCE_SECONDS = 5.0


def main() -> int:
    """Run the command line. Return exit code 0, also after Ctrl-C, or 1 if the demo could not run to its end."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--seconds", type=positive_seconds, help="end after this many seconds")
    parser.add_argument("--once", action="store_true", help="draw only one table, after --seconds or 5 seconds")
    parser.add_argument("--flask-port", type=int, default=0, metavar="PORT", help="use this one, not a free one")
    parser.add_argument("--starlette-port", type=int, default=0, metavar="PORT", help="use this one, not a free one")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the last table here, as a picture")
    options = parser.parse_args()
    missing = [name.replace("_", "-") for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"The demo needs more packages: python -m pip install {' '.join(missing)}", file=sys.stderr)
        return 1
    if sys.platform == "win32":
        print("The demo needs gunicorn, which does not run on Windows.", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a narrow table has an ellipsis, which some encodings lack
    from .run import run  # imported here because it needs packages that may be missing

    seconds = ONCE_SECONDS if options.once and options.seconds is None else options.seconds
    return run(options.flask_port, options.starlette_port, seconds, not options.once, options.svg)


def positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds > 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
