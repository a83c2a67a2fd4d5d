"""A client that does what well-behaved libraries refuse to do: unknown methods, half requests, leaving in the middle.

`ask` returns what was seen of the answer; `begin` and `leave` are for those who will not wait.
"""

import asyncio
import socket
import struct
from typing import Final, NamedTuple

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
            first, *lines = await self._head()
            status = int(first.split(" ", 2)[1])
            headers = dict(line.split(": ", 1) for line in lines)
            if method == "HEAD" or status in (204, 304):
                pass
            elif "content-length" in headers:
                await self._read_into(body, int(headers["content-length"]))
            else:
                assert headers["transfer-encoding"] == "chunked", headers
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

    async def _head(self) -> list[str]:
        """Read the lines of a head, in lower case.

        A line may end with LF alone (RFC 9112, section 2.2). The empty line of gunicorn's own error pages does from
        Python 3.14 on, where `textwrap.dedent` removes the CR from a line that has nothing else.
        """
        lines = []
        while line := (await self.read_until(b"\n")).removesuffix(b"\r"):
            lines.append(line.decode("latin-1").lower())
        return lines

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
