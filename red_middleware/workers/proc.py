"""What the kernel and the interpreter say about processes: start time, CPU, pid namespace, boot.

This room does all reading of /proc that is not about this process's own descriptors. It knows nothing of servers,
groups or files of numbers. Where /proc is missing (macOS) or shows another pid namespace, a function raises.
"""

import importlib
import os
import sys
import time
from typing import Any, Final, NamedTuple

subinterpreters: Any = None
for _name in ("_interpreters", "_xxsubinterpreters"):  # CPython's name since 3.13, and before  # pragma: no branch
    try:
        subinterpreters = importlib.import_module(_name)
        break
    except ImportError:
        pass

# Numbers of fields in /proc/<pid>/stat, as proc_pid_stat(5) counts them.
PARENT: Final = 4
FLAGS: Final = 9
UTIME: Final = 14
STIME: Final = 15
STARTED: Final = 22

FORKED_NO_EXEC: Final = 0x40
"""The bit PF_FORKNOEXEC of `FLAGS`: the process was forked and still runs the program of its parent."""


class Process(NamedTuple):
    """One process, told apart from every other process of this boot."""

    pid: int
    started: int
    """Start time in clock ticks since boot: the kernel uses a process id again."""
    namespace: int
    """Inode of the pid namespace in which `pid` is its number."""


NOBODY: Final = Process(0, 0, 0)


def monotonic() -> float:
    """Return the seconds of a clock that no test stops: freezegun takes the place of `time.monotonic` everywhere."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def this_process() -> Process:
    """Return the process that asks."""
    pid = os.getpid()
    return Process(pid, stat_field(pid, STARTED), pid_namespace())


def is_alive(process: Process) -> bool:
    """Tell whether a process may still run. `False` is proof that it has ended.

    Ask only about a process of this boot and of this pid namespace: elsewhere its number is another process's.
    Process id 0 stands for no process, so nothing proves its end.
    """
    if process.pid <= 0 or sys.platform != "linux":  # kill(2) takes 0 and below for process groups, Windows for Ctrl-C
        return True
    try:
        return stat_field(process.pid, STARTED) == process.started
    except Exception:  # it has ended, or the mount option hidepid hides it
        pass
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except Exception:
        pass
    return True


def stat_field(pid: int, field: int) -> int:
    """Return one number from /proc/<pid>/stat. Raises what `stat_fields` raises."""
    return stat_fields(pid, field)[0]


def stat_fields(pid: int, *fields: int) -> list[int]:
    """Return several numbers from /proc/<pid>/stat, all of the same moment.

    Raises:
        Exception: There is no such process, or /proc is missing or shows another pid namespace.
    """
    if os.readlink("/proc/self") != str(os.getpid()):
        raise ProcessLookupError("/proc shows another pid namespace")
    with open(f"/proc/{pid}/stat", "rb") as file:
        after_name = file.read().rpartition(b")")[2]  # a process may call itself ") ("
    words = after_name.split()
    return [int(words[field - 3]) for field in fields]


def pid_namespace() -> int:
    """Return the inode of this process's pid namespace: two containers may each have a process 1."""
    return os.stat("/proc/self/ns/pid").st_ino


def boot_id() -> str:
    """Return the id of this boot, which no process outlives."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def interpreter_number() -> int:
    """Return the number of this interpreter in its process; 0 for the main one.

    uWSGI gives each app that it mounts an interpreter of its own, in the same order in each worker.
    """
    found: Any = subinterpreters.get_current() if subinterpreters else 0
    return int(found[0] if isinstance(found, tuple) else found)
