"""What the README tells users to write runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"

CONFTEST = """
import flask
import pytest

@pytest.fixture
def app():
    app = flask.Flask("shop")

    @app.get("/items/<int:item_id>")
    def item(item_id):
        flask.abort(404)

    return app
"""


def test_the_fixture_for_users_tests_holds_where_processes_share_numbers(tmp_path: Path) -> None:
    """A developer's shell may have the group's name; the second run would meet the numbers of the first."""
    (program,) = re.findall(r"```python\n(import pytest\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shop.py").write_text(program)
    shared = {"RED_MULTIPROCESS_NAME": "shop", "RED_MULTIPROCESS_DIR": str(tmp_path)}
    for _ in range(2):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
        path = os.pathsep.join(filter(None, sys.path))
        ran = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **shared, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout
    assert not list(tmp_path.glob("red_middleware-*"))
