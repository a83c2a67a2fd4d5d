"""Prefork workers find each other, share one index and their cells, and retire the dead.

`metrics` asks to `join` at a process's first request or scrape, and may ask again if that failed: what was counted in
between is to be carried over by `carry`. Which processes are one group is decided in `group`; `directory` is where
their files are, `index` and `cells` are these files, `sums` adds them up, `member` is one worker's part.
"""

from collections.abc import Callable

from ..table import Table
from .carry import carry
from .directory import clean_stale, open_directory
from .group import find_group, is_owner_gone, name_for
from .member import Member  # not at the first request: a child that is forked in an import waits for it for ever
from .servers.gunicorn import is_early as is_booting
from .servers.uwsgi import is_early as is_master

__all__ = ["carry", "find_group", "is_booting", "is_master", "join"]


def join(
    private: Table, layout: str, base: str | None, name: str | None, fault: Callable[[str, BaseException], None]
) -> Table | None:
    """Join the group of worker processes that this one belongs to.

    Args:
        private: The table of this process until now; the routes that it declared are declared in the group.
        layout: All that makes two tables' cells differ in meaning, and which of an app's tables it is.
        base: Where groups keep their files; `None`: shared memory, or the directory for temporary files.
        name: Makes a group of all processes that give it; `None`: the server tells.
        fault: Told the kind and the exception of what goes wrong later.

    Returns:
        The shared table, `None` for a single process.

    Raises:
        OSError: There is a group, but its files cannot be used.
    """
    group = find_group(name)
    if group is None:
        return None
    directory_name = name_for(group, layout)
    member = Member(lambda: open_directory(directory_name, group.owner, base), fault)
    table = Table(private.bounds, private.max_label_sets, member)
    member.enter(table, private.declared)
    clean_stale(base, directory_name, is_owner_gone)
    return table
