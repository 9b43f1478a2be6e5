"""The command that repeats a record says of a checkpoint file what its run said."""

from __future__ import annotations

import shlex

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.hashing import canonical
from bench.report.formats.rerun_command import rerun_command
from bench.testing.fakes import fake_records


def command(reading: Reading | None) -> list[str]:
    backbone = Backbone("ViT-B-32", "/data/ft (1).pt", "ab" * 32, reading)
    provenance = {"backbone": canonical(backbone)}
    record = fake_records()[0].model_copy(
        update={"model": str(backbone), "provenance": provenance, "suite": "mini"}
    )
    found = rerun_command(record)
    assert found is not None
    return shlex.split(found)


def test_what_was_said_of_a_file_is_said_again() -> None:
    for reading in (None, Reading()):
        words = command(reading)
        assert words[4:8] == ["--model", "ViT-B-32", "--pretrained", "ft (1).pt@abababab"]
        assert not any(word.startswith("model.") for word in words)
    said = Reading(like="ViT-B-32/openai", mean=(0.5, 0.5, 0.5), quick_gelu=False)
    words = command(said)
    assert words[4:8] == ["--model", "ViT-B-32", "--pretrained", "ft (1).pt@abababab"]
    given = [word for word in words if word.startswith("model.")]
    assert given == [
        "model.like=ViT-B-32/openai",
        "model.quick_gelu=false",
        "model.mean=[0.5,0.5,0.5]",
    ]
