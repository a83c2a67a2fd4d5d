"""Which route template served this request? One reader a framework, and the order in which they are asked.

Readers know frameworks and nothing of ours. `mounting` makes `Routes`, and lets them learn; the adapters ask them.
"""

from .bridges import CROSSING, Carrying
from .declared import DeclaredRoutes
from .frameworks import ASGI_READERS, FRAMEWORKS, WSGI_READERS
from .patterns import PatternReader
from .reader import Declare, Marks, Reader, Report, Source
from .routes import RouteOf, Routes

__all__ = [
    "ASGI_READERS",
    "CROSSING",
    "FRAMEWORKS",
    "WSGI_READERS",
    "Carrying",
    "Declare",
    "DeclaredRoutes",
    "Marks",
    "PatternReader",
    "Reader",
    "Report",
    "RouteOf",
    "Routes",
    "Source",
]
