"""An address is not taken for a path, wherever a path is expected."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import yaml
from commands import assert_refused, bench

from bench.core.errors import InputError, one_line
from bench.core.foreign.documents import parse_yaml
from bench.core.paths import (
    cache_address,
    cache_dir,
    cache_path,
    check_writable,
    data_dir,
    default_cache_dir,
    local_path,
    write_atomic,
)
from bench.core.records import records_text
from bench.data.suites.from_yaml import load_suite_file
from bench.front.options import config_of
from bench.testing.fakes import fake_records

ADDRESSES = (
    "s3://bucket/data",
    "gs://bucket/data",
    "https://example.org/data.zip",
    "hf://datasets/pets",
    "file:///data",
    "abfs+ssl://a@b/c",
)
PATHS = ("data", "/data/pets", "C:/data", "a:b", "../x", "~/data", "ViT-B-32", "mini+corruptions=3")


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_as_text_and_as_path(address: str) -> None:
    for path in (address, Path(address)):
        with pytest.raises(InputError) as error:
            local_path(path, "--data")  # type: ignore[type-var]
        assert "\n" not in str(error.value) and address.split("/")[-1] in str(error.value)
        assert f"--data {address.split(':')[0]}://" in str(error.value)


@pytest.mark.parametrize("path", PATHS)
def test_other_text_is_a_path(path: str) -> None:
    assert local_path(path, "--data") == path
    assert local_path(Path(path), "--data") == Path(path)


def test_a_folder_that_exists_is_one_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s3:/bucket").mkdir(parents=True)
    assert local_path("s3:/bucket", "--data") == "s3:/bucket"


@pytest.mark.parametrize(
    "option", ["data", "out", "cache_dir", "pretrained", "templates", "config", "suite", "plugin"]
)
def test_no_option_takes_an_address(option: str) -> None:
    address = "https://example.org/pets.yaml" if option == "cache_dir" else "s3://bucket/pets.yaml"
    with pytest.raises(InputError, match="is an address, not a path on this machine"):
        config_of({option: address})
    name = f"--{option.replace('_', '-')}"
    result = bench("plan", name, address)
    assert_refused(result, name, address, "is an address")


@pytest.mark.parametrize("variable", ["BENCH_DATA", "BENCH_CACHE"])
def test_no_variable_takes_an_address(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "https://example.org/data")
    with pytest.raises(InputError, match=rf"\${variable} https://example.org/data is an address"):
        (data_dir if variable == "BENCH_DATA" else cache_dir)(None)


def test_the_cache_may_be_an_object_store_with_a_local_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    for address in ("s3://bucket/a", "s3://bucket/a/", "S3://bucket/a", "s3://bucket/b"):
        for option in (Path(address), address):
            assert cache_address(option) == address.replace("S3", "s3").rstrip("/")  # type: ignore[arg-type]
    one, same, other = (cache_dir(Path(f"s3://bucket/{name}")) for name in ("a", "a/", "b"))
    assert one == same != other and one.parent == other.parent == tmp_path / "copies"
    assert cache_address(tmp_path) == cache_address(None) == "" and cache_dir(None) == tmp_path
    monkeypatch.setenv("BENCH_CACHE", "s3://bucket/a")
    assert cache_address(None) == "s3://bucket/a" and cache_dir(None).name == one.name
    assert cache_dir(None).parent.parent == default_cache_dir()
    monkeypatch.chdir(tmp_path)
    Path("s3:/bucket/a").mkdir(parents=True)  # a folder that exists is one
    assert cache_address(Path("s3://bucket/a")) == ""


@pytest.mark.parametrize(
    "address", ["s3://", "s3://bucket/\n", "s3://bucket/ä", f"s3://b/{'x' * 1000}", "s3://b/\0"]
)
def test_an_odd_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        cache_path(address, "--cache-dir")


@pytest.mark.parametrize("address", ["sftp://me:secret@host/store", "s3://AKIA:a/secret@bucket/x"])
def test_a_password_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(InputError, match="leave the password out") as error:
        cache_path(address, "--cache-dir")
    assert "secret" not in str(error.value)


def test_folders_to_write_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output folder s3://bucket/x is an address"):
        check_writable(Path("s3://bucket/x"), "output folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        {"folder": "s3://bucket/train"},
        {"list": "https://example.org/train.csv"},
        {"arrays": "gs://bucket/x.npz"},
        {"shards": "s3://bucket/{0..9}.tar"},
        {"hub": "https://huggingface.co/datasets/a/b", "split": "train"},
        {"folder": "train", "field": "classes"},
        {"folder": "train", "field": "templates"},
    ],
)
def test_no_field_of_a_suite_file_takes_an_address(tmp_path: Path, source: dict[str, str]) -> None:
    field = source.pop("field", "train")
    form = {"name": "pets", "classes": ["cat", "dog"], "templates": ["a {}."], "train": source}
    if field != "train":
        form[field] = {"file": "https://example.org/x.txt"}
    if source.get("hub"):
        pytest.importorskip("datasets")
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump({**form, "test": {"folder": "test"}}))
    with pytest.raises(InputError, match=rf"{field}: .* is an address"):
        load_suite_file(tmp_path / "pets.yaml", None, tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("step", ["Path.open", "os.fsync"])
def test_what_the_system_refuses_names_the_file(
    number: int, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"bench.core.paths.{step}", refuse)
    path = tmp_path / "records.jsonl"
    with pytest.raises(OSError, match=r"records\.jsonl") as error:
        write_atomic(path, b"one")
    assert one_line(error.value) == f"{path}: {os.strerror(number)}"
    assert not list(tmp_path.iterdir())


def test_a_run_on_a_full_disk_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.report.write.write_atomic", full)
    monkeypatch.setattr("bench.report.run_folder.write_atomic", full)
    Path("run").mkdir()
    Path("run/records.jsonl").write_text(records_text(fake_records()))
    assert_refused(bench("report", "run"), "run/report.md: No space left on device")


@pytest.mark.parametrize(
    "text",
    ["[" * 500, "a: 1\na: 2", "&a [*a]", "9" * 5000, "1:30", "0x" + "f" * 5000, "a: [", "\0"],
)
def test_yaml_that_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,200}$"):
        parse_yaml(text)


def test_other_yaml_is_read_as_before() -> None:
    for text in ("a: &x [1, 2.5]\nb: *x", "<<: {a: 1}\nb: 2", "a: 1e-5", "a: 0x1f", "", "[[[1]]]"):
        assert parse_yaml(text) == yaml.safe_load(text)
