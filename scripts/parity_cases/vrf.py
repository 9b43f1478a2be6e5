"""Comparisons of VRF from features and logits to accuracies.

Both official programs run completely, on our arrays.
"""

from __future__ import annotations

import ast
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bench.posthoc.functional import (
    confident_temperature,
    failure_set,
    kth,
    log_softmax,
    mix,
    sigmoid_weight,
)
from bench.posthoc.neighbors import kth_distance
from parity_cases.case import Arrays, Case
from parity_cases.official import Checkout, on_cpu

Floats = NDArray[np.float32]
Calls = list[tuple[tuple[Any, ...], Any]]

SPLITS = ("ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR", "ObjectNet")
"""The evaluation sets that the official programs name; they fit T on the first one."""

COLUMNS = {"ImageNetA": [0, 2, 3, 5, 7], "ImageNetR": [1, 2, 4, 6]}
"""Classes of the evaluation sets that have fewer."""

TRAIN, TEST, CLASSES, WIDTH = 2000, 50, 8, 6
A, B = 1.5, 0.6  # the official defaults, on the scale of squared distances
SHOWN = 5  # samples of each split whose probabilities are compared

STRETCH = (0.02, 0.1, 1.0, 8.0)
"""Factors on the logits, for temperatures below, in and above the search's first bracket."""

SIZES = ((256_233, 1_281_167), (10_000, 50_000), (1_234, 1_281_167), (7_499, 50_000))
"""Sizes of failure set and training set: a fifth of ImageNet and of CIFAR-10, two odd ones."""


@dataclass(frozen=True)
class Split:
    """One split: features [N, D] and logits [N, C] of both models, labels [N] in its own classes.

    `columns` are the task's classes that the split has.
    """

    features: dict[str, Floats]
    logits: dict[str, Floats]
    labels: NDArray[np.int64]
    columns: list[int]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of features, logits and labels of every split and model."""
    found: dict[str, tuple[int, ...]] = {}
    for split in ("train", *SPLITS):
        size = TRAIN if split == "train" else TEST
        found[f"{split} label"] = (size,)
        for model in ("zs", "ft"):
            found[f"{split} {model} features"] = (size, WIDTH)
            found[f"{split} {model} logits"] = (size, CLASSES)
    return found


def splits(inputs: Arrays) -> dict[str, Split]:
    """Return the inputs as float32 outputs of two models; the second is right more often."""
    found = {}
    for name in ("train", *SPLITS):
        columns = COLUMNS.get(name, list(range(CLASSES)))
        labels = ((inputs[f"{name} label"] + 1) / 2 * len(columns)).astype(np.int64)
        right = np.eye(CLASSES)[np.array(columns)[labels]]
        features, logits = {}, {}
        for model, skill in (("zs", 2.0), ("ft", 3.0)):
            features[model] = inputs[f"{name} {model} features"].astype(np.float32)
            scores = 4 * inputs[f"{name} {model} logits"] + skill * right
            logits[model] = scores.astype(np.float32)
        found[name] = Split(features, logits, labels, columns)
    return found


def right(split: Split, model: str) -> NDArray[np.bool_]:
    """Return [N]: whether the model's best class is the label."""
    best = split.logits[model][:, split.columns].argmax(axis=1)
    return np.asarray(best == split.labels)


@dataclass
class Found:
    """The numbers that one of the codes computed, by split."""

    k: int = 0
    temperatures: list[float] = field(default_factory=list)
    distances: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    probabilities: dict[str, Any] = field(default_factory=dict)
    accuracies: dict[str, float] = field(default_factory=dict)

    def part(self, name: str) -> Arrays:
        """Return one kind of number, by split."""
        if name == "probabilities":
            return {split: rows[:SHOWN] for split, rows in self.probabilities.items()}
        if name in ("k", "temperatures"):
            return {name: np.array(getattr(self, name), dtype=np.float64)}
        return {s: np.asarray(v, dtype=np.float64) for s, v in getattr(self, name).items()}


def ours(inputs: Arrays) -> Found:
    """Compute VRF with bench, with the choices of the official code."""
    data, found = splits(inputs), Found()
    train, fitted = data["train"], data[SPLITS[0]]
    failures = failure_set(right(train, "zs"), right(train, "ft"))
    reference = train.features["ft"][failures]
    found.k = kth(len(reference), rule="official-code", n_train=TRAIN)
    for model in ("zs", "ft"):
        found.temperatures.append(confident_temperature(fitted.logits[model], fitted.labels))
    for name in SPLITS:
        split = data[name]
        found.distances[name] = kth_distance(split.features["ft"], reference, found.k) ** 2
        found.weights[name] = sigmoid_weight(found.distances[name], A, B)
        log_zs, log_ft = (
            log_softmax(split.logits[model][:, split.columns] / np.float32(t))
            for model, t in zip(("zs", "ft"), found.temperatures, strict=True)
        )
        found.probabilities[name] = np.exp(mix(log_zs, log_ft, found.weights[name]))
        correct = found.probabilities[name].argmax(axis=1) == split.labels
        found.accuracies[name] = float(correct.mean())
    return found


def official(inputs: Arrays, checkout: Checkout) -> Found:
    """Run the official programs for distances and then for the ensemble, on given outputs."""
    searched: Calls = []
    scored: Calls = []
    weighed: Calls = []
    fitted: Calls = []

    def index(width: int) -> SimpleNamespace:
        flat = faiss.IndexFlatL2(width)
        return SimpleNamespace(add=flat.add, search=recorded(flat.search, searched))

    def calibrater(*inputs: Any) -> SimpleNamespace:
        return SimpleNamespace(search_T=recorded(search(*inputs).search_T, fitted))

    metrics, main = "src/models/eval.py", "src/main.py"
    search = checkout.define("src/models/calibration.py", "Calibrater", torch=torch, F=F)
    distances = checkout.define(
        "src/knn_distance.py",
        "main",
        compute_sample_accuracy=checkout.define(metrics, "compute_sample_accuracy"),
        faiss=SimpleNamespace(IndexFlatL2=index),
        **surroundings(inputs),
    )
    ensemble = checkout.define(
        main,
        "main",
        compute_accuracy=recorded(checkout.define(metrics, "compute_accuracy"), scored),
        weight=recorded(checkout.define(main, "weight", torch=torch), weighed),
        Calibrater=calibrater,
        F=F,
        **surroundings(inputs),
    )
    with tempfile.TemporaryDirectory() as folder, on_cpu():
        args = SimpleNamespace(load=("zs", "ft"), device="cpu", cache_dir=folder)
        distances(args)
        ensemble(args)
        (file,) = Path(folder).iterdir()
        with np.load(file) as scores:
            found = {name: -scores[f"ft_scores_{name}"] for name in SPLITS}
    last = scored[-len(SPLITS) :]  # before these, accuracies of the single models
    return Found(
        k=searched[0][0][1],
        temperatures=[value[0] for _, value in fitted],
        distances=found,
        weights={s: w.squeeze(1).numpy() for s, (_, w) in zip(SPLITS, weighed, strict=True)},
        probabilities={s: p.numpy() for s, ((p, _), _) in zip(SPLITS, last, strict=True)},
        accuracies={s: value for s, (_, value) in zip(SPLITS, last, strict=True)},
    )


def recorded(function: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    """Wrap `function` so that its arguments and values are added to `calls`."""

    def call(*arguments: Any) -> Any:
        value = function(*arguments)
        calls.append((arguments, value))
        return value

    return call


def surroundings(inputs: Arrays) -> dict[str, Any]:
    """Return the names that both official programs use, with models replaced by their outputs."""
    data, tensor = splits(inputs), torch.tensor

    def outputs(
        model: Any, args: Any, save_prefix: str, dataset_name: str, is_train: bool = False
    ) -> Any:
        split = data["train" if is_train else dataset_name]
        logits, features = split.logits[model.name], split.features[model.name]
        return tensor(features), tensor(logits), tensor(split.labels), lambda z: z[:, split.columns]

    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, to=lambda device: None)

    return {
        "get_feats_logits_and_labels": outputs,
        "ImageClassifier": SimpleNamespace(load=load),
        "np": np,
        "os": os,
        "torch": torch,
    }


def compared(inputs: Arrays, part: str) -> Arrays:
    """Return a part of `ours`."""
    return ours(inputs).part(part)


def compared_official(inputs: Arrays, checkout: Checkout, part: str) -> Arrays:
    """Return a part of `official`."""
    return official(inputs, checkout).part(part)


def our_k(inputs: Arrays) -> Arrays:
    """Compute `kth` by the rule of the official code."""
    found = [kth(size, rule="official-code", n_train=n_train) for size, n_train in SIZES]
    return {"k": np.array(found)}


def official_k(inputs: Arrays, checkout: Checkout) -> Arrays:
    """Run the two official statements that compute k."""
    found = []
    for size, n_train in SIZES:
        names: dict[str, Any] = {
            name: SimpleNamespace(size=lambda axis, rows=rows: rows)
            for name, rows in (("delta_zs_feats", size), ("train_zs_feats", n_train))
        }
        for mentions in ("train_zs_feats size", "round ratio K"):
            names = checkout.run("src/knn_distance.py", "main", ast.Assign, mentions, **names)
        found.append(names["K"])
    return {"k": np.array(found)}


def stretched(inputs: Arrays) -> list[tuple[Floats, NDArray[np.int64]]]:
    """Return logits and labels whose T lies below, in and above the first bracket, [0.1, 10]."""
    data = splits(inputs)["train"]
    return [(np.float32(factor) * data.logits["ft"], data.labels) for factor in STRETCH]


def our_temperatures(inputs: Arrays) -> Arrays:
    """Compute `confident_temperature`."""
    found = [confident_temperature(logits, labels) for logits, labels in stretched(inputs)]
    return {"T": np.array(found)}


def official_temperatures(inputs: Arrays, checkout: Checkout) -> Arrays:
    """Run the official search with the known accuracy."""
    search = checkout.define("src/models/calibration.py", "Calibrater", torch=torch, F=F)
    found = []
    for logits, labels in stretched(inputs):
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        found.append(search(torch.tensor(logits), accuracy).search_T()[0])
    return {"T": np.array(found)}


KNN, MAIN = "src/knn_distance.py:main", "src/main.py:main"
SEARCH = "src/models/calibration.py:Calibrater"
TOLERANCES = {
    "k": (KNN, 0),
    "distances": (KNN, 1e-5),
    "temperatures": (SEARCH, 1e-4),
    "weights": ("src/main.py:weight", 1e-5),
    "probabilities": (MAIN, 1e-5),
    "accuracies": (MAIN, 0),
}
NAMES = {"distances": "squared distances", "probabilities": "mixed probabilities"}
CASES = (
    Case("k at the sizes of data sets", "VRF", KNN, 0, our_k, official_k),
    Case(
        "temperatures beyond the bracket", "VRF", SEARCH, 1e-4, our_temperatures,
        official_temperatures, shapes(), 32,
    ),
    *(
        Case(
            NAMES.get(part, part), "VRF", source, tolerance, partial(compared, part=part),
            partial(compared_official, part=part), shapes(), 31,
        )
        for part, (source, tolerance) in TOLERANCES.items()
    ),
)  # fmt: skip
