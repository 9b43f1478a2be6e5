"""Baseline models: what effective robustness is measured against.

Taori et al. (NeurIPS 2020) and Miller et al. (ICML 2021): models trained on the ID data alone lie
near a line of logit(OOD) over logit(ID); how far a model lies above it is its effective robustness.
Some suites come with baselines, each with its source: datasets/baselines/<suite>.csv.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.data.cards import cards
from bench.data.mini import render
from bench.leaderboard.board import ID
from bench.leaderboard.published.tables import PLACES
from bench.leaderboard.suite_results import SuiteResults

LEAST = 3
"""Baselines below which no line is drawn."""


@dataclass(frozen=True)
class Baseline:
    """A model that was not fine-tuned from a zero-shot one: fractions by evaluation set."""

    model: str
    source: str
    values: Mapping[str, float]

    def covers(self, shifts: Iterable[str]) -> bool:
        """Whether it was measured on ID and on all of the shifts."""
        return self.values.keys() >= {ID, *shifts}


@dataclass(frozen=True)
class BaselineLine:
    """logit(OOD) = slope logit(ID) + offset, with the R^2 of the fit."""

    slope: float
    offset: float
    r2: float

    def at(self, x: float) -> float:
        """logit(OOD) where logit(ID) is `x`."""
        return self.slope * x + self.offset

    def expected(self, of_id: float) -> float:
        """The OOD accuracy of a baseline with the ID accuracy `of_id`; fractions."""
        return 1 / (1 + math.exp(-self.at(_logit(of_id))))


def fit_line(pairs: Sequence[tuple[float, float]]) -> BaselineLine | None:
    """The line of least squares through (ID, OOD); None of too few, or of one ID accuracy."""
    points = [(_logit(a), _logit(b)) for a, b in pairs]
    if len(points) < LEAST or len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    over = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope = over / sum((x - mean_x) ** 2 for x, _ in points)
    spread = sum((y - mean_y) ** 2 for _, y in points)
    r2 = slope * over / spread if spread else 1.0
    return BaselineLine(slope, mean_y - slope * mean_x, r2)


def _logit(p: float) -> float:
    q = min(max(p, 0.0005), 0.9995)
    return math.log(q / (1 - q))


def usable_baselines(numbers: SuiteResults, given: Iterable[Baseline]) -> tuple[Baseline, ...]:
    """The baselines of a leaderboard: shipped ones, if it is of their data, and those `given`.

    A given one takes the place of a shipped one of its name. Those that lack ID or a shift of the
    mean are left out.
    """
    own = tuple(given)
    names = {baseline.model for baseline in own}
    ours = shipped_baselines(numbers.board.suite) if same_data(numbers) else ()
    found = (*(b for b in ours if b.model not in names), *own)
    return tuple(b for b in found if b.covers(numbers.board.over))


def same_data(numbers: SuiteResults) -> bool:
    """Whether rows are accuracies on all images of the suite that bench knows by this name.

    The name alone does not say so, as authors of suite files and of outputs choose theirs freely.
    Synthetic, incomplete and limited data are watermarked.
    """
    board = numbers.board
    places, expected = (ID, *board.over), images_per_set(board.suite)
    judged = dict(zip((ID, *board.shifts), board.metrics, strict=True))
    counted = {(r.shift, r.n) for r in numbers.records if r.shift in places}
    return (
        not board.notes
        and all(judged[place] == ACCURACY.name for place in places)
        and counted == {(place, expected.get(place)) for place in places}
    )


def images_per_set(suite: str) -> Mapping[str, int | str]:
    """How many images each evaluation set of a suite has, by its cards or its generator."""
    if suite == "mini":
        return render.SPLITS | {ID: render.SPLITS["test"]}
    return {
        place.shift: cards()[place.card].images[place.split]
        for place in PLACES.values()
        if place.suite == suite and place.card is not None
    }


@cache
def shipped_baselines(suite: str) -> tuple[Baseline, ...]:
    """The baselines that come with bench for a suite; none for most."""
    for file in files("bench.datasets").joinpath("baselines").iterdir():
        if file.name == f"{suite}.csv":
            with as_file(file) as path:
                return read_baselines(path)
    return ()


def read_baselines(path: Path) -> tuple[Baseline, ...]:
    """Baselines of a CSV file: columns ``model``, ``source``, ``id`` and one for each shift.

    Values are accuracies in percent; an empty one was not measured. Raises InputError that names
    file and line for anything else, also for a baseline without a source.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            lacking = [name for name in ("model", "source", ID) if name not in columns]
            if lacking:
                raise InputError(
                    f"{path}: no column {lacking[0]!r}: expected model, source, id and shifts"
                )
            return tuple(_read(path, reader.line_num, line) for line in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--baselines {path}: cannot be read: {error}") from error


def _read(path: Path, number: int, line: Mapping[str | None, str | None]) -> Baseline:
    where = f"{path}:{number}"
    if None in line:
        raise InputError(f"{where}: more values than columns")
    model, source = (str(line[name] or "").strip() for name in ("model", "source"))
    if not model or not source:
        raise InputError(f"{where}: every baseline needs a model and a source")
    values = {}
    for name, text in line.items():
        if name in ("model", "source") or not (text or "").strip():
            continue
        try:
            percent = float(text or "")
        except ValueError:
            percent = math.nan
        if not 0 <= percent <= 100:
            raise InputError(f"{where}: {name} {text!r} is no accuracy in percent")
        values[str(name)] = percent / 100
    return Baseline(model, source, values)
