"""The suite cifar10: its label maps, its folders, missing data, and a run."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused, bench
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bench.api.dataset import Suite
from bench.api.protocol import OFFICIAL
from bench.api.registry import find_dataset
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.data.folder import SYNTHETIC, NotFound
from bench.data.readers.cifar_stl import CIFAR10_CLASSES, STL_CLASSES
from bench.runs.study.rows import Settings
from bench.testing.synthetic import cifar

WITHOUT_FROG = (0, 1, 2, 3, 4, 5, 7, 8, 9)
PARTS = ("cifar-10-batches-py", "CIFAR-10.1", "CIFAR-10.2", "stl10_binary")


def suite_of(data: Path) -> Suite:
    return find_dataset("cifar10")().suite(data, data / "cache")


def shift_of(data: Path, name: str) -> Split:
    return next(shift.split for shift in suite_of(data).shifts if shift.name == name)


def contents(split: Split) -> list[tuple[bytes, int]]:
    loaded = split.load()
    labels = loaded.manifest.first.tolist()
    return [(loaded.images[i].tobytes(), label) for i, label in enumerate(labels)]


def unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")


# STL-10's classes


@pytest.fixture(scope="module")
def stl(copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    suite = find_dataset("cifar10")().suite(copies, tmp_path_factory.mktemp("cache"))
    return next(shift for shift in suite.shifts if shift.name == "stl10")


def test_car_and_bird_change_places_and_frog_is_left_out(stl: Any) -> None:
    #          airplane automobile bird cat deer dog frog horse ship truck
    scores = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]], dtype=np.float32)
    assert stl.labels.project(scores).tolist() == [[0, 1, 2, 3, 4, 5, 7, 8, 9]]
    assert stl.labels.columns == tuple((column,) for column in WITHOUT_FROG)
    assert stl.labels.relation == "subset"


def test_every_stl_image_counts_as_its_class_in_cifar(stl: Any, copies: Path) -> None:
    """A perfect classifier is always right, although the class orders of the files differ."""
    own = np.fromfile(copies / "stl10_binary" / "test_y.bin", dtype=np.uint8)
    names = [STL_CLASSES[number - 1] for number in own if STL_CLASSES[number - 1] != "monkey"]
    meant = [CIFAR10_CLASSES.index("automobile" if n == "car" else n) for n in names]
    scores = np.eye(10, dtype=np.float32)[meant]
    truth = stl.split.load().manifest.first
    assert stl.labels.project(scores).argmax(axis=1).tolist() == truth.tolist()
    bird, car = (truth[names.index(name)] for name in ("bird", "car"))
    assert (car, bird) == (1, 2)


@given(arrays(np.float32, (4, 10), elements=st.floats(-50, 50, width=32)))
def test_nobody_is_ever_taken_for_a_frog(stl: Any, scores: np.ndarray[Any, Any]) -> None:
    projected = stl.labels.project(scores)
    assert projected.shape == (4, 9)
    assert np.array_equal(projected, np.delete(scores, 6, axis=1))
    loud = scores.copy()
    loud[:, 6] = 100
    assert np.array_equal(stl.labels.project(loud), projected)


def test_monkeys_are_dropped_and_rows_keep_their_names(stl: Any, copies: Path) -> None:
    own = np.fromfile(copies / "stl10_binary" / "test_y.bin", dtype=np.uint8)
    kept = np.flatnonzero(own != 1 + STL_CLASSES.index("monkey"))
    assert stl.split.size == len(kept) == len(own) * 9 // 10
    assert stl.split.load().manifest.ids == tuple(f"test-{row:05d}" for row in kept)


def test_names_of_labels_are_those_of_the_file(data: Path) -> None:
    before = contents(shift_of(data, "stl10"))
    path = data / "stl10_binary" / "class_names.txt"
    names = list(STL_CLASSES)
    names[1], names[2] = names[2], names[1]
    path.write_text("\n".join(names))
    swapped = {1: 2, 2: 1}
    assert contents(shift_of(data, "stl10")) == [(x, swapped.get(y, y)) for x, y in before]
    path.write_text("\n".join([*names[:-1], "frog"]))
    (fault,) = suite_of(data).faults
    assert "class_names.txt: expected the class names airplane, bird" in fault


@pytest.mark.parametrize("second", ["car", "automobile"])
def test_stl10_in_class_folders(second: str, data: Path) -> None:
    """STL-10 in VRF's class folders, with its second class under either name."""
    shutil.rmtree(data / "stl10_binary")
    for number, name in enumerate(STL_CLASSES):
        folder = data / "stl10" / "test" / (second if name == "car" else name)
        folder.mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (96, 96), (20 * number, i, 0)).save(folder / f"{i}.png")
    split = shift_of(data, "stl10")
    assert not split.fault
    order = ("airplane", second, "bird", "cat", "deer", "dog", "horse", "ship", "truck")
    found = split.load().manifest
    assert {
        i.partition("/")[0]: label for i, label in zip(found.ids, found.first, strict=True)
    } == {name: label for label, name in enumerate(order)}


# Places and forms


def test_the_first_form_of_cifar102_is_the_same_data(data: Path) -> None:
    place = data / "CIFAR-10.2"
    new = contents(shift_of(data, "10.2"))
    with np.load(place / "cifar102_test.npz") as file:
        old = {name: file[name] for name in file.files}
    old["labels"], old["label_names"] = old["labels"].tolist(), old["label_names"].tolist()
    np.save(place / "cifar102_test.npy", np.array(old, dtype=object), allow_pickle=True)
    (place / "cifar102_test.npz").unlink()
    assert contents(shift_of(data, "10.2")) == new


def test_labels_of_cifar102_count_by_their_names(data: Path) -> None:
    place = data / "CIFAR-10.2" / "cifar102_test.npz"
    before = contents(shift_of(data, "10.2"))
    with np.load(place) as file:
        images, labels, names = (file[name] for name in ("images", "labels", "label_names"))
    np.savez(place, images=images, labels=9 - labels, label_names=names[::-1])
    assert contents(shift_of(data, "10.2")) == before


def folders(data: Path) -> None:
    """CIFAR-10 in class folders next to its batches."""
    for role in ("train", "test"):
        for number, name in enumerate(CIFAR10_CLASSES):
            folder = data / "cifar10" / role / name
            folder.mkdir(parents=True)
            for i in range(20 if role == "train" else 5):
                Image.new("RGB", (32, 32), (20 * number, 7 * i, 0)).save(folder / f"{i}.jpg")


def test_cifar10_in_class_folders(data: Path) -> None:
    shutil.rmtree(data / "cifar-10-batches-py")
    folders(data)
    suite = suite_of(data)
    assert find_dataset("cifar10")().found(data)
    assert not suite.faults
    found = suite.test.load().manifest
    expected = {f"{n}/{i}.jpg": c for c, n in enumerate(CIFAR10_CLASSES) for i in range(5)}
    assert dict(zip(found.ids, found.first.tolist(), strict=True)) == expected
    shutil.rmtree(data / "cifar10" / "test" / "frog")
    assert suite_of(data).faults == (
        "cifar10/test lacks 1 of 10 class folders: frog; cifar-10 test: 45 of 50 images",
    )


def test_two_forms_of_cifar10_are_one_too_many(data: Path) -> None:
    folders(data)
    with pytest.raises(InputError, match="ambiguous") as error:
        suite_of(data)
    assert not isinstance(error.value, NotFound)
    assert find_dataset("cifar10")().found(data)


def test_a_real_folder_has_the_real_backbone_and_published_choices(data: Path) -> None:
    (data / SYNTHETIC).unlink()
    suite = suite_of(data)
    assert (suite.model, suite.pretrained, suite.notes) == ("ViT-B-32", "openai", ())
    assert suite.defaults == {}
    vrf = Settings(OFFICIAL, suite.task.name, suite.defaults).method("vrf")
    assert (vrf.a_grid, vrf.b_grid) == ((0.3,), (0.3,))
    assert suite.faults[0] == "cifar-10 train: 200 of 50,000 images"
    assert suite.faults[-1] == "stl-10 test_without_monkey: 18 of 7,200 images"
    assert len(suite.faults) == 5


# What is missing


def test_a_batch_that_lost_images_is_a_fault(data: Path) -> None:
    path = data / "cifar-10-batches-py" / "data_batch_2"
    batch = unpickled(path)
    batch["data"], batch["labels"] = batch["data"][:-3], batch["labels"][:-3]
    cifar._dump(path, batch)
    fault = "cifar-10 train: 197 of 200 images"
    assert suite_of(data).faults == (fault,)
    command = ("run", "--suite", "cifar10", "--data", data, "--methods", "zero-shot")
    command = (*command, "--cache-dir", data / "cache", "--shifts", "10.1")
    result = bench(*command, "--out", data / "refused")
    assert result.code == 4
    assert "197 of 200 images" in result.err
    result = bench(*command, "--out", data / "out", "--allow-incomplete")
    assert result.code == 0, result.err
    report = (data / "out" / "report.md").read_text()
    assert f"incomplete data: {fault}" in report


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_missing_shift_is_lacking_and_named(part: str, data: Path) -> None:
    shutil.rmtree(data / part)
    suite = suite_of(data)
    (lost,) = suite.lacking
    assert suite.all_shifts == ("10.1", "10.2", "stl10")
    assert [s.name for s in suite.shifts] == [s for s in suite.all_shifts if s != lost]
    assert str(data / part) in suite.lacking[lost]
    assert (
        f"bench show set:{'stl-10' if lost == 'stl10' else f'cifar-{lost}'}" in suite.lacking[lost]
    )
    command = ("run", "--suite", "cifar10", "--data", data, "--shifts", lost)
    assert_refused(bench(*command), f"shift {lost} of cifar10", str(data / part))


def test_without_all_training_batches_there_is_zero_shot(data: Path) -> None:
    (data / "cifar-10-batches-py" / "data_batch_3").unlink()
    suite = suite_of(data)
    assert suite.task.train.absent
    assert suite.task.selection == suite.task.train
    assert not suite.faults
    with pytest.raises(InputError, match="has no data_batch_3"):
        suite.task.train.load()


@pytest.mark.parametrize("lost", ["test_batch", "batches.meta"])
def test_without_test_set_or_names_there_is_no_suite(lost: str, data: Path) -> None:
    (data / "cifar-10-batches-py" / lost).unlink()
    assert not find_dataset("cifar10")().found(data)
    with pytest.raises(NotFound) as error:
        suite_of(data)
    text = str(error.value)
    for word in (f"has no {lost}", "cifar10/test (not there)", "bench show set:cifar-10"):
        assert word in text
    assert "\n" not in text


def test_damage_is_no_absence(data: Path) -> None:
    path = data / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="data_batch_3") as error:
        suite_of(data)
    assert not isinstance(error.value, NotFound)


# A run


def test_a_run_on_the_copies(copies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("run", "--suite", "cifar10", "--data", copies, "--methods", "zero-shot,vrf")
    result = bench(*command, "--cache-dir", tmp_path / "cache", "--out", out)
    assert result.code == 0, result.err
    records = read_records(out / "records.jsonl")
    assert {record.shift for record in records} >= {"id", "10.1", "10.2", "stl10"}
    assert "synthetic data" in (out / "report.md").read_text()
    assert "synthetic data" in result.out


def test_zero_shot_needs_no_training_data(data: Path, tmp_path: Path) -> None:
    for path in (data / "cifar-100-python").glob("train"):
        path.unlink()
    command = ("run", "--suite", "cifar100", "--data", data, "--cache-dir", tmp_path / "cache")
    run = bench(*command, "--methods", "zero-shot", "--out", tmp_path / "out")
    assert run.code == 0, run.err
    kinds = {record.kind for record in read_records(tmp_path / "out" / "records.jsonl")}
    assert kinds == {"cell"}
    refused = bench(*command, "--methods", "vrf", "--out", tmp_path / "out2")
    assert refused.code == 2
    assert "looked for" in refused.err
