"""Suite files: every mistake is reported in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from suite_files import BASE, NAMES, draw, folders, load, refused, write

from bench.cli.show import catalogue
from bench.core.errors import InputError
from bench.data.suites.from_yaml import load_suite_file, suite_file_defaults


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"tests": {}}, ["unknown key 'tests'", "did you mean 'test'"]),
        ({"name": None}, ["name", "required"]),
        ({"train": None}, ["train", "required"]),
        ({"name": "../pets"}, ["name", "'../pets'", "letters, digits"]),
        ({"name": "all"}, ["'all' is reserved"]),
        ({"train": "train"}, ["train", "expected a mapping", "folder", "'train'"]),
        ({"train": {"foldr": "train"}}, ["train", "'foldr'", "did you mean 'folder'"]),
        ({"train": {}}, ["train", "exactly one of folder, list", "got none"]),
        ({"train": {"folder": "a", "list": "b"}}, ["train", "got folder and list"]),
        ({"train": {"folder": 3}}, ["train.folder", "string", "got 3"]),
        ({"train": {"folder": "trian"}}, ["train", "data/trian", "--data", "BENCH_DATA"]),
        ({"train": {"list": "none.csv"}}, ["train", "none.csv not found"]),
        ({"selection": {"holdout": 1.0}}, ["selection.holdout", "less than 1", "got 1.0"]),
        ({"selection": {"holdout": "x"}}, ["selection.holdout", "number", "'x'"]),
        (
            {"selection": {"folder": "v", "seed": 1}},
            ["selection", "'seed' cannot be combined with"],
        ),
        (
            {"selection": {"folder": "train"}, "test": {"folder": "train"}},
            ["selection: the same images"],
        ),
        ({"test": {"folder": "train"}}, ["test: the same images as train"]),
        ({"shifts": {"a": {"folder": "train"}}}, ["shifts.a: the same images as train"]),
        ({"shifts": {"a b": {"corrupt": "fog"}}}, ["shifts.a b", "letters, digits"]),
        ({"shifts": {"id": {"corrupt": "fog"}}}, ["shifts.id", "reserved"]),
        ({"shifts": {"selection": {"corrupt": "fog"}}}, ["shifts.selection", "reserved"]),
        ({"shifts": {"a": {"corrupt": "smog"}}}, ["shifts.a", "unknown corruption 'smog'"]),
        ({"shifts": {"a": {"corrupt": "fog", "severity": 6}}}, ["shifts.a.severity", "got 6"]),
        ({"shifts": {"a": {"corrupt": "fog", "sevrity": 3}}}, ["did you mean 'severity'"]),
        (
            {"shifts": {"a": {"corrupt": "fog", "classes": []}}},
            ["'classes' cannot be combined with"],
        ),
        ({"shifts": {"a": {"folder": "x"}}}, ["shifts.a: x not found"]),
        ({"shifts": ["fog"]}, ["shifts", "dictionary"]),
        ({"defaults": {"e2e-ft": 3}}, ["defaults.e2e-ft", "dictionary", "got 3"]),
        ({"model": 3}, ["model", "string", "got 3"]),
        ({"classes": "imagnet"}, ["classes", "imagenet", "'imagnet'"]),
        ({"classes": ["cat"]}, ["classes", "at least two classes, got 1"]),
        ({"classes": ["cat", "dog", "cat"]}, ["classes", "class 'cat' is listed 2 times"]),
        ({"classes": ["cat", True]}, ["classes", "True is not a name", "quote words"]),
        ({"classes": {"cat": None, "dog": "dog"}}, ["classes", "None is not a name"]),
        ({"classes": ["cat", ""]}, ["classes", "'' is not a name"]),
        ({"classes": ["cat", 1.5]}, ["classes", "1.5 is not a name"]),
        ({"classes": {"file": "none.txt"}}, ["classes", "none.txt not found"]),
        ({"classes": {"file": "."}}, ["classes", "cannot read"]),
        (
            {"classes": ["cat", "dog"]},
            ["train", "folders and the classes differ", "unexpected: fox"],
        ),
        ({"classes": [*NAMES, "owl", "elk"]}, ["train", "classes differ", "missing: owl, elk"]),
        ({"templates": []}, ["templates", "openai-imagenet"]),
        ({"templates": "openai"}, ["templates", "openai-imagenet", "'openai'"]),
        ({"templates": ["a photo"]}, ["templates", "'a photo' must contain {}"]),
        ({"templates": ["a {c}"]}, ["templates", "'a {c}' must contain {}"]),
        ({"templates": ["{} and {}"]}, ["templates", "once"]),
        ({"templates": {"file": "none.txt"}}, ["templates", "none.txt not found"]),
        ({"templates": {"file": "my.yaml"}}, ["templates", "unknown list of templates 'pets'"]),
        ({"templates": {"files": "none.txt"}}, ["templates", "{file: prompts.txt}"]),
    ],
)
def test_mistakes_are_one_line(pets: Path, changes: dict[str, Any], parts: list[str]) -> None:
    refused(pets, *parts, **changes)


@pytest.mark.parametrize(
    ("classes", "parts"),
    [
        (["cat", "dig"], ["unknown class 'dig'", "did you mean 'dog'"]),
        (["cat", "cat"], ["'cat' is listed 2 times"]),
        ({"pet": ["cat", "dog"], "wild": ["fox", "cat"]}, ["'cat' is listed more than once"]),
        ({"pet": []}, ["every shift class needs at least one"]),
        ({"pet": [True]}, ["True is not a name"]),
        ([], ["expected a list or a mapping"]),
        ("cat", ["expected a list or a mapping"]),
        (["cat", "dog"], ["class folders and the classes differ", "unexpected: fox"]),
    ],
)
def test_mistakes_in_label_maps(pets: Path, classes: Any, parts: list[str]) -> None:
    folders(pets / "s", NAMES, 1)
    refused(pets, "shifts.s", *parts, shifts={"s": {"folder": "s", "classes": classes}})


def test_splits_share_no_file_under_any_path(pets: Path) -> None:
    folders(pets / "val", NAMES, 1)
    folders(pets / "art", NAMES, 1)
    shift = {"shifts": {"s": {"folder": "art"}}, "selection": {"folder": "val"}}
    assert load(pets, **shift).shifts[0].split.size == 3
    link = pets / "art/fox/link.png"
    for role in ("train", "val", "test"):
        found = pets / role / f"fox/{role}0.png"
        link.symlink_to(found)
        other = "selection" if role == "val" else role
        refused(pets, f"shifts.s: {found} is in both {other} and s", "found 1", **shift)
        link.unlink()
    (pets / "linked").symlink_to(pets / "train")
    (pets / "t.csv").write_text("path,label\nlinked/cat/train0.png,0\ntest/cat/test0.png,0\n")
    found = pets / "train/cat/train0.png"
    refused(pets, f"test: {found} is in both train and test", test={"list": "t.csv"})
    refused(pets, f"selection: {found} is in both train and", selection={"list": "t.csv"})
    refused(pets, "selection: the same images as train", selection={"folder": "train"})


def test_a_held_out_image_counts_as_one_of_train(pets: Path) -> None:
    held = load(pets).task.selection.load().manifest.ids[0]
    (pets / "t.csv").write_text(f"path,label\ntrain/{held},0\n")
    refused(pets, f"shifts.s: {pets / 'train' / held} is in", shifts={"s": {"list": "t.csv"}})


def test_two_shifts_may_share_images(pets: Path) -> None:
    folders(pets / "art", NAMES, 1)
    draw(pets / "art/cat/a.png")
    (pets / "part.csv").write_text("path,label\nart/cat/a.png,cat\n")
    suite = load(pets, shifts={"art": {"folder": "art"}, "part": {"list": "part.csv"}})
    assert [shift.split.size for shift in suite.shifts] == [4, 1]


def test_defaults_need_no_data(tmp_path: Path) -> None:
    path = write(tmp_path, BASE | {"defaults": {"e2e-ft": {"lr": 0.5}}})
    assert suite_file_defaults(path) == {"e2e-ft": {"lr": 0.5}}
    shown = catalogue.describe_name("e2e-ft", str(path))
    assert shown[f"defaults of {path}"] == {"lr": "0.5"}
    assert catalogue.describe_name("wise-ft", str(path))[f"defaults of {path}"] == {}


def test_a_class_that_is_empty_is_named(pets: Path) -> None:
    for path in (pets / "test/dog").iterdir():
        path.unlink()
    refused(pets, "test: class folder", pets / "test/dog", "has no images")


def test_a_holdout_of_nothing_is_an_error(tmp_path: Path) -> None:
    folders(tmp_path / "train", NAMES, 1)
    folders(tmp_path / "test", NAMES, 1)
    with pytest.raises(InputError, match="pets/train: nothing to hold out"):
        load(tmp_path)
    refused(tmp_path, "selection: pets/train: nothing to hold out", selection={"holdout": 0.1})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nname: b\n", [":2", "'name' appears twice"]),
        ("shifts:\n  a: {corrupt: fog}\n  a: {corrupt: fog}\n", [":3", "'a' appears twice"]),
        ("name: [a\n", ["invalid YAML"]),
        ("", ["expected a mapping", "None"]),
        ("- a\n", ["expected a mapping"]),
        ("name: \x01\n", ["invalid YAML"]),
        ("? [a]\n: b\n", ["invalid YAML"]),
        ("!!python/object:os.system {}\n", ["invalid YAML"]),
    ],
)
def test_what_is_no_suite_file_is_an_input_error(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_suite_file(path, None, tmp_path)
    assert "\n" not in str(error.value)
    for part in [str(path), *parts]:
        assert part in str(error.value)


def test_a_missing_or_binary_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xff")
    for name in ("none.yaml", "binary.yaml", "."):
        with pytest.raises(InputError, match="cannot read"):
            load_suite_file(tmp_path / name, None, tmp_path)
