#!/usr/bin/env python
"""Check all that a release needs, and say of each point whether it holds.

    python scripts/release.py                          # all points: hours
    python scripts/release.py --only wheels,changelog  # some of them

The points look at the commit that is checked out. Exit code 1 if one fails. What this machine
cannot show, such as a version of Python that it lacks, is said and fails nothing.
docs/releasing.md explains the points.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOLDS, FAILS, LACKS = "holds", "FAILS", "not shown"
MICRO = (*("--suite", "micro", "--limit", "40"), *("--shifts", "v2,objectnet"))
MICRO += ("--set", "e2e-ft.epochs=1")
"""The run that ``golden:micro`` has recorded."""
Answer = tuple[str, str]
"""One of the three words above, and what about it."""


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", help=f"some of {', '.join(POINTS)}, separated by commas")
    given = options.parse_args()
    names = [*POINTS] if given.only is None else [name.strip() for name in given.only.split(",")]
    if unknown := set(names) - POINTS.keys():
        told = ", ".join(map(repr, sorted(unknown)))
        options.error(f"unknown points {told}: expected {', '.join(POINTS)}")
    failed = False
    for name in names:
        for word, about in _answers(POINTS[name]):
            print(f"{name}: {word}{': ' * bool(about)}{about}", flush=True)
            failed |= word == FAILS
    return int(failed)


def _answers(point: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
    """What a point says; it fails if what it looks at is not there."""
    try:
        yield from point()
    except OSError as error:
        yield FAILS, str(error)


def changelog() -> Iterator[Answer]:
    """The changelog begins with this version and a date."""
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    found = heading[1] if heading else "none"
    package = (ROOT / "bench" / "core" / "__init__.py").read_text()
    version = re.findall(r'^__version__ = "(.*)"$', package, re.MULTILINE)[0]
    dated = re.fullmatch(re.escape(version) + r" \(\d{4}-\d{2}-\d{2}\)", found)
    yield (HOLDS, "") if dated else (FAILS, f"the first heading is {found!r}: date {version}")


def tree() -> Iterator[Answer]:
    """Nothing is changed that is not committed."""
    word, about = _ran("git status", ["git", "status", "--porcelain"])
    if word == HOLDS and (changed := _output("git", "status", "--porcelain")):
        word, about = FAILS, f"{len(changed.splitlines())} files differ from the commit"
    yield word, about


def pages() -> Iterator[Answer]:
    """What programs write into the repository is what they would write now."""
    paths = os.pathsep.join(str(ROOT / "scripts" / name) for name in ("", "pages"))
    before = _changes()
    for script in ("pages/results_page.py", "pages/datasets_page.py", "assets/write_schemas.py"):
        yield _ran(script, [sys.executable, f"scripts/{script}"], {"PYTHONPATH": paths})
    if _changes() != before:
        yield FAILS, "files were written anew: look at git status and git diff"


def tests() -> Iterator[Answer]:
    """CI passes on a clone of the commit."""
    with tempfile.TemporaryDirectory(prefix="bench-release-") as folder:
        copy = _clone(Path(folder))
        yield _ran(".ci/run", [copy / ".ci" / "run"], folder=copy)


def wheels() -> Iterator[Answer]:
    """The wheel runs where nothing else is installed, under each Python that it claims."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = (re.fullmatch(r".* :: Python :: (3\.\d+)", name) for name in project["classifiers"])
    with tempfile.TemporaryDirectory(prefix="bench-release-") as scratch:
        folder = Path(scratch)
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, "."]
        word, about = _ran("build", build, folder=_clone(folder))
        if word == FAILS:
            yield word, about
            return
        (wheel,) = folder.glob("*.whl")
        for version in [found[1] for found in known if found]:
            python = _python(version)
            if python is None:
                yield LACKS, f"no Python {version} on this machine"
                continue
            for tool in ("pip", "uv"):
                if tool == "uv" and shutil.which("uv") is None:
                    yield LACKS, f"uv with Python {version}: it is not installed"
                else:
                    yield _wheel_runs(folder / f"{tool}-{version}", wheel, python, tool)


def _wheel_runs(folder: Path, wheel: Path, python: str, tool: str) -> Answer:
    """Install the wheel and run the micro suite; remove all of it."""
    own = folder / "bin" / "python"
    make: Sequence[str | Path] = [python, "-m", "venv", folder]
    add: Sequence[str | Path] = [own, "-m", "pip", "install", "-q", wheel]
    if tool == "uv":
        make = ["uv", "venv", "-q", "-p", python, folder]
        add = ["uv", "pip", "install", "-q", "-p", own, wheel]
    command, run = folder / "bin" / "bench", folder / "run"
    places = ["--cache-dir", folder / "cache"]
    steps = [
        make,
        add,
        [command, "run", *MICRO, "--out", run, *places],
        [command, "check", run, *places],
        [command, "check", run, "--against", "golden:micro"],
    ]
    what = f"{tool} with {_output(python, '--version')}"
    try:
        for step in steps:
            word, about = _ran(what, step, folder=folder.parent)
            if word == FAILS:
                return word, about
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return HOLDS, what


def site() -> Iterator[Answer]:
    """The documentation builds, and all of its links lead somewhere."""
    with tempfile.TemporaryDirectory(prefix="bench-release-") as folder:
        yield _ran("the site", [sys.executable, "scripts/site/build_site.py", folder])


def stress() -> Iterator[Answer]:
    """The long form of the attacks: docs/reliability.md."""
    yield _ran("scripts/stress.py", [sys.executable, "scripts/stress.py"])


def audit() -> Iterator[Answer]:
    """No locked version has a known vulnerability."""
    if shutil.which("pip-audit") is None:
        yield LACKS, "pip-audit is not installed"
        return
    command = ["pip-audit", "--no-deps", "--disable-pip", "-r", ".ci/constraints.txt"]
    word, about = _ran("pip-audit", command)
    yield (LACKS, about) if "ConnectionError" in about or "resolve" in about else (word, about)


POINTS: Mapping[str, Callable[[], Iterator[Answer]]] = {
    point.__name__: point for point in (changelog, tree, pages, site, audit, tests, wheels, stress)
}


def _python(version: str) -> str | None:
    """Return a Python of this version that runs, from the path or from pyenv."""
    names = [f"python{version}", *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for name in (shutil.which(name) for name in names):
        if name and _output(name, "--version").startswith(f"Python {version}."):
            return name
    return None


def _clone(folder: Path) -> Path:
    _output("git", "clone", "-q", ROOT, folder / "bench")
    return folder / "bench"


def _output(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _changes() -> str:
    """What differs from the commit, new files too."""
    return _output("git", "status", "--porcelain") + _output("git", "diff")


def _ran(
    what: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Answer:
    """Run a command; if it fails, the answer has the last line that it wrote."""
    own = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True)
    if done.returncode == 0:
        return HOLDS, what
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return FAILS, f"{what}: exit code {done.returncode}: {said[-1] if said else 'without a word'}"


if __name__ == "__main__":
    sys.exit(main())
