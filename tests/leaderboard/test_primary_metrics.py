"""Evaluation sets with a primary metric of their own: plans, choices, records, reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, Finished

from bench.api.dataset import Shift
from bench.api.metrics import ACCURACIES, METRICS, OWN, averageable, extra_metrics
from bench.core.errors import InputError
from bench.core.progress import SilentProgress
from bench.core.records import MissingCell, Record, read_records, records_text
from bench.core.store import Store
from bench.leaderboard.board import MEAN
from bench.leaderboard.build import build_boards, build_curves
from bench.leaderboard.derived import oracle_records
from bench.posthoc.selection import ALPHAS
from bench.report.document import PRIMARY_METRICS, document
from bench.report.formats.text import escape, report_markdown
from bench.report.tables.table import DASH
from bench.runs.execution.execute import Outcome, choice_lookup, execute_plan
from bench.runs.items import CellItem, FitItem
from bench.runs.plan import make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.study import Study

SHIFTS = ("v2", "objectnet")
Judges = dict[str, tuple[str, ...]]
"""The metrics of evaluation sets by name; those of ``id`` are the suite's metrics."""


def judged(study: Study, judges: Judges) -> Study:
    """Return the study with other metrics of its evaluation sets."""
    shifts = tuple(replace(s, metrics=judges.get(s.name, ())) for s in study.suite.shifts)
    return replace(study, suite=replace(study.suite, shifts=shifts, metrics=judges.get("id", ())))


def small_study(judges: Judges, **options: Any) -> Study:
    """Return the study of the shared small run with other metrics of its evaluation sets."""
    limited = {"suite": "micro", "limit": 40, "shifts": ",".join(SHIFTS)}
    assert SMALL[-1] == "e2e-ft.epochs=1"
    # The alphas of the curve, whose features are stored: another choice needs no others.
    changed = {"set": {"e2e-ft": {"epochs": 1}, "wise-ft": {"alphas": list(ALPHAS)}}}
    return judged(resolve_studies(RunConfig.model_validate(limited | changed | options))[0], judges)


def unplanned(_: str) -> None:
    return None


def measured(study: Study) -> dict[str, set[str]]:
    """Return the metrics that the plan computes for chosen candidates on each set."""
    found: dict[str, set[str]] = {}
    for cell in make_plan(study, unplanned).cells:
        if cell.chosen and cell.scale is None:
            found.setdefault(cell.shift.name, set()).add(cell.metric.name)
    return found


def test_a_set_is_measured_in_its_own_metrics_too() -> None:
    plain = measured(small_study({}, methods="wise-ft"))
    assert set(plain) == {"id", *SHIFTS} and all(f == set(METRICS) for f in plain.values())
    found = measured(small_study({"id": ("macro-f1",), "v2": ("pm-0", "pm-10")}, methods="wise-ft"))
    assert {place: names - set(METRICS) for place, names in found.items()} == {
        "id": {"macro-f1"},
        "v2": {"pm-0", "pm-10"},
        "objectnet": {"macro-f1"},  # has no metrics of its own, so it has those of the suite
    }
    back = measured(small_study({"id": ("macro-f1",), "v2": ("top1",)}, methods="wise-ft"))
    assert back["v2"] == set(METRICS)


def test_temperature_scaling_changes_no_metric_of_a_sets_own() -> None:
    cells = make_plan(small_study({"id": ("macro-f1",)}, methods="wise-ft"), unplanned).cells
    assert {c.metric.name for c in cells if c.scale is not None} == set(METRICS)
    assert {c.metric.name for c in cells if not c.chosen} == {*METRICS, "macro-f1"}


def test_a_shifts_metric_adds_cells_alone_and_that_of_id_new_choices() -> None:
    def keys(judges: Judges, kind: type) -> set[str]:
        items = make_plan(small_study(judges, methods="wise-ft,vrf"), unplanned).items
        return {key for key, item in items.items() if isinstance(item, kind)}

    cells, fits = keys({}, CellItem), keys({}, FitItem)
    assert keys({"id": ("top1",)}, FitItem) == fits
    assert keys({"v2": ("macro-f1",)}, FitItem) == fits
    assert keys({"v2": ("macro-f1",)}, CellItem) > cells
    assert not keys({"id": ("macro-f1",)}, FitItem) & fits


def test_a_set_names_accuracy_or_a_metric_of_some_sets() -> None:
    assert [m.name for m in extra_metrics(("top1", "pm-0", "pm-0"))] == ["pm-0"]
    with pytest.raises(InputError, match=r"'ece'.*macro-f1"):
        extra_metrics(("ece",))
    with pytest.raises(InputError, match=r"'f1'.*macro-f1"):
        make_plan(small_study({"v2": ("f1",)}), unplanned)
    assert Shift("s", small_study({}).suite.test).primary_metric == "top1"


def rerun(small: Finished, judges: Judges, **options: Any) -> Outcome:
    """Run the small study with other metrics; its features are in the cache."""

    def refuse(_: object) -> Any:
        raise KeyboardInterrupt("a model was asked for")

    study = small_study(judges, **options)
    store = Store(small.cache)
    return execute_plan(make_plan(study, choice_lookup(store)), store, refuse, SilentProgress())


def test_a_run_judged_by_macro_f1(small: Finished) -> None:
    outcome = rerun(small, {"id": ("macro-f1",), "v2": ("top1",)})
    assert not outcome.missing
    before = {
        (r.method, r.shift, r.metric): r.value
        for r in read_records(small.out / "records.jsonl")
        if r.kind == "cell" and r.base is None
    }
    after = [r for r in outcome.records if r.kind == "cell"]
    assert before.items() <= {(r.method, r.shift, r.metric): r.value for r in after}.items()
    assert {(r.shift, r.primary_metric) for r in after} == {
        ("id", "macro-f1"), ("v2", "top1"), ("objectnet", "macro-f1"),
    }  # fmt: skip
    assert {"macro-f1", "rule", "split"} <= {k for r in after if r.base for k in r.chosen_on or {}}
    (board,) = build_boards(outcome.records)
    assert board.columns == ("ID", "v2 (accuracy)", "objectnet")
    assert (board.title, board.averaged) == ("Macro-F1 or a set's own metric", False)
    text = report_markdown(document(outcome.records))
    assert "Macro-F1 or a set's own metric (percent)" in text
    assert "### Accuracy (percent)" in text
    assert re.search(r"rule within-1pt, Macro-F1 \d+\.\d%", text)


def test_candidates_are_chosen_by_what_id_is_judged_by(
    small: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*arguments: Any) -> float:
        return 1 - METRICS["top1"].function(*arguments)

    def chosen(outcome: Outcome) -> Record:
        return next(r for r in outcome.records if r.method == "wise-ft" and r.kind == "cell")

    options: dict[str, Any] = {"methods": "wise-ft", "select": "max-val", "curves": False}
    plain = chosen(rerun(small, {}, **options))
    worst = replace(OWN["macro-f1"], function=error, version=99)
    monkeypatch.setitem(OWN, "macro-f1", worst)  # type: ignore[arg-type]
    other = chosen(rerun(small, {"id": ("macro-f1",)}, **options))
    assert plain.chosen_on and other.chosen_on
    assert plain.choice != other.choice
    assert other.chosen_on["macro-f1"] > 1 - plain.chosen_on["top1"]


# Leaderboards and reports


def record(place: int, metric: str, value: float, judge: str, **more: Any) -> Record:
    """Return a cell of a suite with two shifts, on ID (place 0) or on one of them."""
    fields: dict[str, Any] = {
        "suite": "s", "model": "m", "method": "zero-shot", "base": None, "title": "Zero-shot",
        "seed": None, "shift": ("id", "ood", "vid")[place], "order": place, "metric": metric,
        "value": value, "n": 10, "shifts_in_suite": 2, "primary_metric": judge,
    }  # fmt: skip
    return Record(**(fields | more))


def rows(judges: Sequence[str], **more: Any) -> list[Record]:
    """Return a row's cells in accuracy (0.1, 0.2, 0.3) and in primary metrics (0.5, 0.6, 0.7)."""
    found = []
    for place, judge in enumerate(judges):
        found.append(record(place, "top1", (place + 1) / 10, judge, **more))
        if judge != "top1":
            found.append(record(place, judge, (place + 5) / 10, judge, **more))
    return found


def test_the_headline_takes_each_sets_own_metric() -> None:
    (board,) = build_boards(rows(("top1", "worst-region", "pm-0")))
    assert board.columns == ("ID", "ood (worst region)", "vid (pm-0)", MEAN)
    assert [cell.mean for cell in board.rows[0].cells] == pytest.approx([0.1, 0.6, 0.7, 0.65])
    assert board.rows[0].complete
    (accuracy,) = build_boards(rows(("top1", "worst-region", "pm-0")), metric="top1")
    assert accuracy.columns == ("ID", "ood", "vid", MEAN)
    assert [cell.mean for cell in accuracy.rows[0].cells] == pytest.approx([0.1, 0.2, 0.3, 0.25])


def test_one_metric_for_all_is_that_of_the_caption() -> None:
    (board,) = build_boards(rows(("macro-f1",) * 3))
    assert (board.title, board.columns) == ("Macro-F1", ("ID", "ood", "vid", MEAN))
    assert [cell.mean for cell in board.rows[0].cells] == pytest.approx([0.5, 0.6, 0.7, 0.65])


def test_no_mean_over_f1_and_accuracy_and_still_a_ranking() -> None:
    (board,) = build_boards(rows(("top1", "macro-f1", "top1")))
    assert board.columns == ("ID", "ood (macro-F1)", "vid")
    (found,) = board.rows
    assert found.complete and all(cell.best for cell in found.cells) and len(found.cells) == 3
    assert averageable(("top1", "pm-0")) and not averageable(("macro-f1", "pm-0"))
    assert averageable(ACCURACIES) and not averageable(ACCURACIES | {"ece"})
    (ece,) = build_boards(rows(("top1", "macro-f1", "top1")), metric="ece")
    assert ece.columns == ("ID", "ood", "vid", MEAN)


def test_a_reason_stays_with_its_cell_where_there_is_no_mean() -> None:
    found = rows(("top1", "macro-f1", "top1"))
    lost = [r for r in found if (r.shift, r.metric) != ("ood", "macro-f1")]
    place = lost[0].model_dump(include=MissingCell.model_fields.keys() - {"reason"})
    place |= {"shift": "ood", "order": 1, "primary_metric": "macro-f1"}
    missing = MissingCell(**place, reason="no region")
    text = report_markdown(document(lost, [missing]))
    assert "no region" in text
    (board,) = build_boards(lost, [missing])
    assert [cell.absent for cell in board.rows[0].cells] == [(), ((None, "no region"),), ()]


def test_runs_that_judge_a_set_otherwise_share_no_leaderboard() -> None:
    apart = [*rows(("top1",) * 3), *rows(("top1", "top1", "pm-0"), method="linear")]
    with pytest.raises(InputError, match="metric of vid: top1 and pm-0"):
        build_boards(apart)


def test_reports_say_which_metric_a_set_is_judged_by() -> None:
    def text(*judges: str) -> str:
        return report_markdown(document(rows(judges)))

    plain, own_ones = text("top1", "top1", "top1"), text("top1", "worst-region", "top1")
    assert PRIMARY_METRICS not in plain and plain.count("### Accuracy (percent)") == 1
    assert escape(PRIMARY_METRICS) in own_ones
    assert own_ones.count("### Accuracy (percent)") == 1
    assert own_ones.count("### Accuracy or a set's own metric (percent)") == 1


def test_reports_show_what_a_set_is_measured_in_besides() -> None:
    found = rows(("top1", "macro-f1", "pm-0"))
    found += rows(("top1", "macro-f1", "pm-0"), method="linear", title="Linear")
    text = report_markdown(document(found))
    assert "Further metrics" not in text
    found += [record(2, "pm-10", 0.123, "pm-0"), record(1, "pm-0", 0.456, "macro-f1")]
    found_in = document(found)
    (further,) = (t for t in found_in.chapters[0].tables if t.caption.startswith("Further"))
    assert further.columns == ("Method", "ood (pm-0)", "vid (pm-10)")
    (lines,) = further.groups
    assert [[item.text for item in line.items] for line in lines] == [
        ["Zero-shot", "45.6", "12.3"],
        ["Linear", DASH, DASH],
    ]


def curve(judges: Sequence[str], values: Sequence[tuple[float, float]]) -> list[Record]:
    """Return a curve of two alphas: `values` in the primary metrics, reversed in accuracy."""
    found = []
    for place, (judge, by_alpha) in enumerate(zip(judges, values, strict=True)):
        for alpha in (0, 1):
            point = {"kind": "curve", "choice": {"alpha": float(alpha)}, "method": "wise-ft"}
            found.append(record(place, judge, by_alpha[alpha], judge, **point))
            if judge != "top1":
                found.append(record(place, "top1", by_alpha[1 - alpha], judge, **point))
    return found


def test_curves_and_hindsight_follow_the_judge() -> None:
    found = curve(("top1", "worst-region", "pm-0"), ((0.5, 0.6), (0.2, 0.3), (0.4, 0.5)))
    (drawn,) = build_curves(found)
    assert [point.ood.mean for point in drawn.points] == pytest.approx([0.3, 0.4])
    oracles = oracle_records(found)
    assert {r.choice["alpha"] for r in oracles} == {1.0}
    assert {(r.shift, r.metric) for r in oracles} == {(r.shift, r.metric) for r in found}
    assert {r.chosen_on["rule"] for r in oracles if r.chosen_on} == {
        "highest OOD mean of own metric",
        "highest own metric in each column",
    }
    without = [r for r in found if (r.shift, r.metric) != ("vid", "pm-0")]
    assert oracle_records(without) == []
    mixed = curve(("top1", "macro-f1", "top1"), ((0.5, 0.6), (0.2, 0.3), (0.4, 0.5)))
    assert {r.method for r in oracle_records(mixed)} == {"wise-ft-oracle-each"}
    assert [point.ood.mean for point in build_curves(mixed)[0].points] == [None, None]


def test_files_name_the_primary_metric_of_each_set_once(tmp_path: Path) -> None:
    found = rows(("top1", "worst-region", "top1"))
    lines = records_text(found)
    assert lines.count('"primary_metric": "worst-region"') == 1
    assert lines.count('"primary_metric": "top1"') == 2
    (tmp_path / "records.jsonl").write_text(lines)
    assert sorted(map(str, read_records(tmp_path / "records.jsonl"))) == sorted(map(str, found))
