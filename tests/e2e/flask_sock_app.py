"""A Flask application with a WebSocket, wrapped in one line."""

import flask
from flask_sock import Server, Sock  # type: ignore[import-untyped,unused-ignore]  # it has no annotations

from red_middleware import RedWSGIMiddleware

app = flask.Flask(__name__)
sock = Sock(app)


@app.get("/health")
def health() -> str:
    return "well"


@app.get("/fail")
def fail() -> tuple[str, int]:
    return "out of order", 500


@sock.route("/echo")  # type: ignore[untyped-decorator,unused-ignore]  # it has no annotations
def echo(ws: Server) -> None:
    ws.send(ws.receive())


app.wsgi_app = RedWSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]
