"""What holds for every test, and what tests of several directories ask for."""

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is a property of the machine, which may be busy.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# In development mode asyncio warns of what a busy machine makes slow. Tests count warnings, and mean ours.
logging.getLogger("asyncio").setLevel(logging.ERROR)


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Let programs heed SIGINT. They ignore it if the tests do, as in a job that a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
