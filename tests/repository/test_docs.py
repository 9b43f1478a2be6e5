"""The examples, links and citations of the documents are correct."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from document_blocks import blocks
from places import ROOT

from bench.core.records import read_records
from bench.front.display import leaderboards_text


@pytest.mark.parametrize(
    "name", ["pyproject.toml", "example_method.py", "example_distance.py", "example_training.py"]
)
def test_the_example_of_a_package_is_the_one_that_is_tested(name: str) -> None:
    found = (block.text for block in blocks(ROOT / "docs/new-method.md"))
    assert (ROOT / "tests" / "plugin" / name).read_text() in found


@pytest.mark.filterwarnings("ignore")
def test_ray_takes_the_cluster_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="no extra ray")
    (block,) = (b for b in blocks(ROOT / "docs/scaling.md") if b.title == "cluster.yaml")
    cluster = util.prepare_config(yaml.safe_load(block.text))
    util.validate_config(cluster)
    assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])


@pytest.mark.filterwarnings("ignore:b = 0.1 is the largest")  # as the page says
def test_the_examples_of_the_estimators_run() -> None:
    text = (ROOT / "docs" / "estimators.md").read_text()
    code, with_sklearn = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/estimators.md", "exec"), names)
    labels = names["labels"]
    right = {end: (names[end].argmax(axis=1) == labels).mean() for end in ("zs", "ft")}
    ensembled = (names["probabilities"].argmax(axis=1) == labels).mean()
    assert max(right.values()) < ensembled <= 1
    assert names["scaled"].shape == names["probabilities"].shape == (1000, 5)
    exec(compile(with_sklearn, "docs/estimators.md", "exec"), names)
    assert names["search"].best_params_["alpha"] in {0.4, 0.6, 0.8}
    assert names["search"].best_score_ > 0.9 and names["vrf"].k_ == 1


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)  # no code
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_has_two_commands_for_everything() -> None:
    text = (ROOT / "README.md").read_text()
    assert ".venv/bin/bench run" in text
    assert "/pytest" in text
    assert text.count("\n    ") == 5


def test_the_readme_shows_what_the_first_command_prints() -> None:
    """Its numbers are those of the golden run with the same command."""
    block = (ROOT / "README.md").read_text().split("```")[1]
    shown = {line.split("  ")[0].strip("+ †"): line.split()[-7:] for line in block.splitlines()}
    sets = ["id", *block.splitlines()[2].split()[2:7]]
    cells = json.loads((ROOT / "results" / "golden" / "mini.json").read_text())["cells"]
    names = {"Zero-shot": "zero-shot", "E2E-FT": "e2e-ft", "WiSE-FT": "wise-ft", "VRF": "vrf"}
    for title, method in {**names, "OSE": "ose"}.items():
        found = [c for c in cells if c["method"] == method and c["kind"] == "cell"]
        values = {c["shift"]: c["value"] for c in found if c["metric"] == "top1"}
        assert shown[title][:6] == [f"{100 * values[name]:.1f}" for name in sets]


def test_the_readme_has_every_line_below_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed run has the same command with more seeds; seed 0 is what the readme shows."""
    records = read_records(ROOT / "results" / "mini" / "records.jsonl")
    first = [record for record in records if record.seed in (None, 0)]
    monkeypatch.setenv("COLUMNS", "100")
    printed = leaderboards_text(first, missing=[]).splitlines()
    block = (ROOT / "README.md").read_text().split("```")[1].strip().splitlines()
    assert [line.rstrip() for line in printed] == block


CITATION = re.compile(r"docs/methods\.md((?:(?:,| and)? section \d+(?:, item \d+)?)+)")


def source(path: Path) -> str:
    """Return a file's text as one line, with adjacent string literals joined."""
    return " ".join(re.sub(r'"\n *"', "", path.read_text()).split())


SOURCES = [
    path
    for folder in ("bench", "methods", "datasets", "scripts", "tests", "docs")
    for path in sorted((ROOT / folder).rglob("*.[pm][yd]"))
    if "methods.md" in path.read_text() and path != Path(__file__)
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_what_is_cited_of_the_methods_page_is_there(path: Path) -> None:
    text = re.sub(r"\]\([^)]*\)", "", source(path))
    cited = CITATION.findall(text)
    assert len(cited) == text.count("methods.md"), "cite it as docs/methods.md section N, item M"
    page = (ROOT / "docs" / "methods.md").read_text()
    bodies = dict(re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for section, item in re.findall(r"section (\d+)(?:, item (\d+))?", " ".join(cited)):
        assert section in bodies
        assert not item or f"\n{item}. " in bodies[section], f"section {section} has no {item}"


def test_the_methods_page_is_cited() -> None:
    assert {"bench/api/protocol.py", "bench/posthoc/functional.py"} <= {
        str(p.relative_to(ROOT)) for p in SOURCES
    }


def test_the_requirements_without_cuda_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[>;]", line)[0]: line for line in project["dependencies"]}
    del needed["torch"], needed["torchvision"], needed["faiss-gpu"]
    needed["faiss-cpu"] = needed["faiss-cpu"].partition(";")[0]
    lines = (ROOT / "requirements-cpu.txt").read_text().splitlines()
    assert sorted(line for line in lines if line[0] != "#") == sorted(needed.values())
