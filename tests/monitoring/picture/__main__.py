"""Draw the JSON of a dashboard, with the answers of a Prometheus, as SVG."""

import argparse
import json
from pathlib import Path

from . import draw
from .answers import Answers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.picture", description="Draw a dashboard as SVG.")
    parser.add_argument("--prometheus", required=True, metavar="URL", help="where its queries are asked")
    parser.add_argument("--dashboard", required=True, type=Path, metavar="FILE", help="its JSON model")
    parser.add_argument("--svg", required=True, type=Path, metavar="FILE", help="where the picture is written")
    parser.add_argument("--minutes", type=float, default=10, help="how much time is shown (default: %(default)s)")
    parser.add_argument("--scrape-seconds", type=float, default=1, help="how often it scrapes (default: %(default)s)")
    parser.add_argument("--rows", type=int, help="how many rows are drawn (default: all)")
    given = parser.parse_args()
    dashboard = json.loads(given.dashboard.read_text())
    answers = Answers(given.prometheus, dashboard, given.minutes * 60, given.scrape_seconds)
    given.svg.write_text(draw(dashboard, answers, given.rows))


if __name__ == "__main__":
    main()
