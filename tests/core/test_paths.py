"""An address is not taken for a path, wherever a path is expected."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from commands import assert_refused, bench

from bench.core.errors import InputError
from bench.core.paths import cache_dir, check_writable, data_dir, local_path
from bench.data.suites.from_yaml import load_suite_file
from bench.front.options import config_of

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
    address = "s3://bucket/pets.yaml"
    with pytest.raises(InputError, match="is an address, not a path on this machine"):
        config_of({option: address})
    name = f"--{option.replace('_', '-')}"
    result = bench("plan", name, address)
    assert_refused(result, name, address, "is an address")


@pytest.mark.parametrize("variable", ["BENCH_DATA", "BENCH_CACHE"])
def test_no_variable_takes_an_address(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "s3://bucket/data")
    with pytest.raises(InputError, match=rf"\${variable} s3://bucket/data is an address"):
        (data_dir if variable == "BENCH_DATA" else cache_dir)(None)


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
