"""Images on disk: order, labels, errors, fingerprints and the index."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from bench.core.errors import BenchError, DataError, InputError
from bench.data.classes import Classes
from bench.data.readers import fingerprints as index
from bench.data.readers import folders as readers
from bench.data.readers.folders import folder_split, locate_file
from bench.data.readers.image_lists import list_split

PETS = Classes(("cat", "dog"), ("tabby cat", "golden retriever"))


def draw(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for number, name in enumerate(["dog/b.PNG", "dog/deep/a.png", "cat/z.jpg", "cat/10.gif"]):
        draw(root / name, number * 40)
    draw(root / "cat/.hidden.png")
    (root / "cat/notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of all files that are read from now on."""
    names: list[str] = []
    original = index._file_sha256

    def spy(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(index, "_file_sha256", spy)
    return names


def one_line(error: pytest.ExceptionInfo[BenchError], *parts: object) -> None:
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert str(part) in text


# Class folders


def test_class_folders_have_a_canonical_order_and_labels(tree: Path, cache: Path) -> None:
    split = folder_split("pets/test", tree, PETS, cache)
    manifest = split.load().manifest
    assert manifest.ids == ("cat/10.gif", "cat/z.jpg", "dog/b.PNG", "dog/deep/a.png")
    assert manifest.first.tolist() == [0, 0, 1, 1]
    assert split.size == len(split.load().images) == 4


def test_images_open_late_and_survive_pickling(tree: Path, cache: Path) -> None:
    images = pickle.loads(pickle.dumps(folder_split("t", tree, PETS, cache).load().images))
    assert images[2].convert("RGB").getpixel((0, 0)) == (0, 0, 0)
    assert images[3].getpixel((0, 0)) == (40, 0, 0)


@pytest.mark.parametrize("names", [("0", "1"), ("tabby cat", "golden retriever")])
def test_folders_may_be_indices_or_prompts(
    tmp_path: Path, cache: Path, names: tuple[str, str]
) -> None:
    for name in names:
        draw(tmp_path / "data" / name / "a.png")
    manifest = folder_split("t", tmp_path / "data", PETS, cache).load().manifest
    assert dict(zip(manifest.ids, manifest.first.tolist(), strict=True)) == {
        f"{name}/a.png": index for index, name in enumerate(names)
    }


def test_ten_and_more_indices_are_numbers_not_text() -> None:
    many = Classes(tuple("abcdefghijkl"), tuple("abcdefghijkl"))
    assert many.spellings()["10"] == 10
    digits = Classes(("1", "0"), ("one", "zero"))
    assert digits.spellings()["1"] == 0


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_an_unreadable_image_is_named(tree: Path, cache: Path, content: bytes | str) -> None:
    path = tree / "cat/z.jpg"
    if content == "half":
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()[:900]
    assert isinstance(content, bytes)
    path.write_bytes(content)
    images = folder_split("t", tree, PETS, cache).load().images
    with pytest.raises(DataError) as error:
        images[1]
    one_line(error, path)


def test_a_vanished_image_is_named(tree: Path, cache: Path) -> None:
    images = folder_split("t", tree, PETS, cache).load().images
    (tree / "cat/z.jpg").unlink()
    with pytest.raises(DataError) as error:
        images[1]
    one_line(error, tree / "cat/z.jpg")


def test_a_missing_folder_is_an_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError) as error:
        folder_split("t", tmp_path / "nowhere", PETS, cache)
    one_line(error, tmp_path / "nowhere", "folder per class")


def test_a_folder_without_class_folders_is_an_error(tmp_path: Path, cache: Path) -> None:
    draw(tmp_path / "data/a.png")
    with pytest.raises(InputError, match="has no class folders"):
        folder_split("t", tmp_path / "data", PETS, cache)


def test_an_empty_class_folder_is_named(tree: Path, cache: Path) -> None:
    for path in (tree / "cat").glob("*"):
        path.unlink()
    with pytest.raises(InputError) as error:
        folder_split("t", tree, PETS, cache)
    one_line(error, f"class folder {tree / 'cat'} has no images", ".png")


def test_other_classes_than_folders_are_listed(tree: Path, cache: Path) -> None:
    draw(tree / "fish/a.png")
    wanted = Classes(("cat", "dog", "cow", "owl"), ("cat", "dog", "cow", "owl"))
    with pytest.raises(InputError) as error:
        folder_split("t", tree, wanted, cache)
    one_line(error, tree, "folders and the classes differ", "missing: cow, owl", "unexpected: fish")


@pytest.mark.parametrize("name", ["Golden Retriever", "golden_retriever", "GOLDEN-retriever"])
def test_folders_are_matched_by_name_however_it_is_written(
    tmp_path: Path, cache: Path, name: str
) -> None:
    for folder in (name, "cat"):
        draw(tmp_path / "data" / folder / "a.png")
    split = folder_split("t", tmp_path / "data", PETS, cache)
    assert split.load().manifest.first.tolist() == [
        int(i[0] != "c") for i in split.load().manifest.ids
    ]
    assert len(split.caveats) == 1 and repr(name) in split.caveats[0]


@pytest.mark.parametrize("names", [("cat", "Cat", "dog"), ("CAT", "Cat", "dog")])
def test_a_name_that_fits_twice_is_refused(
    tmp_path: Path, cache: Path, names: tuple[str, ...]
) -> None:
    for folder in names:
        draw(tmp_path / "data" / folder / "a.png")
    with pytest.raises(InputError, match="unexpected: C"):
        folder_split("t", tmp_path / "data", PETS, cache)


def test_classes_that_differ_only_in_spelling_are_matched_exactly() -> None:
    close = Classes(("a b", "A_B"), ("a b", "A_B"))
    assert close.matched(["a b", "A_B"]) == {"a b": 0, "A_B": 1}
    assert close.matched(["A-b"]) == {}


# What is passed over


def test_what_is_passed_over_is_counted_and_named(tree: Path, cache: Path) -> None:
    assert folder_split("pets/test", tree, PETS, cache).caveats == (
        "pets/test: passed over 1 file that is no image bench reads: cat/notes.txt",
        "pets/test: passed over 1 hidden folder: .cache",
    )
    for name in (
        "cat/a.heic",
        "dog/deep/b.psd",
        "cat/Thumbs.db",
        "dog/desktop.ini",
        "dog/.DS_Store",
    ):
        (tree / name).write_bytes(b"")
    for name in ("cat/.checkpoints/a.png", "above.jpg"):
        draw(tree / name)
    split = folder_split("pets/test", tree, PETS, cache)
    assert split.caveats == (
        "pets/test: passed over 1 image beside the class folders: above.jpg",
        "pets/test: passed over 3 files that are no images bench reads, such as cat/a.heic",
        "pets/test: passed over 1 hidden folder: cat/.checkpoints",
        "pets/test: passed over 1 hidden folder: .cache",
    )
    assert split.limited(2).caveats == split.cut(1).caveats == split.caveats
    assert [part.caveats for part in split.held_out(0.5)] == [split.caveats] * 2


@pytest.mark.parametrize(
    "suffix",
    ["jfif", "jpe", "JPG", "pgm", "pbm", "pnm", "jp2", "avif", "gif", "bmp", "TIFF", "webp"],
)
def test_what_can_be_read_is_read(tree: Path, cache: Path, suffix: str) -> None:
    draw(tree / "cat/plain.png")
    (tree / "cat/plain.png").rename(tree / f"cat/more.{suffix}")
    split = folder_split("t", tree, PETS, cache)
    assert f"cat/more.{suffix}" in split.load().manifest.ids and split.size == 5


def test_a_class_given_twice_is_an_error() -> None:
    with pytest.raises(InputError, match="class 'cat' is listed 2 times"):
        Classes(("cat", "dog", "cat"), ("a", "b", "c"))


# Fingerprints and index


def test_a_fingerprint_is_of_content_not_of_place(tree: Path, tmp_path: Path, cache: Path) -> None:
    before = folder_split("t", tree, PETS, cache)
    moved = tree.rename(tmp_path / "elsewhere")
    assert folder_split("other name", moved, PETS, cache).fingerprint == before.fingerprint


def test_a_fingerprint_follows_bytes_names_and_labels(tree: Path, cache: Path) -> None:
    marks = [folder_split("t", tree, PETS, cache).fingerprint]
    swapped = Classes(PETS.keys[::-1], PETS.prompts[::-1])
    marks.append(folder_split("t", tree, swapped, cache).fingerprint)
    draw(tree / "dog/b.PNG", 99)
    marks.append(folder_split("t", tree, PETS, cache).fingerprint)
    (tree / "dog/b.PNG").rename(tree / "dog/c.PNG")
    marks.append(folder_split("t", tree, PETS, cache).fingerprint)
    assert len(set(marks)) == len(marks)


def test_bytes_are_read_once(tree: Path, cache: Path, hashed: list[str]) -> None:
    first = folder_split("t", tree, PETS, cache)
    assert sorted(hashed) == ["10.gif", "a.png", "b.PNG", "z.jpg"]
    assert folder_split("t", tree, PETS, cache).fingerprint == first.fingerprint
    assert len(hashed) == 4


def test_hashing_many_files_is_said_once(
    tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bench.progress")
    monkeypatch.setattr(index, "MANY", 5)
    folder_split("t", tree, PETS, cache)
    monkeypatch.setattr(index, "MANY", 4)
    folder_split("t", tree, PETS, cache)
    assert caplog.messages == []
    folder_split("t", tree, PETS, cache.with_name("other"))
    assert caplog.messages == [f"indexing 4 files of {tree} (only once)"]


def test_a_change_is_noticed_though_size_and_time_are_kept(
    tree: Path, cache: Path, hashed: list[str]
) -> None:
    path = tree / "dog/b.PNG"
    before, status = folder_split("t", tree, PETS, cache), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = folder_split("t", tree, PETS, cache)
    assert (after.fingerprint != before.fingerprint, len(hashed)) == (True, 8)


@pytest.mark.parametrize("damage", ["", "{}", '{"contents": 1}', "[]", "\x00"])
def test_a_damaged_index_is_rebuilt(
    tree: Path, cache: Path, hashed: list[str], damage: str
) -> None:
    before = folder_split("t", tree, PETS, cache)
    (entry,) = (cache / "index").glob("*.json")
    entry.write_text(damage)
    assert folder_split("t", tree, PETS, cache).fingerprint == before.fingerprint
    assert len(hashed) == 8


def test_large_trees_are_told_apart_by_sizes(
    tree: Path, cache: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = folder_split("t", tree, PETS, cache)
    hashed.clear()
    monkeypatch.setattr(readers, "HASHED_BYTES", 10)
    by_size = folder_split("t", tree, PETS, cache)
    (tree / "dog/b.PNG").write_bytes(b"longer" * 1000)
    longer = folder_split("t", tree, PETS, cache)
    assert len({whole.fingerprint, by_size.fingerprint, longer.fingerprint}) == 3
    assert hashed == []


def test_an_index_that_cannot_be_written_is_an_input_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(InputError) as error:
        folder_split("t", tree, PETS, tmp_path / "cache")
    one_line(error, tmp_path / "cache")


# Image lists


def write_list(tree: Path, lines: Iterable[str], name: str = "list.csv") -> Path:
    path = tree / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_list_gives_labels_by_name_and_index(tree: Path, cache: Path) -> None:
    path = write_list(
        tree,
        ["label,camera,path", "1,x,cat/z.jpg", "cat,y,./dog/b.PNG", "", "dog|cat,y,cat/10.gif"],
    )
    split = list_split("t", path, PETS, cache)
    manifest = split.load().manifest
    assert manifest.ids == ("cat/10.gif", "cat/z.jpg", "dog/b.PNG")
    assert manifest.labels.tolist() == [[1, 0], [1, -1], [0, -1]]
    assert split.load().images[2].getpixel((0, 0)) == (0, 0, 0)


def test_a_list_may_be_tabbed_marked_and_in_any_order(tree: Path, cache: Path) -> None:
    plain = write_list(tree, ["path,label", "cat/z.jpg,cat", "dog/b.PNG,dog"])
    tabbed = write_list(
        tree, ["\ufeffpath\tlabel", "dog/b.PNG\tgolden retriever", "cat/z.jpg\tcat"], "list.tsv"
    )
    first, second = (list_split("t", path, PETS, cache) for path in (plain, tabbed))
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["path,label"], ["is empty"]),
        ([], ["expected a header path,label"]),
        (["file,class", "a,b"], ["expected a header path,label", "file,class"]),
        (["path,label", "cat/z.jpg"], ["list.csv:2", "2 non-empty fields"]),
        (["path,label", "cat/z.jpg,"], ["list.csv:2", "2 non-empty fields"]),
        (["path,label", "", "cat/z.jpg,dig"], ["list.csv:3", "'dig'", "did you mean 'dog'"]),
        (
            ["path,label", "cat/z.jpg,2"],
            ["list.csv:2", "unknown class '2'", "count from 1", "cat, dog"],
        ),
        (["path,label", "cat/none.jpg,cat"], ["list.csv:2", "cat/none.jpg", "relative"]),
        (["path,label", "cat,cat"], ["list.csv:2", "is not a file"]),
        (["path,label", "cat/z.jpg,0", "./cat/z.jpg,0"], ["list.csv:3", "cat/z.jpg", "twice"]),
    ],
)
def test_errors_in_lists_name_the_line(
    tree: Path, cache: Path, lines: list[str], parts: list[str]
) -> None:
    path = write_list(tree, lines)
    with pytest.raises(InputError) as error:
        list_split("t", path, PETS, cache)
    one_line(error, path, *parts)


def test_a_missing_or_binary_list_is_an_input_error(tree: Path, cache: Path) -> None:
    (tree / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("none.csv", "binary.csv"):
        with pytest.raises(InputError) as error:
            list_split("t", tree / name, PETS, cache)
        one_line(error, name)


def test_of_many_classes_an_error_lists_few() -> None:
    names = tuple(f"class-{i:03}" for i in range(500))
    many = Classes(names, names)
    with pytest.raises(InputError) as error:
        many.index("class-4x2", many.spellings())
    one_line(error, "did you mean 'class-4", "and 480 more")


def test_locate_says_what_was_looked_for(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    assert locate_file("two", [one, tmp_path]) == two
    assert locate_file(str(two), [one]) == two
    with pytest.raises(InputError) as error:
        locate_file("x", [one, two])
    one_line(error, one / "x", two / "x", "--data", "$BENCH_DATA")
