"""What a report shows of a tuned row, and of the weights of rows on a suite without shifts."""

from __future__ import annotations

from typing import Any

from bench.core.records import Record
from bench.report.document import Chapter, document
from bench.report.tables.choices import chosen_on
from bench.testing.fakes import fake_records

TRIALS: list[dict[str, Any]] = [
    {"lr": 1e-3, "epochs": 8, "score": 0.5, "encoders": 1, "training_images": 480},
    {"lr": 5e-3, "epochs": 7, "score": 0.75, "encoders": 1, "training_images": 420},
    {"lr": 2e-1, "epochs": 4, "encoders": 1, "training_images": 240},
]
FACTS = {"split": "mini/val", "n": 60, "rule": "max-val", "top1": 0.75, "trials": TRIALS}


def chapter(records: list[Record], trials: object = TRIALS) -> Chapter:
    """A chapter whose row ``e2e-ft`` was tuned."""
    facts = {"choice": {"lr": 5e-3, "epochs": 7}, "chosen_on": FACTS | {"trials": trials}}
    tuned = [r.model_copy(update=facts) if r.method == "e2e-ft" else r for r in records]
    (found,) = document(tuned).chapters
    return found


def test_trials_have_a_table_with_one_line_each() -> None:
    tables = {table.name: table for table in chapter(fake_records()).tables}
    table = tables["trials e2e-ft"]
    assert table.caption == "Trials of E2E-FT: accuracy on the selection split"
    assert table.columns == ("Seed", "lr", "epochs", "Score (%)", "Training images", "Chosen")
    lines = [[cell.text for cell in line.items] for line in table.groups[0]]
    assert lines == [
        ["0", "0.001", "8", "50.0", "480", ""],
        ["0", "0.005", "7", "75.0", "420", "chosen"],
        ["0", "0.2", "4", "–", "240", ""],
    ]
    cells = [cell.text for line in tables["choices"].groups[0] for cell in line.items]
    assert not any("trials" in text or "training" in text for text in cells)


def test_the_text_on_the_data_of_a_choice_has_no_trials() -> None:
    assert chosen_on(FACTS) == "split mini/val, n 60, rule max-val, accuracy 75.0%"


def test_what_are_no_trials_is_no_table() -> None:
    for trials in (None, "many", [], [1, 2]):
        tables = chapter(fake_records(), trials).tables
        assert not any(table.name.startswith("trials") for table in tables)


def test_without_shifts_a_row_has_one_weight() -> None:
    (table,) = (
        t
        for t in chapter(fake_records({"e2e-ft": (0.8,)}, shifts=[])).tables
        if t.name == "choices"
    )
    assert table.columns == ("Row", "Seed", "Chosen", "Chosen on", "Weight ID")
    assert all(len(line.items) == 5 for line in table.groups[0])
