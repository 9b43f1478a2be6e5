"""Splits of video frames: ImageNet-Vid-Robust and YTBB-Robust, read from their own label files.

A set of frames consists of an anchor, which was labelled by people, and its neighbours up to
`REACH` frames away. `bench.api.splits.Manifest` describes how sets are encoded, and
`bench.api.metrics.pm` how they are scored. Video classes without a matching class of the task are
removed from the label map and from the labels:
docs/decisions/2026-11-22-classes-the-task-lacks.md.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.api.dataset import LabelMap
from bench.api.splits import Loaded, Manifest, Split
from bench.core.errors import InputError
from bench.core.foreign.documents import read_json
from bench.core.foreign.files import TABLE, reading_form, text_of
from bench.core.hashing import key_of
from bench.data.classes import Classes
from bench.data.readers.folders import named_split

REACH = 10
"""The largest distance, in frames, of a neighbour from its anchor."""

VID_LABELS, VID_SETS = "labels.json", "pmsets.json"
VID_WNIDS, VID_CLASSES = "rev_wnid_map.json", "imagenet_vid_class_index.json"
YTBB_MAP, YTBB_CLASSES = "rev_class_idx_map.json", "ytbb_class_index.json"
YTBB_ANCHORS, YTBB_PAIRS = "anchor_labels.json", "pmk_labels.json"
YTBB_FIRST = "ytbb_robustness_test_anchors_full.csv"
YTBB_FILES = (YTBB_MAP, YTBB_CLASSES, YTBB_ANCHORS, YTBB_PAIRS, YTBB_FIRST)
SWAPPED = {22: 23, 23: 22}
"""`YTBB_FIRST` swaps the indices of "none" and "car"; this swaps them back."""
_DOUBTED = frozenset({"bad", "unsure"})
DIFFERENT = frozenset(
    {"dissimilar", "problematic", "incorrect", "dont know", "deformation", "background-change",
     "occlusion-increased", "blur-increase", "bad-anchor"}
)  # fmt: skip
"""Labels that reviewers gave to neighbours that do not match their anchor."""


@dataclass(frozen=True)
class Frame:
    """A frame in a set: its path, its anchor, its offset in frames and its correct classes.

    Examples
    --------
    >>> from bench.data.readers.videos import Frame
    >>> Frame("val/video/000010.JPEG", anchor="000010", offset=0, labels=(3,)).offset
    0
    """

    path: str
    anchor: str
    offset: int
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Videos:
    """All frames of all sets, and the map from the task's classes to the video classes.

    Examples
    --------
    >>> from bench.data.readers.videos import Frame, reachable
    >>> frames = (Frame("a.jpg", "a", 0, (1,)), Frame("b.jpg", "a", 1, (1,)))
    >>> reachable(frames, columns=[[], [7, 8]]).anchors
    1
    """

    frames: tuple[Frame, ...]
    label_map: LabelMap

    @property
    def anchors(self) -> int:
        """The number of sets."""
        return sum(frame.offset == 0 for frame in self.frames)


def reachable(frames: Sequence[Frame], columns: Sequence[Sequence[int]]) -> Videos:
    """Return the frames labelled with only those video classes that the task can predict.

    `columns` lists the matching task classes of each video class. Raises InputError if there are
    none at all.

    Examples
    --------
    The task has classes for the second video class only.

    >>> from bench.data.readers.videos import Frame, reachable
    >>> frames = [Frame("a.jpg", "a", 0, (0,)), Frame("b.jpg", "b", 0, (1,))]
    >>> videos = reachable(frames, columns=[[], [8, 7]])
    >>> [frame.labels for frame in videos.frames], videos.label_map.columns
    ([(), (0,)], ((7, 8),))
    """
    matched = [i for i, column in enumerate(columns) if column]
    if not matched:
        raise InputError(
            "no video class matches a class of the task: check the files that map their classes"
        )
    new = {old: position for position, old in enumerate(matched)}
    mapped = (
        replace(frame, labels=tuple(sorted(new[label] for label in frame.labels if label in new)))
        for frame in frames
    )
    return Videos(tuple(mapped), LabelMap(tuple(tuple(sorted(columns[i])) for i in matched)))


def frame_split(name: str, root: Path, frames: Collection[Frame], cache: Path) -> Split:
    """Return the split `name` of frames whose paths are relative to `root`.

    A frame in several sets is one sample in each of them. The id of a sample is the path of the
    frame, with the suffix ``#2`` and so on from the second set on. Missing frames are counted in
    the split's `fault`. Raises InputError if all frames are missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from bench.data.readers.videos import Frame, frame_split
    >>> Image.new("RGB", (8, 8)).save("a.png")
    >>> frames = [Frame("a.png", "a", 0, (1,)), Frame("a.png", "b", -1, (0, 1))]
    >>> frame_split("pets/video", Path(), frames, Path("cache")).load().manifest.labels
    array([[ 1, -1],
           [ 0,  1]])
    """
    paths = sorted({frame.path for frame in frames})
    base = named_split(name, root, paths, [0] * len(paths), cache)
    row_of = {path: row for row, path in enumerate(base.load().manifest.ids)}
    found = [frame for frame in frames if frame.path in row_of]
    found = sorted(set(found), key=lambda frame: (frame.path, frame.anchor))
    anchors = sorted({frame.anchor for frame in found})
    code_of = {anchor: code for code, anchor in enumerate(anchors)}
    labels = np.full((len(found), max(1, *(len(f.labels) for f in found))), -1, dtype=np.int64)
    for row, frame in enumerate(found):
        labels[row, : len(frame.labels)] = frame.labels
    groups = {
        "anchor": np.array([code_of[frame.anchor] for frame in found], dtype=np.int64),
        "offset": np.array([frame.offset for frame in found], dtype=np.int64),
    }
    manifest = Manifest(tuple(_ids(found)), labels, groups, {"anchor": tuple(anchors)})
    sets = json.dumps([(f.path, f.anchor, f.offset, f.labels) for f in found])
    rows = np.array([row_of[frame.path] for frame in found], dtype=np.int64)
    samples = base.take(rows, "frames of sets")
    images = samples.load().images
    mark = key_of(samples.fingerprint, "sets", sets)
    return replace(samples, fingerprint=mark, load=lambda: Loaded(images, manifest))


def _ids(frames: Sequence[Frame]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for frame in frames:
        seen[frame.path] += 1
        times = seen[frame.path]
        yield frame.path if times == 1 else f"{frame.path}#{times}"


# ImageNet-Vid-Robust


def vid_robust(metadata: Path, misc: Path, classes: Classes) -> Videos:
    """Return ImageNet-Vid-Robust's frames, each with its own labels.

    Paths are relative to its folder ``val``. `metadata` and `misc` are folders of its archive;
    `classes` are ImageNet's. Raises InputError that names the missing or malformed file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.videos import vid_robust
    >>> from bench.data.suites.imagenet import imagenet_classes
    >>> from bench.testing.synthetic.videos import make_videos
    >>> _ = make_videos(Path("data"))
    >>> root = Path("data/imagenet_vid_ytbb_robust/imagenet-vid-robust")
    >>> vid_robust(root / "metadata", root / "misc", imagenet_classes()).anchors
    5
    """
    labels_file, sets_file = metadata / VID_LABELS, metadata / VID_SETS
    with reading_form(labels_file, "{frame: class indices}"):
        labels = {str(path): tuple(map(int, own)) for path, own in read_json(labels_file).items()}
    frames = []
    with reading_form(sets_file, "{anchor: its neighbours}"):
        for anchor, neighbours in read_json(sets_file).items():
            for path in (anchor, *dict.fromkeys(neighbours)):
                if not labels.get(path):
                    raise InputError(
                        f"{labels_file} has no label for {path}, a frame in {sets_file.name}: "
                        "unpack the archive again"
                    )
                offset = _frame_number(path) - _frame_number(anchor)
                is_anchor = path == anchor
                if is_anchor != (offset == 0) or abs(offset) > REACH:
                    raise InputError(
                        f"{sets_file}: {path} is not a neighbour of {anchor}: expected a distance "
                        f"of 1 to {REACH} frames; unpack the archive again"
                    )
                names = (_below_val(sets_file, path), _below_val(sets_file, anchor))
                frames.append(Frame(*names, offset, labels[path]))
    columns = _vid_columns(misc, classes)
    highest = max((label for frame in frames for label in frame.labels), default=-1)
    if not frames or highest >= len(columns):
        raise InputError(
            f"{metadata}: the highest label is {highest}: expected labels from 0 to "
            f"{len(columns) - 1}; unpack the archive again"
        )
    return reachable(frames, columns)


def _vid_columns(misc: Path, classes: Classes) -> list[list[int]]:
    """Return the ImageNet classes of each video class, in the order of the video classes."""
    names_file, map_file = misc / VID_CLASSES, misc / VID_WNIDS
    index_of = {wnid: index for index, wnid in enumerate(classes.keys)}
    with reading_form(names_file, "{index: [WordNet id, name]}"):
        wnids = {int(index): str(wnid) for index, (wnid, _) in read_json(names_file).items()}
        order = [wnids[index] for index in range(len(wnids))]
    with reading_form(
        map_file, "{WordNet id of a video class: WordNet ids of its ImageNet classes}"
    ):
        members = read_json(map_file)
        return [[index_of[wnid] for wnid in members[video]] for video in order]


def _frame_number(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


def _below_val(file: Path, frame: str) -> str:
    """Return a path below ``val``. InputError names the `file` that lists the frame."""
    if not frame.startswith("val/"):
        raise InputError(f"{file}: frame {frame!r}: expected a path in val/")
    return frame.removeprefix("val/")


# YTBB-Robust


def ytbb_robust(metadata: Path) -> Videos:
    """Return YTBB-Robust's reviewed frames, with paths relative to its folder ``ytbb_videos``.

    `metadata` holds `YTBB_FILES`. An anchor is used if reviewers marked it as good and not as bad
    or unsure, and no pair marks it as a bad anchor. A neighbour is used if reviewers marked the
    pair as similar and reported none of `DIFFERENT`. All frames of a set have the labels of the
    anchor: its first label and those that reviewers added. Raises InputError that names the missing
    or malformed file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.readers.videos import ytbb_robust
    >>> from bench.testing.synthetic.videos import make_videos
    >>> _ = make_videos(Path("data"))
    >>> videos = ytbb_robust(Path("data/bench-metadata/ytbb-robust"))
    >>> videos.anchors, len(videos.frames)
    (9, 38)
    """
    names = _ytbb_names(metadata / YTBB_CLASSES)
    first = _first_labels(metadata / YTBB_FIRST)
    good, added = _reviewed_anchors(metadata / YTBB_ANCHORS, names)
    similar, bad = _reviewed_pairs(metadata / YTBB_PAIRS)
    frames: list[Frame] = []
    for anchor in sorted(good - bad):
        video = anchor.partition("/")[0]
        if video not in first:
            raise InputError(
                f"{metadata / YTBB_FIRST} has no label for {video}: get the file again"
            )
        labels = tuple(sorted(added[anchor] | {first[video]}))
        number = _ytbb_number(metadata / YTBB_ANCHORS, anchor)
        for offset in range(-REACH, REACH + 1):
            path = f"{video}/frame-{number + offset}.jpg"
            if offset == 0:
                frames.append(Frame(anchor, anchor, 0, labels))
            elif f"{anchor},{path}" in similar:
                frames.append(Frame(path, anchor, offset, labels))
    if not frames:
        raise InputError(
            f"{metadata / YTBB_ANCHORS} has no usable anchor: expected anchors reviewed as good; "
            "get the file again"
        )
    return reachable(frames, _ytbb_columns(metadata / YTBB_MAP, len(names)))


def _ytbb_names(path: Path) -> tuple[str, ...]:
    with reading_form(path, "{index: name}"):
        names = {int(index): str(name) for index, name in read_json(path).items()}
        return tuple(names[index] for index in range(len(names)))


def _ytbb_columns(path: Path, count: int) -> list[list[int]]:
    with reading_form(path, "{index: ImageNet's class indices}"):
        members = {int(index): list(map(int, own)) for index, own in read_json(path).items()}
        if members and not 0 <= min(members) <= max(members) < count:
            raise ValueError(f"index {max(members)}, but there are {count} classes")
        return [members.get(index, []) for index in range(count)]


def _first_labels(path: Path) -> dict[str, int]:
    """Return {video and time of an anchor: its first label}, with `SWAPPED` indices corrected."""
    with reading_form(path, "the columns ytid,time_ms,label"):
        rows = csv.DictReader(io.StringIO(text_of(path, TABLE), newline=""))
        labels = {f"{row['ytid']}_{row['time_ms']}": int(row["label"]) for row in rows}
    return {video: SWAPPED.get(label, label) for video, label in labels.items()}


def _annotations(path: Path, words: Collection[str]) -> dict[str, frozenset[str]]:
    """Return {key: reviewers' labels}; the last entry counts for a repeated key.

    Raises InputError if the file does not define all labels in `words`.
    """
    with reading_form(path, '{"labels": names, "annotations": [{"key": ..., "labels": indices}]}'):
        found = read_json(path)
        names: list[Any] = found["labels"]
        if missing := sorted(set(words) - set(names)):
            raise InputError(f"{path} does not define the label {missing[0]!r}: get the file again")
        return {
            str(one["key"]): frozenset(str(names[index]) for index in one["labels"])
            for one in found["annotations"]
        }


def _reviewed_anchors(
    path: Path, names: Sequence[str]
) -> tuple[set[str], Mapping[str, frozenset[int]]]:
    """Return the anchors reviewed as good, and the classes that reviewers added to each."""
    index_of = {name: index for index, name in enumerate(names)}
    found = {_key(key): words for key, words in _annotations(path, {"good", *_DOUBTED}).items()}
    good = {k for k, words in found.items() if "good" in words and not words & _DOUBTED}
    return good, {k: frozenset(index_of[w] for w in found[k] if w in index_of) for k in good}


def _reviewed_pairs(path: Path) -> tuple[set[str], set[str]]:
    """Return the similar pairs ``ANCHOR,NEIGHBOUR``, and the anchors reviewed as bad."""
    found = _annotations(path, {"similar", *DIFFERENT})
    similar = {pair for pair, w in found.items() if "similar" in w and not w & DIFFERENT}
    with reading_form(path, "keys ANCHOR,NEIGHBOUR"):
        bad = {_key(pair.split(",")[0]) for pair, words in found.items() if "bad-anchor" in words}
    return similar, bad


def _key(path: str) -> str:
    """Return the last two parts of a path: ``VIDEO_MILLISECONDS/frame-NUMBER.jpg``."""
    return "/".join(path.split("/")[-2:])


def _ytbb_number(file: Path, frame: str) -> int:
    """Return the number of a frame. InputError names the `file` that lists it."""
    found = re.fullmatch(r"[^/]+/frame-(\d+)\.\w+", frame)
    if found is None:
        raise InputError(f"{file}: frame {frame!r}: expected VIDEO_MILLISECONDS/frame-NUMBER.jpg")
    return int(found[1])
