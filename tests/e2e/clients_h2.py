"""The client of `clients`, for HTTP/2. A module of its own, as not every machine has h2."""

import asyncio
from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events

from .clients import RECEIVE_BYTES, Answer


class Http2:
    """One connection of HTTP/2 in cleartext, by prior knowledge, with as many requests at once as are asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.events: dict[int, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self.connecting = asyncio.Lock()
        self.reader: asyncio.Task[None] | None = None
        self.writer: asyncio.StreamWriter

    async def ask(self, method: str, path: str) -> Answer:
        """Send a request without a body, and read its answer to the end or as far as it goes."""
        return await self.answer(await self.begin(method, path))

    async def begin(self, method: str, path: str, ended: bool = True) -> int:
        """Send a request, or its head only, and return its stream."""
        async with self.connecting:
            if self.reader is None:
                await self._connect()
        stream = self.connection.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": f"localhost:{self.port}"}
        self.connection.send_headers(stream, list(pseudo.items()), end_stream=ended)
        self._flush()
        return stream

    async def answer(self, stream: int) -> Answer:
        """Read the answer on a stream."""
        status, body, events = None, b"", self.events[stream]
        while True:
            event = await events.get()
            if isinstance(event, h2.events.ResponseReceived):
                status = _status(event)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
            elif isinstance(event, h2.events.StreamEnded):
                return Answer(status, body, True)
            elif event is None or isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                return Answer(status, body, False)

    async def ask_for_a_piece(self, method: str, path: str) -> Answer:
        """Send a request without a body, and read its answer up to the first piece of its body."""
        stream = await self.begin(method, path)
        while not isinstance(event := await self.events[stream].get(), h2.events.ResponseReceived):
            pass
        await self.some_of(stream)
        return Answer(_status(event), b"", False)

    async def some_of(self, stream: int) -> None:
        """Wait for the first piece of a body."""
        while not isinstance(await self.events[stream].get(), h2.events.DataReceived):
            pass

    def leave(self, stream: int) -> None:
        """Reset one stream; the others go on."""
        self.connection.reset_stream(stream)
        self._flush()

    def close(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            self.writer.close()

    async def _connect(self) -> None:
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.connection.initiate_connection()
        self._flush()
        self.reader = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while received := await reader.read(RECEIVE_BYTES):
            for event in self.connection.receive_data(received):
                if isinstance(event, h2.events.DataReceived) and event.stream_id and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                stream = getattr(event, "stream_id", None)
                if stream:
                    self.events[stream].put_nowait(event)
            self._flush()
        for queue in self.events.values():
            queue.put_nowait(None)

    def _flush(self) -> None:
        self.writer.write(self.connection.data_to_send())


def _status(event: h2.events.ResponseReceived) -> int:
    return next(int(value) for name, value in event.headers or () if name in (":status", b":status"))
