"""A reader around an app, without numbers: what does it declare, and what does it call each request?"""

from collections.abc import Callable, Iterable
from typing import Any

from red_middleware.routes import Reader, Report

from .asking import Message, Receive, Scope, Send


class Watched(dict[str, Any]):
    """A scope that notes what it is asked for."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.looked_up: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        self.looked_up.append(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.looked_up.append(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.looked_up.append(str(key))
        return super().__contains__(key)


class Read:
    """An app whose requests a reader labels when their response begins, as a middleware lets it.

    Args:
        kind: The reader's class.
        app: A WSGI or an ASGI application.
    """

    def __init__(self, kind: type[Reader], app: Any) -> None:
        self.app = app
        self.labels: list[str | None] = []
        self.looked_up: list[list[str]] = []
        """For each request by ASGI, the keys for which the reader asked the scope."""
        self.declarations: list[dict[str, set[str] | None]] = []
        """Each time that the reader declared routes: the methods of each template, `None` where one names none."""
        self.raised: list[BaseException] = []
        self.asked_for_socket: list[Scope] = []
        self.answering: list[BaseException] = []
        self.marked: list[str] = []
        """The templates whose marks the reader told."""
        self.reader = kind(
            Report(
                self._declare,
                lambda source, error: self.raised.append(error),
                lambda source, error: self.answering.append(error),
                self.asked_for_socket.append,
                lambda: None,
                marked=lambda template, methods, marks: self.marked.append(template),
            )
        )

    def learn(self, source: Scope | None = None) -> bool:
        """Let the reader learn the app, before any request or with one."""
        return self.reader.learn(self.app, {} if source is None else source)

    @property
    def declared(self) -> dict[str, set[str] | None]:
        """All that was declared up to now."""
        found: dict[str, set[str] | None] = {}
        for declaration in self.declarations:
            found |= declaration
        return found

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request by WSGI."""
        path = environ["PATH_INFO"]

        def started(*arguments: Any) -> Any:
            self.labels.append(self.reader.route(environ, path))
            return start_response(*arguments)

        return self.app(environ, started)  # type: ignore[no-any-return]  # any application's body

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request by ASGI."""
        path = scope["path"]

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                watched = Watched(scope)
                self.labels.append(self.reader.route(watched, path))
                self.looked_up.append(watched.looked_up)
            await send(message)

        await self.app(scope, receive, sent)

    def _declare(self, routes: Iterable[tuple[str, Iterable[str] | None]]) -> None:
        declaration: dict[str, set[str] | None] = {}
        for template, methods in routes:
            before = declaration.get(template, set())
            declaration[template] = None if methods is None or before is None else before | set(methods)
        self.declarations.append(declaration)
