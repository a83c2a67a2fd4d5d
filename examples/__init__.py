"""Small services that run as they stand, and a demo that shows their RED live: `python -m examples.demo`."""
