"""Clients that do what well-behaved libraries refuse to do: unknown methods, half requests, leaving in the middle.

Both speak `ask`, which returns what was seen of the answer, and `begin` and `leave` for those who will not wait.
"""

import asyncio
import socket
import struct
from collections import defaultdict
from typing import Any, Final, NamedTuple

import h2.config
import h2.connection
import h2.events

RECEIVE_BYTES: Final = 65_536
GONE: Final = (ConnectionError, EOFError)


class Answer(NamedTuple):
    """What a client saw: no status without a whole head, and whether the body came to its end."""

    status: int | None
    body: bytes
    complete: bool


NOTHING: Final = Answer(None, b"", False)


class Http1:
    """One connection of HTTP/1.1, kept alive while the server does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None
        self.buffer = b""

    async def ask(self, method: str, path: str) -> Answer:
        """Send a request without a body, and read its answer to the end or as far as it goes."""
        try:
            await self.begin(method, path)
        except GONE:
            self.close()
            return NOTHING
        return await self.answer(method)

    async def begin(self, method: str, path: str, headers: str = "", body: bytes = b"") -> None:
        """Send a request, or a part of one, and read nothing."""
        if self.socket is None:
            self.socket = socket.socket()
            self.socket.setblocking(False)
            await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n{headers}\r\n"
        await asyncio.get_running_loop().sock_sendall(self.socket, head.encode() + body)

    async def answer(self, method: str) -> Answer:
        """Read the answer to a request of this method."""
        status, body = None, bytearray()
        try:
            head = (await self.read_until(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(head.split(" ", 2)[1])
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            if method == "HEAD" or status in (204, 304):
                pass
            elif "content-length" in headers:
                await self._read_into(body, int(headers["content-length"]))
            else:
                assert headers["transfer-encoding"] == "chunked", head
                while size := int(await self.read_until(b"\r\n"), 16):
                    await self._read_into(body, size)
                    await self.read_until(b"\r\n")
                await self.read_until(b"\r\n")
        except GONE:
            self.close()
            return Answer(status, bytes(body), False)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, bytes(body), True)

    async def read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            await self._receive()
        found, _, self.buffer = self.buffer.partition(end)
        return found

    async def _read_into(self, body: bytearray, size: int) -> None:
        try:
            while len(self.buffer) < size:
                await self._receive()
        finally:
            body += self.buffer[:size]
        self.buffer = self.buffer[size:]

    async def _receive(self) -> None:
        if self.socket is None:
            raise EOFError
        received = await asyncio.get_running_loop().sock_recv(self.socket, RECEIVE_BYTES)
        if not received:
            raise EOFError
        self.buffer += received

    def leave(self) -> None:
        """Go without a word: a reset, which the server's kernel knows when this returns."""
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.buffer = b""


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
