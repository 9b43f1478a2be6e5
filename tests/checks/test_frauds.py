"""What somebody might change of data and runs to get other numbers, and `bench check` finds."""

from __future__ import annotations

import json
from pathlib import Path

from commands import SMALL, Finished, assert_refused, bench
from suite_files import BASE, NAMES, folders, write

from bench.checks.recompute import recompute_run
from bench.core.records import read_records, records_text
from bench.leaderboard import samples
from bench.runs.results.manifest import write_run_manifest

TINY = ("--model", "tiny", "--pretrained", "embedded")


def test_an_image_that_was_moved_to_another_class_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "test"):
        folders(data / split, NAMES)
    suite = write(tmp_path, BASE)
    out, cache = tmp_path / "run", tmp_path / "cache"
    where = ("--data", data, "--cache-dir", cache)
    done = bench("run", "--suite", suite, "--methods", "zero-shot", *TINY, "--out", out, *where)
    assert done.code == 0, done.err
    assert bench("check", out, *where).code == 0
    (data / "test" / "cat" / "test0.png").rename(data / "test" / "dog" / "test9.png")
    refusal = bench("check", out, *where)
    assert_refused(refusal, "the data or labels of", "have changed since the run", code=4)


def test_a_seed_that_was_dropped_is_found(own: Finished, tmp_path: Path) -> None:
    """From configuration, records and samples, with a manifest that was written again."""
    out = tmp_path / "both"
    command = (*SMALL, "--methods", "e2e-ft", "--seeds", "0,1", "--cache-dir", own.cache)
    done = bench(*command, "--out", out)
    assert done.code == 0, done.err
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"seeds": [1]}))
    everything = read_records(out / "records.jsonl")
    kept = [record for record in everything if record.seed != 0]
    assert 0 < len(kept) < len(everything)
    (out / "records.jsonl").write_text(records_text(kept))
    left = {record.provenance["key"] for record in kept if "key" in record.provenance}
    for path in (out / samples.FOLDER).glob("*.safetensors"):
        if path.stem not in left and not path.stem.startswith("set"):
            path.unlink()
    write_run_manifest(out)
    found = recompute_run(out, {"cache_dir": own.cache}).differences
    assert found and found[0].file == "plan.json"
