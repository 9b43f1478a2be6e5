"""Binary files of CIFAR and STL are read correctly, and pickles run no code."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_files import noise, pixels, refused, save

from bench.data.readers import pickles
from bench.data.readers.cifar_stl import STL_CLASSES, cifar100, cifar102, cifar_batches, stl10
from bench.data.readers.pickles import read_pickle

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def python2(value: Any) -> bytes:
    """Return a pickle as Python 2 wrote it: byte strings and old names of NumPy's functions."""
    raw = pickle.dumps(value, protocol=0)
    return raw.replace(b"numpy._core.", b"numpy.core.")


def cifar(folder: Path, files: dict[str, tuple[Any, Any]], kind: int = 10) -> Path:
    folder.mkdir(parents=True)
    names = list(TEN) if kind == 10 else [f"class_{i}" for i in range(100)]
    key, meta = ("", "batches.meta") if kind == 10 else ("fine_", "meta")
    for name, (images, labels) in files.items():
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        batch = {"data": rows, f"{key}labels": labels, "batch_label": name}
        (folder / name).write_bytes(python2(batch))
    (folder / meta).write_bytes(python2({f"{key}label_names": names}))
    return folder


def test_cifar_batches_follow_one_another(tmp_path: Path, cache: Path) -> None:
    one, two = noise(3, 32, 32, 3), noise(2, 32, 32, 3, seed=1)
    files = {"data_batch_1": (one, [0, 9, 3]), "data_batch_2": (two, [1, 2])}
    arrays = cifar_batches(cifar(tmp_path / "cifar", files), ["data_batch_1", "data_batch_2"])
    assert np.array_equal(pixels(arrays, cache), np.concatenate([one, two]))
    assert arrays.labels.tolist() == [0, 9, 3, 1, 2]
    assert arrays.classes == TEN


def test_cifar100_has_fine_labels(tmp_path: Path, cache: Path) -> None:
    images = noise(3, 32, 32, 3)
    arrays = cifar100(cifar(tmp_path / "c", {"test": (images, [0, 99, 5])}, 100), "test")
    assert np.array_equal(pixels(arrays, cache), images)
    assert (arrays.labels.tolist(), arrays.classes[99]) == ([0, 99, 5], "class_99")


def test_torchvision_reads_the_same(tmp_path: Path, cache: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    images = noise(3, 32, 32, 3)
    cifar(tmp_path / "cifar-10-batches-py", {"test_batch": (images, [0, 9, 3])})
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    noise(2, 3, 96, 96).tofile(folder / "test_X.bin")
    np.array([10, 1], np.uint8).tofile(folder / "test_y.bin")

    class Cifar(datasets.CIFAR10):  # type: ignore[misc, name-defined]
        def _check_integrity(self) -> bool:
            return True

        def _load_meta(self) -> None:
            pass

    class Stl(datasets.STL10):  # type: ignore[misc, name-defined]
        def _check_integrity(self) -> bool:
            return True

    theirs = Cifar(str(tmp_path), train=False)
    ours = cifar_batches(tmp_path / "cifar-10-batches-py", ["test_batch"])
    assert np.array_equal(pixels(ours, cache), theirs.data)
    assert ours.labels.tolist() == theirs.targets
    other, mine = Stl(str(tmp_path), split="test"), stl10(folder, "test")
    assert np.array_equal(pixels(mine, cache), [np.asarray(image) for image, _ in other])
    assert mine.labels.tolist() == [int(label) for _, label in other] == [9, 0]
    assert mine.only(["truck"]).labels.tolist() == [0]
    assert len(STL_CLASSES) == 10


@pytest.mark.parametrize("names", [list(TEN), np.array(TEN), np.array(TEN, dtype=object)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_both_forms_of_cifar102(tmp_path: Path, cache: Path, suffix: str, names: Any) -> None:
    content = {"images": noise(3, 32, 32, 3), "labels": np.array([0, 9, 3]), "label_names": names}
    path = save(tmp_path / f"cifar102_test{suffix}", content, **content)
    arrays = cifar102(path)
    assert np.array_equal(pixels(arrays, cache), content["images"])
    assert (arrays.labels.tolist(), arrays.classes) == ([0, 9, 3], TEN)


class Evil:
    """An object that runs a program if it is unpickled without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_pickle_runs_anything(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    evil = pickle.dumps({"data": Evil(ran)})
    folder = tmp_path / "cifar"
    cifar(folder, {"test_batch": (noise(1, 32, 32, 3), [0])})
    (folder / "test_batch").write_bytes(evil)
    refused(lambda: cifar_batches(folder, ["test_batch"]), "test_batch", "posix.mkdir")
    for suffix in (".npy", ".npz"):
        content = {"images": Evil(ran), "labels": Evil(ran), "label_names": Evil(ran)}
        path = save(tmp_path / f"x{suffix}", content, **content)
        refused(lambda path=path: cifar102(path), path, "posix.mkdir")  # type: ignore[misc]
    assert not ran.exists()


def build(*opcodes: bytes) -> bytes:
    raw = b"\x80\x02" + b"".join(opcodes) + b"."
    pickletools.dis(raw, out=io.StringIO())
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        build(b"cnumpy.core.multiarray\n_reconstruct\n", b"}U\x01aK\x01sb"),  # alters a function
        build(b"cnumpy\ndtype\n", b"}U\x01aK\x01sb"),
        build(b"cbuiltins\ngetattr\n"),
        build(b"cnumpy\ndtype.mro\n"),
        build(b"cnumpy\nndarray\n", b"K\x05\x85R"),
    ],
)
def test_names_are_neither_imported_nor_altered(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(raw)
    before = {key: dict(vars(value)) for key, value in vars(pickles).items() if callable(value)}
    refused(lambda: read_pickle(path), path)
    after = {key: dict(vars(value)) for key, value in vars(pickles).items() if callable(value)}
    assert before == after


def test_pickles_of_arrays_of_all_kinds(tmp_path: Path) -> None:
    content = {
        "f": np.asfortranarray(noise(3, 4)), "big": np.arange(3, dtype=">i4"),
        "e": np.zeros((0, 2)),
        "s": np.array(["ab", "c"]), "o": np.array([1, None], object), "n": np.float32(1.5),
        "t": (1, "x"), "b": b"\xff\x00",
    }  # fmt: skip
    path = tmp_path / "x"
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps(content, protocol))
        found = read_pickle(path)
        for key in ("f", "big", "e", "s"):
            assert np.array_equal(found[key], content[key]), key  # type: ignore[arg-type]
        assert [found["o"], found["n"], found["t"]] == [[1, None], 1.5, [1, "x"]]
        assert found["b"] == b"\xff\x00"


@pytest.mark.parametrize("size", [0, 1, 40, 3000])
def test_a_pickle_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    folder = cifar(tmp_path / "cifar", {"test_batch": (noise(1, 32, 32, 3), [0])})
    path = folder / "test_batch"
    path.write_bytes(path.read_bytes()[:size])
    refused(lambda: cifar_batches(folder, ["test_batch"]), path, "truncated")


def test_batches_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image = noise(2, 32, 32, 3)
    folder = cifar(
        tmp_path / "cifar",
        {"few": (image, [0]), "high": (image, [0, 10]), "none": (image, None),
         "big": (noise(1, 33, 32, 3), [0])},
    )  # fmt: skip
    for name, part in {
        "few": "1 labels for 2 images", "high": "image 1 has the label 10", "none": "integers",
        "big": "uint8 [N, 3072]", "gone": "No such file",
    }.items():  # fmt: skip
        refused(lambda name=name: cifar_batches(folder, [name]), folder / name, part)  # type: ignore[misc]
    (folder / "few").write_bytes(pickle.dumps([1]))
    refused(lambda: cifar_batches(folder, ["few"]), "holds a list", "dictionary")
    (folder / "batches.meta").write_bytes(pickle.dumps({}))
    refused(lambda: cifar_batches(folder, ["high"]), "batches.meta", "label_names")


def test_stl_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    noise(2 * 3 * 96 * 96).tofile(tmp_path / "test_X.bin")
    for labels, part in (
        ([1], "55,296 bytes: expected 27,648"),
        ([0, 11], "image 0 has the label -1"),
    ):
        np.array(labels, np.uint8).tofile(tmp_path / "test_y.bin")
        refused(lambda: stl10(tmp_path, "test"), part)
    refused(lambda: stl10(tmp_path, "train"), "train_X.bin")


def test_cifar102_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    good = {"images": noise(2, 32, 32, 3), "labels": np.array([0, 1]), "label_names": list(TEN)}
    for key, wrong in (("images", noise(3, 32, 32, 3)), ("images", good["images"][:, 0]),
                       ("labels", np.array([0, 10])), ("labels", None)):  # fmt: skip
        for suffix in (".npy", ".npz"):
            content = good | {key: wrong}
            path = save(tmp_path / f"x{suffix}", content, **content)
            refused(lambda path=path: cifar102(path), path)  # type: ignore[misc]
    refused(lambda: cifar102(save(tmp_path / "a.npy", {"images": 1})), "a.npy", "label_names")
    refused(lambda: cifar102(save(tmp_path / "a.npy", np.zeros(3))), "a.npy", "dictionary")
