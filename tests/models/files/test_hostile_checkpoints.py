"""Checkpoints that are damaged or made to hurt are refused; odd tensors are named."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import PICKLES, damaged, readable_or_refused, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from released import classifier, pickled, tower, zipped
from safetensors.torch import save as save_safetensors
from torch import Tensor

from bench.core.foreign import expansion
from bench.data.mini.model import load_tiny
from bench.models.clip import identify_backbone
from bench.models.files import containers
from bench.models.files.backbone import load_file
from bench.models.files.containers import read_candidates
from bench.models.wise_ft_checkpoints import read_classifier

PLAIN: Mapping[str, Tensor] = load_tiny().state_dict()
FIRST = "visual.trunk.stem.0.weight"


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def load(path: Path) -> None:
    load_file(identify_backbone("tiny", str(path), path.parent / "cache"))


def changed(**tensors: Tensor) -> bytes:
    return saved({**PLAIN, **tensors})


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "NaN": (lambda w: w * float("nan"), "not finite (384 NaN of 384)"),
    "infinite": (lambda w: w / 0, "infinite of 384"),
    "too large": (lambda w: 0 * w.double() + 1e300, "(384 too large for float32 of 384)"),
    "whole": (lambda w: w.long(), "has whole numbers (torch.int64)"),
    "truth": (lambda w: w.bool(), "has true or false (torch.bool)"),
    "complex": (lambda w: w.to(torch.complex64), "is complex (torch.complex64)"),
    "quantised": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "is quantised"),
    "sparse": (lambda w: w.to_sparse(), "is sparse"),
    "no values": (lambda w: torch.empty(w.shape, device="meta"), "is without values"),
    "expanded": (lambda w: w.new_zeros(1).expand(10**6, 10**6), "from 4 bytes to 4e+03 GB"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_odd_tensors_are_named_with_their_kind(name: str, tmp_path: Path) -> None:
    odd, said = ODD[name]
    (tmp_path / "w.pt").write_bytes(changed(**{FIRST: odd(PLAIN[FIRST])}))
    told = refused(lambda: load(tmp_path / "w.pt"), "w.pt", FIRST, said)
    assert "training" not in told


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (torch.tensor(float("nan")), "logit_scale has values that are not finite (1 NaN of 1)"),
        (torch.tensor(float("inf")), "logit_scale has values that are not finite (1 infinite of"),
        (torch.tensor(4), "logit_scale has whole numbers"),
        (torch.tensor(4j), "logit_scale is complex"),
    ],
)
def test_an_odd_scale_is_not_laid_to_training(scale: Tensor, said: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(changed(logit_scale=scale))
    told = refused(lambda: load(tmp_path / "w.pt"), said)
    assert "diverge" not in told


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """A torch archive with other contents of its members, compressed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as before,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return buffer.getvalue()


@pytest.mark.parametrize("name", sorted(PICKLES.keys() - {"shared lists", "other code"}))
@pytest.mark.parametrize("form", ["archive", "plain"])
def test_pickle_bombs(name: str, form: str, tmp_path: Path) -> None:
    data = PICKLES[name][0]
    if form == "archive":
        archive = saved({"w": torch.zeros(2)})
        data = repacked(archive, lambda n, old: data if n.endswith("data.pkl") else old)  # type: ignore[misc]
    (tmp_path / "w.pt").write_bytes(data)
    refused(lambda: read_candidates(tmp_path / "w.pt"), "w.pt has no weights", PICKLES[name][1])
    refused(lambda: read_classifier(tmp_path / "w.pt"), "not a checkpoint", PICKLES[name][1])


def test_an_archive_of_compressed_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "FREE", 2**20)
    data = repacked(saved({"w": torch.zeros(2**22)}), lambda _, old: old)
    (tmp_path / "w.pt").write_bytes(data)
    for read in (read_candidates, read_classifier):
        refused(lambda read=read: read(tmp_path / "w.pt"), "more than 200 times as much")  # type: ignore[misc]


def test_dictionaries_that_name_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAPPINGS", 1000)
    inner: dict[str, Any] = {"w": torch.zeros(1)}
    for _ in range(2):
        inner = {str(n): inner for n in range(50)}
    torch.save(inner, tmp_path / "w.pt")
    refused(lambda: read_candidates(tmp_path / "w.pt"), "w.pt has more than 1,000 dictionaries")


@pytest.mark.parametrize("read", [load, read_candidates, read_classifier])
def test_pipes_and_devices(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    os.mkfifo(path)
    if read is not load:  # a pipe is no file, so it is taken for a tag
        refused(lambda: read(path), "it is a pipe")
        path.unlink()
        path.symlink_to("/dev/zero")
        refused(lambda: read(path), "it is a device")


SMALL = OrderedDict(w=torch.zeros(3), b=torch.ones(2, dtype=torch.float16))
VALID = {
    "archive": saved({"state_dict": SMALL, "epoch": 3}),
    "old": saved({"state_dict": SMALL}, _use_new_zipfile_serialization=False),
    "pickle": pickle.dumps({"a": [1, 2]}),
    "safetensors": save_safetensors(SMALL),
}


def released(save: Callable[[object, Path], None], path: Path) -> bytes:
    save(classifier(tower(8, 8, 16, 1, 4), 4), path)
    read_classifier(path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VALID)
@given(st.data())
@settings(max_examples=30)
def test_damaged_checkpoints_are_read_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{name}.pt"
    path.write_bytes(data.draw(damaged(VALID[name])))
    readable_or_refused(lambda: read_candidates(path))
    readable_or_refused(lambda: read_classifier(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("save", [pickled(3), pickled(4), zipped])
def test_damaged_classifiers_are_read_or_refused(
    save: Callable[[object, Path], None], tmp_path: Path
) -> None:
    valid = released(save, tmp_path / "whole.pt")

    @given(damaged(valid))
    @settings(max_examples=30)
    def check(data: bytes) -> None:
        (tmp_path / "w.pt").write_bytes(data)
        readable_or_refused(lambda: read_classifier(tmp_path / "w.pt"))
        readable_or_refused(lambda: read_candidates(tmp_path / "w.pt"))

    check()


def test_a_tensor_that_a_file_has_twice(tmp_path: Path) -> None:
    data = save_safetensors({n: t.contiguous() for n, t in PLAIN.items()})
    end = 8 + int.from_bytes(data[:8], "little")
    text = data[8:end].decode().rstrip()
    start = text.index(f'"{FIRST}":')
    header = (text[:-1] + "," + text[start : text.index("}", start) + 1] + "}").encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])
    refused(lambda: load(path), "a.safetensors", f"{FIRST}' more than once")


class Gigabytes:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10**11,)


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_call_for_gigabytes(as_zip: bool, tmp_path: Path) -> None:
    """torch's own restricted reader makes a bytearray of any size."""
    path = tmp_path / "a.pt"
    more = {**PLAIN, "more": Gigabytes()}
    path.write_bytes(saved(more, _use_new_zipfile_serialization=as_zip))
    refused(lambda: load(path), "a.pt", "bytearray")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_a_zip_has_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved(PLAIN))
    with zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if "/data/" in name)
        archive.writestr(name, bytes(len(archive.read(name))))
    refused(lambda: load(path), "a.pt", "has a member twice")


SMALL = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.bias": torch.arange(5.0)}


def scripted() -> bytes:
    module = torch.nn.Linear(4, 3)
    module.load_state_dict({"weight": SMALL["a.weight"], "bias": SMALL["b.bias"][:3]})
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("save", [lambda: saved(SMALL), scripted], ids=["saved", "scripted"])
def test_a_flipped_bit_is_refused_or_changes_no_weight(
    save: Callable[[], bytes], tmp_path: Path
) -> None:
    """PyTorch does not compare the checksums of its zips: flips in weights were other weights."""
    path, valid = tmp_path / "w.pt", save()
    path.write_bytes(valid)
    expected = read_candidates(path)

    @given(st.integers(0, len(valid) - 1), st.integers(0, 7))
    @settings(max_examples=150)
    def check(place: int, bit: int) -> None:
        path.write_bytes(valid[:place] + bytes([valid[place] ^ 1 << bit]) + valid[place + 1 :])
        if readable_or_refused(lambda: read_candidates(path)) is None:
            torch.testing.assert_close(read_candidates(path), expected, rtol=0, atol=0)

    check()


def test_each_flipped_bit_of_a_weight_is_named(tmp_path: Path) -> None:
    valid = saved(SMALL)
    start = valid.index(SMALL["a.weight"].numpy().tobytes())
    for place in range(start, start + SMALL["a.weight"].nbytes):
        changed_at = valid[:place] + bytes([valid[place] ^ 1]) + valid[place + 1 :]
        (tmp_path / "w.pt").write_bytes(changed_at)
        refused(lambda: read_candidates(tmp_path / "w.pt"), "w.pt is damaged", "data/0", "CRC-32")


def test_a_file_without_checksums_is_refused(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "w.pt").write_bytes(saved(SMALL))
    finally:
        torch.serialization.set_crc32_options(True)
    refused(lambda: read_candidates(tmp_path / "w.pt"), "without checksums", "set_crc32_options")
