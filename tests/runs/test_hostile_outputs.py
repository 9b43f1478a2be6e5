"""Folders of outputs that are damaged or made to hurt are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hostile import YAML, damaged, documents, laughs, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from outputs_folders import alter, folder

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


def test_an_array_that_a_file_has_twice(tmp_path: Path) -> None:
    path = folder(tmp_path / "outputs")
    file = path / "test.safetensors"
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    text = data[8:end].decode().rstrip()
    start = text.index('"labels":')
    first = text[start : text.index("}", start) + 1]
    header = (text[:-1] + "," + first + "}").encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])
    refused(lambda: load(path), "test.safetensors", "'labels' more than once")


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_changed_is_read_again_whatever_its_modification_time(
    beside: bool, tmp_path: Path
) -> None:
    path = folder(tmp_path / "outputs")
    file = path / "test.safetensors"
    whole, before = file.read_bytes(), file.stat()
    told = load_outputs_folder(path, path / "cache")
    alter(path, "test", lambda arrays: arrays.update(labels=(arrays["labels"] + 1) % 3))
    if beside:
        (path / "other").write_bytes(file.read_bytes())
        (path / "other").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(whole) == before.st_size == file.stat().st_size
    again = load_outputs_folder(path, path / "cache")
    prints = [found.suite.test.fingerprint for found in (told, again)]
    assert prints[0] != prints[1]
