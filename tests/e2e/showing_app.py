"""The application that shows everything: its options are named by the environment, and it has metrics of its own."""

import os
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Summary

from red_middleware import RedASGIMiddleware, RedMetrics

from ..monitoring.showing import ASKED, ROUTES, SERVED_OPTIONS, respond

orders = Counter("shop_orders_total", "Orders paid for.")
sent = Counter("shop_sent_bytes_total", "Bytes of receipts.")
carts = Gauge("shop_carts", "Carts that are open.")
payments = Histogram("shop_payment_seconds", "Time that a payment takes.")
parcels = Summary("shop_parcel_bytes", "Size of a parcel's label.")


async def trade(scope: Any, receive: Any, send: Any) -> None:
    orders.inc()
    sent.inc(300)
    carts.set(2)
    payments.observe(0.2)
    parcels.observe(900)
    await respond(scope, receive, send)


app = RedASGIMiddleware(
    trade, metrics=RedMetrics(**ASKED[os.environ[SERVED_OPTIONS]]), routes=ROUTES, exclude=["/health"]
)
