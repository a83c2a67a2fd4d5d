"""Bottle 0.12 leaves an importer behind that has no `find_spec`, which pytest asks of each from then on."""

import sys

import bottle  # type: ignore[import-untyped]  # one file, without types

assert bottle.__version__
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
