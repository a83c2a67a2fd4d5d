"""What the log says, and whose it is."""

import logging
import subprocess
import sys

import pytest

from red_middleware.faults import log

from .e2e import ROOT

PROGRAM = """
import logging
from red_middleware.faults import log
log(logging.WARNING, "it is %s", "odd")
logging.basicConfig(format="%(name)s says: %(message)s")
log(logging.WARNING, "it is %s", "odd")
"""


def test_a_line_says_whose_it_is_where_nobody_has_configured_the_log() -> None:
    """As below gunicorn and uvicorn, by default: Python prints nothing but the message then."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines() == ["red_middleware: it is odd", "red_middleware says: it is odd"]


def test_a_handler_that_raises_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request may fail because of it."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    monkeypatch.setattr(logging.getLogger("red_middleware"), "handlers", [Broken()])
    log(logging.WARNING, "it is odd")
