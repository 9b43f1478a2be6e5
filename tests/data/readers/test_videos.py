"""Video frames: which frames are used, in which sets, with which labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import DATA

from bench.api.dataset import LabelMap, Shift
from bench.api.metrics import METRICS, OWN
from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.data.classes import Classes
from bench.data.readers import videos
from bench.data.readers.videos import Frame, frame_split, reachable, vid_robust, ytbb_robust
from bench.data.suites.imagenet import imagenet_classes
from bench.testing.synthetic.videos import VID, YTBB

ABC = Classes(("n1", "n2", "n3", "n4"), ("a", "b", "c", "d"))


def dump(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


# Samples


def test_a_frame_in_two_sets_is_two_samples(tmp_path: Path) -> None:
    frames = [
        Frame("v/1.jpg", "v/1.jpg", 0, (2,)),
        Frame("v/2.jpg", "v/1.jpg", 1, (2, 0)),
        Frame("v/2.jpg", "v/2.jpg", 0, (1,)),
        Frame("v/1.jpg", "v/2.jpg", -1, ()),
    ]
    root = touch(tmp_path / "frames", "v/1.jpg", "v/2.jpg", "v/3.jpg")
    split = frame_split("x/vid", root, frames, tmp_path / "cache")
    manifest = split.load().manifest
    assert manifest.ids == ("v/1.jpg", "v/1.jpg#2", "v/2.jpg", "v/2.jpg#2")
    assert manifest.labels.tolist() == [[2, -1], [-1, -1], [2, 0], [1, -1]]
    assert manifest.group("anchor").tolist() == [0, 1, 0, 1]
    assert manifest.group("offset").tolist() == [0, -1, 1, 0]
    assert manifest.names["anchor"] == ("v/1.jpg", "v/2.jpg")
    assert (split.size, len(split.load().images), split.fault) == (4, 4, "")
    same = frame_split("x/vid", root, frames[::-1], tmp_path / "cache")
    assert same.fingerprint == split.fingerprint
    frames[3] = Frame("v/1.jpg", "v/2.jpg", -2, ())
    assert frame_split("x", root, frames, tmp_path / "cache").fingerprint != split.fingerprint


def test_missing_frames_are_a_fault_and_a_set_without_its_anchor_does_not_count(
    tmp_path: Path,
) -> None:
    frames = [Frame(f"{v}/{n}.jpg", f"{v}/1.jpg", n - 1, (0,)) for v in "ab" for n in (1, 2)]
    root = touch(tmp_path / "frames", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    split = frame_split("x/vid", root, frames, tmp_path / "cache")
    assert split.fault == "x/vid lacks 1 of 4 images: a/1.jpg"
    right = np.log(np.tile([[0.9, 0.1]], (3, 1)))
    assert OWN["pm-10"](right, split.load().manifest) == 1
    with pytest.raises(InputError, match="has none of the 4 expected images"):
        frame_split("x/vid", tmp_path, frames, tmp_path / "cache")


@given(
    st.lists(st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=6),
    st.integers(0, 10**6),
)
def test_classes_out_of_reach_never_win_and_their_frames_are_always_wrong(
    columns: list[set[int]], seed: int
) -> None:
    """The reduced label map and labels give the same result as the maximum over all columns."""
    if not any(columns):
        with pytest.raises(InputError, match="no video class matches"):
            reachable([], [sorted(c) for c in columns])
        return
    rng = np.random.default_rng(seed)
    truth = [int(rng.integers(len(columns))) for _ in range(12)]
    frames = [Frame(f"{i:02}", f"{i:02}", 0, (label,)) for i, label in enumerate(truth)]
    found = reachable(frames, [sorted(c) for c in columns])
    scores = rng.normal(size=(12, 10)).astype(np.float32)
    whole = np.stack(
        [scores[:, sorted(c)].max(axis=1) if c else np.full(12, -np.inf) for c in columns], axis=1
    )
    expected = whole.argmax(axis=1) == truth
    predicted = found.label_map.project(scores).argmax(axis=1)
    assert [p in f.labels for p, f in zip(predicted, found.frames, strict=True)] == list(expected)


# ImageNet-Vid-Robust


def vid(folder: Path, **changes: Any) -> videos.Videos:
    """Write the files of two sets with two classes, with the given changes."""
    files: dict[str, Any] = {
        "labels__json": {
            "val/v_1/000009.JPEG": [0], "val/v_1/000010.JPEG": [0, 1], "val/v_2/000001.JPEG": [1],
        },
        "pmsets__json": {
            "val/v_1/000010.JPEG": ["val/v_1/000009.JPEG"], "val/v_2/000001.JPEG": [],
        },
        "rev_wnid_map__json": {"v_cat": ["n4", "n2"], "v_dog": ["n1"]},
        "imagenet_vid_class_index__json": {"1": ["v_cat", "cat"], "0": ["v_dog", "dog"]},
    }  # fmt: skip
    dump(folder, **{**files, **changes})
    return vid_robust(folder, folder, ABC)


def test_vid_robust_by_hand(tmp_path: Path) -> None:
    found = vid(tmp_path)
    assert found.label_map == LabelMap(((0,), (1, 3)))
    assert found.anchors == 2
    assert found.frames == (
        Frame("v_1/000010.JPEG", "v_1/000010.JPEG", 0, (0, 1)),
        Frame("v_1/000009.JPEG", "v_1/000010.JPEG", -1, (0,)),
        Frame("v_2/000001.JPEG", "v_2/000001.JPEG", 0, (1,)),
    )


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("labels__json", "{", "labels.json: "),
        ("labels__json", [1], "labels.json: expected {frame: class indices}"),
        ("labels__json", {}, "labels.json has no label for val/v_1/000010.JPEG"),
        ("pmsets__json", {"val/v_1/x.JPEG": 1}, "pmsets.json: expected {anchor: its neighbours}"),
        ("imagenet_vid_class_index__json", {"1": ["v_cat", "cat"]}, "class_index.json: expected"),
        ("rev_wnid_map__json", {"v_dog": ["n9"], "v_cat": []}, "rev_wnid_map.json: expected"),
        (
            "imagenet_vid_class_index__json",
            {"0": ["v_dog", "dog"]},
            "the highest label is 1: expected labels from 0 to 0",
        ),
    ],
)
def test_vid_robust_files_with_a_fault(file: str, content: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        vid(tmp_path, **{file: content})
    assert what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", ["val/v_1/000040.JPEG", "val/v_2/000009.JPEG"])
def test_neighbours_are_near_and_no_anchors_themselves(other: str, tmp_path: Path) -> None:
    labels = {"val/v_1/000009.JPEG": [0], other: [0]}
    with pytest.raises(InputError, match="is not a neighbour of"):
        vid(tmp_path, labels__json=labels, pmsets__json={"val/v_1/000009.JPEG": [other]})


# YTBB-Robust

NAMES = {"0": "person", "1": "cow", "2": "car", "3": "none"}
REVIEW = ["good", "unsure", "bad", *NAMES.values()]
PAIRS = ["similar", *sorted(videos.DIFFERENT)]


def annotations(words: list[str], *said: tuple[str, list[str]]) -> dict[str, Any]:
    rows = [{"key": k, "notes": "", "labels": [words.index(w) for w in own]} for k, own in said]
    return {"annotations": rows, "labels": words}


def ytbb(folder: Path, **changes: Any) -> videos.Videos:
    files: dict[str, Any] = {
        "ytbb_class_index__json": NAMES,
        "rev_class_idx_map__json": {"0": [9, 7], "2": [3]},
        "anchor_labels__json": annotations(
            REVIEW,
            ("/home/x/a_b_100/frame-30.jpg", ["good", "person"]),
            ("c_200/frame-60.jpg", ["good"]),
            ("d_300/frame-90.jpg", ["good", "bad"]),
            ("e_400/frame-1.jpg", ["person"]),
            ("f_500/frame-2.jpg", ["good"]),
            ("g_600/frame-3.jpg", ["unsure", "good"]),
        ),
        "pmk_labels__json": annotations(
            PAIRS,
            ("a_b_100/frame-30.jpg,a_b_100/frame-29.jpg", ["similar"]),
            ("a_b_100/frame-30.jpg,a_b_100/frame-31.jpg", ["similar", "deformation"]),
            ("a_b_100/frame-30.jpg,a_b_100/frame-41.jpg", ["similar"]),  # 11 away
            ("a_b_100/frame-30.jpg,a_b_100/frame-33.jpg", []),
            ("a_b_100/frame-30.jpg,a_b_100/frame-34.jpg", ["dissimilar"]),
            ("a_b_100/frame-30.jpg,a_b_100/frame-34.jpg", ["similar"]),  # a later entry
            ("c_200/frame-60.jpg,c_200/frame-61.jpg", ["similar"]),
            ("f_500/frame-2.jpg,f_500/frame-3.jpg", ["bad-anchor"]),
            ("f_500/frame-2.jpg,f_500/frame-4.jpg", ["similar"]),
        ),
        "ytbb_robustness_test_anchors_full__csv": (
            "ytid,time_ms,label\na_b,100,1\nc,200,1\nd,300,0\ne,400,0\nf,500,0\ng,600,0\n"
        ),
    }
    dump(folder, **{**files, **changes})
    return ytbb_robust(folder)


def test_ytbb_by_hand(tmp_path: Path) -> None:
    found = ytbb(tmp_path)
    assert found.label_map == LabelMap(((7, 9), (3,)))  # person, car
    anchor = "a_b_100/frame-30.jpg"
    assert found.frames == (
        Frame("a_b_100/frame-29.jpg", anchor, -1, (0,)),  # the anchor's labels; no cow is left
        Frame(anchor, anchor, 0, (0,)),
        Frame("a_b_100/frame-34.jpg", anchor, 4, (0,)),
        Frame("c_200/frame-60.jpg", "c_200/frame-60.jpg", 0, ()),  # a cow alone
        Frame("c_200/frame-61.jpg", "c_200/frame-60.jpg", 1, ()),
    )


def test_two_indices_of_the_first_labels_are_swapped(tmp_path: Path) -> None:
    names = {str(i): f"c{i}" for i in range(24)}
    found = ytbb(
        tmp_path,
        ytbb_class_index__json=names,
        rev_class_idx_map__json={"21": [1], "22": [2], "23": [3]},
        anchor_labels__json=annotations(
            ["good", "bad", "unsure"], *((f"v_{n}/frame-1.jpg", ["good"]) for n in (21, 22, 23))
        ),
        pmk_labels__json=annotations(PAIRS),
        ytbb_robustness_test_anchors_full__csv="ytid,time_ms,label\nv,21,21\nv,22,22\nv,23,23\n",
    )
    reached = [found.label_map.columns[f.labels[0]][0] for f in found.frames]  # type: ignore[index]
    assert reached == [1, 3, 2]


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("ytbb_class_index__json", {"1": "x"}, "ytbb_class_index.json: expected {index: name}"),
        ("rev_class_idx_map__json", {"4": [1]}, "rev_class_idx_map.json: expected"),
        ("rev_class_idx_map__json", {}, "no video class matches a class of the task"),
        ("anchor_labels__json", {}, "anchor_labels.json: expected"),
        (
            "anchor_labels__json",
            annotations(["bad"]),
            "anchor_labels.json does not define the label 'good'",
        ),
        ("anchor_labels__json", annotations(REVIEW), "has no usable anchor"),
        (
            "anchor_labels__json",
            annotations(REVIEW, ("a_b_100/30.jpg", ["good"])),
            "anchor_labels.json: frame 'a_b_100/30.jpg': expected",
        ),
        (
            "anchor_labels__json",
            annotations(REVIEW, ("z_1/frame-1.jpg", ["good"])),
            "label for z_1",
        ),
        ("pmk_labels__json", annotations(["similar"]), "pmk_labels.json does not define"),
        ("ytbb_robustness_test_anchors_full__csv", "a,b\n1,2\n", "ytid,time_ms,label"),
    ],
)
def test_ytbb_files_with_a_fault(file: str, content: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        ytbb(tmp_path, **{file: content})
    assert what in str(error.value)
    assert "\n" not in str(error.value)


# The synthetic copies, scored by hand


def by_definition(sets: dict[str, dict[str, set[int]]], predicted: dict[str, int]) -> list[float]:
    """Compute pm-0 and pm-10 from {anchor: {frame: correct classes}} as defined in the paper."""
    anchors = [predicted[a] in frames[a] for a, frames in sets.items()]
    whole = [all(predicted[f] in own for f, own in frames.items()) for frames in sets.values()]
    return [sum(anchors) / len(sets), sum(whole) / len(sets)]


@pytest.fixture(scope="module")
def shift(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shift]:
    suite = find_dataset("imagenet")().suite(synthetic, tmp_path_factory.mktemp("cache"))
    return lambda name: next(shift for shift in suite.shifts if shift.name == name)


def scored(shift: Shift, scores: np.ndarray[Any, Any]) -> tuple[list[float], dict[str, int]]:
    """Return (pm-0 and pm-10, {frame: predicted class}); equal frames have equal scores."""
    manifest = shift.split.load().manifest
    first = {name.partition("#")[0]: row for row, name in reversed([*enumerate(manifest.ids)])}
    rows = [first[name.partition("#")[0]] for name in manifest.ids]
    projected = shift.labels.project(scores[rows])
    predicted = dict(zip(first, projected.argmax(axis=1)[list(first.values())], strict=True))
    return [OWN[name](projected, manifest) for name in shift.metrics], predicted


def guesses(shift: Shift, seed: int) -> np.ndarray[Any, Any]:
    """Return scores over ImageNet's classes that are correct for about nine frames in ten."""
    rng = np.random.default_rng(seed)
    manifest = shift.split.load().manifest
    scores = rng.normal(size=(len(manifest), 1000)).astype(np.float32)
    for row, label in enumerate(manifest.first):
        if label >= 0 and rng.random() < 0.9:
            scores[row, shift.labels.columns[label]] += 10  # type: ignore[index]
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_pm_of_vid_robust_is_that_of_its_own_files(
    seed: int, synthetic: Path, shift: Callable[[str], Shift]
) -> None:
    metadata = synthetic / "imagenet_vid_ytbb_robust/imagenet-vid-robust/metadata"
    labels = json.loads((metadata / "labels.json").read_text())
    pmsets = json.loads((metadata / "pmsets.json").read_text())
    found, predicted = scored(shift("vid-robust"), guesses(shift("vid-robust"), seed))
    own = {f"val/{frame}": int(label) for frame, label in predicted.items()}
    sets = {a: {f: set(labels[f]) for f in (a, *near)} for a, near in pmsets.items()}
    assert found == pytest.approx(by_definition(sets, own))


@pytest.mark.parametrize("seed", range(5))
def test_pm_of_ytbb_is_that_of_its_own_files(
    seed: int, synthetic: Path, shift: Callable[[str], Shift]
) -> None:
    """Compare with an independent computation from the files, with all 24 classes."""
    metadata = synthetic / "bench-metadata/ytbb-robust"
    anchors, pairs = (
        json.loads((metadata / name).read_text())
        for name in (videos.YTBB_ANCHORS, videos.YTBB_PAIRS)
    )
    names = list(YTBB)
    rows = (metadata / videos.YTBB_FIRST).read_text().splitlines()[1:]
    first = {"_".join(row.split(",")[:2]): int(row.split(",")[2]) for row in rows}
    said = {p["key"]: {pairs["labels"][i] for i in p["labels"]} for p in pairs["annotations"]}
    sets: dict[str, dict[str, set[int]]] = {}
    for one in anchors["annotations"]:
        words = {anchors["labels"][i] for i in one["labels"]}
        anchor = one["key"].removeprefix("/home/reviewer/frames/")
        near = {key.split(",")[1]: w for key, w in said.items() if key.split(",")[0] == anchor}
        is_bad = any("bad-anchor" in w for w in near.values())
        if "good" in words and not words & {"bad", "unsure"} and not is_bad:
            label = {22: 23, 23: 22}.get(first[anchor.split("/")[0]], first[anchor.split("/")[0]])
            right = {label} | {names.index(word) for word in words if word in names}
            members = [f for f, w in near.items() if "similar" in w and not w & videos.DIFFERENT]
            sets[anchor] = dict.fromkeys((anchor, *members), right)
    reached = [index for index, name in enumerate(names) if YTBB[name]]
    found, predicted = scored(shift("ytbb"), guesses(shift("ytbb"), seed))
    own = {frame: reached[label] for frame, label in predicted.items()}
    assert len(sets) == 9
    assert found == pytest.approx(by_definition(sets, own))
    assert found[0] <= 8 / 9  # the cow


def test_all_metrics_can_be_taken_of_frames_without_a_right_class(
    shift: Callable[[str], Shift],
) -> None:
    ytbb = shift("ytbb")
    manifest = ytbb.split.load().manifest
    assert (manifest.first < 0).sum() == 2  # the cow and its neighbour
    log_p = np.log(np.full((len(manifest), 19), 1 / 19))
    for metric in METRICS.values():
        assert np.isfinite(metric(log_p, manifest))
    assert not ytbb.test_only and ytbb.primary_metric == "pm-0"


def digest(columns: Any) -> str:
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def test_the_maps_are_the_published_ones() -> None:
    """The digests come from the files of wise-ft 58b7a4b and imagenet-testbed 0170eec."""
    classes = imagenet_classes()
    base = DATA / "imagenet_vid_ytbb_robust" / "imagenet-vid-robust"
    metadata = DATA / "bench-metadata" / "ytbb-robust"
    if not (base / "misc").is_dir() or not metadata.is_dir():
        pytest.skip(f"needs {base} and {metadata} (or $BENCH_TEST_DATA)")
    vid = vid_robust(base / "metadata", base / "misc", classes)
    assert (vid.anchors, len(vid.frames)) == (1109, 22179)
    assert digest(vid.label_map.columns) == (
        "c81cf046dd03a08cfbc9f79d3d819b5814ad7511c6b70d817906bc3f0226b6ea"
    )
    assert digest(ytbb_robust(metadata).label_map.columns) == (
        "5b507d9e67f527925cacb887ef4cad3db8f9ae3aaed85309b2d1f0fb7f2ad8fb"
    )


def test_the_copies_map_parts_of_what_is_real() -> None:
    """No ImageNet class belongs to two classes of a video set."""
    for columns in ([own for _, own in VID.values()], list(YTBB.values())):
        members = [index for own in columns for index in own]
        assert len(set(members)) == len(members)
    assert [name for name, own in YTBB.items() if not own] == [
        "cow", "giraffe", "skateboard", "toilet", "none",
    ]  # fmt: skip
    assert len(VID) == 30 and len(YTBB) == 24
