"""The contract suite finds the fault in each of these methods and data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from bench.api.dataset import Card, LabelMap, Shift, Suite, Task
from bench.api.method import Method, Prediction
from bench.api.splits import Loaded, Split, single_label
from bench.core.errors import InputError
from bench.posthoc.functional import log_softmax
from bench.testing.contract import check_dataset, check_method


@dataclass(frozen=True)
class Good(Method):
    """The smallest method that fulfils the contract; the broken ones below derive from it."""

    name: ClassVar[str] = "good"
    title: ClassVar[str] = "Good"
    summary: ClassVar[str] = "s"
    equation: ClassVar[str] = "e"
    source: ClassVar[str] = "s"

    def recipe(self, models):
        return models.zero_shot


@dataclass(frozen=True)
class Blank(Good):
    title: ClassVar[str] = " "


@dataclass(frozen=True)
class ReadsLabels(Good):
    def predict(self, models, fitted, outputs, train, choices):
        yield Prediction(np.eye(6)[outputs.labels])


@dataclass(frozen=True)
class NeedsTooLittle(Good):
    def fit(self, models, selection, train):
        return {"bits": train.correct(models.zero_shot)}


@dataclass(frozen=True)
class Writes(Good):
    def predict(self, models, fitted, outputs, train, choices):
        scores = outputs.scores(models.zero_shot)
        scores -= 1
        return super().predict(models, fitted, outputs, train, choices)


@dataclass(frozen=True)
class Unnormalised(Good):
    def predict(self, models, fitted, outputs, train, choices):
        yield Prediction(outputs.scores(models.zero_shot))


@dataclass(frozen=True)
class IgnoresTheLabelMap(Good):
    def predict(self, models, fitted, outputs, train, choices):
        yield Prediction(log_softmax(outputs.logits(models.zero_shot)))


@dataclass(frozen=True)
class UsesTheBatch(Good):
    def predict(self, models, fitted, outputs, train, choices):
        scores = outputs.scores(models.zero_shot)
        yield Prediction(log_softmax(scores - scores[:1]))


@dataclass(frozen=True)
class Forgets(Good):
    def candidates(self):
        return ({"x": 0.0}, {"x": 1.0})

    def predict(self, models, fitted, outputs, train, choices):
        yield Prediction(log_softmax(outputs.scores(models.zero_shot)))


@dataclass(frozen=True)
class Stateful(Good):
    def candidates(self):
        return ({"x": 1.0}, {"x": 2.0})

    def predict(self, models, fitted, outputs, train, choices):
        total = 0.0
        for choice in choices:
            total += choice["x"]
            yield Prediction(log_softmax(outputs.scores(models.zero_shot) * total))


@dataclass(frozen=True)
class Heavy(Good):
    def predict(self, models, fitted, outputs, train, choices):
        yield Prediction(log_softmax(outputs.scores(models.zero_shot)), 1.5)


class Melted(Good):
    pass


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Blank, "title is blank"),
        (ReadsLabels, "predict must not use labels"),
        (NeedsTooLittle, "training: read .* which needs\\(\\) does not list"),
        (Writes, "modified its input arrays"),
        (Unnormalised, "probabilities sum to"),
        (IgnoresTheLabelMap, "shape"),
        (UsesTheBatch, "depends on the order of samples"),
        (Forgets, "1 predictions for 2 choices"),
        (Stateful, "depends on the order of choices"),
        (Heavy, "weight is outside"),
        (Melted, "write @dataclass"),
    ],
)
def test_the_contract_suite_finds(cls, message):
    check_method(Good)
    with pytest.raises(AssertionError, match=message):
        check_method(cls)


def fake_split(name: str, classes: int = 3, **changes) -> Split:
    """Six grey images."""
    ids = changes.pop("ids", [f"{name}/{i}" for i in range(6)])
    labels = changes.pop("labels", [i % classes for i in range(6)])
    images = changes.pop("images", [Image.new("L", (4, 4), i) for i in range(6)])
    load = changes.pop("load", lambda: Loaded(images, single_label(ids, labels)))
    return replace(Split(name, f"print of {name}", 6, load), **changes)


class GoodDataset:
    """The smallest dataset that fulfils the contract; the broken ones below derive from it."""

    name = "fake"
    card = Card("Fake", "memory", "CC0", {"shifted": "the same in grey"}, "none yet")

    def found(self, data):
        return True

    def train(self):
        return fake_split("train")

    def shift(self):
        return Shift("shifted", fake_split("shifted", 2), LabelMap(((2,), (0, 1))))

    def suite(self, data, cache):
        selection, test = fake_split("selection"), fake_split("test")
        task = Task("fake", ("a", "b", "c"), ("a {}",), self.train(), selection)
        return Suite("fake", task, test, (self.shift(),), "ViT-B-32", "openai")


class BlankCard(GoodDataset):
    card = replace(GoodDataset.card, shifts={"shifted": " "})


class UndescribedShift(GoodDataset):
    card = replace(GoodDataset.card, shifts={"other": "text"})


class Leaks(GoodDataset):
    def train(self):
        return fake_split("train", ids=["test/0", *(f"train/{i}" for i in range(5))])


class RepeatsIds(GoodDataset):
    def train(self):
        return fake_split("train", ids=["train/0"] * 6)


class WrongSize(GoodDataset):
    def train(self):
        return fake_split("train", size=7)


class LabelsOutside(GoodDataset):
    def train(self):
        return fake_split("train", classes=4)


class MapOutside(GoodDataset):
    def shift(self):
        return Shift("shifted", fake_split("shifted", 2), LabelMap(((3,), (0,))))


class NoRegions(GoodDataset):
    def shift(self):
        return replace(super().shift(), metrics=("worst-region",))


class NoImages(GoodDataset):
    def train(self):
        return fake_split("train", images=["file.png"] * 6)


class Unstable(GoodDataset):
    prints = count()

    def train(self):
        return fake_split("train", fingerprint=str(next(self.prints)))


class Denies(GoodDataset):
    def found(self, data):
        return False


class Absent(Denies):
    def suite(self, data, cache):
        raise InputError("fake: nothing at /data")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (BlankCard, "card's shifts is blank"),
        (UndescribedShift, "the card describes"),
        (Leaks, "train and test share 1 ids"),
        (RepeatsIds, "ids are not unique"),
        (WrongSize, "sizes"),
        (LabelsOutside, "labels 0 to 3 for 3 classes"),
        (MapOutside, "label map has classes outside 0 to 2"),
        (NoRegions, "metrics worst-region: unknown group of samples"),
        (NoImages, "expected a PIL image"),
        (Unstable, "the fingerprint differs"),
        (Denies, "found\\(\\) is false, but"),
    ],
)
def test_the_contract_suite_finds_in_datasets(cls, message):
    check_dataset(GoodDataset)
    check_dataset(Absent)
    with pytest.raises(AssertionError, match=message):
        check_dataset(cls)
