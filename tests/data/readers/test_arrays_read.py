"""Images in .npy and .npz files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_files import noise, pixels, refused, save

from bench.api.splits import LocatedImages
from bench.core.errors import InputError
from bench.data.classes import Classes
from bench.data.readers import fingerprints as index
from bench.data.readers.arrays import Arrays, array_split, images_of_file

PETS = Classes(("cat", "dog"), ("tabby cat", "golden retriever"))
IMAGES = noise(4, 6, 8, 3)
LABELS = [1, 0, 1, 1]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("layout", ["channels-last", "channels-first"])
def test_arrays_are_images_in_their_order(
    tmp_path: Path, cache: Path, suffix: str, layout: str
) -> None:
    laid = IMAGES if layout == "channels-last" else IMAGES.transpose(0, 3, 1, 2)
    for name, array in (("x", laid), ("y", np.array(LABELS))):
        save(tmp_path / (name + suffix), array, **{{"x": "images", "y": "labels"}[name]: array})
    x, y = tmp_path / f"x{suffix}", tmp_path / f"y{suffix}"
    arrays = images_of_file(x, y, PETS, layout=layout)
    assert np.array_equal(pixels(arrays, cache), IMAGES)
    manifest = array_split("pets/test", arrays, cache).load().manifest
    assert manifest.ids == ("test-00000", "test-00001", "test-00002", "test-00003")
    assert manifest.first.tolist() == LABELS


@pytest.mark.parametrize("layout", ["channels-last", "channels-first"])
def test_flat_rows_are_square_images(tmp_path: Path, cache: Path, layout: str) -> None:
    square = noise(4, 5, 5, 3)
    laid = square if layout == "channels-last" else square.transpose(0, 3, 1, 2)
    x = save(tmp_path / "x.npy", np.ascontiguousarray(laid).reshape(4, -1))
    y = save(tmp_path / "y.npy", np.array(LABELS))
    assert np.array_equal(pixels(images_of_file(x, y, PETS, layout=layout), cache), square)


@pytest.mark.parametrize(
    "shape", [(4, 75), (4, 3072), (4, 3), (4, 3, 3, 3), (4, 3, 8, 3), (4, 3, 6, 3)]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_layout_that_the_shape_cannot_tell_is_asked_for(
    tmp_path: Path, shape: tuple[int, ...], suffix: str
) -> None:
    x = save(tmp_path / f"x{suffix}", noise(*shape), images=noise(*shape))
    y = save(tmp_path / "y.npy", np.array(LABELS))
    refused(lambda: images_of_file(x, y, PETS), x, str(list(shape)), "layout", "chw", "hwc")
    one, other = (images_of_file(x, y, PETS, layout=layout) for layout in ("chw", "hwc"))
    assert one.form.endswith("channels-first") and other.form.endswith("channels-last")
    assert one.pixels().size == other.pixels().size == noise(*shape).size


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (("1", "2", "3", "4"), [4, 1, 2, 3], [3, 0, 1, 2]),
        (("7", "3"), [3, 7, 3, 3], [1, 0, 1, 1]),
        (("7", "3"), [1, 0, 1, 1], [1, 0, 1, 1]),
        (("0", "1"), [1, 0, 1, 1], [1, 0, 1, 1]),
        (("1", "0"), [1, 0, 1, 1], None),
        (("1", "2", "3"), [1, 2, 1, 1], None),
    ],
)
def test_numbers_that_name_classes_are_names(
    tmp_path: Path, names: tuple[str, ...], labels: list[int], expected: list[int] | None
) -> None:
    x, y = save(tmp_path / "x.npy", IMAGES), save(tmp_path / "y.npy", np.array(labels))
    classes = Classes(names, tuple(f"class {name}" for name in names))
    if expected is None:
        refused(lambda: images_of_file(x, y, classes), y, "by its name", "by its position", "text")
    else:
        assert images_of_file(x, y, classes).labels.tolist() == expected


@pytest.mark.parametrize("compressed", [False, True])
def test_one_npz_holds_both(tmp_path: Path, cache: Path, compressed: bool) -> None:
    path = tmp_path / "all.npz"
    (np.savez_compressed if compressed else np.savez)(path, a=np.asfortranarray(IMAGES), b=LABELS)
    arrays = images_of_file(path, None, PETS, members=("a", "b"))
    assert np.array_equal(pixels(arrays, cache), IMAGES)
    assert arrays.labels.tolist() == LABELS


@pytest.mark.parametrize(
    "content", ["dog\ncat\ndog\n1\n", np.array(["dog", "cat", "golden retriever", "dog"])]
)
def test_labels_may_be_names(tmp_path: Path, content: Any) -> None:
    x = save(tmp_path / "x.npy", IMAGES)
    if isinstance(content, str):
        y = tmp_path / "y.txt"
        y.write_text(content)
    else:
        y = save(tmp_path / "y.npy", content)
    assert images_of_file(x, y, PETS).labels.tolist() == LABELS


def test_images_open_late_and_survive_pickling(tmp_path: Path, cache: Path) -> None:
    x, y = save(tmp_path / "x.npz", images=IMAGES), save(tmp_path / "y.npy", np.array(LABELS))
    images = array_split("t", images_of_file(x, y, PETS), cache).load().images
    assert np.array_equal(np.asarray(images[2]), IMAGES[2])
    sent = pickle.dumps(images)
    assert len(sent) < 2000
    assert np.array_equal(np.asarray(pickle.loads(sent)[2]), IMAGES[2])


def test_a_part_keeps_its_ids(tmp_path: Path, cache: Path) -> None:
    x, y = save(tmp_path / "x.npy", IMAGES), save(tmp_path / "y.npy", np.array(LABELS))
    part = images_of_file(x, y, PETS).only(["dog"])
    split = array_split("t", part, cache)
    assert split.load().manifest.ids == ("test-00000", "test-00002", "test-00003")
    assert split.load().manifest.first.tolist() == [0, 0, 0]
    assert np.array_equal(pixels(part, cache), IMAGES[[0, 2, 3]])
    assert part.only(["dog"]) is not part
    refused(lambda: images_of_file(x, y, PETS).only(["dig"]), "dig", "did you mean 'dog'")


def test_a_fingerprint_is_of_content_not_of_place(tmp_path: Path, cache: Path) -> None:
    def mark(x: Path, y: Path, **options: Any) -> str:
        return array_split("t", images_of_file(x, y, PETS, **options), cache).fingerprint

    square = noise(4, 3, 3, 3)
    x, y = save(tmp_path / "x.npy", square), save(tmp_path / "y.npy", np.array(LABELS))
    marks = [mark(x, y, layout="channels-last"), mark(x, y, layout="channels-first")]
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / f"other-{path.name}") for path in (x, y)]
    assert mark(*moved, layout="hwc") == marks[0]
    other = save(tmp_path / "y.npy", np.array([0, 0, 1, 1]))
    marks.append(mark(moved[0], other, layout="hwc"))
    square[3, 2, 2, 2] ^= 1
    marks.append(mark(save(tmp_path / "x.npy", square), moved[1], layout="hwc"))
    assert len(set(marks)) == len(marks)


def test_bytes_are_hashed_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = save(tmp_path / "x.npy", IMAGES), save(tmp_path / "y.npy", np.array(LABELS))
    first = array_split("t", images_of_file(x, y, PETS), cache)
    monkeypatch.setattr(index, "_file_sha256", None)
    assert array_split("t", images_of_file(x, y, PETS), cache).fingerprint == first.fingerprint


def test_two_splits_that_share_an_image_have_a_common_place(tmp_path: Path, cache: Path) -> None:
    both = {"images": IMAGES, "labels": LABELS, "more": IMAGES}
    path = save(tmp_path / "x.npz", **both)
    (tmp_path / "link.npz").symlink_to(path)

    def places(file: Path, member: str, *names: str) -> set[tuple[str, object]]:
        arrays = images_of_file(file, None, PETS, members=(member, "labels")).only(names)
        images = array_split("t", arrays, cache).load().images
        assert isinstance(images, LocatedImages)
        return {(place, row) for place, rows in images.places().items() for row in rows}

    dogs = places(path, "images", "dog")
    assert len(dogs) == 3
    assert dogs == places(tmp_path / "link.npz", "images", "dog")
    assert not dogs & places(path, "images", "cat")
    assert not dogs & places(path, "more", "dog")


WRONG_IMAGES: list[tuple[Any, list[str]]] = [
    (IMAGES.astype(np.float32), ["float32", "uint8"]),
    (IMAGES.transpose(0, 3, 1, 2), ["[4, 3, 6, 8]", "[N, H, W, 3] (channels-last)"]),
    (IMAGES[..., 0], ["[4, 6, 8]", "[N, H, W, 3]"]),
    (noise(4, 74), ["[4, 74]", "flat rows"]),
    (noise(4, 6, 8, 4), ["[4, 6, 8, 4]"]),
    (np.array([{"a": 1}], dtype=object), ["pickled objects", "numpy.save"]),
    (IMAGES[:3], ["4 labels for the 3 images"]),
    (IMAGES[:0], ["4 labels for the 0 images"]),
]


@pytest.mark.parametrize(("array", "parts"), WRONG_IMAGES)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_wrong_images_are_refused(
    tmp_path: Path, suffix: str, array: Any, parts: list[str]
) -> None:
    x = save(tmp_path / f"x{suffix}", array, images=array)
    y = save(tmp_path / "y.npy", np.array(LABELS))
    refused(lambda: images_of_file(x, y, PETS), x, *parts)


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (np.array([1, 0, 2, 1]), ["image 2 has the label 2", "0 to 1"]),
        (np.array([1, 1, 2, 1]), ["they seem to count from 1: subtract 1"]),
        (np.array([1, 0, -1, 1]), ["image 2 has the label -1"]),
        (np.array([1.0, 0, 1, 1]), ["float64", "integers"]),
        (np.eye(4, dtype=int), ["[4, 4]", "integers [N]"]),
        (np.array(["dog", "cat", "fox", "dog"]), ["unknown class 'fox'"]),
        (np.array([None]), ["pickled objects"]),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, array: Any, parts: list[str]) -> None:
    x, y = save(tmp_path / "x.npy", IMAGES), save(tmp_path / "y.npy", array)
    refused(lambda: images_of_file(x, y, PETS), y, *parts)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("damage", ["short", "empty", "text", "absent", "folder"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, damage: str) -> None:
    path = save(tmp_path / f"x{suffix}", IMAGES, images=IMAGES)
    y = save(tmp_path / "y.npy", np.array(LABELS))
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes({"short": content[:-100], "empty": b"", "text": b"<html>"}[damage])
    refused(lambda: images_of_file(path, y, PETS), path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    x, y = save(tmp_path / "x.npy", IMAGES), save(tmp_path / "y.npz", lables=LABELS)
    refused(lambda: images_of_file(x, None, PETS), "no labels", x)
    refused(lambda: images_of_file(x, y, PETS), "'labels'", "did you mean 'lables'")
    refused(lambda: images_of_file(x, y, PETS, layout="nhwc"), "layout", "channels-last", "hwc")
    (tmp_path / "y.txt").write_bytes(b"\xff")
    refused(lambda: images_of_file(x, tmp_path / "y.txt", PETS), "y.txt")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pixels_of_0_and_1_are_refused(
    tmp_path: Path, suffix: str, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.data.readers.arrays.SAMPLED", 96)
    labels = tmp_path / "labels.npy"
    np.save(labels, np.array([0, 1, 1]))
    pixels = np.zeros((3, 4, 4, 3), np.uint8, order=order)
    path = tmp_path / f"images{suffix}"

    def read() -> Arrays:
        return images_of_file(save(path, pixels, images=pixels), labels, PETS)

    assert len(read().labels) == 3  # all black
    pixels[0, 0, 0, 0] = 1
    with pytest.raises(InputError, match=r"has only the values 0 to 1: .* multiply by 255"):
        read()
    pixels[2, 3, 3, 2] = 200
    assert len(read().labels) == 3
