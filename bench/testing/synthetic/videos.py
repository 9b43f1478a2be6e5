"""ImageNet-Vid-Robust and YTBB-Robust: a few sets of frames with the special cases of real data.

There are frames with several labels, or with a label that ImageNet lacks; frames in two sets or in
none; sets without neighbours; and anchors that were not reviewed or were rejected. The maps to
ImageNet's classes are parts of the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.readers import videos
from bench.data.suites.imagenet import imagenet_classes
from bench.testing.synthetic._pictures import pixels, save

VID = {
    "airplane": ("n02691156", [404]), "antelope": ("n02419796", [351, 352, 353]),
    "bear": ("n02131653", [294, 295, 296, 297]), "bicycle": ("n02834778", [444, 671]),
    "bird": ("n01503061", [10, 17, 22]), "bus": ("n02924116", [654, 779, 874]),
    "car": ("n02958343", [511, 817]), "cattle": ("n02402425", [345]),
    "dog": ("n02084071", [151, 207, 254]), "domestic_cat": ("n02121808", [281, 282]),
    "elephant": ("n02503517", [385, 386]), "fox": ("n02118333", [277, 278]),
    "giant_panda": ("n02510455", [388]), "hamster": ("n02342885", [333]),
    "horse": ("n02374451", [339]), "lion": ("n02129165", [291]),
    "lizard": ("n01674464", [40, 47]), "monkey": ("n02484322", [373, 377]),
    "motorcycle": ("n03790512", [665]), "rabbit": ("n02324045", [330, 331]),
    "red_panda": ("n02509815", [387]), "sheep": ("n02411705", [348]),
    "snake": ("n01726692", [54, 63]), "squirrel": ("n02355227", [335]),
    "tiger": ("n02129604", [292]), "train": ("n04468005", [466, 547]),
    "turtle": ("n01662784", [33, 35]), "watercraft": ("n04530566", [484, 814]),
    "whale": ("n02062744", [147, 148]), "zebra": ("n02391049", [340]),
}  # fmt: skip
"""{name: (WordNet id, ImageNet classes)} in the order of the class indices."""
YTBB = {
    "person": [981, 982, 983], "bird": [10, 17, 22], "bicycle": [444, 671], "boat": [472, 814],
    "bus": [654, 779, 874], "bear": [294, 295, 296, 297], "cow": [], "cat": [281, 282],
    "giraffe": [], "potted plant": [985, 986], "horse": [339], "motorcycle": [665],
    "knife": [499, 623], "airplane": [404], "skateboard": [], "train": [466],
    "truck": [555, 569, 867], "zebra": [340], "toilet": [], "dog": [151, 207, 254],
    "elephant": [385, 386], "umbrella": [879], "none": [], "car": [511, 817],
}  # fmt: skip
SAID = ("good", "unsure", "bad", *YTBB)
"""The labels that reviewers could give to anchors."""
OF_PAIRS = ("similar", "correct", *sorted(videos.DIFFERENT))
"""The labels that reviewers could give to neighbours."""


def make_videos(root: Path) -> dict[str, dict[str, int]]:
    """Write both sets; see `bench.testing.synthetic`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.videos import make_videos
    >>> make_videos(Path("data"))["imagenet-vid-robust"]
    {'anchors': 5, 'frames': 33}
    """
    vid = _vid(root / "imagenet_vid_ytbb_robust" / "imagenet-vid-robust")
    frames = root / "imagenet_vid_ytbb_robust" / "ytbb-robust" / "ytbb_videos"
    return vid | _ytbb(frames, root / "bench-metadata" / "ytbb-robust")


def _vid(root: Path) -> dict[str, dict[str, int]]:
    """Write ImageNet-Vid-Robust."""

    def frame(video: int, number: int) -> str:
        return f"val/ILSVRC2015_val_{video:08d}/{number:06d}.JPEG"

    sets = {
        frame(0, 442): [frame(0, n) for n in range(432, 453) if n != 442],
        frame(1000, 3): [frame(1000, 2), frame(1000, 4)],
        frame(3002, 10): [],
        # Two anchors that are so close that their sets overlap.
        frame(4000, 20): [frame(4000, 19), frame(4000, 21), frame(4000, 22)],
        frame(4000, 22): [frame(4000, 20), frame(4000, 21), frame(4000, 23)],
    }
    own = {0: [26], 1000: [8, 9], 3002: [0, 14, 15], 4000: [3]}
    labels = {}
    for anchor, neighbours in sets.items():
        for path in (anchor, *neighbours):
            labels[path] = own[int(path.split("/")[1].rpartition("_")[2])]
    labels[frame(1000, 4)] = [8]  # the cat has left
    names = list(VID)
    for path, (label, *_) in labels.items():
        save(root / path, pixels(VID[names[label]][1][0], path))
    save(root / frame(5000, 1), pixels(0, "in no set"))
    keys = imagenet_classes().keys
    class_index = {str(i): [wnid, name] for i, (name, (wnid, _)) in enumerate(VID.items())}
    rev_wnid_map = {wnid: [keys[index] for index in members] for wnid, members in VID.values()}
    wnid_map = {member: wnid for wnid, members in rev_wnid_map.items() for member in members}
    _dump(root / "metadata", {videos.VID_LABELS: labels, videos.VID_SETS: sets})
    files = {videos.VID_CLASSES: class_index, videos.VID_WNIDS: rev_wnid_map}
    _dump(root / "misc", {**files, "wnid_map.json": wnid_map})
    frames = sum(1 + len(neighbours) for neighbours in sets.values())
    return {"imagenet-vid-robust": {"anchors": len(sets), "frames": frames}}


ANCHORS: tuple[tuple[str, int, int, tuple[str, ...], Mapping[int, tuple[str, ...]]], ...] = (
    # folder, anchor frame, first label, review of the anchor, {offset: review of the neighbour}
    ("KxDh7a8_AmU_44666", 1117, 0, ("good",), {-1: ("similar",), 1: ("similar", "correct")}),
    ("-LXr7LdXtrk_71333", 2134, 7, ("good", "person"), {2: ("similar", "blur-increase")}),
    ("WypmJptPzX8_68666", 58, 19, ("good",), {n: ("similar",) for n in range(-10, 11) if n}),
    ("04rVDII50JU_66600", 998, 6, ("good",), {1: ("similar",)}),  # a cow
    ("06V473j0Jys_136666", 410, 14, ("good", "person"), {-3: ("similar",)}),  # a skateboard
    ("07zMfnGizTM_409333", 122, 22, ("good",), {4: ("similar",)}),  # 22 there is 23, car, here
    ("0AkiHGXwcYU_162600", 487, 16, ("bad",), {1: ("similar",)}),
    ("A_weMKVolQM_82466", 620, 1, ("good", "unsure"), {1: ("similar",)}),
    ("GnIbUlXogVI_82533", 247, 3, ("good",), {1: ("bad-anchor",), 2: ("similar",)}),
    ("HNC9Hgonz5M_72666", 80, 12, ("good",), {}),
    # Two anchors in one video, whose sets overlap.
    ("LtIW9sP55N4_216266", 482, 10, ("good",), {1: ("similar",), 2: ("similar",)}),
    ("LtIW9sP55N4_216266", 484, 10, ("good",), {-1: ("similar",), 1: ("similar",)}),
)


def _ytbb(frames: Path, metadata: Path) -> dict[str, dict[str, int]]:
    """Write YTBB-Robust."""
    anchors, pairs, rows, count = [], [], [], 0
    members = list(YTBB.values())
    for number, (video, frame, first, review, neighbours) in enumerate(ANCHORS):
        anchor = f"{video}/frame-{frame}.jpg"
        prefix = "/home/reviewer/frames/" if number == 1 else ""  # some keys are absolute paths
        labels = [SAID.index(word) for word in review]
        anchors.append({"key": f"{prefix}{anchor}", "notes": "", "labels": labels})
        class_of = videos.SWAPPED.get(first, first)
        for offset in (0, *neighbours):
            path = f"{video}/frame-{frame + offset}.jpg"
            save(frames / path, pixels((members[class_of] or [1000 + class_of])[0], path))
            if offset:
                labels = [OF_PAIRS.index(word) for word in neighbours[offset]]
                pairs.append({"key": f"{anchor},{path}", "notes": "", "labels": labels})
        row = f"{video.rpartition('_')[0]},{video.rpartition('_')[2]},{first}"
        rows += [row] if row not in rows else []
        accepted = review[0] == "good" and "unsure" not in review
        if accepted and ("bad-anchor",) not in neighbours.values():
            similar = [words for words in neighbours.values() if "blur-increase" not in words]
            count += 1 + len(similar)
    names = {str(index): name for index, name in enumerate(YTBB)}
    reached = {str(index): own for index, own in enumerate(members) if own}
    class_of_index = {str(i): int(index) for index, own in reached.items() for i in own}
    files = {
        videos.YTBB_ANCHORS: {"annotations": anchors, "labels": SAID},
        videos.YTBB_PAIRS: {"annotations": pairs, "labels": OF_PAIRS},
        videos.YTBB_CLASSES: names,
        videos.YTBB_MAP: reached,
        "class_idx_map.json": class_of_index,
    }
    _dump(metadata, files)
    table = "\n".join(["ytid,time_ms,label", *rows]) + "\n"
    (metadata / videos.YTBB_FIRST).write_text(table, encoding="utf-8")
    return {"ytbb-robust": {"anchor_annotations": len(ANCHORS), "frames": count}}


def _dump(folder: Path, files: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
