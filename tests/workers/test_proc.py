"""What the kernel says about processes, of real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from red_middleware.workers.proc import NOBODY, Process, is_alive, this_process

from .running import found_by, require_namespaces, without_proc


def test_a_process_is_gone_when_its_number_is_free_or_anothers() -> None:
    """Whatever it calls itself: the kernel lets a name hold spaces and brackets."""
    rename = "open('/proc/self/comm', 'w').write(') R 1 (('); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        fields = Path(f"/proc/{child.pid}/stat").read_text().removeprefix(f"{child.pid} () R 1 (() ").split()
        started = int(fields[22 - 3])  # proc_pid_stat(5) counts from 1, and two are cut off
        process = this_process()._replace(pid=child.pid, started=started)
        assert is_alive(process)
        assert not is_alive(process._replace(started=started - 1))
        child.kill()
    assert not is_alive(process)


@pytest.mark.parametrize("number", [0, -1, 1 << 80])
def test_what_is_no_process_is_not_proved_gone(number: int) -> None:
    """A group by name has no master, and a record may be spoilt."""
    assert is_alive(NOBODY._replace(pid=number))


def test_a_process_that_proc_hides_is_not_proved_gone() -> None:
    """As the mount option hidepid does, or where there is no /proc: the kernel is asked for the number alone."""
    require_namespaces("--mount")
    assert found_by("assert is_alive(Process(os.getpid(), 1, 1))", *without_proc()) is None


def test_this_process_is_told_apart_from_its_next_use() -> None:
    """By its start; its number is of this pid namespace."""
    process = this_process()
    assert process == Process(os.getpid(), process.started, os.stat("/proc/self/ns/pid").st_ino)
    assert is_alive(process)
