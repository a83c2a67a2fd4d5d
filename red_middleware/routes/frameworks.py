"""The frameworks whose routes are read, and the order in which their readers are asked.

What is touched in each framework:
    Flask, Django, Quart: one receiver of the signal `got_request_exception`, connected once a process; in Quart of
        `got_websocket_exception` as well.
    Quart: the attributes `request_class` and `websocket_class` of each app, replaced by a subclass once.
    Pyramid: the attribute `request_factory` of each router, replaced once.
    Falcon: a middleware added to each app once, and the handler of exceptions that Falcon has by default, wrapped.
    CherryPy: one hook of requests, `before_error_response`, attached once a process.
    BlackSheep: the method `log_unhandled_exc` of each app, wrapped once.
    Bottle, Starlette, FastAPI, Channels, Connexion, Litestar, Sanic, Werkzeug: nothing.
    A bridge between ASGI and WSGI: the attribute that holds its application, replaced once.
"""

from typing import Final

from .blacksheep import BlackSheepReader
from .bottle import BottleReader
from .channels import ChannelsReader
from .cherrypy import CherryPyReader
from .connexion import ConnexionReader
from .django import DjangoReader
from .falcon import FalconReader
from .flask import FlaskReader
from .litestar import LitestarReader
from .pyramid import PyramidReader
from .quart import QuartReader
from .reader import Reader
from .sanic import SanicReader
from .starlette import StarletteReader
from .werkzeug import WerkzeugReader

WSGI_READERS: Final[tuple[type[Reader], ...]] = (
    FlaskReader, DjangoReader, BottleReader, PyramidReader, FalconReader, CherryPyReader, WerkzeugReader,
)  # fmt: skip
ASGI_READERS: Final[tuple[type[Reader], ...]] = (
    StarletteReader, ConnexionReader, DjangoReader, ChannelsReader, QuartReader, LitestarReader, FalconReader,
    SanicReader, BlackSheepReader,
)  # fmt: skip

FRAMEWORKS: Final = (
    "Flask, Django, Bottle, Pyramid, Falcon, CherryPy and a Map of Werkzeug (WSGI), Starlette, FastAPI, Django, "
    "Channels, Quart, Litestar, Falcon, Sanic, BlackSheep and Connexion (ASGI)"
)
"""Those that are read, for messages."""
