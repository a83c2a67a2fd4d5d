"""Which processes are one group: the workers of one server, whose numbers are one scrape target's.

Siblings alone are none: a shell, honcho or a program of one's own may start several servers that are to stay apart. So
this room knows how each prefork server starts its workers, and names a group by its master (and by the interpreter, of
which a process may have one an app); for any other arrangement the user gives a name. It knows nothing of files and
numbers, and imports no server: one that is not in `sys.modules` is not serving.

Asked at a process's first request, never at construction, which may be before the fork; it costs 0.1 ms. Where nothing
is known (a module half imported), the process is single; a worker that cannot find its group (no /proc) is told so,
since it would look right and show its own numbers only.
"""

import hashlib
import importlib
import os
import signal
import sys
from typing import Any, Final, NamedTuple

subinterpreters: Any = None
for _name in ("_interpreters", "_xxsubinterpreters"):  # of CPython from 3.13 on, and before  # pragma: no branch
    try:
        subinterpreters = importlib.import_module(_name)
        break
    except ImportError:
        pass

HYPERCORN_WORKERS: Final = ("asyncio_worker", "uvloop_worker", "trio_worker")

# Fields of /proc/<pid>/stat, by their numbers in proc_pid_stat(5).
FLAGS: Final = 9
UTIME: Final = 14
STIME: Final = 15
STARTED: Final = 22

GUNICORN_SIGNALS: Final = [
    getattr(signal, name) for name in ("SIGUSR1", "SIGTERM", "SIGQUIT", "SIGABRT") if hasattr(signal, name)
]
"""Those that gunicorn's master and its workers handle."""

FORKED_NO_EXEC: Final = 0x40
"""PF_FORKNOEXEC of the kernel's sched.h: still the program that the parent runs."""


class Group(NamedTuple):
    """What one server's workers, recycled ones too, find alike, and no others on this machine."""

    key: str
    """32 hex digits, the same for all members and for nobody else."""
    master: int
    """Process id, as seen from here; 0 where a name makes the group."""
    master_started: int
    """In clock ticks since boot, which tells a process id from its next use; 0 where a name makes the group."""
    pid_namespace: int
    """Where `master` is that process id: two containers may each have a master 1 that started at the same tick."""
    boot: str
    """No process outlives the boot that this names."""


def find_group(name: str | None = None) -> Group | None:
    """Return the group of worker processes that this process belongs to; `None` if it is single.

    Args:
        name: Makes one group of all processes of this user that give it, whoever started them and in whichever pid
            namespace: for sockets that circus or systemd share out. By default the server tells.

    Raises:
        OSError: There is one, but which it is cannot be told: no /proc, or another pid namespace's.
    """
    try:
        master = _master() if name is None else 0
    except Exception:
        return None
    if master is None:
        return None
    try:
        started = stat_field(master, STARTED) if master else 0
        pid_namespace = os.stat("/proc/self/ns/pid").st_ino
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        founder = (pid_namespace, master, started) if name is None else name
        return Group(_digest(boot, os.geteuid(), founder, _interpreter()), master, started, pid_namespace, boot)
    except Exception as error:
        raise OSError(f"/proc does not tell to which group of workers this process belongs: {error}") from error


def name_for(group: Group, layout: str) -> str:
    """Return the name of the directory, 32 hex digits, where a group keeps the tables of one layout.

    Args:
        group: Whose.
        layout: All that makes two tables' cells differ in meaning. A reload may change it while old workers finish.
    """
    return _digest(group.key, layout)


def is_alive(master: int, started: int) -> bool:
    """Tell whether a recorded master may still be there; `False` is proof that it is gone.

    To be asked about this boot and this pid namespace: elsewhere the number is another process's.

    Args:
        master: Its process id; of 0, a group by name, nothing proves the end.
        started: When it started, in clock ticks since boot.
    """
    if master <= 0 or sys.platform != "linux":  # to kill(2) they are process groups, to Windows 0 is Ctrl-C
        return True
    try:
        return stat_field(master, STARTED) == started
    except Exception:  # gone, or hidden by /proc's mount option hidepid
        pass
    try:
        os.kill(master, 0)
    except ProcessLookupError:
        return False
    except Exception:
        pass
    return True


def is_master() -> bool:
    """Tell whether this is a uWSGI process whose workers are to be forked yet: too early to join a group.

    uWSGI imports the app there, unless told to be lazy, and its fork runs none of Python's `os.register_at_fork`.
    """
    try:
        uwsgi: Any = sys.modules.get("uwsgi")
        return uwsgi is not None and uwsgi.worker_id() == 0
    except Exception:
        return False


def is_booting() -> bool:
    """Tell whether this process was forked by gunicorn's master and is no worker yet: in its hook `post_fork`.

    There signals are still the master's, and the user whom it is to run as is not set.
    """
    try:
        master = _owner(_gunicorn_handlers(), "gunicorn.arbiter", "Arbiter")
        return master is not None and master.pid != os.getpid()
    except Exception:
        return False


def _master() -> int | None:
    """Return the process that made this one a worker among others."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None:
        return _uwsgi_master(uwsgi)
    return os.getppid() if _is_gunicorn_worker() or _is_multiprocessing_worker() else None


def _uwsgi_master(uwsgi: Any) -> int | None:
    """Return the master; without one, worker 1, which forks the others and is 0 until it has.

    What a worker forks keeps its number, and is none. Of workers but the first the list of pids is not to be asked: it
    is the master that writes them there, perhaps after the first request.
    """
    master: int = uwsgi.masterpid()
    if not master and uwsgi.numproc == 1:
        return None
    forker: int = master or uwsgi.workers()[0]["pid"]
    is_first = not master and uwsgi.worker_id() <= 1
    return forker if forker == (os.getpid() if is_first else os.getppid()) else None


def _is_gunicorn_worker() -> bool:
    """Tell a worker from its master, and from what a worker forked or started: all these have the variable too.

    Workers, and from its start the master, handle signals by methods of their own, and a worker knows its process id.
    """
    handlers = _gunicorn_handlers()
    worker = _owner(handlers, "gunicorn.workers.base", "Worker")
    if worker is not None:
        return bool(worker.pid == os.getpid())
    if _owner(handlers, "gunicorn.arbiter", "Arbiter") or not any(map(callable, handlers)):
        return False
    return bool(stat_field(os.getpid(), FLAGS) & FORKED_NO_EXEC)  # the app handles them all itself


def _gunicorn_handlers() -> list[Any]:
    """Return what handles the signals of gunicorn here; nothing where it does not run."""
    if "gunicorn.arbiter" not in sys.modules or not os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/"):
        return []
    return [signal.getsignal(number) for number in GUNICORN_SIGNALS]


def _owner(handlers: list[Any], module: str, name: str) -> Any:
    """Return whose methods some of these are, if he is of this class."""
    kind = getattr(sys.modules.get(module), name, ())
    owners = (getattr(handler, "__self__", None) for handler in handlers)
    return next((owner for owner in owners if isinstance(owner, kind)), None)


def _is_multiprocessing_worker() -> bool:
    """Tell by the function that the process runs: uvicorn's, hypercorn's or granian's own, and not a user's."""
    process: Any = sys.modules.get("multiprocessing.process")
    parent = process and process.parent_process()
    if not parent or parent.pid != os.getppid():
        return False
    target = process.current_process()._target
    module, _, _ = target.__module__.partition(".")
    return (
        (target.__module__, target.__name__) == ("uvicorn._subprocess", "subprocess_started")
        or (module == "hypercorn" and target.__name__ in HYPERCORN_WORKERS)
        or target.__module__ == "granian.server.mp"
    )


def stat_field(pid: int, field: int) -> int:
    """Read a number from /proc/<pid>/stat. Raises an `Exception` where there is none, or another namespace's."""
    return stat_fields(pid, field)[0]


def stat_fields(pid: int, *fields: int) -> list[int]:
    """Read several numbers of one moment; see `stat_field`."""
    if os.readlink("/proc/self") != str(os.getpid()):
        raise ProcessLookupError("/proc shows another pid namespace")
    with open(f"/proc/{pid}/stat", "rb") as file:
        after_name = file.read().rpartition(b")")[2]  # a process may call itself ") ("
    words = after_name.split()
    return [int(words[field - 3]) for field in fields]


def _interpreter() -> int:
    """Return the number of this interpreter in its process, 0 for the main one.

    uWSGI gives each app that it mounts one of its own, in the same order in each worker.
    """
    found: Any = subinterpreters.get_current() if subinterpreters else 0
    return int(found[0] if isinstance(found, tuple) else found)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
