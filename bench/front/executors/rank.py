"""One of the processes that compute a job together: ``python -m bench.front.executors.rank``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from bench.core.environment import is_first_process
from bench.front.executors.together import PATIENCE, read_job, write_result
from bench.front.executors.worker import carry_out_part, ended

log = logging.getLogger("bench")


def _take_part(place: Path) -> None:
    """Do this process's part of the job in a folder; the first one writes how it ended."""
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.DEBUG if is_first_process() else logging.ERROR)
    job = read_job(place)
    found = ended(job, carry_out_part)
    if is_first_process():
        write_result(place, found)


def _end_with_the_worker() -> None:
    """End when the input does, which only the worker holds open; a training is stored first."""
    os.read(0, 1)  # without the lock of sys.stdin, which the end of this process waits for
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    _take_part(Path(sys.argv[1]))
