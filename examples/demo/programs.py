"""A program as a child process: start it, check that it is alive, stop it. It knows nothing of metrics."""

import asyncio
import os
import signal
import socket
import tempfile
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
STOP_SECONDS = 5.0
LAST_LINES = 20
NOTHING: Mapping[str, str] = MappingProxyType({})


class ProgramEndedError(Exception):
    """A program did not start, or ended by itself. The message shows the last lines of its output."""


class Program:
    """A server that listens at one port of this machine.

    Args:
        name: What it is called in messages.
        port: Where it listens.
        command: What runs it.
        page: The path of the page that a person wants to see.
        environment: Variables beside those of this process.
    """

    def __init__(
        self, name: str, port: int, command: Sequence[str], page: str = "", environment: Mapping[str, str] = NOTHING
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.page = self.url + page
        self.command = list(command)
        self.environment = environment
        self.process: Process | None = None
        # This is no pipe, because a full pipe would block the server. `stop` closes the file.
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    async def start(self) -> None:
        """Start the server in its own session, so that Ctrl-C reaches only the demo, which then stops the server.

        Raises:
            ProgramEndedError: The port is taken. The server itself might keep trying for a long time.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise ProgramEndedError(f"{self.name}: cannot listen on port {self.port}: {error.strerror}") from error
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=self.output, stderr=self.output, start_new_session=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip

    def check(self) -> None:
        """Raise `ProgramEndedError` if the server has ended."""
        if self.process is not None and self.process.returncode is not None:
            raise self.ended(f"the server ended with exit code {self.process.returncode}")

    def ended(self, reason: str) -> ProgramEndedError:
        """Return an error that shows the server's command and the last lines of its output."""
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").splitlines()
        return ProgramEndedError(
            "\n    ".join([f"{self.name}: {reason}", f"$ {' '.join(self.command)}", *lines[-LAST_LINES:]])
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
