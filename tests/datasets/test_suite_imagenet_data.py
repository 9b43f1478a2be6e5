"""The suites imagenet and entity30: data folders, missing data, and photographs."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from imagenet_suites import SHIFTS, suite_of
from places import DATA
from timm.data import ImageNetInfo

from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.data.folder import SYNTHETIC, NotFound

PHOTOS = DATA / "imagenet_sample_100.zip"


# Places


def test_ilsvrc2012_and_class_folders_elsewhere_are_found(linked: Path, synthetic: Path) -> None:
    """Folders named as in FLYP and CaRot and in wise-ft, through links."""
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
    assert "run 'bench data prepare imagenet' to sort them" in str(error.value)
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
        with pytest.raises(NotFound, match=r"none of the 1,000 expected class folders.* n01440764"):
            suite_of(linked, name)
        assert not find_dataset(name)().found(linked)
    (linked / "ILSVRC2012/val/n01440764").mkdir(parents=True)
    (linked / "ILSVRC2012/val/n01440764/ILSVRC2012_val_00000293.JPEG").write_bytes(b"x")
    assert suite_of(linked).test.fault
    reason = suite_of(linked).lacking["r"]
    assert "has none of the 200 expected class folders, such as n01443537" in reason


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
        with pytest.raises(InputError, match="train: not found; looked for"):
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
    assert "imagenet-vid-robust frames: 31 of 33 images" in faults  # the frame is in two sets


def test_real_data_are_counted_against_the_cards(linked: Path) -> None:
    (linked / SYNTHETIC).unlink()
    found = suite_of(linked)
    assert (found.notes, found.model, found.pretrained) == ((), "ViT-B-32", "openai")
    assert "imagenet val: 1,000 of 50,000 images" in found.faults
    assert "objectnet test: 113 of 18,574 images" in found.faults
    assert len(found.faults) == 8  # the number of YTBB-Robust's frames is not known
    assert suite_of(linked, "entity30").faults == (
        "entity-30 source_val: 120 of 6,000 images",
        "entity-30 target_val: 120 of 6,000 images",
    )


# Photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with 100 photographs in class folders as its val."""
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
    """The photographs' names, such as ``n01440764_tench.JPEG``, also match timm's descriptions."""
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

    from bench.models.transforms import EvalImages, evaluation_transform

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
