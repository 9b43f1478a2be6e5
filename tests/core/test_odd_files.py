"""Pipes, devices and endless files in place of those that bench itself wrote: no read waits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Finished, bench

from bench.core.store import MissingOutput, Store
from bench.core.store.container import UnreadableOutput
from bench.data.readers.fingerprints import file_digest
from bench.report.figures import rasterize


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Fail where a read waits for a writer that never comes."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def replaced(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_a_pipe_in_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_arrays("fits", "1f0c", {"b": np.array([0.4])})
    store.write_arrays("weights", "1f0c", {"b": np.array([0.4])})
    store.write_cells("9d8c", {"1f0c": {"top1": 0.786}})
    for kind, key, suffix in (
        ("fits", "1f0c", ".safetensors"),
        ("weights", "1f0c", ".safetensors"),
        ("cells", "9d8c", ".json"),
    ):
        replaced(store.path(kind, key, suffix))
    with pytest.raises(UnreadableOutput, match=r"fits/1f/1f0c.safetensors cannot be read: it is a"):
        store.read("fits", "1f0c")
    with pytest.raises(UnreadableOutput, match="a pipe"):
        Store(tmp_path).read_cell("9d8c", "1f0c")
    with pytest.raises(UnreadableOutput, match="a pipe"):
        store.damaged("1f0c")
    with pytest.raises(MissingOutput, match="1f0c"):
        store.device("1f0c")


def test_an_output_that_got_longer_is_damaged_and_not_read_to_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_arrays("fits", "1f0c", {"b": np.array([0.4])})
    os.truncate(store.path("fits", "1f0c"), 2**40)  # a terabyte, of which the disk holds nothing
    assert store.read("fits", "1f0c") is None
    assert not store.has("fits", "1f0c")


def test_a_pipe_for_a_digest(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    digest = file_digest(weights, tmp_path)
    for path in list((tmp_path / "index").iterdir()):
        replaced(path)
    assert file_digest(weights, tmp_path) == digest


@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_what_is_no_result_may_be_anything(what: str, own: Finished) -> None:
    (rates,) = (own.cache / "rates").iterdir()
    replaced(rates)
    if what == "a device":
        rates.unlink()
        rates.symlink_to("/dev/zero")
    replaced(own.out / "timings.jsonl")
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 0, result.err


def test_a_damaged_script_is_bundled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    rasterize.vega_script.cache_clear()
    script = rasterize.vega_script()
    (path,) = (tmp_path / "scripts").iterdir()
    for damage in (lambda b: b[: len(b) // 2], lambda b: b[:-9] + b"\xff" * 9, lambda b: b""):
        path.write_bytes(damage(path.read_bytes()))
        rasterize.vega_script.cache_clear()
        assert rasterize.vega_script() == script


def test_a_damaged_output_that_cannot_be_removed_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.write_arrays("fits", "1f0c", {"b": np.array([0.4])})
    store.path("fits", "1f0c").write_bytes(b"damaged")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UnreadableOutput, match=r"1f0c.safetensors is damaged .* cannot be removed"):
        store.read("fits", "1f0c")
    assert "recomputing" not in caplog.text
