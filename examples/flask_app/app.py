"""A small shop on Flask. With one line, /metrics shows the RED of each route, and the shop's own metric.

From the repository's root:

    python -m pip install ".[flask]" gunicorn
    gunicorn --workers 4 --threads 8 --bind 127.0.0.1:8000 examples.flask_app.app:app
    curl http://127.0.0.1:8000/hello http://127.0.0.1:8000/items/1 http://127.0.0.1:8000/metrics
    prometheus --config.file=examples/flask_app/prometheus.yml

Any worker can answer /metrics for all four, and that holds for the shop's own metric as well, a plain
prometheus_client counter.

The shop makes its own `RedMetrics` to say what it aims at: 99.9 % of all requests succeed, and 99 % take at most 0.3 s.
`red-middleware alerts` makes alerts of that; `python -m examples.demo.stack` runs them.
"""

import logging
import random
import time
from collections.abc import Iterator

from flask import Flask, Response, abort, jsonify, request
from prometheus_client import Counter

from red_middleware import RedMetrics, RedWSGIMiddleware

ITEMS = {1: "teapot", 2: "kettle", 3: "cup"}
ORDERS = Counter("shop_orders_total", "Orders paid for.", ["product"])

logger = logging.getLogger("shop")

app = Flask(__name__)
metrics = RedMetrics(slo_availability=0.999, slo_seconds=[0.3])
app.wsgi_app = RedWSGIMiddleware(  # type: ignore[method-assign]  # Flask's own way
    app.wsgi_app, metrics=metrics, exclude=["/healthz"]
)


class PaymentProviderDownError(Exception):
    """The company that charges cards does not answer."""


@app.get("/hello")
def hello() -> str:
    return "Welcome to the shop.\n"


@app.get("/items/<int:item_id>")
def item(item_id: int) -> Response:
    if item_id not in ITEMS:
        abort(404)
    return jsonify(id=item_id, product=ITEMS[item_id])


@app.post("/checkout")
def checkout() -> Response:
    """Take an order such as `{"item_id": 1, "card": "4242"}`; for the card 0000 the payment provider fails."""
    order = request.get_json()
    try:
        product, card = ITEMS[order["item_id"]], order["card"]
    except (LookupError, TypeError):
        abort(400)
    charge(card)
    ORDERS.labels(product).inc()
    response = jsonify(ordered=product)
    response.call_on_close(lambda: send_receipt(product))  # after the last byte: not part of the duration
    return response


@app.get("/report")
def report() -> str:
    time.sleep(random.uniform(0.02, 0.08))  # a slow query
    return "Teapots are in fashion.\n"


@app.get("/export.csv")
def export() -> Response:
    return Response(rows(), mimetype="text/csv")


@app.get("/healthz")
def healthz() -> str:
    return "ok\n"


def rows() -> Iterator[str]:
    yield "day,product,sold\n"
    for day in range(1, 31):
        time.sleep(0.005)  # the time that a database takes for a row
        yield f"{day},{ITEMS[day % len(ITEMS) + 1]},{day * 7 % 10}\n"


def charge(card: str) -> None:
    if card == "0000":
        raise PaymentProviderDownError("no answer from the payment provider")


def send_receipt(product: str) -> None:
    time.sleep(0.05)  # a slow mail server
    logger.info("receipt sent: %s", product)
