"""Runs tests as on an interpreter without a GIL, as far as any other can show it: `python -m tests.locked [tests ...]`.

What the package does there is chosen when it is imported. So the choice is made here, before anything else imports it.
"""

import sys

import pytest

from red_middleware.counting import rows

if __name__ == "__main__":
    vars(rows)["IS_LOCKED"] = True
    assert not any(name.endswith(("counting.exchange", "counting.table")) for name in sys.modules)
    sys.exit(pytest.main(sys.argv[1:]))
