"""Interrupts that wait until work is at a point where it can be stored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C and SIGTERM; yield a function that says whether one has come.

    The first one is raised as KeyboardInterrupt when the context ends. A second one is raised at
    once, for work that does not end. Only the main thread can hold signals; in others nothing is
    held and the function returns False.

    Examples
    --------
    >>> import signal
    >>> from bench.models.training.interrupts import held_interrupts
    >>> try:
    ...     with held_interrupts() as interrupted:
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("stored:", interrupted())
    ... except KeyboardInterrupt:
    ...     print("interrupted")
    stored: True
    interrupted
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, hold) for number in SIGNALS}
    try:
        yield lambda: bool(came)
    except Exception as error:
        if came:  # such as that of a process which loads images and was interrupted as well
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
