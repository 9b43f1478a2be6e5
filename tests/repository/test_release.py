"""``scripts/release.py``: what cannot be looked at does not hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

SCRIPT = Path("scripts", "release.py")


def release(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tree_without_a_repository_is_not_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    found = release(tmp_path, "--only", "tree")
    assert found.returncode == 1 and "tree: FAILS: git status: exit code 128" in found.stdout
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    found = release(tmp_path, "--only", " tree")
    assert found.returncode == 1 and "1 files differ" in found.stdout


def test_a_point_whose_files_are_not_there_fails(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    found = release(tmp_path, "--only", "changelog,wheels")
    assert found.returncode == 1 and found.stderr == ""
    assert [line.split(": [")[0] for line in found.stdout.splitlines()] == [
        "changelog: FAILS",
        "wheels: FAILS",
    ]


def test_a_page_that_is_new_is_noticed(tmp_path: Path) -> None:
    for name in ("pages/results_page", "pages/datasets_page", "assets/write_schemas"):
        (tmp_path / "scripts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scripts" / f"{name}.py").touch()
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert release(tmp_path, "--only", "pages").returncode == 0
    (tmp_path / "scripts" / "pages" / "results_page.py").write_text("open('page.md', 'w')")
    found = release(tmp_path, "--only", "pages")
    assert found.returncode == 1 and "pages: FAILS: files were written anew" in found.stdout


def test_no_point_is_not_all_points() -> None:
    found = release(ROOT, "--only", "")
    assert found.returncode == 2 and "unknown points ''" in found.stderr
