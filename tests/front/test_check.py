"""`bench.check`: the same results as on the command line, as values."""

from __future__ import annotations

import json

import pytest
from commands import Finished
from commands import bench as command

import bench
from bench.core.errors import DataError, InputError


def test_a_run_as_it_was_made_passes(small: Finished) -> None:
    result = bench.check(small.out, cache_dir=small.cache)
    assert result.passed and result.failure == ""
    assert {verdict.state for verdict in result.verdicts} == {"passed"}
    said = command("check", small.out, "--cache-dir", small.cache)
    assert said.out == f"{result}\n" and said.code == 0
    shown = command("check", small.out, "--cache-dir", small.cache, "--json")
    assert json.loads(shown.out) == result.data


def test_an_edited_digit_fails_without_an_error(own: Finished) -> None:
    page = own.out / "report.md"
    text = page.read_text()
    at = text.index("Zero-shot")
    digit = next(i for i in range(at, len(text)) if text[i].isdigit())
    page.write_text(f"{text[:digit]}{9 - int(text[digit])}{text[digit + 1 :]}")
    result = bench.check(page, cache_dir=own.cache)
    assert not result.passed
    assert result.failure.startswith("1 difference from what the stored outputs give")
    assert "bench report RUN rebuilds it" in result.failure
    said = command("check", page, "--cache-dir", own.cache)
    assert said.code == 3 and said.err == f"bench: {' '.join(result.failure.split())}\n"


def test_damage_is_an_error(own: Finished) -> None:
    weights = next((own.cache / "weights").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged"):
        bench.check(own.out, cache_dir=own.cache)


def test_against_recorded_and_published_numbers(small: Finished) -> None:
    with pytest.raises(InputError, match="no cell is comparable with published:vrf-table1"):
        bench.check(small.out, against="published:vrf-table1")
    with pytest.raises(InputError, match="--tolerance 1: only with --against published:NAME"):
        bench.check(small.out, tolerance=1)
    with pytest.raises(InputError, match="expected published:NAME, golden:NAME or samples"):
        bench.check(small.out, against="mini")
