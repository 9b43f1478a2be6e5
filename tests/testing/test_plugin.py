"""A method in a separate package, `tests/plugin`, built and installed as a user's would be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import SAME_BENCH, SMALL, Finished, Result, assert_refused
from places import ROOT

from bench.core.records import read_records

SOURCE = ROOT / "tests" / "plugin"
NAMES = ("nearby", "surer", "unsure")

pytestmark = pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")),
    reason="installing a package takes pip and setuptools",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package; the build uses no index and leaves no files behind."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--isolated", "install", "--no-index", "--no-deps", "--no-build-isolation")
    done = python(target, "-m", "pip", *options, "--target", target, source)
    assert done.code == 0, done.err
    return target


def python(site: Path, *arguments: object) -> Result:
    """Run Python with the packages in `site`."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False,
        env=SAME_BENCH | {"PYTHONPATH": f"{SAME_BENCH['PYTHONPATH']}{os.pathsep}{site}"},
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def bench(site: Path, *arguments: object) -> Result:
    return python(site, "-m", "bench", *arguments)


def told(result: Result) -> dict:
    """The JSON that a command printed."""
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_its_methods_are_listed_beside_ours(installed: Path) -> None:
    methods = told(bench(installed, "list", "methods", "--json"))["methods"]
    assert {*NAMES, "ose", "e2e-ft"} <= methods.keys()
    assert methods["surer"]["summary"].startswith("Average of probabilities")
    kinds = {name: methods[name]["kind"] for name in ("surer", "unsure")}
    assert kinds == {"surer": "ensembles", "unsure": "trained"} and not methods["surer"]["newer"]


def test_its_cards_have_their_hyper_parameters(installed: Path) -> None:
    card = bench(installed, "show", "surer")
    assert card.code == 0, card.err
    assert "equation: p = w p_ft + (1 - w) p_zs" in card.out
    assert "s_grid: (0.25, 0.5, 1.0, 2.0, 4.0)" in card.out
    own = told(bench(installed, "show", "unsure", "--json"))["parameters"]
    assert own["reward"] == "0.1" and own["lr"] == "3e-05"


def test_its_own_test_of_the_contract_passes(installed: Path, tmp_path: Path) -> None:
    page = (SOURCE.parents[1] / "docs" / "new-method.md").read_text()
    test = tmp_path / "test_contract.py"
    test.write_text(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[-1])
    done = python(installed, "-m", "pytest", "-p", "no:cacheprovider", test)
    assert done.code == 0 and "2 passed" in done.out, done.out


def test_a_row_over_a_finished_run_takes_no_training_and_no_forward(
    installed: Path, small: Finished, tmp_path: Path
) -> None:
    options = ("--methods", "surer", "--cache-dir", small.cache, "--out", tmp_path, "--json")
    (plan,) = told(bench(installed, "plan", *SMALL[1:], *options))["studies"]
    assert (plan["trainings"], plan["forwards"]) == (0, 0) and plan["cells"] > 0
    cells = told(bench(installed, *SMALL, *options))["cells"]
    row = [c for c in cells if (c["method"], c["metric"]) == ("surer", "top1")]
    assert {c["shift"] for c in row} == {"id", "v2", "objectnet"}
    assert {c["base"] for c in row} == {"e2e-ft"}


def test_it_has_a_place_and_a_difference_on_the_board(
    installed: Path, small: Finished, tmp_path: Path
) -> None:
    options = ("--methods", "ose,surer,vrf", "--cache-dir", small.cache, "--out", tmp_path)
    lines = bench(installed, *SMALL, *options).out.replace(" †", "").splitlines()
    rows = [re.split(r"\s+[-+]?\d", line)[0] for line in lines if line[:1] in ("+", "Δ")]
    assert rows[:3] == ["+ OSE", "+ OSE, surer counts", "+ VRF"]
    assert rows[3:] == ["Δ (OSE, surer counts) - OSE", "Δ VRF - OSE"]


def test_its_training_can_be_the_base_of_its_ensemble(
    installed: Path, small: Finished, tmp_path: Path
) -> None:
    options = ("--methods", "surer:unsure", "--set", "unsure.epochs=1", "--set", "unsure.reward=1")
    places = ("--cache-dir", small.cache, "--out", tmp_path, "--json")
    (plan,) = told(bench(installed, "plan", *SMALL[1:-2], *options, *places))["studies"]
    assert plan["trainings"] == 1
    cells = told(bench(installed, *SMALL[:-2], *options, *places))["cells"]
    rows = {(cell["method"], cell["base"]) for cell in cells}
    assert rows == {("zero-shot", None), ("unsure", None), ("surer", "unsure")}


def test_its_settings_controls_and_colour_are_those_of_a_method_of_ours(
    installed: Path, small: Finished, tmp_path: Path
) -> None:
    card = bench(installed, "show", "nearby").out
    assert "k: the nearest in the paper, the fifth in its code" in card
    assert "under protocol official:\n  k: 5\n  r_grid: (0.5,)\n" in card
    options = ("--methods", "ose,vrf,nearby", "--controls", "--set", "nearby.k=2", "--no-curves")
    done = bench(installed, *SMALL, *options, "--cache-dir", small.cache, "--out", tmp_path)
    assert done.code == 0, done.err
    records = read_records(tmp_path / "records.jsonl")
    described = {r.method: r.provenance.get("method") for r in records if r.kind == "cell"}
    assert described["nearby"]["k"] == described["nearby-any"]["k"] == 2
    assert {r.role for r in records if r.method == "nearby-any"} == {"control"}
    plain = done.out.replace(" †", "")
    lines = [re.split(r"\s+[-+]?\d", line)[0] for line in plain.splitlines()]
    assert lines.index("+ VRF") < lines.index("+ Nearby") < lines.index("Δ Nearby - OSE")
    assert "Δ Nearby - VRF" in lines
    unranked = [line.strip() for line in lines].index("not ranked: ablations")
    assert lines.index("Δ Nearby - VRF") < unranked < lines.index("+ Nearby, any correct")
    assert "#8a6d00" in (tmp_path / "report.html").read_text()


def test_its_official_settings_are_used_and_listed(
    installed: Path, small: Finished, tmp_path: Path
) -> None:
    options = ("--methods", "nearby,ose", "--protocol", "official", "--no-curves")
    done = bench(installed, *SMALL, *options, "--cache-dir", small.cache, "--out", tmp_path)
    assert done.code == 0, done.err
    chosen = {
        r.method: r.choice for r in read_records(tmp_path / "records.jsonl") if r.kind == "cell"
    }
    assert chosen["nearby"] == {"r": 0.5} and 0.1 <= chosen["ose"]["alpha"] <= 0.9
    report = (tmp_path / "report.md").read_text()
    (line,) = (line for line in report.splitlines() if "k of nearby" in line)
    assert [part.strip() for part in line.strip("|").split("|")] == [
        "k of nearby", "1", "5", "the nearest in the paper, the fifth in its code",
    ]  # fmt: skip
    assert "alphas of ose" in report


@pytest.mark.parametrize("taken", ["ose", "unsure"])
def test_a_name_that_is_taken_is_refused(installed: Path, tmp_path: Path, taken: str) -> None:
    site = shutil.copytree(installed, tmp_path / "site")
    module = site / "example_method.py"
    module.write_text(module.read_text().replace('"surer"', f'"{taken}"'))
    refused = bench(site, "list", "methods")
    assert_refused(refused, f"method '{taken}' is registered twice", "example_method")


def test_a_package_that_cannot_be_imported_is_named(installed: Path, tmp_path: Path) -> None:
    site = shutil.copytree(installed, tmp_path / "site")
    (site / "example_method.py").write_text("import absent_package\n")
    refused = bench(site, "list", "methods")
    assert_refused(refused, "package bench-example-method", "example_method", "absent_package")
