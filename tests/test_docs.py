"""What the documents say works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import registry
from bench.testing import check_method

ROOT = Path(__file__).parent.parent


def test_the_example_of_a_new_method_passes_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.methods()
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(code.splitlines()) <= 45
    module = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    check_method(registry.find_method("logit-ose"))


@pytest.mark.parametrize("name", ["pyproject.toml", "example_method.py", "example_training.py"])
def test_the_example_of_a_package_is_the_one_that_is_tested(name: str) -> None:
    blocks = re.findall(r"```\w+\n(.*?)```", (ROOT / "docs/new-method.md").read_text(), re.DOTALL)
    assert (ROOT / "tests" / "plugin" / name).read_text() in blocks


def test_the_example_of_the_estimators_runs() -> None:
    text = (ROOT / "docs" / "estimators.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/estimators.md", "exec"), names)
    labels = names["labels"]
    right = {end: (names[end].argmax(axis=1) == labels).mean() for end in ("zs", "ft")}
    ensembled = (names["probabilities"].argmax(axis=1) == labels).mean()
    assert max(right.values()) < ensembled <= 1
    assert names["scaled"].shape == names["probabilities"].shape == (1000, 5)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_has_two_commands_for_everything() -> None:
    text = (ROOT / "README.md").read_text()
    assert ".venv/bin/bench run" in text
    assert "/pytest" in text
    assert text.count("\n    ") == 5
