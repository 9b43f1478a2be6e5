"""Ctrl-C and SIGTERM at any moment: neither is lost, and neither ends in a traceback."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType

from bench.core.errors import INTERRUPTED
from bench.core.streams import SHOW_CURSOR

SAID = "bench: interrupted; run the same command again to resume"

AGAIN_SECONDS = 0.5
"""An interrupt that was swallowed is raised again after this time."""


def set_up_interrupts() -> None:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM, until the command ends.

    While modules are imported, the process ends at once: nothing is being written then, and C
    extensions clear the exception, make it one of their own or abort. Elsewhere one that is lost,
    as in a destructor, is raised again. Processes that load images leave Ctrl-C, which the terminal
    sends to them as well, to this one, and end at once when it ends them.
    """
    shown = sys.unraisablehook

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):  # else the alarm raises it again
            shown(lost)

    sys.unraisablehook = unraisable
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt_again)
    os.register_at_fork(after_in_child=_in_a_child)


def end(code: int) -> None:
    """End the process. Nothing is interrupted any more: the little that is left does not take long.

    After an interrupt it ends without Python's own finish, which would kill it by a signal if the
    interrupt came inside of ``exec``, however it was handled.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        os.write(sys.stderr.fileno(), f"{SHOW_CURSOR * sys.stderr.isatty()}{SAID}\n".encode())
        os._exit(INTERRUPTED)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_globals.get("__name__") != "importlib._bootstrap":
        frame = frame.f_back
    return frame is not None


def _interrupt_again(number: int, frame: FrameType | None) -> None:
    """Raise the interrupt again, unless it is still being handled, as where files are closed."""
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return
        error = error.__context__
    raise KeyboardInterrupt


def _in_a_child() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
