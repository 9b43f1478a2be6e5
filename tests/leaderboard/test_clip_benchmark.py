"""Files of CLIP_benchmark: what is taken as a foreign row, and what is refused with a sentence."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hostile import damaged, readable_or_refused, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.leaderboard.published.clip_benchmark import (
    DATASETS,
    OTHERWISE,
    foreign_rows,
    read_clip_benchmark,
)
from bench.leaderboard.published.places import PLACES

RESULT: dict[str, Any] = {
    "dataset": "imagenetv2",
    "model": "ViT-B-32",
    "pretrained": "openai",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.5596, "acc5": 0.8, "mean_per_class_recall": 0.56},
    "language": "en",
}


def write(folder: Path, name: str = "result.json", **changes: Any) -> Path:
    path = folder / name
    fields = {k: v for k, v in (RESULT | changes).items() if v is not None}
    path.write_text(json.dumps(fields))
    return path


def write_csv(folder: Path, *lines: dict[str, Any], name: str = "benchmark.csv") -> Path:
    """As its ``build`` writes a CSV file: the metrics of each result are columns."""
    flat = [{k: v for k, v in (RESULT | line).items() if k != "metrics"} for line in lines]
    flat = [f | (RESULT | line)["metrics"] for f, line in zip(flat, lines, strict=True)]
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for line in flat for name in line}))
        writer.writeheader()
        writer.writerows(flat)
    return path


def test_a_result_is_an_accuracy_with_the_digest_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, dataset="wds/imagenetv2")
    found = read_clip_benchmark(path)
    (result,) = found.results
    assert (result.dataset, result.value, result.title) == (
        *("imagenet-v2", 0.5596, "ViT-B-32, openai"),
    )
    assert found.name == "result.json"
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_csv_file_has_many(tmp_path: Path) -> None:
    lines = (
        {"dataset": "imagenet1k", "metrics": {"acc1": 0.6334, "acc5": 0.88}},
        {"dataset": "imagenet_sketch", "metrics": {"acc1": 0.42}},
        {"model": "ViT-B-16", "language": "it", "metrics": {"acc1": 0.6}},
        {"dataset": "cifar10", "metrics": {"acc1": 0.8982}},
    )
    file = read_clip_benchmark(write_csv(tmp_path, *lines))
    one, other = foreign_rows([file], "imagenet")
    assert (one.title, one.values) == ("ViT-B-32, openai", {"id": 0.6334, "sketch": 0.42})
    assert (other.title, other.values) == ("ViT-B-16, openai, prompts in it", {"v2": 0.6})
    (cifar,) = foreign_rows([file], "cifar10")
    assert cifar.values == {"id": 0.8982} and cifar.files == (file,)
    assert foreign_rows([file], "mini") == ()


def test_results_of_several_files_make_one_row(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{d}.json", dataset=d) for d in ("imagenet1k", "imagenet-a")]
    files = [read_clip_benchmark(path) for path in paths]
    (row,) = foreign_rows(files, "imagenet")
    assert row.values.keys() == {"id", "a"} and row.files == tuple(files)
    again = read_clip_benchmark(write(tmp_path, "same.json", dataset="imagenet-a"))
    assert foreign_rows([*files, again], "imagenet")[0].values == row.values
    other = write(tmp_path, "other.json", dataset="wds/imagenet-a", metrics={"acc1": 0.1})
    third = read_clip_benchmark(other)
    refused(lambda: foreign_rows([*files, third], "imagenet"), "other.json", "0.1 and 0.5596")


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_place(tmp_path: Path, name: str) -> None:
    (result,) = read_clip_benchmark(write(tmp_path, dataset=name)).results
    assert result.dataset in PLACES and name not in OTHERWISE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "imagenet-v2"}, ("unknown data set", "did you mean 'imagenetv2'")),
        ({"dataset": "imagenet-o"}, ("unknown data set",)),
        ({"dataset": "stl10"}, ("stl10", "all ten classes")),
        ({"dataset": "wds/vtab/sun397"}, ("sun397", "test partition")),
        ({"dataset": None}, ("dataset: expected a name, got nothing",)),
        ({"dataset": 7}, ("dataset: expected a name, got 7",)),
        ({"model": ""}, ("model: expected a name",)),
        ({"model": "m" * 1000}, ("model: expected a name",)),
        ({"task": "linear_probe"}, ("task 'linear_probe'", "only zeroshot_classification")),
        ({"seed": 3}, ("unknown field", "'seed'")),
        ({"metrics": None}, ("an object with dataset",)),
        ({"metrics": {}}, ("no acc1",)),
        ({"metrics": {"acc1": 0.5, "ece": 0.1}}, ("unknown metric", "'ece'")),
        ({"metrics": {"acc1": 55.96}}, ("acc1 is 55.96", "divide percentages by 100")),
        ({"metrics": {"acc1": 0.9, "acc5": 95}}, ("acc5 is 95", "fraction")),
        ({"metrics": {"acc1": 0.9, "acc5": 0.8}}, ("acc5 is below acc1",)),
        ({"metrics": {"acc1": -0.1}}, ("acc1 is -0.1",)),
        ({"metrics": {"acc1": float("nan")}}, ("acc1 is nan",)),
        ({"metrics": {"acc1": 10**400}}, ("acc1 is 1000",)),
        ({"metrics": {"acc1": "0.5"}}, ("acc1 is '0.5'",)),
        ({"metrics": {"acc1": True}}, ("acc1 is True",)),
        ({"metrics": {"acc1": [0.5]}}, ("acc1 is [0.5]",)),
        ({"language": ["en"]}, ("language: expected a name",)),
    ],
)
def test_what_is_no_comparable_result_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    path = write(tmp_path, **changes)
    text = refused(lambda: read_clip_benchmark(path), *words)
    assert "result.json" in text and len(text) < 500


def test_no_acc5_is_written_for_few_classes(tmp_path: Path) -> None:
    path = write(tmp_path, metrics={"acc1": 0.5, "acc5": float("nan")})
    assert read_clip_benchmark(path).results[0].value == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no results",)),
        ("dataset,model\n", ("no results",)),
        ("acc1,acc1,dataset\n", ("stands twice",)),
        ("dataset,acc1\ncifar10\n", (":2: expected 2 values",)),
        ("dataset,acc1\ncifar10,0.5,3\n", (":2: expected 2 values",)),
        ("dataset,model,pretrained,task,acc1\ncifar10,m,p,zeroshot_retrieval,\n", (":2: task",)),
        ("dataset,model,pretrained,task,acc1\ncifar10,m,p,zeroshot_classification,x\n", ("'x'",)),
        ("dataset,model,pretrained,task,acc1,acc9\ncifar10,m,p,zeroshot_classification,0.5,0.6\n",
         ("unknown metric", "acc9")),
    ],
)  # fmt: skip
def test_a_csv_file_is_refused_by_its_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "benchmark.csv"
    path.write_text(text)
    assert "benchmark.csv" in refused(lambda: read_clip_benchmark(path), *words)


def test_columns_that_a_line_leaves_empty_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.csv"
    path.write_text(
        "acc1,dataset,image_retrieval_recall@5,model,model_fullname,pretrained,task\n"
        "0.5,cifar10,,m,m p,p,zeroshot_classification\n"
    )
    assert read_clip_benchmark(path).results[0].language == "en"


@pytest.mark.parametrize("name", ["results.txt", "results"])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    refused(lambda: read_clip_benchmark(path), "--beside", ".json or .csv")


@pytest.mark.parametrize(
    "text", ["[]", "{", "1", "null", 70 * "[" + 70 * "]", '{"a": 1, "a": 2}', '"\\ud800"']
)
def test_json_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    refused(lambda: read_clip_benchmark(path), "result.json")


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    for name in ("a.json", "b.csv"):
        refused(lambda name=name: read_clip_benchmark(tmp_path / name), name)  # type: ignore[misc]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["a.json", "a.csv"]))
    valid = (
        write(tmp_path, "v.json") if name == "a.json" else write_csv(tmp_path, {}, {}, name="v.csv")
    )
    (tmp_path / name).write_bytes(data.draw(damaged(valid.read_bytes())))
    readable_or_refused(lambda: read_clip_benchmark(tmp_path / name))
