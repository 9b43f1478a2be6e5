"""`bench data download` and `prepare` for data that users must get themselves: ImageNet."""

from __future__ import annotations

import hashlib

import pytest
from data_world import World, in_folder, packed
from imagenet_archives import IMAGES, SORTED, TRAIN, devkit, found, tar, train_tar, write

from bench.data.cards import cards
from bench.data.download.acquire import find_cards


def test_a_set_that_is_nowhere_says_where_a_copy_goes(world: World) -> None:
    world.card("stanford-cars", *cards()["stanford-cars"].archives, prompts=())
    result = world.run("download", "stanford-cars")
    assert result.code == 4
    assert str(world.data / "stanford_cars" / "cars_train") in result.err
    write(
        world.data, {"stanford_cars/cars_train/0.jpg": b"x", "stanford_cars/cars_test/0.jpg": b"x"}
    )
    assert world.run("download", "stanford-cars").code == 0


def imagenet(world: World, *put: str) -> dict[str, bytes]:
    """Return ImageNet's card with the checksums of a miniature; only files in `put` exist."""
    folder = world.data / "bench-downloads" / "imagenet"
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "ILSVRC2012_img_train.tar": train_tar(folder / "train.tar").read_bytes(),
        "ILSVRC2012_img_val.tar": tar(folder / "val.tar", IMAGES).read_bytes(),
        "ILSVRC2012_devkit_t12.tar.gz": devkit(folder / "devkit.tar.gz").read_bytes(),
    }
    for path in folder.iterdir():
        path.unlink()
    archives = [
        archive.model_copy(
            update={"checksums": {"md5": hashlib.md5(made[archive.file]).hexdigest()}}
        )
        for archive in cards()["imagenet"].archives
    ]
    world.card("imagenet", *archives)
    return write(folder, {name: made[name] for name in put}) and made


ARCHIVES = tuple(archive.file for archive in cards()["imagenet"].archives)


def test_imagenet_says_what_to_get_and_goes_on_from_it(world: World) -> None:
    made = imagenet(world)
    result = world.run("download", "imagenet", "--accept-terms")
    assert result.code == 4
    for text in ("img_train.tar", " must be downloaded manually from https://image-net.org",
                 "img_val.tar", str(world.data / "bench-downloads" / "imagenet")):  # fmt: skip
        assert text in result.err
    write(world.data / "bench-downloads" / "imagenet", made)
    result = world.run("download", "imagenet", "--accept-terms")
    assert result.code == 0, result.err
    assert found(world.data / "imagenet") == in_folder("train", TRAIN) | in_folder("val", SORTED)
    again = world.run("prepare", "imagenet")
    assert again.out == result.out.replace("prepared", "already there")


@pytest.mark.parametrize("where", ["", "imagenet", "bench-downloads/imagenet"])
def test_imagenet_s_archives_are_found_in_several_places(world: World, where: str) -> None:
    write(world.data / where, imagenet(world))
    assert world.run("prepare", "imagenet").code == 0
    assert found(world.data / "imagenet" / "val") == SORTED


def test_val_alone_will_do_to_prepare(world: World) -> None:
    imagenet(world, *ARCHIVES[1:])
    result = world.run("prepare", "imagenet")
    assert result.code == 0, result.err
    assert f"imagenet: val: prepared, {world.data / 'imagenet' / 'val'}" in result.out
    missing = "imagenet: train: missing, ILSVRC2012_img_train.tar must be downloaded manually"
    assert missing in result.out


def test_flat_val_is_sorted_with_the_devkit_alone(world: World) -> None:
    imagenet(world, ARCHIVES[2])
    write(world.data / "imagenet" / "val", IMAGES)
    assert world.run("prepare", "imagenet").code == 0
    assert found(world.data / "imagenet" / "val") == SORTED


def test_a_sorted_val_beside_a_flat_one_will_do(world: World) -> None:
    imagenet(world)
    write(world.data / "ILSVRC2012" / "val", IMAGES)
    write(world.data / "ILSVRC2012" / "val_dirs", SORTED)
    assert "val: already there" in world.run("prepare", "imagenet").out
    assert found(world.data / "ILSVRC2012" / "val") == IMAGES


def test_without_the_devkit_flat_val_stays_as_it_is(world: World) -> None:
    imagenet(world)
    write(world.data / "imagenet" / "val", IMAGES)
    result = world.run("prepare", "imagenet")
    missing = "must be downloaded manually"
    assert result.code == 4 and missing in result.err
    assert "ILSVRC2012_devkit_t12.tar.gz" in result.err
    assert found(world.data / "imagenet" / "val") == IMAGES


def test_an_altered_archive_is_not_prepared(world: World) -> None:
    imagenet(world, *ARCHIVES)
    path = world.data / "bench-downloads" / "imagenet" / ARCHIVES[1]
    tar(path, {**IMAGES, min(IMAGES): b"altered"})
    result = world.run("prepare", "imagenet")
    assert result.code == 4 and "has md5" in result.err
    assert not (world.data / "imagenet" / "val").exists()


def test_train_that_was_unpacked_once_only_is_said(world: World) -> None:
    imagenet(world, *ARCHIVES)
    write(world.data / "imagenet" / "train", {"n01440764.tar": b"x"})
    result = world.run("prepare", "imagenet")
    assert result.code == 4 and "contains no class folders" in result.err


def test_a_suite_means_all_its_sets(world: World) -> None:
    world.cards |= cards()
    named = {card.name for card in find_cards(["cifar10"])}
    assert named == {"cifar-10", "cifar-10.1", "cifar-10.2", "stl-10"}
    assert [card.name for card in find_cards(["imagenet"])] == ["imagenet"]
    assert {"dtd", "stanford-cars"} < {card.name for card in find_cards(["transfer"])}
    assert {"imagenet", "imagenet-a"} < {card.name for card in find_cards(["imagenet"], True)}


def test_a_set_named_like_a_suite_says_so(world: World) -> None:
    imagenet(world, *ARCHIVES)
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    result = world.run("prepare", "imagenet")
    assert "imagenet is also a suite: --suite adds imagenet-a" in result.err
    result = world.run("prepare", "--suite", "imagenet")
    assert "imagenet-a: nothing to prepare" in result.out
