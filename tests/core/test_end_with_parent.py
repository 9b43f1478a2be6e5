"""Processes that decode images end with the run that started them, whenever it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys

from commands import SAME_BENCH

PARENT = """
import multiprocessing, os, sys, time
from bench.core.environment import end_with_parent

def child(number):
    while os.getppid() == starter:  # until this process has no parent any more
        time.sleep(0.01)
    end_with_parent(number)
    time.sleep(60)

starter = os.getpid()
fork = multiprocessing.get_context("fork")
for number in range(2):
    fork.Process(target=child, args=(number,)).start()
print("started", flush=True)
time.sleep(60)
"""


def test_processes_whose_parent_was_killed_before_they_looked_end() -> None:
    """torch's own look at the parent comes too late for them: they held files for ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=SAME_BENCH
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGKILL)
    # The pipe ends once the last process has ended that holds it.
    assert process.communicate(timeout=20)[0] == ""
