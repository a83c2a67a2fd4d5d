"""`--app` reads from an app what it exposes: each kind of app in a process of its own, as its users have it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from red_middleware.__main__ import main

from . import Ran, environment, run

PLAIN = """
from red_middleware import RedMetrics, RedWSGIMiddleware
from prometheus_client import CollectorRegistry

def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""

FLASK = """
from flask import Flask
from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary
from red_middleware import RedMetrics, RedWSGIMiddleware

ORDERS = Counter("orders", "Orders paid for.", ["product"])
STOCK = Gauge("stock_items", "What is there.")
WAIT = Histogram("wait_seconds", "How long a receipt waits.")
PRICE = Summary("price_euros", "What is paid.")
Info("build", "Which build."), Enum("mood", "How it is.", states=["good", "bad"])

def create_app(namespace="shop", more=()):
    app = Flask("shop")
    app.add_url_rule("/items/<int:item_id>", "item", lambda item_id: "an item")
    metrics = RedMetrics(namespace=namespace, slo_seconds=[0.3])
    app.wsgi_app = RedWSGIMiddleware(app.wsgi_app, metrics=metrics, metrics_path="/internal")
    return app

class Apps:
    made = create_app("nested")
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route
from red_middleware import RedASGIMiddleware, RedMetrics

async def item(request):
    raise AssertionError("nobody asks")

app = Starlette(routes=[Mount("/v1", routes=[Route("/items/{item_id:int}", item)])])
app.add_middleware(GZipMiddleware)
app.add_middleware(RedASGIMiddleware, metrics=RedMetrics(namespace="shop", slo_seconds=[0.3]), metrics_path="/internal")
"""

FASTAPI = """
from fastapi import FastAPI
from red_middleware import RedASGIMiddleware

app = FastAPI()
app.add_middleware(RedASGIMiddleware)
"""

DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF=(), ALLOWED_HOSTS=["*"])
from django.core.wsgi import get_wsgi_application
from red_middleware import RedWSGIMiddleware

application = RedWSGIMiddleware(get_wsgi_application())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a directory with a module for each kind of app."""
    for name, text in {"flasks": FLASK, "stars": STARLETTE, "fast": FASTAPI, "djangos": DJANGO, "plain": PLAIN}.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def scrape(app: str, *more: object, cwd: Path, **variables: str) -> Ran:
    return run("scrape-config", "--job", "shop", "--target", "shop:80", "--app", app, *more, cwd=cwd, **variables)


def counters(ran: Ran) -> set[str]:
    """Return the counters of errors that rules read: by the namespace they tell which `RedMetrics` was found."""
    rules = ran.document()["groups"][0]["rules"]
    return {
        word
        for rule in rules
        for word in rule["expr"].replace("(", " ").replace("{", " ").split()
        if word.endswith("http_errors_total")
    }


@pytest.mark.parametrize(
    ("app", "package", "counter"),
    [
        ("flasks:create_app()", "flask", "shop_http_errors_total"),
        ("flasks:create_app('other')", "flask", "other_http_errors_total"),
        ("flasks:create_app(namespace='named', more=[1])", "flask", "named_http_errors_total"),
        ("flasks:Apps.made", "flask", "nested_http_errors_total"),
        ("flasks:Apps.made.wsgi_app", "flask", "nested_http_errors_total"),
        ("flasks:Apps.made.wsgi_app.metrics", "flask", "nested_http_errors_total"),
        ("stars:app", "starlette", "shop_http_errors_total"),
        ("fast:app", "fastapi", "http_errors_total"),
        ("djangos:application", "django", "http_errors_total"),
    ],
)  # fmt: skip
def test_the_metrics_are_those_that_the_app_feeds(app: str, package: str, counter: str, shop: Path) -> None:
    """Flask, Starlette and FastAPI before they have constructed it, Django, a factory, a middleware, its metrics."""
    pytest.importorskip(package)
    assert counters(run("rules", "--job", "shop", "--app", app, cwd=shop)) == {counter}


def test_nothing_is_written_and_nothing_printed_in_between(shop: Path) -> None:
    """No bytecode, no file of workers; what the app prints is no part of the file."""
    pytest.importorskip("flask")
    (shop / "talks.py").write_text("print('hello')\n" + FLASK + "app = create_app()\n")
    shared = shop / "shared"
    shared.mkdir()
    before = set(shop.rglob("*"))
    ran = run("rules", "--job", "shop", "--app", "talks:app", cwd=shop, RED_MULTIPROCESS_DIR=str(shared))
    assert counters(ran) == {"shop_http_errors_total"}
    assert "hello" in ran.err
    assert {path for path in set(shop.rglob("*")) - before if not path.name.startswith(".coverage")} == set()


@pytest.mark.parametrize(
    ("app", "package", "path"), [("flasks:Apps.made", "flask", "/internal"), ("stars:app", "starlette", "/internal")]
)
def test_the_scrape_job_has_the_path_and_the_bound_of_the_app(app: str, package: str, path: str, shop: Path) -> None:
    """Also where the declared routes need more rows than `max_label_sets`."""
    pytest.importorskip(package)
    (job,) = scrape(app, cwd=shop).document()["scrape_configs"]
    assert (job["metrics_path"], job["sample_limit"]) == (path, 1000 * (15 + 21) + 1878 + 2 + 10_000)
    (shop / "many.py").write_text(
        PLAIN + "routes = [f'/{number}/<id>' for number in range(200)]\n"
        "wrapped = RedWSGIMiddleware(app, metrics=RedMetrics(max_label_sets=30, own_series_limit=5), routes=routes)\n"
    )
    ran = scrape("many:wrapped", "--metrics-path", "/m", cwd=shop)
    (job,) = ran.document()["scrape_configs"]
    rows = 200 * 8 + 22
    assert (job["metrics_path"], job["sample_limit"]) == ("/m", rows * (14 + 21) + 1878 + 5)
    assert f"# sample_limit: {rows * (14 + 21) + 1878} series are all that red_middleware can expose, 5" in ran.out
    assert "not known" not in ran.out
    assert "# The routes of the app are not known here." in scrape("many:wrapped.metrics", cwd=shop).out


def test_the_apps_own_metrics_are_those_of_its_registry(shop: Path) -> None:
    """Named as they are exposed; what has no number to draw is none, and neither are those of Python itself."""
    pytest.importorskip("flask")
    program = (
        "from red_middleware.commands.application import read\n"
        "for one in read('flasks:Apps.made', None, False).own: print(*one, sep='|')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=shop, env=environment(), capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == [
        "orders_total|counter|Orders paid for.",
        "stock_items|gauge|What is there.",
        "wait_seconds|histogram|How long a receipt waits.",
        "price_euros|summary|What is paid.",
    ]


def test_a_name_with_dots_is_the_one_that_is_shown(shop: Path) -> None:
    """prometheus_client 0.22 and later take any name, and show it with underscores. PromQL knows no other."""
    (shop / "dots.py").write_text(
        PLAIN + "from prometheus_client import Counter\n"
        "Counter('3.paid-orders', 'What is paid.')\nmetrics = RedMetrics()\n"
    )
    ran = run("dashboard", "--job", "shop", "--app", "dots:metrics", cwd=shop)
    if "nvalid metric name" in ran.err:
        pytest.skip("this prometheus_client takes plain names only")
    assert ran.document()["panels"][1]["title"] == "__paid_orders_total"


SEVERAL = """
one, other = RedMetrics(namespace="one"), RedMetrics(namespace="other")
app = RedWSGIMiddleware(RedWSGIMiddleware(app, metrics=one), metrics=other)
twice = RedMetrics(namespace="twice"), RedMetrics(namespace="twice", registry=CollectorRegistry())
"""


def test_of_several_the_namespace_chooses(shop: Path) -> None:
    """Else they are listed, as they are where none has it."""
    (shop / "several.py").write_text(PLAIN + SEVERAL + "inner = RedWSGIMiddleware(app, metrics=twice[0])\n"
                                     "both = RedWSGIMiddleware(inner, metrics=twice[1])\n")  # fmt: skip
    for name in ("one", "other"):
        ran = run("rules", "--job", "shop", "--app", "several:app", "--namespace", name, cwd=shop)
        assert counters(ran) == {f"{name}_http_errors_total"}
    for arguments, says in (
        (("several:app",), "there are several RedMetrics, of the namespaces 'other', 'one'; --namespace says which"),
        (("several:app", "--namespace", "none"), "no RedMetrics has the namespace 'none'; found: 'other', 'one'"),
        (("several:both", "--namespace", "twice"), "name the one: --app several:metrics"),
    ):
        ran = run("rules", "--job", "shop", "--app", *arguments, cwd=shop)
        assert (ran.code, ran.out, says in ran.err) == (1, "", True), ran.err


def test_metrics_that_no_middleware_shows_are_found_by_being_there(shop: Path) -> None:
    """An app hides its middlewares where nobody can look; what its import makes is what it feeds."""
    hidden = "\nCALLS = {1: RedWSGIMiddleware(app, metrics=RedMetrics(namespace='hidden'))}\n"
    (shop / "hidden.py").write_text(PLAIN + hidden + "def outer(environ, start): return CALLS[1](environ, start)\n")
    assert counters(run("rules", "--job", "shop", "--app", "hidden:outer", cwd=shop)) == {"hidden_http_errors_total"}


@pytest.mark.parametrize(
    ("app", "program", "says"),
    [
        ("shop", "", "shop: write module:app, or module:create_app() where a factory makes the app"),
        (":app", "", "write module:app"),
        ("shop:", "", "write module:app"),
        ("shop:app[0]", "", "write module:app"),
        ("shop:app(", "", "write module:app"),
        ("shop:app(x)", "", "write module:app"),
        ("nowhere:app", "", "nowhere:app: the module nowhere is in neither"),
        ("shop.inner:app", "", "shop.inner:app: the module shop.inner is in neither"),
        ("shop:nothing", "", "shop:nothing: shop has no nothing"),
        ("shop:app.x.y", "", "shop:app.x.y: app has no x"),
        (
            "shop:app",
            "",
            "shop:app: no middleware of red_middleware is seen; if shop:app makes the app, write shop:app()",
        ),
        ("shop:number", "number = 1", "is seen; else name the RedMetrics: --app shop:metrics"),
        (
            "shop:app",
            "import no_such_package",
            "shop:app: ModuleNotFoundError: No module named 'no_such_package', raised",
        ),
        ("shop:app", "1 / 0", "shop:app: ZeroDivisionError: division by zero, raised at {shop}/shop.py:8 (--traceback"),
        ("shop:app", "raise ValueError", "shop:app: ValueError: , raised at {shop}/shop.py:8"),
        ("shop:app", "raise SystemExit(3)", "shop:app: SystemExit: 3, raised at {shop}/shop.py:8"),
        (
            "shop:app",
            "raise __import__('asyncio').CancelledError",
            "shop:app: CancelledError: , raised at {shop}/shop.py:8",
        ),
        ("shop:app", "1 +", "shop:app: SyntaxError: invalid syntax (shop.py, line 8) (--traceback shows all)"),
        ("shop:app(1, 2, 3)", "", "shop:app(1, 2, 3): TypeError: app() takes 2 positional arguments but 3 were given"),
        ("shop:app", "RedMetrics(buckets=())", "ValueError: RedMetrics(buckets=()): must be strictly increasing"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    app: str, program: str, says: str, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1, and no traceback. None of these apps registers anything, so they are imported here."""
    (shop / "shop.py").write_text(f"{PLAIN}{program}\n")
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    code = main(["rules", "--job", "shop", "--app", app])
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    shown = capsys.readouterr()
    assert (code, shown.out) == (1, "")
    assert shown.err.startswith("red-middleware rules: ")
    assert says.format(shop=shop) in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_traceback_is_shown_to_whoever_asks(shop: Path) -> None:
    """With the line of the app that raised it, before the one line."""
    (shop / "shop.py").write_text("1 / 0\n")
    ran = run("rules", "--job", "shop", "--app", "shop:app", "--traceback", cwd=shop)
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "ZeroDivisionError: division by zero, raised at" in ran.err.splitlines()[-1]
    assert "--traceback" not in ran.err.splitlines()[-1]


def test_an_app_that_is_switched_off_exposes_nothing(shop: Path) -> None:
    """Nobody could say which options it has: the middlewares have stand-ins."""
    ran = run("rules", "--job", "shop", "--app", "plain:app", cwd=shop, RED_ENABLED="false")
    assert (ran.code, "RED_ENABLED is false here" in ran.err) == (1, True)


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--sizes",), 2)])
def test_threads_of_the_app_do_not_keep_the_command_running(more: tuple[str, ...], code: int, shop: Path) -> None:
    """A thread that waits for ever would keep the process: it ends, with its exit code and its output."""
    (shop / "threads.py").write_text(
        PLAIN
        + "import threading\napp = RedWSGIMiddleware(app)\nthreading.Thread(target=threading.Event().wait).start()\n"
    )
    ran = run("rules", "--job", "shop", "--app", "threads:app", *more, cwd=shop)
    assert (ran.code, "http_errors_total" in ran.out) == (code, not code), ran.err


def test_an_app_that_goes_elsewhere_takes_no_file_along(shop: Path) -> None:
    """The paths of the command are meant from where it was called."""
    (shop / "away").mkdir()
    (shop / "goes.py").write_text(PLAIN + "import os\nos.chdir('away')\napp = RedWSGIMiddleware(app)\n")
    ran = run("rules", "--job", "shop", "--app", "goes:app", "--output", "rules.yml", cwd=shop)
    assert (ran.code, (shop / "rules.yml").exists(), (shop / "away/rules.yml").exists()) == (0, True, False), ran.err


def test_processes_of_the_app_do_not_keep_the_command_running(shop: Path) -> None:
    """Python would wait for them, and they may wait for ever. They may not heed SIGTERM, either."""
    (shop / "forks.py").write_text(
        PLAIN + "import multiprocessing, signal, threading\napp = RedWSGIMiddleware(app)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "multiprocessing.get_context('fork').Process(target=threading.Event().wait).start()\n"
    )
    ran = run("rules", "--job", "shop", "--app", "forks:app", "--output", "rules.yml", cwd=shop)
    assert (ran.code, (shop / "rules.yml").exists()) == (0, True), ran.err


def test_a_factory_that_refuses_options_is_said(shop: Path) -> None:
    """Starlette would construct its middlewares late, where a mistake is a line of the log only."""
    pytest.importorskip("starlette")
    (shop / "wrong.py").write_text(STARLETTE.replace('metrics_path="/internal"', 'metrics_path="internal"'))
    ran = run("rules", "--job", "shop", "--app", "wrong:app", cwd=shop)
    assert (ran.code, "RedASGIMiddleware(metrics_path='internal'): must start with /" in ran.err) == (1, True), ran.err


def test_rules_of_an_app_are_those_of_its_options(shop: Path) -> None:
    """Flags and `--app` lead to the same file, but for the comment."""
    pytest.importorskip("flask")
    by_app: Any = run("alerts", "--job", "shop", "--app", "flasks:create_app()", cwd=shop).document()
    by_flags: Any = run("alerts", "--job", "shop", "--namespace", "shop", "--slo-seconds", "0.3").document()
    assert by_app == by_flags
