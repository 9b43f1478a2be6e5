"""Large trees of class folders are listed once, and later changes are detected."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.api.splits import LocatedImages, Split
from bench.core.errors import InputError
from bench.data.classes import Classes
from bench.data.readers import listing as trees
from bench.data.readers.folders import _labels, folder_split, tree_split

NAMES = ("cat", "cat-big", "dog")
CLASSES = Classes(NAMES, NAMES)


def draw(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (colour, 0, 0)).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for position, name in enumerate(NAMES):
        for number in range(4):
            draw(root / name / f"{number}.png", 10 * position + number)
    draw(root / "dog/deep/a.png", 77)
    return root


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count 13 images as a large tree, and trust folders immediately."""
    monkeypatch.setattr(trees, "LARGE", 12)
    monkeypatch.setattr(trees, "SETTLED", 0.0)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the roots of all trees that are listed from now on."""
    roots: list[Path] = []
    original = trees._list_tree

    def spy(root: Path, folders: list[str]) -> object:
        time.sleep(0.02)  # more than a tick of the clock of folders
        found = original(root, folders)
        time.sleep(0.02)
        roots.append(root)
        return found

    monkeypatch.setattr(trees, "_list_tree", spy)
    return roots


def start(tree: Path, cache: Path) -> Split:
    return folder_split("pets/train", tree, CLASSES, cache)


def test_a_large_tree_is_listed_once(
    tree: Path, cache: Path, large: None, listed: list[Path]
) -> None:
    first, second = start(tree, cache), start(tree, cache)
    assert len(listed) == 1
    assert first.fingerprint == second.fingerprint
    one, two = first.load(), second.load()
    assert one.manifest.ids == two.manifest.ids
    assert one.manifest.first.tolist() == two.manifest.first.tolist()
    assert two.manifest.first.tolist() == [1] * 4 + [0] * 4 + [2] * 5  # "cat-big/" before "cat/"
    assert two.images[12].getpixel((0, 0)) == (77, 0, 0)


def test_a_kept_listing_changes_no_fingerprint(
    tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = start(tree, cache)
    monkeypatch.setattr(trees, "LARGE", 12)
    monkeypatch.setattr(trees, "SETTLED", 0.0)
    start(tree, cache)
    kept = start(tree, cache)
    assert kept.fingerprint == small.fingerprint
    assert kept.load().manifest.ids == small.load().manifest.ids


def rename(tree: Path) -> None:
    (tree / "cat/0.png").rename(tree / "cat/9.png")


def swap(tree: Path) -> None:
    """Replace a file by another one of the same size and mtime."""
    path = tree / "dog/3.png"
    status = path.stat()
    draw(tree / "new.png", 24)
    os.utime(tree / "new.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tree / "new.png").rename(path)


def replace_folder(tree: Path) -> None:
    (tree / "cat").rename(tree / ".cat")
    for number in range(4):
        draw(tree / f"cat/{number}.png", 50 + number)


CHANGES: dict[str, Callable[[Path], None]] = {
    "added": lambda tree: draw(tree / "cat/4.png"),
    "added below": lambda tree: draw(tree / "dog/deep/b.png"),
    "added folder": lambda tree: draw(tree / "cat/more/b.png"),
    "removed": lambda tree: (tree / "dog/deep/a.png").unlink(),
    "renamed": rename,
    "moved": lambda tree: (tree / "dog/3.png").rename(tree / "cat/33.png") and None,
    "exchanged": swap,
    "folder replaced": replace_folder,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_folder_is_noticed(
    tree: Path, cache: Path, large: None, listed: list[Path],
    monkeypatch: pytest.MonkeyPatch, change: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(trees, "_sample", lambda files: range(0))
    before = start(tree, cache)
    CHANGES[change](tree)
    after = start(tree, cache)
    assert len(listed) == 2
    assert after.fingerprint != before.fingerprint
    names = sorted(
        path.relative_to(tree).as_posix() for path in tree.rglob("[!.]*.png")
        if not path.relative_to(tree).as_posix().startswith(".")
    )  # fmt: skip
    assert list(after.load().manifest.ids) == names


@pytest.mark.parametrize("same_size", [False, True])
def test_a_file_rewritten_in_place_is_noticed_in_the_sample(
    tree: Path, cache: Path, large: None, listed: list[Path], same_size: bool
) -> None:
    before = start(tree, cache)
    path = tree / "dog/2.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if same_size else content + b"more")
    assert start(tree, cache).fingerprint != before.fingerprint
    assert len(listed) == 2


def test_the_sample_moves_over_all_files(
    tree: Path, cache: Path, large: None, listed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = start(tree, cache)
    (tree / "dog/2.png").write_bytes(b"rewritten")
    monkeypatch.setattr(trees, "SAMPLE", 1)
    seen = []
    row = before.load().manifest.ids.index("dog/2.png")
    for now in range(13):
        monkeypatch.setattr(trees.time, "time_ns", lambda now=now: now)
        kept = trees._load(tree, next((cache / "index").glob("*.tree")))
        assert kept is not None
        seen.append(trees._unchanged(kept))
    assert [i for i, same in enumerate(seen) if not same] == [row]


def test_what_is_forgotten_is_looked_at_whole(
    tree: Path, cache: Path, large: None, listed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_sample", lambda files: range(0))
    before = start(tree, cache)
    (tree / "dog/2.png").write_bytes(b"rewritten")
    assert start(tree, cache).fingerprint == before.fingerprint
    trees.forget_listings(cache)
    assert start(tree, cache).fingerprint != before.fingerprint
    assert len(listed) == 2


def test_a_folder_that_just_changed_is_not_trusted(
    tree: Path, cache: Path, listed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "LARGE", 12)
    monkeypatch.setattr(trees, "SETTLED", 3600.0)
    for _ in range(3):
        start(tree, cache)
    assert len(listed) == 3
    monkeypatch.setattr(trees, "SETTLED", 0.0)
    for _ in range(3):
        start(tree, cache)
    assert len(listed) == 4


def test_a_tree_that_shrinks_is_small_again(
    tree: Path, cache: Path, large: None, listed: list[Path]
) -> None:
    start(tree, cache)
    for number in range(2):
        (tree / f"cat/{number}.png").unlink()
    start(tree, cache)
    start(tree, cache)
    assert len(listed) == 3
    assert not list((cache / "index").glob("*.tree"))


@pytest.mark.parametrize("damage", [b"", b"PK", b"\0" * 100, "cut", "other"])
def test_a_damaged_listing_is_made_again(
    tree: Path, cache: Path, large: None, listed: list[Path], damage: bytes | str
) -> None:
    before = start(tree, cache)
    (kept,) = (cache / "index").glob("*.tree")
    content = kept.read_bytes()
    if damage == "cut":
        damage = content[: len(content) // 2]
    elif damage == "other":
        damage = content.replace(b"dog/2.png", b"dog/8.png")
    assert isinstance(damage, bytes)
    kept.write_bytes(damage)
    assert start(tree, cache).fingerprint == before.fingerprint
    assert len(listed) == 2


def test_a_listing_that_cannot_be_kept_is_an_input_error(
    tree: Path, tmp_path: Path, large: None
) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(InputError) as error:
        start(tree, tmp_path / "cache")
    assert str(tree) in str(error.value) and "\n" not in str(error.value)


# Links


@pytest.fixture
def linked(tree: Path) -> Path:
    """Make a tree with a linked class folder, linked files and a link to a link."""
    root = tree.with_name("linked")
    for name in ("cat", "cat-big"):
        (root / name).mkdir(parents=True)
    (root / "dog").symlink_to(tree / "dog")
    hop = tree.with_name("hop")
    hop.mkdir()
    for number in range(4):
        (root / f"cat/{number}.png").symlink_to(f"../../pets/cat/{number}.png")
        (hop / f"{number}.png").symlink_to(tree / f"cat-big/{number}.png")
        (root / f"cat-big/{number}.png").symlink_to(hop / f"{number}.png")
    return root


def relink(root: Path) -> None:
    (root / "dog").unlink()
    (root / "dog").symlink_to(root.with_name("pets") / "cat")


BEHIND: dict[str, Callable[[Path], None]] = {
    "in a linked folder": lambda root: draw(root.with_name("pets") / "dog/7.png"),
    "a file behind a link": lambda root: draw_anew(root.with_name("pets") / "cat/1.png"),
    "a file behind two links": lambda root: draw_anew(root.with_name("pets") / "cat-big/1.png"),
    "a link between": lambda root: point(root.with_name("hop") / "1.png", "pets/cat/1.png"),
    "a linked folder": relink,
}


def draw_anew(path: Path) -> None:
    draw(path.with_name("new.gif"), 99)
    path.with_name("new.gif").rename(path)


def point(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(link.parents[1] / target)


@pytest.mark.parametrize("change", BEHIND)
def test_changes_behind_links_are_noticed(
    linked: Path, cache: Path, large: None, listed: list[Path],
    monkeypatch: pytest.MonkeyPatch, change: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(trees, "_sample", lambda files: range(0))
    before = start(linked, cache)
    assert start(linked, cache).fingerprint == before.fingerprint
    assert len(listed) == 1
    BEHIND[change](linked)
    assert start(linked, cache).fingerprint != before.fingerprint


def places(split: Split) -> set[str]:
    images = split.load().images
    assert isinstance(images, LocatedImages)
    return {f"{place}{name}" for place, names in images.places().items() for name in names}


@pytest.mark.parametrize("limit", [10, 100])
def test_places_are_the_same_over_links_and_from_a_kept_listing(
    tree: Path, linked: Path, cache: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "LARGE", limit)
    monkeypatch.setattr(trees, "SETTLED", 0.0)
    expected = {str(path.resolve()) for path in tree.rglob("*.png")}
    for _ in range(2):
        assert places(start(tree, cache)) == places(start(linked, cache)) == expected


# Labels


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a-", "a.b", "a0", "b", "é"]), st.text("ab./0", min_size=1))
    )
)
def test_labels_are_those_of_the_folders(found: list[tuple[str, str]]) -> None:
    folders = {name: index for index, name in enumerate(["b", "a", "a-", "a0", "é", "a.b"])}
    images = sorted(f"{folder}/{file}" for folder, file in found)
    labels, empty = _labels(images, folders)
    assert labels[:, 0].tolist() == [folders[image.partition("/")[0]] for image in images]
    assert set(empty) == folders.keys() - {folder for folder, _ in found}


def test_some_folders_of_a_large_tree(
    tree: Path, cache: Path, large: None, listed: list[Path]
) -> None:
    wanted = {"dog": 1, "cat": 0, "cow": 2}
    split = tree_split("t", tree, wanted, cache)
    assert (split.size, split.fault) == (9, "t lacks 1 of 3 class folders: cow")
    whole = tree_split("t", tree, dict.fromkeys(NAMES, 0), cache)
    assert (whole.size, len(listed)) == (13, 2)
    assert tree_split("t", tree, dict.fromkeys(NAMES, 0), cache).size == 13
    assert len(listed) == 2


def test_a_stored_listing_keeps_what_was_passed_over(
    tree: Path, cache: Path, large: None, listed: list[Path]
) -> None:
    for name in ("cat/a.heic", "cat/b.txt", "dog/deep/c.xcf", "dog/d.mov"):
        (tree / name).touch()
    draw(tree / "cat/.old/1.png")
    first, second = (folder_split("t", tree, CLASSES, cache).caveats for _ in range(2))
    assert len(listed) == 1 and first == second
    assert "4 files" in first[0] and "cat/a.heic" in first[0] and "cat/.old" in first[1]
