"""The manifest of a run: a digest of each of its files, and one of all.

``bench check`` recomputes what follows from stored outputs. The manifest tells what recomputing
cannot: that a file has another last digit. Whoever changes a run can write its manifest again,
too: one that was sent or printed elsewhere before is evidence, through its ``root``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.environment import environment
from bench.core.errors import DataError
from bench.core.foreign.documents import read_json
from bench.core.hashing import canonical_json
from bench.core.paths import write_atomic
from bench.core.trainings import TRAININGS
from bench.leaderboard import samples
from bench.report.run_folder import CONFIG, MISSING, PLAN, RECORDS

MANIFEST = "manifest.json"
RESULTS = (CONFIG, PLAN, RECORDS, MISSING, TRAININGS, f"{samples.FOLDER}/{samples.SUMS}")
"""The files of a run with a digest in its manifest; the last one has those of all samples."""
ALWAYS = {*RESULTS} - {MISSING, TRAININGS}
"""Those that no run with a manifest lacks: without them there would be less to compare."""


def write_run_manifest(run: Path) -> None:
    """Write the manifest of the run whose files are in the folder `run`."""
    facts: dict[str, Any] = environment()
    code = {"bench": facts["versions"]["bench"], "commit": facts["commit"]}
    content: dict[str, Any] = {"version": 1, "code": code, "files": _digests(run)}
    content["root"] = _root(content)
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_atomic(run / MANIFEST, text.encode())


def changed_files(run: Path) -> list[str] | None:
    """Return the names of a run's files that are not as in its manifest: changed, new or missing.

    None if the run has neither a plan nor a manifest, as those of earlier versions. Raises
    DataError if the manifest was altered.
    """
    path = run / MANIFEST
    if not os.path.lexists(path):
        return [MANIFEST] if os.path.lexists(run / PLAN) else None
    content = read_json(path)
    then = content.get("files") if isinstance(content, dict) else None
    if not isinstance(then, dict) or content.get("root") != _root(content):
        raise DataError(f"{path} was altered: its root is not the digest of its content")
    now = _digests(run)
    names = {*then, *now, *ALWAYS}
    return sorted(name for name in names if name not in now or then.get(name) != now[name])


def _digests(run: Path) -> dict[str, str]:
    files = {name: run / name for name in RESULTS}
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items() if p.is_file()}


def _root(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "root"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()
