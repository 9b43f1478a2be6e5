"""The transfer suites: lists, partitions, prompts, missing data, and a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused, bench
from scipy.io import loadmat, savemat

from bench.api.dataset import Suite
from bench.api.registry import ALIASES, find_dataset
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.data.folder import SYNTHETIC, NotFound
from bench.testing.contract import check_dataset
from bench.testing.synthetic import cifar, transfer

ALL = ("cifar10", *ALIASES["transfer"])
SETS = {
    "cifar10": "cifar-10",
    "cifar100": "cifar-100",
    "dtd": "dtd",
    "food101": "food-101",
    "sun397": "sun397",
    "cars": "stanford-cars",
}


def suite_of(data: Path, name: str, **fields: Any) -> Suite:
    return find_dataset(name)(**fields).suite(data, data / "cache")


def ids(suite: Suite) -> list[set[str]]:
    task = suite.task
    return [set(split.load().manifest.ids) for split in (task.train, task.selection, suite.test)]


@pytest.mark.parametrize("name", ALL)
def test_the_contract_holds(name: str, copies: Path, tmp_path: Path) -> None:
    for data in (copies, tmp_path, None):
        check_dataset(find_dataset(name), data)


@pytest.mark.parametrize("name", ALL)
def test_whole_copies_have_no_fault_and_real_data_are_counted(name: str, data: Path) -> None:
    suite = suite_of(data, name)
    assert (suite.faults, suite.lacking, suite.notes) == ((), {}, ("synthetic data",))
    assert (suite.model, suite.pretrained) == ("tiny", "embedded")
    (data / SYNTHETIC).unlink()
    suite = suite_of(data, name)
    assert (suite.model, suite.pretrained, suite.notes) == ("ViT-B-32", "openai", ())
    assert any(fault.startswith(f"{SETS[name]} test: ") for fault in suite.faults)


def test_copies_are_written_alike(copies: Path, tmp_path: Path) -> None:
    assert json.loads((copies / SYNTHETIC).read_text()) == cifar.make_cifar(
        tmp_path
    ) | transfer.make_transfer(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 100
    for path in written:
        assert path.read_bytes() == (copies / path.relative_to(tmp_path)).read_bytes()


def test_flyp_trains_on_cars_as_it_was_published(data: Path) -> None:
    (data / SYNTHETIC).unlink()
    assert suite_of(data, "food101").defaults == {}
    flyp = suite_of(data, "cars").defaults["flyp"]
    assert flyp == {
        "lr": 1e-5, "weight_decay": 0.0, "batch_size": 256, "epochs": 100, "warmup": 500,
    }  # fmt: skip
    command = ("plan", "--suite", "cars", "--data", data, "--methods", "flyp", "--allow-incomplete")
    tiny = ("--model", "tiny", "--pretrained", "embedded", "--cache-dir", data / "cache")
    planned = bench(*command, *tiny)
    assert planned.code == 0, planned.err
    assert "training runs: 1 " in planned.out


# Prompts


@pytest.mark.parametrize("name", ALL)
def test_official_templates_are_taken_where_they_are(name: str, data: Path) -> None:
    suite = suite_of(data, name)
    assert suite.task.templates == ("a photo of a {}.",)
    assert "not the official prompt" in suite.prompts
    assert f"bench data prepare {SETS[name]}" in suite.prompts
    path = data / "bench-prompts" / SETS[name] / "en_zeroshot_classification_templates.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"stl10": ["no {c}."], name: ["a photo of {c}.", "art of {c}."]}))
    suite = suite_of(data, name)
    assert suite.task.templates == ("a photo of {}.", "art of {}.")
    assert suite.prompts.endswith(f"templates: the 2 templates {name} of CLIP_benchmark")
    path.write_text("{}")
    with pytest.raises(InputError, match=f"unknown list of templates '{name}'"):
        suite_of(data, name)


def test_class_names_are_words() -> None:
    from bench.datasets.transfer import _spaced

    assert _spaced("apartment_building/outdoor") == "apartment building outdoor"
    assert _spaced("polka-dotted") == "polka-dotted"


# Partitions


@pytest.mark.parametrize("name", ["dtd", "sun397"])
def test_partitions_are_suites_of_their_own(name: str, copies: Path, tmp_path: Path) -> None:
    seen = set()
    for partition in range(1, 11):
        suite = find_dataset(name)(partition=partition).suite(copies, tmp_path)  # type: ignore[call-arg]
        assert suite.name == (name if partition == 1 else f"{name}={partition}")
        assert suite.test.name == f"{suite.name}/test"
        train, _, test = ids(suite)
        assert not train & test
        assert not suite.faults
        seen.add(suite.test.fingerprint)
    assert len(seen) == 9  # a copy has nine images of a class: the tenth partition is the first


def test_partitions_are_asked_for_by_their_number(copies: Path, tmp_path: Path) -> None:
    planned = bench(
        *("plan", "--suite", "dtd=3,sun397=2+corruptions=1", "--data", copies),
        *("--methods", "zero-shot", "--cache-dir", tmp_path),
    )
    assert planned.code == 0, planned.err
    assert "dtd=3/test" in planned.out
    assert "sun397=2+corruptions=1 with tiny/embedded" in planned.out
    for name, reason in {
        "dtd=11": "expected dtd=1 to dtd=10",
        "dtd=": "expected dtd=1 to dtd=10",
        "sun397=01": "expected sun397=1 to sun397=10",
        "food101=2": "food101 has no partitions",
        "mini=1": "mini has no partitions",
    }.items():
        assert_refused(bench("plan", "--suite", name, "--data", copies), f"suite {name}: ", reason)


# Lists


def test_food_lists_may_be_text(data: Path) -> None:
    before = suite_of(data, "food101")
    for role in ("train", "test"):
        (data / "food-101" / "meta" / f"{role}.json").unlink()
    after = suite_of(data, "food101")
    assert after == before


@pytest.mark.parametrize("text", ["[]", "{", '{"ramen": 3}', "3"])
def test_a_damaged_list_is_refused(text: str, data: Path) -> None:
    (data / "food-101" / "meta" / "test.json").write_text(text)
    with pytest.raises(InputError, match=r"test\.json"):
        suite_of(data, "food101")


def test_partition_lists_may_lie_apart(data: Path) -> None:
    before = suite_of(data, "sun397")
    (data / "SUN397-partitions").mkdir()
    for path in (data / "SUN397").glob("*ing_*.txt"):
        path.rename(data / "SUN397-partitions" / path.name)
    assert suite_of(data, "sun397") == before


def test_an_image_of_no_class_is_named(data: Path) -> None:
    path = data / "SUN397" / "Testing_01.txt"
    path.write_text(path.read_text() + "/a/abbey1/sun_aqswjsnjlrfzzhiz.jpg\n")
    with pytest.raises(
        InputError, match=r"'a/abbey1/sun_aqswjsnjlrfzzhiz.jpg', which is in no class folder"
    ):
        suite_of(data, "sun397")


def test_lost_images_are_a_fault(data: Path) -> None:
    first = (data / "dtd/dtd/labels/test1.txt").read_text().split()[0]
    (data / "dtd" / "dtd" / "images" / first).unlink()
    assert suite_of(data, "dtd").faults == (
        f"dtd/test lacks 1 of 12 images: {first}; dtd test: 11 of 12 images",
    )


@pytest.mark.parametrize(
    ("name", "lost", "absent"),
    [
        ("cifar100", "cifar-100-python/train", ["train", "selection"]),
        ("dtd", "dtd/dtd/labels/train1.txt", ["train"]),
        ("dtd", "dtd/dtd/labels/val1.txt", ["selection"]),
        ("sun397", "SUN397/Training_01.txt", ["train", "selection"]),
        ("cars", "stanford_cars/devkit/cars_train_annos.mat", ["train", "selection"]),
        ("cars", "stanford_cars/cars_train", ["train", "selection"]),
    ],
)
def test_without_training_data_there_is_still_a_suite(
    name: str, lost: str, absent: list[str], data: Path
) -> None:
    path = data / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    suite = suite_of(data, name)
    splits = {"train": suite.task.train, "selection": suite.task.selection}
    assert [role for role, split in splits.items() if split.absent] == absent
    assert not suite.faults
    with pytest.raises(InputError, match=path.name):
        splits[absent[0]].load()


def test_food_without_a_training_list_has_no_training_data(data: Path) -> None:
    for path in (data / "food-101" / "meta").glob("train.*"):
        path.unlink()
    assert suite_of(data, "food101").task.train.absent


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("cifar100", "cifar-100-python/test"),
        ("dtd", "dtd/dtd/labels/test1.txt"),
        ("sun397", "SUN397/Testing_01.txt"),
        ("sun397", "SUN397/ClassName.txt"),
        ("food101", "food-101/images"),
        ("cars", "stanford_cars/cars_test_annos_withlabels.mat"),
        ("cars", "stanford_cars/devkit/cars_meta.mat"),
    ],
)
def test_without_a_test_set_there_is_none(name: str, lost: str, data: Path) -> None:
    path = data / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not find_dataset(name)().found(data)
    with pytest.raises(NotFound, match=f"bench show set:{SETS[name]}") as error:
        suite_of(data, name)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


# Stanford Cars


def test_labels_of_test_cars_may_lie_in_the_devkit(data: Path) -> None:
    before = suite_of(data, "cars")
    base = data / "stanford_cars"
    name = "cars_test_annos_withlabels.mat"
    (base / name).rename(base / "devkit" / name)
    assert suite_of(data, "cars") == before


def test_the_devkits_annotations_without_labels_do_not_do(data: Path) -> None:
    base = data / "stanford_cars"
    (base / "cars_test_annos_withlabels.mat").write_bytes(
        (base / "devkit" / "cars_test_annos.mat").read_bytes()
    )
    with pytest.raises(InputError, match="expected annotations with fname and class"):
        suite_of(data, "cars")


def test_damaged_annotations_are_refused(data: Path) -> None:
    path = data / "stanford_cars" / "cars_test_annos_withlabels.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="expected a MATLAB file with annotations"):
        suite_of(data, "cars")
    path.write_bytes(whole)
    found = loadmat(path)["annotations"]
    found["class"][0, 2] = np.array([[4]], dtype=np.uint8)
    savemat(path, {"annotations": found})
    with pytest.raises(InputError, match="class 4: expected 1 to 3"):
        suite_of(data, "cars")


def test_cars_in_class_folders(data: Path) -> None:
    """FLYP's folders: hyphens replace slashes, a fifth of the training images is held out."""
    base, flyp = data / "stanford_cars", data / "StanfordCars"
    before = suite_of(data, "cars")
    for role, sizes in (("train", {"train": 14, "val": 4}), ("test", {"test": 9})):
        split = before.task.train if role == "train" else before.test
        manifest = split.load().manifest
        rows = iter(zip(manifest.ids, manifest.first.tolist(), strict=True))
        for folder, size in sizes.items():
            for image, label in (next(rows) for _ in range(size)):
                name = before.task.classnames[label].replace(" ", "_").replace("/", "-")
                (flyp / folder / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(base / image, flyp / folder / name)
    assert suite_of(data, "cars") == before  # annotations take precedence
    shutil.rmtree(base)
    suite = suite_of(data, "cars")
    assert suite.task.classnames[2] == "Ram C-V Cargo Van Minivan 2012"
    assert [s.size for s in (suite.task.train, suite.task.selection, suite.test)] == [14, 4, 9]
    assert not suite.faults
    shutil.rmtree(flyp / "val")
    suite = suite_of(data, "cars")
    assert suite.task.selection == suite.task.train
    assert suite.faults == ("stanford-cars train: 14 of 18 images",)
    shutil.rmtree(flyp / "train")
    assert suite_of(data, "cars").task.train.absent


# The whole of them


def test_transfer_is_all_of_them(copies: Path, data: Path, tmp_path: Path) -> None:
    listed = json.loads(bench("list", "suites", "--data", copies, "--json").out)["suites"]
    assert listed["transfer"] == "all of: cifar100, dtd, food101, sun397, cars"
    shutil.rmtree(data / "dtd")
    refused = bench("plan", "--suite", "transfer", "--data", data, "--cache-dir", tmp_path)
    assert_refused(refused, "Describable Textures", str(data / "dtd"))


def test_a_suite_file_is_not_named_like_an_alias(tmp_path: Path) -> None:
    for name in ("train", "test"):
        for kind in ("a", "b"):
            (tmp_path / name / kind).mkdir(parents=True)
            (tmp_path / name / kind / "1.jpg").write_bytes(f"{name} {kind}".encode())
    form = "name: transfer\nclasses: [a, b]\ntemplates: ['a {}.']\n"
    path = tmp_path / "own.yaml"
    path.write_text(form + "train: {folder: train}\ntest: {folder: test}\n")
    assert_refused(bench("plan", "--suite", path), "'transfer' is the name of a built-in suite")


def test_a_run_on_the_copies(copies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("run", "--suite", "transfer", "--data", copies, "--methods", "zero-shot,vrf")
    result = bench(*command, "--cache-dir", tmp_path / "cache", "--out", out)
    assert result.code == 0, result.err
    records = read_records(out / "records.jsonl")
    assert {record.suite for record in records} == set(ALIASES["transfer"])
    assert {record.shift for record in records} == {"id"}
    assert result.out.count("synthetic data") >= 5
