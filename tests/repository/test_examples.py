"""Examples that readers run: those of docstrings, of docs/python.md and the notebook."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from places import ROOT

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "bench").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a new folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert found.attempted and not found.failed


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "examples" / "micro.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(len(cell.source.splitlines()) for cell in code) <= 10
    nbclient.NotebookClient(notebook, timeout=300, cwd=str(tmp_path)).execute()
    board, plot, outputs = (cell.outputs for cell in code)
    assert any("<table>" in o.get("data", {}).get("text/html", "") for o in board)
    assert any("image/png" in o.get("data", {}) for o in plot)
    assert "(150, 20)" in outputs[-1]["data"]["text/plain"]
