"""Shapes in array files that NumPy itself would take, and no image could have."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.paths import local_path
from bench.data.readers.npy import array_header


def npy(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + bytes(48)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shape", ["(True, 4, 4, 3)", "(1, 4, True, 3)"])
def test_a_boolean_is_no_size(shape: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("images.npy", npy(shape))
    path.write_bytes(npy(shape) if suffix == ".npy" else packed.getvalue())
    with pytest.raises(InputError, match=rf"x{suffix}.* not in the {suffix} format"):
        array_header(path, "images")


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="the working folder is gone"):
        local_path("x", "output folder")
