"""The two shops as child processes: start them, check that they are alive, stop them.

This module knows one thing about metrics: the directories where workers share them. It removes them at the end.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
WORKERS = 4
STOP_SECONDS = 5.0
LAST_LINES = 20


class ShopClosedError(Exception):
    """A shop did not open, or its server ended by itself. The message shows the last lines of its output."""


class Shop:
    """One of the example shops, on its server.

    Args:
        name: Its name in the table.
        stream: The path of its streamed route.
        port: The port where it listens, on this machine only.
        command: The module that serves it, and the arguments.
    """

    def __init__(self, name: str, stream: str, port: int, command: list[str]) -> None:
        self.name = name
        self.stream = stream
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.command = command
        self.process: Process | None = None
        # This is no pipe, because a full pipe would block the server. `stop` closes the file.
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.shared = tempfile.TemporaryDirectory(prefix="red_demo-", ignore_cleanup_errors=True)

    async def start(self) -> None:
        """Start the server in its own session, so that Ctrl-C reaches only the demo, which then stops the server.

        Raises:
            ShopClosedError: The port is taken. The server itself would keep trying for a long time.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise ShopClosedError(f"{self.name}: cannot listen on port {self.port}: {error.strerror}") from error
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self.command,
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=self.output, stderr=self.output, start_new_session=True,
            env=os.environ | {"RED_MULTIPROCESS_DIR": self.shared.name},  # not needed, but so it leaves no files behind
        )  # fmt: skip

    def check(self) -> None:
        """Raise `ShopClosedError` if the server has ended."""
        if self.process is not None and self.process.returncode is not None:
            raise self.closed(f"the server ended with exit code {self.process.returncode}")

    def closed(self, reason: str) -> ShopClosedError:
        """Return an error that shows the server's command and the last lines of its output."""
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").splitlines()
        return ShopClosedError(
            "\n    ".join([f"{self.name}: {reason}", f"$ python -m {' '.join(self.command)}", *lines[-LAST_LINES:]])
        )

    async def stop(self) -> None:
        """End the server and its workers, by force if necessary, and wait for the server's end."""
        process = self.process
        if process is not None:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except asyncio.TimeoutError:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)  # this also ends workers that outlived their server
            except ProcessLookupError:
                pass
            await process.wait()
        self.output.close()
        self.shared.cleanup()


def flask_shop(port: int) -> Shop:
    """Return the shop on Flask. It runs under gunicorn, with workers that have threads."""
    command = ["gunicorn", "--config", "python:examples.demo.gunicorn_conf", "--bind", f"{HOST}:{port}"]
    command += ["--workers", str(WORKERS)]
    return Shop("Flask", "/export.csv", port, [*command, "examples.flask_app.app:app"])


def starlette_shop(port: int) -> Shop:
    """Return the shop on Starlette. It runs under uvicorn, with the same number of workers."""
    command = ["uvicorn", "--host", HOST, "--port", str(port), "--workers", str(WORKERS)]
    command += ["--timeout-graceful-shutdown", "2"]
    return Shop("Starlette", "/feed", port, [*command, "examples.starlette_app.app:app"])


def free_ports(count: int) -> list[int]:
    """Return different ports on which nobody listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
