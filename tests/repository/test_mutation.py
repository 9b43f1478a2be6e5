"""The mutants of `scripts/mutation.py`: what is changed, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")
pytest.importorskip("coverage")

from mutants.listing import mutants, statement
from mutants.trials import exchanged

SOURCE = '''"""A docstring of 2 lines."""
from __future__ import annotations

LIMIT = 3
Pair = tuple[int, 2]


def half(value: int | None, *, by: int = 2) -> float:
    """Return 1 half."""
    if value is None or value not in (1, LIMIT):
        raise ValueError(f"{value}: expected 1 to {LIMIT + 0}")
    rest = value / by
    rest += 0
    return rest
'''


def test_values_conditions_and_statements_are_changed_but_no_texts_and_no_types(
    tmp_path: Path,
) -> None:
    (tmp_path / "half.py").write_text(SOURCE)
    found = mutants(tmp_path, "half.py")
    assert all(mutant.can_be_tried(tmp_path) for mutant in found)
    assert sorted({(mutant.line, mutant.operator.removeprefix("Replace")) for mutant in found}) == [
        (4, "NumberReplacer"),
        (8, "NumberReplacer"),
        (10, "AddNot"),
        (10, "ComparisonOperator_Is_IsNot"),
        (10, "Membership"),
        (10, "NumberReplacer"),
        (10, "OrWithAnd"),
        (11, "RemoveStatement"),
        (12, "BinaryOperator_Div_Mul"),
        (13, "AugmentedAssignment"),
        (13, "NumberReplacer"),
        (13, "RemoveStatement"),
        (14, "ReturnNone"),
    ]
    changes = {mutant.change(tmp_path) for mutant in found if mutant.line in (11, 12)}
    assert changes == {
        "`rest = value / by` -> `rest = value * by`",
        '`raise ValueError(f"{value}: expected 1 to {LIMIT + 0}")` -> `pass`',
    }
    assert {m.line for m in found if statement(tmp_path, m)[1]} == {4, 8}  # when it is imported
    assert mutants(tmp_path, "half.py::half") == [m for m in found if m.line > 4]


def test_functions_that_are_imported_already_get_the_code_of_a_mutant(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text(SOURCE)
    place: dict[str, object] = {}
    exec(compile(SOURCE, str(file), "exec"), place)
    half = place["half"]
    assert callable(half) and half(3) == 1.5 and not exchanged(file, [half])
    file.write_text(SOURCE.replace("value / by", "value * by"))
    assert exchanged(file, [half]) and half(3) == 6
