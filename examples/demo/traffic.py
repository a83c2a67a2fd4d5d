"""The customers of the shops: a bounded, mixed and repeatable stream of requests. They ignore the answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import chain

import httpx

from .shops import Shop

REQUESTS_PER_SECOND = 20.0
"""How many requests each shop gets in a second."""

AT_ONCE = 6
"""How many requests to each shop are open at once. A worker has more threads, so one is always free for /metrics."""

PATIENCE_SECONDS = 3.0

SEED = 2

Visit = Callable[[httpx.AsyncClient, Shop, random.Random], Awaitable[object]]


async def visit(shop: Shop) -> None:
    """Send one request of each kind, then a mix, until cancelled. Then wait for the answers to all open requests."""
    dice = random.Random(f"{SEED} {shop.name}")
    kinds, weights = zip(*VISITS.items(), strict=True)
    open_now: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=shop.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        try:
            for kind in chain(dice.sample(kinds, len(kinds)), iter(lambda: dice.choices(kinds, weights)[0], None)):
                open_now.add(asyncio.create_task(_send(kind(client, shop, random.Random(dice.random())))))
                if len(open_now) >= AT_ONCE:
                    await asyncio.wait(open_now, return_when=asyncio.FIRST_COMPLETED)
                open_now = {task for task in open_now if not task.done()}
                await asyncio.sleep(dice.expovariate(REQUESTS_PER_SECOND))
        finally:
            await asyncio.gather(*open_now)


async def _send(request: Awaitable[object]) -> None:
    try:
        await request
    except httpx.TransportError:  # the server closed the connection; the next request opens a new one
        pass


async def greet(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get("/hello")


async def look_from_afar(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.head("/hello")


async def look(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get(f"/items/{dice.randint(1, 3)}")


async def ask_for_what_is_sold_out(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get(f"/items/{dice.randint(4, 9999)}")


async def buy(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.post("/checkout", json={"item_id": dice.randint(1, 3), "card": "4242"})


async def buy_in_vain(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.post("/checkout", json={"item_id": dice.randint(1, 3), "card": "0000"})


async def study(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get("/report")


async def download(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get(shop.stream)


async def leave_during_the_body(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    async with client.stream("GET", shop.stream) as response:
        async for _ in response.aiter_raw():
            break  # leaving the block closes the connection


async def scan(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get(f"/{dice.randbytes(4).hex()}.php")


async def use_a_strange_method(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.request("PURGE", "/hello")


async def check_health(client: httpx.AsyncClient, shop: Shop, dice: random.Random) -> None:
    await client.get("/healthz")


VISITS: dict[Visit, int] = {
    greet: 30,
    look: 30,
    buy: 10,
    study: 8,
    ask_for_what_is_sold_out: 5,
    download: 4,
    look_from_afar: 4,
    scan: 3,
    buy_in_vain: 2,
    leave_during_the_body: 2,
    use_a_strange_method: 1,
    check_health: 1,
}
"""What customers do, and how often in a hundred requests."""
