"""Prefork workers find each other, share one index and their cells, and retire the dead."""
