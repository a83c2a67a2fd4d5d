"""What only uvicorn does."""

from pathlib import Path

import pytest

from ...e2e.servers import poll
from ..running import Servers, uvicorn


@pytest.mark.once
def test_a_reloader_and_its_server_are_one_group(tmp_path: Path) -> None:
    """Counts go on after a change of the code."""
    watched = tmp_path / "watched.py"
    watched.touch()
    with Servers(uvicorn("--reload", f"--reload-dir={tmp_path}"), tmp_path) as servers:
        first = second = servers.one()

        def reloaded() -> bool:
            nonlocal second
            watched.touch()  # again and again: it may not have begun to look for changes
            second = servers.one()
            return second.pid != first.pid

        poll("another process", reloaded)
    assert first.group is not None
    assert first.group == second.group
