"""Golden runs: this machine reproduces them, and a changed number is detected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import CONDITIONS, SAME_BENCH, SMALL, Finished, assert_refused, bench, start
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from bench.checks.golden import (
    COUNTED,
    GoldenCell,
    compare_with_golden,
    deviations,
    find_golden,
    golden_cells,
    golden_names,
)
from bench.core.errors import InputError
from bench.core.records import Record, read_records, records_text


def test_the_run_of_these_tests_is_the_golden_one(small: Finished, tmp_path: Path) -> None:
    """The gate of this repository: the numbers of micro hold on the machine of the tests."""
    assert find_golden("micro").command == f"bench {' '.join(SMALL)}"
    junit = tmp_path / "junit.xml"
    result = bench("check", small.out, "--against", "golden:micro", "--junit", junit)
    assert (result.code, result.err) == (0, ""), result.out
    count = len(find_golden("micro").cells)
    assert result.out == f"{count} of {count} cells agree with golden:micro\n"
    assert len(list(ElementTree.parse(junit).iter("testcase"))) == count


def run_as(out: Path, command: str, **environment: str) -> None:
    """Run a command line in its own process, with these variables and its own cache."""
    program, *arguments = command.split()
    assert program == "bench"
    where = ("--cache-dir", out.parent / "cache", "--out", out)
    environ = {k: v for k, v in SAME_BENCH.items() if k not in CONDITIONS} | environment
    process = start(*arguments, *where, env=environ)
    _, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("kernels", ["default", "avx2", "native"])
def test_other_processors_give_the_golden_numbers(
    tmp_path: Path, kernels: str, threads: str
) -> None:
    """Imitate other machines: torch's kernels for older processors, one thread or two."""
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if kernels != "native":
        environment["ATEN_CPU_CAPABILITY"] = kernels
    run_as(tmp_path / "run", find_golden("micro").command, **environment)
    result = bench("check", tmp_path / "run", "--against", "golden:micro")
    assert (result.code, result.err) == (0, ""), result.out


@pytest.mark.parametrize("kernels", ["default", "avx2"])
def test_the_conditions_are_those_that_torch_computes_under(kernels: str) -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    environ = SAME_BENCH | {"ATEN_CPU_CAPABILITY": kernels, "OMP_NUM_THREADS": "1"}
    environ |= {"MKL_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    # A processor without AVX2 cannot run the AVX2 kernels.
    assert found.stdout.split() in ([kernels.upper(), "1"], ["DEFAULT", "1"])


@pytest.mark.slow
def test_a_run_of_mini_is_the_golden_one_and_follows_from_its_outputs(mini: Finished) -> None:
    """Run the steps of docs/ci/bench-check.yml, end to end."""
    result = bench("check", mini.out, "--against", "golden:mini")
    assert (result.code, result.err) == (0, ""), result.out
    assert result.out == "240 of 240 cells agree with golden:mini\n"
    result = bench("check", mini.out, "--cache-dir", mini.cache)
    assert (result.code, result.err) == (0, ""), result.out


def test_the_committed_run_of_mini_is_the_golden_one() -> None:
    records = read_records(ROOT / "results" / "mini" / "records.jsonl")
    found = compare_with_golden(find_golden("mini"), records)
    assert len(found) == 240
    assert [one.verdict for one in found if not one.holds] == []


@pytest.mark.parametrize("name", golden_names())
def test_tolerances_follow_from_what_was_measured(name: str) -> None:
    golden = find_golden(name)
    assert len(golden.runs) == 7 and len({cell.place for cell in golden.cells}) == len(golden.cells)
    for cell in golden.cells:
        measured = golden.deviations[cell.group][cell.metric]
        if cell.metric in COUNTED:
            step = (1 if cell.seed is None else 2) / cell.n
            assert golden.tolerance(cell) == max(2 * measured, step)
        else:
            assert golden.tolerance(cell) == 10 * measured > 0


@pytest.mark.parametrize("name", golden_names())
def test_the_page_has_the_measured_deviations(name: str) -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    for group, label in (("untrained", "without training"), ("trained", "trained")):
        found = find_golden(name).deviations[group]
        values = [f"{found[m]:.1e}" if found[m] else "0" for m in ("top1", "ece", "nll", "brier")]
        assert f"| {name}, {label} | {' | '.join(values)} |" in page


def test_rows_without_training_agree_more_closely() -> None:
    golden = find_golden("mini")
    for metric in ("nll", "brier"):
        untrained, trained = (golden.deviations[g][metric] for g in ("untrained", "trained"))
        assert untrained < trained
    for metric in ("top1", "ece"):
        tolerances = {cell.group: golden.tolerance(cell) for cell in golden.cells if
                      (cell.metric, cell.shift) == (metric, "id")}  # fmt: skip
        assert tolerances["untrained"] < tolerances["trained"]


@settings(deadline=None)
@given(st.data())
def test_a_cell_that_moved_is_found(data: st.DataObject) -> None:
    golden = find_golden("mini")
    records = RECORDS
    at = data.draw(st.integers(0, len(records) - 1))
    sign = data.draw(st.sampled_from([-1, 1]))
    (cell,) = golden_cells([records[at]])
    for share, is_kept in ((0.5, True), (1.5, False)):
        recorded = next(c.value for c in golden.cells if c.place == cell.place)
        value = recorded + sign * share * golden.tolerance(cell)
        moved = records[at].model_copy(update={"value": value})
        found = compare_with_golden(golden, [*records[:at], moved, *records[at + 1 :]])
        odd = [one.cell.place for one in found if not one.holds]
        assert odd == ([] if is_kept else [cell.place])


def golden_records() -> list[Record]:
    every = read_records(ROOT / "results" / "mini" / "records.jsonl")
    places = {cell.place for cell in find_golden("mini").cells}
    return [r for r in every if r.kind != "figure" and
            any(cell.place in places for cell in golden_cells([r]))]  # fmt: skip


RECORDS = golden_records()


def write(folder: Path, records: list[Record]) -> Path:
    folder.mkdir()
    (folder / "records.jsonl").write_text(records_text(records))
    return folder


def test_misses_end_in_3_and_are_listed(tmp_path: Path) -> None:
    worse = [r.model_copy(update={"value": r.value / 2}) if r.method == "vrf" else r
             for r in RECORDS]  # fmt: skip
    lacking = [r for r in worse if (r.method, r.shift) != ("ose", "v2")]
    result = bench("check", write(tmp_path / "run", lacking), "--against", "golden:mini")
    assert result.code == 3
    assert "56 of 240 cells differ from golden:mini; the first: " in result.err
    assert "ose:e2e-ft: top1 on v2, seed 0: the run does not have this cell" in result.out
    assert result.out.splitlines()[-1] == "184 of 240 cells agree with golden:mini"
    assert result.out.splitlines()[-2] == "and 26 more"
    data = json.loads(bench("check", tmp_path / "run", "--against", "golden:mini", "--json").out)
    assert sum(not cell["holds"] for cell in data["cells"]) == 56


def test_cells_of_fewer_samples_do_not_hold(tmp_path: Path) -> None:
    fewer = [r.model_copy(update={"n": r.n - 1}) for r in RECORDS]
    assert not any(one.holds for one in compare_with_golden(find_golden("mini"), fewer))


def test_what_is_another_run_is_refused(tmp_path: Path, small: Finished) -> None:
    assert_refused(bench("check", small.out, "--against", "golden:mini"), "the run is micro", "run")
    other = [r.model_copy(update={"notes": ("limit=40",)}) for r in RECORDS]
    run = write(tmp_path / "run", other)
    assert_refused(bench("check", run, "--against", "golden:mini"), "limit=40")
    assert_refused(bench("check", run, "--against", "golden:minni"), "did you mean 'mini'")
    with pytest.raises(InputError, match="two values of"):
        compare_with_golden(
            find_golden("mini"), [*RECORDS, RECORDS[0].model_copy(update={"value": 0.1})]
        )
    backbone = {"backbone": {"digest": "0" * 64}}
    changed = [r.model_copy(update={"provenance": r.provenance | backbone}) for r in RECORDS]
    with pytest.raises(InputError, match="other weights give other numbers"):
        compare_with_golden(find_golden("mini"), changed)


def cell(value: float, **more: object) -> GoldenCell:
    fields = {"kind": "cell", "method": "vrf", "base": "e2e-ft", "seed": 0, "shift": "id",
              "metric": "nll", "value": value, "n": 100}  # fmt: skip
    return GoldenCell.model_validate(fields | more)


def test_deviations_are_between_any_two_runs() -> None:
    runs = [[cell(v), cell(v / 8, seed=None)] for v in (1.0, 0.5, 1.25)]
    assert deviations(runs) == {"trained": {"nll": 0.75}, "untrained": {"nll": 0.09375}}
    with pytest.raises(InputError, match="different cells"):
        deviations([[cell(1.0)], [cell(1.0, shift="v2")]])


def test_the_files_are_in_packages_too() -> None:
    folder = ROOT / "bench" / "checks" / "goldens"
    assert folder.is_symlink() and folder.resolve() == ROOT / "results" / "golden"
    assert golden_names() == ["micro", "mini"]
