"""What the README and the pages tell users to write runs as it stands there, and their links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .e2e import require_program

ROOT = Path(__file__).parents[1]
REPOSITORY = re.compile(r"https://(raw\.githubusercontent|github)\.com/red-middleware/red-middleware/(blob/)?main/")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FLASK_CONFTEST = """
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

STARLETTE_CONFTEST = """
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

@pytest.fixture
def app():
    async def item(request):
        raise HTTPException(404)

    return Starlette(routes=[Route("/items/{item_id}", item)])
"""

FLASK = """
from flask import Flask
app = Flask("shop")
"""

FLASK_ANSWERS = """
assert "http_requests_total" in app.test_client().get("/metrics").text
"""

DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF=(), ALLOWED_HOSTS=["*"])
"""

DJANGO_ANSWERS = """
from tests.drive import ask_wsgi
assert "http_requests_total" in ask_wsgi(application, "/metrics").text
"""

FASTAPI_ANSWERS = """
from tests.drive import ask_asgi
assert "http_requests_total" in ask_asgi(app, "/metrics").text
"""


MARKS_ANSWER = """
client = app.test_client()
for path in ("/healthz", "/export"):
    assert client.get(path, buffered=True).status_code == 200
shown = client.get("/metrics").text
assert 'route="/export"' in shown
assert "/healthz" not in shown
"""

TEMPLATES_ANSWER = """
from tests.drive import ask_wsgi
ask_wsgi(app, "/users/7")
assert 'http_requests_total{method="GET",route="/users/<id>",status="200"} 1.0' in ask_wsgi(app, "/metrics").text
"""

LABELS_ANSWER = """
client = app.test_client()
client.get("/orders/3", headers={"x-tenant": "acme"}, buffered=True)
labels = 'method="GET",plan="gold",route="/orders/<int:order>",status="200",tenant="acme",version="1.4"'
assert f"http_requests_total{{{labels}}} 1.0" in client.get("/metrics").text
"""


def run(*program: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "SCRAPE_TOKEN": "secret", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", "\n".join(program)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(5), ids=["flask", "fastapi", "django", "securing", "options"])
def test_the_snippets_of_the_readme_run(number: int) -> None:
    """Each in a program of its own, whose endpoint answers then."""
    before, answers, package = [
        ("", FLASK_ANSWERS, "flask"),
        ("", FASTAPI_ANSWERS, "fastapi"),
        (DJANGO, DJANGO_ANSWERS, "django"),
        (FLASK, "", "flask"),
        (FLASK, FLASK_ANSWERS, "flask"),
    ][number]
    pytest.importorskip(package)
    found = snippets(ROOT / "README.md")
    assert len(found) == 5
    ran = run(before, found[number].replace("9090", "0"), answers)  # the port may be somebody else's here
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("page", "number", "answers"),
    [("options", 0, MARKS_ANSWER), ("options", 1, TEMPLATES_ANSWER), ("labels", 0, LABELS_ANSWER)],
    ids=["marks", "templates", "labels"],
)
def test_what_a_page_shows_counts_as_it_says(page: str, number: int, answers: str) -> None:
    """In a program of its own, since the numbers are those of the process."""
    pytest.importorskip("flask")
    ran = run(snippets(ROOT / "docs" / f"{page}.md")[number], answers)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["docs/endpoint.md", "docs/growth.md"])
def test_prometheus_takes_the_configuration_of_a_page(name: str, tmp_path: Path) -> None:
    """The files that it names are made first. Rules are no configuration: other tests evaluate them."""
    promtool = require_program("promtool")
    (tmp_path / "file").write_bytes((ROOT / "tests" / "e2e" / "certificate.pem").read_bytes())
    blocks = re.findall(r"```yaml\n(?!groups:)(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.yml"
        file.write_text(re.sub(r"/etc/prometheus/\S+", str(tmp_path / "file"), block))
        ran = subprocess.run([promtool, "check", "config", str(file)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    """Of this repository; what the web holds is not asked. The README's are absolute, as a package index shows it."""
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ours = [REPOSITORY.sub("", link) for link in links if REPOSITORY.match(link)]
    files = [page.parent / link.partition("#")[0] for link in links if "://" not in link] + [
        ROOT / link for link in ours
    ]
    assert [str(file) for file in files if not file.exists()] == []
    assert not (page.name == "README.md" and len(files) > len(ours))


def headings(page: Path) -> set[str]:
    """Return what leads to each heading of a page, as GitHub makes it."""
    found = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_to_a_heading_leads_there(page: Path) -> None:
    """Else the reader is at the top of the page, and looks for what was meant."""
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    places = [(page.parent / link if link else page, heading) for link, heading in links]
    assert [(str(place), heading) for place, heading in places if heading not in headings(place)] == []


def test_the_readme_is_read_in_a_few_minutes() -> None:
    """It sells and starts; proof and depth have pages of their own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1500


@pytest.mark.parametrize(
    ("number", "conftest"),
    [
        pytest.param(0, FLASK_CONFTEST, id="wsgi"),
        pytest.param(
            1, STARLETTE_CONFTEST, id="asgi",
            marks=pytest.mark.skipif(
                os.environ.get("RED_EVERY_FRAMEWORK") == "oldest", reason="its test client needs an older httpx"
            ),
        ),
    ],
)  # fmt: skip
def test_the_fixtures_for_users_tests_hold_where_processes_share_numbers(
    number: int, conftest: str, tmp_path: Path
) -> None:
    """A developer's shell may have the group's name; the second run would meet the numbers of the first."""
    program = snippets(ROOT / "docs" / "testing.md")[number]
    (tmp_path / "conftest.py").write_text(conftest)
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
