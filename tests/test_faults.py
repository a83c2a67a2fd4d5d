"""What the log says, and whose it is."""

import logging

import pytest

from red_middleware.faults import log, logger


def test_a_line_says_whose_it_is_where_nobody_has_configured_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As below gunicorn and uvicorn, by default: Python prints nothing but the message then."""
    log(logging.WARNING, "it is %s", "odd")
    assert caplog.messages == ["it is odd"]
    monkeypatch.setattr(logger, "propagate", False)
    log(logging.WARNING, "it is %s", "odd")
    assert capsys.readouterr().err == "red_middleware: it is odd\n"


def test_a_handler_that_raises_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request may fail because of it."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    monkeypatch.setattr(logger, "handlers", [Broken()])
    log(logging.WARNING, "it is odd")
