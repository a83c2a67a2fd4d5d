"""`python -m examples.demo.stack`: the demo with Prometheus and Alertmanager, whose rules fit the shops.

One request in fifty is a payment that fails, so after some minutes the alert on the availability of each shop fires.
Ctrl-C ends all of it, and nothing is left. `--files DIRECTORY` only writes the configuration there; `compose.yaml` runs
it in containers, with Grafana.
"""

import argparse
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ..__main__ import NEEDED, positive_seconds

PROGRAMS = ("prometheus", "prometheus-alertmanager")
"""As Debian names them."""


def main() -> int:
    """Run the command line. Return exit code 0, also after Ctrl-C, or 1 if something is missing or has ended."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.stack", description=__doc__)
    parser.add_argument("--seconds", type=positive_seconds, help="end after this many seconds")
    for name in ("flask", "starlette", "prometheus", "alertmanager"):
        parser.add_argument(f"--{name}-port", type=int, default=0, metavar="PORT", help="use this one, not a free one")
    parser.add_argument("--files", type=Path, metavar="DIRECTORY", help="only write the configuration here")
    options = parser.parse_args()
    missing = [name.replace("_", "-") for name in NEEDED if find_spec(name) is None]
    missing += ["pyyaml"] if find_spec("yaml") is None else []
    if missing:
        print(f"The stack needs more packages: python -m pip install {' '.join(missing)}", file=sys.stderr)
        return 1
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking and options.files is None:
        print(f"The stack needs more programs: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return 1
    # These are imported here because they need packages that may be missing.
    from ..programs import HOST, Program, free_ports
    from ..run import run
    from .files import Ports, write_files

    given = (options.flask_port, options.starlette_port, options.prometheus_port, options.alertmanager_port)
    ports = Ports(*(port or free for port, free in zip(given, free_ports(len(given)), strict=True)))
    if options.files is not None:
        write_files(options.files, ports)
        return 0
    with tempfile.TemporaryDirectory(prefix="red_stack-", ignore_cleanup_errors=True) as directory:
        write_files(Path(directory), ports)
        prometheus = Program(
            "Prometheus", ports.prometheus,
            [PROGRAMS[0], f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/prometheus",
             f"--web.listen-address={HOST}:{ports.prometheus}"],
        )  # fmt: skip
        alertmanager = Program(
            "Alertmanager", ports.alertmanager,
            [PROGRAMS[1], f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/alertmanager",
             f"--web.listen-address={HOST}:{ports.alertmanager}", "--cluster.listen-address="],
            page="/api/v2/alerts",  # Debian's shows no other page
        )  # fmt: skip
        return run(ports.flask, ports.starlette, options.seconds, False, None, [alertmanager, prometheus])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while the files were written
        sys.exit(0)
