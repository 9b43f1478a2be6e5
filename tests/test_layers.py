"""Imports go down only: the layers of DESIGN as a test, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    # 0: contracts and pure arithmetic
    {"errors", "keys", "parameters", "protocol", "recipes", "manifest", "dataset", "trainer",
     "posthoc", "method", "registry", "holdout"},
    # 1: leaves
    {"config", "paths", "store", "records", "metrics", "figures", "selection", "addresses",
     "oracle", "pooling", "presets", "cards", "published", "data_folder", "prompts", "index",
     "readers", "pickles", "array_reader", "binaries", "distortions", "corruptions", "suite_form",
     "suite_file", "provenance", "processes", "progress", "streams", "embedded", "synthetic",
     "ends", "imports", "outputs_form", "outputs_file", "stats", "ece_interval", "judged",
     "ranking", "real_data", "imagenet", "videos", "packed", "integrity", "download", "unpack",
     "imagenet_folders", "obtain", "file_checks", "samples", "decoding", "trees", "shards",
     "hub_reader", "verdicts"},
    # 2: models and arrays
    {"models", "heads", "weights", "images", "contrastive", "contrastive_trainer", "probe",
     "networks", "fisher", "train", "predict", "knn", "outputs", "engine", "checkpoints", "arrays",
     "estimators"},
    # 3: decisions
    {"study", "plan", "counting", "expense", "recording", "measuring", "run",
     "request", "importing", "scoring", "verification"},
    # 4: output
    {"agreement", "board", "leaderboard", "severities", "tables", "forms", "standings",
     "comparisons", "measured", "baselines", "vega", "series", "scatter", "charts", "sample_charts",
     "rank_table", "remake", "document", "drawing", "exports", "page", "page_data", "report",
     "console", "display", "catalogue", "finished", "session", "recheck", "ledger", "ledger_table",
     "published_tables", "golden", "changes", "changes_table",
     "backing"},
    # edge
    {"cli", "cli_options", "cli_check", "cli_compare", "cli_data", "cli_verify", "fakes", "testing",
     "__main__"},
)  # fmt: skip
NO_TORCH = (
    {
        "leaderboard",
        "tables",
        "report",
        "console",
        "ledger",
        "ledger_table",
        "published_tables",
        "backing",
    },
    {"torch", "open_clip", "torchvision"},
)


def layer(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imported(path: Path) -> set[str]:
    """Every module a file imports, also inside functions; type-checking imports left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def harness(path: Path) -> set[str]:
    """The harness modules a file imports, such as {'store'}."""
    parts = [name.split(".") for name in imported(path)]
    return {p[1] for p in parts if p[0] == "bench" and len(p) > 1 and not p[1].startswith("__")}


MODULES = sorted(p for p in (ROOT / "bench").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_imports_its_own_layer_or_lower(path: Path) -> None:
    for other in harness(path):
        if other not in {"methods", "datasets", "templates"}:
            assert layer(other) <= layer(path.stem), f"{path.stem} imports {other}"


def test_imports_have_no_circle() -> None:
    graph = {p.stem: harness(p) for p in MODULES}
    done: set[str] = set()
    while len(done) < len(graph):
        free = {m for m in graph if m not in done and graph[m] & graph.keys() <= done}
        assert free, f"a circle among {sorted(graph.keys() - done)}"
        done |= free


@pytest.mark.parametrize(("folder", "highest"), [("methods", 2), ("datasets", 1)])
def test_plugins_stay_low_and_apart(folder: str, highest: int) -> None:
    for path in (ROOT / folder).glob("*.py"):
        for other in harness(path):
            assert other not in {"methods", "datasets"}, f"{path.name} imports another plugin"
            assert layer(other) <= highest, f"{path.name} imports {other}"


@pytest.mark.parametrize("name", sorted(NO_TORCH[0]))
def test_reports_need_no_torch(name: str) -> None:
    reached, queue = set(), [name]
    while queue:
        module = queue.pop()
        path = ROOT / "bench" / f"{module}.py"
        if module in reached or not path.exists():
            continue
        reached.add(module)
        assert not {m.split(".")[0] for m in imported(path)} & NO_TORCH[1], module
        queue += harness(path)


@pytest.mark.parametrize("folder", ["methods", "datasets"])
def test_plugin_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    assert (ROOT / "bench" / folder).is_symlink()
