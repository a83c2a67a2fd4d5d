"""The two shops on real servers, with traffic, and their RED live in the terminal: `python -m examples.demo`."""
