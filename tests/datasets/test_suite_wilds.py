"""WILDS-FMoW and WILDS-iWildCam: on synthetic copies and by the definitions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bench
from wilds_copies import (
    FMOW,
    IWILDCAM,
    PARTS,
    THEIRS,
    names,
    random_log_probs,
    rewrite,
    splits,
    table,
)

from bench.api.metrics import OWN
from bench.api.splits import Manifest
from bench.core.records import read_records
from bench.data import prompts
from bench.data.cards import cards
from bench.data.folder import SYNTHETIC, WATERMARK, NotFound
from bench.leaderboard.samples import sample_outputs
from bench.leaderboard.stats.row_samples import samples_by_board
from bench.leaderboard.stats.significance import ZERO_SHOT
from bench.leaderboard.suite_results import measured
from bench.testing.contract import check_dataset
from bench.testing.synthetic.wilds import make_wilds


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_the_contract_is_kept(dataset: Any, wilds: Path, tmp_path: Path) -> None:
    check_dataset(dataset, wilds, tmp_path)
    check_dataset(dataset, None)
    check_dataset(dataset, tmp_path)


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_the_copies_are_whole(dataset: Any, wilds: Path, tmp_path: Path) -> None:
    suite = dataset().suite(wilds, tmp_path)
    counts = json.loads((wilds / SYNTHETIC).read_text())[f"wilds-{suite.name}"]
    assert {n: split.size for n, split in splits(suite).items()} == {
        name: counts[part] for name, part in PARTS.items()
    }
    assert suite.faults == ()
    assert suite.notes == (WATERMARK,)
    assert len(suite.task.classnames) == cards()[f"wilds-{suite.name}"].classes
    assert suite.all_shifts == ("ood",) and not suite.lacking


def test_equal_calls_write_equal_files(wilds: Path, tmp_path: Path) -> None:
    assert make_wilds(tmp_path) == json.loads((wilds / SYNTHETIC).read_text())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 1000
    assert all(p.read_bytes() == (wilds / p.relative_to(tmp_path)).read_bytes() for p in files)


# FMoW


def test_fmow_splits_by_time_and_numbers_files_by_all_rows(wilds: Path, tmp_path: Path) -> None:
    rows = table(wilds / "fmow_v1.1" / "rgb_metadata.csv")
    years = {
        "train": "0000-2012",
        "selection": "0000-2012",
        "test": "0000-2012",
        "ood": "2016-9999",
    }
    sources = {"train": "train", "selection": "val", "test": "test", "ood": "test"}
    suite = FMOW().suite(wilds, tmp_path)
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
def test_fmow_times(own_wilds: Path, tmp_path: Path, time: str, part: str | None) -> None:
    path = own_wilds / "fmow_v1.1" / "rgb_metadata.csv"
    number = next(i for i, row in enumerate(table(path)) if row["split"] == "test")
    rewrite(path, lambda rows: rows[number].update(timestamp=time))
    found = splits(FMOW().suite(own_wilds, tmp_path))
    file = f"images/rgb_img_{number}.png"
    assert [n for n, s in found.items() if file in s.load().manifest.ids] == [part] * bool(part)


def test_fmow_regions_are_those_of_the_mapping(own_wilds: Path, tmp_path: Path) -> None:
    mapping = own_wilds / "fmow_v1.1" / "country_code_mapping.csv"
    rewrite(mapping, lambda rows: rows.pop(0) and None)
    lost = table(mapping.with_name("rgb_metadata.csv"))
    manifest = FMOW().suite(own_wilds, tmp_path).task.train.load().manifest
    found = [lost[int(i.removesuffix(".png").rpartition("_")[2])] for i in manifest.ids]
    expected = [
        "Other" if row["country_code"] in ("KEN", "XKX") else row["region"] for row in found
    ]
    assert names(manifest, "region") == expected
    assert "KEN" in {row["country_code"] for row in found}


def worst_by_definition(log_probs: Any, manifest: Manifest) -> float:
    """Return the lowest accuracy of a region other than Other, in pure Python."""
    right: dict[str, list[bool]] = {}
    for row, region in enumerate(names(manifest, "region")):
        ranked = sorted(range(log_probs.shape[1]), key=lambda c: (-log_probs[row, c], c))
        right.setdefault(region, []).append(ranked[0] == manifest.labels[row, 0])
    return min(sum(r) / len(r) for region, r in right.items() if region != "Other")


@pytest.mark.parametrize("seed", range(5))
def test_worst_region_is_as_defined(wilds: Path, tmp_path: Path, seed: int) -> None:
    suite = FMOW().suite(wilds, tmp_path)
    (shift,) = suite.shifts
    assert shift.metrics == ("worst-region",) and shift.primary_metric == "worst-region"
    judged = shift.split.load().manifest
    assert set(names(judged, "region")) == {"Africa", "Americas", "Asia", "Europe", "Other"}
    for manifest in (judged, suite.task.train.load().manifest):
        log_probs = random_log_probs(len(manifest), 62, seed)
        hit = np.random.default_rng(seed).random(len(manifest)) < 0.7
        is_other = np.array(names(manifest, "region")) == "Other"
        log_probs[hit & ~is_other, manifest.first[hit & ~is_other]] = 0  # Other is the worst
        value = OWN["worst-region"](log_probs, manifest)
        assert value == pytest.approx(worst_by_definition(log_probs, manifest), abs=1e-12)
        log_probs[is_other, manifest.first[is_other]] = 0  # now the highest score
        assert OWN["worst-region"](log_probs, manifest) == value
    assert value > 0


# iWildCam


def test_iwildcam_splits_are_those_of_its_table(wilds: Path, tmp_path: Path) -> None:
    rows = {row["filename"]: row for row in table(wilds / "iwildcam_v2.0" / "metadata.csv")}
    suite = IWILDCAM().suite(wilds, tmp_path)
    for name, split in splits(suite).items():
        manifest = split.load().manifest
        wanted = {f for f, row in rows.items() if row["split"] == THEIRS[name]}
        assert set(manifest.ids) == wanted
        for field, values in (
            ("y", manifest.first),
            ("location_remapped", manifest.group("location")),
        ):
            assert [int(rows[i][field]) for i in manifest.ids] == values.tolist()
    modes = {split.load().images[0].mode for split in splits(suite).values()}
    assert modes == {"RGB"}  # the files are grey


def test_iwildcam_names_are_the_english_ones_in_lower_case(wilds: Path, tmp_path: Path) -> None:
    suite = IWILDCAM().suite(wilds, tmp_path)
    listed = table(wilds / "bench-prompts" / "wilds-iwildcam" / "labels.csv")
    assert len(listed) > 182
    assert suite.task.classnames == tuple(row["english"].lower() for row in listed[:182])
    twice = {name for name, count in Counter(suite.task.classnames).items() if count == 2}
    assert twice == {"lowland paca", "jaguarundi", "unknown bird", "central american red brocket"}
    assert suite.prompts.startswith("class names are those of wise-ft's labels.csv; ")


def test_iwildcam_without_english_names_has_those_of_the_archive(
    own_wilds: Path, tmp_path: Path
) -> None:
    (own_wilds / "bench-prompts" / "wilds-iwildcam" / "labels.csv").unlink()
    suite = IWILDCAM().suite(own_wilds, tmp_path)
    assert suite.task.classnames[:2] == ("empty", "species synthetica 1")
    assert "scientific" in suite.prompts and "gets labels.csv of wise-ft" in suite.prompts
    (own_wilds / "iwildcam_v2.0" / "categories.csv").unlink()
    assert not IWILDCAM().found(own_wilds)
    with pytest.raises(NotFound, match=r"no species names.*categories\.csv.*labels\.csv"):
        IWILDCAM().suite(own_wilds, tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_that_of_scikit_learn(wilds: Path, tmp_path: Path, seed: int) -> None:
    functional = pytest.importorskip("sklearn.metrics")
    suite = IWILDCAM().suite(wilds, tmp_path)
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
    wilds: Path, tmp_path: Path
) -> None:
    fmow, iwildcam = FMOW().suite(wilds, tmp_path), IWILDCAM().suite(wilds, tmp_path)
    assert fmow.task.templates == ("a photo of {a}.",)
    assert iwildcam.task.templates == prompts.PLAIN
    for suite in (fmow, iwildcam):
        assert "not the official prompt" in suite.prompts
        assert (
            f"'bench data prepare wilds-{suite.name}' gets {suite.name}_template" in suite.prompts
        )


@pytest.mark.parametrize("dataset", [FMOW, IWILDCAM])
def test_official_templates_are_read_where_they_lie(
    dataset: Any, own_wilds: Path, tmp_path: Path
) -> None:
    folder = own_wilds / "bench-prompts" / f"wilds-{dataset.name}"
    folder.mkdir(exist_ok=True)
    file = folder / f"{dataset.name}_template.py"
    file.write_text(
        "from .utils import append_proper_article\n"
        f"{dataset.name}_template = [\n"
        "    lambda c : f'seen from here: {append_proper_article(c)}.',\n"
        "    lambda c: f'{c}.',\n]\n"
    )
    suite = dataset().suite(own_wilds, tmp_path)
    assert suite.task.templates == ("seen from here: {a}.", "{}.")
    assert suite.prompts.endswith(f"the 2 templates of wise-ft's {file.name}")


# Whole runs


def outputs(folder: Path) -> Any:
    return sample_outputs(folder / "run")


@pytest.mark.parametrize("suite", ["fmow", "iwildcam"])
def test_a_run(suite: str, wilds: Path, tmp_path: Path) -> None:
    result = bench(
        *("run", "--suite", suite, "--data", wilds, "--methods", "zero-shot,vrf"),
        *("--cache-dir", tmp_path / "cache", "--out", tmp_path / "run"),
    )
    assert result.code == 0, result.err
    records = read_records(tmp_path / "run" / "records.jsonl")
    assert all(record.notes == (WATERMARK,) for record in records)
    cells = [record for record in records if record.kind == "cell"]
    assert {record.method for record in cells} == {"zero-shot", "e2e-ft", "vrf"}
    assert {record.shift for record in cells} == {"id", "ood"}
    judged = {record.shift: record.primary_metric for record in cells}
    expected = {"fmow": ("top1", "worst-region"), "iwildcam": ("macro-f1", "macro-f1")}
    assert (judged["id"], judged["ood"]) == expected[suite]
    chosen = next(record.chosen_on or {} for record in cells if record.method == "vrf")
    assert chosen["split"] == f"{suite}/selection" and judged["id"] in chosen
    (numbers,) = measured(records, samples=samples_by_board(outputs(tmp_path)))
    assert numbers.comparison is not None and numbers.comparison.last is not None
    last, board = numbers.comparison.last, numbers.board
    for row in board.rows:
        name, value = (row.method, row.base), row.cells[-1].mean
        assert value is not None
        low, high = last.intervals[name]
        assert low <= value <= high and low < high
        if (name, ZERO_SHOT) in last.differences:
            gained, (low, high) = last.differences[name, ZERO_SHOT]
            zero_shot = board.rows[0].cells[-1].mean or 0
            assert gained == pytest.approx(value - zero_shot) and low < high
    assert len(last.differences) >= 2
    assert not any(numbers.comparison.sets[1:])  # nothing to count in the page
