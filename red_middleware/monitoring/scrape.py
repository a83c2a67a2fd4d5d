"""How Prometheus is to scrape an app: a job whose limit follows from the bound of its series.

`sample_limit` refuses a scrape as a whole. It must lie where no client can bring an app, and yet catch what goes wrong.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
"""A duration as Prometheus writes it, up to hours: `15s`, `1m30s`."""

LONGEST_INTERVAL: Final = "2m"
"""The rules and the dashboard take rates over 5 minutes. These need two samples, wherever the 5 minutes begin."""


@dataclass(frozen=True)
class Scrape:
    """How an app is scraped.

    Args:
        service: The labels that all of its series have, see `Installation.service`: the job, then target labels.
        sample_limit: The most samples that a scrape may bring, see `Installation.sample_limit`.
        interval: The time between two scrapes, as Prometheus writes durations; at most 2m.
        timeout: How long a scrape may take; no more than the interval.
        path: Where the endpoint answers.
        scheme: `http` or `https`.

    Raises:
        ValueError: Prometheus does not take the interval or the timeout, or the interval is too long for the rules.
    """

    service: Mapping[str, str]
    sample_limit: int
    interval: str = "15s"
    timeout: str = "10s"
    path: str = "/metrics"
    scheme: str = "http"

    def __post_init__(self) -> None:
        if milliseconds(self.timeout) > milliseconds(self.interval):
            raise ValueError(f"a timeout of {self.timeout} is longer than the interval of {self.interval}")
        if milliseconds(self.interval) > milliseconds(LONGEST_INTERVAL):
            rule = "the rules take rates over 5m, which need two samples"
            raise ValueError(f"an interval of {self.interval} is longer than {LONGEST_INTERVAL}: {rule}")

    def job_of(self, targets: Sequence[str], token_file: str | None = None) -> dict[str, Any]:
        """Return the job as an entry of `scrape_configs`.

        Prometheus refuses a configuration that has a `job_name` twice. Services of one job are told apart by target
        labels, so these are in the name as well. The targets then have a label `job`, which goes before the `job_name`.

        Args:
            targets: Each a host and a port.
            token_file: The file, on Prometheus's machine, that holds the bearer token.
        """
        labels = {"labels": dict(self.service)} if len(self.service) > 1 else {}
        credentials = {} if token_file is None else {"authorization": {"credentials_file": token_file}}
        return {
            "job_name": " ".join(self.service.values()),
            "scrape_interval": self.interval,
            "scrape_timeout": self.timeout,
            "metrics_path": self.path,
            "scheme": self.scheme,
            "sample_limit": self.sample_limit,
            **credentials,
            "static_configs": [{"targets": list(targets), **labels}],
        }


def milliseconds(duration: str) -> int:
    """Return how long a duration is.

    Raises:
        ValueError: It is none, or of no length.
    """
    found = DURATION.fullmatch(duration)
    hours, minutes, seconds, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    length = ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest
    if not length:
        raise ValueError(f"{duration!r} is no duration, such as 15s or 1m30s")
    return length
