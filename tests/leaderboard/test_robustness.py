"""Derived metrics against numpy and scipy, their intervals, and that asking moves nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robustness as simulation
from browser import run_of_chance
from commands import bench
from hypothesis import given
from hypothesis import strategies as st
from imagenet_rows import IMAGENET, rows
from outputs_folders import folder, score
from robustness import WORLDS, World, robustness_coverage
from scipy.special import expit, logit
from scipy.stats import linregress

from bench.core.errors import InputError
from bench.core.records import Record
from bench.leaderboard.published.baselines import Baseline, BaselineLine, shipped_baselines
from bench.leaderboard.robustness import (
    DERIVED,
    EFFECTIVE,
    GAP,
    RELATIVE,
    DerivedBoard,
    derived_board,
    steepness,
)
from bench.leaderboard.stats.contrasts import weighted_sum
from bench.leaderboard.stats.estimates import mean_estimate
from bench.leaderboard.stats.outcomes import Outcomes
from bench.leaderboard.suite_results import SuiteResults, measured
from bench.report.document import document
from bench.report.run_config import CONFIG
from bench.report.tables.robustness import derived_table

SHIFTS = tuple(IMAGENET)[1:]
Values = Mapping[str, Sequence[float | None]]


def results(records: Sequence[Record]) -> SuiteResults:
    (found,) = measured(records)
    return found


def accuracies(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Mean accuracy over seeds by row and set, from records alone."""
    found: dict[str, dict[str, list[float]]] = {}
    for r in records:
        if r.metric == "top1":
            found.setdefault(r.title, {}).setdefault(r.shift, []).append(r.value)
    return {row: {k: float(np.mean(v)) for k, v in sets.items()} for row, sets in found.items()}


def values(found: DerivedBoard) -> Values:
    return {row.title: [cell.mean for cell in row.cells] for row in found.board.rows}


def test_effective_robustness_is_that_of_an_independent_fit() -> None:
    """As in the testbed's code: a line through logits of percentages, by scipy."""
    records = rows("imagenet", IMAGENET)
    models = [b.values for b in shipped_baselines("imagenet") if b.covers(SHIFTS)]
    clipped = [{k: float(np.clip(v, 0.0005, 0.9995)) for k, v in m.items()} for m in models]
    found = values(derived_board(EFFECTIVE, results(records)))
    assert len(models) == 82
    for row, at in accuracies(records).items():
        for number, over in enumerate([*((shift,) for shift in SHIFTS), SHIFTS], start=1):
            ood = [max(np.mean([m[s] for s in over]), 0.0005) for m in models]
            fit = linregress(logit([m["id"] for m in clipped]), logit(ood))
            beta = expit(fit.slope * logit(at["id"]) + fit.intercept)
            wanted = np.mean([at[s] for s in over]) - beta
            assert found[row][number] == pytest.approx(wanted, abs=1e-12)
        assert found[row][0] is None


def test_gap_and_relative_robustness_are_differences_of_means() -> None:
    records, _ = run_of_chance()
    numbers, at = results(records), accuracies(records)
    gap, relative = (values(derived_board(name, numbers)) for name in (GAP, RELATIVE))
    shifts = [s for s in at["VRF"] if s != "id"]
    for row, own in at.items():
        columns = [*(own[s] for s in shifts), np.mean([own[s] for s in shifts])]
        zero = [*(at["Zero-shot"][s] for s in shifts)]
        assert gap[row][1:] == pytest.approx([own["id"] - ood for ood in columns])
        if row == "Zero-shot":
            assert relative[row] == [None] * (2 + len(shifts))
        else:
            wanted = [o - z for o, z in zip(columns, [*zero, np.mean(zero)], strict=True)]
            assert relative[row][1:] == pytest.approx(wanted)


def with_samples(name: str, seeds: Sequence[int] = (0, 1, 2)) -> tuple[SuiteResults, DerivedBoard]:
    records, samples = run_of_chance(seeds=seeds)
    models = [Baseline(f"m{i}", "me", dict.fromkeys(("id", "v2", "sketch", "a"), i / 10))
              for i in (4, 5, 6)]  # fmt: skip
    (chapter,) = document(records, samples=samples, baselines=models, derived=[name]).chapters
    return chapter.numbers, chapter.derived[0]


def test_the_interval_of_relative_robustness_is_that_of_the_difference_to_zero_shot() -> None:
    numbers, found = with_samples(RELATIVE)
    assert numbers.comparison is not None and numbers.comparison.last is not None
    for (one, other), (value, interval) in numbers.comparison.last.differences.items():
        if other == ("zero-shot", None):
            assert found.intervals[one][-1] == pytest.approx(interval)
            row = next(r for r in found.board.rows if (r.method, r.base) == one)
            assert row.cells[-1].mean == pytest.approx(value)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("name", [GAP, EFFECTIVE])
def test_an_interval_is_that_of_independent_binomial_sets(name: str, seeds: list[int]) -> None:
    """For zero-shot, which has no seeds, by hand: variances add, times squared weights."""
    numbers, found = with_samples(name, seeds)
    row, bounds = found.board.rows[0], found.intervals["zero-shot", None]
    cells = {r.shift: r for r in numbers.records if (r.method, r.metric) == ("zero-shot", "top1")}
    shifts = [s for s in cells if s != "id"]
    slope = 1.0  # the line of these baselines is the diagonal
    on_id = 1.0 if name == GAP else -slope
    on_shift = -1 / 3 if name == GAP else 1 / 3
    weights = {"id": on_id} | dict.fromkeys(shifts, on_shift)
    variance = sum(
        w**2 * (cells[s].value * (1 - cells[s].value) / (cells[s].n - 1) + 1 / cells[s].n ** 2)
        for s, w in weights.items()
    )
    assert bounds[-1] is not None and row.cells[-1].mean is not None
    half = 1.959964 * np.sqrt(variance)
    wanted = (row.cells[-1].mean - half, row.cells[-1].mean + half)
    assert bounds[-1] == pytest.approx(wanted, abs=1e-6)
    assert bounds[0] is None


@given(st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_equal_weights_give_the_mean(seeds: int, sets: int, same: bool) -> None:
    rng = np.random.default_rng(seeds + 10 * sets)
    row = [
        Outcomes("s" if same else str(i), rng.random((seeds, 50)) < 0.7, rng.random(20))
        for i in range(sets)
    ]
    one, other = weighted_sum(row, [1 / sets] * sets), mean_estimate(row)
    for name in ("value", "samples", "seeds", "selection"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-15)


def test_sets_of_the_same_images_are_paired() -> None:
    """A gap between a set and itself is certain but for one more discordant pair."""
    rng = np.random.default_rng(0)
    one = Outcomes("same", rng.random((1, 100)) < 0.6)
    found = weighted_sum([one, one], [1.0, -1.0])
    assert (found.value, found.samples) == (0, pytest.approx((2 / 100) ** 2))


def test_sets_of_other_seeds_are_refused() -> None:
    sets = [Outcomes(str(s), np.zeros((s, 9), bool)) for s in (1, 2)]
    for row, weights in ((sets, [1.0, 1.0]), (sets[:1], []), ([], [])):
        with pytest.raises(InputError, match="one weight a set and seeds that agree"):
            weighted_sum(row, weights)


@given(st.floats(0.01, 0.99), st.floats(0.3, 2), st.floats(-2, 2))
def test_the_steepness_is_the_derivative(at: float, slope: float, offset: float) -> None:
    line, h = BaselineLine(slope, offset, 1.0), 1e-6
    numerical = (line.expected(at + h) - line.expected(at - h)) / (2 * h)
    assert steepness(line, at) == pytest.approx(numerical, rel=1e-3, abs=1e-6)
    assert steepness(line, 0.0001) == steepness(line, 1.0) == 0


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"{w.name}, {w.seeds}")
def test_intervals_cover(world: World) -> None:
    """With 150 repetitions the standard error is 1.8 points; two are allowed below 94%."""
    small = World(world.name, world.of_id, world.shifts,
                  tuple(min(n, 2000) for n in world.sizes), world.seeds)  # fmt: skip
    assert min(robustness_coverage(small, 150)) >= 0.94 - 0.036
    assert simulation.SEED_SD > 0


@pytest.mark.parametrize(
    ("name", "drop", "reason"),
    [
        (EFFECTIVE, "", "0 baselines have ID and every shift of the mean, and a line needs 3"),
        (RELATIVE, "zero-shot", "the results have no zero-shot row to subtract"),
        (GAP, "shifts", "the results have no shift"),
    ],
)
def test_what_cannot_be_computed_has_its_reason(name: str, drop: str, reason: str) -> None:
    records, _ = run_of_chance()
    left = [r for r in records if r.method != drop and (drop != "shifts" or r.shift == "id")]
    found = derived_board(name, results(left))
    assert reason in found.reason
    (line,) = derived_table(found).groups[0]
    assert line.items[0].text.startswith("No values: ") and reason in line.items[0].text


def test_an_incomplete_row_has_no_mean_and_a_shift_outside_the_mean_no_value() -> None:
    records, _ = run_of_chance()
    left = [r for r in records if (r.method, r.shift) != ("vrf", "a")]
    found = values(derived_board(GAP, results(left)))
    assert found["VRF"][-2:] == [None, None] and None not in found["OSE"][1:]
    outside = [r.model_copy(update={"outside_mean": r.shift == "a"}) for r in records]
    outside = [r.model_copy(update={"shifts_in_suite": 2}) for r in outside]
    board = derived_board(GAP, results(outside)).board
    assert dict(zip(board.columns, board.rows[0].cells, strict=True))["a"].mean is None


@pytest.mark.parametrize("metric", DERIVED)
def test_a_shift_that_is_called_like_the_column_of_id_has_its_own_values(metric: str) -> None:
    _, wanted = with_samples(metric)
    records, samples = run_of_chance()
    models = [Baseline(f"m{i}", "me", dict.fromkeys(("id", "ID", "sketch", "a"), i / 10))
              for i in (4, 5, 6)]  # fmt: skip

    def renamed(record: Record) -> Record:
        return record.model_copy(update={"shift": "ID"}) if record.shift == "v2" else record

    (chapter,) = document(
        map(renamed, records),
        samples=[replace(one, record=renamed(one.record)) for one in samples],
        baselines=models,
        derived=[metric],
    ).chapters
    assert values(chapter.derived[0]) == values(wanted)
    assert chapter.derived[0].intervals == wanted.intervals


def test_asking_changes_no_record_and_a_report_again_has_the_same(tmp_path: Path) -> None:
    plain, asked = folder(tmp_path / "plain"), folder(tmp_path / "asked")
    assert score(plain).code == 0
    assert score(asked, "--metrics", ",".join(DERIVED)).code == 0
    kept = [(path / "out" / "records.jsonl").read_bytes() for path in (plain, asked)]
    assert kept[0] == kept[1]
    report = asked / "out" / "report.md"
    text = report.read_text()
    assert all(f"### {metric.title} (points)" in text for metric in DERIVED.values())
    assert "Effective robustness" not in (plain / "out" / "report.md").read_text()
    assert bench("report", asked / "out", "--format", "md,csv").code == 0
    assert report.read_text() == text
    with (asked / "out" / "report.csv").open() as file:
        cells: list[dict[str, Any]] = [r for r in csv.DictReader(file) if r["metric"] in DERIVED]
    assert {c["metric"] for c in cells} == {GAP, RELATIVE}
    assert {c["ranked"] for c in cells} == {"False"}
    assert all(float(c["low"]) <= float(c["mean"]) <= float(c["high"]) for c in cells if c["low"])
    assert json.loads((asked / "out" / CONFIG).read_text())["metrics"] == list(DERIVED)


def test_names_are_listed_shown_and_checked(tmp_path: Path) -> None:
    for name, metric in DERIVED.items():
        shown = bench("show", name)
        assert shown.code == 0 and metric.title in shown.out
    refused = score(folder(tmp_path), "--metrics", "effective")
    assert refused.code == 2 and "effective-robustness" in refused.err
