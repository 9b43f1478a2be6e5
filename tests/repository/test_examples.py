"""Examples that readers run: those of docstrings, of docs/python.md and the notebook."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from places import ROOT

from bench.api import registry

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
PUBLIC = (
    *("api", "core", "data", "front", "leaderboard", "models", "posthoc", "report", "testing"),
    "methods",
)
"""The packages that users and plugins import from: what their modules define has an example."""
WITHOUT: Mapping[str, str] = {
    "bench.core.record_lines.kinds": "lines of records; docs/records.md has a valid one of each",
    "bench.data.download": "what the commands bench data download and prepare do",
    "bench.data.mini": "the drawings of the suite mini; find_dataset has an example",
    "bench.data.suites.distortions": "functions of one form, by name; corrupt has an example",
    "bench.leaderboard.stats.estimates": "arithmetic of ranks and intervals; rank has an example",
    "bench.leaderboard.stats.outcomes": "what estimates are computed from; ranking has examples",
    "bench.leaderboard.stats.row_samples": "as significance",
    "bench.leaderboard.stats.selection_noise": "as estimates",
    "bench.leaderboard.stats.significance": "what reports ask of it; measured has an example",
    "bench.testing.synthetic.imagenet": "takes seconds; make_cifar and others have examples",
    "bench.report.figures": "figures of a report; write_report has an example",
}
"""Packages and modules in `PUBLIC` whose definitions need no example, with the reason."""
SOURCES = {
    ".".join(("bench", folder.name, *path.relative_to(folder).with_suffix("").parts)): path
    for folder in (*(ROOT / "bench" / name for name in PUBLIC[:-1]), ROOT / "methods")
    for path in sorted(folder.rglob("*.py"))
}
"""The modules of these packages by name; those that start with an underscore are private."""


def lacking(path: Path) -> list[str]:
    """The public classes and functions of a file without an example; interfaces need none."""
    return [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_"
        if not (isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases))
        if ">>> " not in (ast.get_docstring(node) or "")
    ]


def excused(module: str) -> set[str]:
    return {name for name in WITHOUT if f"{module}.".startswith(f"{name}.")}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a new folder, with a cache of its own; forget the plugins that examples register."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    registry.methods(), registry.datasets()
    for known in ("_METHODS", "_DATASETS", "_PLUGINS"):
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))


@pytest.mark.parametrize("module", [name for name in SOURCES if not excused(name)])
def test_examples_are_there_and_run(module: str) -> None:
    path = SOURCES[module]
    if path.stem[0] != "_" or path.stem == "__init__":
        assert not lacking(path)
    found = doctest.testmod(
        importlib.import_module(module.removesuffix(".__init__")), globs={}, optionflags=FLAGS
    )
    assert not found.failed
    assert found.attempted == path.read_text(encoding="utf-8").count(">>> ")


def test_what_needs_no_example_lacks_one() -> None:
    used = {n for module, path in SOURCES.items() for n in excused(module) if lacking(path)}
    assert used == WITHOUT.keys()


def test_the_example_of_the_python_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    assert "VRF" in capsys.readouterr().out
    cells, run = names["cells"], names["run"]
    of_vrf = cells[(cells.row == "vrf:e2e-ft") & (cells["shift"] == "sketch") & ~cells.scaled]
    assert names["accuracy"] == pytest.approx(of_vrf[of_vrf.metric == "top1"]["value"].item())
    assert names["page"].is_file() and names["same"].records == run.records


def executed(name: str, folder: Path) -> list[Any]:
    """The code cells of a notebook, executed in a folder."""
    notebook = nbformat.read(ROOT / "docs" / "examples" / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, cwd=str(folder)).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_of_an_analysis_runs(tmp_path: Path) -> None:
    first, means, gains, ece, chosen, *samples = (
        cell.outputs for cell in executed("analysis.ipynb", tmp_path)
    )
    for table in (first, means, ece, chosen, samples[0]):
        assert any("<table" in o.get("data", {}).get("text/html", "") for o in table)
    assert any("image/png" in o.get("data", {}) for o in gains)
    assert re.fullmatch(r"\(\d+, \d+\)", samples[1][-1]["data"]["text/plain"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs(tmp_path: Path) -> None:
    code = executed("micro.ipynb", tmp_path)
    assert sum(len(cell.source.splitlines()) for cell in code) <= 10
    board, plot, outputs = (cell.outputs for cell in code)
    assert any("<table>" in o.get("data", {}).get("text/html", "") for o in board)
    assert any("image/png" in o.get("data", {}) for o in plot)
    assert "(150, 20)" in outputs[-1]["data"]["text/plain"]
