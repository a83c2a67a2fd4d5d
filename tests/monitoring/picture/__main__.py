"""Draw a dashboard as SVG: that of the demo's shop, after some minutes, or any by the answers of a running Prometheus.

`python -m tests.monitoring.picture --rows 4 --svg docs/dashboard.svg` made the picture in the docs.
"""

import argparse
import json
from pathlib import Path

from . import draw
from .answers import Answers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.picture", description=__doc__)
    parser.add_argument("--svg", required=True, type=Path, metavar="FILE", help="where the picture is written")
    parser.add_argument("--rows", type=int, help="how many rows are drawn (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="how much time is shown (default: %(default)s)")
    parser.add_argument("--scrape-seconds", type=float, default=1, help="how often it scrapes (default: %(default)s)")
    parser.add_argument("--prometheus", metavar="URL", help="ask this one, for the dashboard of --dashboard")
    parser.add_argument("--dashboard", type=Path, metavar="FILE", help="a JSON model")
    given = parser.parse_args()
    if (given.prometheus is None) is not (given.dashboard is None):
        parser.error("--prometheus and --dashboard go together")
    seconds = given.minutes * 60
    if given.prometheus is not None:
        dashboard = json.loads(given.dashboard.read_text())
        answers = Answers(given.prometheus, dashboard, seconds, given.scrape_seconds)
        given.svg.write_text(draw(dashboard, answers, given.rows))
        return
    from .demo import busy_shop  # imported here because it makes metrics on the default registry

    with busy_shop(seconds) as (dashboard, url):
        given.svg.write_text(draw(dashboard, Answers(url, dashboard, seconds, 1), given.rows))


if __name__ == "__main__":
    main()
