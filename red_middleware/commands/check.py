"""`check SOURCE`: read what an endpoint answers, and say what is wrong with it.

It asks by GET and without a proxy, as Prometheus does. It follows no redirect, and is bounded in time and in size.
"""

import argparse
import http.client
import re
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from typing import Any, Final

from .. import __version__
from ..monitoring.diagnosis import Exposition, findings, summary
from . import USAGE as USAGE_CODE
from . import FailureError, Subparsers, UsageError, add_command
from .flags import add_flags, are_given, chosen
from .output import say

MAX_BYTES: Final = 64 * 1024 * 1024
"""The most that is read. Prometheus has no limit of its own; what is larger should be none of an app's."""

CHUNK_BYTES: Final = 65536

DAY_SECONDS: Final = 86400
"""The longest timeout. Python does not wait for ever: it refuses a number of seconds that is too large."""

FOUND: Final = 1
"""The exit code where something is wrong."""

USAGE: Final = "SOURCE [--app MODULE:APP] [--token-file FILE] [OPTION ...]"

HELP: Final = """\
example:
  red-middleware check http://localhost:8000/metrics
  red-middleware check https://shop.example/metrics --token-file /run/secrets/scrape-token --app shop:app
  curl -s http://localhost:8000/metrics | red-middleware check -

With --app, or the options as flags, it also compares what is exposed with what these options make: rules and a
dashboard that were made with other options find nothing.

exit codes: 0 nothing is wrong; 1 something is, each on a line; 2 the source or the app cannot be read, or a wrong
argument.
"""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "check", USAGE, "read an endpoint, and say what is wrong with its metrics", HELP)
    parser.add_argument("source", metavar="SOURCE", help="a URL, a file, or - for stdin")
    parser.add_argument("--token-file", metavar="FILE", help="a file with the bearer token that the endpoint asks for")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates in PEM to trust, in place of the system's")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="default: %(default)g")
    add_flags(parser)
    parser.set_defaults(run=run, failed=USAGE_CODE, job="", target_label=())


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong."""
    expected = chosen(arguments)[0] if are_given(arguments) else None
    text = _text(arguments)
    try:
        exposition = Exposition(text)
    except ValueError as error:
        raise FailureError(f"{arguments.source}: {error}") from error
    found = findings(exposition, expected)
    lines = [f"- {finding}" for finding in found] or ["Nothing is wrong."]
    say("".join(f"{line}\n" for line in (summary(exposition), *lines)))
    return FOUND if found else 0


def _text(arguments: argparse.Namespace) -> str:
    source: str = arguments.source
    is_url = source.startswith(("http://", "https://"))
    for flag, given in (("--token-file", arguments.token_file), ("--ca-file", arguments.ca_file)):
        if given and not is_url:
            raise UsageError(f"{flag} goes with a URL only")
    try:
        if is_url:
            asked = source, arguments.token_file, arguments.ca_file, arguments.timeout
            body = _within(arguments.timeout, lambda: _fetched(*asked))
        elif source == "-":
            if sys.stdin is None:
                raise FailureError("-: stdin is closed")
            body = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(source, "rb") as file:
                body = file.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise FailureError(f"{source}: more than {MAX_BYTES:,} bytes")
        return body.decode()
    except UnicodeDecodeError as error:
        raise FailureError(f"{source}: not in UTF-8") from error
    except FileNotFoundError as error:
        hint = "; if it is an endpoint, write http:// or https:// before it"
        raise FailureError(f"{source}: {error.strerror}{hint}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FailureError(f"{source}: {_reason(error)}") from error


def _within(seconds: float, ask: Callable[[], bytes]) -> bytes:
    """Return what is answered in time. A socket's timeout covers no names to look up, and no headers that trickle."""
    answer: Future[bytes] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(seconds)
    except (TimeoutError, NotInTime) as error:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from error


def _fetched(url: str, token_file: str | None, ca_file: str | None, timeout: float) -> bytes:
    """Return the body of an answer, or the part of it that is too much."""
    headers = {
        "Accept": "text/plain;version=0.0.4",
        "User-Agent": f"red_middleware/{__version__}",
        "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout:g}",
    }
    if token_file:
        with _named("--token-file", token_file), open(token_file, "rb") as file:
            token = file.read().strip()
            if not re.fullmatch(rb"[!-~]+", token):  # http.client would show it in its error
                raise ValueError("there is no token in it; write one line of ASCII without spaces")
        headers["Authorization"] = f"Bearer {token.decode()}"
    with _named("--ca-file", ca_file):
        trusted = ssl.create_default_context(cafile=ca_file)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # a target is asked directly, as by Prometheus
        urllib.request.HTTPSHandler(context=trusted),
        _NoRedirect,
    )
    body = b""
    with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        while chunk := answer.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BYTES:
                break
    return body


@contextmanager
def _named(flag: str, file: str | None) -> Iterator[None]:
    """Name a file that cannot be read. Without this the error would be the URL's."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FailureError(f"{flag} {file}: {_reason(error)}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which might take the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _reason(error: Exception) -> str:
    """Return why there is no answer, and for what is usual what to do."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        hint = {401: "; --token-file gives the token", 404: "; is this the path of the endpoint?"}.get(error.code, "")
        place = error.headers.get("Location")
        return f"answers {error.code} {error.reason}{f', redirected to {place}' if place else hint}"
    if isinstance(error, urllib.error.URLError):
        return _reason(error.reason) if isinstance(error.reason, Exception) else str(error.reason)
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= DAY_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds > 0 and up to {DAY_SECONDS:,}")
    return seconds
