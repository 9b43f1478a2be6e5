"""``bench cache``: what it prints, its exit codes, and that runs and it leave each other alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Finished, assert_refused, bench

from bench.core.store import Store
from bench.core.store.claims import void_claims
from bench.core.store.upkeep import cached_files
from bench.runs import session
from bench.runs.plan import make_plan
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "cache")
    for key in ("1f0c", "2e1d"):
        made.write_arrays(
            "fits", key, {}, {"choice": {"alpha": 0.5}, "chosen_on": {}, "caveats": []}
        )
    return made


def damage(store: Store) -> Path:
    path = store.path("fits", "1f0c")
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    return path


def test_the_cache_is_listed(store: Store) -> None:
    result = bench("cache", "ls", "--cache-dir", store.root)
    assert result.code == 0 and str(store.root) in result.out
    assert ["fits", "2"] in [line.split()[:2] for line in result.out.splitlines()]
    data = json.loads(bench("cache", "ls", "--json", "--cache-dir", store.root).out)
    (use,) = data["kinds"]
    assert (use["kind"], use["files"]) == ("fits", 2)
    assert use["size"] == sum(file.size for file in cached_files(store.root))
    empty = bench("cache", "ls", "--cache-dir", store.root / "nowhere")
    assert (empty.code, empty.out.strip()) == (0, f"{store.root / 'nowhere'} is empty")


def test_no_output_of_a_run_is_a_stranger(small: Finished) -> None:
    """Distances were listed as files of other programs, and neither verified nor removed."""
    command = ["cache", "ls", "--json", "--cache-dir", small.cache]
    kinds = {use["kind"] for use in json.loads(bench(*command).out)["kinds"]}
    assert "distances" in kinds and "other" not in kinds
    items = {file.item.partition("/")[0] for file in cached_files(small.cache)}
    assert kinds - items - {""} <= {"claims", "index", "locks", "rates", "scripts", "tmp"}


@pytest.mark.parametrize("command", ["ls", "verify", "gc", "gc --older-than 1"])
def test_a_file_is_no_cache(command: str, tmp_path: Path) -> None:
    """It was called a stored output to be removed."""
    (tmp_path / "notes").write_text("mine")
    result = bench("cache", *command.split(), "--cache-dir", tmp_path / "notes")
    assert_refused(result, "notes is a file, expected a folder")


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "ten"])
def test_days_that_are_none_are_refused(days: str, store: Store) -> None:
    """NaN days removed nothing, without a word."""
    result = bench("cache", "gc", "--older-than", days, "--cache-dir", store.root)
    assert_refused(result, "--older-than")


def test_damage_is_named_and_removed_on_request(store: Store) -> None:
    assert bench("cache", "verify", "--cache-dir", store.root).code == 0
    path = damage(store)
    result = bench("cache", "verify", "--cache-dir", store.root)
    assert result.code == 4 and "fits/1f/1f0c.safetensors" in result.err and str(path) in result.out
    assert path.exists()
    found = bench("cache", "verify", "--json", "--remove", "--cache-dir", store.root)
    (one,) = json.loads(found.out)["damaged"]
    assert (found.code, one["file"], one["removed"]) == (0, str(path), True)
    assert not path.exists() and store.has("fits", "2e1d")
    assert bench("cache", "verify", "--cache-dir", store.root).code == 0


def test_old_outputs_go_on_request(store: Store) -> None:
    command = ["cache", "gc", "--cache-dir", store.root]
    assert "0 files of 0 bytes removed" in bench(*command).out
    dry = bench(*command, "--older-than", 0, "--dry-run")
    assert "2 files" in dry.out and "would be removed" in dry.out
    assert store.has("fits", "1f0c")
    with store.claims.held(["run-1"]):
        assert_refused(bench(*command, "--older-than", 0), "a run uses it")
    assert bench(*command, "--older-than", 1).code == 0 and store.has("fits", "1f0c")
    data = json.loads(bench(*command, "--older-than", 0, "--json").out)
    assert len(data["removed"]) == 2 and not store.has("fits", "1f0c")


def test_descriptions_of_imports_that_cannot_be_read_stop_the_removal(store: Store) -> None:
    (store.root / "imports").mkdir()
    (store.root / "imports" / "mine.json").write_text("{")
    command = ["cache", "gc", "--cache-dir", store.root, "--older-than", 0]
    assert_refused(bench(*command), "mine.json is damaged")
    assert store.has("fits", "1f0c")


def test_a_run_holds_a_claim_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    execute = session.execute_plan

    def watched(*arguments: Any) -> Any:
        held.append(len(void_claims(tmp_path / "cache" / "claims")[1]))
        return execute(*arguments)

    monkeypatch.setattr(session, "execute_plan", watched)
    command = ["run", "--suite", "micro", "--methods", "zero-shot", "--shifts", "v2", "--limit", 20]
    assert bench(*command, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run").code == 0
    assert held == [1]
    assert list((tmp_path / "cache" / "claims").iterdir()) == []


def test_cells_take_less_than_twice_their_content_on_the_disk(tmp_path: Path) -> None:
    options = {"suite": "micro", "methods": "wise-ft,ose,vrf", "curves": True}
    config = RunConfig.model_validate(options | {"cache_dir": tmp_path})
    plan = make_plan(resolve_studies(config)[0], lambda _: None)
    store, content, packs = Store(tmp_path), 0, dict[str, dict[str, Any]]()
    for cell in plan.cells:
        value = {"value": 1 / 3, "n": 200, "weight": 0.5, "environment": "x" * 300}
        packs.setdefault(cell.pack, {})[cell.key] = value
    for pack, cells in packs.items():
        store.write_cells(pack, cells)
        content += len(json.dumps(cells))
    (use,) = json.loads(bench("cache", "ls", "--json", "--cache-dir", tmp_path).out)["kinds"]
    assert use["files"] == len(packs) < len(plan.items) / 20
    assert use["on_disk"] < 2 * content
