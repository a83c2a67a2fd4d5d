"""Whether this process shares its numbers with other workers. One state, and a method for each way to another one.

    early    not decided yet, or too early to decide       -> alone, joined
    alone    counts for itself                             -> joined, where it should not be alone
    joined   shares one table with the workers of a group  -> left
    left     counts for itself, since the group is gone    -> joined

From each of them a forked child begins anew, as early. `recorder` asks to `decide` before the first request, and
before each scrape. Nothing here raises.
"""

import logging
import math
import os
import weakref
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from ..counting.layout import Kind
from ..counting.table import ALONE, Table
from ..faults import Faults, log
from ..options import Options
from ..own_metrics.sharing import OwnMetrics
from . import generations, multiprocess
from .carry import carry
from .cells import WorkerFile
from .directory import Directory, clean_stale, open_directory, records, remove
from .group import Group, find_group, name_for
from .member import Member, let_go  # on import: a child forked while another thread imports waits for it for ever
from .proc import NOBODY, Process, monotonic, this_process
from .record import Record, Stay, kept_seconds, parsed_all
from .servers import gunicorn, is_early
from .siblings import sign_of_siblings

ATTEMPTS: Final = 5
"""How often a worker looks for its directory, while others make and remove some."""


class State(Enum):
    """What this process is among workers."""

    EARLY = "early"
    ALONE = "alone"
    JOINED = "joined"
    LEFT = "left"


class Identity(NamedTuple):
    """What tells a group's workers which of an app's tables one is."""

    table: str
    """Whose numbers they are. Two tables with the same one have other options, before and after a reload."""
    layout: str
    """What its cells mean."""


class Membership:
    """The part of one process, for one recorder.

    Args:
        options: Where groups lie, and what makes one.
        kinds: The layout of the table.
        faults: Told what goes wrong.
        own: The application's own metrics, which join with this process.
    """

    def __init__(self, options: Options, kinds: Sequence[Kind], faults: Faults, own: OwnMetrics) -> None:
        self.options = options
        self.kinds = kinds
        self.faults = faults
        self.own = own
        self.identity: Identity | None = Identity("", "")  # `None` where nothing tells which of an app's tables this is
        self.state: State = State.EARLY
        self.table: Table = Table(kinds)
        self.member: Member | None = None
        self.dropping: weakref.finalize[[Sequence[WorkerFile], Directory], Membership] | None = None
        self.master: Process = NOBODY  # of the group that was last sought
        self.watches: bool = False  # whether somebody said that this process only tells of the workers: see `watch`
        self.is_watcher: bool = False  # whether it does: gunicorn's master needs not be told
        self.is_kept_out: bool = False  # whether there is a group that could not be joined
        self.pid: int = os.getpid()

    def watch(self) -> None:
        """Only tell of the workers of the group, and be none of them."""
        self.watches = self.is_watcher = True

    def decide(self, may_settle: bool) -> bool:
        """Decide, or decide anew where that may help; carry along what was counted outside of the group.

        Args:
            may_settle: Whether the routes are known. The first worker of a group settles for how many there is room.

        Returns:
            Whether it is decided.
        """
        if self.state is State.EARLY and self.pid != os.getpid():
            self.table.restart()  # uWSGI forks without Python's hooks: what is in the table is the master's
            self.restart()
            self.own.restart()
        if self.state is State.EARLY and is_early():
            return False
        if self.state in (State.EARLY, State.LEFT) or self.is_kept_out:
            self._seek(may_settle)
        self._carry()  # at each scrape: what had begun outside of the group ends there
        if self.own.is_pending:
            self.own.look()
        return self.state is not State.EARLY

    def _seek(self, may_settle: bool) -> None:
        """Look for the group of this process, and join it."""
        if self.options.multiprocess_dir is None:
            return self.stay_alone()
        try:
            base = self.options.base()
            watched = os.getpid() if gunicorn.is_master() else None
            self.is_watcher = self.watches or watched is not None
            group = find_group(self.options.group_name(), lambda: parsed_all(records(base)), watched)
            if group is None:
                return self.stay_alone()
            if self.identity is None:
                self.faults.warn_once(
                    "unknown metrics",
                    "other workers cannot tell which of theirs this RedMetrics is, and it counts for this one alone: "
                    "there are several for registries of their own, or it was made after the first request; give each "
                    "a namespace= or multiprocess_name= of its own",
                )
                return self.stay_alone(is_kept_out=True)
            self.master = group.master
            directory = self._open(group, self.identity, base)
            if directory is None:
                return None  # no worker has served anything yet, and this is none
            member = Member(directory, self.faults.fault, self.leave, self._carry, self.is_watcher)
            table = Table(self.kinds, member, self.table)
            if member.enter(table, self.table.declared, may_settle and not self.is_watcher):
                self.join(member, table)
                clean_stale(base, os.path.basename(directory.path), kept_seconds)
        except Exception as error:
            self.faults.warn_once("workers", "this worker's numbers are its own, not those of its group", error=error)
            self.stay_alone(is_kept_out=True)
        return None

    def _open(self, group: Group, identity: Identity, base: str | None) -> Directory | None:
        """Open the directory in which this process counts, and remove those in which no worker of the group does.

        Returns:
            The directory; `None` where there is none to watch.
        """
        stays = (Stay(group.master, this_process().started),) if group.master.pid and not self.is_watcher else ()
        started = stays[0].since if stays else math.inf

        def find() -> tuple[str, dict[str, Record]]:
            known = parsed_all(records(base))
            return generations.find_generation(group, *identity, started, known), known

        name, known = find()
        for _ in range(ATTEMPTS):
            if self.is_watcher and name not in known:
                return None
            is_recorded = name in known and group.master in known[name].masters()
            ours = Record(group.boot, group.founder, name_for(group, identity.table), () if is_recorded else stays)
            directory = open_directory(name, ours.text(), base)
            opened, (name, known) = name, find()
            if name == opened:
                if not self.is_watcher:
                    remove(base, generations.outdated(group, identity.table, known))
                return directory
            directory.close()  # another worker has begun this generation elsewhere
        raise TimeoutError("the directories of the group change again and again")

    def stay_alone(self, is_kept_out: bool = False) -> None:
        """Count for this process alone. One that is kept out of a group tries again at each scrape."""
        self.is_kept_out = is_kept_out
        if self.state is State.EARLY:
            self.state = State.ALONE

    def join(self, member: Member, table: Table) -> None:
        """Go on with the group's table. What was counted before comes along."""
        if self.is_kept_out or self.state is State.LEFT:
            log(logging.INFO, "this worker's numbers are those of its group now, with all that it counted alone")
        self.state, self.is_kept_out, self.member = State.JOINED, False, member
        # A RedMetrics that nobody uses any more leaves its numbers to the group, as a worker does that ends.
        self.dropping = weakref.finalize(self, let_go, member.files, member.directory)
        self.dropping.atexit = False
        self._carry()
        self.table.earlier = self.table
        self.table = table
        if not self.is_watcher and multiprocess.directory() is None:
            self.own.share(table, f"{member.directory.path} {member.index.id.hex()}")

    def leave(self, reason: OSError) -> None:
        """Go on alone with the table as it is, since the group's directory is gone."""
        if self.member is None:
            return  # another thread found that out first
        self.state = State.LEFT
        self.table.sharing = ALONE
        self.member.close()
        self.member = None
        self.dropping.detach()  # type: ignore[union-attr]  # there is one with each member; it holds the files
        self.faults.fault("this worker's numbers are its own from now on", reason)

    def restart(self) -> None:
        """Begin anew, in a forked child. The tables let go of the parent's files themselves."""
        self.state, self.is_kept_out, self.is_watcher, self.member = State.EARLY, False, False, None
        self.pid = os.getpid()

    def _carry(self) -> None:
        """Bring along what was counted outside of the group."""
        if self.member is not None:
            self.member.is_behind = False
        if self.table.earlier is not self.table:
            try:
                carry(self.table.earlier, self.table)
            except Exception as error:  # the rest stays where it is until the next scrape
                self.faults.fault("numbers of a worker alone", error)

    def is_isolated(self) -> bool:
        """Tell whether there are other workers with whom this process does not share all of its numbers."""
        if self.is_kept_out or self.state is State.LEFT or (self.is_watcher and self.state is State.EARLY):
            return True
        if self.state is State.ALONE and self.options.multiprocess_dir is not None:
            sign = sign_of_siblings()
            if sign is not None:
                self.faults.warn_once(
                    "siblings",
                    "this process shows its own numbers only, and there are others: %s; if they serve the same app, "
                    "give all of them one multiprocess_name=, or set RED_MULTIPROCESS_NAME",
                    sign,
                )
            return sign is not None
        return self.member is not None and (self.member.is_lost or self.member.is_behind)

    def group_seconds(self) -> float | None:
        """Return for how many seconds the group has counted; `None` outside of a group."""
        return None if self.member is None else monotonic() - self.member.index.born
