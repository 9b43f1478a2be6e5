"""Results of CLIP_benchmark as foreign rows: shown beside ours on request, never ranked.

Its ``eval`` writes a JSON file per model and data set, its ``build`` a CSV file of many. Only
zero-shot classification on evaluation sets that bench has as well is taken, and of that the
accuracy, ``acc1``. All else is refused with a sentence, so that no number is taken for another.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.documents import DocumentError, parse_json
from bench.core.foreign.files import read_bounded, reading
from bench.leaderboard.published.places import PLACES

TASK = "zeroshot_classification"
DATASETS: Mapping[str, str] = {
    "imagenet1k": "imagenet",
    "imagenetv2": "imagenet-v2",
    "imagenet_sketch": "imagenet-sketch",
    "imagenet-a": "imagenet-a",
    "imagenet-r": "imagenet-r",
    "objectnet": "objectnet",
    "cifar10": "cifar-10",
    "vtab/cifar10": "cifar-10",
    "cifar100": "cifar-100",
    "vtab/cifar100": "cifar-100",
    "cars": "stanford-cars",
    "dtd": "dtd",
    "vtab/dtd": "dtd",
    "food101": "food-101",
}
"""Our name (`PLACES`) of each of its data sets, which may have ``wds/`` before them."""
OTHERWISE: Mapping[str, str] = {
    "stl10": "it has all ten classes, bench's set lacks the monkeys",
    "sun397": "it has all images, bench's set is a test partition",
}
"""Data sets that both have, but with other images."""
ACCURACY_KEY = "acc1"
METRICS = (ACCURACY_KEY, "acc5", "mean_per_class_recall")
"""Its metrics of zero-shot classification, all fractions."""
NAMES = ("dataset", "model", "pretrained", "task")
OPTIONAL = ("language", "model_fullname")
LONGEST = 200
"""The most characters of a name."""


@dataclass(frozen=True)
class ForeignResult:
    """An accuracy, a fraction, of a model on a data set of `PLACES`, as a file states it.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignResult
    >>> ForeignResult("ViT-B-32", "openai", "en", "imagenet-v2", 0.5596).title
    'ViT-B-32, openai'
    """

    model: str
    pretrained: str
    language: str
    dataset: str
    value: float

    @property
    def title(self) -> str:
        """The model and its weights, and the language of the prompts unless it is English."""
        language = "" if self.language == "en" else f", prompts in {self.language}"
        return f"{self.model}, {self.pretrained}{language}"


@dataclass(frozen=True)
class ForeignFile:
    """A file of results, with its digest.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignFile
    >>> ForeignFile("v2.json", "1f" * 32, ()).stated
    'v2.json (SHA-256 1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f)'
    """

    name: str
    sha256: str
    results: tuple[ForeignResult, ...]

    @property
    def stated(self) -> str:
        """Its name and digest."""
        return f"{self.name} (SHA-256 {self.sha256})"


@dataclass(frozen=True)
class ForeignRow:
    """A model on the evaluation sets of one suite: fractions by ``id`` and shifts, and the files.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignRow
    >>> ForeignRow("ViT-B-32, openai", {"id": 0.63, "v2": 0.56}, ()).values["v2"]
    0.56
    """

    title: str
    values: Mapping[str, float]
    files: tuple[ForeignFile, ...]


def read_clip_benchmark(path: Path) -> ForeignFile:
    """Read a JSON or CSV file of CLIP_benchmark.

    Raises InputError, naming the file and in a CSV the line, for another task, for a data set that
    bench lacks or has with other images, for unknown metrics, and for what is no fraction.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from bench.leaderboard.published.clip_benchmark import read_clip_benchmark
    >>> made = {"dataset": "imagenetv2", "model": "ViT-B-32", "pretrained": "openai",
    ...         "task": "zeroshot_classification", "metrics": {"acc1": 0.5596}}
    >>> _ = Path("v2.json").write_text(json.dumps(made))
    >>> read_clip_benchmark(Path("v2.json")).results[0].dataset
    'imagenet-v2'
    """
    with reading(path):
        data = read_bounded(path)
        text = data.decode("utf-8-sig")
    if path.suffix == ".json":
        results: tuple[ForeignResult, ...] = (_result(str(path), *_of_json(path, text)),)
    elif path.suffix == ".csv":
        results = tuple(_result(*line) for line in _of_csv(path, text))
    else:
        raise InputError(f"--beside {path}: expected a .json or .csv file of CLIP_benchmark")
    if not results:
        raise InputError(f"{path} has no results: expected a line per model and data set")
    return ForeignFile(path.name, hashlib.sha256(data).hexdigest(), results)


def foreign_rows(files: Iterable[ForeignFile], suite: str) -> tuple[ForeignRow, ...]:
    """Return the rows of files on the evaluation sets of a suite, in the order of the files.

    Raises InputError if they state two accuracies of one model on a set.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignFile, ForeignResult
    >>> from bench.leaderboard.published.clip_benchmark import foreign_rows
    >>> result = ForeignResult("ViT-B-32", "openai", "en", "imagenet-v2", 0.5596)
    >>> file = ForeignFile("v2.json", "1f" * 32, (result,))
    >>> foreign_rows([file], "imagenet")[0].values, foreign_rows([file], "cifar10")
    ({'v2': 0.5596}, ())
    """
    values: dict[str, dict[str, float]] = {}
    sources: dict[str, dict[str, ForeignFile]] = {}
    for file in files:
        for result in file.results:
            place = PLACES[result.dataset]
            if place.suite != suite:
                continue
            known = values.setdefault(result.title, {})
            if known.setdefault(place.shift, result.value) != result.value:
                raise InputError(
                    f"{file.name}: another accuracy of {result.title:.100} on {result.dataset} "
                    f"than before, {result.value:g} and {known[place.shift]:g}: give one of them"
                )
            sources.setdefault(result.title, {})[file.sha256] = file
    return tuple(ForeignRow(t, v, tuple(sources[t].values())) for t, v in values.items())


def _of_json(path: Path, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the names and metrics of the one result of a JSON file."""
    try:
        found = parse_json(text)
    except DocumentError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("metrics"), dict):
        raise InputError(
            f"{path}: expected one result of CLIP_benchmark, an object with "
            f"{', '.join(NAMES)} and metrics"
        )
    return {name: value for name, value in found.items() if name != "metrics"}, found["metrics"]


def _of_csv(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (where, names, metrics) of each line of a CSV file."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = list(reader.fieldnames or [])
        if len(set(columns)) < len(columns):
            raise InputError(f"{path}: a column stands twice: expected each name once")
        for line in reader:
            where = f"{path}:{reader.line_num}"
            if None in line or None in line.values():
                raise InputError(f"{where}: expected {len(columns)} values, one per column")
            own = {name: value for name, value in line.items() if value != ""}
            names = {n: v for n, v in own.items() if n in (*NAMES, *OPTIONAL)}
            yield where, names, {n: _number(v) for n, v in own.items() if n not in names}
    except csv.Error as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _result(where: str, names: Mapping[str, Any], metrics: Mapping[str, Any]) -> ForeignResult:
    known = {name: _text(where, name, names.get(name)) for name in NAMES}
    if unknown := sorted(names.keys() - {*NAMES, *OPTIONAL}):
        raise unknown_name(f"field of {where}", unknown[0], (*NAMES, *OPTIONAL, "metrics"))
    if known["task"] != TASK:
        raise InputError(
            f"{where}: task {known['task']!r:.60}: only {TASK} is compared: give a file without "
            "other tasks"
        )
    if unknown := sorted(metrics.keys() - set(METRICS)):
        raise unknown_name(f"metric in {where}", unknown[0], METRICS)
    language = _text(where, "language", names.get("language", "en"))
    value = _accuracy(where, metrics)
    return ForeignResult(
        known["model"], known["pretrained"], language, _dataset(where, known["dataset"]), value
    )


def _text(where: str, name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
        told = "nothing" if value is None else shortened(repr(value), 60)
        raise InputError(f"{where}: {name}: expected a name, got {told}")
    return value


def _dataset(where: str, name: str) -> str:
    """Return our name of a data set."""
    plain = name.removeprefix("wds/")
    if (reason := OTHERWISE.get(plain.removeprefix("vtab/"))) is not None:
        raise InputError(f"{where}: {plain} cannot be compared: {reason}: leave it out")
    if plain not in DATASETS:
        raise unknown_name(f"data set in {where}", plain, DATASETS)
    return DATASETS[plain]


def _accuracy(where: str, metrics: Mapping[str, Any]) -> float:
    """Return ``acc1``; its other metrics must fit it."""
    for name, value in metrics.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name == "acc5" and is_number and math.isnan(value):
            continue  # which it writes for fewer than five classes
        if not is_number or not 0 <= value <= 1:
            told = shortened(repr(value), 60)
            raise InputError(
                f"{where}: {name} is {told}: expected a fraction from 0 to 1, as CLIP_benchmark "
                "writes it; divide percentages by 100"
            )
    if ACCURACY_KEY not in metrics:
        raise InputError(f"{where}: no {ACCURACY_KEY}, the accuracy: give a complete result")
    if metrics.get("acc5", 1) < metrics[ACCURACY_KEY]:
        raise InputError(
            f"{where}: acc5 is below acc1, so one of them is not a fraction of right answers: "
            "check the file"
        )
    return float(metrics[ACCURACY_KEY])
