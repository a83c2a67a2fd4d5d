"""What the routes of every framework have in common, as data: the requests of the contract, and who answers otherwise.

`test_contract` asks each framework all of this, and `support` prints it for `docs/frameworks.md`. The applications
themselves are in `apps` and `frameworks`. Nothing here imports a framework.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

Row = tuple[str, str, str]
"""A method, a route and a status, as labels. `ORDER` and `ITEM` in a route stand for the framework's own spelling."""


class Scenario(NamedTuple):
    """A request, the row that it counts in, and the exceptions that it counts."""

    column: str
    says: str
    method: str
    path: str
    row: Row
    exceptions: Mapping[tuple[str, str], int] = {}


SCENARIOS: Final = [
    Scenario("plain", "a route", "GET", "/hello", ("GET", "/hello", "200")),
    Scenario("plain", "a query is no route", "GET", "/hello?a=1", ("GET", "/hello", "200")),
    Scenario("any method", "no methods declared", "GET", "/any", ("GET", "/any", "200")),
    Scenario("any method", "no methods declared, a rare one", "TRACE", "/any", ("_OTHER", "/any", "200")),
    Scenario("any method", "no methods declared, an unknown one", "BREW", "/any", ("_OTHER", "/any", "200")),
    Scenario("parametrised", "a parameter", "GET", "/items/7", ("GET", "/items/ITEM", "200")),
    Scenario("parametrised", "a converter refuses", "GET", "/items/x", ("GET", "_unmatched", "404")),
    Scenario("nested or mounted", "a nested prefix", "GET", "/shop/orders/7", ("GET", "/shop/orders/ORDER", "200")),
    Scenario("404", "404 of the router", "GET", "/nowhere", ("GET", "_unmatched", "404")),
    Scenario("404", "404 under a prefix", "GET", "/shop/nowhere", ("GET", "_unmatched", "404")),
    Scenario("404", "404 of a view", "GET", "/gone", ("GET", "/gone", "404")),
    Scenario("405", "405", "DELETE", "/hello", ("DELETE", "_unmatched", "405")),
    Scenario("405", "405 of an unknown method", "BREW", "/hello", ("_OTHER", "_unmatched", "405")),
    Scenario("slash redirect", "slash redirect", "GET", "SLASH", ("GET", "_unmatched", "REDIRECT")),
    Scenario("exception answered", "an exception that the app handles", "GET", "/boom", ("GET", "/boom", "500")),
    Scenario(
        "exception propagated", "an exception", "GET", "/bang", ("GET", "/bang", "500"),
        {("/bang", "UnhandledError"): 1},
    ),
    Scenario("HEAD", "HEAD", "HEAD", "/hello", ("HEAD", "/hello", "200")),
    Scenario("OPTIONS", "OPTIONS", "OPTIONS", "/asked", ("OPTIONS", "/asked", "200")),
    Scenario("streamed", "streamed", "GET", "/streamed", ("GET", "/streamed", "200")),
]  # fmt: skip

WEBSOCKET: Final = "WebSocket"
ADDED_LATER: Final = "route added later"
TWO_APPS: Final = "two apps"

COLUMNS: Final = (*dict.fromkeys(scenario.column for scenario in SCENARIOS), WEBSOCKET, ADDED_LATER, TWO_APPS)
"""What is asked, in the order of the page. The last three need more than one request: each is a test of its own."""


class Socket(NamedTuple):
    """What a framework makes of the contract's WebSocket."""

    route: str
    close_code: str
    refused: str = "403"
    """The status of a handshake to a path that has no route."""


class Framework(NamedTuple):
    """What the contract knows of a framework, and the page says.

    One that has applications of several kinds is in the table with each of them, under one name.
    """

    name: str
    package: str
    """What is installed and imported."""
    newest: str
    """The newest release that was tested, as major and minor. The oldest one is in `pyproject.toml`."""
    protocol: str
    order: str
    item: str
    slash: tuple[str, int] = ("/slash/", 404)
    """A path that lacks a slash or has one too many, and what the framework answers: a redirect, if it knows any."""
    kind: str = ""
    """Which of its applications, where it has several of one protocol."""
    reraises: bool = False
    """Whether an exception that nobody handles leaves the application."""
    silent_before: tuple[int, ...] = ()
    """The release from which on the framework tells of an exception that it answers itself, if it did not always."""
    tells_all: bool = False
    """Whether an exception that the app answers with an error is named as well."""
    socket: Socket | None = None
    differs: Mapping[str, Row | None] = {}
    """By `says` of a scenario or by a column: the row where the framework itself answers otherwise; `None` where there
    is no such thing."""
    is_rare: bool = False
    """Whether it is installed on few interpreters only."""
    interpreters: str = "3.10 to 3.15"
    beside: str = ""
    """What is tested beside the contract."""
    not_tested: str = ""

    @property
    def id(self) -> str:
        """Return what tells it from the others."""
        return "-".join(filter(None, (self.package, self.kind, self.protocol)))


NO_ANY: Final[Mapping[str, None]] = dict.fromkeys(
    scenario.says for scenario in SCENARIOS if scenario.column == "any method"
)
REFUSED: Final = {"405": ("DELETE", "_unmatched", "404"), "405 of an unknown method": ("_OTHER", "_unmatched", "404")}
LENIENT: Final = {"slash redirect": ("GET", "/slash", "200")}
UNKNOWN_METHOD: Final = {"405 of an unknown method": ("_OTHER", "_unmatched", "400")}
FROZEN: Final[Mapping[str, None]] = {ADDED_LATER: None}
"""It takes no route once it has served, at least not in its newest release."""

_DJANGO: Final = Framework(
    "Django", "django", "6.1", "WSGI", "<order>", "<int:item>", ("/slash", 301),
    differs={TWO_APPS: None},  # its settings are those of a process
    beside="Django REST framework 3.14 to 3.18, django-ninja 1.0 to 1.7, the admin, Wagtail 8.0, Channels 4.0 to 4.3",
)  # fmt: skip
_FEW: Final = "3.10 and 3.11"
_FALCON: Final = Framework(
    "Falcon", "falcon", "4.4", "WSGI", "{order}", "{item:int}", differs={**NO_ANY, **UNKNOWN_METHOD}, is_rare=True,
    interpreters=_FEW,
)  # fmt: skip
_CONNEXION: Final = Framework(
    "Connexion", "connexion", "3.3", "ASGI", "{order}", "{item}", kind="AsyncApp", tells_all=True,
    differs={**NO_ANY, **FROZEN}, is_rare=True, interpreters="3.11",
    not_tested="the oldest releases of Starlette and Flask, with which it does not work",
)  # fmt: skip

FRAMEWORKS: Final = [
    Framework(
        "Flask", "flask", "3.1", "WSGI", "<order>", "<int:item>", ("/slash", 308),
        beside="Flask-RESTful, Flask-RESTX, and WebSockets by Flask-Sock",
    ),
    _DJANGO,
    _DJANGO._replace(protocol="ASGI"),
    Framework("Bottle", "bottle", "0.13", "WSGI", "<order>", "<item:int>", ("/slash", 404), silent_before=(0, 13)),
    Framework(
        "Starlette", "starlette", "1.10", "ASGI", "{order}", "{item:int}", ("/slash/", 307), reraises=True,
        socket=Socket("/socket/{room}", "4001"),
    ),
    Framework(
        "FastAPI", "fastapi", "0.165", "ASGI", "{order}", "{item:int}", ("/slash/", 307), reraises=True,
        socket=Socket("/socket/{room}", "4001"),
    ),
    Framework(
        "Quart", "quart", "0.23", "ASGI", "<order>", "<int:item>", ("/slash", 308),
        socket=Socket("/socket/<room>", "4001", refused="404"),
        not_tested="the oldest release of Flask, with which it does not work",
    ),
    Framework(
        "Litestar", "litestar", "2.25", "ASGI", "{order:str}", "{item:int}", ("/slash/", 200), tells_all=True,
        socket=Socket("/socket/{room:str}", "4001"),
        differs={**NO_ANY, **LENIENT, "HEAD": ("HEAD", "_unmatched", "405")}, is_rare=True, interpreters=_FEW,
    ),
    Framework(
        "Pyramid", "pyramid", "2.1", "WSGI", "{order}", r"{item:\d+}", ("/slash", 404), reraises=True, tells_all=True,
        differs=REFUSED, is_rare=True, interpreters=_FEW, not_tested="traversal, which has no routes",
    ),
    _FALCON,
    _FALCON._replace(protocol="ASGI", socket=Socket("/socket/{room}", "4001")),
    Framework(
        "Sanic", "sanic", "25.12", "ASGI", "<order:str>", "<item:int>", ("/slash/", 200), tells_all=True,
        socket=Socket("/socket/<room:str>", "1000", refused="500"),  # Sanic sends a response of HTTP
        differs={**NO_ANY, **LENIENT}, is_rare=True, interpreters=_FEW,
        not_tested="Sanic's own server, which speaks no ASGI",
    ),
    Framework(
        "CherryPy", "cherrypy", "18.10", "WSGI", "{path}", "{item}",
        differs={
            **dict.fromkeys(["OPTIONS", "an exception that the app handles"]),
            "a converter refuses": ("GET", "/items/{item}", "404"),
            "a query is no route": ("GET", "/hello", "404"),
            "405": ("DELETE", "/hello", "200"),
            "405 of an unknown method": ("_OTHER", "/hello", "200"),
        },
        is_rare=True, interpreters=_FEW,
    ),
    Framework(
        "BlackSheep", "blacksheep", "2.6", "ASGI", "{order}", "{int:item}", ("/slash/", 200),
        socket=Socket("/socket/{room}", "4001"), differs={**NO_ANY, **LENIENT, **REFUSED, **FROZEN}, is_rare=True,
        interpreters=_FEW,
    ),
    _CONNEXION,
    _CONNEXION._replace(kind="FlaskApp"),
    Framework(
        "a `Map` of Werkzeug", "werkzeug", "3.1", "WSGI", "<order>", "<int:item>", ("/slash", 308), reraises=True,
    ),
]  # fmt: skip
