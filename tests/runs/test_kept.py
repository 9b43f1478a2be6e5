"""A run's folder stands alone: what it keeps, and what a check says of inputs that have changed."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import assert_refused, bench, contents
from suite_files import BASE, draw, write

from bench.core.paths import default_cache_dir
from bench.runs import session as bench_session


@pytest.fixture
def finished(pets: Path, tmp_path: Path) -> Path:
    """A finished run of a suite file with names and templates in files of their own."""
    (pets / "words").mkdir()
    (pets / "words" / "names.txt").write_text("cat\ndog\nfox\n")
    (pets / "templates.txt").write_text("a photo of a {}.\n")
    names = {"classes": {"file": "words/names.txt"}, "templates": {"file": "templates.txt"}}
    suite = write(pets, BASE | names)
    out = tmp_path / "elsewhere" / "run"
    result = bench(
        *("run", "--suite", suite, "--model", "tiny", "--pretrained", "embedded"),
        *("--methods", "zero-shot", "--cache-dir", tmp_path / "cache", "--out", out),
    )
    assert result.code == 0, result.err
    return out


def test_it_can_be_checked_from_any_folder(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {path.relative_to(finished).as_posix() for path in (finished / "inputs").rglob("*.*")}
    pets = "inputs/pets"
    assert kept == {f"{pets}/my.yaml", f"{pets}/words/names.txt", f"{pets}/templates.txt"}
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in ("check", "report"):
        result = bench(command, "run")
        assert result.code == 0, result.err
    assert bench("compare", "run", "run").code == 0


@pytest.mark.parametrize("name", ["my.yaml", "words/names.txt", "templates.txt"])
def test_a_changed_suite_file_or_list_is_checked_by_its_copy(
    name: str, finished: Path, pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = pets / name
    path.write_text(path.read_text().replace("cat", "lion").replace("a photo", "a picture") + "\n")
    with caplog.at_level(logging.WARNING):
        assert bench("check", finished).code == 0
    if name == "my.yaml":
        assert "my.yaml has changed since the run: its copy of then" in caplog.text
    path.unlink()
    assert bench("check", finished).code == 0


@pytest.mark.parametrize("change", ["another", "fewer", "more", "label"])
def test_changed_images_are_called_that(change: str, finished: Path, pets: Path) -> None:
    one = pets / "test" / "cat" / "test0.png"
    if change == "another":
        draw(one, 77)
    elif change == "fewer":
        one.unlink()
    elif change == "more":
        draw(pets / "test" / "cat" / "new.png", 99)
    else:
        one.rename(pets / "test" / "dog" / "moved.png")
    result = bench("check", finished)
    said = "data or labels of pets/test have changed since the run"
    assert_refused(result, said, "restore the data", code=4)


def test_the_places_are_no_result(finished: Path, tmp_path: Path) -> None:
    places = json.loads((finished / "places.json").read_text())
    assert Path(places["cache_dir"]) == tmp_path / "cache"
    assert "places.json" not in contents(finished)
    (finished / "places.json").unlink()
    result = bench("check", finished, "--cache-dir", tmp_path / "cache")
    assert result.code == 0, result.err  # the suite file is still where it was


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"suites": 3}', '{"suites": {"a.yaml": {}}}', '{"templates": 3}']
)
def test_a_broken_list_of_places_is_one_line(text: str, finished: Path) -> None:
    (finished / "places.json").write_text(text)
    assert_refused(bench("check", finished), "places.json")


def test_a_run_of_a_built_in_suite_in_the_default_folders_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BENCH_CACHE", raising=False)
    assert default_cache_dir().is_relative_to(tmp_path)
    command = (
        "run",
        "--suite",
        "micro",
        "--limit",
        "20",
        "--methods",
        "zero-shot",
        "--shifts",
        "v2",
    )
    assert bench(*command, "--out", tmp_path / "out").code == 0
    assert not (tmp_path / "out" / "places.json").exists()
    assert not (tmp_path / "out" / "inputs").exists()


def test_data_elsewhere_are_found_again(pets: Path, tmp_path: Path) -> None:
    suite, data = write(tmp_path, BASE, "alone.yaml"), tmp_path / "data"
    command = (
        *("run", "--suite", suite, "--data", data, "--model", "tiny", "--methods", "zero-shot"),
        *("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"),
    )
    assert bench(*command).code == 0
    assert bench("check", tmp_path / "out").code == 0
    shutil.move(data, tmp_path / "moved")
    assert bench("check", tmp_path / "out").code == 2
    assert bench("check", tmp_path / "out", "--data", tmp_path / "moved").code == 0


def test_inputs_are_those_of_the_start_of_a_run(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may take days: meanwhile its suite file and templates are edited, moved or deleted."""
    suite, templates = write(pets, BASE), tmp_path / "prompts.txt"
    templates.write_text("a photo of a {}.")
    before = suite.read_bytes()
    execute = bench_session.execute_plan

    def edited(*arguments: Any) -> Any:
        found = execute(*arguments)
        suite.unlink()
        templates.write_text("no template at all")
        return found

    monkeypatch.setattr(bench_session, "execute_plan", edited)
    out = tmp_path / "out"
    result = bench(
        *("run", "--suite", suite, "--model", "tiny", "--methods", "zero-shot"),
        *("--templates", templates, "--cache-dir", tmp_path / "cache", "--out", out),
    )
    assert result.code == 0, result.err
    assert (out / "inputs" / "pets" / "my.yaml").read_bytes() == before
    assert (out / "inputs" / "prompts.txt").read_text() == "a photo of a {}."
    monkeypatch.undo()
    assert bench("check", out).code == 0


def test_names_in_the_data_folder_are_those_of_the_run(pets: Path, tmp_path: Path) -> None:
    (pets / "names.txt").write_text("cat\ndog\nfox\n")
    suite = write(tmp_path, BASE | {"classes": {"file": "names.txt"}}, "alone.yaml")
    out = tmp_path / "out"
    result = bench(
        *("run", "--suite", suite, "--data", pets, "--model", "tiny", "--methods", "zero-shot"),
        *("--cache-dir", tmp_path / "cache", "--out", out),
    )
    assert result.code == 0, result.err
    (pets / "names.txt").write_text("cat\nwolf\nfox\n")
    assert bench("check", out).code == 0


@pytest.mark.parametrize("kept", ["../other.yaml", "/etc/other.yaml", "inputs/../../other.yaml"])
def test_a_copy_lies_in_the_folder_of_its_run(kept: str, finished: Path) -> None:
    path = finished / "places.json"
    places = json.loads(path.read_text())
    for suite in places["suites"].values():
        suite["kept"] = kept
    path.write_text(json.dumps(places))
    assert_refused(bench("check", finished), "places.json")
