"""Real applications, each asked about twenty times. What they declare counts under its template, never as `_unmatched`.

Each is wrapped as its users would do it, and its rows are all written out.
"""

import importlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from red_middleware import RedWSGIMiddleware

from ..routes.asking import exceptions, faults, fresh, requests
from . import require
from .asking import wsgi_client

# Applications use what their libraries have deprecated, and leave files open: their warnings say nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_pypiserver_whose_bottle_is_a_copy_within_it(tmp_path: Path) -> None:
    """Its Bottle is the module `pypiserver.bottle_wrapper.bottle`. A copy is read as well."""
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
    assert requests(metrics) == client.expected
    assert faults(metrics) == 0


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
    assert requests(metrics) == client.expected
    assert faults(metrics) == 0


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
    assert requests(metrics) == client.expected
    assert faults(metrics) == 0
    assert exceptions(metrics) == {(update, "KeyError"): 1}
