"""Prefork workers find each other, share one index and their cells, and retire the dead.

`membership` is one process's part in it. `group` and `servers` tell which processes are one group; `directory` is where
their files are, `record` what it says of them, `generations` which of several is in use. `index` and `cells` are the
files, `sums` adds them up, `member` is a worker that has joined.
"""

from .membership import Identity, Membership, State
from .processes import GroupProcesses, Workers
from .servers import find_slots

__all__ = ["GroupProcesses", "Identity", "Membership", "State", "Workers", "find_slots"]
