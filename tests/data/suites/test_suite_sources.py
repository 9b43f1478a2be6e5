"""Suite files of arrays, WebDataset shards and Hugging Face data sets, run with the tiny CLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import assert_refused, bench
from sources import Labelled, as_arrays, as_folder, as_rows, as_shards, hub, labelled

from bench.api.dataset import Suite
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.data.classes import Classes
from bench.data.readers import huggingface as hub_reader
from bench.data.suites.from_yaml import load_suite_file

NAMES = ["cat", "dog", "fox"]
DATA: dict[str, Labelled] = {
    "train": labelled(0, 24, 3),
    "val": labelled(1, 9, 3),
    "test": labelled(2, 12, 3),
    "part": labelled(3, 6, 2),
}
"""`part` has the classes fox and cat, in that order."""
Form = dict[str, Any]


def folders(root: Path) -> Form:
    for name, data in DATA.items():
        as_folder(root / name, data, ["fox", "cat"] if name == "part" else NAMES)
    return {name: {"folder": name} for name in DATA}


def arrays(root: Path) -> Form:
    np.save(root / "x.npy", DATA["train"][0])
    (root / "y.txt").write_text("".join(f"{NAMES[label]}\n" for label in DATA["train"][1]))
    as_arrays(root / "val.npz", DATA["val"], ("images", "labels"), "channels-last")
    as_arrays(root / "more.npz", DATA["test"], ("tx", "ty"), "channels-first")
    as_arrays(root / "more.npz", DATA["part"], ("px", "py"), "channels-first")
    more = {"arrays": "more.npz", "layout": "channels-first"}
    return {
        "train": {"arrays": "x.npy", "labels": "y.txt"},
        "val": {"arrays": "val.npz"},
        "test": more | {"keys": ["tx", "ty"]},
        "part": more | {"keys": ["px", "py"]},
    }


def shards(root: Path) -> Form:
    for name, data in DATA.items():
        as_shards([root / f"{name}/{number}.tar" for number in range(2)], data)
    return {name: {"shards": f"{name}/*.tar"} for name in DATA}


def rows(root: Path) -> Form:
    datasets = hub()
    made = {
        name: as_rows(data, ["fox", "cat"] if name == "part" else NAMES, "image", "label")
        for name, data in DATA.items()
    }
    both = {"train": made["train"], "val": made["val"]}
    datasets.DatasetDict(both).save_to_disk(root / "saved")
    made["test"].save_to_disk(root / "alone")
    other = made["part"].rename_columns({"image": "img", "label": "kind"})
    for number in range(2):
        other.shard(2, number).to_parquet(root / f"part-{number}.parquet")
    return {
        "train": {"hub": "saved", "split": "train"},
        "val": {"hub": "saved", "split": "val"},
        "test": {"hub": "alone"},
        "part": {"hub": "part-*.parquet", "image": "img", "label": "kind"},
    }


READERS: Mapping[str, Callable[[Path], Form]] = {"arrays": arrays, "shards": shards, "hub": rows}


def write(root: Path, sources: Form, **changes: Any) -> Path:
    form = {
        "name": "pets",
        "classes": NAMES,
        "templates": ["a photo of a {}."],
        "train": sources["train"],
        "selection": sources["val"],
        "test": sources["test"],
        "shifts": {"part": sources["part"] | {"classes": ["fox", "cat"]}},
        "model": "tiny",
        "pretrained": "embedded",
    }
    path = root / "pets.yaml"
    path.write_text(yaml.safe_dump(form | changes))
    return path


def place(tmp_path: Path, name: str) -> Path:
    root = tmp_path / name
    root.mkdir()
    return root


def load(root: Path, sources: Form, **changes: Any) -> Suite:
    return load_suite_file(write(root, sources, **changes), None, root / "cache")


def content(suite: Suite, role: str) -> list[tuple[bytes, int]]:
    """Return pixels and labels of a split, without their order."""
    splits = {"train": suite.task.train, "val": suite.task.selection, "test": suite.test}
    loaded = (splits | {"part": suite.shifts[0].split})[role].load()
    images = [loaded.images[i].convert("RGB").tobytes() for i in range(len(loaded.images))]
    return sorted(zip(images, loaded.manifest.first.tolist(), strict=True))


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_gives_the_same_images_and_labels(tmp_path: Path, kind: str) -> None:
    one, other = place(tmp_path, "one"), place(tmp_path, "other")
    expected, suite = load(one, folders(one)), load(other, READERS[kind](other))
    for role in DATA:
        assert content(suite, role) == content(expected, role)
    assert suite.shifts[0].labels.columns == ((2,), (0,))


@pytest.mark.parametrize("kind", READERS)
def test_ids_do_not_meet_and_fingerprints_stay(tmp_path: Path, kind: str) -> None:
    root = place(tmp_path, "one")
    sources = READERS[kind](root)
    suite, again = load(root, sources), load(root, sources)
    splits = [suite.task.train, suite.task.selection, suite.test]
    ids = [name for split in splits for name in split.load().manifest.ids]
    assert kind == "shards" or len(set(ids)) == len(ids) == 45
    assert [s.split.fingerprint for s in suite.evaluations()] == [
        s.split.fingerprint for s in again.evaluations()
    ]
    moved = root.rename(tmp_path / "moved")
    elsewhere = load(moved, sources)
    assert [s.split.fingerprint for s in elsewhere.evaluations()] == [
        s.split.fingerprint for s in suite.evaluations()
    ]


def metrics(run: Path) -> dict[tuple[str, str], float]:
    """Return {(shift, metric): value} of the zero-shot row."""
    found = [r for r in read_records(run / "records.jsonl") if r.method == "zero-shot"]
    return {(r.shift, r.metric): r.value for r in found}


@pytest.mark.parametrize("kind", READERS)
def test_a_run_of_each_reader_has_the_numbers_of_class_folders(tmp_path: Path, kind: str) -> None:
    numbers = []
    for name, reader in (("one", folders), ("other", READERS[kind])):
        root = place(tmp_path, name)
        suite = write(root, reader(root))
        result = bench(
            "run", "--suite", suite, "--methods", "zero-shot,vrf", "--set", "e2e-ft.epochs=1",
            "--set", "e2e-ft.batch_size=8", "--cache-dir", root / "cache", "--out", root / "run",
        )  # fmt: skip
        assert result.code == 0, result.err
        numbers.append(metrics(root / "run"))
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)
    assert {shift for shift, _ in numbers[0]} >= {"id", "part"}


# What is refused


def refused(root: Path, sources: Form, *parts: object, **changes: Any) -> None:
    with pytest.raises(InputError) as error:
        load(root, sources, **changes)
    text = str(error.value)
    assert "\n" not in text and text.startswith(str(root / "pets.yaml"))
    for part in parts:
        assert str(part) in text, text


SHARED = {
    "arrays": "more.npz (member tx, channels-first), row 0 is in both test and same",
    "shards": "0.tar: 00000 is in both test and same",
    "hub": "data-00000-of-00001.arrow (image): row 0 is in both test and same",
}


@pytest.mark.parametrize("kind", READERS)
def test_a_shift_shares_no_image_with_other_splits(tmp_path: Path, kind: str) -> None:
    root = place(tmp_path, "one")
    sources = READERS[kind](root)
    same = sources["test"] | {"classes": NAMES}
    if kind == "shards":  # another name changes the fingerprint too
        (root / "link").symlink_to(root / "test")
        (root / "test/more.tar").write_bytes((root / "part/0.tar").read_bytes())
        same = {"shards": "link/[0-9].tar"}
    refused(root, sources, SHARED[kind], "found 12", shifts={"same": same})


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"arrays": "x.npy", "keys": ["a"]}, ["train.keys"]),
        ({"arrays": "x.npy"}, ["no labels for"]),
        ({"arrays": "z.npy", "labels": "y.txt"}, ["z.npy not found: looked for"]),
        ({"arrays": "x.npy", "labels": "z.txt"}, ["z.txt not found: looked for"]),
        ({"arrays": "x.npy", "labels": "y.txt", "layout": "nhwc"}, ["layout", "channels-last"]),
        ({"arrays": "x.npy", "image": "a"}, ["'image' cannot be combined with 'arrays'"]),
        ({"arrays": "x.npy", "folder": "train"}, ["got folder and arrays"]),
        ({"shards": "none/*.tar"}, ["none/*.tar not found: looked for"]),
        ({"shards": "x.npy"}, ["x.npy", "not a tar file"]),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, source: Form, parts: list[str]) -> None:
    root = place(tmp_path, "one")
    refused(root, arrays(root), *parts, train=source)


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_reader.importlib.util, "find_spec", lambda name: None)
    root = place(tmp_path, "one")
    suite = write(root, arrays(root), test={"hub": "saved", "split": "test"})
    result = bench("plan", "--suite", suite)
    assert_refused(result, "test: the package datasets is not installed", "[hf]")


def test_a_folder_of_data_sets_is_not_taken_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Folder:
        origin = None

    monkeypatch.setattr(hub_reader.importlib.util, "find_spec", lambda name: Folder())
    with pytest.raises(InputError, match="not installed"):
        hub_reader._library()


# Hugging Face data sets

PETS = Classes(tuple(NAMES), tuple(NAMES))


def split(source: str, root: Path, classes: Classes = PETS, **options: Any) -> Any:
    return hub_reader.hub_split("t", source, [root], classes, root / "cache", **options)


def wrong(parts: list[str], source: str, root: Path, **options: Any) -> None:
    with pytest.raises(InputError) as error:
        split(source, root, **options)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_names_of_classes_decide_over_their_order(tmp_path: Path) -> None:
    for names, expected in (
        (["dog", "fox", "cat"], [1, 2, 0]),
        (["Felis catus", "Canis", "Vulpes"], [0, 1, 2]),
        (["Dog", "FOX", "cat"], [1, 2, 0]),
        (["2", "0", "1"], [2, 0, 1]),
    ):
        data = (DATA["train"][0][:3], [0, 1, 2])
        as_rows(data, names, "image", "label").save_to_disk(tmp_path / names[0])
        found = split(names[0], tmp_path)
        assert found.load().manifest.first.tolist() == expected
        said = {"Felis catus": "by their position", "Dog": "'Dog' as 'dog'"}.get(names[0])
        assert len(found.caveats) == (said is not None) and (said or "") in "".join(found.caveats)


@pytest.mark.parametrize(
    "names",
    [["Cat", "dog", "wolf"], ["dog", "Fox", "a cat"], ["Felis catus", "dog", "Vulpes"]],
)
def test_names_that_are_classes_only_in_part_are_refused(tmp_path: Path, names: list[str]) -> None:
    data = (DATA["train"][0][:3], [0, 1, 2])
    as_rows(data, names, "image", "label").save_to_disk(tmp_path / "odd")
    unknown = next(name for name in names if name.lower() not in NAMES)
    wrong([f"{unknown!r}", "expected 'cat'" if "Cat" not in names else "'fox'"], "odd", tmp_path)


def test_labels_may_be_texts_or_plain_numbers(tmp_path: Path) -> None:
    datasets = hub()
    made = as_rows((DATA["train"][0][:3], [2, 0, 1]), NAMES, "image", "label")
    for kind, convert in (("int64", int), ("string", NAMES.__getitem__)):
        labels = [convert(label) for label in made["label"][:]]
        plain = made.remove_columns("label").add_column("label", labels)
        assert plain.features["label"] == datasets.Value(kind)
        plain.save_to_disk(tmp_path / kind)
        assert split(kind, tmp_path).load().manifest.first.tolist() == [2, 0, 1]


def test_fingerprints_of_rows_follow_labels_and_pixels(tmp_path: Path) -> None:
    data = (DATA["train"][0][:3], [2, 0, 1])
    altered = data[0].copy()
    altered[2, 0, 0, 0] ^= 1
    marks = []
    versions = [data, data, (altered, [2, 0, 1]), (data[0], [2, 0, 0])]
    for number, version in enumerate(versions):
        path = tmp_path / f"{number}.parquet"
        as_rows(version, NAMES, "image", "label").to_parquet(path)
        marks.append(split(path.name, tmp_path).fingerprint)
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3


def test_what_is_no_such_data_set_is_refused(tmp_path: Path) -> None:
    datasets = hub()
    root = tmp_path
    made = as_rows(DATA["train"], NAMES, "image", "label")
    datasets.DatasetDict({"train": made}).save_to_disk(root / "dict")
    made.save_to_disk(root / "one")
    made.to_parquet(root / "a.parquet")
    (root / "folder").mkdir()
    (root / "bad.parquet").write_bytes(b"PAR1")
    wrong(["unknown split", "'None'", "train"], "dict", root)
    wrong(["unknown split", "did you mean 'train'"], "dict", root, split="trian")
    wrong(["has no named splits", "'train'"], "one", root, split="train")
    wrong(["unknown column of one 'img'", "image"], "one", root, image="img")
    wrong(["unknown column of one 'labels'", "did you mean 'label'"], "one", root, label="labels")
    wrong(["'label' holds ClassLabel", "images"], "one", root, image="label")
    wrong(["class names or indices"], "one", root, label="image")
    wrong(["parquet files have no split"], "a.parquet", root, split="train")
    wrong(["folder", "was not written by save_to_disk"], "folder", root)
    wrong(["cannot read bad.parquet"], "bad.parquet", root)
    wrong(["none/*.parquet not found: looked for"], "none/*.parquet", root)
    wrong(["expected 'split' to be the name of a split, got None"], "owner/name", root)
    part = "expected 'split' to be the name of a split, got 'train[:5]'"
    wrong([part], "owner/name", root, split="train[:5]")
    swapped = Classes(("dog", "cat", "fox"), ("dog", "cat", "fox"))
    odd = as_rows(DATA["train"], ["cat", "dog", "wolf"], "image", "label")
    odd.save_to_disk(root / "odd")
    wrong(["3 classes do not match the 3", "'wolf'", "'fox'"], "odd", root, classes=swapped)
    few = Classes(("cat", "dog"), ("cat", "dog"))
    wrong(["3 classes do not match the 2", "wolf"], "odd", root, classes=few)
    none = odd.remove_columns("label").add_column("label", [-1] * 24)
    none.save_to_disk(root / "none")
    wrong(["label -1 in row 0"], "none", root)


def test_a_name_that_cannot_be_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub()
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    parts = [f"looked for {tmp_path / 'nobody/nothing'}, then on the hub: "]
    wrong(parts, "nobody/nothing", tmp_path, split="train")


def test_parquet_files_in_two_patterns_share_rows(tmp_path: Path) -> None:
    root = place(tmp_path, "one")
    sources = rows(root)
    part = {"hub": "part-1.parquet", "image": "img", "label": "kind"}
    some = sources["part"] | {"classes": ["fox", "cat"]}
    changes = {"shifts": {"a": part | {"classes": ["fox", "cat"]}, "b": some}}
    load(root, sources, **changes)
    names = ["fox", "cat"]
    refused(
        root, sources | {"test": part}, "part-0.parquet (img): row 0 is in both train and b",
        "found 3", classes=names, train=part | {"hub": "part-0.parquet"}, selection=None,
        shifts={"b": sources["part"]},
    )  # fmt: skip


def test_images_outside_of_the_files_are_refused(tmp_path: Path) -> None:
    datasets = hub()
    as_folder(tmp_path / "images", DATA["train"], NAMES)
    files = sorted(map(str, (tmp_path / "images").rglob("*.png")))
    rows = datasets.Dataset.from_dict({"image": files, "label": [0] * len(files)})
    rows = rows.cast_column("image", datasets.Image(decode=False))
    table = rows.with_format("arrow")[:]
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, tmp_path / "out.parquet")
    wrong(["24 images are only references"], "out.parquet", tmp_path)
