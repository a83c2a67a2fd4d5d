"""Real applications, each asked about twenty times. What they declare counts under its template, never as `_unmatched`.

Each is wrapped as its users would do it, and its rows are all written out.
"""

import importlib
import json
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import pytest
from flask.views import MethodView

from red_middleware import RedASGIMiddleware, RedMetrics, RedWSGIMiddleware

from ..e2e import ROOT
from ..routes.asking import exceptions, faults, fresh, requests
from . import require
from .asking import Client, asgi_client, wsgi_client

# Applications use what their libraries have deprecated, and leave files open: their warnings say nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def check(client: Client, metrics: RedMetrics) -> None:
    """Each request was counted in the row that was expected, nothing else was, and a scrape shows it."""
    assert requests(metrics) == client.expected
    assert faults(metrics) == 0
    assert "http_requests_total{" in client.send("GET", "/metrics").text


def test_pypiserver_whose_bottle_is_a_copy_within_it(tmp_path: Path) -> None:
    """Its Bottle is the module `pypiserver.bottle_wrapper.bottle`, and is read as any other Bottle."""
    require("pypiserver", package="pypiserver")
    (tmp_path / "shop-1.0.tar.gz").write_bytes(b"shop")
    metrics = fresh()
    app = importlib.import_module("pypiserver").app(roots=[tmp_path], disable_fallback=True)
    client = wsgi_client(RedWSGIMiddleware(app, metrics=metrics))
    client.ask_each(
        {
            "GET /": "200 /",
            "HEAD /": "200 /",
            "GET /health": "200 /health",
            "GET /favicon.ico": "404 /favicon.ico",
            "GET /simple": "301 /simple",
            "GET /simple/": "200 /simple/",
            "GET /simple/shop": "301 /simple/:project",
            "GET /simple/shop/": "200 /simple/:project/",
            "GET /simple/Shop/": "301 /simple/:project/",
            "GET /simple/nothing/": "404 /simple/:project/",
            "GET /packages": "301 /packages",
            "GET /packages/": "200 /packages/",
            "GET /packages/shop-1.0.tar.gz": "200 /packages/:filename#.*#",
            "HEAD /packages/shop-1.0.tar.gz": "200 /packages/:filename#.*#",
            "GET /packages/nothing.tar.gz": "404 /packages/:filename#.*#",
            "GET /shop/json": "200 /:project/json",
            "GET /shop": "303 /:project",
            "GET /shop/": "303 /:project/",
            "POST /": "401 /",
            "POST /RPC2": "400 /RPC2",
            "GET /a/b/c": "404 _unmatched",
            "DELETE /simple/": "405 _unmatched",
        }
    )
    check(client, metrics)


def test_devpi(tmp_path: Path) -> None:
    """devpi-server, an application of Pyramid: patterns with regular expressions, tweens, a middleware around it."""
    require("devpi_server", package="devpi-server")
    folder = ["devpi", "--serverdir", str(tmp_path)]
    importlib.import_module("devpi_server.init").init(argv=[*folder, "--no-root-pypi"])
    config: Any = importlib.import_module("devpi_server.config")
    main: Any = importlib.import_module("devpi_server.main")
    options = config.parseoptions(config.get_pluginmanager(), [*folder, "--offline-mode"])
    options.init_nodeinfo()
    metrics = fresh()
    client = wsgi_client(RedWSGIMiddleware(main.XOM(options).create_app(), metrics=metrics))
    user, index = "/{user:[^+/]+}", "/{user:[^+/]+}/{index:[^+/]+}"
    login = client.ask("POST /+login", "200 /+login", json={"user": "root", "password": ""}).json()["result"]
    token = b64encode(f"root:{login['password']}".encode()).decode()
    client.ask("PUT /root/dev", f"200 {index}", json={}, headers={"X-Devpi-Auth": token})
    client.ask("GET /root/dev/shop", f"404 {index}/{{project:[^+/]+/?}}", headers={"Accept": "application/json"})
    client.ask_each(
        {
            "GET /": "200 /",
            "GET /+api": "200 /+api",
            "HEAD /+api": "200 /+api",
            "GET /+status": "200 /+status",
            "GET /+authcheck": "200 /+authcheck",
            "GET /root": f"200 {user}",
            "GET /root/": f"200 {user}/",
            "GET /nobody": f"404 {user}",
            "DELETE /root": f"403 {user}",
            "GET /root/+api": f"200 {user}/+api",
            "GET /root/dev": f"200 {index}",
            "GET /root/dev/": f"200 {index}/",
            "GET /root/dev/+api": f"200 {index}/+api",
            "GET /root/dev/+simple": f"302 {index}/+simple",
            "GET /root/dev/+simple/": f"200 {index}/+simple/",
            "GET /root/dev/+simple/shop": f"302 {index}/+simple/{{project:[^+/]+}}",
            "GET /root/dev/+simple/shop/": f"404 {index}/+simple/{{project:[^+/]+}}/",
            "GET /root/dev/shop/1.0": f"404 {index}/{{project:[^+/]+}}/{{version:[^/]+/?}}",
            "GET /root/dev/+f/a/b/shop.tar.gz": f"404 {index}/+f/{{relpath:.*}}",
            "GET /a/b/c/d/e": "404 _unmatched",
            "GET /+nothing": "404 _unmatched",
        }
    )
    check(client, metrics)


def test_dash() -> None:
    """A board of Dash below a prefix, whose pages are routes of Flask. A callback that fails is named."""
    require("dash", package="dash")
    dash: Any = importlib.import_module("dash")
    app = dash.Dash("shop", url_base_pathname="/board/")
    app.layout = dash.html.Div([dash.dcc.Input(id="name", value="x"), dash.html.Div(id="greeting")])
    app.callback(dash.Output("greeting", "children"), dash.Input("name", "value"))(lambda name: f"hello {name}")
    metrics = fresh()
    app.server.wsgi_app = RedWSGIMiddleware(app.server.wsgi_app, metrics=metrics)
    client = wsgi_client(app.server)
    page = client.ask("GET /board/", "200 /board/").text
    scripts = [part.partition('"')[0] for part in page.split('src="')[1:]]
    suites = "/board/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"
    for script in scripts[:3]:
        client.ask(f"GET {script}", f"200 {suites}")
    client.ask_each(
        {
            "HEAD /board/": "200 /board/",
            "OPTIONS /board/": "200 /board/",
            "GET /board/_dash-layout": "200 /board/_dash-layout",
            "GET /board/_dash-dependencies": "200 /board/_dash-dependencies",
            "GET /board/_reload-hash": "200 /board/_reload-hash",
            "GET /board/_favicon.ico": "200 /board/_favicon.ico",
            "GET /board/some/page": "200 /board/<path:path>",
            "GET /board/other": "200 /board/<path:path>",
            "GET /board/assets/nothing.css": "404 /board/assets/<path:filename>",
            "GET /static/nothing.css": "404 /static/<path:filename>",
            "GET /board": "308 _unmatched",
            "GET /": "404 _unmatched",
            "POST /board/": "405 _unmatched",
            "GET /board/_dash-update-component": "200 /board/<path:path>",
        }
    )
    update = "/board/_dash-update-component"
    for value in "ab":
        inputs = [{"id": "name", "property": "value", "value": value}]
        outputs = {"id": "greeting", "property": "children"}
        body = {"output": "greeting.children", "outputs": outputs, "inputs": inputs, "changedPropIds": ["name.value"]}
        client.ask(f"POST {update}", f"200 {update}", json=body)
    client.ask(f"POST {update}", f"500 {update}", json={"output": "nothing.children", "inputs": []})
    check(client, metrics)
    assert exceptions(metrics) == {(update, "KeyError"): 1}


def test_flask_smorest() -> None:
    """Its blueprints of views by methods are Flask's; what `abort` answers with a 4xx is no exception."""
    require("flask_smorest", package="flask-smorest")
    smorest: Any = importlib.import_module("flask_smorest")
    app = flask.Flask("shop")
    app.config.update(API_TITLE="shop", API_VERSION="1", OPENAPI_VERSION="3.0.2")
    items = smorest.Blueprint("items", "items", url_prefix="/items")

    class Item(MethodView):
        def get(self, item: int) -> Any:
            return {"item": item}

        def delete(self, item: int) -> Any:
            smorest.abort(404)

    items.route("/<int:item>")(Item)
    smorest.Api(app).register_blueprint(items)
    metrics = fresh()
    client = wsgi_client(RedWSGIMiddleware(app, metrics=metrics))
    client.ask_each(
        {
            "GET /items/1": "200 /items/<int:item>",
            "DELETE /items/1": "404 /items/<int:item>",
            "OPTIONS /items/1": "200 /items/<int:item>",
            "POST /items/1": "405 _unmatched",
            "GET /items/x": "404 _unmatched",
        }
    )
    check(client, metrics)
    assert exceptions(metrics) == {}


def test_strawberry_in_a_router_and_in_a_mount() -> None:
    """A router of FastAPI is one route; an application that is mounted is opaque."""
    require("strawberry", package="strawberry-graphql")
    strawberry: Any = importlib.import_module("strawberry")

    def hello(self: Any) -> str:
        return "hello"

    query = strawberry.type(type("Query", (), {"hello": strawberry.field(hello)}))
    schema = strawberry.Schema(query)
    app = importlib.import_module("fastapi").FastAPI()
    app.include_router(importlib.import_module("strawberry.fastapi").GraphQLRouter(schema), prefix="/graphql")
    app.mount("/mounted", importlib.import_module("strawberry.asgi").GraphQL(schema))
    metrics = fresh()
    with asgi_client(RedASGIMiddleware(app, metrics=metrics)) as client:
        asked = client.ask("POST /graphql", "200 /graphql", json={"query": "{hello}"})
        assert asked.json() == {"data": {"hello": "hello"}}
        client.ask("POST /mounted/", "200 /mounted/*", json={"query": "{hello}"})
        client.ask_each({"GET /graphql": "200 /graphql", "PUT /graphql": "405 _unmatched"})
        check(client, metrics)


def test_nicegui_that_is_mounted() -> None:
    """Its pages are routes of FastAPI, and its files are opaque.

    It asks every object of the process for its class. So this stands before Django, whose lazy objects look into a
    database then.
    """
    require("nicegui", package="nicegui")
    ui: Any = importlib.import_module("nicegui").ui
    app = importlib.import_module("fastapi").FastAPI()

    def page(name: str) -> None:
        ui.label(name)

    ui.page("/page/{name}")(page)
    ui.run_with(app, mount_path="/ui")
    metrics = fresh()
    app.add_middleware(RedASGIMiddleware, metrics=metrics)
    static = f"/ui/_nicegui/{version('nicegui')}/static"
    with asgi_client(app) as client:
        client.ask_each(
            {
                "GET /ui/page/shop": "200 /ui/page/{name}",
                "GET /ui/nowhere": "404 _unmatched",
                f"GET {static}/nicegui.css": f"200 {static}/*",
            }
        )
        check(client, metrics)


def test_gradio_that_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface of Gradio in an application of FastAPI: a router that is included in a mounted application."""
    require("gradio", package="gradio")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gradio: Any = importlib.import_module("gradio")
    shop = importlib.import_module("fastapi").FastAPI()

    async def item(item: int) -> int:
        return item

    shop.get("/items/{item}")(item)
    page = gradio.Interface(lambda name: f"hello {name}", "text", "text", api_name="greet")
    shop = gradio.mount_gradio_app(shop, page, path="/ui", ssr_mode=False)
    metrics = fresh()
    shop.add_middleware(RedASGIMiddleware, metrics=metrics)
    api = "/ui/gradio_api"
    with asgi_client(shop) as client:
        client.ask_each(
            {
                "GET /items/1": "200 /items/{item}",
                "GET /items/x": "422 /items/{item}",
                "GET /ui": "307 _unmatched",
                "GET /ui/": "200 /ui/",
                "HEAD /ui/": "200 /ui/",
                "GET /ui/config": "200 /ui/config",
                "GET /ui/theme.css": "200 /ui/theme.css",
                "GET /ui/robots.txt": "200 /ui/robots.txt",
                "GET /ui/manifest.json": "200 /ui/manifest.json",
                "GET /ui/static/img/logo.svg": "200 /ui/static/{path:path}",
                "GET /ui/assets/nothing.js": "404 /ui/assets/{path:path}",
                f"GET {api}/info": f"200 {api}/info",
                f"GET {api}/startup-events": f"200 {api}/startup-events",
                f"GET {api}/app_id": f"200 {api}/app_id",
                f"GET {api}/queue/status": f"200 {api}/queue/status",
                f"GET {api}/file=/etc/passwd": f"403 {api}/file={{path_or_url:path}}",
                "GET /ui/no/such": "404 _unmatched",
                "PUT /ui/config": "405 _unmatched",
            }
        )
        said = {"data": ["shop"]}
        client.ask(f"POST {api}/run/greet", f"200 {api}/run/{{api_name}}", json=said)
        event = client.ask(f"POST {api}/call/greet", f"200 {api}/call/{{api_name}}", json=said).json()["event_id"]
        called = client.ask(f"GET {api}/call/greet/{event}", f"200 {api}/call/{{api_name}}/{{event_id}}")
        assert "hello shop" in called.text
        joined = {**said, "fn_index": 0, "session_hash": "one"}
        client.ask(f"POST {api}/queue/join", f"200 {api}/queue/join", json=joined)
        client.ask(f"GET {api}/queue/data?session_hash=one", f"200 {api}/queue/data")
        [path] = client.ask(f"POST {api}/upload", f"200 {api}/upload", files={"files": ("a.txt", b"text")}).json()
        client.ask(f"GET {api}/file={path}", f"200 {api}/file={{path_or_url:path}}")
        check(client, metrics)


def test_a_server_of_the_model_context_protocol() -> None:
    """FastMCP by its streamable HTTP: all requests of a session go to one path. The answers are event streams."""
    require("fastmcp", package="fastmcp")
    server = importlib.import_module("fastmcp").FastMCP("shop")
    answer = importlib.import_module("starlette.responses").PlainTextResponse

    def add(a: int, b: int) -> int:
        return a + b

    async def health(request: Any) -> Any:
        return answer("well")

    server.tool(add)
    server.custom_route("/health", methods=["GET"])(health)
    metrics = fresh()
    with asgi_client(RedASGIMiddleware(server.http_app(), metrics=metrics)) as client:
        headers = {"Accept": "application/json, text/event-stream"}

        def say(answer: str, method: str, number: int | None = None, **parameters: Any) -> Any:
            message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": parameters}
            if number is not None:
                message["id"] = number
            return client.ask("POST /mcp", answer, json=message, headers=headers)

        who = {"clientInfo": {"name": "test", "version": "1"}, "capabilities": {}, "protocolVersion": "2025-06-18"}
        headers["Mcp-Session-Id"] = say("200 /mcp", "initialize", 1, **who).headers["Mcp-Session-Id"]
        say("202 /mcp", "notifications/initialized")
        assert '"add"' in say("200 /mcp", "tools/list", 2).text
        for number in range(3, 8):
            called = say("200 /mcp", "tools/call", number, name="add", arguments={"a": number, "b": 40})
            assert f'"result":{number + 40}' in called.text
        say("200 /mcp", "tools/call", 8, name="nothing", arguments={})
        say("200 /mcp", "resources/list", 9)
        say("200 /mcp", "ping", 10)
        client.ask("POST /mcp", "400 /mcp", content=b"{", headers={**headers, "Content-Type": "application/json"})
        client.ask("GET /mcp", "400 /mcp")  # without a session
        client.ask("PUT /mcp", "405 /mcp")  # by the server: the route has no methods
        client.ask("POST /mcp/", "307 _unmatched")
        client.ask("GET /health", "200 /health")
        client.ask("HEAD /health", "200 /health")
        client.ask("POST /health", "405 _unmatched")
        client.ask("GET /nothing", "404 _unmatched")
        client.ask("DELETE /mcp", "200 /mcp", headers=headers)
        say("404 /mcp", "tools/list", 11)  # the session is over
        check(client, metrics)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module of MLflow's server. It reads the environment when it is imported, and keeps its database open."""
    require("mlflow", "sqlalchemy", "flask", "fastapi", package="mlflow")
    folder = str(tmp_path_factory.mktemp("mlflow"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": folder,
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": folder,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }.items():
            patch.setenv(name, value)
        yield importlib.import_module("mlflow.server")


def follow_experiments(client: Client, name: str) -> None:
    """Ask the routes that MLflow's server has in Flask."""
    api = "/api/2.0/mlflow"
    made = client.ask(f"POST {api}/experiments/create", f"200 {api}/experiments/create", json={"name": name})
    number = made.json()["experiment_id"]
    client.ask(f"POST {api}/experiments/search", f"200 {api}/experiments/search", json={"max_results": 5})
    run = client.ask(f"POST {api}/runs/create", f"200 {api}/runs/create", json={"experiment_id": number})
    run_id = run.json()["run"]["info"]["run_id"]
    loss = {"run_id": run_id, "key": "loss", "value": 0.5, "timestamp": 1}
    client.ask(f"POST {api}/runs/log-metric", f"200 {api}/runs/log-metric", json=loss)
    client.ask(f"POST {api}/registered-models/create", f"200 {api}/registered-models/create", json={"name": name})
    client.ask_each(
        {
            "GET /": "200 /",
            "HEAD /": "200 /",
            "GET /version": "200 /version",
            "GET /static-files/nothing.js": "404 /static-files/<path:path>",
            f"GET {api}/experiments/search?max_results=5": f"200 {api}/experiments/search",
            f"GET {api}/experiments/get?experiment_id={number}": f"200 {api}/experiments/get",
            f"GET {api}/experiments/get?experiment_id=999": f"404 {api}/experiments/get",
            f"GET /ajax-api/2.0/mlflow/experiments/get?experiment_id={number}": (
                "200 /ajax-api/2.0/mlflow/experiments/get"
            ),
            f"GET {api}/metrics/get-history?run_id={run_id}&metric_key=loss": f"200 {api}/metrics/get-history",
            f"GET {api}/artifacts/list?run_id={run_id}": f"200 {api}/artifacts/list",
            f"GET /get-artifact?run_id={run_id}&path=nothing.txt": "404 /get-artifact",
            "GET /api/2.0/mlflow-artifacts/artifacts?path=a": "200 /api/2.0/mlflow-artifacts/artifacts",
            "GET /api/3.0/mlflow/traces/abc": "404 /api/3.0/mlflow/traces/<trace_id>",
            "GET /api/2.0/mlflow/nothing": "404 _unmatched",
            "GET /no/such": "404 _unmatched",
            f"DELETE {api}/experiments/search": "405 _unmatched",
        }
    )


ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts"


def test_mlflow_on_gunicorn(mlflow: Any) -> None:
    """Its application of Flask alone, as `mlflow server --gunicorn-opts` runs it. Here all is read today."""
    metrics = fresh()
    client = wsgi_client(RedWSGIMiddleware(mlflow.app, metrics=metrics))
    client.ask(f"PUT {ARTIFACT}/a/b.txt", f"200 {ARTIFACT}/<path:artifact_path>", content=b"text")
    client.ask(f"GET {ARTIFACT}/a/b.txt", f"200 {ARTIFACT}/<path:artifact_path>")
    client.ask("GET /health", "200 /health")
    follow_experiments(client, "flask")
    check(client, metrics)


def test_mlflow_on_uvicorn(mlflow: Any) -> None:
    """Its application of FastAPI, which mounts the one of Flask at `/` behind a bridge: all routes are told apart."""
    metrics = fresh()
    app = importlib.import_module("mlflow.server.fastapi_app").create_fastapi_app()
    with asgi_client(RedASGIMiddleware(app, metrics=metrics)) as client:
        client.ask(f"PUT {ARTIFACT}/a/b.txt", f"200 {ARTIFACT}/{{artifact_path:path}}", content=b"text")
        client.ask(f"GET {ARTIFACT}/a/b.txt", f"200 {ARTIFACT}/{{artifact_path:path}}")
        client.ask("GET /health", "200 /health")
        follow_experiments(client, "fastapi")
        check(client, metrics)


SHOP_ROUTES = [
    "/",
    "/.json",
    "/favicon.ico",
    "/-/<page>",
    "/-/<page>.json",
    "/-/static/<path:file>",
    "/<database>",
    "/<database>.json",
    "/<database>.db",
    "/<database>/<table>",
    "/<database>/<table>.json",
    "/<database>/<table>.csv",
    "/<database>/<table>/<key>",
    "/<database>/<table>/<key>.json",
]
"""What a user of Datasette cares for. Its own router cannot be read: it matches a list of regular expressions."""


def test_datasette_by_its_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application with a router of its own is told by `routes=`, in a plugin that wraps it as its users do."""
    require("datasette", package="datasette")
    datasette: Any = importlib.import_module("datasette.app").Datasette
    # Where rich is installed, Datasette 0.65 fails when it prints a 404 of its router with it.
    monkeypatch.setattr(importlib.import_module("datasette.handle_exception"), "rich", None)
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        database.execute("INSERT INTO items VALUES (1, 'pencil')")
        database.commit()
    metrics = fresh()

    def asgi_wrapper() -> Any:  # in a file of the folder of plugins
        return lambda app: RedASGIMiddleware(app, metrics=metrics, routes=SHOP_ROUTES)

    plugin: Any = ModuleType("red")
    plugin.asgi_wrapper = importlib.import_module("datasette").hookimpl(asgi_wrapper)
    plugins: Any = importlib.import_module("datasette.plugins").pm
    plugins.register(plugin)
    app = datasette([str(path)]).app()
    plugins.unregister(plugin)
    with asgi_client(app) as client:
        client.ask_each(
            {
                "GET /": "200 /",
                "HEAD /": "200 /",
                "GET /.json": "200 /.json",
                "GET /favicon.ico": "200 /favicon.ico",
                "GET /shop": "200 /<database>",
                "GET /shop?sql=select+1": "200 /<database>",
                "GET /shop.json": "200 /<database>.json",
                "GET /shop.db": "403 /<database>.db",
                "GET /shop/items": "200 /<database>/<table>",
                "GET /shop/items?name=pencil": "200 /<database>/<table>",
                "GET /shop/items.json": "200 /<database>/<table>.json",
                "GET /shop/items.csv": "200 /<database>/<table>.csv",
                "GET /shop/items/1": "200 /<database>/<table>/<key>",
                "GET /shop/items/1.json": "200 /<database>/<table>/<key>.json",
                "GET /shop/items/2": "404 /<database>/<table>/<key>",
                "GET /shop/nothing": "404 /<database>/<table>",
                "GET /nothing": "404 /<database>",
                "GET /-/metadata": "200 /-/<page>",
                "GET /-/versions.json": "200 /-/<page>.json",
                "GET /-/config": "301 /-/<page>",
                "GET /-/static/app.css": "200 /-/static/<path:file>",
                "GET /a/b/c/d/e": "404 _unmatched",
            }
        )
        check(client, metrics)


def test_django_with_its_admin_rest_framework_and_ninja() -> None:
    """A user logs in to the admin and works there; the pages of both frameworks of APIs have routes as well."""
    require("django", "rest_framework", "ninja", package="django djangorestframework django-ninja")
    importlib.import_module("tests.routes.djangos")
    metrics = fresh()
    app = importlib.import_module("django.core.wsgi").get_wsgi_application()
    client = wsgi_client(RedWSGIMiddleware(app, metrics=metrics))
    with django_database():
        users = importlib.import_module("django.contrib.auth").get_user_model().objects
        number = users.create_superuser("boss", password="secret").pk
        user = "/admin/auth/user"
        client.ask("GET /admin/", "302 /admin/")
        token = client.ask("GET /admin/login/", "200 /admin/login/").cookies["csrftoken"]
        form = {"username": "boss", "password": "secret", "csrfmiddlewaretoken": token, "next": "/admin/"}
        token = client.ask("POST /admin/login/", "302 /admin/login/", data=form).cookies["csrftoken"]
        client.ask_each(
            {
                "GET /admin/?a=1": "200 /admin/",
                "GET /admin/auth/": "200 /admin/<app_label>/",
                f"GET {user}/": f"200 {user}/",
                f"GET {user}/?q=boss": f"200 {user}/",
                f"GET {user}/add/": f"200 {user}/add/",
                f"GET {user}/{number}/": f"302 {user}/<path:object_id>/",
                f"GET {user}/{number}/change/": f"200 {user}/<path:object_id>/change/",
                f"GET {user}/{number}/history/": f"200 {user}/<path:object_id>/history/",
                f"GET {user}/{number}/delete/": f"200 {user}/<path:object_id>/delete/",
                f"GET {user}/{number}/password/": f"200 {user}/<id>/password/",
                f"GET {user}/999/change/": f"302 {user}/<path:object_id>/change/",
                "GET /admin/auth/group/": "200 /admin/auth/group/",
                "GET /admin/jsi18n/": "200 /admin/jsi18n/",
                "GET /admin/password_change/": "200 /admin/password_change/",
                "GET /admin/nothing/": "404 /admin/<url>",  # the admin declares it for all that it does not know
                f"GET {user}": "301 /admin/<url>",
                "GET /admin": "301 _unmatched",
                "GET /api/": "200 /api/",
                "GET /api/things/": "200 /api/things/",
                "GET /api/things.json": "200 /api/things.<format>/",
                "GET /api/things/1/": "200 /api/things/<pk>/",
                "OPTIONS /api/things/1/": "200 /api/things/<pk>/",
                "GET /api/things/1.json": "200 /api/things/<pk>.<format>/",
                "GET /ninja/docs": "200 /ninja/docs",
                "GET /ninja/openapi.json": "200 /ninja/openapi.json",
                "GET /ninja/add/1": "200 /ninja/add/<int:a>",
                "POST /ninja/add/1": "200 /ninja/add/<int:a>",
                "GET /ninja/add/x": "404 _unmatched",
                "DELETE /ninja/add/1": "405 _unmatched",
            }
        )
        headers = {"X-CSRFToken": token}
        client.ask("POST /api/things/", "405 _unmatched", headers=headers)
        client.ask("DELETE /api/things/1/", "500 /api/things/<pk>/", headers=headers)
        client.ask("POST /admin/logout/", "200 /admin/logout/", data={"csrfmiddlewaretoken": token})
    check(client, metrics)
    assert exceptions(metrics) == {("/api/things/<pk>/", "ViewError"): 1}


@contextmanager
def django_database() -> Iterator[None]:
    """Make the tables of the project in memory, and close the database at the end, which Django does not."""
    importlib.import_module("django.core.management").call_command("migrate", verbosity=0)
    wrapper = importlib.import_module("django.db.backends.base.base").BaseDatabaseWrapper
    try:
        yield
    finally:
        wrapper.close(importlib.import_module("django.db").connection)


def test_wagtail(tmp_path: Path) -> None:
    """A site as `wagtail start` makes it: all of its pages have the one route that Wagtail declares for them."""
    require("wagtail", package="wagtail")
    start = "from wagtail.bin.wagtail import main; main()"
    subprocess.run([sys.executable, "-c", start, "start", "shop", str(tmp_path)], check=True)
    command = [sys.executable, "-m", "tests.applications.wagtails", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=300, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["counted"] == found["expected"]
    assert found["faults"] == 0
