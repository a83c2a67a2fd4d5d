"""Run the two shops on real servers with workers, send them traffic, show their RED live: `python -m examples.demo`."""
