"""The suites imagenet and entity30: label maps, classes, and a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused, bench
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from imagenet_suites import SHIFTS
from places import DATA
from timm.data import ImageNetInfo

from bench.api.dataset import LabelMap, Shift, Suite
from bench.api.metrics import METRICS
from bench.api.protocol import OFFICIAL
from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.data.folder import SYNTHETIC
from bench.data.suites.imagenet import (
    OBJECTNET_FILES,
    imagenet_classes,
    imagenet_subset,
    objectnet_classes,
    openai_templates,
)
from bench.runs.study.rows import Settings
from bench.testing.contract import check_dataset
from bench.testing.synthetic.objectnet import OTHERS, SEVERAL

WNIDS = imagenet_classes().keys


def shift_of(suite: Suite, name: str) -> Shift:
    return next(shift for shift in suite.shifts if shift.name == name)


@pytest.fixture(scope="module")
def suite(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return find_dataset("imagenet")().suite(synthetic, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def entity30(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return find_dataset("entity30")().suite(synthetic, tmp_path_factory.mktemp("cache"))


# Label maps in general


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[LabelMap, int]:
    """A label map and the number of classes of its task."""
    classes = draw(st.integers(1, 9))
    group = st.lists(st.integers(0, classes - 1), min_size=1, max_size=4, unique=True)
    columns = draw(st.lists(group.map(tuple), min_size=1, max_size=6))
    return LabelMap(tuple(columns)), classes


@given(label_maps(), st.data())
def test_a_projection_is_the_maximum_over_each_column(
    drawn: tuple[LabelMap, int], data: st.DataObject
) -> None:
    labels, classes = drawn
    scores = data.draw(arrays(np.float32, (3, classes), elements=st.floats(-9, 9, width=32)))
    found = labels.project(scores)
    assert labels.columns is not None
    expected = [[max(float(row[c]) for c in column) for column in labels.columns] for row in scores]
    assert found.tolist() == expected
    # Softmax comes after: what is added to all scores of a sample changes nothing but itself.
    assert labels.project(scores + np.float32(1)).tolist() == (found + np.float32(1)).tolist()


@given(st.permutations(range(7)), st.integers(1, 7), st.integers(0, 10**6))
def test_subsets_and_orders_only_pick_columns(order: list[int], size: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 7)).astype(np.float32)
    chosen = order[:size]
    labels = LabelMap(tuple((c,) for c in chosen))
    assert np.array_equal(labels.project(scores), scores[:, chosen])
    assert labels.relation == "subset"


def test_a_map_beyond_the_task_is_refused() -> None:
    with pytest.raises(InputError, match="class 5, but the scores have 3 classes"):
        LabelMap(((0,), (5,))).project(np.zeros((1, 3), np.float32))


# ImageNet's


def test_both_suites_keep_the_contract(synthetic: Path, tmp_path: Path) -> None:
    for name in ("imagenet", "entity30"):
        check_dataset(find_dataset(name), synthetic, tmp_path)
        check_dataset(find_dataset(name), None, tmp_path)


def test_the_suite_is_that_of_the_papers(suite: Suite) -> None:
    assert suite.all_shifts == tuple(s.name for s in suite.shifts) == SHIFTS
    assert suite.task.classnames == imagenet_classes().prompts
    assert suite.task.templates == openai_templates()
    assert (suite.task.train.size, suite.test.size) == (1050, 1000)
    assert suite.task.selection == suite.task.train
    sizes = {s.name: s.split.size for s in suite.shifts}
    assert [sizes[name] for name in SHIFTS] == [1000, 1000, 200, 200, 113, 33, 38]
    assert (suite.faults, suite.lacking, suite.notes) == ((), {}, ("synthetic data",))
    assert (suite.outside_mean, suite.averaged) == (("vid-robust", "ytbb"), 5)
    assert [s.name for s in suite.shifts if s.border or s.test_only] == ["objectnet"]
    assert all(shift.border == shift.test_only for shift in suite.shifts)
    metrics = {s.name: s.metrics for s in suite.shifts if s.metrics}
    assert metrics == {"vid-robust": ("pm-0", "pm-10"), "ytbb": ("pm-0", "pm-10")}
    vrf = Settings(OFFICIAL, suite.task.name).method("vrf")
    assert (vrf.a_grid, vrf.b_grid) == ((1.5,), (0.6,))


def truth(shift: Shift) -> dict[str, str]:
    """Return {folder of an image: WordNet ids of its correct task classes, joined}."""
    manifest = shift.split.load().manifest
    columns = shift.labels.columns or tuple((i,) for i in range(1000))
    return {
        name.partition("/")[0]: " ".join(WNIDS[i] for i in columns[label])
        for name, label in zip(manifest.ids, manifest.first, strict=True)
    }


def test_folders_that_are_wordnet_ids_are_their_classes(suite: Suite) -> None:
    """timm's own list of ids defines the classes of ImageNet, A and R."""
    info = ImageNetInfo()
    assert list(WNIDS) == info.label_names()
    for name, count in (("sketch", 1000), ("a", 200), ("r", 200)):
        found = truth(shift_of(suite, name))
        assert len(found) == count
        assert all(folder == wnid for folder, wnid in found.items())
    ids = suite.test.load().manifest
    assert [name.partition("/")[0] for name in ids.ids] == [WNIDS[i] for i in ids.first]


@pytest.mark.parametrize("name", ["a", "r"])
def test_subsets_score_their_classes_in_the_order_of_the_ids(suite: Suite, name: Any) -> None:
    shift = shift_of(suite, name)
    assert shift.labels.columns == tuple((i,) for i in imagenet_subset(name))
    assert len(imagenet_subset(name)) == 200 == len(set(imagenet_subset(name)))
    assert list(imagenet_subset(name)) == sorted(imagenet_subset(name))
    assert shift.labels.relation == "subset"
    # A model that says what the folder says is always right.
    manifest = shift.split.load().manifest
    scores = np.zeros((len(manifest), 1000), np.float32)
    for row, image in enumerate(manifest.ids):
        scores[row, WNIDS.index(image.partition("/")[0])] = 1
    assert METRICS["top1"](np.log(shift.labels.project(scores) + 0.1), manifest) == 1


def test_the_two_subsets_share_86_classes() -> None:
    assert len(set(imagenet_subset("a")) & set(imagenet_subset("r"))) == 86
    assert (imagenet_subset("a")[:3], imagenet_subset("r")[:3]) == ((6, 11, 13), (1, 2, 4))


def test_v2_folders_are_numbers_not_texts(suite: Suite) -> None:
    manifest = shift_of(suite, "v2").split.load().manifest
    label_of = dict(zip((i.partition("/")[0] for i in manifest.ids), manifest.first, strict=True))
    # As text, "10" comes third and "2" 113th: ImageFolder would call them so.
    by_text = sorted(map(str, range(1000)))
    assert (by_text.index("10"), by_text.index("2")) == (2, 112)
    assert [label_of[f] for f in ("0", "2", "10", "100", "999")] == [0, 2, 10, 100, 999]
    assert all(label == int(folder) for folder, label in label_of.items())


def test_objectnet_classes_with_several_ids(suite: Suite) -> None:
    shift = shift_of(suite, "objectnet")
    manifest = shift.split.load().manifest
    folders = [name.partition("/")[0] for name in manifest.ids]
    assert folders == sorted(folders) and manifest.first.tolist() == list(range(113))
    columns = shift.labels.columns
    assert columns is not None and shift.labels.relation == "many-to-one"
    assert len({i for column in columns for i in column}) == 125
    several = {f: c for f, c in zip(folders, columns, strict=True) if len(c) > 1}
    assert several == {label.lower().replace(" ", "_"): ids for label, ids in SEVERAL.items()}
    scores = np.zeros((1, 1000), np.float32)
    scores[0, [409, 530, 423, 559, 765]] = 0.5, 0.75, 0.125, 0.25, 0.375
    projected = shift.labels.project(scores)[0]
    assert projected[folders.index("alarm_clock")] == 0.75
    assert projected[folders.index("chair")] == 0.375
    assert np.count_nonzero(projected) == 2


def test_objectnet_folders_without_a_class_are_left_out(suite: Suite, synthetic: Path) -> None:
    there = {p.name for p in (synthetic / "objectnet-1.0/images").iterdir()}
    assert len(there) == 113 + len(OTHERS)
    assert there - truth(shift_of(suite, "objectnet")).keys() == {
        re.sub(r"\W+", "_", label.lower()).strip("_") for label in OTHERS
    }


def test_the_red_border_is_cut_as_the_protocol_says(suite: Suite) -> None:
    for border, is_red in ((0, True), (2, False)):
        changed = suite.under(selects="selection", share=0.1, border=border)
        image = shift_of(changed, "objectnet").split.load().images[0]
        assert image.size == (24 - 2 * border, 20 - 2 * border)
        edge = np.asarray(image.convert("RGB"))[0]
        assert bool((edge == (255, 0, 0)).all()) == is_red


def test_the_map_of_objectnet_is_the_published_one() -> None:
    """The digest comes from the files in wise-ft 58b7a4b."""
    mappings = DATA / "objectnet-1.0" / "mappings"
    if not mappings.is_dir():
        pytest.skip(f"needs {mappings} (or $BENCH_TEST_DATA)")
    found = hashlib.sha256(json.dumps(objectnet_classes(mappings)).encode()).hexdigest()
    assert found == "98eb2b944145228be153fffc6e191d259e183a132874b699755947dfdf1293d9"


LABELS, NAMES, LINES, IDS = OBJECTNET_FILES
MAPPING = {
    LABELS: json.dumps({"tie": "Tie", "bow": "Bow", "mug": "Mug"}),
    NAMES: json.dumps({"Tie": "bow tie; Windsor tie", "Mug": "coffee mug"}),
    LINES: "coffee mug\nbow tie\ncrane\nWindsor tie\ncrane\n",
    IDS: json.dumps({"457": 1, "504": 0, "517": 4, "134": 2, "906": 3}),
}


def mapped(folder: Path, **changes: str) -> Mapping[str, tuple[int, ...]]:
    for file, text in {**MAPPING, **changes}.items():
        (folder / file).write_text(text)
    return objectnet_classes(folder)


def test_a_mapping_by_hand(tmp_path: Path) -> None:
    found = mapped(tmp_path)
    assert found == {"mug": (504,), "tie": (457, 906)}
    assert list(found) == ["mug", "tie"]


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        (LABELS, "[]", f"{LABELS}: expected {{folder: label}}"),
        (LABELS, "{}", "no folder for 'Tie'"),
        (NAMES, "3", f"{NAMES}: expected {{label: names}}"),
        (NAMES, '{"Tie": "cravat"}', "'Tie' is mapped to 'cravat': expected"),
        (NAMES, '{"Tie": "crane"}', "'Tie' is mapped to 'crane': expected"),  # two lines
        (LINES, "a\n" * 6, "no class for line 6"),
        (IDS, '{"a": 0}', f"{IDS}: expected {{class index: line}}"),
        (IDS, "{", f"{IDS}: "),
    ],
)
def test_mappings_with_a_fault(file: str, text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        mapped(tmp_path, **{file: text})
    assert what in str(error.value) and "\n" not in str(error.value)


# Entity-30


def test_entity30_has_four_source_and_four_target_classes_each(entity30: Suite) -> None:
    target = shift_of(entity30, "target")
    assert len(entity30.task.classnames) == 30 == len(set(entity30.task.classnames))
    folders = []
    for split in (entity30.test, target.split):
        manifest = split.load().manifest
        names = [name.partition("/")[0] for name in manifest.ids]
        assert Counter(manifest.first.tolist()) == dict.fromkeys(range(30), 4)
        folders.append(set(names))
    assert [len(some) for some in folders] == [120, 120]
    assert not folders[0] & folders[1]
    train = entity30.task.train.load().manifest
    assert {name.partition("/")[0] for name in train.ids} == folders[0]
    vrf = Settings(OFFICIAL, entity30.task.name).method("vrf")
    assert (vrf.a_grid, vrf.b_grid) == ((1.1,), (0.6,))
    assert "not the official prompt" in entity30.prompts


@pytest.mark.parametrize(
    ("superclass", "source", "target"),
    [
        ("bony fish", ("tench", "silver salmon", "rock beauty fish", "lionfish"),
         ("eel", "sturgeon", "gar fish", "pufferfish")),
        ("primate", ("chimpanzee", "baboon", "howler monkey", "ring-tailed lemur"),
         ("siamang", "patas monkey", "white-headed capuchin", "indri")),
    ],
)  # fmt: skip
def test_entity30_by_name(
    superclass: str, source: tuple[str, ...], target: tuple[str, ...], entity30: Suite
) -> None:
    """Superclasses with well-known members, by open_clip's names."""
    names = dict(zip(WNIDS, imagenet_classes().prompts, strict=True))
    label = entity30.task.classnames.index(superclass)
    splits = (entity30.test, shift_of(entity30, "target").split)
    for split, members in zip(splits, (source, target), strict=True):
        manifest = split.load().manifest
        rows = np.flatnonzero(manifest.first == label)
        assert {names[manifest.ids[row].partition("/")[0]] for row in rows} == set(members)


# Runs


@pytest.mark.slow
def test_both_suites_run(synthetic: Path, tmp_path: Path) -> None:
    """Both suites share a cache, so common work is done once."""
    common = ("--data", synthetic, "--cache-dir", tmp_path / "cache")
    for name, shifts in (("entity30", {"target"}), ("imagenet", {*SHIFTS})):
        out = tmp_path / name
        arguments = ("--methods", "zero-shot,vrf", *common, "--out", out)
        result = bench("run", "--suite", name, *arguments)
        assert result.code == 0, result.err
        records = read_records(out / "records.jsonl")
        cells = [record for record in records if record.kind == "cell"]
        assert {record.shift for record in cells} == {"id", *shifts}
        assert {record.method for record in cells} >= {"zero-shot", "vrf"}
        assert all("synthetic data" in record.notes for record in records)
        assert "synthetic data" in (out / "report.md").read_text()
        assert "synthetic data" in (out / "report.html").read_text()
    pm = {(r.shift, r.metric) for r in cells if r.metric.startswith("pm")}
    assert pm == {(s, m) for s in ("vid-robust", "ytbb") for m in ("pm-0", "pm-10")}


@pytest.mark.parametrize("name", ["imagenet", "entity30"])
def test_both_suites_can_be_planned_as_published(
    name: str, synthetic: Path, tmp_path: Path
) -> None:
    common = ("--data", synthetic, "--cache-dir", tmp_path, "--protocol", "official")
    result = bench("plan", "--suite", name, "--methods", "zero-shot,vrf", *common)
    assert result.code == 0, result.err
    assert "tiny" in result.out


def test_incomplete_data_are_refused(linked: Path, tmp_path: Path) -> None:
    (linked / SYNTHETIC).unlink()
    arguments = ("--data", linked, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    result = bench("run", "--suite", "imagenet", *arguments)
    assert result.code == 4
    assert "imagenet val: 1,000 of 50,000 images" in result.err


def test_a_run_without_data_says_what_was_looked_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    result = bench("run", "--suite", "imagenet", "--data", data, "--out", tmp_path / "out")
    missing = "ImageNet (ILSVRC2012), val: not found; looked for"
    assert_refused(result, missing, "ILSVRC2012/val")
