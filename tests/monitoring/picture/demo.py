"""The demo's shop on Starlette, with its customers, and a Prometheus that watches it.

The Prometheus evaluates the rules and alerts that are made for the shop. Nothing here knows of drawing.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from examples.starlette_app.app import ORDERS, metrics
from red_middleware.metrics import recorder_of
from red_middleware.monitoring.alerts import alert_groups
from red_middleware.monitoring.dashboard import dashboard
from red_middleware.monitoring.installation import Installation, OwnMetric
from red_middleware.monitoring.rules import rule_groups

from ...e2e import ROOT
from ...e2e.prometheus import Prometheus
from ...ports import free_port

JOB: Final = "starlette_shop"


@contextmanager
def busy_shop(seconds: float) -> Iterator[tuple[dict[str, Any], str]]:
    """Serve the shop for some time; yield its dashboard, and the address of the Prometheus that has watched it."""
    own = [OwnMetric(f"{one.name}_total", one.type, one.documentation) for one in ORDERS.describe()]
    installation = Installation(JOB, recorder_of(metrics).options, own)
    groups = [*rule_groups(installation), *alert_groups(installation)]
    port = free_port()
    demo = ["-m", "examples.demo", "--once", f"--seconds={seconds + 60:g}", f"--starlette-port={port}"]
    shop = subprocess.Popen([sys.executable, *demo], cwd=ROOT)
    try:
        with (
            TemporaryDirectory() as directory,
            Prometheus(Path(directory), {JOB: port}, groups=groups) as prometheus,
        ):
            time.sleep(seconds)
            yield dashboard(installation), f"http://127.0.0.1:{prometheus.port}"
    finally:
        shop.terminate()
        shop.wait()
