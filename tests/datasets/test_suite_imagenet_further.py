"""The suites imagenet-hard and imagenet-w: several right answers, the watermark, faults, a run."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from commands import bench
from open_clip.transform import image_transform
from PIL import Image
from pyarrow import parquet

from bench.api.dataset import Suite
from bench.api.metrics import top1
from bench.api.registry import find_dataset
from bench.core.errors import DataError, InputError
from bench.core.records import read_records
from bench.data.cards import cards
from bench.data.folder import SYNTHETIC, NotFound
from bench.data.suites.imagenet import imagenet_classes
from bench.data.suites.watermark import FONT, FONT_SHA256, SIDE, read_font, square, watermarked
from bench.testing.contract import check_dataset
from bench.testing.synthetic.imagenet import make_imagenet
from bench.testing.synthetic.imagenet_further import FILES, GROUP, ROWS, make_imagenet_further

NAMES = ("imagenet-hard", "imagenet-w")


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic copies of ImageNet and of both sets; read-only."""
    root = tmp_path_factory.mktemp("further")
    counts = make_imagenet(root) | make_imagenet_further(root)
    (root / SYNTHETIC).write_text(json.dumps(counts))
    return root


@pytest.fixture
def own(further: Path, tmp_path: Path) -> Path:
    """A folder with copies of both sets, which a test may change, and a link to ImageNet's."""
    root = tmp_path / "data"
    for name in NAMES:
        shutil.copytree(further / name, root / name)
    (root / "imagenet").symlink_to(further / "imagenet")
    shutil.copy(further / SYNTHETIC, root)
    return root


def suite_of(data: Path, name: str) -> Suite:
    return find_dataset(name)().suite(data, data.parent / "cache")


def files(data: Path) -> list[Path]:
    return sorted((data / "imagenet-hard" / "data").iterdir())


def picture(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_holds(name: str, further: Path, tmp_path: Path) -> None:
    for data in (further, tmp_path, None):
        check_dataset(find_dataset(name), data)


@pytest.mark.parametrize("name", NAMES)
def test_the_task_is_imagenet_s_so_nothing_is_trained_again(name: str, further: Path) -> None:
    ours, imagenet = suite_of(further, name), suite_of(further, "imagenet")
    assert ours.name == name and ours.task == imagenet.task and ours.test == imagenet.test
    assert ours.averaged == 1 and ours.prompts == imagenet.prompts
    assert len(imagenet.all_shifts) == 7


@pytest.mark.parametrize(("name", "part"), [("imagenet-hard", "test"), ("imagenet-w", "font")])
def test_a_set_that_is_not_there_is_named(name: str, part: str, own: Path) -> None:
    shutil.rmtree(own / name)
    with pytest.raises(NotFound, match=rf"{cards()[name].title}, {part}: not found"):
        suite_of(own, name)


# ImageNet-Hard


def test_rows_of_all_files_are_read_in_order(further: Path) -> None:
    loaded = suite_of(further, "imagenet-hard").shifts[0].split.load()
    rows = [row for file in files(further) for row in parquet.read_table(file).to_pylist()]
    assert len(rows) == len(loaded.images) == FILES * ROWS > GROUP
    for at, row in enumerate(rows):
        assert [label for label in loaded.manifest.labels[at] if label >= 0] == row["label"]
    for at in (0, GROUP - 1, GROUP, ROWS - 1, ROWS, ROWS + GROUP, FILES * ROWS - 1):
        stored = Image.open(io.BytesIO(rows[at]["image"]["bytes"]))
        assert np.array_equal(np.asarray(loaded.images[at]), np.asarray(stored))


def test_each_of_the_labels_is_right(further: Path) -> None:
    shift = suite_of(further, "imagenet-hard").shifts[0]
    manifest = shift.split.load().manifest
    labels, certain = manifest.labels, np.eye(len(imagenet_classes()))
    assert shift.test_only and labels.shape[1] == 3
    for column in range(3):
        guesses = np.where(labels[:, column] < 0, labels[:, 0], labels[:, column])
        assert top1(certain[guesses], manifest) == 1
    wrong = (labels.max(axis=1) + 1) % len(certain)
    assert top1(certain[wrong], manifest) == 0


def test_real_data_are_counted(own: Path) -> None:
    (own / SYNTHETIC).unlink()
    faults = suite_of(own, "imagenet-hard").faults
    assert any("imagenet-hard test: 80 of 10,980 images" in fault for fault in faults)


def changed(file: Path, column: str, value: Any) -> None:
    """Write a file anew with another value in row 3 of a column."""
    table = parquet.read_table(file)
    rows = table.to_pylist()
    rows[3][column] = value
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), file)


@pytest.mark.parametrize("labels", [[], [1000], [-1], [5, 1000]])
def test_labels_that_are_no_classes_are_named(labels: list[int], own: Path) -> None:
    changed(files(own)[1], "label", labels)
    said = f"row 3 has the labels {labels}: expected one or more from 0 to 999"
    assert any(said in fault for fault in suite_of(own, "imagenet-hard").faults)


@pytest.mark.parametrize("content", ["cut", "page", "column", "numbers"])
def test_a_damaged_file_is_named(content: str, own: Path) -> None:
    file = files(own)[1]
    if content == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    elif content == "page":
        file.write_text("<html></html>")
    elif content == "column":
        parquet.write_table(parquet.read_table(file).drop_columns(["label"]), file)
    else:
        parquet.write_table(pyarrow.table({"image": [1], "label": [1]}), file)
    (fault,) = suite_of(own, "imagenet-hard").faults
    assert fault.startswith(f"{file}: expected a parquet file with the columns image and label")
    assert fault.endswith("get it again") and len(fault) < 500
    refused = bench("run", "--suite", "imagenet-hard", "--data", own, "--out", own / "out")
    assert refused.code == 4 and str(file) in refused.err


def test_an_image_that_cannot_be_decoded_is_named(own: Path) -> None:
    file = files(own)[0]
    changed(file, "image", {"bytes": b"no image", "path": None})
    images = suite_of(own, "imagenet-hard").shifts[0].split.load().images
    with pytest.raises(DataError, match=r"row 3 of row group 0 of .*\.parquet"):
        images[3]


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "a.jpg"}])
def test_a_row_without_an_image_is_named(image: Any, own: Path) -> None:
    changed(files(own)[0], "image", image)
    split = suite_of(own, "imagenet-hard").shifts[0].split
    with pytest.raises(DataError, match=r"row 3 of row group 0 of .*\.parquet"):
        split.load().images[3]
    assert split.contents is not None and len(split.contents()) == FILES * ROWS


def test_a_row_group_that_is_damaged_is_named(own: Path) -> None:
    """parquet has no checksums by default, so that only reading it shows the damage."""
    file = files(own)[0]
    where = parquet.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[where : where + 300] = b"\xff" * 300
    file.write_bytes(content)
    images = suite_of(own, "imagenet-hard").shifts[0].split.load().images
    assert images[0].mode == "RGB"
    with pytest.raises(DataError, match=r"\.parquet: row group 1 cannot be read .*: get the file"):
        images[GROUP]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label", ["23"] * ROWS),
        ("label", [["23"]] * ROWS),
        ("label", [[2.7]] * ROWS),
        ("image", [{"bytes": "text", "path": None}] * ROWS),
    ],
)
def test_columns_of_other_types_are_refused(column: str, values: list[Any], own: Path) -> None:
    """The text 23 would otherwise be the classes 2 and 3."""
    file = files(own)[0]
    table = parquet.read_table(file)
    at = table.schema.get_field_index(column)
    parquet.write_table(table.set_column(at, column, pyarrow.array(values)), file)
    (fault,) = suite_of(own, "imagenet-hard").faults
    assert f"TypeError: {column}s are " in fault and fault.endswith("get it again")


def test_without_pyarrow_the_extra_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    without = lambda name, *more: None if name == "pyarrow" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    (fault,) = suite_of(own, "imagenet-hard").faults
    assert "pip install 'robust-ft-bench[arrow]'" in fault


# ImageNet-W


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (SIDE, SIDE), (300, 301), (91, 640)])
def test_the_square_is_what_clip_sees_of_an_image(size: tuple[int, int]) -> None:
    transform = image_transform(SIDE, is_train=False)
    image = picture(*size)
    assert np.array_equal(transform(square(image)), transform(image))


def test_the_watermark_is_half_of_white_where_its_text_is(further: Path) -> None:
    image = picture(SIDE, SIDE)
    clean = np.asarray(image, dtype=int)
    found = np.asarray(
        watermarked(image, read_font(further / "imagenet-w/fonts" / FONT)), dtype=int
    )
    rows, columns = np.nonzero((found != clean).any(axis=2))
    assert rows.min() >= round(0.4 * SIDE) and columns.min() >= 2
    assert rows.max() < 0.4 * SIDE + 60
    assert (found >= clean).all()
    full = np.abs(found - (clean + 255) / 2).max(axis=2) <= 1
    assert full[rows, columns].mean() > 0.3


def test_it_is_that_of_the_authors_package() -> None:
    package = pytest.importorskip("imagenet_w.watermark_transform")
    font = read_font(Path(package.FONT_DIR) / FONT)
    for size in ((500, 375), (SIDE, SIDE)):
        image = square(picture(*size))
        theirs = package.AddWatermark(SIDE)(image)
        assert np.array_equal(np.asarray(watermarked(image, font)), np.asarray(theirs))


def test_the_shift_is_the_validation_images(further: Path) -> None:
    suite = suite_of(further, "imagenet-w")
    (shift,) = suite.shifts
    clean, marked = suite.test.load(), shift.split.load()
    assert shift.split.fingerprint != suite.test.fingerprint
    assert marked.manifest.ids == clean.manifest.ids and marked.images[0].size == (SIDE, SIDE)
    assert not np.array_equal(np.asarray(marked.images[0]), np.asarray(square(clean.images[0])))
    assert any("reduced to 224 pixels" in said for said in shift.split.caveats)


def test_another_font_is_a_fault(own: Path) -> None:
    before = suite_of(own, "imagenet-w")
    font = own / "imagenet-w/fonts" / FONT
    font.write_bytes(font.read_bytes() + b"\0")
    assert (
        before.shifts[0].split.fingerprint
        != suite_of(own, "imagenet-w").shifts[0].split.fingerprint
    )
    (own / SYNTHETIC).unlink()
    (fault,) = [one for one in suite_of(own, "imagenet-w").faults if "font" in one]
    assert fault.endswith(f"{font} is not the font of the authors' package")
    assert cards()["imagenet-w"].archives[0].checksums["sha256"] == FONT_SHA256
    font.write_text("<html></html>")
    with pytest.raises(InputError, match=f"cannot read {font}"):
        read_font(font)


def test_a_damaged_font_is_refused_before_images_are_drawn(further: Path, tmp_path: Path) -> None:
    """Some damages are only seen when a letter is drawn."""
    content = (further / "imagenet-w/fonts" / FONT).read_bytes()
    font, image, refused = tmp_path / FONT, picture(SIDE, SIDE), 0
    for seed in range(30):
        damaged = bytearray(content)
        for place in np.random.default_rng(seed).integers(0, len(content), 200):
            damaged[place] ^= 255
        font.write_bytes(damaged)
        try:
            found = read_font(font)
        except InputError:
            refused += 1
        else:
            watermarked(image, found)
    assert 0 < refused < 30


def test_a_missing_validation_image_is_a_fault_of_the_shift(own: Path, further: Path) -> None:
    (own / "imagenet").unlink()
    shutil.copytree(further / "imagenet" / "val", own / "imagenet" / "val")
    next((own / "imagenet" / "val").rglob("*.JPEG")).unlink()
    suite = suite_of(own, "imagenet-w")
    assert "999 of 1,000 images" in suite.shifts[0].split.fault


def test_a_run_measures_both(further: Path, tmp_path: Path) -> None:
    where = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out", "--data", further)
    done = bench("run", "--suite", ",".join(NAMES), "--methods", "zero-shot", *where)
    assert done.code == 0, done.err
    records = read_records(tmp_path / "out" / "records.jsonl")
    sizes = {(r.suite, r.shift): r.n for r in records if r.kind == "cell"}
    assert sizes["imagenet-hard", "hard"] == FILES * ROWS
    assert sizes["imagenet-w", "watermark"] == 1000
    assert sizes["imagenet-hard", "id"] == sizes["imagenet-w", "id"] == 1000
    assert np.isfinite([r.value for r in records if r.kind == "cell"]).all()
