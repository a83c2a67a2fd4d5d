"""What a directory records of its group, as text and as a value, and how long a group is kept."""

import math

import pytest

from red_middleware.workers.proc import Process, boot_id, this_process
from red_middleware.workers.record import Record, Stay, kept_seconds, parsed, parsed_all


def master(change: int = 0, namespace: int = 0) -> Process:
    """Return this process, or one that differs from it by its start or its pid namespace."""
    ours = this_process()
    return Process(ours.pid, ours.started + change, ours.namespace + namespace)


def record(founder: Process, *others: Process, boot: str = "") -> Record:
    return Record(boot + boot_id(), founder, "table", tuple(Stay(other, 7) for other in others))


@pytest.mark.parametrize("masters", [(), (master(),), (master(), master(1), master(2))])
def test_a_record_is_read_as_it_was_written(masters: tuple[Process, ...]) -> None:
    """The lines behind the first one may come in any order."""
    written = record(master(-1), *masters)
    first, *others = written.text().split("\n")
    read = parsed("\n".join([first, *reversed(others)]))
    assert read._replace(stays=read.stays[::-1]) == written
    assert read.masters() == set(masters)


@pytest.mark.parametrize("text", ["", "spoilt", "boot 1 2", "boot 1 2 3 table\n1 2", "boot 1 2 3 table\n\n1 2 3 4"])
def test_a_spoilt_record_proves_nothing(text: str) -> None:
    """It raises, and whoever cleans up goes on with the next group."""
    with pytest.raises((ValueError, TypeError)):
        kept_seconds(text)
    assert parsed_all({"spoilt": text, "good": record(master()).text()}) == {"good": record(master())}


@pytest.mark.parametrize(
    ("master", "boot", "seconds"),
    [
        (master(), "", math.inf),
        (master(change=1), "", 0.0),
        (master(namespace=1, change=1), "", 3600.0),
        (master(), "another-", 0.0),
        (master()._replace(pid=0, started=0), "", 7 * 24 * 3600.0),
    ],
    ids=["it lives", "it ended", "it is in another pid namespace", "it was before this boot", "a name has no master"],
)
def test_how_long_a_group_is_kept_without_a_worker(master: Process, boot: str, seconds: float) -> None:
    """What the group of a master writes down is enough for any later worker of this machine to tell."""
    assert kept_seconds(record(master, boot=boot).text()) == seconds


def test_a_group_is_kept_while_any_of_its_masters_lives() -> None:
    """The founder has ended, and the one that followed it has not."""
    assert kept_seconds(record(master(change=-1), master()).text()) == math.inf
    assert kept_seconds(record(master(change=-1), master(change=1)).text()) == 0.0
