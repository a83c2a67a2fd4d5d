"""From a reading to bytes: what a client asked for (`negotiate`), the formats, the other collectors, the answer."""

from .access import Access, Authorize, BasicCredentials, BearerToken
from .endpoint import Answer, Endpoint, Request, answer, ask

__all__ = ["Access", "Answer", "Authorize", "BasicCredentials", "BearerToken", "Endpoint", "Request", "answer", "ask"]
