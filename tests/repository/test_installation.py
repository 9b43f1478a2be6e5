"""Checkouts without symbolic links, and the versions of Python that the package names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_EDITABLE = (
    "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    "sys.path.insert(0, sys.argv[1]); sys.argv = ['bench', 'list', 'methods']; "
    "from bench.__main__ import start; start()"
)


def test_a_checkout_without_links_says_so(tmp_path: Path) -> None:
    """Git on Windows writes a file with the path of the target in place of a link."""
    shutil.copytree(
        ROOT / "bench",
        tmp_path / "bench",
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
    )
    for name in ("methods", "datasets"):
        link = tmp_path / "bench" / name
        target = link.readlink()
        link.unlink()
        link.write_text(target.as_posix())
    command = [sys.executable, "-c", WITHOUT_EDITABLE, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert len(line) < 500 and str(tmp_path / "bench" / "methods") in line
    assert "core.symlinks=true" in line


def test_each_extra_is_explained() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    (table,) = re.findall(r"^\| extra \| for \|\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    names = [
        name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(names) == sorted(PROJECT["optional-dependencies"])


def claimed() -> list[str]:
    """The versions of Python in the classifiers."""
    names = (re.fullmatch(r".* :: Python :: (3\.\d+)", name) for name in PROJECT["classifiers"])
    return [found[1] for found in names if found]


def test_each_version_of_python_that_is_claimed_is_tested() -> None:
    first, last = claimed()[0], claimed()[-1]
    after = f"3.{int(last.partition('.')[2]) + 1}"
    assert PROJECT["requires-python"] == f">={first},<{after}"
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    (matrix,) = (job["strategy"]["matrix"] for job in jobs.values() if "strategy" in job)
    assert [first, *matrix["python"]] == claimed()
