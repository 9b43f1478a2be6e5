"""Arrays of another kind, precision or shape under the names of logits and labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from bench import OSE, VRF, TemperatureScaling, sample_table
from bench.core.errors import InputError
from bench.posthoc.functional import log_softmax
from bench.posthoc.remarks import PosthocWarning, collected
from bench.posthoc.scores import (
    ScoreFacts,
    checked_labels,
    checked_logits,
    log_of_probabilities,
    shifted_logits,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(6, size=400)
LOGITS = 4 * (np.eye(6)[LABELS] + 0.7 * RNG.normal(size=(400, 6)))
PROBABILITIES = np.exp(log_softmax(LOGITS))
ONE_HOT = np.eye(6)[LABELS]
TYPES = (np.float16, np.float32, np.float64, np.longdouble)
FEATURES = RNG.normal(size=(400, 8))

USES = {
    "OSE": lambda scores: OSE().predict_proba(LOGITS, scores),
    "OSE.fit": lambda scores: OSE().fit(scores, LOGITS, LABELS),
    "VRF": lambda scores: VRF().fit(FEATURES, LOGITS, scores, LABELS),
    "TemperatureScaling": lambda scores: TemperatureScaling().fit(scores, LABELS),
    "sample_table": lambda scores: sample_table(logits_zs=scores),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (PROBABILITIES, r"sums to 1: these are probabilities, not logits.*np\.log\(prob"),
        (100 * PROBABILITIES, r"probabilities in percent.*np\.log\(0\.01 \* prob"),
        (ONE_HOT, r"class predictions \(one-hot\), not logits; pass the scores before"),
        (PROBABILITIES[:, :2] / PROBABILITIES[:, :2].sum(1, keepdims=True), "probabilities"),
    ],
)
def test_probabilities_are_no_logits(use, dtype, scores, message):
    if scores.shape[1] != 6 and use not in (USES["sample_table"],):
        pytest.skip("the other model has six classes")
    with pytest.raises(InputError, match=message) as caught:
        use(scores.astype(dtype))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_one_hot_integers_are_no_logits(dtype):
    with pytest.raises(InputError, match="one-hot"):
        TemperatureScaling().fit(ONE_HOT.astype(dtype), LABELS)


@pytest.mark.parametrize("dtype", TYPES[1:])
def test_log_probabilities_are_logits(dtype):
    log_p = log_softmax(LOGITS).astype(dtype)
    assert np.allclose(OSE(1.0).predict_proba(LOGITS, log_p), PROBABILITIES, atol=1e-5)
    flat = np.log([[0.45, 0.55], [0.4, 0.6]])
    assert OSE(1.0).predict_proba(flat, flat).round(2).tolist() == [[0.45, 0.55], [0.4, 0.6]]


@pytest.mark.filterwarnings("ignore:zs")
@pytest.mark.parametrize("offset", [0, 7, -3e6, 1e6, 1e9])
def test_an_offset_changes_nothing_in_float64(offset):
    plain, moved = OSE(0.4).fit(LOGITS, 2 * LOGITS, LABELS), OSE(0.4)
    moved.fit(LOGITS + offset, 2 * LOGITS - offset, LABELS)
    found = moved.predict_proba(LOGITS + offset, 2 * LOGITS - offset)
    assert np.allclose(found, plain.predict_proba(LOGITS, 2 * LOGITS), atol=1e-5)
    scaling = TemperatureScaling().fit(LOGITS + offset, LABELS)
    plain = TemperatureScaling().fit(LOGITS, LABELS)
    assert scaling.temperature_ == pytest.approx(plain.temperature_, rel=1e-4)
    exact = LOGITS - LOGITS.max(axis=1, keepdims=True)
    assert np.allclose(shifted_logits(LOGITS + offset), exact, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint64])
def test_integers_are_converted_exactly(dtype):
    counts = (LOGITS * 8).round() + 200
    found = OSE().predict_proba(counts.astype(dtype), counts.astype(dtype))
    assert np.allclose(found, np.exp(log_softmax(counts)))
    with pytest.raises(InputError, match=r"beyond 2\*\*53"):
        OSE().predict(*[np.array([[2**60, 2**60 + 1]], dtype=np.int64)] * 2)


WITHIN_ONE = LOGITS / np.abs(LOGITS).max()
LOST = (LOGITS.astype(np.float32) - np.float32(3e6)).astype(np.float64)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (WITHIN_ONE, "logits_ft: all values lie in .* as cosines do. .*logit scale"),
        (1 / (1 + np.exp(-LOGITS)), "logits_ft: all values lie in"),  # sigmoids
        (np.where(np.arange(400)[:, None] < 3, 2.0, LOGITS), "3 of 400 rows have one value"),
        (np.where(np.arange(400)[:, None] < 1, 2.0, LOGITS), "1 of 400 rows has one value"),
        (LOST, r"\d+ of 400 rows have the largest value for several classes: were digits"),
        ((LOGITS + 2000).astype(np.float16), "the largest value for several classes"),
    ],
)
def test_doubtful_logits_give_a_warning_at_the_line_of_the_caller(scores, message):
    with pytest.warns(PosthocWarning, match=message) as caught:
        OSE().predict_proba(LOGITS, scores)
    assert {warning.filename for warning in caught} == {__file__}
    assert all(len(str(warning.message)) < 300 for warning in caught)


def tied(rows):
    scores = LOGITS.copy()
    scores[:rows, :2] = 30.0
    return scores


@pytest.mark.parametrize(
    ("scores", "remarks"),
    [
        (LOGITS, []),
        (log_softmax(LOGITS), []),
        (np.log([[0.45, 0.55], [0.4, 0.6]]), []),  # in [-1, 1], but no cosines
        (np.log([[0.47, 0.55], [0.4, 0.6]]), ["all values lie in"]),
        (WITHIN_ONE, ["all values lie in"]),
        (np.zeros((3, 4)), ["3 of 3 rows have one value"]),
        (
            np.vstack([np.zeros(6), WITHIN_ONE]),
            ["all values lie in", "1 of 401 rows has one value"],
        ),
        (np.ones((5, 1)), []),  # one class
        (np.array([[3, 3, 1, 0]]), []),  # ties of counts are no lost digits
        (np.array([[3.0, 3.0, 1.0, 0.0]]), ["1 of 1 rows has the largest value"]),
        (tied(4), []),  # a hundredth
        (tied(5), ["5 of 400 rows have the largest value"]),
    ],
)
def test_remarks_are_those_that_the_values_give_reason_for(scores, remarks):
    with collected() as found:
        checked_logits("x", scores)
    assert [text.startswith(f"x: {begin}") for text, begin in zip(found, remarks, strict=True)] == [
        True for _ in remarks
    ]
    with collected() as found:
        checked_logits("x", scores, at_any_scale=True)
    assert len(found) == len(remarks) - ("all values lie in" in remarks)


def test_a_temperature_mends_the_scale_of_cosines():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaling = TemperatureScaling().fit(WITHIN_ONE, LABELS)
        plain = TemperatureScaling().fit(LOGITS, LABELS)
    found = scaling.predict_proba(WITHIN_ONE)
    assert np.allclose(found, plain.predict_proba(LOGITS), atol=1e-4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (LOGITS[:, :, None], "float64 of shape"),
        (LOGITS[0], "one column for each"),
        (LABELS, "one integer per sample is a predicted class"),
        (LOGITS + 0j, "complex128.*real part"),
        (LOGITS > 0, "bool .*true and false"),
        (LOGITS.astype(object), "object .*rows of different lengths"),
        (LOGITS.astype(str), "<U"),
        ([[1.0, 2.0], [3.0]], "logits: not an array, rows differ in length"),
        (np.ma.masked_greater(LOGITS, 5), "some values are masked"),
        (np.where(np.arange(400)[:, None] == 7, np.nan, LOGITS), "NaN or infinity.* in row 7 "),
        (np.where(np.arange(400)[:, None] == 9, -np.inf, LOGITS), "NaN or infinity.* in row 9 "),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(scores, message):
    with pytest.raises(InputError, match=message) as caught:
        TemperatureScaling().predict(scores)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 1, "labels 1 to 6 for 6 classes, expected 0 to 5: .*count from 1: subtract 1"),
        (np.where(LABELS == 3, -1, LABELS), "labels -1 to 5.* leave out the samples"),
        (LABELS + 2, "labels 2 to 7 for 6 classes, expected 0 to 5$"),
        (ONE_HOT, r"one-hot labels pass labels\.argmax"),
        (LABELS[:, None], r"pass labels\[:, 0\]"),
        (LABELS.astype(float), r"labels\.astype\(int\)"),
        (LABELS.astype(str), "labels: <U"),
        (LABELS[:-1], "one for each of 400"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        TemperatureScaling().fit(LOGITS, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_labels_may_be_any_integers(dtype):
    assert checked_labels(LABELS.astype(dtype), 400, 6).dtype == np.int64


def test_facts_of_blocks_are_those_of_the_whole():
    for scores in (LOGITS, PROBABILITIES, ONE_HOT, WITHIN_ONE, 100 * PROBABILITIES):
        mixed = np.concatenate([scores[:200], LOGITS[200:]])
        for array in (scores, mixed):
            assert ScoreFacts.of(np.array_split(array, 7)) == ScoreFacts.of([array])
        assert not ScoreFacts.of([mixed]).refusal  # one row that is none is enough
    assert not ScoreFacts.of([LOGITS[:0]]).refusal
    assert not ScoreFacts.of([np.ones((5, 1))]).refusal  # one class


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (log_softmax(LOGITS), "smallest value is -.* to be named logits"),
        (LOGITS, "smallest value is -"),
        (np.array([[0.5, 0.5], [1.2, -0.2]]), "smallest value is -0.2"),
        (np.array([[0.5, 0.5], [0.3, 0.1], [0.6, 0.5]]), r"row 1 .* sums to 0.4, expected 1"),
        (PROBABILITIES.round(), "is 0, whose logarithm is lost: save logits"),
        (2 * PROBABILITIES, r"row \d+ .* sums to 2, expected 1"),
        (np.array([[0.5, 0.5], [0.3, 0.1], [1.5, 1.0]]), r"row 2 .* sums to 2.5, expected 1"),
        (PROBABILITIES[0], "expected numbers of shape"),
    ],
)
def test_only_probabilities_have_a_logarithm(values, message):
    assert np.allclose(log_of_probabilities("p", PROBABILITIES), log_softmax(LOGITS))
    with pytest.raises(InputError, match=message):
        log_of_probabilities("p", values)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda vrf, held: vrf.choose(*held, [0.1, 0.2, 9], [0.1]), "a = "),
        (lambda vrf, held: vrf.choose(*held, [0.3], [0.05, 0.1]), "b = 0.05|b = 0.1"),
        (lambda vrf, held: OSE().fit(*held[1:], alphas=[0.6, 0.9]), "alpha = 0.6 is the smallest"),
        (lambda vrf, held: OSE().fit(*held[1:]), None),  # 0 and 1 are natural bounds
        (lambda vrf, held: OSE(0.4).fit(*held[1:]), None),  # nothing was searched
    ],
)
def test_a_choice_at_the_edge_of_its_candidates_is_said(choose, message):
    held = (FEATURES, LOGITS, LOGITS, LABELS)
    vrf = VRF(p=0.1).fit(FEATURES, -LOGITS, LOGITS, LABELS)
    with collected() as found:
        choose(vrf, held)
    assert bool(found) == (message is not None)
    for text in found:
        assert "candidates" in text and any(text.startswith(m) for m in message.split("|"))


def test_an_estimator_that_is_not_fitted_fails_as_scikit_learns_do():
    for error in (InputError, ValueError, AttributeError):
        with pytest.raises(error, match="not fitted; call fit first"):
            TemperatureScaling().predict_proba(LOGITS)
    sklearn = pytest.importorskip("sklearn.exceptions")
    for base in sklearn.NotFittedError.__bases__:
        with pytest.raises(base):
            VRF().weights(FEATURES)
