"""From a reading to bytes: what a client asked for (`negotiate`), the formats, the other collectors, the answer."""

from .endpoint import Answer, Request, answer, ask

__all__ = ["Answer", "Request", "answer", "ask"]
