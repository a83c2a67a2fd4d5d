"""What holds for every test."""

import logging

from hypothesis import HealthCheck, settings

# How long an example takes is a property of the machine, which may be busy.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# In development mode asyncio warns of what a busy machine makes slow. Tests count warnings, and mean ours.
logging.getLogger("asyncio").setLevel(logging.ERROR)
