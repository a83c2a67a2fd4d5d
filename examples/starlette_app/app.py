"""A small shop on Starlette. With one line, /metrics shows the RED of each route, and the shop's own metric.

From the repository's root:

    python -m pip install ".[starlette]" uvicorn
    uvicorn --workers 4 --port 8001 examples.starlette_app.app:app
    curl http://127.0.0.1:8001/hello http://127.0.0.1:8001/items/1 http://127.0.0.1:8001/metrics
    prometheus --config.file=examples/starlette_app/prometheus.yml

Any worker can answer /metrics for all four, and that holds for the shop's own metric as well, a plain
prometheus_client counter.

The shop makes its own `RedMetrics` to say what it aims at: 99.9 % of all requests succeed, and 99 % take at most 0.3 s.
This makes 0.3 the bound of a bucket, so the share of requests within 0.3 s is exact. `red-middleware alerts` makes
alerts of that; `python -m examples.demo.stack` runs them.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator

from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from red_middleware import RedASGIMiddleware, RedMetrics

ITEMS = {1: "teapot", 2: "kettle", 3: "cup"}
ORDERS = Counter("shop_orders_total", "Orders paid for.", ["product"])

logger = logging.getLogger("shop")


class PaymentProviderDownError(Exception):
    """The company that charges cards does not answer."""


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Welcome to the shop.\n")


async def item(request: Request) -> JSONResponse:
    item_id = request.path_params["item_id"]
    if item_id not in ITEMS:
        raise HTTPException(404)
    return JSONResponse({"id": item_id, "product": ITEMS[item_id]})


async def checkout(request: Request) -> JSONResponse:
    """Take an order such as `{"item_id": 1, "card": "4242"}`; for the card 0000 the payment provider fails."""
    try:
        order = await request.json()
        product, card = ITEMS[order["item_id"]], order["card"]
    except (ValueError, LookupError, TypeError):
        raise HTTPException(400) from None
    charge(card)
    ORDERS.labels(product).inc()
    receipt = BackgroundTask(send_receipt, product)  # after the last byte: not part of the duration
    return JSONResponse({"ordered": product}, background=receipt)


async def report(request: Request) -> PlainTextResponse:
    await asyncio.sleep(random.uniform(0.02, 0.08))  # a slow query
    return PlainTextResponse("Teapots are in fashion.\n")


async def feed(request: Request) -> StreamingResponse:
    return StreamingResponse(prices(), media_type="application/x-ndjson")


async def healthz(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


async def prices() -> AsyncIterator[str]:
    for tick in range(30):
        await asyncio.sleep(0.005)  # the time between two prices on the market
        yield json.dumps({"product": ITEMS[tick % len(ITEMS) + 1], "price": 10 + tick * 7 % 10}) + "\n"


def charge(card: str) -> None:
    if card == "0000":
        raise PaymentProviderDownError("no answer from the payment provider")


async def send_receipt(product: str) -> None:
    await asyncio.sleep(0.05)  # a slow mail server
    logger.info("receipt sent: %s", product)


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/items/{item_id:int}", item),
        Route("/checkout", checkout, methods=["POST"]),
        Route("/report", report),
        Route("/feed", feed),
        Route("/healthz", healthz),
    ]
)
metrics = RedMetrics(slo_availability=0.999, slo_seconds=[0.3])
app.add_middleware(RedASGIMiddleware, metrics=metrics, exclude=["/healthz"])
