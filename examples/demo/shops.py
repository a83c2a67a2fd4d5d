"""The two shops, each a program of its own with workers.

This module knows one thing about metrics: the directories where workers share them. It removes them at the end.
"""

import sys
import tempfile

from .programs import HOST, Program

WORKERS = 4


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
        self.shared = tempfile.TemporaryDirectory(prefix="red_demo-", ignore_cleanup_errors=True)
        own = {"RED_MULTIPROCESS_DIR": self.shared.name}  # not needed, but so it leaves no files behind
        self.program = Program(name, port, [sys.executable, "-m", *command], environment=own)
        self.url = self.program.url

    async def stop(self) -> None:
        """End its server, and remove what its workers shared."""
        await self.program.stop()
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
