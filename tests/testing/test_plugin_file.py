"""Methods in one loose file: ``--plugin``."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from commands import SMALL, Finished, assert_refused, bench
from places import ROOT

import bench as front
from bench.api import registry
from bench.api.registry import load_plugin, loaded_plugins, methods
from bench.core.errors import InputError
from bench.core.hashing import kind_of
from bench.core.records import Record, read_records
from bench.report.formats.rerun_command import rerun_command

EXAMPLE = ROOT / "tests" / "plugin" / "example_method.py"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(EXAMPLE, tmp_path / "my_method.py"))


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins and ends without plugins."""
    methods()
    for name in ("_METHODS", "_DATASETS", "_PLUGINS"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def forget() -> None:
    """Forget plugins, as a new process does."""
    registry._PLUGINS.clear()
    registry._METHODS.pop("surer")


def row_of(out: Path) -> list[Record]:
    found = read_records(out / "records.jsonl")
    return [r for r in found if (r.kind, r.method, r.metric) == ("cell", "surer", "top1")]


def test_it_runs_is_checked_and_reported(small: Finished, file: Path, tmp_path: Path) -> None:
    out, plugin = tmp_path / "out", ("--plugin", file)
    places = ("--cache-dir", small.cache, "--out", out)
    assert "equation: p = w p_ft" in bench("show", "surer", *plugin).out
    done = bench(*SMALL, "--methods", "ose,surer", *places, *plugin)
    assert done.code == 0, done.err
    assert "Δ OSE, surer counts - OSE" in done.out
    record = row_of(out)[0]
    assert record.provenance["method"]["type"].startswith("my_method@")
    command = rerun_command(record)
    assert command is not None
    words = shlex.split(command)
    assert words[words.index("--plugin") + 1] == "my_method.py"
    before = (out / "report.md").read_bytes()
    forget()
    told = bench("report", out)
    assert f"{out} used the plugin {file}" in told.err
    assert bench("report", out, *plugin).err == "" and (out / "report.md").read_bytes() == before
    check = ("check", out, "--cache-dir", small.cache)
    forget()
    assert_refused(bench(*check), "the run used", "my_method.py", "--plugin")
    assert bench(*check, *plugin).code == 0
    forget()
    file.write_text(file.read_text() + "\n")
    assert_refused(bench(*check, *plugin), "the run used", "unchanged")


def test_an_edited_file_is_computed_again_and_the_rest_is_not(
    small: Finished, file: Path, tmp_path: Path
) -> None:
    options = (*SMALL, "--methods", "surer", "--cache-dir", small.cache, "--plugin", file)
    assert bench(*options, "--out", tmp_path / "a").code == 0
    text = file.read_text()
    file.write_text(text.replace("weight = sigmoid_weight(lag", "weight = 1 - sigmoid_weight(lag"))
    assert file.read_text() != text
    again = bench(*options, "--out", tmp_path / "b")
    assert again.code == 0 and "0 training runs" in again.err
    one, other = ({r.shift: r for r in row_of(tmp_path / name)} for name in "ab")
    assert all(one[shift].provenance["key"] != other[shift].provenance["key"] for shift in one)


def test_in_python_an_edited_file_replaces_the_earlier_one(
    small: Finished, file: Path, tmp_path: Path
) -> None:
    first = load_plugin(file)
    before = methods()["surer"]
    assert load_plugin(file) == first and methods()["surer"] is before
    file.write_text(file.read_text().replace("OSE, surer counts", "Surer"))
    plan = front.plan(
        suite="micro", methods="surer", plugin=file, cache_dir=small.cache, out=tmp_path / "out"
    )
    assert "surer:e2e-ft" in str(plan)
    assert methods()["surer"].title == "Surer" and list(loaded_plugins()) == [file.resolve()]
    assert kind_of(methods()["surer"]) != kind_of(before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import absent_package\n", "absent_package"),
        ("x = 1\n", "registers nothing"),
        (EXAMPLE.read_text().replace('"surer"', '"ose"'), "registered twice"),
        (EXAMPLE.read_text() + "raise SystemError('late')\n", "late"),
    ],
)
def test_a_bad_file_is_refused_and_leaves_nothing(file: Path, text: str, said: str) -> None:
    load_plugin(file)
    before = methods()
    file.write_text(text)
    with pytest.raises(InputError, match=said) as error:
        load_plugin(file)
    assert str(file) in str(error.value) and len(str(error.value)) < 500
    assert methods() == before
    assert_refused(bench("list", "methods", "--plugin", file), "--plugin", said)
