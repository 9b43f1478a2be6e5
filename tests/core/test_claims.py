"""Claims: one process computes an output, and nobody waits for a process that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.core.store import claims
from bench.core.store.claims import (
    Claims,
    is_gone,
    is_old,
    leftovers,
    own_name,
    sweep,
    this_process,
    void_claims,
)


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
    one, other = Claims(tmp_path / "not" / "yet"), Claims(tmp_path / "not" / "yet")
    assert [one.take("a"), other.take("a"), one.take("a")] == [True, False, False]
    one.release("a")
    assert other.take("a") is True
    one.release("a")  # not its own any more
    assert one.take("a") is False


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


NUMBERS = ("1e999", "9" * 5000, "NaN", "true", "[]")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "5", '["here"]', '["here", null]', '["here", "x"]', "[" * 9_000, "x" * 20_000),
        *(f'["here", {number}]' for number in NUMBERS),
    ],
    ids=lambda text: text[:12],
)
def test_a_claim_that_cannot_be_read_is_void_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.05)
    (tmp_path / "a").write_text(text)
    mine = Claims(tmp_path)
    assert not mine.take("a")  # it may be being written
    time.sleep(0.1)
    assert mine.take("a")


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**19])
def test_a_process_that_cannot_be_holds_no_claim(number: int, tmp_path: Path) -> None:
    """Such a number was an internal error, also in the name of a temporary file."""
    host = own_name().split("-")[0]
    (tmp_path / "a").write_text(json.dumps([host, number]))
    assert Claims(tmp_path).take("a")
    digits = own_name().split("-")[2]
    for name in (f"{host}-{number}-{digits}", f"{host}-\u00b2-{digits}"):
        (tmp_path / "tmp" / name).mkdir(parents=True)
    sweep(tmp_path / "tmp")
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == [f"{host}-\u00b2-{digits}"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "link to nothing", "huge"])
def test_what_is_no_claim_holds_work_up_for_a_while_at_most(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.05)
    path, mine = tmp_path / "claims" / "a", Claims(tmp_path / "claims")
    path.parent.mkdir()
    (tmp_path / "own").write_text("mine")
    match kind:
        case "folder":
            (path / "inner").mkdir(parents=True)
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(tmp_path / "own")
        case "link to nothing":
            path.symlink_to(tmp_path / "nothing")
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**33)
    assert not mine.take("a")
    time.sleep(0.1)
    assert mine.take("a") and not Claims(tmp_path / "claims").take("a")
    assert path.is_file() and not path.is_symlink()
    assert [found.name for found in path.parent.iterdir()] == ["a"]
    assert (tmp_path / "own").read_text() == "mine" and not (tmp_path / "nothing").exists()


def test_a_claim_that_was_given_up_meanwhile_is_not_taken_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks at a claim that is given up at that moment; before it acts, another has it."""
    one, other, late = (Claims(tmp_path) for _ in range(3))
    assert one.take("a")
    look = claims._state

    def given_up(path: Path) -> claims.State | None:
        monkeypatch.setattr(claims, "_state", look)
        one.release("a")
        found = look(path)
        assert other.take("a")
        return found

    monkeypatch.setattr(claims, "_state", given_up)
    monkeypatch.setattr(claims, "_remove", lambda path, seen: path.unlink())
    assert late.take("a") is False


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
    (tmp_path / "a").write_text('["elsewhere", 1]')
    os.utime(tmp_path / "a", (0, 0))
    time.sleep(0.2)
    assert (tmp_path / "a").stat().st_mtime == 0  # it is another's now


def test_a_holder_touches_its_claims_now_and_then_and_not_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 30.0)
    assert Claims(tmp_path).take("a")
    os.utime(tmp_path / "a", (0, 0))
    time.sleep(0.3)
    assert (tmp_path / "a").stat().st_mtime == 0


def run(code: str, folder: Path) -> str:
    """What a process prints that has claims of a folder as `mine`; it must end by itself."""
    begin = (
        "import os, sys, time; from pathlib import Path; from bench.core.store import claims;"
        "folder = Path(sys.argv[1]); mine = claims.Claims(folder)\n"
    )
    command = [sys.executable, "-c", begin + code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_a_process_that_holds_a_claim_ends_as_any_other(tmp_path: Path) -> None:
    assert run("print(mine.take('a'))", tmp_path) == "True\n"
    assert (tmp_path / "a").exists() and Claims(tmp_path).take("a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_process_touches_its_own_claims(tmp_path: Path) -> None:
    code = """
claims.BEAT = 0.05
mine.take("a")
if os.fork() == 0:
    mine.take("b")
    os.utime(folder / "b", (0, 0))
    end = time.monotonic() + 30
    while (folder / "b").stat().st_mtime < 1 and time.monotonic() < end:
        time.sleep(0.05)
    print((folder / "b").stat().st_mtime > 1, flush=True)
    os._exit(0)
os.wait()
"""
    assert run(code, tmp_path) == "True\n"


def test_without_a_place_for_claims_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level("DEBUG", logger="bench"):
        assert Claims(tmp_path / "file").take("a") is True
    assert "no claim on a: " in caplog.text and str(tmp_path / "file") in caplog.text


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


HOSTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(HOSTS, st.integers(2**31, 10**20 - 1))
def test_what_is_left_is_told_by_machine_and_process_whatever_the_machine_is_called(
    host: str, pid: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims.socket, "gethostname", lambda: host)
        own, number, digits = own_name().split("-")
        assert (own, int(number)) == this_process()
        folder, gone = Path(name), Path(name, f"{own}-{pid}-{digits}")
        gone.touch()
        (folder / "claim").write_text(json.dumps([own, pid]))
        assert void_claims(folder) == ([gone, folder / "claim"], [])
        patch.setattr(claims.socket, "gethostname", lambda: "node-7/a")
        assume(own != this_process()[0])
        assert void_claims(folder) == ([], [f"{own} {pid}"])


@pytest.mark.parametrize(("more", "is_void"), [(20, True), (-20, False)])
def test_what_another_machine_has_not_touched_for_a_day_is_nobodys(
    tmp_path: Path, more: int, is_void: bool
) -> None:
    left, claim = tmp_path / f"elsewhere-1-{'a' * 12}", tmp_path / "claim"
    claim.write_text('["elsewhere", 1]')
    left.touch()
    for path in (left, claim):
        os.utime(path, (time.time() - 24 * 3600 - more,) * 2)
        assert is_old(path) is is_void
    assert leftovers(tmp_path) == [left] * is_void
    assert void_claims(tmp_path)[0] == [left, claim] * is_void
    sweep(tmp_path)
    assert left.exists() is not is_void and claim.exists()


def test_claims_are_void_or_have_a_holder(tmp_path: Path) -> None:
    host, pid = this_process()
    texts = {"damaged": "{", "gone": f'["{host}", {2**31}]', "mine": f'["{host}", {pid}]',
             "other": '["elsewhere", 7]', "same": f'["{host}", {pid}, "more"]'}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for name in (own_name(), f"elsewhere-1-{'a' * 12}"):  # files that are just being made
        (tmp_path / name).touch()
    void, held = void_claims(tmp_path)
    assert void == [tmp_path / "gone"]
    assert held == sorted([f"{host} {pid}", "elsewhere 7", "unknown 0"])
    assert void_claims(tmp_path / "none") == ([], [])


def test_a_process_that_may_not_be_signalled_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    assert not is_gone((this_process()[0], 1)) and not is_gone((this_process()[0], os.getpid()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told from /proc")
def test_a_process_may_have_a_name_like_that_of_an_ended_one(tmp_path: Path) -> None:
    named = "Path('/proc/self/comm').write_text('a) Z (b');"
    assert run(f"{named} print(claims.is_gone(claims.this_process()))", tmp_path) == "False\n"


def test_claims_are_shown_by_their_folder(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    mine.take("a")
    assert repr(mine) == f"Claims(folder={tmp_path!r})"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told from /proc")
def test_a_process_that_ended_unasked_holds_no_claim() -> None:
    """In containers nobody asks how orphans ended: their claims were waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.read() == b""
    end = time.monotonic() + 30
    while not claims._is_zombie(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    holder = (claims.this_process()[0], process.pid)
    assert claims.is_gone(holder) and not claims.is_gone(claims.this_process())
    process.communicate()
