"""Class files, templates, suite files and notes that are damaged or made to hurt are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hostile import JSON, ODD_JSON, YAML, damaged, documents, laughs, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_files import BASE, folders

from bench.api.registry import load_plugin
from bench.core.parameters import with_parameters
from bench.data.class_files import read_class_file
from bench.data.classes import Classes
from bench.data.folder import SYNTHETIC, DataFolder
from bench.data.prompts import read_templates, templates_digest
from bench.data.readers import videos
from bench.data.readers.arrays import images_of_file
from bench.data.readers.image_lists import list_split
from bench.data.suites.from_yaml import load_suite_file
from bench.data.suites.imagenet import imagenet_classes, objectnet_classes
from bench.datasets import wilds
from bench.leaderboard.published.baselines import read_baselines
from bench.methods.wise_ft import WeightSpaceEnsemble
from bench.runs.study.config import load_config
from bench.testing.synthetic.objectnet import make_objectnet
from bench.testing.synthetic.videos import make_videos

FORM = yaml.safe_dump(BASE, sort_keys=False).encode()
VID = "data/imagenet_vid_ytbb_robust/imagenet-vid-robust"
YTBB = "data/bench-metadata/ytbb-robust"


def templates(path: Path) -> object:
    templates_digest(path)
    return read_templates(path, "pets")


def suite(path: Path) -> object:
    return load_suite_file(path, None, path.parent / "cache")


def note(path: Path) -> object:
    folder = DataFolder(path.parent, path.parent / "cache")
    return folder.expected("cifar-10.1", "test")


READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "classes.txt": (b"1 cat\n2 dog\n", read_class_file),
    "classes.json": (b'{"0": "cat", "1": "dog"}', read_class_file),
    "classes.yaml": (b"classes: [cat, &d dog, *d]", read_class_file),
    "classes.csv": (b"index,name\n0,cat\n1,dog\n", read_class_file),
    "classes.tsv": (b"folder\tprompt\ncat\ta cat\n", read_class_file),
    "p.txt": (b"a photo of a {}.\n", templates),
    "p.json": (b'{"pets": ["a photo of a {}."]}', templates),
    "p.yaml": (b"pets: ['a photo of a {}.']", templates),
    "p.py": (b"pets_template = [lambda c: f'a photo of a {c}.', 'a {}']", templates),
    "my.yaml": (FORM, suite),
    "run.yaml": (b"suite: mini\nseeds: [0, 1]\nset: {vrf: {k: 3}}", lambda p: load_config(p, {})),
    "b.csv": (b"model,source,id,v2\nResNet-50,a paper,76,63\n", read_baselines),
    SYNTHETIC: (b'{"cifar-10.1": {"test": 20}}', note),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for role in ("train", "test"):
        folders(folder / role, ["cat", "dog", "fox"], 2)
    make_videos(folder / "data")
    make_objectnet(folder / "data")
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@given(st.data())
@settings(max_examples=40)
def test_damaged_text_is_read_or_refused(name: str, place: Path, data: st.DataObject) -> None:
    valid, read = READERS[name]
    path = place / name
    path.write_bytes(data.draw(damaged(valid) | documents()))
    readable_or_refused(lambda: read(path))


@pytest.mark.parametrize("name", READERS)
def test_whole_text_is_read(name: str, place: Path) -> None:
    valid, read = READERS[name]
    (place / name).write_bytes(valid)
    read(place / name)


@pytest.mark.parametrize("name", READERS)
def test_pipes_and_devices(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    if name != SYNTHETIC:  # which is looked for, and not there
        refused(lambda: READERS[name][1](path), str(path), "it is a pipe")
        path.unlink()
        path.symlink_to("/dev/zero")
        refused(lambda: READERS[name][1](path), str(path), "it is a device")


def test_a_pipe_is_no_plugin(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    refused(lambda: load_plugin(tmp_path / "a.py"), "a.py: cannot read the file: it is a pipe")


BOMBS = [
    *((f"{name}.{end}", text, said) for end in ("yaml",) for name, (text, said) in YAML.items()),
    *((f"{name}.json", text, said) for name, (text, said) in JSON.items()),
]


@pytest.mark.parametrize(("file", "text", "said"), BOMBS, ids=[file for file, _, _ in BOMBS])
@pytest.mark.parametrize("read", [read_class_file, templates])
def test_bombs_in_class_files_and_templates(
    file: str, text: str, said: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text)
    told = refused(lambda: read(tmp_path / file), file)
    assert said[:40] in told


@pytest.mark.parametrize("name", YAML)
def test_bombs_in_suite_and_run_files(name: str, tmp_path: Path) -> None:
    text, said = YAML[name]
    for file in ("my.yaml", "run.yaml"):
        (tmp_path / file).write_text(text)
        refused(lambda file=file: READERS[file][1](tmp_path / file), file, said)  # type: ignore[misc]


def test_laughs_below_a_field_of_a_suite_file(tmp_path: Path) -> None:
    for field in ("model", "classes", "templates"):
        below = "\n".join(f"  {line}" for line in laughs().splitlines())
        (tmp_path / "my.yaml").write_text(f"name: pets\n{field}:\n{below}\n")
        refused(lambda: suite(tmp_path / "my.yaml"), "my.yaml", "repetitions counted")


def test_bombs_behind_an_option() -> None:
    method = WeightSpaceEnsemble()
    for text, _ in YAML.values():
        change = {"alphas": text}
        refused(lambda change=change: with_parameters(method, change, "wise-ft"))  # type: ignore[misc]


def test_names_that_are_numbers_of_thousands_of_digits() -> None:
    long = "7" * 5000
    labels = np.array([0, 1])
    assert Classes((long, "1"), ("a", "b")).of_numbers(labels, "here") is labels
    pets = Classes(("cat", "dog"), ("cat", "dog"))
    refused(lambda: pets.index(long, pets.spellings()), "numbers go from 0 to 1")


@pytest.mark.parametrize("digits", [30, 5000])
def test_numbers_of_many_digits_in_tables(digits: int, tmp_path: Path) -> None:
    number = "7" * digits
    refused(lambda: wilds._integers(tmp_path / "a.csv", [number]), "a.csv: expected integers")
    pets = Classes(("cat", "dog"), ("cat", "dog"))
    (tmp_path / "image.png").touch()
    (tmp_path / "a.csv").write_text(f"path,label\nimage.png,{number}\n")
    refused(lambda: list_split("t", tmp_path / "a.csv", pets, tmp_path), "a.csv:2: unknown class")
    np.save(tmp_path / "a.npy", np.zeros((1, 8, 8, 3), np.uint8))
    (tmp_path / "a.txt").write_text(number)
    images, labels = tmp_path / "a.npy", tmp_path / "a.txt"
    refused(lambda: images_of_file(images, labels, pets), "a.txt: unknown class")


@pytest.mark.parametrize("text", [*ODD_JSON, JSON["digits"][0], JSON["rather deep"][0]])
def test_official_files_of_other_forms(text: str, place: Path, tmp_path: Path) -> None:
    readers: tuple[tuple[Path, Callable[[], object]], ...] = (
        (place / VID, lambda: videos.vid_robust(
            place / VID / "metadata", place / VID / "misc", imagenet_classes())),
        (place / YTBB, lambda: videos.ytbb_robust(place / YTBB)),
        (place / "data/objectnet-1.0/mappings",
         lambda: objectnet_classes(place / "data/objectnet-1.0/mappings")),
    )  # fmt: skip
    for root, read in readers:
        found = list(root.rglob("*.json"))
        assert found
        for path in found:
            kept = path.read_bytes()
            path.write_text(text)
            readable_or_refused(read)
            path.write_bytes(kept)
