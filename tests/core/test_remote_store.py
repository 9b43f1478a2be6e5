"""The store on S3: what is uploaded, copied and asked for, and what happens when that fails."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from buckets import S3, remote_files
from commands import bench

from bench.core.errors import DataError, InputError
from bench.core.store import Store
from bench.core.store.bucket import Bucket, StoredObject
from bench.core.store.opening import store_at
from bench.core.store.upkeep import remote_files as listed

HISTORY = [{"epoch": 1, "loss": 0.7}]
MIB = 2**20


def fill(store: Store) -> None:
    """Store one output of each kind of file."""
    store.write_arrays("distances", "1f0c", {"distance": np.ones(3, dtype=np.float32)})
    store.write_json("trainings", "1f0c", HISTORY)
    store.write_block("1f0c", 0, np.zeros((1024, 2), dtype=np.float32), "cpu")
    store.write_block("1f0c", 1, np.ones((6, 2), dtype=np.float32), "cpu")


def large(store: Store, key: str = "1f0c") -> bytes:
    """Store weights of 12 MiB; return the file."""
    values = np.random.default_rng(0).integers(0, 255, 12 * MIB).astype(np.uint8)
    store.write_arrays("weights", key, {"encoder.w": values})
    return store.path("weights", key).read_bytes()


def test_another_machine_reads_what_one_has_stored(s3: S3) -> None:
    one, other, local = s3.store("one"), s3.store("other"), Store(s3.folder / "local")
    for store in (one, local):
        fill(store)
    assert other.has("distances", "1f0c") and not other.has("distances", "2e1d")
    assert other.read_json("trainings", "1f0c") == HISTORY
    assert other.blocks("1f0c", 3000) == [2] and other.device("1f0c") == "cpu"
    features = other.read_features("1f0c", 1030)
    assert features is not None and features.sum() == 12
    files = {p.relative_to(local.root).as_posix(): p for p in local.root.rglob("*") if p.is_file()}
    assert s3.objects() == {name: path.read_bytes() for name, path in files.items()}
    one.discard("distances", "1f0c")
    other.files.forget()
    assert other.read("distances", "1f0c") is None  # its copy does not count


def test_nothing_is_stored_before_its_upload_has_ended(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.core.store.remote.PART", 5 * MIB)
    store = s3.store("one")
    for name in ("put", "put_file"):
        monkeypatch.setattr(Bucket, name, killed)
    for write in (fill, large):
        with pytest.raises(KeyboardInterrupt):
            write(store)
    assert not store.has("distances", "1f0c") and not store.has("weights", "1f0c")
    assert s3.objects() == {}
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_parts_of_an_upload_that_was_killed_are_no_output(s3: S3) -> None:
    address = s3.address().removeprefix("s3://")
    name = f"{address.partition('/')[2]}/weights/1f/1f0c.safetensors"
    system = s3.system
    begun = system.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=name)
    system.call_s3("upload_part", Bucket=s3.bucket, Key=name, PartNumber=1, Body=b"x" * 5 * MIB,
                   UploadId=begun["UploadId"])  # fmt: skip
    store = s3.store("one")
    assert not store.has("weights", "1f0c")
    stored = large(store)
    assert s3.objects()["weights/1f/1f0c.safetensors"] == stored


def test_large_files_go_and_come_in_parts_and_a_download_is_gone_on_with(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("bucket", "remote"):
        monkeypatch.setattr(f"bench.core.store.{module}.PART", 5 * MIB)
    stored = large(s3.store("one"))
    assert [m for m, _ in s3.asked].count("PUT") == 3  # parts
    other, get, sizes = s3.store("other"), Bucket.get, list[int]()

    def broken(bucket: Bucket, name: str, start: int, end: int) -> bytes:
        if start >= 10 * MIB and len(sizes) < 3:
            raise DataError("the network failed")
        sizes.append(end - start)
        return get(bucket, name, start, end)

    monkeypatch.setattr(Bucket, "get", broken)
    with pytest.raises(DataError):
        other.read("weights", "1f0c")
    assert sizes == [5 * MIB, 5 * MIB] and not other.path("weights", "1f0c").exists()
    sizes.append(0)
    assert other.read("weights", "1f0c") == stored
    assert sizes[3:] == [len(stored) - 10 * MIB]
    assert other.read("weights", "1f0c") == stored and len(sizes) == 4  # the copy serves
    assert not [p for p in (other.root / "parts").iterdir() if p.suffix != ".lock"]


def test_only_the_beginning_of_large_weights_is_read_for_their_facts(s3: S3) -> None:
    one, other = s3.store("one"), s3.store("other")
    large(one)
    other.write_block("2e1d", 0, np.zeros((5, 2), dtype=np.float32), "cpu", made_of=["1f0c"])
    assert other.made_otherwise("2e1d", ["1f0c"]) == [] == one.made_otherwise("2e1d", ["1f0c"])
    kept = [path for path in other.root.rglob("*1f0c*") if path.is_file()]
    assert [path.stat().st_size < MIB for path in kept] == [True]
    one.write_arrays("weights", "1f0c", {"encoder.w": np.zeros(12 * MIB, dtype=np.uint8)})
    other.files.forget()
    assert len(other.made_otherwise("2e1d", ["1f0c"])) == 1  # its new beginning was read


@pytest.mark.parametrize("damage", [b"", b"{}", b"cut", b"other"])
def test_a_damaged_object_is_removed_and_absent(s3: S3, damage: bytes) -> None:
    one, other = s3.store("one"), s3.store("other")
    fill(one)
    path = f"{s3.address()}/trainings/1f/1f0c.json"
    good = s3.system.cat_file(path)
    s3.system.pipe_file(path, {b"cut": good[:-9], b"other": good.replace(b"1f0c", b"2e1d")}.get(
        damage, damage))  # fmt: skip
    assert other.read_json("trainings", "1f0c") is None
    assert "trainings/1f/1f0c.json" not in s3.objects()
    one.files.forget()
    assert one.read_json("trainings", "1f0c") is None  # though its copy is good
    other.write_json("trainings", "1f0c", HISTORY)
    one.files.forget()
    assert one.read_json("trainings", "1f0c") == HISTORY


def test_a_damaged_copy_is_fetched_again(s3: S3) -> None:
    store = s3.store("one")
    fill(store)
    path = store.path("trainings", "1f0c", ".json")
    for _ in range(2):
        times = path.stat().st_mtime
        path.write_bytes(path.read_bytes().replace(b"0.7", b"0.6"))
        os.utime(path, (times, times))  # as a broken disk leaves it
        assert store.read_json("trainings", "1f0c") == HISTORY
        assert "trainings/1f/1f0c.json" in s3.objects()


def test_a_pack_that_another_machine_has_written_is_read_again(s3: S3) -> None:
    one, other = s3.store("one"), s3.store("other")
    cell = {"value": 0.5, "data": None, "temperature": None, "trained": {}, "weight": 1.0}
    cell |= {"n": 4, "environment": {}, "devices": ["cpu"]}
    one.write_cells("9d8c", {"1f0c": cell})
    assert other.read_cell("9d8c", "1f0c") == cell
    other.write_cells("9d8c", {"2e1d": cell})
    with one.files.looking_again():
        assert one.read_cell("9d8c", "2e1d") == cell == one.read_cell("9d8c", "1f0c")
    other.write_cells("9d8c", {"3d2e": cell})
    one.write_cells("9d8c", {"4c3f": cell})  # its listing is older
    other.files.forget()
    assert all(other.read_cell("9d8c", key) == cell for key in ("1f0c", "2e1d", "3d2e", "4c3f"))


def test_an_object_that_was_replaced_since_it_was_listed_is_not_taken_for_a_damaged_one(
    s3: S3,
) -> None:
    one, other = s3.store("one"), s3.store("other")
    fill(one)
    assert other.files.exists(other.path("trainings", "1f0c", ".json"))
    for longer in (HISTORY * 2, HISTORY * 3):
        one.write_json("trainings", "1f0c", longer)
        assert other.read_json("trainings", "1f0c") == longer
        other.path("trainings", "1f0c", ".json").unlink()
        one.write_json("trainings", "1f0c", HISTORY)
        assert other.read_json("trainings", "1f0c") == HISTORY
    assert "trainings/1f/1f0c.json" in s3.objects()


def test_existence_is_asked_once_for_all_outputs_of_a_kind(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(s3.store("one"))
    other = s3.store("other")
    s3.clear()
    for number in range(3000):
        assert not other.has("fits", f"{number:04x}")
        assert other.blocks(f"{number:04x}", 2000) == [0, 1]
        assert other.read_cell(f"{number:04x}", "1f0c") is None
    assert s3.counts() == {"LIST": 3}
    with other.files.looking_again():
        other.has("fits", "1f0c")
    assert s3.counts() == {"LIST": 4}
    monkeypatch.setattr("bench.core.store.remote.LOOK", -1.0)
    monkeypatch.setattr("bench.core.store.remote.SHARE", 1e9)
    s3.store("one").write_arrays("fits", "1f0c", {}, {"choice": {}, "chosen_on": {}, "caveats": []})
    assert other.has("fits", "1f0c")  # a listing does not count for ever


def test_a_network_that_fails_for_a_while_does_no_harm(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failures = s3.store("one"), [2]
    plain = type(remote_files(store).bucket.system)._call_s3

    async def failing(system: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "put_object" and failures[0]:
            failures[0] -= 1
            raise OSError("connection reset")
        return await plain(system, method, *args, **kwargs)

    monkeypatch.setattr(type(remote_files(store).bucket.system), "_call_s3", failing)
    store.write_json("trainings", "1f0c", HISTORY)
    failures[0] = 3
    with pytest.raises(DataError, match=r"s3://.*/trainings/2e/2e1d.json: cannot write after 3"):
        store.write_json("trainings", "2e1d", HISTORY)
    assert not store.has("trainings", "2e1d")


def test_a_server_that_is_not_there(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=rf"{s3.address()}/tmp/: cannot list after 1 tries: .*127"):
        store_at(Path(s3.address()))


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    with pytest.raises(InputError, match="s3://no-such-bucket/x: there is no such bucket"):
        store_at(Path("s3://no-such-bucket/x"))


def test_credentials_that_are_missing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(InputError, match=rf"{s3.address()}: no credentials: .*AWS_PROFILE"):
        store_at(Path(s3.address()))


@pytest.mark.parametrize("package", ["fsspec", "s3fs"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(known, "s3", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r'pip install "robust-ft-bench\[s3\]"'):
        store_at(Path("s3://bucket/x"))


def test_other_addresses_are_taken_with_a_warning_if_their_package_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"gs://bucket/x: a package .*: install what fsspec needs"):
        store_at(Path("gs://bucket/x"))
    with pytest.raises(InputError, match="nowhere://bucket/x: Protocol not known"):
        store_at(Path("nowhere://bucket/x"))
    assert caplog.text == ""
    monkeypatch.setattr("bench.core.store.bucket.OWN", ())
    store = store_at(Path("memory://bucket/untested"), writes=True)
    assert "memory://bucket/untested: only stores at s3:// are tested" in caplog.text
    store.write_json("trainings", "1f0c", HISTORY)
    assert store.read_json("trainings", "1f0c") == HISTORY


def deny(s3: S3, *actions: str) -> None:
    rule = {"Effect": "Deny", "Principal": "*", "Action": [f"s3:{a}" for a in actions],
            "Resource": f"arn:aws:s3:::{s3.bucket}/*"}  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    s3.system.call_s3("put_bucket_policy", Bucket=s3.bucket, Policy=policy)


def test_a_bucket_that_may_only_be_read(s3: S3) -> None:
    fill(s3.store("one"))
    deny(s3, "PutObject", "DeleteObject")
    read_only = store_at(Path(s3.address()))
    assert read_only.read_json("trainings", "1f0c") == HISTORY
    for act in (lambda: store_at(Path(s3.address()), writes=True), lambda: fill(read_only)):
        with pytest.raises(InputError, match=rf"{s3.address()}/.*: may not write: .*right to do"):
            act()
    with pytest.raises(InputError, match="may not delete"):
        read_only.discard("distances", "1f0c")


def test_what_lies_in_a_bucket_is_listed_and_verified(s3: S3) -> None:
    store = s3.store("one")
    fill(store)
    files = {file.item: file for file in listed(remote_files(store))}
    assert files.keys() == {
        "distances/1f0c",
        "trainings/1f0c",
        *(f"features/1f0c/{n:06}" for n in (0, 1)),
    }
    assert all(abs(file.written - time.time()) < 1000 for file in files.values())


def test_what_a_run_replaces_while_it_is_verified_is_not_taken_for_damaged(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plain = s3.store("one"), Bucket.entries
    fill(store)

    def replaced(bucket: Bucket, prefix: str, **options: Any) -> dict[str, StoredObject]:
        found = plain(bucket, prefix, **options)
        if prefix == "trainings/":
            store.write_json("trainings", "1f0c", HISTORY * 3)
        return found

    monkeypatch.setattr(Bucket, "entries", replaced)
    result = bench("cache", "verify", "--remove", "--cache-dir", s3.address())
    assert result.code == 0 and "4 outputs read, 0 damaged" in result.out
    assert "trainings/1f/1f0c.json" in s3.objects()
