"""Run the demo: open the shops, let customers in, look once a second, and close everything whatever happens."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.console import Console, RenderableType
from rich.live import Live

from .numbers import Scrape
from .programs import Program, ProgramEndedError, free_ports
from .screen import ROOMY_LINES, screen, svg
from .shops import Shop, flask_shop, starlette_shop
from .traffic import visit

WINDOW_SECONDS = 10
OPENING_SECONDS = 30.0

Look = list[Scrape]
"""One scrape of each shop, taken together."""


class Unanswered(NamedTuple):
    """A shop did not answer a scrape, and why."""

    shop: Shop
    reason: str


class Scene(NamedTuple):
    """All that runs."""

    shops: Sequence[Shop]
    beside: Sequence[Program]
    client: httpx.AsyncClient

    @property
    def programs(self) -> list[Program]:
        """Every program, the shops' first."""
        return [*(shop.program for shop in self.shops), *self.beside]


def run(
    flask_port: int,
    starlette_port: int,
    seconds: float | None,
    live: bool,
    picture: Path | None,
    beside: Sequence[Program] = (),
) -> int:
    """Run the demo and return its exit code.

    Args:
        flask_port: The port of the shop on Flask; 0 means a free port.
        starlette_port: The port of the shop on Starlette, in the same way.
        seconds: After how many seconds the demo ends by itself; `None` means that it waits for Ctrl-C.
        live: Whether to redraw the table once a second if the output is a terminal.
        picture: Where the last table is also written, as SVG; `None` means nowhere.
        beside: Programs that run beside the shops, and whose pages are named.
    """
    free = free_ports(2)
    shops = [flask_shop(flask_port or free[0]), starlette_shop(starlette_port or free[1])]
    try:
        with _in_front():
            asyncio.run(_run(shops, beside, seconds, live, picture))
    except ProgramEndedError as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # it came before the signal handlers were set
        pass
    print("Both shops are closed.")
    return 0


@contextmanager
def _in_front() -> Iterator[None]:
    """Take the terminal from the program that started the demo in it, such as tox: Ctrl-C is for the demo alone."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:  # there is none
        yield
        return
    before = os.tcgetpgrp(terminal)
    if before == os.getpgrp() != os.getpid():  # else a shell gave the demo the front, or the background
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # what the terminal sends to who is not in front, and changes it
        os.tcsetpgrp(terminal, os.getpid())
    try:
        yield
    finally:
        if os.tcgetpgrp(terminal) == os.getpid() != before:
            os.tcsetpgrp(terminal, before)
        os.close(terminal)


async def _run(
    shops: Sequence[Shop], beside: Sequence[Program], seconds: float | None, live: bool, picture: Path | None
) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if sign is not signal.SIGHUP or signal.getsignal(sign) is not signal.SIG_IGN:  # nohup ignores SIGHUP: so do we
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    console = Console(highlight=False)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            # Each scrape opens a new connection, so any worker may answer it, with the totals of all.
            httpx.AsyncClient(timeout=5, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        )
        scene = Scene(shops, beside, client)
        for stop_one in (*(shop.stop for shop in shops), *(program.stop for program in beside)):
            stack.push_async_callback(stop_one)
        for program in scene.programs:
            await program.start()
        places = " and ".join(f"{shop.name} on {shop.url}" for shop in shops)
        console.print(f"Opening two shops: {places}", soft_wrap=True)
        for program in beside:
            console.print(f"{program.name}: {program.page}", soft_wrap=True)
        if beside:
            console.print("Ctrl-C ends all of it.")
        first = await _opened(scene, stop)
        if first is None:
            return
        customers = [asyncio.create_task(visit(shop)) for shop in shops]
        try:
            last = await _watch(scene, first, seconds, stop, console if live else None)
        finally:
            for customer in customers:
                customer.cancel()
            await asyncio.gather(*customers, return_exceptions=True)
        final = await _look(scene)
        last = last if isinstance(final, Unanswered) else final
        shown = f"RED of the whole run, {last[0].seconds - first[0].seconds:.0f} s"
        console.print(screen(shops, first, last, shown, legend=True))
        if picture is not None:
            picture.write_text(svg(screen(shops, first, last, shown, legend=True)), encoding="utf-8")


async def _opened(scene: Scene, stop: asyncio.Event) -> Look | None:
    """Return the first look at the shops, or `None` if the demo is stopped before they are open."""
    deadline = time.monotonic() + OPENING_SECONDS
    while not stop.is_set():
        look = await _look(scene)
        if not isinstance(look, Unanswered):
            return look
        if time.monotonic() > deadline:
            raise look.shop.program.ended(f"/metrics does not answer after {OPENING_SECONDS:.0f} s: {look.reason}")
        await _pause(0.1, stop)
    return None


async def _watch(
    scene: Scene,
    first: Look,
    seconds: float | None,
    stop: asyncio.Event,
    console: Console | None,
) -> Look:
    """Look at the shops once a second until the end, and return the last look. Draw the table if there is a console."""
    looks = deque([first], maxlen=WINDOW_SECONDS + 1)
    end = float("inf") if seconds is None else time.monotonic() + seconds
    hint = "Ctrl-C ends it" if seconds is None else f"ends after {seconds:g} s, or with Ctrl-C"

    def drawn() -> RenderableType:
        shown = f"RED of the last {looks[-1][0].seconds - looks[0][0].seconds:.0f} s ({hint})"
        return screen(scene.shops, looks[0], looks[-1], shown, console is None or console.height >= ROOMY_LINES)

    # The alternate screen is drawn from its first line each time, and the terminal does not wrap it when it is resized.
    is_terminal = console is not None and console.is_terminal
    drawing = Live(console=console, screen=True, auto_refresh=False, get_renderable=drawn) if is_terminal else None
    if drawing is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, drawing.refresh)
    with drawing or nullcontext():
        while not stop.is_set() and time.monotonic() < end:
            await _pause(min(1.0, end - time.monotonic()), stop)
            look = await _look(scene)
            if isinstance(look, Unanswered):  # it is too busy: try again in a second
                continue
            looks.append(look)
            if drawing is not None:
                drawing.refresh()
    return looks[-1]


async def _look(scene: Scene) -> Look | Unanswered:
    """Scrape the shops, and check that their servers are alive."""
    look = []
    for shop in scene.shops:
        reason = ""
        try:
            answer = await scene.client.get(f"{shop.url}/metrics")
            if answer.is_success:
                look.append(Scrape(answer.text, time.monotonic()))
            else:
                reason = f"status {answer.status_code}"
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        for program in scene.programs:
            program.check()
        if reason:
            return Unanswered(shop, reason)
    return look


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait for some seconds, or until the demo is stopped."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        pass
