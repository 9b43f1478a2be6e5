"""Remarks on inputs and searches that are valid but doubtful: warnings, or sentences of a run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bench.core.errors import CaveatWarning

_collecting: ContextVar[list[str] | None] = ContextVar("collecting", default=None)


class PosthocWarning(CaveatWarning):
    """What was given or found is valid, but probably not what was meant.

    Examples
    --------
    >>> import warnings
    >>> from bench.posthoc.remarks import PosthocWarning
    >>> warnings.simplefilter("ignore", PosthocWarning)
    """


def remark(text: str) -> None:
    """Issue a PosthocWarning at the caller outside bench; within `collected`, keep the text.

    Examples
    --------
    >>> from bench.posthoc.remarks import collected, remark
    >>> with collected() as found:
    ...     remark("T = 0.1 is the bound of its search.")
    ...
    >>> found
    ['T = 0.1 is the bound of its search.']
    """
    found = _collecting.get()
    if found is not None:
        if text not in found:
            found.append(text)
        return
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("bench."):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(text, PosthocWarning, depth)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the distinct remarks made in the context in a list, instead of warning.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.posthoc.functional import temperature
    >>> from bench.posthoc.remarks import collected
    >>> with collected() as found:
    ...     t = temperature(np.array([[3.0, 0.0], [0.0, 3.0]]), np.array([0, 1]))
    ...
    >>> round(t, 3), len(found)
    (0.1, 1)
    """
    found: list[str] = []
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)
