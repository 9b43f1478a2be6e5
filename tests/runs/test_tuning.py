"""--tune: trials known beforehand, judged on the selection split, cached, all in the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import assert_refused, bench

from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.core.records import read_records
from bench.core.trainings import read_trainings
from bench.report.formats.rerun_command import rerun_command
from bench.runs.study.tuning import Searched, searched

RUN = (
    *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2", "--methods", "ose,l2-sp"),
    *("--no-curves", "--set", "e2e-ft.epochs=1", "--set", "l2-sp.epochs=1"),
)


@pytest.mark.parametrize("name", ["e2e-ft", "l2-sp", "flyp", "carot", "linear", "lp-ft"])
def test_a_design_is_seeded_distinct_and_within_its_spans(name: str) -> None:
    method = find_method(name)()
    found = searched(method, 9)
    assert found == searched(method, 9)
    assert found.trials[:5] == searched(method, 5).trials  # more trials add to fewer
    default, *others = found.trials
    assert found.with_choice(default) == method
    assert len({json.dumps(dict(trial)) for trial in found.trials}) == 9
    for trial in others:
        assert trial["lr"] == pytest.approx(default["lr"], rel=9.1)
        assert default["lr"] / 10.1 <= trial["lr"] <= default["lr"] * 10.1
        assert default["epochs"] / 2 - 1 <= trial["epochs"] <= default["epochs"] * 2 + 1
    own = {"l2-sp": "pull", "carot": "distill"}.get(name)
    assert own is None or len({trial[own] for trial in found.trials}) == 9
    rates = sorted(trial["lr"] / default["lr"] for trial in others)
    assert rates[0] < 0.4 and rates[-1] > 2.5  # it covers the span


@pytest.mark.parametrize("name", ["zero-shot", "vrf", "wise-ft", "linear-lbfgs"])
def test_what_does_not_train_cannot_be_tuned(name: str) -> None:
    with pytest.raises(InputError, match=f"--tune {name}: nothing to tune"):
        searched(find_method(name)(), 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tune", "e2e-ft"), "--trials N"),
        (("--trials", "4"), "--tune METHOD"),
        (("--tune", "e2e-fit", "--trials", "4"), "e2e-ft"),
        (("--tune", "flyp", "--trials", "4"), "not part of this run"),
        (("--tune", "e2e-ft", "--trials", "0"), "greater than or equal to 1"),
        (("--tune", "e2e-ft", "--trials", "2", "--methods", "e2e-ft@1"), "@EPOCH"),
    ],
)
def test_what_is_wrong_is_said(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert_refused(bench(*RUN, *options, "--cache-dir", tmp_path / "c"), words)


def test_a_tuned_run(tmp_path: Path) -> None:
    places = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    command = (*RUN, "--tune", "e2e-ft", "--trials", "3", *places)
    planned = json.loads(bench("plan", *command[1:], "--json").out)["studies"][0]
    assert planned["trainings"] == 4  # three trials, and l2-sp
    result = bench(*command)
    assert result.code == 0, result.err
    assert "Only e2e-ft+tuned had hyper-parameters searched; l2-sp did not" in result.err
    records = [r for r in read_records(tmp_path / "out" / "records.jsonl") if r.kind == "cell"]
    rows = {(r.method, r.base) for r in records}
    assert rows == {
        *(("zero-shot", None), ("e2e-ft+tuned", None), ("l2-sp", None)),
        ("ose", "e2e-ft+tuned"),
    }
    tuned = [r for r in records if r.method == "e2e-ft+tuned"]
    facts = tuned[0].chosen_on
    assert facts is not None and facts["split"] == "micro/val" and facts["candidates"] == 3
    trials = facts["trials"]
    assert [trial["training_images"] for trial in trials] == [40 * t["epochs"] for t in trials]
    best = max(trials, key=lambda trial: trial["score"])
    assert all(best[name] == value for name, value in tuned[0].choice.items())
    assert all(r.choice == tuned[0].choice for r in tuned)
    assert len(read_trainings(tmp_path / "out")) == 4
    assert bench("check", tmp_path / "out", "--cache-dir", tmp_path / "cache").code == 0
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    assert "to do: nothing" in bench(*command).err
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before
    again = rerun_command(tuned[0])
    assert again is not None and "--methods e2e-ft --tune e2e-ft --trials 3 --seeds 0" in again
    assert "--set e2e-ft.epochs=1" in again
    ensemble = next(r for r in records if r.method == "ose")
    again = rerun_command(ensemble)
    assert again is not None and "--methods ose:e2e-ft --tune e2e-ft --trials 3" in again
    # The first trial is the default: an ordinary run finds it in the cache.
    plain = json.loads(bench("plan", *RUN[1:], *places, "--json").out)["studies"][0]
    assert plain["trainings"] == 0


def test_a_trial_that_diverges_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = ({"lr": 1e-3, "epochs": 1}, {"lr": 1e38, "epochs": 1}, {"lr": 1e-5, "epochs": 1})
    monkeypatch.setattr(
        "bench.runs.study.rows.searched", lambda method, count: Searched(method, trials)
    )
    places = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "out")
    options = ("--tune", "e2e-ft", "--trials", "3", "--set", "e2e-ft.clip=0", *places)
    options = (*options, "--set", "e2e-ft.batch_size=8")
    result = bench(*RUN, "--methods", "e2e-ft", *options)
    assert result.code == 0, result.err
    records = read_records(tmp_path / "out" / "records.jsonl")
    facts = next(r.chosen_on for r in records if r.method == "e2e-ft+tuned" and r.chosen_on)
    assert ["score" in trial for trial in facts["trials"]] == [True, False, True]
