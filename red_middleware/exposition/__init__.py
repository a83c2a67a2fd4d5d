"""From numbers to bytes: what a client asked for (`negotiate`), our families as text (`text`), the answer."""

from .endpoint import Answer, answer

__all__ = ["Answer", "answer"]
