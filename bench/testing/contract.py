"""The contract suite: checks that every method and dataset must pass, including plugins.

In a plugin's tests::

    from bench.testing.contract import check_dataset, check_method

    def test_my_method():
        check_method(MyMethod)

A check returns None, or raises an AssertionError that explains the violation.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api import metrics
from bench.api.dataset import Card, Dataset, LabelMap, Suite
from bench.api.declarations import check_declarations
from bench.api.method import Choice, Fitted, Method, Models, Prediction
from bench.api.recipes import (
    Classifier,
    Imported,
    Merged,
    Recipe,
    Tuned,
)
from bench.api.splits import Split
from bench.core.errors import InputError
from bench.core.hashing import key_of
from bench.core.parameters import parameters, with_parameters
from bench.testing.fakes import (
    CLASSES,
    IDENTITY,
    MANY_TO_ONE,
    SIZE,
    SUBSET,
    FakeLabelledOutputs,
    FakeOutputs,
    Rows,
    fake_models,
)


def check_method(cls: type[Method]) -> None:
    """Assert that a method class fulfils the contract of `bench.api.method`.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> from bench.testing.contract import check_method
    >>> check_method(find_method("vrf"))
    """
    _check_attributes(cls)
    method = cls()
    _check_value(method)
    models = fake_models(tuned=cls.default_base is not None)
    choices = _check_candidates(method)
    _check_needs(method, models, choices)
    fitted = _check_fit(method, models, choices)
    for labels in (IDENTITY, SUBSET, MANY_TO_ONE):
        _check_predict(method, models, fitted, method.candidates_of(fitted), labels)


def _check_attributes(cls: type[Method]) -> None:
    assert issubclass(cls, Method), f"{cls.__name__} must derive from bench.api.method.Method"
    for attribute in ("name", "title", "summary", "equation", "source"):
        value = getattr(cls, attribute, None)
        assert isinstance(value, str) and value.strip(), f"{cls.__name__}.{attribute} is blank"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cls.name), (
        f"{cls.__name__}.name {cls.name!r} must be lower-case words joined by hyphens"
    )
    assert cls.default_base is None or cls.default_base != cls.name, f"{cls.name} is its own base"
    assert isinstance(cls.version, int) and cls.version >= 1, f"{cls.name}.version must be >= 1"
    try:
        check_declarations(cls)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _check_value(method: Method) -> None:
    name, cls = method.name, type(method)
    assert cls.__dataclass_params__.frozen, f"{name} is not a frozen dataclass"  # type: ignore[attr-defined]
    assert "__dataclass_fields__" in vars(cls), f"{name} lacks its own @dataclass(frozen=True)"
    assert method == cls() and hash(method) == hash(cls()), f"two instances of {name} differ"
    assert key_of(method) == key_of(cls()), f"{name}'s key is not stable"
    texts = {key: json.dumps(value) for key, value in parameters(method).items()}
    again = with_parameters(method, texts, name)
    assert again == method, f"{name}: setting its own parameters as text gives {again}"
    assert key_of(again) == key_of(method), f"{name}: setting its own parameters changes its key"


def _check_candidates(method: Method) -> tuple[Choice, ...]:
    choices = tuple(method.candidates())
    assert choices, f"{method.name} has no candidate; a method without choices has one, ({{}},)"
    for choice in choices:
        for key, value in choice.items():
            assert isinstance(value, int | float) and np.isfinite(value), (
                f"{method.name}: candidate {dict(choice)}: {key} is not a finite number"
            )
    assert len({key_of(dict(c)) for c in choices}) == len(choices), (
        f"{method.name} lists a candidate twice"
    )
    return choices


def _check_needs(method: Method, models: Models, choices: Sequence[Choice]) -> None:
    for needs in (*(method.needs(models, c) for c in choices), method.train_needs(models)):
        assert isinstance(needs, tuple), f"{method.name}: needs must be tuples, got {needs!r}"
        for recipe in needs:
            assert isinstance(recipe, Classifier | Tuned | Merged | Imported), (
                f"{method.name} needs {recipe!r}, which is not the recipe of a classifier"
            )
            key_of(recipe)
        assert len(set(needs)) == len(needs), f"{method.name} needs the same recipe twice"
    assert all(method.needs(models, c) for c in choices), (
        f"{method.name}: needs() is empty, expected at least one recipe to predict with"
    )


def _check_fit(method: Method, models: Models, choices: Sequence[Choice]) -> dict[str, Any]:
    def fit() -> dict[str, NDArray[Any]]:
        selection, train = FakeLabelledOutputs(1), FakeLabelledOutputs(0, 200)
        fitted = method.fit(models, selection, train)
        needed = {r for choice in choices for r in method.needs(models, choice)}
        _check_reads(f"{method.name}.fit, selection", selection, needed)
        _check_reads(f"{method.name}.fit, training", train, set(method.train_needs(models)))
        return fitted

    first, second = fit(), fit()
    for key, value in first.items():
        assert isinstance(value, np.ndarray) and value.dtype.kind in "biuf", (
            f"{method.name}.fit: {key!r} is not an array of numbers or booleans"
        )
    assert first.keys() == second.keys() and all(
        np.array_equal(first[k], second[k]) for k in first
    ), f"{method.name}.fit returns different results when called twice"
    return first


def _check_reads(where: str, outputs: FakeOutputs, allowed: set[Recipe]) -> None:
    """Assert that only the outputs of allowed recipes were read, and that none were changed."""
    extra = outputs.asked - allowed
    assert not extra, f"{where}: read {sorted(map(repr, extra))}, which needs() does not list"
    assert not outputs.altered(), f"{where}: modified its input arrays"


def _check_predict(
    method: Method, models: Models, fitted: Fitted, choices: Sequence[Choice], labels: LabelMap
) -> None:
    name = f"{method.name}.predict, {labels.relation} label map"

    def predict(some: Sequence[Choice], rows: Rows | None = None) -> list[Prediction]:
        outputs, train = FakeOutputs(2, SIZE, labels, rows), FakeLabelledOutputs(0, 200)
        before = {key: value.copy() for key, value in fitted.items()}
        try:
            found = list(method.predict(models, fitted, outputs, train, some))
        except AttributeError as error:  # `labels`, `correct`: only LabelledOutputs have them
            raise AssertionError(f"{name}: {error}; predict must not use labels") from error
        assert len(found) == len(some), (
            f"{name}: {len(found)} predictions for {len(some)} choices, expected one for each"
        )
        _check_reads(name, outputs, {r for c in some for r in method.needs(models, c)})
        _check_reads(f"{name}, training", train, set(method.train_needs(models)))
        unchanged = all(np.array_equal(before[key], fitted[key]) for key in before)
        assert unchanged, f"{name}: changed `fitted`"
        return found

    rows = np.random.default_rng(3).permutation(SIZE)
    together, shuffled = predict(choices), predict(choices, rows)
    reverse = predict(choices[::-1])[::-1]
    alone = {i: predict([choices[i]])[0] for i in {0, len(choices) // 2}}
    width = CLASSES if labels.columns is None else len(labels.columns)
    for i, (choice, one) in enumerate(zip(choices, together, strict=True)):
        where = f"{name}, {dict(choice)}"
        _check_prediction(where, one, (SIZE, width))
        _check_equal(f"{where}: depends on the order of choices", one, reverse[i])
        _check_equal(f"{where}: depends on the other choices", one, alone.get(i, one))
        if not method.mixes_samples:
            _check_equal(f"{where}: depends on the order of samples", one, shuffled[i], rows)


def _check_prediction(where: str, prediction: Prediction, shape: tuple[int, int]) -> None:
    log_probs = prediction.log_probs
    assert log_probs.shape == shape, f"{where}: shape {log_probs.shape}, expected {shape}"
    assert log_probs.dtype.kind == "f", f"{where}: dtype {log_probs.dtype}, expected a float dtype"
    assert not np.isnan(log_probs).any(), f"{where}: log-probabilities are NaN"
    sums = np.exp(log_probs).sum(axis=1)
    assert np.allclose(sums, 1, atol=1e-4), (
        f"{where}: probabilities sum to {sums.min()}, expected 1"
    )
    weight = np.asarray(prediction.weight)
    assert weight.shape in ((), shape[:1]), (
        f"{where}: weight has shape {weight.shape}, expected () or {shape[:1]}"
    )
    assert ((weight >= 0) & (weight <= 1)).all(), f"{where}: a weight is outside [0, 1]"


def _check_equal(
    message: str, one: Prediction, other: Prediction, rows: Rows | None = None
) -> None:
    """Assert that two predictions are equal; the samples of `other` are reordered by `rows`."""
    order = np.arange(SIZE) if rows is None else rows
    weights = [np.broadcast_to(np.asarray(p.weight), SIZE) for p in (one, other)]
    assert np.allclose(one.log_probs[order], other.log_probs, atol=1e-4), message
    assert np.allclose(weights[0][order], weights[1], atol=1e-4), message


def check_dataset(cls: type[Dataset], data: Path | None = None, cache: Path | None = None) -> None:
    """Assert that a dataset class fulfils the contract of `bench.api.dataset`.

    If `data` does not contain the dataset, only its card and its error message are checked.
    `cache` defaults to a temporary folder.

    Examples
    --------
    >>> from bench.api.registry import find_dataset
    >>> from bench.testing.contract import check_dataset
    >>> check_dataset(find_dataset("micro"))
    """
    _check_card(cls)
    dataset = cls()
    with tempfile.TemporaryDirectory() as temporary:
        cache = cache or Path(temporary)
        try:
            suite = dataset.suite(data, cache)
        except InputError as error:
            assert not dataset.found(data), (
                f"{cls.name}: found() is true, but suite() fails: {error}"
            )
            assert str(error).strip(), f"{cls.name}: the error for missing data has no message"
            return
        assert dataset.found(data), f"{cls.name}: found() is false, but suite() succeeds"
        _check_suite(cls, suite)
        for a, b in zip(_splits(suite), _splits(cls().suite(data, cache)), strict=True):
            assert a.fingerprint == b.fingerprint, (
                f"{a.name}: the fingerprint differs when the suite is opened twice"
            )


def _check_card(cls: type[Dataset]) -> None:
    name, card = getattr(cls, "name", ""), getattr(cls, "card", None)
    assert isinstance(name, str) and name.strip(), f"{cls.__name__}.name is blank"
    assert isinstance(card, Card), f"{name}: card must be a bench.api.dataset.Card"
    for field in dataclasses.fields(card):
        value = getattr(card, field.name)
        texts = list(value.values()) if isinstance(value, Mapping) else [value]
        complete = all(isinstance(text, str) and text.strip() for text in texts)
        assert complete, f"{name}: the card's {field.name} is blank"


def _splits(suite: Suite) -> list[Split]:
    return [suite.task.train, suite.task.selection, *(s.split for s in suite.evaluations())]


def _check_suite(cls: type[Dataset], suite: Suite) -> None:
    name, classes = cls.name, len(suite.task.classnames)
    assert suite.name == name, f"{name}: its suite is named {suite.name!r}"
    assert classes > 1 and all(map(str.strip, suite.task.classnames)), (
        f"{name}: expected two or more class names, none of them blank"
    )
    assert suite.task.templates, f"{name}: no prompt template"
    if suite.task.selection == suite.task.train:  # a run holds out a part of train
        suite = suite.under(selects="selection", share=0.1, border=0)
    assert all(map(str.strip, (suite.model, suite.pretrained))), f"{name}: no default backbone"
    shifts = [shift.name for shift in suite.shifts]
    assert len({"id", *shifts}) == len(shifts) + 1, f"{name}: shift names {shifts} are not unique"
    assert set(shifts) == set(cls.card.shifts), (
        f"{name}: the card describes {sorted(cls.card.shifts)}, the suite has {sorted(shifts)}"
    )
    ids = [_check_split(suite.task.train, classes), _check_split(suite.task.selection, classes)]
    for split in (suite.task.train, suite.task.selection):
        assert split.load().manifest.first.min() >= 0, f"{split.name}: a sample has no label"
    for shift in suite.evaluations():
        columns = shift.labels.columns or tuple((i,) for i in range(classes))
        members = {c for group in columns for c in group}
        assert members <= set(range(classes)), (
            f"{shift.split.name}: the label map has classes outside 0 to {classes - 1}"
        )
        ids.append(_check_split(shift.split, len(columns)))
        _check_metrics(shift.metrics, shift.split, len(columns))
    _check_metrics(suite.metrics[:1], suite.task.selection, classes)
    named = zip(("train", "selection", "test"), ids[:3], strict=True)
    for (a, left), (b, right) in combinations(named, 2):
        shared = left & right
        assert not shared, f"{name}: {a} and {b} share {len(shared)} ids, such as {min(shared)!r}"
    prints = [split.fingerprint for split in _splits(suite)]
    assert len(set(prints)) == len(prints), f"{name}: two splits have one fingerprint"


def _check_metrics(names: Sequence[str], split: Split, classes: int) -> None:
    try:
        metrics.check_metrics(names, split.load().manifest, classes)
    except InputError as error:
        raise AssertionError(f"{split.name}: metrics {', '.join(names)}: {error}") from error


def _check_split(split: Split, classes: int) -> set[str]:
    """Check a split's manifest and three of its images; returns its sample ids."""
    from PIL.Image import Image

    loaded = split.load()
    sizes = (split.size, len(loaded.images), len(loaded.manifest))
    assert len(set(sizes)) == 1 and split.size > 0, f"{split.name}: sizes {sizes} must be equal"
    ids, labels = set(loaded.manifest.ids), loaded.manifest.labels
    assert len(ids) == split.size, f"{split.name}: ids are not unique"
    assert labels.dtype == np.int64, f"{split.name}: labels are {labels.dtype}, expected int64"
    assert labels.min() >= -1 and labels.max() < classes, (
        f"{split.name}: labels {labels.min()} to {labels.max()} for {classes} classes"
    )
    for group, values in loaded.manifest.groups.items():
        assert values.shape == (split.size,), (
            f"{split.name}: group {group} has shape {values.shape}, expected ({split.size},)"
        )
    for index in sorted({0, split.size // 2, split.size - 1}):
        image = loaded.images[index]
        assert isinstance(image, Image) and min(image.size) > 0, (
            f"{split.name}: image {index} is {type(image).__name__}, expected a PIL image"
        )
    return ids
