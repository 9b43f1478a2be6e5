"""Ctrl-C and SIGTERM at any moment: exit code 130, one line, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SAME_BENCH, start

from bench.front import functions as front
from bench.models.training.interrupts import held_interrupts

SAID = "bench: interrupted; run the same command again to resume"


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    _, errors = process.communicate(timeout=60)
    return errors.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.4, 1.0, 1.7, 2.6, 4.0])
def test_whenever_it_comes(number: signal.Signals, after: float, tmp_path: Path) -> None:
    process = start(
        *("run", "--suite", "micro", "--methods", "all", "--out", tmp_path / "out"),
        *("--cache-dir", tmp_path / "cache"),
    )
    time.sleep(after)
    process.send_signal(number)
    said = lines_of(process)
    assert process.returncode == 130, said
    assert said[-1] == SAID and not any("Traceback" in line or "ignored" in line for line in said)
    assert not (tmp_path / "out").exists()


def run(code: str) -> tuple[int, list[str]]:
    """Run code in a process whose interrupts are those of the command line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=SAME_BENCH
    )
    said = lines_of(process)
    return process.returncode, said


SETUP = """
import os, signal, sys, time
from bench.cli.interrupts import end, set_up_interrupts
set_up_interrupts()
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
"""


def test_while_a_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n"
        "    pass\n"
    )
    assert run(f"{SETUP}\nsys.path.insert(0, {str(tmp_path)!r})\nimport swallows") == (130, [SAID])


def test_one_that_is_swallowed_is_raised_again() -> None:
    code = f"""{SETUP}
class Dropped:
    def __del__(self):
        interrupt()
try:
    Dropped()
    try:
        interrupt()
    except KeyboardInterrupt:
        pass
    time.sleep(5)
except KeyboardInterrupt:
    end(130)
"""
    assert run(code) == (130, [])


def test_what_closes_files_is_not_interrupted_again() -> None:
    code = f"""{SETUP}
try:
    try:
        interrupt()
    finally:
        time.sleep(1.5)
        print("closed", file=sys.stderr)
except KeyboardInterrupt:
    end(130)
"""
    assert run(code) == (130, ["closed"])


def test_inside_of_exec_the_code_is_130_too() -> None:
    code = f"""{SETUP}
try:
    exec("interrupt()")
except KeyboardInterrupt:
    end(130)
"""
    assert run(code) == (130, [])


def test_a_child_leaves_ctrl_c_to_its_parent() -> None:
    code = f"""{SETUP}
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    os._exit(7)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == (7, [])


def test_python_gets_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("bench.runs.session.execute_plan", interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
    with pytest.raises(KeyboardInterrupt):
        front.run(suite="micro", methods="zero-shot", progress=False)


def test_an_error_of_what_was_interrupted_is_no_error() -> None:
    """Such as that a process which loads images was ended by the same SIGTERM."""
    with pytest.raises(KeyboardInterrupt), held_interrupts():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed by signal: Terminated")
