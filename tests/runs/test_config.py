"""Configurations: valid and invalid options of the command line and of run files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.runs.study.config import RunConfig, load_config, parse_assignments


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "suite: micro\nseeds: [3, 1]\nlimit: 7\ntrain-batch-size: 9\n"
        "set:\n  e2e-ft: {lr: 1e-3, epochs: 2}\n"
    )
    config = load_config(
        path, {"limit": 8, "seeds": None, "set": ("e2e-ft.epochs=4", "ose.alphas=[1]")}
    )
    assert config.suite == ("micro",)
    assert config.seeds == (1, 3)
    assert config.limit == 8
    assert config.train_batch_size == 9
    assert config.set == {"e2e-ft": {"lr": "1e-3", "epochs": "4"}, "ose": {"alphas": "[1]"}}


def test_lists_are_comma_separated() -> None:
    config = load_config(None, {"methods": " vrf, wise-ft ,", "seeds": "2,0", "set": ()})
    assert config.methods == ("vrf", "wise-ft")
    assert config.seeds == (0, 2)


def test_results_leave_out_how_and_where() -> None:
    one = RunConfig(workers=3, eval_batch_size=5, micro_batch=7, out=Path("a"), cache_dir=Path("b"))
    assert one.results() == RunConfig().results()
    assert RunConfig(limit=3).results() != RunConfig().results()


def test_results_know_what_is_in_a_file_of_templates(tmp_path: Path) -> None:
    assert "templates" not in RunConfig().results()
    file = tmp_path / "prompts.txt"
    file.write_text("a {}\n")
    one = RunConfig(templates=file).results()
    assert one["templates"] == str(file)
    file.write_text("the {}\n")
    assert RunConfig(templates=file).results() != one
    file.write_text("a {}\n")
    assert RunConfig(templates=file).results() == one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": ""}, ["--seeds", "at least one"]),
        ({"seeds": ",,"}, ["--seeds", "at least one"]),
        ({"seeds": "0,-1"}, ["--seeds -1", "greater than or equal to 0"]),
        ({"seeds": "0,x"}, ["--seeds x", "separated by commas, such as 0,1,2,3"]),
        ({"seeds": "0-3"}, ["--seeds 0-3: expected numbers separated by commas, such as 0,1,2,3"]),
        ({"seeds": "1.5"}, ["--seeds 1.5", "separated by commas, such as 0,1,2,3"]),
        ({"seeds": "1,0,1"}, ["--seeds", "seed 1 is listed twice"]),
        ({"seeds": str(2**40)}, ["--seeds", "less than"]),
        ({"methods": ""}, ["--methods", "at least one"]),
        ({"suite": " "}, ["--suite", "at least one"]),
        ({"shifts": ","}, ["--shifts", "at least one"]),
        ({"limit": 0}, ["--limit 0", "greater than or equal to 1"]),
        ({"limit": -3}, ["--limit -3"]),
        ({"workers": -1}, ["--workers -1", "greater than or equal to 0"]),
        ({"train_batch_size": 0}, ["--train-batch-size 0"]),
        ({"eval_batch_size": -8}, ["--eval-batch-size -8"]),
        ({"precision": "fp16"}, ["--precision fp16", "'bf16-eval' or 'auto'"]),
        ({"device": "gpu"}, ["--device gpu", "expected auto, cpu, mps, cuda or cuda:N"]),
        ({"device": ""}, ["--device", "is empty: give a value or leave it out"]),
        ({"model": ""}, ["--model"]),
        ({"select": "max-vla"}, ["selection rule 'max-vla'", "did you mean 'max-val'?"]),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(None, options)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["expected options", "None"]),
        ("- a\n- b\n", ["expected options"]),
        ("just words", ["expected options", "just words"]),
        ("a: [b\n", ["run.yaml:2: invalid YAML"]),
        ("suites: mini\n", ["unknown option", "'suites'", "did you mean 'suite'?"]),
        ("seeds: [a]\n", ["run.yaml: seeds a", "separated by commas, such as 0,1,2,3"]),
        ("seeds: {a: 1}\n", ["run.yaml: seeds"]),
        ("seeds: []\n", ["run.yaml: seeds", "at least one"]),
        ("seeds: true\n", ["run.yaml: seeds True", "expected a number"]),
        ("limit: many\n", ["run.yaml: limit many", "valid integer"]),
        ("limit: yes\n", ["run.yaml: limit True", "expected a number"]),
        ("curves: 7\n", ["run.yaml: curves 7"]),
        ("suite: 5\n", ["run.yaml: suite 5", "valid string"]),
        ("methods: [[a]]\n", ["run.yaml: methods"]),
        ("set: [e2e-ft.lr]\n", ["run.yaml: --set e2e-ft.lr: expected METHOD.PARAM=VALUE"]),
        ("set: [3]\n", ["run.yaml: --set 3: expected METHOD.PARAM=VALUE"]),
        ("set: e2e-ft\n", ["run.yaml: --set e2e-ft: expected METHOD.PARAM=VALUE"]),
        ("set: 3\n", ["run.yaml: set 3", "dictionary"]),
        ("set: {e2e-ft: 3}\n", ["run.yaml: set.e2e-ft 3", "dictionary"]),
        ("set: {1: {lr: 3}}\n", ["run.yaml: set"]),
        ("out: 3\n", ["run.yaml: out 3"]),
        ("device:\n", ["run.yaml: device None"]),
    ],
)
def test_bad_files_are_named(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path, {})
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "set:\n  e2e-ft: {lr: 1e-3}\n  vrf: {a_grid: '[1, 2]'}\n",
        "set: [e2e-ft.lr=1e-3, 'vrf.a_grid=[1, 2]']\n",
        "set:\n- e2e-ft.lr=1e-3\n- vrf.a_grid=[1, 2]\n",
    ],
)
def test_settings_have_either_form_in_a_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    config = load_config(tmp_path / "run.yaml", {"set": ("ose.alphas=[1]",)})
    assert config.set == {
        "e2e-ft": {"lr": "1e-3"}, "vrf": {"a_grid": "[1, 2]"}, "ose": {"alphas": "[1]"}
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text("set: e2e-ft.lr=2\n")
    assert load_config(tmp_path / "run.yaml", {}).set == {"e2e-ft": {"lr": "2"}}


def test_relative_paths_in_a_file_start_at_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "conf" / "weights.pt").touch()
    loaded: list[Path] = []
    monkeypatch.setattr("bench.runs.study.config.load_plugin", loaded.append)
    path = tmp_path / "conf" / "run.yaml"
    path.write_text(
        "suite: [my.yaml, mini, ../other.yml+corruptions=3]\ndata: ../data\nout: results\n"
        "templates: prompts.txt\ncache-dir: cache\nplugin: mine.py\n"
        "pretrained: weights.pt\nmodel: ViT-B-32\n"
    )
    monkeypatch.chdir(tmp_path / "work")
    where = Path("../conf/run.yaml")
    config, folder = load_config(where, {}), where.parent
    suites = (f"{folder}/my.yaml", "mini", f"{folder}/../other.yml+corruptions=3")
    assert config.suite == suites
    assert config.data == folder / "../data"
    assert (config.out, config.cache_dir) == (folder / "results", folder / "cache")
    assert config.templates == folder / "prompts.txt"
    assert config.plugin == (folder / "mine.py",) and loaded == [folder / "mine.py"]
    assert config.pretrained == str(folder / "weights.pt")
    given = load_config(where, {"out": Path("mine"), "suite": "my.yaml"})
    assert (given.out, given.suite) == (Path("mine"), ("my.yaml",))
    path.write_text("suite: 'mini, my.yaml'\npretrained: openai\nout: /absolute\n")
    config = load_config(where, {})
    assert config.suite == ("mini", f"{folder}/my.yaml")
    assert (config.pretrained, config.out) == ("openai", Path("/absolute"))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(InputError, match="Is a directory"):
        load_config(tmp_path, {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x93")
    with pytest.raises(InputError, match="not UTF-8 text; save it as UTF-8"):
        load_config(tmp_path / "binary", {})


@pytest.mark.parametrize("text", ["", "lr=1", "e2e-ft.lr", ".lr=1", "e2e-ft.=1", "="])
def test_malformed_assignments(text: str) -> None:
    with pytest.raises(InputError, match=r"expected METHOD\.PARAM=VALUE"):
        parse_assignments((text,))


def test_assignments() -> None:
    assert parse_assignments(("a.b=1", "a.c=x=y", "a.b=2")) == {"a": {"b": "2", "c": "x=y"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cache_dir: https://b/x", ["cache_dir https://b/x is an address"]),
        ("data: https://x.org/d", ["data https://x.org/d is an address"]),
        ("out: gs://b/out", ["out gs://b/out is an address"]),
        ("templates: https://x.org/t.txt", ["templates https://x.org/t.txt is an address"]),
        ("plugin: [s3://b/p.py]", ["plugin s3://b/p.py is an address"]),
        ("suite: https://x.org/pets.yaml", ["suite https://x.org/pets.yaml is an address"]),
        ("suite: [mini, s3://b/pets.yaml]", ["suite s3://b/pets.yaml is an address"]),
        ("pretrained: https://x.org/a.pt", ["pretrained https://x.org/a.pt is an address"]),
    ],
)
def test_addresses_in_a_file_are_refused(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_config(path, {})
    assert all(word in str(error.value) for word in words)
