"""The suites imagenet and entity30: label maps, places, what is missing, and a run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
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
from timm.data import ImageNetInfo

from bench.data_folder import SYNTHETIC, NotFound
from bench.dataset import LabelMap, Shift, Suite
from bench.errors import InputError
from bench.imagenet import (
    OBJECTNET_FILES,
    imagenet_classes,
    objectnet_classes,
    openai_templates,
    subset,
)
from bench.metrics import METRICS
from bench.protocol import OFFICIAL
from bench.records import read
from bench.registry import find_dataset
from bench.synthetic.objectnet import OTHERS, SEVERAL
from bench.testing import check_dataset

DATA = Path(os.environ.get("BENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
PHOTOS = DATA / "imagenet_sample_100.zip"
SHIFTS = ("v2", "sketch", "a", "r", "objectnet", "vid-robust", "ytbb")
WNIDS = imagenet_classes().keys


def suite_of(data: Path, name: str = "imagenet") -> Suite:
    return find_dataset(name)().suite(data, data.parent / "cache")


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
    """A map from some task's classes, and how many those are."""
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
    assert labels.kind == "subset"


def test_a_map_beyond_the_task_is_refused() -> None:
    with pytest.raises(InputError, match="class 5 of 3"):
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
    assert (suite.beside, suite.averaged) == (("vid-robust", "ytbb"), 5)
    assert [s.name for s in suite.shifts if s.border or s.test_only] == ["objectnet"]
    assert all(shift.border == shift.test_only for shift in suite.shifts)
    metrics = {s.name: s.metrics for s in suite.shifts if s.metrics}
    assert metrics == {"vid-robust": ("pm-0", "pm-10"), "ytbb": ("pm-0", "pm-10")}
    assert suite.official == {}  # VRF's code has ImageNet's a and b, and so has the protocol
    assert (OFFICIAL.vrf_a, OFFICIAL.vrf_b) == ((1.5,), (0.6,))


def truth(shift: Shift) -> dict[str, str]:
    """{folder of an image: WordNet ids of the task's classes that are right for it, joined}."""
    manifest = shift.split.load().manifest
    columns = shift.labels.columns or tuple((i,) for i in range(1000))
    return {
        name.partition("/")[0]: " ".join(WNIDS[i] for i in columns[label])
        for name, label in zip(manifest.ids, manifest.first, strict=True)
    }


def test_folders_that_are_wordnet_ids_are_their_classes(suite: Suite) -> None:
    """timm's own list of ids says what is in ImageNet, A and R."""
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
    assert shift.labels.columns == tuple((i,) for i in subset(name))
    assert len(subset(name)) == 200 == len(set(subset(name)))
    assert list(subset(name)) == sorted(subset(name))
    assert shift.labels.kind == "subset"
    # A model that says what the folder says is always right.
    manifest = shift.split.load().manifest
    scores = np.zeros((len(manifest), 1000), np.float32)
    for row, image in enumerate(manifest.ids):
        scores[row, WNIDS.index(image.partition("/")[0])] = 1
    assert METRICS["top1"](np.log(shift.labels.project(scores) + 0.1), manifest) == 1


def test_the_two_subsets_share_86_classes() -> None:
    assert len(set(subset("a")) & set(subset("r"))) == 86
    assert (subset("a")[:3], subset("r")[:3]) == ((6, 11, 13), (1, 2, 4))


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
    assert columns is not None and shift.labels.kind == "many-to-one"
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
    """The digest was found from the files in wise-ft 58b7a4b."""
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
        (NAMES, '{"Tie": "cravat"}', "'Tie' is 'cravat', which are no lines of"),
        (NAMES, '{"Tie": "crane"}', "'Tie' is 'crane', which are no lines of"),  # two lines
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
    assert entity30.official == {"vrf_a": (1.1,), "vrf_b": (0.6,)}
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
    """Super-classes whose members anybody can tell, as open_clip names them."""
    names = dict(zip(WNIDS, imagenet_classes().prompts, strict=True))
    label = entity30.task.classnames.index(superclass)
    splits = (entity30.test, shift_of(entity30, "target").split)
    for split, members in zip(splits, (source, target), strict=True):
        manifest = split.load().manifest
        rows = np.flatnonzero(manifest.first == label)
        assert {names[manifest.ids[row].partition("/")[0]] for row in rows} == set(members)


# Places


def test_ilsvrc2012_and_class_folders_elsewhere_are_found(linked: Path, synthetic: Path) -> None:
    """As FLYP and CaRot, and as wise-ft name them, through links."""
    same = suite_of(linked)
    (linked / "imagenet").unlink()
    source = synthetic / "imagenet"
    for train, val in (("train", "val_dirs"), ("train", "val")):
        shutil.rmtree(linked / "ILSVRC2012", ignore_errors=True)
        (linked / "ILSVRC2012").mkdir()
        (linked / "ILSVRC2012" / train).symlink_to(source / "train")
        (linked / "ILSVRC2012" / val).symlink_to(source / "val")
        found = suite_of(linked)
        assert found.test.fingerprint == same.test.fingerprint
        assert found.task.train.fingerprint == same.task.train.fingerprint
    (linked / "imagenet").mkdir()
    (linked / "imagenet" / "val_in_folder").symlink_to(source / "val")
    assert suite_of(linked).test.fingerprint == same.test.fingerprint  # one and the same folder


@pytest.mark.parametrize(
    ("place", "other", "shift"),
    [
        ("imagenetv2-matched-frequency-format-val", "ImageNetV2-matched-frequency", "v2"),
        ("bench-metadata", None, "ytbb"),
        ("imagenet_vid_ytbb_robust", None, "vid-robust"),
        ("sketch", None, "sketch"),
        ("imagenet-a", None, "a"),
        ("imagenet-r", None, "r"),
        ("objectnet-1.0", None, "objectnet"),
    ],
)
def test_a_shift_that_is_not_there_is_lacking_and_moved_ones_are_found(
    place: str, other: str | None, shift: str, linked: Path, synthetic: Path
) -> None:
    (linked / place).unlink()
    found = suite_of(linked)
    assert shift not in [s.name for s in found.shifts]
    assert "looked for " in found.lacking[shift] and str(linked / place) in found.lacking[shift]
    assert found.all_shifts == SHIFTS
    with pytest.raises(InputError, match=f"shift {shift} of imagenet: "):
        found.only([shift])
    if other is not None:
        (linked / other).symlink_to(synthetic / place)
        assert shift in [s.name for s in suite_of(linked).shifts]


def test_places_of_the_guides_and_of_vrf(linked: Path, synthetic: Path) -> None:
    same = {s.name: s.split.fingerprint for s in suite_of(linked).shifts}
    for name in ("imagenet_vid_ytbb_robust", "objectnet-1.0"):
        (linked / name).unlink()
    videos = synthetic / "imagenet_vid_ytbb_robust"
    for name in ("imagenet-vid-robust", "ytbb-robust"):
        (linked / name).symlink_to(videos / name)
    (linked / "objectnet-1.0").mkdir()
    (linked / "objectnet-1.0/objectnet-1.0_1").symlink_to(synthetic / "objectnet-1.0")
    assert {s.name: s.split.fingerprint for s in suite_of(linked).shifts} == same


def test_a_flat_val_says_how_to_sort_it(linked: Path, synthetic: Path) -> None:
    (linked / "imagenet").unlink()
    flat = linked / "imagenet" / "val"
    flat.mkdir(parents=True)
    for image in sorted((synthetic / "imagenet/val").rglob("*.JPEG"))[:20]:
        shutil.copy(image, flat)
    with pytest.raises(NotFound) as error:
        suite_of(linked)
    assert f"{flat} (images without class folders" in str(error.value)
    assert "'bench data prepare imagenet' sorts them" in str(error.value)
    assert not find_dataset("imagenet")().found(linked)
    (linked / "imagenet" / "val_in_folder").symlink_to(synthetic / "imagenet/val")
    assert suite_of(linked).test.size == 1000
    assert find_dataset("imagenet")().found(linked)


def test_folders_of_other_names_are_not_taken(linked: Path) -> None:
    (linked / "imagenet").unlink()
    (linked / "imagenet-r").unlink()
    (linked / "imagenet-r" / "goldfish").mkdir(parents=True)
    for name in ("imagenet", "entity30"):
        with pytest.raises(NotFound):
            suite_of(linked, name)
    (linked / "imagenet/val/tench").mkdir(parents=True)
    for name in ("imagenet", "entity30"):
        with pytest.raises(NotFound, match=r"none of the 1,000 class folders.* n01440764"):
            suite_of(linked, name)
        assert not find_dataset(name)().found(linked)
    (linked / "ILSVRC2012/val/n01440764").mkdir(parents=True)
    (linked / "ILSVRC2012/val/n01440764/ILSVRC2012_val_00000293.JPEG").write_bytes(b"x")
    assert suite_of(linked).test.fault
    reason = suite_of(linked).lacking["r"]
    assert "none of the 200 class folders looked for, such as n01443537" in reason


def test_two_vals_are_ambiguous(linked: Path, synthetic: Path) -> None:
    shutil.copytree(synthetic / "imagenet/val/n01440764", linked / "ILSVRC2012/val/n01440764")
    with pytest.raises(InputError, match="ambiguous"):
        suite_of(linked)


def test_without_training_images_the_rest_can_be_used(linked: Path, synthetic: Path) -> None:
    (linked / "imagenet").unlink()
    (linked / "imagenet").mkdir()
    (linked / "imagenet" / "val").symlink_to(synthetic / "imagenet/val")
    for name in ("imagenet", "entity30"):
        found = suite_of(linked, name)
        assert found.task.train.absent and found.test.size > 0
        with pytest.raises(InputError, match="train: looked for"):
            found.task.train.load()


def test_missing_images_and_folders_are_faults(linked: Path, synthetic: Path) -> None:
    for name in ("sketch", "imagenet_vid_ytbb_robust"):
        (linked / name).unlink()
        shutil.copytree(synthetic / name, linked / name)
    shutil.rmtree(linked / "sketch" / "n01443537")
    frames = linked / "imagenet_vid_ytbb_robust/imagenet-vid-robust/val/ILSVRC2015_val_00004000"
    (frames / "000021.JPEG").unlink()
    faults = " | ".join(suite_of(linked).faults)
    assert "imagenet/sketch lacks 1 of 1000 class folders: n01443537" in faults
    assert "imagenet-sketch test: 999 of 1,000 images" in faults
    assert "imagenet/vid-robust lacks 1 of 30 images: ILSVRC2015_val_00004000/000021" in faults
    assert "imagenet-vid-robust frames: 31 of 33 images" in faults  # it is in two sets


def test_real_data_are_counted_against_the_cards(linked: Path) -> None:
    (linked / SYNTHETIC).unlink()
    found = suite_of(linked)
    assert (found.notes, found.model, found.pretrained) == ((), "ViT-B-32", "openai")
    assert "imagenet val: 1,000 of 50,000 images" in found.faults
    assert "objectnet test: 113 of 18,574 images" in found.faults
    assert len(found.faults) == 8  # nobody knows how many frames YTBB-Robust has
    assert suite_of(linked, "entity30").faults == (
        "entity-30 source_val: 120 of 6,000 images",
        "entity-30 target_val: 120 of 6,000 images",
    )


# Photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which val is the 100 photographs, in class folders."""
    if not PHOTOS.is_file():
        pytest.skip(f"needs {PHOTOS} (or $BENCH_TEST_DATA)")
    root = tmp_path_factory.mktemp("photos") / "data"
    with zipfile.ZipFile(PHOTOS) as archive:
        for name in archive.namelist():
            if name.endswith(".JPEG"):
                file = Path(name).name
                path = root / "imagenet" / "val" / file.split("_")[0] / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    return root


def test_photographs_get_the_class_of_their_wordnet_id(photos: Path) -> None:
    """Their files are named ``n01440764_tench.JPEG``: held against timm's descriptions too."""
    info = ImageNetInfo()
    manifest = suite_of(photos).test.load().manifest
    assert len(manifest) == 100
    for name, label in zip(manifest.ids, manifest.first, strict=True):
        wnid, _, words = Path(name).stem.partition("_")
        assert info.label_names()[label] == wnid
        described = info.index_to_description(int(label)).lower().replace("-", " ")
        assert words.replace("_", " ").replace("-", " ").lower() in described, name
    assert "lacks 900 of 1000 class folders" in suite_of(photos).test.fault


def test_photographs_are_prepared_bit_for_bit_as_by_open_clip(photos: Path) -> None:
    import open_clip
    import torch
    from open_clip.transform import PreprocessCfg
    from PIL import Image

    from bench.images import EvalImages, evaluation_transform

    loaded = suite_of(photos).test.load()
    own = open_clip.get_pretrained_cfg("ViT-B-32", "openai")
    cfg = PreprocessCfg(mean=own["mean"], std=own["std"], interpolation="bicubic")
    ours = EvalImages(loaded.images, evaluation_transform(cfg))
    theirs = open_clip.image_transform(
        224, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
    )
    for row, name in enumerate(loaded.manifest.ids):
        with Image.open(photos / "imagenet/val" / name) as image:
            assert torch.equal(ours[row], theirs(image)), name


# Runs


@pytest.mark.slow
def test_both_suites_run(synthetic: Path, tmp_path: Path) -> None:
    """One cache: what both have in common is done once."""
    common = ("--data", synthetic, "--cache-dir", tmp_path / "cache")
    for name, shifts in (("entity30", {"target"}), ("imagenet", {*SHIFTS})):
        out = tmp_path / name
        arguments = ("--methods", "zero-shot,vrf", *common, "--out", out)
        result = bench("run", "--suite", name, *arguments)
        assert result.code == 0, result.err
        records = read(out / "records.jsonl")
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
    assert_refused(result, "ImageNet (ILSVRC2012), val: looked for", "ILSVRC2012/val_dirs")
