"""Mirrors `red_middleware/monitoring`."""
