"""Real servers as subprocesses on free loopback ports."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ..ports import free_port
from . import ROOT, UWSGI, marks, require_packages

DEADLINE_SECONDS: Final = 60.0
"""For what must happen, and on a busy machine happens late."""


Result = TypeVar("Result")


def poll(what: str, found: Callable[[], Result], seconds: float = DEADLINE_SECONDS) -> Result:
    """Wait until something is found, and return it.

    An `OSError` is nothing found: a worker that is about to end resets what it took last, and another one answers.

    Raises:
        TimeoutError: It is not found in time.
        ChildProcessError: It never will be, as `found` knows.
    """
    deadline = time.monotonic() + seconds
    while True:
        reason = None
        try:
            if result := found():
                return result
        except ChildProcessError:
            raise
        except OSError as error:
            reason = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} seconds") from reason
        time.sleep(0.01)


def get(url: str, timeout: float = DEADLINE_SECONDS) -> bytes:
    """Return the body of a GET.

    Raises:
        OSError: Nobody answers, or not to the end, or the answer is an error: an `HTTPError`, which is closed, since
            one that is still open when it is collected is a warning from Python 3.14 on, in whichever test runs then.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except http.client.HTTPException as error:  # a worker was killed in the middle of its answer
        raise ConnectionError(f"half an answer: {error!r}") from error
    return body


PLAIN: Final = "plain"
BODIES: Final = "bodies"
MESSAGES: Final = "messages"
WEBSOCKET: Final = "websocket"
BUSINESS_WSGI: Final = "business_wsgi"
BUSINESS_ASGI: Final = "business_asgi"
STUCK: Final = "stuck"
SIZES_WSGI: Final = "sizes_wsgi"
SIZES_ASGI: Final = "sizes_asgi"
EVERY_WSGI: Final = "every_wsgi"
EVERY_ASGI: Final = "every_asgi"
SHOWING: Final = "showing"
NO_PACKAGE: Final = frozenset(
    {
        PLAIN, STUCK, BODIES, MESSAGES, WEBSOCKET, BUSINESS_WSGI, BUSINESS_ASGI, SIZES_WSGI, SIZES_ASGI, EVERY_WSGI,
        EVERY_ASGI, SHOWING,
    }
)  # fmt: skip
IN_PROCESS: Final = frozenset({"cheroot", "waitress", "werkzeug", "wsgiref"})
"""Servers that a program starts: `tests.e2e.in_process` is that program."""


class Kind(NamedTuple):
    """One way to serve: a server with its options, and the application's framework; `PLAIN` and its like have none."""

    server: str
    framework: str
    options: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def needs(self) -> list[str]:
        """Return the packages that this takes."""
        return [name for name in (self.server, self.framework, *self.packages) if name not in NO_PACKAGE]

    def require(self) -> None:
        """Skip the test where something is not installed."""
        require_packages(*self.needs())

    @property
    def command(self) -> list[str]:
        app = f"tests.e2e.{self.framework}_app:app"
        if self.server in IN_PROCESS:
            return [sys.executable, "-m", "tests.e2e.in_process", self.server, str(free_port()), app]
        # Kept alive for long: a server that closes a connection just when the client asks again proves nothing here.
        common = {
            "gunicorn": ["--bind=127.0.0.1:0", "--keep-alive=75"],
            "uvicorn": ["--port=0", "--no-access-log", "--timeout-keep-alive=75"],
            "hypercorn": ["--bind=127.0.0.1:0", "--keep-alive=75"],
            "granian": [f"--port={free_port()}"],
            UWSGI.name: [
                f"--http-socket=127.0.0.1:{free_port()}",
                f"--virtualenv={sys.prefix}",
                "--need-app",
                "--die-on-term",
            ],
        }[self.server]
        if self.server == UWSGI.name:
            return [str(UWSGI), *common, *self.options, f"--module={app}"]
        return [sys.executable, "-m", self.server, *common, *self.options, app]


GTHREAD: Final = Kind("gunicorn", "flask", ("--worker-class=gthread", "--threads=8"))
SYNC: Final = Kind("gunicorn", "flask", ("--worker-class=sync",))
GEVENT: Final = Kind("gunicorn", "flask", ("--worker-class=gevent",), ("gevent",))
HTTPTOOLS: Final = Kind("uvicorn", "starlette", ("--http=httptools",), ("httptools",))
H11: Final = Kind("uvicorn", "starlette", ("--http=h11",), ("h11",))
FASTAPI_HTTPTOOLS: Final = HTTPTOOLS._replace(framework="fastapi")
FASTAPI_H11: Final = H11._replace(framework="fastapi")
HYPERCORN: Final = Kind("hypercorn", "starlette", packages=("h2",))


class Server:
    """A server of the given kind. Its port and process are known once it is entered, and it has answered.

    Args:
        kind: What to start.
        directory: An empty one of its own: for its log and its marks.
        options: More of the server's command line.
    """

    def __init__(self, kind: Kind, directory: Path, *options: str) -> None:
        kind.require()
        self.kind = kind
        self.directory = directory
        self.log = directory / "log"
        # uvicorn ends by raising the signal that it caught once more, which kills the process before it could leave
        # its numbers. Where the signal was ignored from the start, as by nohup(1), it ends like any program.
        patience = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh"] if kind.server == "uvicorn" else []
        *command, app = kind.command
        self.command = [*patience, *command, *options, app]

    def __enter__(self) -> "Server":
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        environment |= {
            marks.DIRECTORY: str(self.directory),
            "HOME": str(self.directory),  # gunicorn keeps a control socket there
            "XDG_RUNTIME_DIR": str(self.directory),
            "RED_MULTIPROCESS_DIR": str(self.directory),
            "PYTHONUNBUFFERED": "1",
        }
        with (self.directory / marks.BIG_FILE).open("wb") as big:
            big.truncate(marks.BIG_BYTES)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
            )
        try:
            poll("the server names its port", self._listens)
            poll("the server answers", self.answers)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        self.kill()

    def _listens(self) -> bool:
        if self.process.poll() is not None:
            raise ChildProcessError(f"{' '.join(self.command)} ended:\n{self.log.read_text()}")
        found = re.search(r"(?:http://|TCP address )127\.0\.0\.1:(\d+)", self.log.read_text())
        if found:
            self.port = int(found[1])
        return bool(found)

    def answers(self) -> bool:
        return self.read("/health") == "well"

    def read(self, path: str) -> str:
        """Return the body of a GET.

        Raises:
            OSError: See `get`.
        """
        return get(f"http://127.0.0.1:{self.port}{path}").decode()

    def rest(self) -> None:
        """Wait until no request is being served."""
        busy = re.compile(r'in_progress{method="\w+"[^}]*} [^0]')
        poll("no request is in progress", lambda: not busy.search(self.read("/metrics")))

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self.process.terminate()

    def interrupt(self) -> None:
        """Send SIGINT, and return at once."""
        self.process.send_signal(signal.SIGINT)

    def last_numbers(self) -> dict[str, float] | None:
        """Wait for the end of the process, and return all that it had counted but zeros; `None` if it was killed."""
        found = self.all_last_numbers()
        assert len(found) <= 1, self.log.read_text()
        return found[0] if found else None

    def all_last_numbers(self) -> list[dict[str, float]]:
        """Do the same for each of several worker processes, one after the other."""
        self.process.wait(DEADLINE_SECONDS)
        counted = ("http_requests_total", "http_errors_total", "http_exceptions_total", "http_client_disconnects_total",
                   "http_requests_in_progress", "websocket_handshakes_total", "websocket_connections_total",
                   "websocket_connections_in_progress", "websocket_errors_total")  # fmt: skip
        return [
            {
                sample: value
                for sample, value in json.loads(file.read_text()).items()
                if value and sample.startswith(counted)
            }
            for file in self.directory.glob(f"{marks.NUMBERS}-*")
        ]

    def leave(self, mark: str) -> None:
        (self.directory / mark).touch()

    def has_left(self, mark: str) -> bool:
        return (self.directory / mark).exists()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: its workers too, and nobody else's
        self.process.wait()


@contextlib.contextmanager
def all_of(servers: list[Server]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        yield
