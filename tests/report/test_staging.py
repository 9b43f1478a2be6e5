"""Files that are replaced together: all or none, whenever the process is killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from bench.core.errors import DataError, InputError
from bench.report import staging
from bench.report.staging import finish, staged

OLD = {"records.jsonl": "old", "missing.jsonl": "old", "samples/a": "old", "notes.txt": "mine"}
NEW = {"records.jsonl": "new", "samples/b": "new", "notes.txt": "mine"}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def exchange(folder: Path) -> None:
    with staged(folder, ["missing.jsonl"]) as new:
        write(new, {name: text for name, text in NEW.items() if name != "notes.txt"})


def test_new_files_replace_old_ones_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    exchange(tmp_path)
    assert content_of(tmp_path) == NEW


def test_if_anything_fails_all_is_as_before(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    with pytest.raises(OSError, match="full"), staged(tmp_path, ["missing.jsonl"]) as new:
        write(new, {"records.jsonl": ""})
        raise OSError("the disk is full")
    assert content_of(tmp_path) == OLD


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs, neither handlers nor clean-up."""


@pytest.mark.parametrize("step", range(8))
def test_a_kill_at_any_step_leaves_the_old_or_the_new_files(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, OLD)
    steps = 0

    def counted(act: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **options: object) -> object:
            nonlocal steps
            if steps >= step:  # a killed process does nothing any more
                raise Killed
            steps += 1
            return act(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patched:
        for name in ("write_atomic", "_replace", "_remove"):
            patched.setattr(staging, name, counted(getattr(staging, name)))
        patched.setattr(staging.shutil, "rmtree", counted(staging.shutil.rmtree))
        patched.setattr(staging, "own_name", lambda: "elsewhere-1-abcabcabcabc")
        with contextlib.suppress(Killed):
            exchange(tmp_path)
    finish(tmp_path)
    left = {n: t for n, t in content_of(tmp_path).items() if not n.startswith(".new-")}
    assert left == (OLD if step == 0 else NEW)
    for path in tmp_path.glob(".new-*"):  # of another machine: removed after a day
        os.utime(path, (0, 0))
    finish(tmp_path)
    assert not list(tmp_path.glob(".new-*"))


@pytest.mark.parametrize(
    "content",
    [
        '{"moved": [], "removed": ["../precious"]}',
        '{"moved": ["../precious"], "removed": []}',
        '{"moved": [], "removed": [".."]}',
        '{"moved": [], "removed": ["ABSOLUTE"]}',
        '{"moved": [], "removed": ["a/../../precious"]}',
        '{"moved": [], "removed": [3]}',
        '{"moved": []}',
        "[]",
        "{",
        "[" * 1000,
    ],
)
def test_a_run_of_somebody_else_touches_nothing_outside(content: str, tmp_path: Path) -> None:
    """To read a run must not remove files of the reader."""
    precious, run = tmp_path / "precious", tmp_path / "run"
    write(precious, {"file": "mine"})
    write(
        run, OLD | {".new-elsewhere-1-abc/ready.json": content.replace("ABSOLUTE", str(precious))}
    )
    with pytest.raises(DataError, match=r"ready\.json is not the list of an exchange"):
        finish(run)
    assert content_of(precious) == {"file": "mine"} and (run / "notes.txt").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious, run = tmp_path / "precious", tmp_path / "run"
    write(precious, {"file": "mine", "ready.json": '{"moved": ["file"], "removed": []}'})
    write(run, OLD)
    (run / ".new-elsewhere-1-abc").symlink_to(precious)
    with pytest.raises(DataError):
        finish(run)
    assert (precious / "file").exists()


def test_of_two_processes_that_finish_none_fails(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    half = tmp_path / ".new-elsewhere-1-abc"
    write(half, {"records.jsonl": "new", "ready.json": '{"moved": ["records.jsonl", "gone"]}'})
    (half / "ready.json").write_text('{"moved": ["records.jsonl", "gone"], "removed": ["x"]}')
    finish(tmp_path)
    finish(tmp_path)
    assert content_of(tmp_path) == OLD | {"records.jsonl": "new"}


def exchange_often(folder: Path, own: str) -> None:
    for _ in range(150):
        with staged(folder) as new:
            write(new, {"records.jsonl": own, "samples/a": own, "samples/b": own, "figures/c": own})


def test_exchanges_at_once_do_not_mix(tmp_path: Path) -> None:
    """Two processes once removed each other's new folders, or failed."""
    context = get_context("fork")
    processes = [context.Process(target=exchange_often, args=(tmp_path, own)) for own in "xyz"]
    [process.start() for process in processes]
    [process.join() for process in processes]
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = content_of(tmp_path)
    assert sorted(found) == ["figures/c", "records.jsonl", "samples/a", "samples/b"]
    assert len(set(found.values())) == 1


def write_two(run: Path) -> None:
    with staged(run) as new:
        for name in ("plan.json", "records.jsonl"):
            (new / name).write_text("new")


def test_a_folder_in_place_of_a_file_is_named_before_anything_is_moved(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl" / "mine").mkdir(parents=True)
    with pytest.raises(OSError, match="move the folder away") as caught:
        write_two(tmp_path)
    assert caught.value.filename == str(tmp_path / "records.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]


def test_what_cannot_be_exchanged_is_named_and_the_rest_follows_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that nobody may change, for example: not the hidden file that should replace it."""
    real = staging._replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "records.jsonl":
            raise PermissionError(1, "Operation not permitted", str(source), None, str(target))
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="move it away") as caught:
        patch.setattr(staging, "_replace", refuse)
        write_two(tmp_path)
    assert caught.value.filename == str(tmp_path / "records.jsonl")
    finish(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "records.jsonl"]


def test_a_refusal_at_the_end_leaves_the_folder_of_another(tmp_path: Path) -> None:
    """Another process ends in the folder while this one writes: it is asked after that."""

    def refuse() -> None:
        assert (tmp_path / "records").read_text() == "other"
        raise InputError("another run is there")

    with pytest.raises(InputError, match="another run"), staged(tmp_path, check=refuse) as new:
        (new / "records").write_text("mine")
        with staged(tmp_path) as other:
            (other / "records").write_text("other")
    assert {path.name for path in tmp_path.iterdir()} == {"records"}
    assert (tmp_path / "records").read_text() == "other"
