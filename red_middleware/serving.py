"""serve_metrics: the metrics at a port of their own, in a thread that keeps no process alive.

The server is the standard library's, as a scrape asks for no more. Connections are bounded in number and in time, so
that a slow client keeps nobody else waiting.
"""

import io
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .endpoint_app import MetricsApp, metrics_app
from .exposition import Authorize
from .metrics import RedMetrics
from .options import check_type, refusal

SOFTWARE: Final = "red_middleware"

SECONDS: Final = 10.0
"""How long a client may take for its request, or take nothing of the answer, before it is cut off."""

CONNECTION_SECONDS: Final = 150.0
"""How long the answer may take: a scrape waits 120 seconds for other collectors at most."""

CONNECTIONS: Final = 16
"""How many clients are answered at a time; a scrape takes some milliseconds. Others are cut off."""


def serve_metrics(
    port: int,
    addr: str = "127.0.0.1",
    *,
    metrics: RedMetrics | None = None,
    authorize: Authorize | None = None,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
) -> "MetricsServer":
    """Answer the metrics at a port of their own until the process ends, or the returned server is closed.

    Every path is answered. A child that is forked later does not serve.

    Args:
        port: 0 takes a free one: see `MetricsServer.port`.
        addr: The address or host name to listen at, of IPv4 or IPv6. By default this machine alone can read.
        metrics: As in `metrics_app`.
        authorize: As in `metrics_app`.
        certfile: A certificate chain in PEM, for TLS.
        keyfile: Its private key, if that is not in `certfile`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The port is none, or there is a key without a certificate.
        OSError: Nobody can listen there, as another program does; or the certificate cannot be read.
    """
    check_type("serve_metrics", "port", port, int)
    check_type("serve_metrics", "addr", addr, str)  # None would be every address
    if not 0 <= port <= 65535:
        raise refusal(ValueError, "serve_metrics", "port", port, "must be 0 to 65535")
    if keyfile is not None and certfile is None:
        raise refusal(ValueError, "serve_metrics", "keyfile", os.fspath(keyfile), "needs certfile=")
    tls = None
    if certfile is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(certfile, keyfile)
        except OSError as error:
            raise OSError(error.errno, f"serve_metrics(certfile={os.fspath(certfile)!r}): {error.strerror}") from error
    app = metrics_app(metrics, authorize=authorize)
    try:
        family, _, _, _, address = socket.getaddrinfo(addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server = _Server(family, address, tls)
    except OSError as error:
        raise OSError(error.errno, f"serve_metrics(port={port}, addr={addr!r}): {error.strerror}") from error
    server.set_app(_named(app))
    return MetricsServer(server)


class MetricsServer:
    """What `serve_metrics` returns; a context manager that closes it.

    Args:
        server: It listens already.
    """

    def __init__(self, server: "_Server") -> None:
        self._server: _Server = server
        self._pid: int = os.getpid()
        self._thread: threading.Thread = threading.Thread(
            target=server.serve_forever, name="red_middleware metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening. Answers that are under way go on. Closing it again, or in a forked child, does nothing."""
        stop = self._server.shutdown if os.getpid() == self._pid else self._server.socket.close  # a child has no thread
        stop()
        self._server.server_close()

    def __enter__(self) -> "MetricsServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads: bool = True
    request_queue_size: int = 64

    def __init__(self, family: int, address: Any, tls: ssl.SSLContext | None) -> None:
        self.address_family = family
        self.tls: ssl.SSLContext | None = tls
        self.free: threading.BoundedSemaphore = threading.BoundedSemaphore(CONNECTIONS)
        self.allow: dict[int, Callable[[float], None]] = {}  # by thread: gives its client so many seconds from now
        super().__init__(address, _Handler)
        _servers.add(self)

    def server_bind(self) -> None:
        """Bind, and look up no name of the address, as `HTTPServer` does: that may take seconds."""
        TCPServer.server_bind(self)
        self.server_name: str = str(self.server_address[0])
        self.server_port: int = int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or cut off if too many are being answered."""
        if not self.free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # there is no thread to be had
            self.free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client. It has some seconds for its request, and for all."""
        late: list[threading.Timer] = []

        def allow(seconds: float) -> None:
            while late:
                late.pop().cancel()
            late.append(threading.Timer(seconds, lambda: _cut_off(request)))
            late[-1].daemon = True
            late[-1].start()

        self.allow[threading.get_ident()] = allow
        try:
            allow(SECONDS)
            request.settimeout(SECONDS)
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                request.do_handshake()  # in this thread, as a client may take its time
            super().process_request_thread(request, client_address)
        except Exception:  # no TLS, or the client has gone, or there is no thread for the timer
            self.shutdown_request(request)
        finally:
            self.allow.pop(threading.get_ident())
            while late:
                late.pop().cancel()
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that leaves or is too slow."""


class _Handler(WSGIRequestHandler):
    server: _Server
    timeout = SECONDS
    error_message_format = "%(code)d\n"
    error_content_type = "text/plain"

    def parse_request(self) -> bool:
        """Read the head of a request, after which the answer may take its time."""
        found = super().parse_request()
        self.server.allow[threading.get_ident()](CONNECTION_SECONDS)
        return found

    def version_string(self) -> str:
        """Return what the header `Server` says: no version that somebody could look up."""
        return SOFTWARE

    def get_stderr(self) -> Any:
        """Say nothing of a client that does not take its answer. Faults of ours are counted and logged elsewhere."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as its base has it
        """Say nothing: a scraper asks every few seconds."""

    def address_string(self) -> str:
        """Return the address, and look up no name."""
        return str(self.client_address[0])


def _named(app: MetricsApp) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """Return an application that names the server itself, in place of wsgiref."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app(environ, lambda status, headers: start_response(status, [*headers, ("Server", SOFTWARE)]))

    return answer


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed
        connection.shutdown(socket.SHUT_RDWR)


_servers: "weakref.WeakSet[_Server]" = weakref.WeakSet()


def _close_all() -> None:  # pragma: no cover  # runs in forked children, which no coverage survives
    for server in list(_servers):
        server.socket.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_close_all)
