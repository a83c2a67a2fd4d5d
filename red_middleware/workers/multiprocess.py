"""prometheus_client's own way to share metrics, where the user has chosen it: it goes on as it is.

It needs to be told which workers are dead, so that their `live` gauges go with them. `sums` knows, and calls `bury`.
"""

import os

from .proc import Process, pid_namespace


def directory() -> str | None:
    """Return where prometheus_client shares the application's metrics, `None` where it does not."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None


def bury(process: Process) -> None:
    """Let prometheus_client forget the `live` gauges of a worker that has died.

    Its files are named by the process id alone. Where another process has that by now, the file may be its own.

    Raises:
        OSError: The files cannot be removed, or another user's process has the id.
    """
    place = directory()
    if place is None or process.pid <= 0 or process.namespace != pid_namespace():
        return
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        from prometheus_client.multiprocess import mark_process_dead  # it costs 1 ms, and few have use for it

        mark_process_dead(process.pid, place)  # type: ignore[no-untyped-call]  # it has no annotations
