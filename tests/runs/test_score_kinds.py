"""`bench score` of scores of another kind, precision or offset than usual."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused
from outputs_folders import Arrays, alter, folder, found, score

from bench.posthoc.functional import log_softmax
from bench.runs.study.outputs_folder import load_outputs_folder


def probabilities(logits: Any) -> Any:
    return np.exp(log_softmax(logits.astype(np.float64)))


def change(arrays: Arrays, scores: Callable[[Any], Any]) -> None:
    arrays["clip.logits"] = scores(arrays["clip.logits"])


def rename(arrays: Arrays, scores: Callable[[Any], Any]) -> None:
    arrays["clip.probabilities"] = scores(arrays.pop("clip.logits"))


def values(path: Path) -> dict[tuple[str, ...], float]:
    return {(r.method, r.shift, r.metric, r.kind): r.value for r in found(path)}


@pytest.mark.parametrize(
    "scores",
    [
        lambda z: z.astype(np.float64) - 3e6,
        lambda z: z.astype(np.float64) + 1e9,
        lambda z: np.log(probabilities(z)),  # log-probabilities
        lambda z: z.astype(np.float64) + np.arange(len(z))[:, None] * 1e4,
    ],
)
def test_what_a_softmax_ignores_changes_no_number(
    scores: Callable[[Any], Any], tmp_path: Path
) -> None:
    assert score(folder(tmp_path), "--methods", "ose,ose-calibrated,ose-logits").code == 0
    before = values(tmp_path)
    for role in ("train", "selection", "test", "sketch"):
        alter(tmp_path, role, lambda arrays: change(arrays, scores))
    assert score(tmp_path, "--methods", "ose,ose-calibrated,ose-logits").code == 0
    after = values(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[cell] == pytest.approx(before[cell], abs=1e-4) for cell in before)


def test_probabilities_may_be_given_by_their_name(tmp_path: Path) -> None:
    assert score(folder(tmp_path)).code == 0
    before = values(tmp_path)
    for role in ("train", "selection", "test", "sketch"):
        alter(tmp_path, role, lambda arrays: rename(arrays, probabilities))
    assert score(tmp_path).code == 0
    after = values(tmp_path)
    assert all(after[cell] == pytest.approx(before[cell], abs=1e-4) for cell in before)


def test_integer_scores_are_logits(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for role in ("train", "selection", "test", "sketch"):
        alter(path, role, lambda arrays: change(arrays, lambda z: np.rint(9 * z).astype(np.int16)))
    assert score(path).code == 0
    before = values(path)
    for role in ("train", "selection", "test", "sketch"):
        alter(path, role, lambda arrays: change(arrays, lambda z: z.astype(np.float32)))
    assert score(path).code == 0
    assert values(path) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (lambda z: z / np.abs(z).max(), "clip.logits: all values lie in [-1, 1], as cosines do."),
        (lambda z: z * np.float32(0), "clip.logits: 30 of 30 rows have one value for all classes"),
        (lambda z: np.float32(1e8) + z, "clip.logits: "),
        (lambda z: z, ""),
    ],
)
def test_doubtful_scores_are_caveats_of_their_split(
    scores: Callable[[Any], Any], words: str, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    alter(path, "test", lambda arrays: change(arrays, scores))
    for _ in range(2):  # read, and from the cache
        suite = load_outputs_folder(path, tmp_path / "cache").suite
        assert [words in one for one in suite.test.caveats] == [True] * bool(words)
        assert all(len(one) < 300 for one in suite.test.caveats)
        assert not suite.task.selection.caveats


@pytest.mark.parametrize(
    ("role", "change_of", "words"),
    [
        ("test", lambda a: change(a, probabilities), ["these are probabilities", ".probabilities"]),
        ("train", lambda a: change(a, probabilities), ["these are probabilities"]),
        ("sketch", lambda a: change(a, lambda z: 100 * probabilities(z)), ["dividing it by 100"]),
        ("test", lambda a: change(a, lambda z: np.eye(3)[z.argmax(1)]), ["(one-hot)"]),
        ("test", lambda a: change(a, lambda z: np.eye(3, dtype=int)[z.argmax(1)]), ["(one-hot)"]),
        (
            "test",
            lambda a: change(a, lambda z: z.astype(np.float64) * 1e300),
            ["is beyond float32"],
        ),
        ("test", lambda a: rename(a, lambda z: z), ["smallest value is -", "to be named logits"]),
        ("test", lambda a: rename(a, np.rint), ["smallest value is -"]),
        ("test", lambda a: rename(a, lambda z: np.eye(3)[z.argmax(1)]), ["is 0, whose logarithm"]),
        ("test", lambda a: rename(a, lambda z: 2 * probabilities(z)), ["sums to 2, expected 1"]),
        (
            "test",
            lambda a: a.update({"clip.probabilities": probabilities(a["clip.logits"])}),
            ["has clip.logits and clip.probabilities"],
        ),
        ("test", lambda a: a.update({"clip.logits": a["labels"]}), ["is a predicted class"]),
        ("test", lambda a: a.update({"clip.features": a["labels"]}), ["is I64, expected F16"]),
    ],
)
def test_scores_of_another_kind_are_refused(
    role: str, change_of: Callable[[Arrays], object], words: list[str], tmp_path: Path
) -> None:
    alter(folder(tmp_path), role, change_of)
    for _ in range(2):  # invalid content is not cached as valid
        result = score(tmp_path)
        assert_refused(result, f"{role}.safetensors", *words)
        assert len(result.err.strip()) < 500
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": 3}'])
def test_a_damaged_index_is_made_again(text: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    assert score(path).code == 0
    before = (path / "out" / "records.jsonl").read_bytes()
    entries = list((path / "cache" / "index").glob("*.json"))
    assert entries
    for entry in entries:
        entry.write_text(text)
    result = score(path)
    assert result.code == 0, result.err
    assert (path / "out" / "records.jsonl").read_bytes() == before
