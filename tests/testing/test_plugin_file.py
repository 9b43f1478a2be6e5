"""Methods in one loose file: ``--plugin``."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
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
from bench.runs.study.config import load_config

EXAMPLE = ROOT / "tests" / "plugin" / "example_method.py"
SOURCE = EXAMPLE.read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(EXAMPLE, tmp_path / "my_method.py"))


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins and ends without plugins."""
    methods(), registry.datasets()
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
    assert "Δ (OSE, surer counts) - OSE" in done.out
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


def test_a_copy_is_the_same_plugin_until_one_of_them_is_edited(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = Path(shutil.copy(file, tmp_path / "elsewhere" / file.name))
    assert load_plugin(file) == load_plugin(copy)
    before = methods()["surer"]
    file.write_text("import absent_package\n")
    with pytest.raises(InputError):
        load_plugin(file)
    assert methods()["surer"] is before and before.__module__ in sys.modules
    file.write_text(SOURCE + "\n")
    load_plugin(file)
    with pytest.raises(InputError, match="registered twice"):  # the copy defines the earlier class
        load_plugin(copy)


def test_a_file_edited_during_a_run_is_recorded_as_it_was_used(file: Path) -> None:
    config = load_config(None, {"plugin": str(file)})
    digest = loaded_plugins()[file.resolve()].digest
    file.write_text(SOURCE + "\n")
    assert config.results()["plugin_sha256"] == [digest]
    assert loaded_plugins()[file.resolve()].digest == digest


def test_in_python_a_run_with_a_plugin_is_read_and_checked(
    small: Finished, file: Path, tmp_path: Path
) -> None:
    options = {"suite": "micro", "limit": 40, "shifts": "v2,objectnet", "curves": False}
    run = front.run(
        **options, methods="ose,surer", set={"e2e-ft": {"epochs": 1}}, plugin=file,
        cache_dir=small.cache, out=tmp_path / "a",
    )  # fmt: skip
    later = front.run(  # the file is loaded, and not named again
        **options, methods="surer", set={"e2e-ft": {"epochs": 1}},
        cache_dir=small.cache, out=tmp_path / "b",
    )  # fmt: skip
    assert json.loads((later.path / "config.json").read_text())["plugin"] == [str(file)]
    board = str(run.leaderboard())
    forget()
    with pytest.warns(RuntimeWarning, match="used the plugin"):
        assert str(front.load(run.path).leaderboard()) != board
    with pytest.raises(InputError, match="the run used"):
        front.check(later.path, cache_dir=small.cache)
    assert front.check(run.path, later.path, cache_dir=small.cache, plugin=file).passed
    assert str(front.load(run.path, plugin=[file]).leaderboard()) == board


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("yield Prediction(mix", "return; yield Prediction(mix", "yielded 0 predictions for 5"),
        ("mix(zs, ft, weight), weight", "1 + mix(zs, ft, weight), weight", "sum to 2.72"),
    ],
)
def test_wrong_predictions_are_no_results(
    small: Finished, file: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert SOURCE.count(old) == 1
    file.write_text(SOURCE.replace(old, new))
    places = ("--cache-dir", small.cache, "--out", tmp_path / "out", "--plugin", file)
    done = bench(*SMALL, "--methods", "surer", *places)
    assert done.code == 1 and said in done.err
    assert row_of(tmp_path / "out") == []


NAME = '    name: ClassVar[str] = "surer"'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (NAME, f'{NAME}\n    colour: ClassVar[str] = "blue"', "SurerCounts.colour = 'blue'"),
        (
            NAME,
            f'{NAME}\n    year: ClassVar[str] = "2024"',
            "SurerCounts.year = '2024': expected a",
        ),
        (NAME, f"{NAME}\n    venue: ClassVar[int] = 1", "SurerCounts.venue = 1: expected a text"),
        (NAME, f'{NAME}\n    shape: ClassVar[str] = "star"', "SurerCounts.shape = 'star'"),
        ("= 165", '= "behind OSE"', "SurerCounts.position"),
        ('("ose",)', '"ose"', "SurerCounts.compared_with = 'ose'"),
        ('("ose",)', '("osse",)', "did you mean 'ose'"),
        ('("ose",)', '("surer",)', "names of other methods"),
        (NAME, f"{NAME}\n    controls: ClassVar[tuple[str, ...]] = ('x',)", "unknown method 'x'"),
        (NAME, f"{NAME}\n    defaults_on = {{'mini': {{'lr': 1}}}}", "defaults_on"),
        ("(0.25, 0.5", "(-0.25, 0.5", "greater than 0"),
        ("Grid[Positive] = (0.25, 0.5, 1.0, 2.0, 4.0)", "Grid[Positive]", "needs a default"),
        ("@dataclass(frozen=True)\n", "", "write @dataclass"),
        ("Grid[Positive]", "Gird[Positive]", "Gird"),
        (NAME, NAME.replace('"surer"', "3"), "no name"),
        (NAME, NAME.replace("surer", "sur er"), "SurerCounts.name = 'sur er'"),
        (NAME, NAME.replace("surer", "all"), "SurerCounts.name = 'all'"),
        (NAME, NAME.replace("surer", "newer"), "SurerCounts.name = 'newer'"),
        (NAME, NAME.replace("surer", "x" * 3000), "SurerCounts.name = 'xxx"),
        ('"OSE, surer counts"', "3", "SurerCounts.title = 3"),
        ('"OSE, surer counts"', r'"a\x1b[31m\n"', "expected a line of text"),
        ("class SurerCounts(Method)", "class SurerCounts", "is no Method class"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(
    file: Path, old: str, new: str, said: str
) -> None:
    assert old in SOURCE
    file.write_text(SOURCE.replace(old, new))
    with pytest.raises(InputError) as error:
        load_plugin(file)
    assert said in str(error.value) and "my_method.py" in str(error.value)
    assert len(str(error.value)) < 500 and "surer" not in methods()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import absent_package\n", "absent_package"),
        ("x = 1\n", "registers nothing"),
        (SOURCE.replace('"surer"', '"ose"'), "registered twice"),
        (SOURCE + "raise SystemError('late')\n", "late"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
        ("raise ValueError('x' * 2000)\n", "xxx"),
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


@pytest.mark.parametrize("raised", ["GeneratorExit", "X(3)", "X()"])
def test_whatever_a_file_raises_is_said_of_it(file: Path, raised: str) -> None:
    base = "Exception" if raised == "X()" else "BaseException"
    text = "ZeroDivisionError" if raised == "X()" else "'three'"
    file.write_text(
        f"class X({base}):\n    def __str__(self):\n        return {text}\nraise {raised}\n"
    )
    with pytest.raises(InputError, match=r"my_method\.py: cannot be used: "):
        load_plugin(file)


CANDIDATES = 'return tuple({"s": s} for s in self.s_grid)'
NEEDS = "return (models.zero_shot, models.base)"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CANDIDATES, "return 3", "candidates: 3, expected a tuple of settings"),
        (CANDIDATES, "return ()", "candidates: (), expected"),
        (CANDIDATES, 'return ({"s": float("nan")},)', "candidates: ({'s': nan},), expected"),
        (CANDIDATES, 'return ({"s": 10**400},)', "candidates: "),
        (CANDIDATES, 'yield {"s": 1.0}', "candidates: <generator"),
        (CANDIDATES, "return self.candidates()", "candidates failed: RecursionError"),
        (CANDIDATES, "raise SystemExit(3)", "candidates failed: SystemExit: 3"),
        (NEEDS, "return None", "needs: None, expected a tuple of classifiers"),
        (NEEDS, 'return ("x",)', "needs: ('x',), expected"),
        (NEEDS, 'raise KeyError("q")', "needs failed: KeyError"),
    ],
)
def test_an_answer_that_cannot_be_meant_is_refused(
    small: Finished, file: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert SOURCE.count(old) == 1
    file.write_text(SOURCE.replace(old, new))
    places = ("--cache-dir", small.cache, "--out", tmp_path / "out", "--plugin", file)
    assert_refused(bench(*SMALL, "--methods", "surer", *places), f"SurerCounts.{said}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("outputs.features(models.base)[:] = 0", "read-only"),
        ("train.labels[:] = 0", "read-only"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_method_neither_changes_what_others_read_nor_ends_the_run(
    small: Finished, file: Path, tmp_path: Path, line: str, said: str
) -> None:
    start = "        zs, ft = ("
    assert SOURCE.count(start) == 1
    file.write_text(SOURCE.replace(start, f"        {line}\n{start}"))
    places = ("--cache-dir", small.cache, "--out", tmp_path / "out", "--plugin", file)
    done = bench(*SMALL, "--methods", "surer,ose", *places)
    assert done.code == 1 and said in done.err
    of_ose = [
        {
            (r.shift, r.metric, r.value)
            for r in read_records(out / "records.jsonl")
            if r.method == "ose"
        }
        for out in (small.out, tmp_path / "out")
    ]
    assert row_of(tmp_path / "out") == [] and of_ose[0] == of_ose[1]
