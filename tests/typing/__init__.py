"""How users write it, checked by mypy strict; run as well, so that it is not only a promise."""
