"""Estimates of time: robust against loaded machines, always given, honest about what they know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.api.recipes import Backbone
from bench.core.store import Store
from bench.front.plan import duration_text
from bench.runs.costs import rates
from bench.runs.costs.counts import Counts
from bench.runs.costs.estimate import SPREADS, TimeEstimate, estimate_time, of_samples
from bench.runs.costs.rates import ENOUGH, KEPT, Sample, guessed, remember_samples, samples_here
from bench.runs.costs.stopwatch import Stopwatch, idle_seconds
from bench.runs.study.config import RunConfig
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.study import Study

SECONDS = st.floats(1e-6, 1e6)
SAMPLES = st.lists(st.builds(Sample, st.integers(1, 10_000), SECONDS), min_size=1, max_size=12)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def study(store: Store) -> Study:
    options = {"suite": "micro", "methods": "zero-shot", "cache_dir": store.root}
    return resolve_studies(RunConfig.model_validate(options))[0]


def steady(*seconds: float, images: int = ENOUGH) -> dict[str, Sequence[Sample]]:
    return {"forward": [Sample(images, one) for one in seconds]}


def estimate(study: Study, store: Store, images: int = 1000) -> TimeEstimate:
    count = Counts(0, 0, 0, 0, 0, (), 0, 1, {})
    forwards = type("Passes", (), {"forwards": images, "decodes": images})
    return estimate_time([study], [replace(count, splits=(forwards(),))], store, "cpu")


def test_a_loaded_run_does_not_spoil_what_was_known(study: Study, store: Store) -> None:
    for seconds in (10.0, 10.5, 40.0):
        remember_samples(store, study, "cpu", steady(seconds))
    found = estimate(study, store, images=2 * ENOUGH)
    assert (found.seconds, found.high, found.basis) == (21.0, 80.0, "measured")


def test_the_last_samples_count(study: Study, store: Store) -> None:
    remember_samples(store, study, "cpu", steady(*[100.0] * KEPT))
    remember_samples(store, study, "cpu", steady(*[10.0] * (KEPT // 2 + 1)))
    assert len(samples_here(store, study, "cpu")["forward"]) == KEPT
    assert estimate(study, store, images=ENOUGH).seconds == 10.0


def test_small_samples_serve_until_there_are_large_ones(study: Study, store: Store) -> None:
    remember_samples(store, study, "cpu", steady(1.0, images=10))
    assert (estimate(study, store).seconds, estimate(study, store).basis) == (100.0, "few images")
    remember_samples(store, study, "cpu", steady(5.0))
    assert (estimate(study, store).seconds, estimate(study, store).basis) == (10.0, "measured")
    for _ in range(KEPT):
        remember_samples(store, study, "cpu", steady(5.0))
    assert {sample.images for sample in samples_here(store, study, "cpu")["forward"]} == {ENOUGH}


def test_samples_of_another_machine_are_a_guess(
    study: Study, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(rates, "_machine", lambda: "there")
        remember_samples(store, study, "cpu", steady(5.0))
    found = estimate(study, store)
    assert (found.seconds, found.basis) == (10.0, "another machine")
    assert "rates of another machine" in duration_text(found)
    remember_samples(store, study, "cpu", steady(2.5))
    assert estimate(study, store).seconds == 5.0
    stored = json.loads(next((store.root / "rates").iterdir()).read_text())
    assert set(stored) == {"there", rates._machine()}


def test_there_is_always_an_estimate(study: Study, store: Store) -> None:
    other = replace(study, backbone=replace(study.backbone, pretrained="openai", digest="tag:x"))
    found = estimate(other, store)
    assert found.basis == "nothing" and 0 < found.low < found.seconds < found.high
    assert "a guess" in duration_text(found)


@pytest.mark.parametrize(
    "kinds", [{"forward": [[0, 1]]}, {"forward": [[1, 0]]}, {"forward": [1]}, {"forward": "12"}, 7,
              {"forward": [[1, None]]}, {"forward": [[1]]}, {"forward": [[10, 1e999]]}]
)  # fmt: skip
def test_broken_samples_of_this_machine_stop_nothing(
    kinds: object, study: Study, store: Store
) -> None:
    path = rates._path(store, study, "cpu")
    path.parent.mkdir()
    path.write_text(json.dumps({rates._machine(): kinds}))
    assert estimate(study, store).basis == "another machine"
    remember_samples(store, study, "cpu", steady(5.0))
    assert estimate(study, store).basis == "measured"


@given(SAMPLES, st.integers(1, 10**9))
def test_an_estimate_is_within_its_range_and_in_proportion(
    samples: list[Sample], images: int
) -> None:
    found = of_samples(images, samples)
    assert 0 < found.low < found.seconds < found.high
    assert found.high / found.low >= SPREADS["measured"] ** 2 * 0.999
    assert of_samples(2 * images, samples).seconds == pytest.approx(2 * found.seconds)
    assert "nan" not in duration_text(found)


@given(st.integers(1, 64), st.floats(0.01, 1e3), st.floats(0, 1e3))
@example(threads=1, ran=1.0, waited=3.0)
def test_waiting_for_a_processor_does_not_count(threads: int, ran: float, waited: float) -> None:
    """Threads that each run `ran` and wait `waited` would take `ran` on an idle machine."""
    found = idle_seconds(ran + waited, threads * ran, threads * waited)
    assert found == pytest.approx(ran)


@given(st.floats(0.01, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_waiting_for_a_disk_counts(ran: float, waited: float, disk: float) -> None:
    found = idle_seconds(ran + waited + disk, ran, waited)
    assert found == pytest.approx(ran + disk)


def test_without_counts_of_the_system_all_seconds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.runs.costs.stopwatch.THREADS", Path("nowhere"))
    watch = Stopwatch()
    assert watch.before == (0.0, 0.0)
    assert 0 < watch.seconds() < 60


def test_a_guess_knows_how_large_a_model_is_and_whether_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(model: str, device: str = "cpu") -> float:
        return guessed(device, Backbone(model, "openai", "tag:openai"))["forward"][0].seconds

    usual = seconds("ViT-B-32")
    assert 3.9 < seconds("ViT-B-16") / usual < 4.1
    assert 40 < seconds("ViT-L-14-336") / usual < 45
    assert seconds("RN50") == seconds("tiny") == usual
    assert seconds("ViT-B-32", "cuda:1") == usual / 20
    for program, factor in (("/usr/bin/nvidia-smi", 20), (None, 1)):
        monkeypatch.setattr("shutil.which", lambda name, found=program: found)
        assert seconds("ViT-B-32", "auto") == usual / factor
