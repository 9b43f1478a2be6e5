"""Claims: one process computes an output, and nobody waits for a process that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.core.store import claims
from bench.core.store.claims import Claims, own_name, sweep


def test_of_many_threads_one_gets_a_claim(tmp_path: Path) -> None:
    got: list[int] = []
    ready = threading.Barrier(8)

    def take(number: int) -> None:
        mine = Claims(tmp_path)
        ready.wait()
        if mine.take("weights-1"):
            got.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(got) == 1


def test_a_released_claim_is_free(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("a") and not other.take("a")
    one.release("a")
    assert other.take("a")
    one.release("a")  # not its own any more
    assert not one.take("a")


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.core.store.claims import Claims;"
        "print(Claims(Path(sys.argv[1])).take('a')); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.stdout == "True\n" and killed.returncode == -9
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert Claims(tmp_path).take("a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]  # nothing of the old claim is left


@pytest.mark.parametrize("text", ["", "{", "5", '["here"]', '["here", null]', '["here", "x"]'])
def test_a_claim_that_cannot_be_read_is_void_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.05)
    (tmp_path / "a").write_text(text)
    mine = Claims(tmp_path)
    assert not mine.take("a")  # it may be being written
    time.sleep(0.1)
    assert mine.take("a")


def test_a_claim_from_another_machine_is_void_when_nobody_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.3)
    path = tmp_path / "a"
    path.write_text('["elsewhere", 1]')
    mine = Claims(tmp_path)
    os.utime(path, (0, 0))  # clocks of machines are not compared
    assert not mine.take("a")
    for _ in range(4):
        time.sleep(0.15)
        path.touch()
        assert not mine.take("a")
    time.sleep(0.4)
    assert mine.take("a")


def test_a_holder_touches_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.05)
    mine = Claims(tmp_path)
    assert mine.take("a")
    os.utime(tmp_path / "a", (0, 0))
    time.sleep(0.3)
    assert (tmp_path / "a").stat().st_mtime > 1
    mine.release("a")


def test_without_a_place_for_claims_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Claims(tmp_path / "file").take("a")


def test_a_full_disk_leaves_no_claim_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one would be waited for until it is void."""

    def full(_: object) -> tuple[str, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(claims.json, "dumps", full)
    assert Claims(tmp_path).take("a")
    assert not list(tmp_path.iterdir())


def test_a_new_claim_is_not_removed_as_an_old_one(tmp_path: Path) -> None:
    """Two processes see one void claim; the first has already made its own of it."""
    path = tmp_path / "a"
    path.write_text('["elsewhere", 1]')
    seen = claims._state(path)
    path.unlink()
    assert Claims(tmp_path).take("a")
    claims._remove(path, seen)
    assert not Claims(tmp_path).take("a")


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    mine, elsewhere, old = (
        tmp_path / name for name in (own_name(), f"elsewhere-1-{'a' * 12}", f"x-1-{'b' * 12}")
    )
    pid = subprocess.Popen(["true"])
    pid.wait()
    gone = tmp_path / own_name().replace(f"-{os.getpid()}-", f"-{pid.pid}-")
    same_number = tmp_path / f"elsewhere-{pid.pid}-{'c' * 12}"  # of a process that may run there
    unnumbered = tmp_path / own_name().replace(f"-{os.getpid()}-", "-x-")
    kept = [mine, elsewhere, same_number, unnumbered]
    for path in (*kept, old, gone):
        path.touch()
    os.utime(old, (0, 0))
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    sweep(tmp_path / "nowhere")
