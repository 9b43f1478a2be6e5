"""Outcomes in the primary metrics of sets, from stored samples, compared with the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.api.metrics import OWN, correct
from bench.api.splits import Manifest
from bench.core.records import Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats import linearised as judged
from bench.leaderboard.stats.estimates import Interval, mean_estimate, paired_difference
from bench.leaderboard.stats.outcomes import Linearised

NAMES = ("Asia", "Europe", "Other")


def outputs(judge: str, manifest: Manifest, log_probs: NDArray[Any]) -> SampleOutputs:
    """Return the samples that a run stores for a cell."""
    on = EvaluationSet("ids", "labels", manifest.labels, manifest.groups, manifest.names)
    record = Record.model_construct(primary_metric=judge)
    confidence = np.exp(log_probs.max(axis=1))
    return SampleOutputs(
        record, on, correct(log_probs, manifest), confidence, log_probs.argmax(axis=1)
    )


def drawn_set(seed: int, n: int = 60, **groups: NDArray[Any]) -> tuple[Manifest, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=(n, 1))
    log_probs = rng.normal(size=(n, 5)) + 2.0 * (labels == np.arange(5))
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    names = {"region": NAMES} if "region" in groups else {}
    return Manifest(tuple(map(str, range(n))), labels, groups, names), log_probs


def linear(judge: str, manifest: Manifest, log_probs: NDArray[Any]) -> Linearised:
    found = judged.linearised(outputs(judge, manifest, log_probs))
    assert found is not None
    return found


def interval(judge: str, manifest: Manifest, log_probs: NDArray[Any]) -> Interval:
    low, high = mean_estimate([linear(judge, manifest, log_probs)]).interval()
    return Interval(float(low), float(high))


JUDGES = st.sampled_from(["macro-f1", "worst-region"])


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(12, 80), JUDGES)
def test_values_have_the_metric_as_their_mean_and_intervals_contain_it(
    seed: int, n: int, judge: str
) -> None:
    rng = np.random.default_rng(seed)
    manifest, log_probs = drawn_set(seed, n, region=rng.integers(3, size=n))
    value = OWN[judge](log_probs, manifest)
    assert linear(judge, manifest, log_probs).values.mean() == pytest.approx(value)
    low, high = interval(judge, manifest, log_probs)
    assert low < value < high and low + high == pytest.approx(2 * value)


@settings(deadline=None)
@given(st.integers(0, 999), JUDGES)
def test_the_order_of_samples_does_not_matter(seed: int, judge: str) -> None:
    rng = np.random.default_rng(seed)
    manifest, log_probs = drawn_set(seed, region=rng.integers(3, size=60))
    order = rng.permutation(60)
    moved = interval(judge, manifest.take(order), log_probs[order])
    assert moved == pytest.approx(interval(judge, manifest, log_probs))


@settings(deadline=None)
@given(st.integers(0, 999), JUDGES)
def test_intervals_shrink_as_samples_are_repeated(seed: int, judge: str) -> None:
    """Nine times the same samples: at most a little more than a third of the width."""
    rng = np.random.default_rng(seed)
    manifest, log_probs = drawn_set(seed, region=rng.integers(3, size=60))
    every = np.tile(np.arange(60), 9)
    groups = {"region": manifest.groups["region"][every]}
    many = Manifest(tuple(map(str, range(540))), manifest.labels[every], groups, manifest.names)
    low, high = interval(judge, manifest, log_probs)
    many_low, many_high = interval(judge, many, log_probs[every])
    assert 0 < many_high - many_low < 0.4 * (high - low)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), JUDGES)
def test_influence_is_what_more_of_one_sample_does(seed: int, judge: str) -> None:
    """The metric of a set with one sample repeated moves by about the sample's influence."""
    rng = np.random.default_rng(seed)
    n = 4000
    region = (rng.random(n) < 0.3).astype(np.int64)
    labels = rng.integers(4, size=(n, 1))
    log_probs = np.log(np.full((n, 5), 0.1) + 0.5 * (labels == np.arange(5)))
    flipped = rng.random(n) < np.where(region, 0.5, 0.2)
    log_probs[flipped] = np.roll(log_probs[flipped], 1, axis=1)
    manifest = Manifest(tuple(map(str, range(n))), labels, {"region": region}, {"region": NAMES})
    found = linear(judge, manifest, log_probs).values[0]
    value = OWN[judge](log_probs, manifest)
    for sample in rng.integers(n, size=5):
        rows = np.append(np.arange(n), [sample] * 20)
        ids = tuple(map(str, range(len(rows))))
        more = Manifest(ids, labels[rows], {"region": region[rows]}, manifest.names)
        moved = OWN[judge](log_probs[rows], more) - value
        assert moved == pytest.approx(20 * (found[sample] - value) / len(rows), rel=0.1, abs=1e-4)


def single(labels: list[int], predicted: list[int], region: list[int]) -> tuple[Any, Any]:
    n = len(labels)
    log_probs = np.log(np.where(np.array(predicted)[:, None] == np.arange(4), 0.7, 0.1))
    columns = np.array(labels)[:, None]
    groups = {"region": np.array(region)}
    return Manifest(tuple(map(str, range(n))), columns, groups, {"region": NAMES}), log_probs


@pytest.mark.parametrize("judge", ["macro-f1", "worst-region"])
def test_all_right_is_not_certain(judge: str) -> None:
    """Nor is all wrong: by the rule of three, 3 of 30 may be otherwise."""
    right = single([0, 1, 2] * 10, [0, 1, 2] * 10, [0] * 30)
    low, high = interval(judge, *right)
    assert 0.8 < low < 0.95 and high > 1
    wrong = single([0, 1, 2] * 10, [1, 2, 0] * 10, [0] * 30)
    low, high = interval(judge, *wrong)
    assert low < 0 and 0.02 < high < 0.2
    same = paired_difference([linear(judge, *right)], [linear(judge, *right)])
    assert same.value == 0 and same.error == pytest.approx(1 / 30)


def test_classes_and_regions_without_samples_do_not_count() -> None:
    """Class 3 is only predicted: it lowers no mean, as in the metric; region Other is left out."""
    manifest, log_probs = single([0, 1] * 30, [0, 1, 3, 1] * 15, [0, 1, 2] * 20)
    found = linear("macro-f1", manifest, log_probs).values.mean()
    assert found == pytest.approx((2 / 3 + 1) / 2)
    values = linear("worst-region", manifest, log_probs).values[0]
    other = manifest.groups["region"] == NAMES.index("Other")
    assert np.ptp(values[other]) == 0 and np.ptp(values[~other]) > 0


def test_regions_that_may_be_the_worst_widen_the_interval() -> None:
    def of_regions(shares: list[float]) -> Linearised:
        """Regions of 400 samples with these fractions right."""
        right = np.concatenate([np.arange(400) < 400 * share for share in shares])
        labels, region = np.zeros(len(right), dtype=int), np.repeat(range(len(shares)), 400)
        names = {"region": tuple(map(str, range(len(shares))))}
        on = EvaluationSet("ids", "labels", labels[:, None], {"region": region}, names)
        record = Record.model_construct(primary_metric="worst-region")
        found = judged.linearised(SampleOutputs(record, on, right, labels * 0.5, 1 - right))
        assert found is not None
        return found

    one, apart, two, five = map(of_regions, ([0.7], [0.7, 0.9], [0.7, 0.71], [0.7] * 5))
    assert one.bias == apart.bias == 0 < two.bias < five.bias
    error = np.sqrt(0.7 * 0.3 / 400)
    assert mean_estimate([apart]).error == pytest.approx(error, rel=0.01)
    assert mean_estimate([five]).error == pytest.approx(np.sqrt(1.45) * error, rel=0.01)
    again = Linearised("others", five.n, five.values, five.unseen, five.bias)
    of_both = mean_estimate([five, again])  # a bias is not averaged away
    assert of_both.error == pytest.approx(np.sqrt(1 / 2 + 1.5 * 0.45) * error, rel=0.01)


@given(st.integers(0, 999), st.sampled_from([0, 10]))
def test_hits_of_sets_of_frames_have_pm_k_as_their_mean(seed: int, k: int) -> None:
    offsets = np.tile(np.arange(-12, 13, 3), 7)[:60]
    anchors = np.repeat(np.arange(7), 9)[:60]
    manifest, log_probs = drawn_set(seed, anchor=anchors, offset=offsets)
    found = judged.outcomes_of(outputs(f"pm-{k}", manifest, log_probs))
    assert found is not None and len(found) == 7
    assert found.mean() == pytest.approx(OWN[f"pm-{k}"](log_probs, manifest))


def test_accuracy_has_outcomes_and_is_not_linearised() -> None:
    manifest, log_probs = drawn_set(0)
    one = outputs("top1", manifest, log_probs)
    hits = judged.outcomes_of(one)
    assert hits is not None and (hits == one.right).all()
    assert judged.linearised(one) is None


@pytest.mark.parametrize("judge", ["macro-f1", "worst-region"])
def test_pictures_of_one_camera_are_drawn_together(judge: str) -> None:
    """Each picture four times at one camera: four times as many pictures are no more to go by."""
    rng = np.random.default_rng(2)
    one, log_probs = drawn_set(2, region=rng.integers(2, size=60))
    rows = np.repeat(np.arange(60), 4)
    groups = {"region": one.groups["region"][rows], "location": rows}
    ids = tuple(map(str, range(240)))
    cameras = Manifest(ids, one.labels[rows], groups, one.names)
    found, alone = (
        linear(judge, manifest, scores)
        for manifest, scores in ((cameras, log_probs[rows]), (one, log_probs))
    )
    assert found.values.shape == (1, 60) and found.n == 240
    assert found.values.mean() == pytest.approx(alone.values.mean())
    assert found.values.std() == pytest.approx(alone.values.std(), rel=0.1)
    apart = Manifest(ids, cameras.labels, {"region": groups["region"]}, one.names)
    assert np.diff(interval(judge, apart, log_probs[rows])) < 0.7 * np.diff(
        interval(judge, cameras, log_probs[rows])
    )


def test_few_cameras_that_decide_are_uncertain() -> None:
    """Half of the variance from each of two cameras: Student's t with one degree of freedom."""
    rng = np.random.default_rng(3)
    region, labels = np.zeros(400, dtype=int), np.zeros((400, 1), dtype=int)
    right = np.repeat([0.9, 0.1], 200) > rng.permutation(np.tile(np.arange(0.005, 1, 0.01), 4))
    log_probs = np.log(np.where(right[:, None] == [True, False], 0.9, 0.1))
    widths = []
    for location in (np.arange(400) // 200, np.arange(400)):
        groups = {"region": region, "location": location}
        manifest = Manifest(tuple(map(str, range(400))), labels, groups, {"region": NAMES})
        found = linear("worst-region", manifest, log_probs)
        low, high = interval("worst-region", manifest, log_probs)
        widths.append((high - low) / 2 / (found.values.std() / np.sqrt(found.values.size)))
    of_two, of_many = widths
    assert of_two > 12 and of_many == pytest.approx(1.96, rel=0.05)


def slow_worst(manifest: Manifest, right: NDArray[Any]) -> tuple[float, float, float, list[float]]:
    """Value, unseen variance, bias and influences of the worst region, region by region."""
    regions = manifest.groups["region"]
    cameras = manifest.groups.get("location", np.arange(len(right)))
    found = []
    for region in range(2):  # "Other" does not count
        inside = [i for i in range(len(right)) if regions[i] == region]
        n, k = len(inside), sum(bool(right[i]) for i in inside)
        q = (k + 0.5) / (n + 1)
        one_more = ((1 - q) ** 2 + q**2) / (2 * n**2)
        influence = {i: (float(right[i]) - k / n) / n for i in inside}
        by_camera = [
            sum(influence[i] for i in inside if cameras[i] == camera) for camera in set(cameras)
        ]
        variance = sum(e**2 for e in by_camera) + one_more
        found.append((k / n, one_more, variance, influence))
    value, one_more, variance, influence = min(found, key=lambda one: one[0])
    near = sum(
        (other - value) / np.sqrt(more + variance) < stats.norm.ppf(0.975)
        for other, _, more, _ in found
    )
    z = stats.norm.ppf((1 - 0.05 + 0.025 / near) ** (1 / near))
    bias = variance * ((z / stats.norm.ppf(0.975)) ** 2 - 1)
    return value, one_more, bias, [influence.get(i, 0.0) for i in range(len(right))]


def few(by_unit: NDArray[Any]) -> float:
    effective = (by_unit**2).sum() ** 2 / (by_unit**4).sum()
    t = stats.t.ppf(0.975, max(effective - 1, 1))
    return float((t / stats.norm.ppf(0.975)) ** 2 - 1)


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(12, 60), st.booleans())
def test_a_worst_region_is_that_of_the_text(seed: int, n: int, with_cameras: bool) -> None:
    rng = np.random.default_rng(seed)
    groups = {"region": np.concatenate([[0, 1], rng.integers(3, size=n - 2)])}
    if with_cameras:
        groups["location"] = rng.integers(2, 7, size=n)
    manifest, log_probs = drawn_set(seed, n, **groups)
    value, unseen, bias, influences = slow_worst(manifest, correct(log_probs, manifest))
    units = np.unique(groups.get("location", np.arange(n)), return_inverse=True)[1]
    by_unit = np.bincount(units, weights=influences)
    by_unit = by_unit - by_unit.mean()
    if with_cameras and by_unit.any():
        unseen += few(by_unit) * ((by_unit**2).sum() + unseen)
    found = linear("worst-region", manifest, log_probs)
    assert found.values[0] == pytest.approx(value + len(by_unit) * by_unit, abs=1e-9)
    assert (float(found.unseen[0]), float(found.bias[0])) == pytest.approx((unseen, bias))
    assert found.n == n and found.values.shape == (1, len(by_unit))


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(12, 60))
def test_what_macro_f1_does_not_show_is_one_more_sample_of_each_class(seed: int, n: int) -> None:
    """Half of the squares of what a sample more, right or lost, would do to each class."""
    manifest, log_probs = drawn_set(seed, n)
    labels, predicted = manifest.labels[:, 0], log_probs.argmax(axis=1)
    classes, expected, value = set(labels.tolist()), 0.0, 0.0
    for one in classes:
        both = sum(labels == one) + sum(predicted == one)
        hits = sum((labels == one) & (predicted == one))
        f1, share = (2 * hits + 1) / (both + 1.5), 1 / (len(classes) * both)
        expected += ((share * f1) ** 2 + (share * (2 - 2 * f1)) ** 2) / 2
        value += 2 * hits / both / len(classes)
    found = linear("macro-f1", manifest, log_probs)
    assert float(found.unseen[0]) == pytest.approx(expected) and float(found.bias[0]) == 0
    assert float(found.values.mean()) == pytest.approx(value)


@pytest.mark.parametrize(("regions", "probability"), [(1, 0.025), (2, 0.0375), (5, 0.045)])
def test_regions_that_may_be_the_worst_share_a_bound(regions: int, probability: float) -> None:
    """The text's example: with five regions the variance is multiplied by 1.45."""
    z = stats.norm.ppf((1 - probability) ** (1 / regions))
    assert 1 + judged._widening(regions) == pytest.approx((z / stats.norm.ppf(0.975)) ** 2)
    assert judged._widening(1) == pytest.approx(0, abs=1e-12)
    assert judged._widening(5) == pytest.approx(0.45, abs=0.005)
