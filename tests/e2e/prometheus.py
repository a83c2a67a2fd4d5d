"""A real Prometheus, and questions to it in PromQL."""

import json
import signal
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..ports import free_port
from . import require_program
from .servers import get, poll

Vector = list[tuple[dict[str, str], float]]
"""The labels and the value of each element."""

NOTHING: Final[Mapping[str, Mapping[str, object]]] = {}


class Prometheus:
    """Prometheus, scraping the given targets every second.

    Args:
        directory: An empty one of its own, for its data, its configuration and its log.
        targets: Ports by the name of their job.
        more: Further settings of a job, by its name: credentials, TLS.
        groups: Rules, which are evaluated every second, whatever they say.
    """

    def __init__(
        self,
        directory: Path,
        targets: dict[str, int],
        more: Mapping[str, Mapping[str, object]] = NOTHING,
        groups: Sequence[Mapping[str, object]] = (),
    ) -> None:
        self.program = require_program("prometheus")
        self.directory = directory
        self.targets = targets
        self.more = more
        self.groups = groups

    def __enter__(self) -> "Prometheus":
        path = self.directory / "prometheus.yml"
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(write_rules(self.directory, self.groups))] if self.groups else [],
            "scrape_configs": scrape_configs(self.targets, self.more),
        }
        path.write_text(json.dumps(configuration))  # JSON is YAML
        for _ in range(5):  # another program of this machine may take the port after all
            self.port = free_port()
            with (self.directory / "log").open("wb") as log:
                self.process = subprocess.Popen(
                    [self.program, f"--config.file={path}", f"--storage.tsdb.path={self.directory / 'data'}",
                     f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log,
                    cwd=self.directory,
                )  # fmt: skip
            try:
                poll("Prometheus is ready", self._is_ready)
            except ChildProcessError:
                continue
            except BaseException:
                self.__exit__()
                raise
            return self
        raise RuntimeError(f"prometheus does not start:\n{(self.directory / 'log').read_text()}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def reload(self) -> None:
        """Have it read the files anew that its configuration names: Prometheus 3 does so only if that has changed."""
        path = self.directory / "prometheus.yml"
        path.write_text(path.read_text().replace('"scrape_timeout": "1s"', '"scrape_timeout": "999ms"'))
        self.process.send_signal(signal.SIGHUP)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise ChildProcessError
        return bool(get(f"http://127.0.0.1:{self.port}/-/ready"))

    def ask(self, promql: str) -> Vector:
        """Return an instant vector: labels and value of every element."""
        return ask(self.port, promql)

    def increases(self, counter: str) -> list[tuple[float, float]]:
        """Return what `increase` says of each series of a counter, with the last value less the first one.

        It is asked for the time from the first sample to the last, where it has nothing to guess.
        """
        query = urllib.parse.urlencode({"query": f"{counter}[1h]"})
        matrix: dict[str, Any] = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/query?{query}"))
        found = []
        for series in matrix["data"]["result"]:
            (first, low), (last, high) = series["values"][0], series["values"][-1]
            if last > first:  # one sample has no increase
                named = {name: text for name, text in series["metric"].items() if name != "__name__"}
                labels = ",".join(f"{name}={json.dumps(text)}" for name, text in named.items())
                promql = f"increase({counter}{{{labels}}}[{round((last - first) * 1000)}ms] @ {last:.3f})"
                found.append((self.number(promql) or 0.0, float(high) - float(low)))
        return found

    def number(self, promql: str) -> float | None:
        """Return the value of a vector of one element, `None` for an empty one."""
        found = self.ask(promql)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def by(self, labels: str, promql: str) -> dict[tuple[str, ...], float]:
        """Return a vector as values by the values of these labels, which are written `method route`."""
        return {tuple(found[label] for label in labels.split()): value for found, value in self.ask(promql)}

    def scrape_after(self, job: str, moment: float) -> None:
        """Wait for a successful scrape of a job that began after a moment of `time.time()`."""
        up = f'up{{job="{job}"}}'
        poll(f"Prometheus scrapes {job}", lambda: (self.number(f"timestamp({up}) and {up} == 1") or 0) > moment)


def ask(port: int, promql: str) -> Vector:
    """Return an instant vector of a database that answers as Prometheus does.

    Raises:
        urllib.error.HTTPError: It does not understand the query.
    """
    query = urllib.parse.urlencode({"query": promql})
    found: dict[str, Any] = json.loads(get(f"http://127.0.0.1:{port}/api/v1/query?{query}"))
    return [(element["metric"], float(element["value"][1])) for element in found["data"]["result"]]


def scrape_configs(targets: Mapping[str, int], more: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """Return a job for each target: a port of this machine."""
    return [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}], **more.get(name, {})}
        for name, port in targets.items()
    ]


def write_rules(directory: Path, groups: Sequence[Mapping[str, object]], interval: str = "1s") -> Path:
    """Write a rule file whose groups are all evaluated so often."""
    path = directory / "rules.json"
    path.write_text(json.dumps({"groups": [{**group, "interval": interval} for group in groups]}))
    return path
