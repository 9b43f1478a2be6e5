"""The packages: imports go down only, without a cycle; no package too wide, no file too long."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from commands import SAME_BENCH
from places import ROOT, unlinked

BELOW: Mapping[str, set[str]] = {
    "core": set(),
    "posthoc": {"core"},
    "api": {"core", "posthoc"},
    "data": {"core", "api"},
    "models": {"core", "api", "data"},
    "leaderboard": {"core", "posthoc", "api", "data"},
    "testing": {"core", "posthoc", "api", "data"},
    "report": {"core", "api", "leaderboard"},
    "runs": {"core", "posthoc", "api", "data", "models", "leaderboard", "report"},
    "checks": {"core", "api", "data", "leaderboard", "report", "runs"},
    "front": {"core", "api", "models", "leaderboard", "report", "runs", "checks"},
    "methods": {"core", "posthoc", "api", "models"},
    "datasets": {"core", "api", "data"},
}
"""What each package may import besides itself. The command line, at the top, may import all."""
WIDE, LONG = 12, 400
TOP = {
    *(".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff"),
    *("CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"),
    "requirements-cpu.txt",
    *("bench", "benchmarks", "datasets", "docs", "methods", "results", "scripts", "tests"),
}
"""The most children of a package, and the most lines of a file."""


def name_of(path: Path) -> str:
    """``bench/api/method.py`` -> ``bench.api.method``; plugins are ``bench.methods.vrf``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "bench" else ("bench", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(path): path
    for folder in ("bench", "methods", "datasets")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not {"methods", "datasets"} & set(path.relative_to(ROOT / folder).parts[:1])
}
"""Every module of the package, plugins by their real files."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for module, path in FILES.items():
        yield module, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    """The modules of bench that a file imports: lazily and for types alone, too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & FILES.keys()) or {str(node.module)}
    return {name for name in found if name in FILES and name != "bench"}


GRAPH = {module: imported(tree) - {module} for module, tree in trees()}


def room(module: str) -> str:
    """The package of a module: the second part of its name."""
    return module.split(".")[1] if "." in module else "bench"


def test_the_table_has_every_package() -> None:
    rooms = {room(m) for m in FILES if FILES[m].parent != ROOT / "bench"}
    assert rooms == BELOW.keys() | {"cli"}


@pytest.mark.parametrize("package", sorted(BELOW))
def test_packages_import_downwards(package: str) -> None:
    plugin = package in {"methods", "datasets"}  # which never import each other
    used: set[str] = set()
    for module in sorted(m for m in FILES if room(m) == package):
        for other in GRAPH[module]:
            used.add(room(other))
            allowed = BELOW[package] if plugin else BELOW[package] | {package}
            assert room(other) in allowed, f"{module} imports {other}"
    assert BELOW[package] <= used, "the table has an arrow that no module needs"


def test_imports_have_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(GRAPH):
        free = {m for m in GRAPH if m not in done and GRAPH[m] <= done}
        assert free, f"a cycle among {sorted(GRAPH.keys() - done)}"
        done |= free


def test_no_room_is_too_wide_and_no_file_too_long() -> None:
    children: dict[Path, int] = defaultdict(int)
    for path in (ROOT / "bench").rglob("*"):
        is_module = path.suffix == ".py" and path.stem not in {"__init__", "__main__"}
        if is_module or (path.is_dir() and not path.is_symlink() and path.name != "__pycache__"):
            children[path.parent] += 1
    assert {f: n for f, n in children.items() if n > WIDE} == {}
    lines = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in FILES.items()}
    assert {module: n for module, n in lines.items() if n > LONG} == {}


def test_a_public_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees():
        if room(module) not in {"methods", "datasets"}:
            for node in tree.body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
                    homes[node.name].append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
    aliases = {
        target.id
        for module, tree in trees()
        for node in tree.body
        if isinstance(node, ast.Assign) and room(module) not in {"methods", "datasets"}
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert aliases & homes.keys() == set(), "a type alias has the name of a class"


def test_nothing_else_lies_at_the_top() -> None:
    """What examples and trials write must not be committed with the code."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP


def test_every_package_says_what_lives_there() -> None:
    for module, path in FILES.items():
        if path.stem == "__init__":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"


@pytest.mark.parametrize("folder", ["methods", "datasets"])
def test_plugin_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    assert (ROOT / "bench" / folder).is_symlink()


WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "open_clip", "timm", "faiss"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from bench.cli.main import exit_code
sys.exit(exit_code(sys.argv[1:]))
"""


def test_a_report_is_built_where_torch_is_absent(tmp_path: Path) -> None:
    formats = "md,html,csv,json,tex,svg"
    command = ("report", str(ROOT / "results" / "mini"), "--format", formats, "--out", tmp_path)
    run = [sys.executable, "-c", WITHOUT_TORCH, *map(str, command)]
    done = subprocess.run(run, env=SAME_BENCH, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in tmp_path.iterdir()}
    assert {"report.md", "report.html"} <= written
    assert unlinked(tmp_path / "report.md") == unlinked(ROOT / "results" / "mini" / "report.md")
