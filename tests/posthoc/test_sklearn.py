"""The estimators among scikit-learn's tools: parameters, cloning, pipelines, searches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from bench import OSE, VRF, TemperatureScaling
from bench.core.errors import InputError
from bench.posthoc.configuration import sample_table
from bench.posthoc.selection import ALPHAS

CHANGED = [OSE(0.3, space="logits"), VRF(k=3, p=0.1), TemperatureScaling("confidence")]
RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=60)
LOGITS = 5 * np.eye(3)[LABELS] + RNG.normal(size=(60, 3)) * 3
FEATURES = RNG.normal(size=(60, 4))
ZS = 5 * np.eye(3)[LABELS] + RNG.normal(size=(60, 3)) * 4
X = sample_table(features_ft=FEATURES, logits_zs=ZS, logits_ft=LOGITS)


def fitted(estimator):
    if isinstance(estimator, VRF):
        return estimator.fit(FEATURES, -LOGITS, LOGITS, LABELS)
    if isinstance(estimator, OSE):
        return estimator.fit(-LOGITS, LOGITS, LABELS)
    return estimator.fit(LOGITS, LABELS)


@pytest.mark.parametrize("estimator", CHANGED, ids=lambda e: type(e).__name__)
def test_a_clone_has_the_parameters_and_no_results(estimator):
    made = fitted(clone(estimator))
    check_is_fitted(made)
    again = clone(made)
    assert again.get_params() == estimator.get_params() == made.get_params()
    assert not [name for name in vars(again) if name.endswith("_")]
    assert [name for name in vars(made) if name.endswith("_")]


@pytest.mark.parametrize("estimator", CHANGED, ids=lambda e: type(e).__name__)
def test_parameters_are_those_of_the_constructor(estimator):
    params = estimator.get_params()
    assert type(estimator)(**params).get_params() == params
    assert type(estimator)().set_params(**params).get_params() == params
    with pytest.raises(InputError, match=r"unknown parameter of \w+ 'temprature'"):
        estimator.set_params(temprature=1)


def test_temperature_scaling_ends_a_pipeline():
    halved = FunctionTransformer(lambda logits: logits / 2)
    pipeline = make_pipeline(halved, TemperatureScaling()).fit(LOGITS, LABELS)
    plain = TemperatureScaling().fit(LOGITS, LABELS)
    assert pipeline[-1].temperature_ == pytest.approx(plain.temperature_ / 2)
    assert np.allclose(pipeline.predict_proba(LOGITS), plain.predict_proba(LOGITS))
    assert clone(pipeline).set_params(temperaturescaling__criterion="confidence")
    assert pipeline.score(LOGITS, LABELS) == (LOGITS.argmax(axis=1) == LABELS).mean()


@pytest.mark.filterwarnings("ignore::bench.posthoc.remarks.PosthocWarning")
@pytest.mark.parametrize("made", [lambda a: a, torch.tensor])
def test_a_table_takes_the_place_of_the_arrays_it_holds(made):
    features, zs, ft = made(FEATURES), made(ZS), made(LOGITS)
    table = sample_table(features_ft=features, logits_zs=zs, logits_ft=ft)
    assert np.array_equal(table, X)

    vrf = VRF(p=0.1).fit(FEATURES, ZS, LOGITS, LABELS).calibrate(ZS, LOGITS, LABELS)
    vrf.choose(FEATURES, ZS, LOGITS, LABELS, [0.3, 0.6], [0.1])
    same = VRF(p=0.1).fit(table, LABELS).calibrate(table, LABELS)
    same.choose(table, LABELS, [0.3, 0.6], b_grid=[0.1])
    assert (same.k_, same.a_, same.temperature_ft_) == (vrf.k_, vrf.a_, vrf.temperature_ft_)
    assert np.array_equal(same.weights(table), vrf.weights(FEATURES))
    assert np.array_equal(same.distances(table), vrf.distances(FEATURES))
    assert np.array_equal(same.predict_proba(table), vrf.predict_proba(FEATURES, ZS, LOGITS))
    assert same.score(table, LABELS) == vrf.score(FEATURES, ZS, LOGITS, LABELS)

    ose = OSE().fit(ZS, LOGITS, LABELS)
    assert OSE().fit(table, LABELS, rule="within-1pt").alpha_ == ose.alpha_
    assert np.array_equal(ose.predict(table), ose.predict(ZS, LOGITS))


@pytest.mark.parametrize("estimator", [OSE(), VRF(p=0.1)], ids=lambda e: type(e).__name__)
def test_ensembles_end_a_pipeline_and_are_cross_validated(estimator):
    def halved(table):
        """Scores on another scale, as a calibration before the ensemble would make them."""
        again = table.copy()
        again["logits_ft"] /= 2
        return again

    pipeline = make_pipeline(FunctionTransformer(halved), clone(estimator)).fit(X, LABELS)
    plain = clone(estimator).fit(halved(X), LABELS)
    assert np.array_equal(pipeline.predict_proba(X), plain.predict_proba(halved(X)))
    assert pipeline.score(X, LABELS) == plain.score(halved(X), LABELS)
    assert pipeline.classes_.tolist() == [0, 1, 2] and is_classifier(pipeline)

    folds = PredefinedSplit(np.arange(60) % 3)
    scores = cross_val_score(pipeline, X, LABELS, cv=folds)
    for (train, test), score in zip(folds.split(), scores, strict=True):
        part = clone(estimator).fit(halved(X[train]), LABELS[train])
        assert score == (part.predict(halved(X[test])) == LABELS[test]).mean()
    losses = cross_val_score(pipeline, X, LABELS, cv=3, scoring="neg_log_loss")
    assert np.isfinite(losses).all()


def test_a_search_over_alpha_is_the_rule_of_the_papers():
    every = np.arange(60)
    search = GridSearchCV(OSE(), {"alpha": ALPHAS}, cv=[(every, every)]).fit(X, LABELS)
    right = [(OSE(a).predict(ZS, LOGITS) == LABELS).mean() for a in ALPHAS]
    assert len(set(right)) > 3
    assert search.cv_results_["mean_test_score"].tolist() == right
    assert search.best_params_["alpha"] == OSE().fit(ZS, LOGITS, LABELS, rule="max-val").alpha_


def test_a_search_over_a_and_b_finds_v_in_training_rows_alone():
    fold = np.where(np.arange(60) < 40, -1, 0)  # 40 training samples, 20 held out
    grid = {"a": [0.5, 0.9, 1.2], "b": [0.1, 0.3]}
    search = GridSearchCV(VRF(), grid, cv=PredefinedSplit(fold), refit=False).fit(X, LABELS)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        vrf = VRF(**params).fit(X[:40], LABELS[:40])
        assert score == vrf.score(X[40:], LABELS[40:])


def test_an_alpha_of_the_constructor_is_kept():
    assert OSE(0.3).fit(ZS, LOGITS, LABELS).alpha_ == 0.3
    assert OSE(0.3).fit(ZS, LOGITS, LABELS, alphas=[0.8]).alpha_ == 0.8
    assert np.array_equal(OSE().predict_proba(X), OSE(0.5).predict_proba(X))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"expected \[N, D\] or \[N, C\]"),
        ({"logits_ft": LABELS}, r"'logits_ft': \(60,\)"),
        ({"logits_zs": ZS, "logits_ft": ZS[:5]}, "with the same N"),
        ({"logits": ZS}, "unknown column of a sample table 'logits'"),
        ({"logits_zs": torch.tensor(ZS), "logits_ft": ZS}, "only NumPy arrays, or only tensors"),
    ],
)
def test_a_bad_table_says_so(columns, message):
    with pytest.raises(InputError, match=message):
        sample_table(**columns)


def test_a_table_without_a_column_names_it():
    table = sample_table(logits_zs=ZS, logits_ft=LOGITS)
    with pytest.raises(InputError, match=r"VRF.fit needs features_ft, and the table has logits_zs"):
        VRF().fit(table, LABELS)
