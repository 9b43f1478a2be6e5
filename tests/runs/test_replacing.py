"""A finished run is not lost to a later one that is poorer or another."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, Finished, assert_refused, bench, contents

from bench.api.metrics import Metric
from bench.api.recipes import Tuned
from bench.core.records import read_missing, read_records
from bench.core.store import Store
from bench.report.run_folder import MISSING, RECORDS
from bench.runs import session
from bench.runs.execution.runner import Runner
from bench.runs.items import WeightsItem, WorkItem
from bench.runs.plan import Plan
from bench.runs.results.files import Results


@pytest.fixture
def finished(own: Finished) -> tuple[Path, Path]:
    """The folder and the cache of a finished run."""
    return own.out, own.cache


def forget(cache: Path, *kinds: str) -> None:
    for kind in kinds:
        shutil.rmtree(cache / kind, ignore_errors=True)


def test_an_outcome_that_lacks_cells_is_written_beside(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cache = finished
    before = contents(out)
    forget(cache, "cells", "samples")
    write = Store.write_json

    def full(self: Store, kind: str, key: str, value: object, **options: bool) -> None:
        if kind == "cells" and len(list((cache / "cells").rglob("*.json"))) > 2:
            raise OSError(28, "No space left on device", str(self.path(kind, key)))
        write(self, kind, key, value, **options)

    monkeypatch.setattr(Store, "write_json", full)
    result = bench(*SMALL, "--cache-dir", cache, "--out", out)
    assert result.code == 1 and "No space left on device" in result.err
    assert contents(out) == before
    beside = out.with_name("run.incomplete")
    assert f"{out} keeps its earlier results" in result.err and str(beside) in result.err
    missing, records = (
        read_missing(beside / MISSING),
        read_records(beside / RECORDS),
    )
    expected = [r for r in read_records(out / RECORDS) if r.shift != "pooled"]
    found = [r for r in records if r.shift != "pooled"]
    assert len(found) + sum(cell.count for cell in missing) == len(expected)
    monkeypatch.undo()
    assert bench(*SMALL, "--cache-dir", cache, "--out", out).code == 0
    assert contents(out) == before


def test_every_cell_that_cannot_be_computed_is_named(finished: tuple[Path, Path]) -> None:
    """A features file that cannot be read: its curve points used to vanish."""
    out, cache = finished
    expected = len(read_records(out / RECORDS))
    forget(cache, "cells", "samples")
    blocks = sorted((cache / "features").rglob("*.safetensors"))
    for path in blocks[::5]:
        path.unlink()
        path.mkdir()  # like a file that cannot be read, also for root
    result = bench(*SMALL, "--cache-dir", cache, "--out", out.with_name("new"))
    assert result.code == 1
    new = out.with_name("new")
    missing, records = read_missing(new / MISSING), read_records(new / RECORDS)
    pooled = sum(r.shift == "pooled" for r in read_records(out / RECORDS))
    kept = sum(r.shift != "pooled" for r in records)
    assert kept + sum(cell.count for cell in missing) == expected - pooled
    assert any(part.startswith("curve") for cell in missing for part in cell.lacking)
    assert any(part.startswith("figure") for cell in missing for part in cell.lacking)
    assert all("features" in cell.reason for cell in missing)


def test_weights_that_another_run_stores_at_that_moment_are_taken(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what is ready and the one at what a training makes: an IndexError."""
    out, cache = finished
    before, looked = contents(out), list[bool]()
    forget(cache, "weights", "features", "fits", "cells", "samples")
    same = Runner._same_training

    def just_stored(self: Runner, item: WeightsItem, plan: Plan) -> list[WorkItem]:
        looked.append(isinstance(item.recipe, Tuned))
        return [] if looked.count(True) == 1 and looked[-1] else same(self, item, plan)

    monkeypatch.setattr(Runner, "_same_training", just_stored)
    assert bench(*SMALL, "--cache-dir", cache, "--out", out).code == 0
    assert contents(out) == before and looked.count(True) > 1


@pytest.mark.parametrize("kind", ["fits", "cells"])
def test_what_is_read_at_the_start_or_end_and_cannot_be_is_bad_data(
    kind: str, finished: tuple[Path, Path]
) -> None:
    out, cache = finished
    before = contents(out)
    path = next((cache / kind).rglob("*.*"))
    path.unlink()
    path.mkdir()
    result = bench(*SMALL, "--cache-dir", cache, "--out", out)
    assert_refused(result, str(path)[:100], "cannot be read", "remove it", code=4)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--methods", "ose"), "cells that this one leaves out"),
        (("--shifts", "v2"), "cells that this one leaves out"),
        (("--select", "max-val"), "another select"),
        (("--set", "vrf.p=0.5"), "another set"),
    ],
)
def test_another_run_is_refused(
    options: tuple[str, ...], word: str, finished: tuple[Path, Path]
) -> None:
    out, cache = finished
    before = contents(out)
    result = bench(*SMALL, *options, "--cache-dir", cache, "--out", out)
    assert_refused(result, str(out), word, "--overwrite")
    assert contents(out) == before


def test_asked_to_or_with_more_cells_a_run_replaces_another(finished: tuple[Path, Path]) -> None:
    out, cache = finished
    assert bench(*SMALL, "--controls", "--cache-dir", cache, "--out", out).code == 0
    more = len(read_records(out / RECORDS))
    assert_refused(bench(*SMALL, "--cache-dir", cache, "--out", out), "leaves out")
    assert bench(*SMALL, "--overwrite", "--cache-dir", cache, "--out", out).code == 0
    assert len(read_records(out / RECORDS)) < more


@pytest.mark.parametrize("damage", ["", "{}", "\0\0", "not json"])
def test_what_cannot_be_read_is_replaced(damage: str, finished: tuple[Path, Path]) -> None:
    out, cache = finished
    before = contents(out)
    (out / RECORDS).write_text(damage)
    assert bench(*SMALL, "--cache-dir", cache, "--out", out).code == 0
    assert contents(out) == before


BAD_RATES = [
    b"", b"null", b"[]", b'{"forward": "fast"}', b'{"forward": null}', b'{"forward": 0}',
    b'{"forward": NaN}', b'{"forward": -1}', b'{"forward": 1e999}', b"\xff\xfe", b'{"forward": {}}',
    b"[" * 100_000, b'{"m": {"forward": [[0, 1]]}}', b'{"m": {"forward": [[1, 1e999]]}}',
    b'{"m": {"forward": [1]}}', b'{"m": {"forward": [[1e999, 1]]}}', b'{"m": {"forward": "12"}}',
]  # fmt: skip


@pytest.mark.parametrize("content", BAD_RATES, ids=range(len(BAD_RATES)))
def test_bad_rates_stop_nothing(content: bytes, finished: tuple[Path, Path]) -> None:
    out, cache = finished
    for path in (cache / "rates").iterdir():
        path.write_bytes(content)
    result = bench("plan", *SMALL[1:], "--seeds", "7", "--cache-dir", cache, "--out", out)
    assert result.code == 0, result.err


def test_what_is_no_result_need_not_be_writable(finished: tuple[Path, Path]) -> None:
    out, cache = finished
    shutil.rmtree(cache / "rates")
    (cache / "rates").touch()
    (out / "timings.jsonl").unlink()
    (out / "timings.jsonl").mkdir()
    shutil.rmtree(cache / "claims")
    (cache / "claims").touch()
    forget(cache, "cells", "samples", "features")
    result = bench(*SMALL, "--cache-dir", cache, "--out", out)
    assert result.code == 0, result.err


def test_a_number_that_is_not_finite_fails_its_cell_alone(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cache = finished
    measure = Metric.__call__

    def broken(self: Metric, *arguments: Any) -> float:
        return math.nan if self.name == "brier" else measure(self, *arguments)

    monkeypatch.setattr(Metric, "__call__", broken)
    forget(cache, "cells", "samples")
    new = out.with_name("new")
    result = bench(*SMALL, "--cache-dir", cache, "--out", new)
    assert result.code == 1 and "brier of zero-shot is not finite" in result.err
    assert {part.split()[-1] for m in read_missing(new / MISSING) for part in m.lacking} == {
        "brier"
    }
    records, before = read_records(new / RECORDS), read_records(out / RECORDS)
    assert len(records) == sum(record.metric != "brier" for record in before)


def test_a_run_that_ended_meanwhile_is_not_replaced(
    own: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs with other settings start at once in one folder: the second to end is refused."""
    out, begun = tmp_path / "new", session.execute_plan

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(session, "execute_plan", begun)
        shutil.copytree(own.out, out, dirs_exist_ok=True)
        return begun(*arguments)

    monkeypatch.setattr(session, "execute_plan", meanwhile)
    result = bench(*SMALL, "--select", "max-val", "--cache-dir", own.cache, "--out", out)
    assert_refused(result, f"{out} has a run with another select")
    assert contents(out) == contents(own.out)


def lacking_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one value of the run that comes fail."""
    measure = Metric.__call__

    def broken(self: Metric, *arguments: Any) -> float:
        return math.nan if self.name == "brier" else measure(self, *arguments)

    monkeypatch.setattr(Metric, "__call__", broken)


def test_a_whole_run_that_ends_meanwhile_is_not_replaced_by_a_poorer_one(
    own: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both run in one folder: the poorer one looked before the other ended, and wrote after it."""
    out, written = tmp_path / "new", Results.write

    def meanwhile(self: Results, *arguments: Any) -> None:
        monkeypatch.setattr(Results, "write", written)
        shutil.copytree(own.out, out, dirs_exist_ok=True)
        written(self, *arguments)

    lacking_a_cell(monkeypatch)
    forget(own.cache, "cells", "samples")
    monkeypatch.setattr(Results, "write", meanwhile)
    result = bench(*SMALL, "--cache-dir", own.cache, "--out", out)
    assert result.code == 1 and f"{out} keeps its earlier results" in result.err
    assert contents(out) == contents(own.out)
    assert read_missing(tmp_path / "new.incomplete" / MISSING)
    assert not list(tmp_path.rglob(".new-*"))


def test_a_poorer_outcome_replaces_no_other_poor_one(
    own: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the one beside; the same outcome again takes its own place."""
    out = tmp_path / "new"
    beside = tmp_path / "new.incomplete"
    for folder in (out, beside):
        shutil.copytree(own.out, folder)
    lacking_a_cell(monkeypatch)
    forget(own.cache, "cells", "samples")
    command = (*SMALL, "--cache-dir", own.cache, "--out", out)
    assert [bench(*command).code for _ in range(2)] == [1, 1]
    assert contents(out) == contents(beside) == contents(own.out)
    assert sorted(path.name for path in tmp_path.glob("new*")) == [
        "new", "new.incomplete", "new.incomplete-2",
    ]  # fmt: skip


def test_a_poorer_outcome_does_not_replace_what_cannot_be_read(
    own: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records with one flipped bit may still be mended by hand."""
    lines = (own.out / RECORDS).read_bytes()
    (own.out / RECORDS).write_bytes(damaged := lines[:-9] + bytes([lines[-9] ^ 128]) + lines[-8:])
    lacking_a_cell(monkeypatch)
    forget(own.cache, "cells", "samples")
    result = bench(*SMALL, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 1 and f"{own.out} keeps its earlier results" in result.err
    assert (own.out / RECORDS).read_bytes() == damaged
