"""Metrics against torchmetrics, netcal and brute force, and properties that must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api.metrics import METRICS, OWN, all_metrics, worst_group
from bench.api.splits import Manifest, single_label
from bench.core.errors import CellError, InputError
from bench.posthoc.functional import log_softmax

TOP1, ECE, NLL, BRIER = (METRICS[name] for name in ("top1", "ece", "nll", "brier"))


def sample(seed: int, count: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that often agree with them."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, classes))
    labels = (logits + 2 * rng.normal(size=logits.shape)).argmax(axis=1)
    return np.exp(log_softmax(logits)), labels


def manifest(labels) -> Manifest:
    table = np.asarray(labels, dtype=np.int64)
    return Manifest(tuple(map(str, range(len(table)))), table.reshape(len(table), -1))


def value(metric, probabilities, labels) -> float:
    with np.errstate(divide="ignore"):
        return metric(np.log(np.asarray(probabilities, dtype=np.float64)), manifest(labels))


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p, labels = sample(seed)
    preds, target = torch.tensor(p), torch.tensor(labels)
    ece = functional.multiclass_calibration_error(preds, target, 5, n_bins=15, norm="l1")
    accuracy = functional.multiclass_accuracy(preds, target, 5, average="micro")
    nll = torch.nn.functional.nll_loss(preds.log(), target)
    assert value(ECE, p, labels) == pytest.approx(float(ece), abs=1e-6)
    assert value(TOP1, p, labels) == pytest.approx(float(accuracy), abs=1e-6)
    assert value(NLL, p, labels) == pytest.approx(float(nll), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ece_agrees_with_netcal(seed):
    netcal = pytest.importorskip("netcal.metrics")
    p, labels = sample(seed)
    assert value(ECE, p, labels) == pytest.approx(netcal.ECE(15).measure(p, labels), abs=1e-6)


@pytest.mark.parametrize(("bins", "batch"), [(10, 512), (15, 7), (10, 1)])
def test_batch_wise_ece_is_a_loop_over_batches_with_torchmetrics(bins, batch):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p, labels = sample(0, count=1300 if batch > 1 else 60)  # whose last batch is smaller
    total = 0.0
    for start in range(0, len(p), batch):
        preds = torch.tensor(p[start : start + batch])
        target = torch.tensor(labels[start : start + batch])
        each = functional.multiclass_calibration_error(preds, target, 5, n_bins=bins, norm="l1")
        total += float(each) * len(preds)
    metric = all_metrics(ece_bins=bins, ece_batch=batch)["ece"]
    assert value(metric, p, labels) == pytest.approx(total / len(p), abs=1e-6)


@pytest.mark.parametrize(
    ("draw", "floor"),
    [((8, 1), (0.015, 0.03)), ((1, 1), (0.035, 0.055))],
    ids=["mostly confident", "all confidences alike"],
)
def test_batch_wise_ece_is_biased_up_for_a_perfectly_calibrated_model(draw, floor):
    rng = np.random.default_rng(0)
    confidence = 0.1 + 0.9 * rng.beta(*draw, size=(50_000, 1))
    p = np.concatenate([confidence, np.repeat((1 - confidence) / 9, 9, axis=1)], axis=1)
    wrong = rng.random(50_000) > confidence[:, 0]
    assert value(all_metrics(10)["ece"], p, wrong) < 0.01
    assert floor[0] < value(all_metrics(10, 512)["ece"], p, wrong) < floor[1]


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 50))
def test_batch_wise_ece_is_never_below_that_of_the_whole_set(seed, count, batch):
    p, labels = sample(seed, count)
    whole = value(ECE, p, labels)
    found = value(all_metrics(ece_batch=batch)["ece"], p, labels)
    assert found >= whole - 1e-12
    if batch >= count:
        assert found == whole
    if batch == 1:
        assert found == pytest.approx(np.abs((p.argmax(axis=1) == labels) - p.max(axis=1)).mean())


@pytest.mark.parametrize("parameters", [(0,), (15, 0), (10, -1)])
def test_bins_and_batches_are_at_least_one(parameters):
    with pytest.raises(InputError, match="at least 1"):
        all_metrics(*parameters)


def test_one_bin_compares_the_mean_confidence_with_the_accuracy():
    log_p = guesses([0, 1, 1, 0])
    gap = abs(np.exp(log_p).max(axis=1).mean() - 0.75)
    for found in (all_metrics(1), all_metrics(1, 4)):
        assert found["ece"](log_p, single_label("abcd", [0, 1, 1, 1])) == pytest.approx(gap)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_brute_force(seed):
    p, labels = sample(seed, count=60)
    bins: dict[int, list[tuple[bool, float]]] = {}
    for row, label in zip(p, labels, strict=True):
        confidence = row.max()
        number = next(b for b in range(1, 16) if confidence <= b / 15)
        bins.setdefault(number, []).append((row.argmax() == label, confidence))
    ece = sum(abs(sum(c - f for c, f in members)) for members in bins.values()) / len(p)
    brier = np.mean([np.sum((r - np.eye(5)[y]) ** 2) for r, y in zip(p, labels, strict=True)])
    assert value(ECE, p, labels) == pytest.approx(ece)
    assert value(BRIER, p, labels) == pytest.approx(brier)


def test_hand_computed():
    p, labels = [[0.8, 0.2], [0.6, 0.4]], [0, 1]
    assert value(TOP1, p, labels) == 0.5
    assert value(ECE, p, labels) == pytest.approx((0.2 + 0.6) / 2)
    assert value(NLL, p, labels) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert value(BRIER, p, labels) == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)


def test_ties_go_to_the_lower_class():
    assert value(TOP1, [[0.5, 0.5], [0.5, 0.5]], [0, 1]) == 0.5


def test_a_confidence_on_an_edge_falls_into_the_lower_bin():
    # 0.6 = 9/15 is the right edge of bin 9, so 0.61 is in another bin and gaps do not cancel.
    p, labels = [[0.6, 0.4], [0.61, 0.39]], [0, 1]
    assert value(ECE, p, labels) == pytest.approx((0.4 + 0.61) / 2)


def test_multi_label_rows_take_the_best_acceptable_label():
    p = [[0.1, 0.3, 0.6], [0.1, 0.3, 0.6], [0.7, 0.2, 0.1]]
    labels = [[0, 2], [0, 1], [1, -1]]
    assert value(TOP1, p, labels) == pytest.approx(1 / 3)
    assert value(NLL, p, labels) == pytest.approx(-np.log([0.6, 0.3, 0.2]).mean())
    expected = [0.1**2 + 0.3**2 + 0.4**2, 0.1**2 + 0.7**2 + 0.6**2, 0.7**2 + 0.8**2 + 0.1**2]
    assert value(BRIER, p, labels) == pytest.approx(np.mean(expected))
    assert value(ECE, p, labels) == pytest.approx((abs(1 - 1.2) + abs(0 - 0.7)) / 3)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 6), st.integers(1, 5))
def test_a_class_the_task_lacks_is_one_that_always_has_probability_zero(seed, count, known, lacks):
    p, _ = sample(seed, count, known)
    labels = np.random.default_rng(seed).integers(0, known + lacks, count)
    labels[0] = known
    whole = np.concatenate([p, np.zeros((count, lacks))], axis=1)
    own = np.where(labels < known, labels, -1)
    for metric in (TOP1, ECE, BRIER):
        assert value(metric, p, own) == pytest.approx(value(metric, whole, labels))
    if (own >= 0).any():
        assert value(NLL, p, own) == pytest.approx(value(NLL, p[own >= 0], own[own >= 0]))
    else:
        with pytest.raises(CellError, match="none of the samples has a correct class"):
            value(NLL, p, own)


def test_samples_that_no_class_is_right_for_are_misses():
    p, labels = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [[0, 1], [-1, -1], [1, -1]]
    assert value(TOP1, p, labels) == pytest.approx(1 / 3)
    assert value(NLL, p, labels) == pytest.approx(-np.log([0.9, 0.1]).mean())
    expected = [2 * 0.1**2, 0.9**2 + 0.1**2 + 1, 2 * 0.9**2]
    assert value(BRIER, p, labels) == pytest.approx(np.mean(expected))
    frames = grouped(labels, anchor=[0, 1, 1], offset=[0, 0, 1])
    assert OWN["pm-0"](guesses([0, 0, 0]), frames) == 0.5
    with pytest.raises(InputError, match="or none"):
        OWN["macro-f1"](guesses([0, 0]), grouped([0, -1]))


@pytest.mark.parametrize("row", [[-2, -1], [-1, 0]])
def test_labels_are_classes_and_then_fillers(row):
    with pytest.raises(InputError, match="-1 only as padding"):
        manifest([row])


def test_a_filler_never_wins_against_probability_zero():
    assert value(BRIER, [[0.0, 1.0]], [[0, -1]]) == 2


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6))
def test_ranges_and_permutations(seed, count, classes):
    p, labels = sample(seed, count, classes)
    order = np.random.default_rng(seed).permutation(count)
    relabel = np.random.default_rng(seed + 1).permutation(classes)
    for metric, high in ((TOP1, 1), (ECE, 1), (NLL, np.inf), (BRIER, 2)):
        found = value(metric, p, labels)
        assert 0 <= found <= high + 1e-12
        assert value(metric, p[order], labels[order]) == pytest.approx(found, abs=1e-12)
        renamed = value(metric, p[:, relabel], np.argsort(relabel)[labels])
        assert renamed == pytest.approx(found, abs=1e-12)


@given(st.integers(0, 10**6))
def test_float32_and_float64_agree(seed):
    p, labels = sample(seed, 50)
    for metric in METRICS.values():
        single = metric(np.log(p).astype(np.float32), manifest(labels))
        assert single == pytest.approx(value(metric, p, labels), abs=1e-5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_certain_and_right(labels):
    certain = np.eye(4)[labels]
    assert [value(m, certain, labels) for m in (TOP1, ECE, NLL, BRIER)] == [1, 0, 0, 0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_certain_and_wrong(labels):
    certain = np.roll(np.eye(4)[labels], 1, axis=1)
    assert [value(m, certain, labels) for m in (TOP1, ECE, BRIER)] == [0, 1, 2]
    with pytest.raises(CellError, match="probability 0"):
        value(NLL, certain, labels)


def test_unusable_input_is_refused():
    for metric in METRICS.values():
        with pytest.raises(InputError, match="label 2 is out of range for 2 classes"):
            value(metric, [[0.5, 0.5]], [2])
        with pytest.raises(InputError, match="samples"):
            metric(np.zeros((3, 2)), manifest([0, 1]))
        with pytest.raises(InputError, match="samples"):
            metric(np.zeros((0, 2)), single_label([], []))
        with pytest.raises(CellError, match="NaN"):
            metric(np.full((1, 2), np.nan), manifest([0]))


def test_inputs_stay_as_they_are():
    p, labels = sample(0, 20)
    log_p = np.log(p)
    log_p.setflags(write=False)
    for metric in METRICS.values():
        metric(log_p, manifest(labels))


def grouped(labels, names=None, **groups) -> Manifest:
    """Return a manifest with groups, each an array of codes, and the `names` of codes."""
    plain = manifest(labels)
    codes = {name: np.asarray(values, dtype=np.int64) for name, values in groups.items()}
    return Manifest(plain.ids, plain.labels, codes, names or {})


def guesses(predicted, classes: int = 4) -> np.ndarray:
    """Return log-probabilities whose most probable classes are `predicted`."""
    return np.log(np.eye(classes)[predicted] * 0.6 + 0.1)


MACRO_F1 = OWN["macro-f1"]
pairs_of_classes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30
)


@settings(deadline=None)  # scikit-learn is imported in the first example
@given(pairs_of_classes)
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_occur(pairs):
    functional = pytest.importorskip("sklearn.metrics")
    labels, predicted = np.array(pairs).T
    expected = functional.f1_score(labels, predicted, average="macro", labels=np.unique(labels))
    assert MACRO_F1(guesses(predicted), manifest(labels)) == pytest.approx(expected)


def test_macro_f1_by_hand():
    # Class 0: 1 of 2 correct, 1 false positive; class 1: 1 of 1, none. Class 3 does not occur.
    labels, predicted = [0, 0, 1, 2], [0, 3, 1, 0]
    assert MACRO_F1(guesses(predicted), manifest(labels)) == pytest.approx((0.5 + 1 + 0) / 3)
    with pytest.raises(InputError, match="several labels"):
        MACRO_F1(guesses([0]), manifest([[0, 1]]))


REGIONS = ("Asia", "Europe", "Other")


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=30))
def test_worst_region_is_the_smallest_accuracy_of_a_region_but_other(rows):
    codes, right = np.array([code for code, _ in rows]), np.array([hit for _, hit in rows])
    samples = grouped(np.zeros(len(rows)), {"region": REGIONS}, region=codes)
    log_p = guesses(np.where(right, 0, 1))
    by_region = [right[codes == code].mean() for code in (0, 1) if (codes == code).any()]
    if not by_region:
        with pytest.raises(InputError, match="every sample is in Other, which is left out"):
            OWN["worst-region"](log_p, samples)
        return
    assert OWN["worst-region"](log_p, samples) == pytest.approx(min(by_region))
    every = [right[codes == code].mean() for code in set(codes)]
    assert worst_group(log_p, samples, group="region") == pytest.approx(min(every))


def test_worst_region_needs_regions_and_their_names():
    log_p = guesses([0, 1])
    with pytest.raises(InputError, match="'region'"):
        OWN["worst-region"](log_p, grouped([0, 0], camera=[3, 4]))
    with pytest.raises(InputError, match="group region has no names"):
        OWN["worst-region"](log_p, grouped([0, 0], region=[3, 4]))
    assert worst_group(log_p, grouped([0, 0], region=[-7, 4]), group="region") == 0


def by_loop(rows, k: int) -> float:
    """Compute pm-k by its definition from tuples (set, offset, correct)."""
    anchors = [(code, right) for code, offset, right in rows if offset == 0]
    whole = 0
    for anchor, is_right in anchors:
        near = [right for code, offset, right in rows if code == anchor and 0 < abs(offset) <= k]
        whole += is_right and all(near)
    return whole / len(anchors)


@st.composite
def videos(draw) -> list[tuple[int, int, bool]]:
    """Generate frames of sets in any order; the last set may have only neighbours."""
    rows = []
    for code in range(draw(st.integers(1, 4))):
        offsets = draw(st.lists(st.integers(-12, 12).filter(bool), max_size=5, unique=True))
        rows += [(10 * code, offset, draw(st.booleans())) for offset in (0, *offsets)]
    rows += [(99, 2, draw(st.booleans())) for _ in range(draw(st.integers(0, 2)))]
    return draw(st.permutations(rows))


@given(videos(), st.integers(0, 10**6))
def test_pm_is_the_share_of_anchors_right_with_all_neighbours(rows, seed):
    sets, offsets, right = zip(*rows, strict=True)
    # Frames have labels that differ from their anchor's, and sometimes two labels.
    labels = np.random.default_rng(seed).integers(0, 3, (len(rows), 1))
    labels = np.concatenate([labels, np.where(labels > 1, 0, -1)], axis=1)
    samples = grouped(labels, anchor=sets, offset=offsets)
    log_p = guesses(np.where(right, labels.max(axis=1), 3))
    found = [OWN[name](log_p, samples) for name in ("pm-0", "pm-10")]
    assert found == pytest.approx([by_loop(rows, 0), by_loop(rows, 10)])
    assert 0 <= found[1] <= found[0] <= 1


@pytest.mark.parametrize(("name", "farthest"), [("pm-0", 0), ("pm-10", 10)])
def test_pm_counts_frames_up_to_its_distance_and_none_beyond(name, farthest):
    samples = {d: grouped([0, 0], anchor=[7, 7], offset=[0, d]) for d in (10, -10, 11, -11, 1)}
    found = {d: OWN[name](guesses([0, 1]), of) for d, of in samples.items()}
    assert found == {d: float(abs(d) > farthest) for d in samples}


@pytest.mark.parametrize(
    ("groups", "what"),
    [
        ({"anchor": [0, 0], "offset": [0, 0]}, "2 anchors"),
        ({"anchor": [0, 0], "offset": [1, 2]}, "0 anchors"),
        ({"anchor": [0, 0]}, "'offset'"),
    ],
)
def test_sets_of_frames_have_one_anchor(groups, what):
    with pytest.raises(InputError, match=what):
        OWN["pm-0"](guesses([0, 0]), grouped([0, 0], **groups))


def test_groups_fit_their_samples_and_names_their_codes():
    with pytest.raises(InputError, match="group region"):
        grouped([0, 0], region=[1])
    with pytest.raises(InputError, match="expected 0 to 2 for its 3 names"):
        grouped([0, 0], {"region": REGIONS}, region=[0, 3])
    some = grouped([0, 1, 2], {"region": REGIONS}, region=[2, 1, 0]).take([2, 0])
    assert some.group("region").tolist() == [0, 2] and some.names == {"region": REGIONS}
