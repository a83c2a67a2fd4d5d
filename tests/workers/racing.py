"""Processes that race for one group: `python -m tests.workers.racing <scenario> <base>`. Run by `test_directory.py`."""

import os
import select
import sys
from contextlib import suppress
from pathlib import Path

from red_middleware.workers.directory import clean_stale, open_directory

OPENINGS = 300
MOST_OPENINGS = 100 * OPENINGS
REMOVED = "removed"
"""The file that says that the cleaner has come between them: on a busy machine it begins late."""


def come_and_go(base: str) -> None:
    """Open the group again and again; what is made there must stay as long as it is open."""
    for number in range(MOST_OPENINGS):
        if number >= OPENINGS and Path(base, REMOVED).exists():
            break
        with suppress(
            TimeoutError
        ):  # on a busy machine a cleaner may be in the way for long; a worker tries again, too
            _come_and_go(base)


def _come_and_go(base: str) -> None:
    group = open_directory("group", "owner", base)
    name = f"w-{os.getpid()}"
    os.close(group.open(name, os.O_CREAT | os.O_EXCL))
    assert os.path.samestat(os.lstat(group.path), os.fstat(group.fd)), "the path leads elsewhere"
    assert {name, "owner"} <= set(os.listdir(group.path)), "a file of ours was removed"
    group.unlink(name)
    group.close()


def clean(base: str) -> None:
    """Take everybody for dead, until the end of stdin; print how many groups were removed."""
    removed = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        removed += clean_stale(base, "", lambda owner: 0.0)
        if removed:
            Path(base, REMOVED).touch()
    print(removed)


SCENARIOS = {scenario.__name__: scenario for scenario in (come_and_go, clean)}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](sys.argv[2])
