"""The reproduction ledger: which claims are attempted, tolerances, and what is never reproduced."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from claimed import in_counts, records_of, write_backed
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.core.records import CellAddress, MissingCell, Record
from bench.leaderboard.published.ledger import (
    SEED_ERROR,
    UNBACKED,
    LedgerEntry,
    claimed_fraction,
    count_verdicts,
    mean_weights,
)
from bench.leaderboard.published.ledger import ledger as judged
from bench.leaderboard.published.places import MEANS, PLACES
from bench.leaderboard.published.tables import (
    PublishedTable,
    find_published_table,
    published_tables,
)
from bench.report.document import document
from bench.report.formats.html import report_html
from bench.report.run_folder import read_run, read_samples
from bench.report.tables.ledger import describe_entry, ledger_table
from bench.report.tables.table import DASH

TABLE = find_published_table("vrf-table1")
Z = 1.959963984540054
ATTEMPTED = {"reproduced", "not reproduced"}


def ledger(
    table: PublishedTable, records: Iterable[Record], *more: Any, **options: Any
) -> tuple[LedgerEntry, ...]:
    """Return the ledger of records that samples support."""
    found = list(records)
    return judged(table, found, *more, **({"evidence": found} | options))


def entry(entries: tuple[LedgerEntry, ...], row: str, column: str) -> LedgerEntry:
    (found,) = [e for e in entries if (e.claim.row.name, e.claim.column.name) == (row, column)]
    return found


def changed(records: list[Record], row: str, shift: str, **more: Any) -> list[Record]:
    """Return the records, with those of one row on one set changed."""

    def is_meant(r: Record) -> bool:
        return (f"{r.method}:{r.base}" if r.base else r.method) == row and r.shift == shift

    return [r.model_copy(update=more) if is_meant(r) else r for r in records]


def test_the_claimed_numbers_are_reproduced_by_themselves() -> None:
    entries = ledger(TABLE, records_of(TABLE))
    assert [e.claim for e in entries] == list(TABLE.claims)
    assert count_verdicts(entries) == {"reproduced": 70, "not reproduced": 0, "not attempted": 0}
    for e in entries:
        if e.claim.column.dataset in PLACES:
            assert e.difference == pytest.approx(0, abs=1e-12)


def test_only_the_average_that_is_not_its_cells_is_a_tenth_off() -> None:
    missed = [e for e in ledger(TABLE, records_of(TABLE), tolerance=0.001) if e.tolerance]
    assert {e.seed_error for e in missed} == {None}
    (miss,) = [e for e in missed if e.verdict == "not reproduced"]
    assert describe_entry(miss) == "vrf:lp-ft on avg5 52.02, claimed 51.8 ± 0.10"
    assert miss.difference == pytest.approx(0.0022)
    assert miss.claim.remarks[0].kind == "arithmetic"


def test_records_alone_reproduce_nothing() -> None:
    """Agreement alone is no evidence, because anybody can write a file of records."""
    entries = judged(TABLE, records_of(TABLE), tolerance=1.0)
    assert {(e.verdict, e.reason) for e in entries} == {("not verified", UNBACKED)}
    assert all(e.ours is not None and e.difference is not None for e in entries)
    assert count_verdicts(entries) == {
        "reproduced": 0, "not reproduced": 0, "not attempted": 0, "not verified": 70
    }  # fmt: skip
    lines = [line for group in ledger_table(TABLE, entries).groups for line in group]
    assert len(lines) == 70
    assert {line.items[-1].text for line in lines} == {f"not verified: {UNBACKED}"}


def test_one_record_without_samples_leaves_its_cell_and_its_averages_unverified() -> None:
    records = records_of(TABLE)
    lost = next(r for r in records if (r.method, r.shift) == ("e2e-ft", "v2"))
    entries = judged(TABLE, records, evidence=[r for r in records if r is not lost])
    odd = [(e.claim.row.name, e.claim.column.name) for e in entries if e.verdict != "reproduced"]
    assert odd == [("e2e-ft", "imagenet-v2"), ("e2e-ft", "avg5")]
    missed = judged(TABLE, [r.model_copy(update={"value": r.value - 0.2}) for r in records])
    assert {e.verdict for e in missed} == {"not reproduced"}, "a miss needs no evidence"


NEVER = {
    "synthetic": ({"notes": ("synthetic data",)}, "not reportable: synthetic data"),
    "limited": ({"notes": ("limit=40", "synthetic data")}, "not reportable: limit=40"),
    "control": ({"role": "control"}, "the role of the row is control, not method"),
    "oracle": ({"role": "oracle"}, "the role of the row is oracle, not method"),
    "backbone": (
        {"model": "ViT-B-16/openai"},
        "ViT-B-16/openai, but the claim is for ViT-B-32/openai",
    ),
    "weights": ({"model": "ViT-B-32/laion2b_s34b_b79k"}, "the claim is for ViT-B-32/openai"),
    "suite": ({"suite": "mini"}, "measured on suite mini, but the claim is for imagenet"),
    "shots": ({"suite": "imagenet, 16 shots"}, "measured on suite imagenet, 16 shots"),
    "protocol": (
        {"protocol": "clean"},
        "protocol clean, but the claim is comparable with official",
    ),
    "field": ({"protocol": "official, ece_bins 15"}, "under protocol official, ece_bins 15"),
    "part": ({"n": 4000}, "4000 samples, but the set has"),
    "candidate": ({"kind": "curve"}, "no record of top1 of"),
    "scaled": ({"kind": "scaled"}, "no record of top1 of"),
}
"""Changes after which no cell is attempted, although all numbers agree."""


@pytest.mark.parametrize("case", NEVER)
@pytest.mark.parametrize("tolerance", [None, 1.0])
def test_numbers_that_agree_are_not_reproduced_unless_measured_alike(
    case: str, tolerance: float | None
) -> None:
    change, reason = NEVER[case]
    entries = ledger(TABLE, records_of(TABLE, **change), tolerance=tolerance)
    assert {e.verdict for e in entries} == {"not attempted"}
    assert all(reason in e.reason for e in entries)
    assert {(e.ours, e.tolerance, e.difference) for e in entries} == {(None, None, None)}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_otherwise_with_any_cell_it_and_its_averages_are_no_attempt(
    data: st.DataObject,
) -> None:
    change, _ = NEVER[data.draw(st.sampled_from(sorted(NEVER)))]
    single = [c for c in TABLE.claims if c.column.dataset in PLACES]
    claim = data.draw(st.sampled_from(single))
    shift = PLACES[claim.column.dataset].shift
    entries = ledger(TABLE, changed(records_of(TABLE), claim.row.name, shift, **change))
    for e in entries:
        touched = e.claim.row == claim.row and claim.column.dataset in mean_weights(
            e.claim.column.dataset
        )
        assert (e.verdict == "not attempted") == touched


def test_the_tolerance_of_a_row_without_training_is_binomial() -> None:
    found = entry(ledger(TABLE, records_of(TABLE)), "zero-shot", "imagenet-a")
    assert found.seed_error == 0
    assert found.tolerance == pytest.approx(Z * sqrt(0.315 * 0.685 / 7500) + 0.0005)


def test_the_tolerance_of_a_single_seed_has_the_stated_seed_error_twice() -> None:
    found = entry(ledger(TABLE, records_of(TABLE)), "e2e-ft", "imagenet")
    sampling = 0.762 * 0.238 / 50000
    assert found.tolerance == pytest.approx(Z * sqrt(sampling + 2 * SEED_ERROR**2) + 0.0005)


def test_the_seed_error_is_our_own_where_there_are_seeds() -> None:
    records = [
        r.model_copy(update={"value": r.value + 0.01}) if r.seed == 2 else r
        for r in records_of(TABLE, seeds=(0, 1, 2))
    ]
    found = entry(ledger(TABLE, records), "e2e-ft", "imagenet")
    values = [0.762, 0.762, 0.772]
    deviation = sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2)
    assert found.seeds == 3
    assert found.ours == pytest.approx(sum(values) / 3)
    assert found.seed_error == pytest.approx(deviation)
    expected = Z * sqrt(0.762 * 0.238 / 50000 + deviation**2 * (1 + 1 / 3)) + 0.0005
    assert found.tolerance == pytest.approx(expected)


def test_seeds_that_the_source_states_count() -> None:
    tracer = find_published_table("tracer-table1")
    found = entry(ledger(tracer, records_of(tracer)), "flyp", "imagenet")
    expected = Z * sqrt(0.8272 * 0.1728 / 50000 + SEED_ERROR**2 * (1 / 3 + 1)) + 0.00005
    assert found.tolerance == pytest.approx(expected)


def test_the_tolerance_of_a_mean_weighs_its_sets() -> None:
    found = entry(ledger(TABLE, records_of(TABLE)), "zero-shot", "avg5")
    sizes = (10000, 50889, 7500, 30000, 18574)
    sampling = 0.485 * 0.515 * sum(1 / n for n in sizes) / 25
    assert found.tolerance == pytest.approx(Z * sqrt(sampling) + 0.0005)


@pytest.mark.parametrize("name", [*MEANS, *PLACES])
def test_weights_of_a_mean_sum_to_one(name: str) -> None:
    assert sum(mean_weights(name).values()) == 1
    assert set(mean_weights(name)) <= set(PLACES)


@settings(max_examples=40, deadline=None)
@given(off=st.floats(-0.03, 0.03), direction=st.sampled_from((-1, 1)))
def test_the_verdict_is_whether_the_difference_is_within_the_tolerance(
    off: float, direction: int
) -> None:
    value = 0.559 + direction * off
    entries = ledger(TABLE, changed(records_of(TABLE), "zero-shot", "v2", value=value))
    found = entry(entries, "zero-shot", "imagenet-v2")
    assert found.tolerance is not None
    assert (found.verdict == "reproduced") == (abs(value - 0.559) <= found.tolerance + 1e-9)
    others = [e for e in entries if e.claim.row.name != "zero-shot"]
    assert {e.verdict for e in others} == {"reproduced"}


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(sorted({c.row.name for c in TABLE.claims})), min_size=1))
def test_a_cells_entry_does_not_depend_on_what_else_was_run(rows: set[str]) -> None:
    records = records_of(TABLE)
    some = [r for r in records if (f"{r.method}:{r.base}" if r.base else r.method) in rows]
    random.Random(0).shuffle(some)
    for whole, part in zip(ledger(TABLE, records), ledger(TABLE, some), strict=True):
        if part.claim.row.name in rows:
            assert part == whole
        else:
            assert part.reason == f"no record of {part.claim.row.ours}"


def test_missing_cells_are_no_attempt_even_if_another_seed_is_there() -> None:
    records = records_of(TABLE)
    place = next(r for r in records if (r.method, r.shift) == ("e2e-ft", "v2"))
    fields = {name: getattr(place, name) for name in CellAddress.model_fields}
    absent = MissingCell(**(fields | {"seed": 1, "reason": "out of memory"}))
    entries = ledger(TABLE, records, [absent])
    for column in ("imagenet-v2", "avg5"):
        assert entry(entries, "e2e-ft", column).reason == "missing with seed 1: out of memory"
    assert count_verdicts(entries)["not attempted"] == 2


def test_a_mean_needs_its_sets_with_the_same_seeds() -> None:
    entries = ledger(TABLE, changed(records_of(TABLE), "e2e-ft", "v2", seed=7))
    assert entry(entries, "e2e-ft", "imagenet-v2").verdict == "reproduced"
    assert "different seeds" in entry(entries, "e2e-ft", "avg5").reason


def test_released_weights_on_the_backbone_count_and_are_named() -> None:
    table = find_published_table("vrf-table2")
    entries = ledger(table, records_of(table, model="ViT-B-16/openai, imported released"))
    assert {e.model for e in entries} == {"ViT-B-16/openai, imported released"}
    assert count_verdicts(entries)["reproduced"] == 70
    other = ledger(table, records_of(table, model="ViT-B-16-336/openai, imported released"))
    assert count_verdicts(other)["not attempted"] == 70


def test_records_that_contradict_each_other_are_refused() -> None:
    records = records_of(TABLE)
    other = records[0].model_copy(update={"value": 0.1})
    with pytest.raises(InputError, match="two values of top1 for zero-shot on imagenet/id"):
        ledger(TABLE, [*records, other])


def test_records_that_differ_by_rounding_are_one() -> None:
    records = records_of(TABLE)
    close = [r.model_copy(update={"value": r.value + 1e-9}) for r in records]
    assert ledger(TABLE, [*records, *close]) == ledger(TABLE, records)


def test_given_alphas_are_looked_up_among_the_candidates() -> None:
    table = find_published_table("vrf-table9")
    records = [r for r in records_of(table) if r.choice == {"alpha": 0.5}]
    entries = ledger(table, records)
    done = {e.claim.row.name for e in entries if e.verdict == "reproduced"}
    assert done == {"wise-ft:e2e-ft alpha=0.5"}
    assert "no record of top1 at alpha=0.4 of wise-ft:e2e-ft" in {
        e.reason.partition(" on ")[0] for e in entries
    }
    chosen = [r.model_copy(update={"kind": "cell"}) for r in records]
    assert count_verdicts(ledger(table, [*records, *chosen])) == count_verdicts(entries)
    assert count_verdicts(ledger(table, chosen)) == count_verdicts(entries)


def test_what_no_run_can_be_compared_with_is_never_reproduced() -> None:
    for name in ("vrf-table11", "lp-ft-table1", "lp-ft-table2"):
        entries = ledger(
            find_published_table(name), records_of(find_published_table(name)), tolerance=1.0
        )
        assert {e.verdict for e in entries} == {"not attempted"}
        assert all(e.reason.startswith("not comparable: ") for e in entries)
    table = find_published_table("clip-benchmark")
    entries = ledger(table, records_of(table))
    reasons = {e.claim.column.name: e.reason for e in entries}
    assert "113 ObjectNet class names" in reasons["objectnet"]
    whole = "sun397 (all 108,754 images)"
    assert reasons[whole] == f"no suite of bench has {whole}"
    assert reasons["imagenet"] == reasons["cifar-10"] == reasons["dtd"] == ""


def test_calibration_needs_a_given_tolerance_and_known_temperatures() -> None:
    table = find_published_table("carot-slides")
    records = records_of(table)
    by_column = {e.claim.column.name: e for e in ledger(table, records)}
    assert by_column["imagenet"].verdict == "reproduced"
    assert by_column["imagenet ece"].reason == (
        "no standard error of ece is known: give a tolerance"
    )
    given_one = {
        (e.claim.row.name, e.claim.column.name): e for e in ledger(table, records, tolerance=0.01)
    }
    assert given_one["carot", "imagenet ece"].verdict == "reproduced"
    assert given_one["carot", "avg5 ece"].verdict == "reproduced"
    assert "temperatures" in given_one["carot", "avg5 ece w/ TS"].reason
    assert "alpha" in given_one["wise-ft:e2e-ft", "imagenet"].reason


def test_averages_with_the_reference_are_half_of_it() -> None:
    table = find_published_table("wise-ft-table8")
    records = records_of(table)
    worse = [
        r.model_copy(update={"value": r.value - 0.02}) if r.shift == "id" else r for r in records
    ]
    found = [
        e
        for e in ledger(table, worse)
        if e.claim.column.name == "avg-ref-shifts" and e.claim.row.name == "zero-shot"
    ]
    assert len(found) == 2
    for e in found:
        assert e.difference == pytest.approx(-0.01, abs=0.001)


@pytest.mark.parametrize("name", published_tables())
def test_every_table_can_be_compared_and_shown(name: str) -> None:
    table = find_published_table(name)
    entries = ledger(table, records_of(table), tolerance=0.005)
    assert len(entries) == len(table.claims)
    lines = [line for group in ledger_table(table, entries).groups for line in group]
    verdicts = [line.items[-1].text.partition(":")[0] for line in lines]
    assert set(verdicts) <= ATTEMPTED | {"not attempted"}
    attempted = [e for e in entries if e.verdict in ATTEMPTED]
    assert sum(verdict in ATTEMPTED for verdict in verdicts) == len(attempted)
    for e in attempted:
        assert e.ours is not None and e.difference == pytest.approx(
            e.ours - claimed_fraction(e.claim)
        )
    shown = [line.items for line in lines if line.items[-1].text in ATTEMPTED]
    assert [items[2].text for items in shown] == [e.claim.text for e in attempted]


def test_a_row_that_was_not_run_is_one_line() -> None:
    records = [r for r in records_of(TABLE) if r.method != "lp-ft"]
    lines = [
        [item.text for item in line.items]
        for group in ledger_table(TABLE, ledger(TABLE, records)).groups
        for line in group
    ]
    assert len(lines) == 64
    assert ["lp-ft", "all 7", *[DASH] * 4, "not attempted: no record of lp-ft"] in lines
    assert ["zero-shot", "imagenet", "63.3", "63.30", "+0.00", "0.47", "reproduced"] in lines


def test_a_report_has_the_ledger_of_the_tables_of_its_suite_and_model() -> None:
    table = find_published_table("vrf-table1")
    (chapter,) = document(records_of(table)).chapters  # without samples
    found = {t.caption: t for t in chapter.tables if t.name == "published"}
    assert found["Compared with VRF's Table 1"].note == (
        f"Cells: 0 reproduced, 0 not reproduced, 0 not attempted, {len(table.claims)} not verified."
    )
    assert "Compared with CaRot's slides" not in found, "a table of another model"
    assert "Compared with VRF's Table 3(a)" not in found, "a table of other suites"
    other = [r.model_copy(update={"suite": "mini"}) for r in records_of(table)]
    assert all(t.name != "published" for t in document(other).chapters[0].tables)


def test_a_report_has_samples_to_back_its_ledger(tmp_path: Path) -> None:
    run = write_backed(tmp_path / "run", in_counts(records_of(find_published_table("vrf-table1"))))
    (chapter,) = document(read_run(run)[0], samples=read_samples(run)).chapters
    (table,) = [t for t in chapter.tables if t.caption == "Compared with VRF's Table 1"]
    assert table.note == "Cells: 70 reproduced, 0 not reproduced, 0 not attempted."


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_shows_the_ledger_on_demand(tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_text(
        report_html(document(records_of(find_published_table("vrf-table1"))))
    )
    with opened(tmp_path / "report.html", width) as page:
        ledger_of = page.locator("details", has_text="Compared with VRF's Table 1").first
        assert not ledger_of.locator("table").is_visible()
        ledger_of.locator("summary").click()
        assert ledger_of.locator("table").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
