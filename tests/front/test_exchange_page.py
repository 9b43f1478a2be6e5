"""docs/exchange.md: its commands run, and it names the suites that have foreign rows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from commands import Finished, bench
from imagenet_rows import IMAGENET, rows
from places import ROOT

from bench.core.records import records_text
from bench.leaderboard.published.clip_benchmark import DATASETS
from bench.leaderboard.published.places import PLACES

PAGE = (ROOT / "docs" / "exchange.md").read_text()
COMMANDS = [line.split("#")[0] for line in PAGE.splitlines() if line.startswith("    bench ")]


def test_the_commands_run_one_after_the_other(
    small: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(small.cache))
    run = tmp_path / "imagenet"
    run.mkdir()
    (run / "records.jsonl").write_text(records_text(rows("imagenet", IMAGENET)))
    result = {"model": "ViT-B-32", "pretrained": "openai", "task": "zeroshot_classification"}
    for name, value in {"imagenet1k": 0.6334, "imagenetv2": 0.5596}.items():
        made = result | {"dataset": name, "metrics": {"acc1": value}}
        Path(f"{name}.json").write_text(json.dumps(made))
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        _, name, *arguments = shlex.split(command)
        own = {"RUN": str(run if name == "report" else small.out), "SUITE": "micro"}
        more = ["--limit", "20", "--shifts", "v2"] if name == "run" else []
        said = bench(name, *(own.get(part, part) for part in arguments), *more)
        assert said.code == 0, said.err
    exports = Path("results/exports", small.out.name)
    assert (exports / "wise-ft-e2e-ft" / "README.md").is_file()
    assert Path("mine/open_clip_model.safetensors").is_file()
    assert Path("records.parquet").is_file() and (run / "beside" / "imagenetv2.json").is_file()


def test_the_suites_with_foreign_rows_are_named() -> None:
    (text,) = re.findall(r"Rows are shown on the suites (.*?)\. What", PAGE, flags=re.DOTALL)
    assert set(re.findall(r"`(\w+)`", text)) == {PLACES[name].suite for name in DATASETS.values()}
