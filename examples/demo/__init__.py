"""The two shops on real servers with workers, with traffic, and their RED live: `python -m examples.demo`."""
