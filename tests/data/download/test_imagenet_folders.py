"""ImageNet's class folders are built from miniature archives, also after a killed process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imagenet_archives import IDS, IMAGES, SORTED, TRAIN, devkit, found, meta, tar, train_tar, write

from bench.core.errors import DataError
from bench.core.progress import SilentProgress
from bench.data.download import unpack
from bench.data.download.imagenet import (
    Devkit,
    is_sorted,
    is_sorting_begun,
    read_devkit,
    sort_val,
    unpack_train,
)


@pytest.fixture
def kit(tmp_path: Path) -> Devkit:
    return read_devkit(devkit(tmp_path / "devkit.tar.gz"))


class Killed(BaseException):
    """Raised in place of a kill."""


@pytest.fixture(params=range(1, 12))
def kill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Raise Killed at the first, second, ... rename."""
    rename, done = Path.rename, 0

    def renamed(self: Path, target: Any) -> Path:
        nonlocal done
        done += 1
        if done == request.param:
            raise Killed
        return rename(self, target)

    patch = pytest.MonkeyPatch()
    patch.setattr(Path, "rename", renamed)
    yield patch
    patch.undo()


def test_the_devkit_says_where_images_belong(kit: Devkit) -> None:
    assert kit.classes == tuple(sorted(IDS.values()))
    assert kit.folders == {path.split("/")[1]: path.split("/")[0] for path in SORTED}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__meta_mat": b"MATLAB"}, "not ImageNet's devkit"),
        ({"data__meta_mat": meta({1: "../../etc"})}, "not ImageNet's devkit"),
        ({"data__meta_mat": meta({1: "n02119789"})}, "not ImageNet's devkit"),
    ],
)
def test_a_devkit_that_is_none_is_refused(
    tmp_path: Path, changes: dict[str, bytes], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_devkit(devkit(tmp_path / "devkit.tar.gz", **changes))


def test_a_devkit_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not contain data/meta\.mat"):
        read_devkit(tar(tmp_path / "devkit.tar.gz", {"readme.txt": b"?"}))


def test_train_becomes_class_folders(tmp_path: Path) -> None:
    into = tmp_path / "imagenet" / "train"
    unpack_train(train_tar(tmp_path / "train.tar"), into, SilentProgress())
    assert found(into) == TRAIN
    assert [path.name for path in into.parent.iterdir()] == ["train"]


def test_train_goes_on_after_a_kill(tmp_path: Path, kill: pytest.MonkeyPatch) -> None:
    packed, into = train_tar(tmp_path / "train.tar"), tmp_path / "train"
    try:
        unpack_train(packed, into, SilentProgress())
    except Killed:
        assert not into.exists()
    kill.undo()
    if not into.exists():
        unpack_train(packed, into, SilentProgress())
    assert found(into) == TRAIN


def test_a_train_archive_with_other_things_is_refused(tmp_path: Path) -> None:
    for files in ({"n01440764/x.JPEG": b"x"}, {"../n01440764.tar": b"x"}, {"n01440764.tar": b"x"}):
        with pytest.raises(DataError):
            unpack_train(tar(tmp_path / "train.tar", files), tmp_path / "train", SilentProgress())
        assert not (tmp_path / "train").exists()


def test_val_is_unpacked_into_class_folders(tmp_path: Path, kit: Devkit) -> None:
    into = tmp_path / "imagenet" / "val"
    sort_val(into, kit, tar(tmp_path / "val.tar", IMAGES), SilentProgress())
    assert found(into) == SORTED
    assert is_sorted(into)
    assert [path.name for path in into.parent.iterdir()] == ["val"]


def test_flat_images_are_sorted_and_nothing_is_lost(tmp_path: Path, kit: Devkit) -> None:
    into = write(tmp_path / "val", {**IMAGES, "notes.txt": b"mine", "own/x": b"y"})
    assert is_sorting_begun(into) and not is_sorted(into)
    sort_val(into, kit, None, SilentProgress())
    assert found(into) == SORTED | {"notes.txt": b"mine", "own/x": b"y"}
    assert is_sorted(into)


def test_a_link_to_a_folder_is_followed(tmp_path: Path, kit: Devkit) -> None:
    real = write(tmp_path / "disk" / "images", IMAGES)
    (tmp_path / "val").symlink_to(real)
    sort_val(tmp_path / "val", kit, None, SilentProgress())
    assert found(real) == SORTED
    assert (tmp_path / "val").is_symlink() and is_sorted(tmp_path / "val")


@pytest.mark.parametrize("start", ["flat", "half sorted", "archive", "both"])
def test_val_goes_on_after_a_kill(
    tmp_path: Path, kit: Devkit, kill: pytest.MonkeyPatch, start: str
) -> None:
    into, names = tmp_path / "val", list(IMAGES)
    packed = tar(tmp_path / "val.tar", IMAGES) if start in ("archive", "both") else None
    if start == "flat":
        write(into, IMAGES)
    elif start == "half sorted":
        write(into, {n: IMAGES[n] for n in names[:3]})
        write(into, {k: v for k, v in SORTED.items() if k.split("/")[1] in names[3:]})
    elif start == "both":
        write(into, {n: IMAGES[n] for n in names[:3]})
    try:
        sort_val(into, kit, packed, SilentProgress())
    except Killed:
        assert not is_sorted(into)
        assert is_sorting_begun(into)
    kill.undo()
    if not is_sorted(into):
        sort_val(into, kit, packed, SilentProgress())
    assert found(into) == SORTED
    assert {path.name for path in tmp_path.iterdir()} <= {"val", "val.tar", "devkit.tar.gz"}


def test_too_few_images_are_refused_and_left_alone(tmp_path: Path, kit: Devkit) -> None:
    some = {name: IMAGES[name] for name in list(IMAGES)[1:]}
    into = write(tmp_path / "val", some)
    with pytest.raises(DataError, match=r"5 of 6 images, .*00000001\.JPEG is missing: nothing"):
        sort_val(into, kit, None, SilentProgress())
    assert found(into) == some


def test_an_image_that_was_cut_short_is_taken_from_the_archive(tmp_path: Path, kit: Devkit) -> None:
    name = next(iter(IMAGES))
    into = write(tmp_path / "val", {name: IMAGES[name][:50]})
    sort_val(into, kit, tar(tmp_path / "val.tar", IMAGES), SilentProgress())
    assert found(into) == SORTED


def test_two_images_of_one_name_that_differ_are_not_merged(tmp_path: Path, kit: Devkit) -> None:
    first = next(iter(SORTED))
    into = write(tmp_path / "val", {**IMAGES, first: b"another"})
    with pytest.raises(DataError, match="differ"):
        sort_val(into, kit, None, SilentProgress())
    kept = [content for folder in tmp_path.iterdir() if folder.is_dir() for content in
            found(folder).values()]  # fmt: skip
    assert sorted(kept) == sorted([*IMAGES.values(), b"another"])
    same = write(tmp_path / "other" / "val", {**IMAGES, first: SORTED[first]})
    sort_val(same, kit, None, SilentProgress())
    assert found(same) == SORTED


@pytest.mark.parametrize(
    "files",
    [
        {name: IMAGES[name] for name in list(IMAGES)[1:]},
        {**IMAGES, "ILSVRC2012_val_00000099.JPEG": b"x"},
        {**IMAGES, "../evil": b"x"},
    ],
)
def test_a_val_archive_that_is_not_the_devkits_is_refused(
    tmp_path: Path, kit: Devkit, files: dict[str, bytes]
) -> None:
    with pytest.raises(DataError):
        sort_val(tmp_path / "val", kit, tar(tmp_path / "val.tar", files), SilentProgress())
    assert not (tmp_path / "val").exists()


def test_an_image_is_written_whole_or_not_at_all(
    tmp_path: Path, kit: Devkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Any, target: Any, _: int) -> None:
        target.write(b"half")
        raise Killed

    packed = tar(tmp_path / "val.tar", IMAGES)
    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "copyfileobj", half)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            sort_val(tmp_path / "val", kit, packed, SilentProgress())
    assert not found(tmp_path / ".val.sorting")
    sort_val(tmp_path / "val", kit, packed, SilentProgress())
    assert found(tmp_path / "val") == SORTED
    shutil.rmtree(tmp_path / "val")
    assert {path.name for path in tmp_path.iterdir()} == {"val.tar", "devkit.tar.gz"}
