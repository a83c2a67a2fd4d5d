"""A real VictoriaMetrics, which scrapes and answers as Prometheus does, with vmalert for the rules."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from ..ports import free_port
from . import require_program
from .prometheus import NOTHING, Vector, ask, scrape_configs, write_rules
from .servers import get, poll

INTERVAL: Final = "3s"
"""vmalert asks for each rule by itself, and what it records takes two seconds until a query sees it."""


class VictoriaMetrics:
    """VictoriaMetrics, scraping the given targets every second.

    Args:
        directory: An empty one of its own.
        targets: Ports by the name of their job.
        more: Further settings of a job, by its name.
        groups: Rules, which vmalert evaluates at `INTERVAL`, whatever they say.
    """

    def __init__(
        self,
        directory: Path,
        targets: Mapping[str, int],
        more: Mapping[str, Mapping[str, object]] = NOTHING,
        groups: Sequence[Mapping[str, object]] = (),
    ) -> None:
        self.programs = [require_program("victoria-metrics"), require_program("vmalert")]
        self.directory = directory
        self.targets = targets
        self.more = more
        self.groups = groups
        self.port = free_port()
        self._stack = ExitStack()

    def __enter__(self) -> "VictoriaMetrics":
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": scrape_configs(self.targets, self.more)}
        path = self.directory / "scrape.json"
        path.write_text(json.dumps(configuration))  # JSON is YAML
        database, rules = self.programs
        url, rules_port = f"http://127.0.0.1:{self.port}", free_port()
        nobody = f"http://127.0.0.1:{free_port()}"  # vmalert takes no alerts without somebody to tell
        with ExitStack() as stack:
            stack.enter_context(
                self._running(
                    database, self.port, f"-storageDataPath={self.directory / 'data'}", f"-promscrape.config={path}",
                    "-search.latencyOffset=1s",  # else it tells of nothing that is younger than 30 s
                )
            )  # fmt: skip
            path = write_rules(self.directory, self.groups, INTERVAL)
            stack.enter_context(
                self._running(
                    rules, rules_port, f"-rule={path}", f"-datasource.url={url}",
                    f"-remoteWrite.url={url}", "-remoteWrite.flushInterval=1s", f"-notifier.url={nobody}",
                )
            )  # fmt: skip
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, promql: str) -> Vector:
        """Return an instant vector: labels and value of every element."""
        return ask(self.port, promql)

    @contextmanager
    def _running(self, program: str, port: int, *arguments: str) -> Iterator[None]:
        log = self.directory / f"{Path(program).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, f"-httpListenAddr=127.0.0.1:{port}", *arguments], stdout=output, stderr=output
            )
        try:
            poll(f"{program} answers", lambda: process.poll() is not None or get(f"http://127.0.0.1:{port}/health"))
            if process.poll() is not None:
                raise RuntimeError(f"{program} does not start:\n{log.read_text()}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
