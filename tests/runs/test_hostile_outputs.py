"""Folders of outputs that are damaged or made to hurt are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hostile import YAML, damaged, documents, laughs, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs_folders import folder

from bench.runs.study.outputs_folder import load_outputs_folder


def load(path: Path) -> None:
    load_outputs_folder(path, path / "cache")


@pytest.mark.parametrize("count", [10**9, 10**99])
def test_a_billion_classes(count: int, tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs", classes=3)
    text = (path / "outputs.yaml").read_text().replace("classes: 3", f"classes: {count}")
    (path / "outputs.yaml").write_text(text)
    refused(lambda: load(path), "outputs.yaml: ", "classes: ")


@pytest.mark.parametrize("name", YAML)
def test_bombs(name: str, tmp_path: Path) -> None:
    text, said = YAML[name]
    (tmp_path / "outputs.yaml").write_text(text)
    refused(lambda: load(tmp_path), "outputs.yaml", said)


def test_laughs_under_model_and_classes(tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs")
    whole = (path / "outputs.yaml").read_text()
    below = "\n".join(f"  {line}" for line in laughs().splitlines())
    for field in ("model", "classes"):
        rest = "\n".join(line for line in whole.splitlines() if not line.startswith(field + ":"))
        (path / "outputs.yaml").write_text(f"{rest}\n{field}:\n{below}\n")
        refused(lambda: load(path), "outputs.yaml", "repetitions counted")


@pytest.mark.parametrize("file", ["outputs.yaml", "test.safetensors"])
def test_pipes_and_devices(file: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs")
    (path / file).unlink()
    os.mkfifo(path / file)
    refused(lambda: load(path), file)
    (path / file).unlink()
    (path / file).symlink_to("/dev/zero")
    refused(lambda: load(path), file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["outputs.yaml", "test.safetensors"])
@given(st.data())
@settings(max_examples=30)
def test_damaged_outputs_are_read_or_refused(
    file: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "outputs"
    folder(path)
    valid = (path / file).read_bytes()
    (path / file).write_bytes(data.draw(damaged(valid) | documents()))
    readable_or_refused(lambda: load(path))


def test_the_folder_itself_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs")
    load(path)
    assert yaml.safe_load((path / "outputs.yaml").read_text())["classes"] == 3
