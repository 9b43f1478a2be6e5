"""Suite files: their meaning, and the documented examples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from places import DATA, ROOT
from sources import as_arrays, as_folder, as_rows, as_shards, labelled
from suite_files import BASE, NAMES, draw, folders, load, refused, write

from bench.api.metrics import OWN
from bench.data.suites.from_yaml import (
    imagenet_classes,
    load_suite_file,
    openai_templates,
    suite_file_card,
)

# What a file means


def test_the_smallest_file(pets: Path) -> None:
    suite = load(pets)
    assert (suite.name, suite.model, suite.pretrained) == ("pets", "ViT-B-32", "openai")
    assert suite.task.classnames == ("cat", "dog", "fox")
    assert suite.task.templates == ("a photo of a {}.",)
    assert [suite.task.train.size, suite.task.selection.size, suite.test.size] == [12, 3, 15]
    assert [s.name for s in (suite.task.train, suite.task.selection, suite.test)] == [
        "pets/train",
        "pets/selection",
        "pets/test",
    ]
    assert suite.shifts == ()


@pytest.mark.parametrize("model", ["local-dir:models/mine", "hf-hub:owner/name"])
def test_a_model_with_a_source_is_named_alone(pets: Path, model: str) -> None:
    suite = load(pets, model=model)
    assert (suite.model, suite.pretrained) == (model, model.partition(":")[2])
    suite = load(pets, model="local-dir", pretrained="models/mine")
    assert (suite.model, suite.pretrained) == ("local-dir", "models/mine")


def test_train_and_selection_share_no_image_and_have_all_classes(pets: Path) -> None:
    task = load(pets, selection={"holdout": 0.4, "seed": 3}).task
    train, selection = task.train.load(), task.selection.load()
    assert not set(train.manifest.ids) & set(selection.manifest.ids)
    assert np.bincount(selection.manifest.first).tolist() == [2, 2, 2]
    expected = selection.manifest.ids[0].removesuffix(".png")[-1]
    assert selection.images[0].getpixel((0, 0))[0] == int(expected)  # type: ignore[index]


def test_fingerprints_follow_the_holdout_and_only_it(pets: Path) -> None:
    one, two, other = load(pets), load(pets), load(pets, selection={"holdout": 0.1, "seed": 1})
    assert one.task.train.fingerprint == two.task.train.fingerprint
    assert one.task.selection.fingerprint != other.task.selection.fingerprint
    assert one.test.fingerprint == other.test.fingerprint
    assert one.task.train.fingerprint != one.task.selection.fingerprint


def test_a_selection_of_its_own_leaves_the_training_data_whole(pets: Path) -> None:
    folders(pets / "val", NAMES, 2)
    task = load(pets, selection={"folder": "val"}).task
    assert (task.train.size, task.selection.size) == (15, 6)


FRAMES = (
    "path,label,region,anchor,offset\n"
    "a.png,cat,Asia,7,-3\n"
    "b.png,cat|fox,Other,7,0\n"
    "c.png,dog,Europe,9,0\n"
)


def framed(data: Path, text: str = FRAMES) -> dict[str, str]:
    """Write a list of three images with groups."""
    for index, name in enumerate("abc"):
        draw(data / f"{name}.png", index)
    (data / "frames.csv").write_text(text)
    return {"list": "frames.csv"}


def test_metrics_of_the_suite_and_of_its_shifts(pets: Path) -> None:
    listed = framed(pets) | {"groups": ["region", "anchor", "offset"]}
    suite = load(
        pets,
        metrics=["macro-f1"],
        shifts={
            "frames": listed | {"metrics": ["pm-0", "pm-10"]},
            "places": framed(pets) | {"groups": ["region"], "metrics": ["worst-region"]},
            "fog": {"corrupt": "fog"},
            "plain": {"corrupt": "fog", "metrics": ["top1"]},
        },
    )
    assert [shift.primary_metric for shift in suite.evaluations()] == [
        "macro-f1", "pm-0", "worst-region", "macro-f1", "top1",
    ]  # fmt: skip
    assert suite.shifts[0].metrics == ("pm-0", "pm-10")
    manifest = suite.shifts[0].split.load().manifest
    assert manifest.group("anchor").tolist() == [7, 7, 9]
    assert manifest.group("offset").tolist() == [-3, 0, 0]
    assert manifest.names == {"region": ("Asia", "Europe", "Other")}
    assert manifest.group("region").tolist() == [0, 2, 1]


def test_groups_are_part_of_a_fingerprint_and_their_absence_is_not(pets: Path) -> None:
    def mark(text: str = FRAMES, **more: Any) -> str:
        return load(pets, shifts={"s": framed(pets, text) | more}).shifts[0].split.fingerprint

    plain, regions = mark(), mark(groups=["region"])
    assert plain == mark(FRAMES.replace("Asia", "Africa")) != regions
    # The codes are the same, their names are not.
    assert mark(FRAMES.replace("Asia", "Africa"), groups=["region"]) != regions
    assert mark(FRAMES.replace("Asia", "Europe"), groups=["region"]) != regions


def test_metrics_that_cannot_be_taken_are_refused_before_a_run(pets: Path) -> None:
    frames = framed(pets)
    refused(pets, "metrics", "'f1'", "macro-f1", metrics=["f1"])
    refused(pets, "metrics: unknown group of samples 'region'", metrics=["worst-region"])
    for more, words in (
        ({"metrics": ["worst-region"]}, "unknown group of samples 'region'"),
        ({"metrics": ["macro-f1"]}, "several labels"),
        ({"metrics": ["pm-0"], "groups": ["anchor"]}, "unknown group of samples 'offset'"),
        ({"groups": ["regoin"]}, "did you mean 'region'"),
    ):
        refused(pets, "shifts.s", words, shifts={"s": frames | more})
    refused(
        pets, "'groups' cannot be combined with 'folder'", test={"folder": "test", "groups": ["a"]}
    )


def test_shifts(pets: Path) -> None:
    folders(pets / "sketch", ["fox", "cat"])
    draw(pets / "a.png")
    draw(pets / "b.png", 9)
    (pets / "o.csv").write_text("path,label\na.png,pet\nb.png,1\n")
    suite = load(
        pets,
        shifts={
            "sketch": {"folder": "sketch", "classes": ["fox", "cat"]},
            "kinds": {"list": "o.csv", "classes": {"pet": ["cat", "dog"], "wild": "fox"}},
            "fog": {"corrupt": "fog", "severity": 5, "seed": 2},
        },
    )
    sketch, kinds, fog = suite.shifts
    assert sketch.labels.columns == ((2,), (0,))
    manifest = sketch.split.load().manifest
    assert dict(zip(manifest.ids, manifest.first.tolist(), strict=True))["fox/sketch0.png"] == 0
    assert kinds.labels.columns == ((0, 1), (2,))
    assert kinds.split.load().manifest.first.tolist() == [0, 1]
    assert fog.labels.columns is None
    assert fog.split.load().manifest.ids == suite.test.load().manifest.ids
    assert fog.split.load().images[0].size == (8, 8)
    assert [s.split.name for s in suite.shifts] == ["pets/sketch", "pets/kinds", "pets/fog"]


def test_folder_names_are_keys_and_prompts_are_read(pets: Path) -> None:
    classes = {"cat": "tabby cat", "dog": "beagle", "fox": "red fox"}
    shifts = {"noise": {"corrupt": "fog"}}
    suite = load(pets, classes=classes, shifts=shifts, defaults={"e2e-ft": {"lr": 0.01}})
    assert suite.task.classnames == ("tabby cat", "beagle", "red fox")
    assert suite.defaults == {"e2e-ft": {"lr": 0.01}}


def test_classes_of_a_file_and_one_template(pets: Path) -> None:
    (pets / "names.txt").write_text("cat\n dog \n\nfox\n")
    suite = load(pets, classes={"file": "names.txt"}, templates="a {}")
    assert suite.task.classnames == ("cat", "dog", "fox")
    assert suite.task.templates == ("a {}",)
    assert suite.prompts == ""


def test_templates_of_a_file(pets: Path) -> None:
    (pets / "prompts.txt").write_text("a {}\n{a} in the wild\n")
    suite = load(pets, templates={"file": "prompts.txt"})
    assert suite.task.templates == ("a {}", "{a} in the wild")
    assert suite.prompts == "2 templates of prompts.txt"
    (pets / "prompts.json").write_text('{"pets": ["the {}"], "cars": ["my {}"]}')
    assert load(pets, templates={"file": "prompts.json"}).task.templates == ("the {}",)


def test_class_names_may_be_numbers(tmp_path: Path) -> None:
    for role in ("train", "test"):
        folders(tmp_path / role, ["0", "1"])
    assert load(tmp_path, classes=[1, 0]).task.classnames == ("1", "0")


def test_data_come_from_the_option_and_then_from_beside_the_file(pets: Path) -> None:
    elsewhere = pets.parent / "elsewhere"
    folders(elsewhere / "test", NAMES, 2)
    suite = load_suite_file(write(pets, BASE), elsewhere, pets.parent / "cache")
    assert (suite.test.size, suite.task.train.size) == (6, 15)


def test_the_card(pets: Path) -> None:
    path = write(pets, BASE | {"shifts": {"a": {"corrupt": "fog"}, "b": {"folder": "x"}}})
    card = suite_file_card(path)
    assert (card.title, card.licence) == ("pets", "not stated")
    assert card.shifts == {
        "a": "fog of the test images, severity 3, seed 0",
        "b": "images from x",
    }


def test_imagenet_names_and_templates_come_without_torch() -> None:
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert (classes.keys[0], classes.prompts[0]) == ("n01440764", "tench")
    assert (classes.prompts[657], classes.prompts[744]) == ("missile", "missile")
    assert "missile" not in classes.spellings()
    assert classes.spellings()["744"] == 744
    templates = openai_templates()
    assert len(templates) == 80
    assert templates[0] == "a bad photo of a {}."
    assert all(template.count("{}") == 1 for template in templates)


def test_imagenet_keys_and_prompts_are_in_one_order() -> None:
    classes = imagenet_classes()
    assert list(classes.keys) == sorted(set(classes.keys))
    names = dict(zip(classes.keys, classes.prompts, strict=True))
    known = {"n02007558": "flamingo", "n03196217": "digital clock", "n15075141": "toilet paper"}
    assert {key: names[key] for key in known} == known


def test_importing_is_light() -> None:
    code = (
        "import sys; from bench.data.suites import from_yaml; from_yaml.imagenet_classes(); "
        "print([m for m in ('torch', 'open_clip', 'timm', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


# The documentation's examples


def prepare(form: Mapping[str, Any], data: Path) -> None:
    """Create the images and text files of a documented example."""
    if "file" in form["templates"]:
        (data / form["templates"]["file"]).write_text("a {}\n")
    classes = form["classes"]
    if "file" in classes:
        (data / classes["file"]).write_text("\n".join(NAMES))
        classes = NAMES
    sources = [form["train"], form["test"], form.get("selection", {})]
    for source in [*sources, *form.get("shifts", {}).values()]:
        own = list(source.get("classes", classes))
        if "folder" in source:
            folders(data / source["folder"], own)
        if "list" in source:
            draw(data / "image.png")
            groups = source.get("groups", [])
            header, codes = ",".join(["path", "label", *groups]), ",0" * len(groups)
            codes = ",Asia" if groups == ["region"] else codes
            (data / source["list"]).write_text(f"{header}\nimage.png,{own[0]}{codes}\n")
        images = labelled(len(str(source)), 2 * len(own), len(own))
        if "arrays" in source and source["arrays"].endswith(".npy"):
            np.save(data / source["arrays"], images[0])
            np.save(data / source["labels"], np.array(images[1]))
        elif "arrays" in source:
            keys, layout = source.get("keys", ("images", "labels")), source.get("layout")
            as_arrays(data / source["arrays"], images, keys, layout or "channels-last")
        if "shards" in source:
            as_shards([data / source["shards"].replace("*", "0")], images)
        if "hub" in source:
            rows = as_rows(images, own, source.get("image", "image"), source.get("label", "label"))
            if source["hub"].endswith(".parquet"):
                rows.to_parquet(data / source["hub"].replace("*", "0"))
            else:
                rows.save_to_disk(data / source["hub"] / source["split"])
                (data / source["hub"] / "dataset_dict.json").write_text(
                    json.dumps({"splits": [source["split"]]})
                )


def one_source(source: dict[str, Any], data: Path, own: list[str]) -> None:
    """Make 30 images of each class in a folder, and a list of them if the source is one."""
    as_folder(data / "photos", labelled(0, 30 * len(own), len(own)), own)
    if "list" in source:
        found = sorted((data / "photos").rglob("*.png"))
        lines = [f"{p.relative_to(data)},{p.parent.name},{i % 10}" for i, p in enumerate(found)]
        header = f"path,label,{source['group']}"
        (data / source["list"]).write_text("\n".join([header, *lines]))


def examples() -> list[str]:
    text = (ROOT / "docs/suite-file.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("example", examples())
def test_documented_examples_load(tmp_path: Path, example: str) -> None:
    form = BASE | yaml.safe_load(example)
    if "split" in form:
        form = {key: value for key, value in form.items() if key not in ("train", "test")}
        one_source(form["split"], tmp_path, list(form["classes"]))
    else:
        prepare(form, tmp_path)
    path = write(tmp_path, form)
    if form.get("test") == {"list": "test.csv"}:
        (tmp_path / "test.csv").write_text("path,label\nimage.png,cat\n")
    suite = load_suite_file(path, None, tmp_path / "cache")
    assert [shift.name for shift in suite.shifts] == list(form.get("shifts", {}))
    for split in (suite.task.train, suite.task.selection, *(s.split for s in suite.evaluations())):
        assert len(split.load().images) == split.size > 0


def test_every_metric_of_a_set_is_documented() -> None:
    text = (ROOT / "docs/suite-file.md").read_text(encoding="utf-8")
    table = text[text.index("| metric | value |") : text.index("names columns of an image list")]
    assert re.findall(r"^\| `([\w-]+)`", table, flags=re.MULTILINE) == ["top1", *OWN]


def test_every_corruption_is_documented() -> None:
    from bench.data.suites.distortions import DISTORTIONS

    text = (ROOT / "docs/suite-file.md").read_text(encoding="utf-8")
    listed = text[text.index("Corruptions:") : text.index("each with severity")]
    assert re.findall(r"`(\w+)`", listed) == list(DISTORTIONS)


def test_the_cifar10_example_loads(tmp_path: Path) -> None:
    form = yaml.safe_load((ROOT / "docs/examples/cifar10.yaml").read_text(encoding="utf-8"))
    for role in ("train", "test"):
        folders(tmp_path / "cifar10" / role, form["classes"], 10)
    path = ROOT / "docs/examples/cifar10.yaml"
    suite = load_suite_file(path, tmp_path, tmp_path / "cache")
    assert (suite.task.train.size, suite.task.selection.size, suite.test.size) == (90, 10, 100)
    assert [shift.name for shift in suite.shifts] == ["noise", "blur", "fog", "pixelate"]


def test_real_cifar10_images(tmp_path: Path) -> None:
    place = DATA
    archive = place / "cifar10_jpeg.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}: set BENCH_TEST_DATA to the folder that holds it")
    with zipfile.ZipFile(archive) as file:
        some = [name for name in file.namelist() if re.search(r"/00[01]\d\.jpg$", name)]
        file.extractall(tmp_path, some)
    path = ROOT / "docs/examples/cifar10.yaml"
    suite = load_suite_file(path, tmp_path, tmp_path / "cache")
    assert (suite.task.train.size, suite.task.selection.size, suite.test.size) == (180, 20, 200)
    clean = suite.test.load().images[7]
    for shift in suite.shifts:
        image = shift.split.load().images[7]
        assert image.size == (32, 32)
        assert image.tobytes() != clean.tobytes()
