"""WILDS-FMoW and WILDS-iWildCam: on synthetic copies, by the definitions, and against the package.

The comparisons with the package ``wilds`` run where it is installed (``pip install wilds``).
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import assert_refused, bench

from bench import prompts
from bench.cards import cards
from bench.comparisons import ZERO_SHOT, kept
from bench.data_folder import SYNTHETIC, WATERMARK, NotFound
from bench.dataset import Split, Suite
from bench.errors import InputError
from bench.manifest import Manifest
from bench.measured import measured
from bench.metrics import OWN
from bench.records import read
from bench.registry import find_dataset
from bench.samples import sample_outputs
from bench.synthetic import wilds as copies_of
from bench.testing import check_dataset

FMOW, IWILDCAM = find_dataset("fmow"), find_dataset("iwildcam")
PARTS = {"train": "train", "selection": "id_val", "test": "id_test", "ood": "ood_test"}
"""Our splits by the cards' names."""
THEIRS = {"train": "train", "selection": "id_val", "test": "id_test", "ood": "test"}
"""And by the package's."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the synthetic copies of both sets, not to be changed."""
    root = tmp_path_factory.mktemp("wilds")
    (root / SYNTHETIC).write_text(json.dumps(copies_of.make(root)))
    return root


@pytest.fixture
def own(copies: Path, tmp_path: Path) -> Path:
    """A data folder whose files may be changed, but for the images, which are linked."""
    shutil.copytree(copies, tmp_path / "data", ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    for images in ("fmow_v1.1/images", "iwildcam_v2.0/train"):
        (tmp_path / "data" / images).rmdir()
        (tmp_path / "data" / images).symlink_to(copies / images)
    return tmp_path / "data"


def splits(suite: Suite) -> dict[str, Split]:
    task = suite.task
    shifts = {shift.name: shift.split for shift in suite.shifts}
    return {"train": task.train, "selection": task.selection, "test": suite.test, **shifts}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    rows = table(path)
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def names(manifest: Manifest, group: str) -> list[str]:
    return [manifest.names[group][code] for code in manifest.group(group)]


def random_log_probs(size: int, classes: int, seed: int) -> np.ndarray[Any, Any]:
    scores = np.random.default_rng(seed).normal(size=(size, classes)) * 3
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_the_contract_is_kept(dataset: Any, copies: Path, tmp_path: Path) -> None:
    check_dataset(dataset, copies, tmp_path)
    check_dataset(dataset, None)
    check_dataset(dataset, tmp_path)


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_the_copies_are_whole(dataset: Any, copies: Path, tmp_path: Path) -> None:
    suite = dataset().suite(copies, tmp_path)
    counts = json.loads((copies / SYNTHETIC).read_text())[f"wilds-{suite.name}"]
    assert {n: split.size for n, split in splits(suite).items()} == {
        name: counts[part] for name, part in PARTS.items()
    }
    assert suite.faults == ()
    assert suite.notes == (WATERMARK,)
    assert len(suite.task.classnames) == cards()[f"wilds-{suite.name}"].classes
    assert suite.all_shifts == ("ood",) and not suite.lacking


def test_equal_calls_write_equal_files(copies: Path, tmp_path: Path) -> None:
    assert copies_of.make(tmp_path) == json.loads((copies / SYNTHETIC).read_text())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 1000
    assert all(p.read_bytes() == (copies / p.relative_to(tmp_path)).read_bytes() for p in files)


# FMoW


def test_fmow_splits_by_time_and_numbers_files_by_all_rows(copies: Path, tmp_path: Path) -> None:
    rows = table(copies / "fmow_v1.1" / "rgb_metadata.csv")
    years = {
        "train": "0000-2012",
        "selection": "0000-2012",
        "test": "0000-2012",
        "ood": "2016-9999",
    }
    sources = {"train": "train", "selection": "val", "test": "test", "ood": "test"}
    suite = FMOW().suite(copies, tmp_path)
    for name, split in splits(suite).items():
        first, last = years[name].split("-")
        wanted = {
            f"images/rgb_img_{number}.png": row
            for number, row in enumerate(rows)
            if row["split"] == sources[name] and first <= row["timestamp"][:4] <= last
        }
        manifest = split.load().manifest
        assert set(manifest.ids) == set(wanted)
        found = [wanted[i] for i in manifest.ids]
        labels = [suite.task.classnames[label] for label in manifest.first]
        assert labels == [row["category"] for row in found]
        assert names(manifest, "region") == [row["region"] for row in found]
    used = {row["split"] for row in rows}
    assert used == {"train", "val", "test", "seq"}
    sequestered = [number for number, row in enumerate(rows) if row["split"] == "seq"]
    kept = [number for number, row in enumerate(rows) if row["split"] != "seq"]
    assert min(sequestered) < max(kept), "row numbers and numbers of images must differ"


@pytest.mark.parametrize(
    ("time", "part"),
    [
        ("2002-05-01T00:00:00Z", "test"),
        ("2012-12-31T23:59:59Z", "test"),
        ("2012-12-31T23:59:59.999Z", "test"),
        ("2012-12-31T23:59:59.999999+00:00", "test"),
        ("2013-01-01T00:00:00Z", None),
        ("2013-01-01T00:00:00.000+00:00", None),
        ("2015-12-31T23:59:59.643Z", None),
        ("2016-01-01T01:59:59+02:00", None),
        ("2016-01-01T00:00:00Z", "ood"),
        ("2016-01-01T00:00:00.000Z", "ood"),
        ("2015-12-31T23:00:00-01:00", "ood"),
        ("2017-06-30T12:00:00.5+00:00", "ood"),
    ],
)
def test_fmow_times(own: Path, tmp_path: Path, time: str, part: str | None) -> None:
    path = own / "fmow_v1.1" / "rgb_metadata.csv"
    number = next(i for i, row in enumerate(table(path)) if row["split"] == "test")
    rewrite(path, lambda rows: rows[number].update(timestamp=time))
    found = splits(FMOW().suite(own, tmp_path))
    file = f"images/rgb_img_{number}.png"
    assert [n for n, s in found.items() if file in s.load().manifest.ids] == [part] * bool(part)


def test_fmow_regions_are_those_of_the_mapping(own: Path, tmp_path: Path) -> None:
    mapping = own / "fmow_v1.1" / "country_code_mapping.csv"
    rewrite(mapping, lambda rows: rows.pop(0) and None)
    lost = table(mapping.with_name("rgb_metadata.csv"))
    manifest = FMOW().suite(own, tmp_path).task.train.load().manifest
    found = [lost[int(i.removesuffix(".png").rpartition("_")[2])] for i in manifest.ids]
    expected = [
        "Other" if row["country_code"] in ("KEN", "XKX") else row["region"] for row in found
    ]
    assert names(manifest, "region") == expected
    assert "KEN" in {row["country_code"] for row in found}


def worst_by_definition(log_probs: Any, manifest: Manifest) -> float:
    """Pure Python: the lowest share of right answers of a region that is there and not Other."""
    right: dict[str, list[bool]] = {}
    for row, region in enumerate(names(manifest, "region")):
        ranked = sorted(range(log_probs.shape[1]), key=lambda c: (-log_probs[row, c], c))
        right.setdefault(region, []).append(ranked[0] == manifest.labels[row, 0])
    return min(sum(r) / len(r) for region, r in right.items() if region != "Other")


@pytest.mark.parametrize("seed", range(5))
def test_worst_region_is_as_defined(copies: Path, tmp_path: Path, seed: int) -> None:
    suite = FMOW().suite(copies, tmp_path)
    (shift,) = suite.shifts
    assert shift.metrics == ("worst-region",) and shift.judged_by == "worst-region"
    judged = shift.split.load().manifest
    assert set(names(judged, "region")) == {"Africa", "Americas", "Asia", "Europe", "Other"}
    for manifest in (judged, suite.task.train.load().manifest):
        log_probs = random_log_probs(len(manifest), 62, seed)
        hit = np.random.default_rng(seed).random(len(manifest)) < 0.7
        is_other = np.array(names(manifest, "region")) == "Other"
        log_probs[hit & ~is_other, manifest.first[hit & ~is_other]] = 0  # Other is the worst
        value = OWN["worst-region"](log_probs, manifest)
        assert value == pytest.approx(worst_by_definition(log_probs, manifest), abs=1e-12)
        log_probs[is_other, manifest.first[is_other]] = 0  # and now the best
        assert OWN["worst-region"](log_probs, manifest) == value
    assert value > 0


# iWildCam


def test_iwildcam_splits_are_those_of_its_table(copies: Path, tmp_path: Path) -> None:
    rows = {row["filename"]: row for row in table(copies / "iwildcam_v2.0" / "metadata.csv")}
    suite = IWILDCAM().suite(copies, tmp_path)
    for name, split in splits(suite).items():
        manifest = split.load().manifest
        wanted = {f for f, row in rows.items() if row["split"] == THEIRS[name]}
        assert set(manifest.ids) == wanted
        for field, values in (
            ("y", manifest.first),
            ("location_remapped", manifest.group("location")),
        ):
            assert [int(rows[i][field]) for i in manifest.ids] == values.tolist()
    grey = {split.load().images[0].mode for split in splits(suite).values()}
    assert grey == {"L"}


def test_iwildcam_names_are_the_english_ones_in_lower_case(copies: Path, tmp_path: Path) -> None:
    suite = IWILDCAM().suite(copies, tmp_path)
    listed = table(copies / "bench-prompts" / "wilds-iwildcam" / "labels.csv")
    assert len(listed) > 182
    assert suite.task.classnames == tuple(row["english"].lower() for row in listed[:182])
    twice = {name for name, count in Counter(suite.task.classnames).items() if count == 2}
    assert twice == {"lowland paca", "jaguarundi", "unknown bird", "central american red brocket"}
    assert suite.prompts.startswith("class names are those of wise-ft's labels.csv; ")


def test_iwildcam_without_english_names_has_those_of_the_archive(own: Path, tmp_path: Path) -> None:
    (own / "bench-prompts" / "wilds-iwildcam" / "labels.csv").unlink()
    suite = IWILDCAM().suite(own, tmp_path)
    assert suite.task.classnames[:2] == ("empty", "species synthetica 1")
    assert "scientific" in suite.prompts and "gets labels.csv of wise-ft" in suite.prompts
    (own / "iwildcam_v2.0" / "categories.csv").unlink()
    assert not IWILDCAM().found(own)
    with pytest.raises(NotFound, match=r"no species names.*categories\.csv.*labels\.csv"):
        IWILDCAM().suite(own, tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_that_of_scikit_learn(copies: Path, tmp_path: Path, seed: int) -> None:
    functional = pytest.importorskip("sklearn.metrics")
    suite = IWILDCAM().suite(copies, tmp_path)
    assert suite.metrics == ("macro-f1",)
    manifest = suite.shifts[0].split.load().manifest
    log_probs = random_log_probs(len(manifest), 182, seed)
    hit = np.random.default_rng(seed).random(len(manifest)) < 0.5
    log_probs[hit, manifest.first[hit]] = 0
    truth, predicted = manifest.first, log_probs.argmax(axis=1)
    assert set(predicted) - set(truth), "some predictions are of classes that do not occur"
    expected = functional.f1_score(
        truth, predicted, labels=np.unique(truth), average="macro", zero_division=0
    )
    assert OWN["macro-f1"](log_probs, manifest) == pytest.approx(expected, abs=1e-12)


# Prompts


def test_without_official_templates_a_plain_prompt_is_said_to_be_one(
    copies: Path, tmp_path: Path
) -> None:
    fmow, iwildcam = FMOW().suite(copies, tmp_path), IWILDCAM().suite(copies, tmp_path)
    assert fmow.task.templates == ("a photo of {a}.",)
    assert iwildcam.task.templates == prompts.PLAIN
    for suite in (fmow, iwildcam):
        assert "not the official prompt" in suite.prompts
        assert (
            f"'bench data prepare wilds-{suite.name}' gets {suite.name}_template" in suite.prompts
        )


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_official_templates_are_read_where_they_lie(
    dataset: Any, own: Path, tmp_path: Path
) -> None:
    folder = own / "bench-prompts" / f"wilds-{dataset.name}"
    folder.mkdir(exist_ok=True)
    file = folder / f"{dataset.name}_template.py"
    file.write_text(
        "from .utils import append_proper_article\n"
        f"{dataset.name}_template = [\n"
        "    lambda c : f'seen from here: {append_proper_article(c)}.',\n"
        "    lambda c: f'{c}.',\n]\n"
    )
    suite = dataset().suite(own, tmp_path)
    assert suite.task.templates == ("seen from here: {a}.", "{}.")
    assert suite.prompts.endswith(f"the 2 templates of wise-ft's {file.name}")


# What is not as it should be


def test_missing_images_are_named(own: Path, tmp_path: Path) -> None:
    images = own / "fmow_v1.1" / "images"
    original = images.resolve()
    images.unlink()
    shutil.copytree(original, images)
    whole = FMOW().suite(own, tmp_path)
    gone = whole.test.load().manifest.ids[3]
    (own / "fmow_v1.1" / gone).unlink()
    suite = FMOW().suite(own, tmp_path)
    assert suite.test.size == whole.test.size - 1
    (fault,) = suite.faults
    assert f"fmow/test lacks 1 of {whole.test.size} images: {gone}" in fault
    assert suite.task.train == whole.task.train


def test_lines_that_were_cut_off_are_missed(own: Path, tmp_path: Path) -> None:
    path = own / "iwildcam_v2.0" / "metadata.csv"
    last = table(path)[-1]["split"]
    assert last == "test"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-5]))
    (fault,) = IWILDCAM().suite(own, tmp_path).faults
    assert fault == "wilds-iwildcam ood_test: 75 of 80 images"


def test_real_copies_are_held_against_verified_numbers_alone(own: Path, tmp_path: Path) -> None:
    (own / SYNTHETIC).unlink()
    suite = FMOW().suite(own, tmp_path)
    assert (suite.model, suite.pretrained, suite.notes) == ("ViT-B-32", "openai", ())
    said = [fault.partition(":")[0] for fault in suite.faults]
    assert said == ["wilds-fmow train", "wilds-fmow ood_test"]
    said = [f.partition(":")[0] for f in IWILDCAM().suite(own, tmp_path).faults]
    assert [s.removeprefix("wilds-iwildcam ") for s in said] == list(PARTS.values())


def test_a_part_without_images_leaves_the_others_usable(own: Path, tmp_path: Path) -> None:
    whole = FMOW().suite(own, tmp_path)
    images = own / "fmow_v1.1" / "images"
    original = images.resolve()
    images.unlink()
    images.mkdir()
    for file in whole.test.load().manifest.ids:
        (own / "fmow_v1.1" / file).symlink_to(original / Path(file).name)
    suite = FMOW().suite(own, tmp_path)
    assert suite.test == whole.test
    assert suite.task.train.absent and suite.task.selection.absent
    assert suite.shifts == () and suite.all_shifts == ("ood",)
    assert "has none of 20 images" in suite.lacking["ood"]
    with pytest.raises(InputError, match="has none of 99 images"):
        suite.task.train.load()
    for file in whole.test.load().manifest.ids:
        (own / "fmow_v1.1" / file).unlink()
    with pytest.raises(InputError, match="has none of 32 images"):
        FMOW().suite(own, tmp_path)


def first(**changes: str) -> Callable[[list[dict[str, str]]], None]:
    return lambda rows: rows[0].update(changes)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("rgb_metadata.csv", first(timestamp="2013-10-05T02:27:17"), "2013-10-05T02:27:17Z"),
        ("rgb_metadata.csv", first(timestamp="yesterday"), "timestamp 'yesterday'"),
        ("rgb_metadata.csv", first(category="castle"), "63 categories, expected 62"),
        ("metadata.csv", first(y="182"), "y 0 to 182, expected 0 to 181"),
        ("metadata.csv", first(y="-1"), "y -1 to 181"),
        ("metadata.csv", first(y="fox"), "expected whole numbers"),
        ("labels.csv", first(y="1"), "y: expected 0 to 181 in order"),
        ("labels.csv", lambda rows: rows.pop(5) and None, "y: expected 0 to 181 in order"),
    ],
)
def test_tables_that_say_something_else_are_refused(
    own: Path, tmp_path: Path, file: str, change: Any, words: str
) -> None:
    (path,) = own.rglob(file)
    rewrite(path, change)
    suite = "fmow" if "fmow" in str(path) else "iwildcam"
    with pytest.raises(InputError) as error:
        find_dataset(suite)().suite(own, tmp_path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_tables_of_another_form_are_refused(own: Path, tmp_path: Path) -> None:
    path = own / "iwildcam_v2.0" / "metadata.csv"
    text = path.read_text()
    path.write_text(text.replace("location_remapped", "place", 1))
    with pytest.raises(InputError, match=r"unknown column in .*'location_remapped'"):
        IWILDCAM().suite(own, tmp_path)
    path.write_text(text.replace("\n", "\n0,train\n", 1))
    with pytest.raises(InputError, match=r"metadata\.csv:2: expected 11 fields"):
        IWILDCAM().suite(own, tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read"):
        IWILDCAM().suite(own, tmp_path)


def test_no_data_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert_refused(
        bench("run", "--suite", "fmow", "--data", tmp_path, "--methods", "zero-shot"),
        "WILDS-FMoW v1.1",
        str(tmp_path / "fmow_v1.1"),
        "bench show set:wilds-fmow",
    )


# Whole runs


def outputs(folder: Path) -> Any:
    return sample_outputs(folder / "run")


@pytest.mark.parametrize("suite", ["fmow", "iwildcam"])
def test_a_run(suite: str, copies: Path, tmp_path: Path) -> None:
    result = bench(
        *("run", "--suite", suite, "--data", copies, "--methods", "zero-shot,vrf"),
        *("--cache-dir", tmp_path / "cache", "--out", tmp_path / "run"),
    )
    assert result.code == 0, result.err
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert all(record["notes"] == [WATERMARK] for record in records)
    cells = [record for record in records if record["kind"] == "cell"]
    assert {record["method"] for record in cells} == {"zero-shot", "e2e-ft", "vrf"}
    assert {record["shift"] for record in cells} == {"id", "ood"}
    judged = {record["shift"]: record.get("judged_by", "top1") for record in cells}
    expected = {"fmow": ("top1", "worst-region"), "iwildcam": ("macro-f1", "macro-f1")}
    assert (judged["id"], judged["ood"]) == expected[suite]
    chosen = next(record["chosen_on"] for record in cells if record["method"] == "vrf")
    assert chosen["split"] == f"{suite}/selection" and judged["id"] in chosen
    (numbers,) = measured(read(tmp_path / "run" / "records.jsonl"), samples=kept(outputs(tmp_path)))
    assert numbers.comparison is not None and numbers.comparison.last is not None
    last, board = numbers.comparison.last, numbers.board
    for row in board.rows:
        name, value = (row.method, row.base), row.cells[-1].mean
        assert value is not None
        if low_high := last.intervals.get(name):  # none where no resample differs
            assert low_high.low <= low_high.high
        if (name, ZERO_SHOT) in last.differences:
            gained, (low, high) = last.differences[name, ZERO_SHOT]
            zero_shot = board.rows[0].cells[-1].mean or 0
            assert gained == pytest.approx(value - zero_shot) and low < high
    assert len(last.differences) >= 2
    assert not any(numbers.comparison.sets[1:])  # nothing to count in the page


# Against the package


def _mean(src: Any, index: Any, dim_size: int, reduce: str) -> Any:
    """What ``torch_scatter.scatter`` computes, which the package needs and which is not had."""
    import torch

    assert reduce == "mean"
    sums = torch.zeros(dim_size).index_add(0, index, src.float())
    return sums / torch.bincount(index, minlength=dim_size).clamp(min=1)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The data sets of the package, made to take the copies and today's pandas."""
    # Without this the package asks the network for its newest version when it is imported.
    monkeypatch.setitem(sys.modules, "outdated", None)
    why = "wilds is not installed: with it (pip install wilds) the splits are compared"
    fmow = pytest.importorskip("wilds.datasets.fmow_dataset", reason=why)
    iwildcam = pytest.importorskip("wilds.datasets.iwildcam_dataset", reason=why)
    import pandas

    # pandas 2 takes the form of all times from the first (p-lambda/wilds issue 146).
    times = SimpleNamespace(
        read_csv=pandas.read_csv,
        to_datetime=lambda values: pandas.to_datetime(values, format="ISO8601"),
    )
    monkeypatch.setattr(fmow, "pd", times)
    monkeypatch.setitem(sys.modules, "torch_scatter", SimpleNamespace(scatter=_mean))
    return SimpleNamespace(
        categories=list(fmow.categories),
        module=fmow,
        fmow=fmow.FMoWDataset,
        iwildcam=iwildcam.IWildCamDataset,
    )


@pytest.mark.filterwarnings("ignore:Minimum metadata value for CombinatorialGrouper")
def test_fmow_is_as_the_package_has_it(
    package: Any, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    assert package.categories == sorted(package.categories) and len(package.categories) == 62
    monkeypatch.setattr(package.module, "categories", list(copies_of.CATEGORIES))
    theirs = package.fmow(root_dir=str(copies))
    suite = FMOW().suite(copies, tmp_path)
    region = theirs.metadata_fields.index("region")
    for name, split in splits(suite).items():
        subset = theirs.get_subset(THEIRS[name])
        manifest = split.load().manifest
        rows = {i: row for row, i in enumerate(manifest.ids)}
        order = [rows[f"images/rgb_img_{theirs.full_idxs[i]}.png"] for i in subset.indices]
        assert sorted(order) == list(range(len(manifest)))
        assert subset.y_array.tolist() == manifest.first[order].tolist()
        assert [theirs.metadata_map["region"][m[region]] for m in subset.metadata_array] == [
            names(manifest, "region")[row] for row in order
        ]
        log_probs = random_log_probs(len(manifest), 62, 0)
        hit = np.random.default_rng(1).random(len(manifest)) < 0.6
        log_probs[hit, manifest.first[hit]] = 0
        predicted = torch.from_numpy(log_probs.argmax(axis=1))[order]
        said, _ = theirs.eval(predicted, subset.y_array, subset.metadata_array)
        assert OWN["worst-region"](log_probs, manifest) == pytest.approx(said["acc_worst_region"])


def test_iwildcam_is_as_the_package_has_it(package: Any, copies: Path, tmp_path: Path) -> None:
    import torch

    theirs = package.iwildcam(root_dir=str(copies))
    suite = IWILDCAM().suite(copies, tmp_path)
    for name, split in splits(suite).items():
        subset = theirs.get_subset(THEIRS[name])
        manifest = split.load().manifest
        rows = {i: row for row, i in enumerate(manifest.ids)}
        order = [rows[theirs._input_array[i]] for i in subset.indices]
        assert sorted(order) == list(range(len(manifest)))
        assert subset.y_array.tolist() == manifest.first[order].tolist()
        places = subset.metadata_array[:, theirs.metadata_fields.index("location")]
        assert places.tolist() == manifest.group("location")[order].tolist()
        log_probs = random_log_probs(len(manifest), 182, 2)
        hit = np.random.default_rng(3).random(len(manifest)) < 0.6
        log_probs[hit, manifest.first[hit]] = 0
        predicted = torch.from_numpy(log_probs.argmax(axis=1))[order]
        said, _ = theirs.eval(predicted, subset.y_array, subset.metadata_array)
        assert OWN["macro-f1"](log_probs, manifest) == pytest.approx(said["F1-macro_all"])
