"""What the servers that start their workers by `multiprocessing` share: such a worker runs a function of the server.

That a process is a child of `multiprocessing` is not enough: a user's program may start single servers this way.
"""

import os
import sys
from typing import Any


def worker_function() -> tuple[str, str]:
    """Return the module and the name of the function that `multiprocessing` started this process to run.

    Both are empty for a process that is no child of `multiprocessing`, or that such a child has forked itself.
    """
    process: Any = sys.modules.get("multiprocessing.process")
    parent = process and process.parent_process()
    if not parent or parent.pid != os.getppid():
        return "", ""
    function = process.current_process()._target
    return function.__module__, function.__name__
