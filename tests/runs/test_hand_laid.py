"""Files laid into the cache of a run by hand: names and checksums fit, their content does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Finished, assert_refused, bench, contents

from bench.core.store.container import (
    metadata,
    opened_json,
    packed_arrays,
    sealed,
    sealed_bytes,
    unpacked_arrays,
)

ABOVE = {
    "renders": ("features", "distances", "fits", "samples", "sets", "cells"),
    "weights": ("features", "distances", "fits", "samples", "sets", "cells"),
    "features": ("distances", "fits", "samples", "sets", "cells"),
    "distances": ("fits", "samples", "sets", "cells"),
    "fits": ("samples", "sets", "cells"),
}
"""What is removed, so that a file is read."""


def lay(path: Path, *, empty: bool) -> None:
    """Replace a stored file by one without its arrays and values, or with a note that is a list."""
    if path.suffix == ".json":
        path.write_bytes(sealed_bytes(f"{path.parts[-3]}/{path.stem}", b"{}" if empty else b"[3]"))
        return
    facts = metadata(path)
    arrays = {} if empty else unpacked_arrays(path.read_bytes())
    note = {} if empty else {"note": "[]", "caveats": "3"}
    kept = {name: text for name, text in facts.items() if name not in ("note", "caveats")}
    path.write_bytes(b"".join(sealed(facts["item"], packed_arrays(arrays, kept | note))))


@pytest.mark.parametrize("kind", ["fits", "samples", "sets", "models", "trainings", "cells",
                                  "features", "renders", "distances"])  # fmt: skip
def test_what_is_of_another_form_is_computed_again(kind: str, own: Finished) -> None:
    """They ended in internal errors, or in reports that lacked something, at exit 0."""
    before = contents(own.out)
    for kinds in ABOVE.get(kind, ()):
        shutil.rmtree(own.cache / kinds)
    files = sorted(path for path in (own.cache / kind).rglob("*.*") if path.is_file())
    for number, path in enumerate(files):
        # A pack without cells is none that is damaged; features and renders have no notes.
        always = kind in ("features", "renders", "trainings", "distances")
        lay(path, empty=kind != "cells" and (always or number % 2 == 0))
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 0, result.err
    assert contents(own.out) == before


def test_a_choice_of_other_settings_is_refused(own: Finished) -> None:
    """Its form fits; the method took its default for the setting that it did not find."""
    for path in (own.cache / "fits").rglob("*.safetensors"):
        facts = metadata(path)
        note = json.loads(facts["note"])
        if "b" in note.get("choice", {}):
            other = {"choice": {"a": 1.5}, "redrawn": [{"a": 1.5}] * len(note["redrawn"])}
            facts["note"] = json.dumps(note | other)
            arrays = unpacked_arrays(path.read_bytes())
            path.write_bytes(b"".join(sealed(facts["item"], packed_arrays(arrays, facts))))
    before = contents(own.out)
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert_refused(result, "stored output fits/", "chose other settings", "remove it", code=4)
    assert contents(own.out) == before


def test_a_pack_keeps_what_is_right(own: Finished) -> None:
    """A value that is none makes a pack of cells damaged as a whole: all are measured again."""
    before = contents(own.out)
    path = next((own.cache / "cells").rglob("*.json"))
    item = f"cells/{path.stem}"
    cells = opened_json(item, path.read_bytes())
    first = next(iter(cells))
    cells[first]["value"] = "0.5"
    path.write_bytes(sealed_bytes(item, json.dumps(cells).encode()))
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 0 and contents(own.out) == before
