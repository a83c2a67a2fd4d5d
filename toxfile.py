"""A plugin that tox itself reads: Ctrl-C while the demo runs belongs to the demo.

A terminal sends Ctrl-C to tox and to the demo. The demo then ends by itself, with exit code 0. Without this file tox
would interrupt it once more and report a failure.
"""

import signal
from threading import Event
from types import FrameType

from tox.config.sets import ConfigSet
from tox.execute.api import Outcome
from tox.plugin import impl
from tox.session.state import State
from tox.tox_env.api import ToxEnv

demo_runs = Event()
"""Set while the demo runs, until the first Ctrl-C. A second one ends tox as usual."""


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Take over Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in a background job
        signal.signal(signal.SIGINT, _interrupted)


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    """Give Ctrl-C to the demo."""
    if tox_env.name == "demo":
        demo_runs.set()


@impl
def tox_after_run_commands(tox_env: ToxEnv, exit_code: int, outcomes: list[Outcome]) -> None:
    """Give Ctrl-C back to tox."""
    demo_runs.clear()


def _interrupted(number: int, frame: FrameType | None) -> None:
    if demo_runs.is_set():
        demo_runs.clear()
    else:
        signal.default_int_handler(number, frame)
