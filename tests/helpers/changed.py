"""For tests: invented records to compare, and folders that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from places import ROOT

from bench.core.records import Record, records_text

MINI = ROOT / "results" / "mini"
N = 400


def record(method: str = "vrf", shift: str = "id", value: float = 0.5, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "suite": "mini", "model": "tiny/embedded", "method": method, "base": "e2e-ft",
        "title": method, "seed": 0, "shift": shift, "order": 0 if shift == "id" else 1,
        "shifts_in_suite": 2, "metric": "top1", "value": value, "n": N,
    }  # fmt: skip
    return Record.model_validate(fields | more)


def write(folder: Path, *records: Record) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text(records_text(records))
    return folder
