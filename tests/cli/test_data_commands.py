"""`bench data download` and `prepare`, from a server on this machine."""

from __future__ import annotations

import io
import json
import sys

import pytest
from commands import assert_refused, bench
from data_world import World, in_folder, packed
from encrypted_archive import ENCRYPTED
from imagenet_archives import found, write
from servers import File

from bench.data.cards import cards


def test_a_set_is_downloaded_unpacked_and_left_alone_afterwards(world: World) -> None:
    content = packed("imagenet-a/")
    world.card("imagenet-a", world.archive("imagenet-a.tar", content, into="imagenet-a"))
    for state in ("unpacked", "there"):
        result = world.run("download", "imagenet-a")
        assert result.code == 0, result.err
        assert result.out == f"imagenet-a: test: {state}, {world.data / 'imagenet-a'}\n"
        assert world.kept == in_folder("imagenet-a")


def test_json_says_the_same(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    made = json.loads(world.run("download", "imagenet-a", "--json").out)
    path = str(world.data / "imagenet-a")
    assert made == {"sets": {"imagenet-a": [{"holds": "test", "state": "unpacked", "path": path}]}}


def test_keep_keeps_the_archive(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    world.run("download", "imagenet-a", "--keep")
    assert "bench-downloads/imagenet-a/a.tar.gz" in world.kept


def test_an_archive_that_a_person_put_there_is_used_and_kept(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    write(world.data, {"bench-downloads/imagenet-a/a.tar.gz": packed()})
    assert world.run("download", "imagenet-a").code == 0
    assert not world.net.asked
    assert world.kept.keys() >= {"bench-downloads/imagenet-a/a.tar.gz", *in_folder("imagenet-a")}


def test_a_set_under_another_of_its_names_is_found(world: World) -> None:
    folder = "imagenetv2-matched-frequency-format-val"
    world.card("imagenet-v2", world.archive("v2.tar.gz", packed(), into=folder))
    write(world.data / "ImageNetV2-matched-frequency", {"0/a.jpeg": b"x"})
    result = world.run("download", "imagenet-v2")
    assert result.out.endswith(f"there, {world.data / 'ImageNetV2-matched-frequency'}\n")
    assert not world.net.asked


def test_an_archive_of_two_sets_is_downloaded_once(world: World) -> None:
    files = {
        "imagenet-vid-robust/val/x/0.jpg": b"x",
        "imagenet-vid-robust/metadata/labels.json": b"{}",
        "imagenet-vid-robust/misc/wnid_map.json": b"{}",
        "ytbb-robust/ytbb_videos/y/0.jpg": b"y",
    }
    shared = packed("imagenet_vid_ytbb_robust/", files)
    archive = world.archive("both.tar.gz", shared, into="imagenet_vid_ytbb_robust")
    world.card("imagenet-vid-robust", archive)
    world.card("ytbb-robust", archive, metadata=())
    result = world.run("download", "imagenet-vid-robust", "ytbb-robust")
    assert result.code == 0, result.err
    assert len(world.net.asked) == 1
    assert world.kept == in_folder("imagenet_vid_ytbb_robust", files)


def test_an_archive_with_other_folders_is_said(world: World) -> None:
    world.card("objectnet", world.archive("o.zip", ENCRYPTED, into="objectnet-1.0"))
    result = world.run("download", "objectnet", "--accept-terms", "--password", "open sesame")
    for part in ("images", "mappings"):
        assert str(world.data / "objectnet-1.0" / part) in result.err


def test_a_file_got_otherwise_may_be_put_there(world: World) -> None:
    world.card("imagenet-sketch", world.archive("s.tar.gz", packed(), into="sketch"))
    content = world.net.files.pop("s.tar.gz").content
    result = world.run("download", "imagenet-sketch")
    folder = world.data / "bench-downloads" / "imagenet-sketch"
    for text in (
        "HTTP 404",
        "s.tar.gz got otherwise",
        str(folder),
        "'bench show set:imagenet-sketch'",
    ):
        assert text in result.err
    write(folder, {"s.tar.gz": content})
    assert world.run("download", "imagenet-sketch").code == 0


def test_the_next_archive_of_the_same_content_is_taken(world: World) -> None:
    gone = world.archive("archive.tar.gz", b"", size="unknown", into="iwildcam_v2.0")
    world.net.files.clear()
    mirror = world.archive("mirror.tar.gz", packed("iwildcam_v2.0/"), into="iwildcam_v2.0")
    world.card("wilds-iwildcam", gone, mirror, prompts=())
    result = world.run("download", "wilds-iwildcam")
    assert result.code == 0, result.err
    assert world.kept == in_folder("iwildcam_v2.0")


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        (File(b"<html>log in</html>" * 50, kind="text/html"), 4, "an HTML page"),
        (File(packed()[:-30]), 4, "bytes, expected"),
        (File(bytes(len(packed()))), 4, "something else that begins with"),
        (File(packed("other/")), 4, "expected"),
        (None, 1, "HTTP 404"),
    ],
)
def test_what_is_no_data_has_an_exit_code_of_its_own(
    world: World, file: File | None, code: int, said: str
) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    if file is None:
        world.net.files.clear()
    else:
        world.net.files["a.tar.gz"] = file
    result = world.run("download", "imagenet-a")
    assert result.code == code
    assert result.out == "" and said in result.err
    assert result.err.startswith("bench: imagenet-a: ") and result.err.count("\n") == 1
    assert not world.kept


def test_files_that_are_no_archives_go_into_their_folder(world: World) -> None:
    world.card(
        "cifar-10.1",
        world.archive("data.npy", b"\x93NUMPY data", holds="images", into="CIFAR-10.1"),
        world.archive("labels.npy", b"\x93NUMPY labels", holds="labels", into="CIFAR-10.1"),
    )
    for _ in range(2):
        assert world.run("download", "cifar-10.1").code == 0
    assert world.kept.keys() == {"CIFAR-10.1/data.npy", "CIFAR-10.1/labels.npy"}
    assert len(world.net.asked) == 2
    write(world.data, {"CIFAR-10.1/data.npy": b"\x93NUMPY atad"})
    result = world.run("download", "cifar-10.1")
    assert result.code == 4 and "has sha256" in result.err


def test_a_part_that_fails_stops_no_other(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    world.card("imagenet-r", world.archive("r.tar.gz", packed(), into="imagenet-r"))
    del world.net.files["a.tar.gz"]
    result = world.run("download", "imagenet-a", "imagenet-r")
    assert result.code == 1
    assert "imagenet-r: test: unpacked" in result.out
    assert "HTTP 404" in result.err
    assert result.err.splitlines()[-1].startswith("bench: 1 of 2 data sets are incomplete")


# Terms and passwords


def gated(world: World) -> None:
    archive = world.archive("objectnet-1.0.zip", ENCRYPTED, into="objectnet-1.0")
    world.card("objectnet", archive)


def test_gated_sets_need_acceptance(world: World) -> None:
    gated(world)
    result = world.run("download", "objectnet")
    assert result.code == 2
    for text in ("CC BY 4.0", "never use it to tune", "red border", "--accept-terms",
                 "https://objectnet.dev/"):  # fmt: skip
        assert text in result.err
    assert not world.net.asked and not world.kept


@pytest.mark.parametrize(("reply", "code"), [("n\n", 2), ("y\n", 2), ("", 130)])
def test_terms_are_asked_for_at_a_terminal(
    world: World, monkeypatch: pytest.MonkeyPatch, reply: str, code: int
) -> None:
    gated(world)
    terminal = io.StringIO(reply)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    result = world.run("download", "objectnet")
    assert result.code == code
    asked = "--password" if reply == "y\n" else "terms not accepted" if reply else "interrupted"
    assert asked in result.err
    assert bool(world.net.asked) == (reply == "y\n")


def test_a_password_is_used_and_stored_nowhere(world: World) -> None:
    gated(world)
    accepted = ("download", "objectnet", "--accept-terms")
    for extra in ((), ("--password", "close sesame")):
        result = world.run(*accepted, *extra)
        assert result.code == 2 and "password" in result.err
    result = world.run(*accepted, "--password", "open sesame")
    assert result.code == 0, result.err
    assert world.kept == {"objectnet-1.0/set/secret.txt": b"robust\n" * 200}
    assert len(world.net.asked) == 1
    assert not any(b"open sesame" in content for content in found(world.data).values())


def test_a_password_may_be_typed_unseen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gated(world)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: "open sesame")
    assert world.run("download", "objectnet", "--accept-terms", "--password").code == 0


# Prompts


def test_prompts_and_metadata_are_fetched_by_either_command(world: World) -> None:
    prompt = world.archive("a.py", b"a_template = []", into="bench-prompts/wilds-fmow")
    labels = world.archive("b.json", b"[]", into="bench-metadata/wilds-fmow")
    archive = world.archive("archive.tar.gz", packed(), into="fmow_v1.1", holds="all splits")
    world.card("wilds-fmow", archive, prompts=(prompt,), metadata=(labels,))
    for _ in range(2):
        assert world.run("prepare", "wilds-fmow").code == 0
    assert world.kept == {
        "bench-prompts/wilds-fmow/a.py": b"a_template = []",
        "bench-metadata/wilds-fmow/b.json": b"[]",
    }
    assert world.run("download", "wilds-fmow").code == 0
    assert world.kept.keys() >= in_folder("fmow_v1.1").keys()
    assert len(world.net.asked) == 3
    write(world.data, {"bench-prompts/wilds-fmow/a.py": b"a_template = ()"})
    result = world.run("prepare", "wilds-fmow")
    assert result.code == 4 and "has sha256" in result.err


def test_small_official_files_are_prepared_too(world: World) -> None:
    names = world.archive("names.txt", b"names", into="imagenet_class_hierarchy/modified")
    world.card("entity-30", names)
    assert world.run("prepare", "entity-30").code == 0
    assert world.kept == {"imagenet_class_hierarchy/modified/names.txt": b"names"}


def test_a_set_with_nothing_to_prepare(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    assert world.run("prepare", "imagenet-a").out == "imagenet-a: nothing to prepare\n"


# Names and folders


def test_unknown_names_suggest_the_nearest(world: World) -> None:
    world.cards |= cards()
    assert_refused(world.run("download", "imagenet-v3"), "did you mean 'imagenet-v2'?")
    assert_refused(world.run("download", "--suite", "cifar11"), "did you mean 'cifar10'?")


def test_the_data_folder_must_be_named_and_there(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    assert_refused(bench("data", "download", "imagenet-a"), "--data", "$BENCH_DATA")
    away = world.data / "away"
    assert_refused(bench("data", "download", "imagenet-a", "--data", away), "does not exist")


def test_real_data_is_not_mixed_with_synthetic_copies(world: World) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    (world.data / "synthetic.json").write_text("{}")
    assert_refused(world.run("download", "imagenet-a"), "holds synthetic copies")
    assert_refused(world.run("prepare", "imagenet-a"), "holds synthetic copies")


def test_partitions_are_not_there_because_the_images_are(world: World) -> None:
    images = world.archive("SUN397.tar.gz", packed("SUN397/"), into="SUN397", holds="all images")
    split = world.archive(
        "p.tar.gz", packed("", {"Training_01.txt": b"x"}), into="SUN397-partitions", holds="split"
    )
    world.card("sun397", images, split, prompts=())
    assert world.run("download", "sun397").out.count("unpacked") == 2
    assert world.run("download", "sun397").out.count(": there,") == 2


def test_the_data_folder_may_be_of_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.card("imagenet-a", world.archive("a.tar.gz", packed(), into="imagenet-a"))
    monkeypatch.setenv("BENCH_DATA", str(world.data))
    assert bench("data", "download", "imagenet-a").code == 0
    assert world.kept == in_folder("imagenet-a")
