"""Baseline models, against which effective robustness is measured.

Models trained on the ID data alone lie near a line of logit(OOD) over logit(ID) (Taori et al.,
NeurIPS 2020; Miller et al., ICML 2021). The effective robustness of a model is its distance above
this line. Some suites ship with baselines and their sources: datasets/baselines/<suite>.csv.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from statistics import correlation, linear_regression

from bench.api.metrics import ACCURACY
from bench.core.errors import InputError
from bench.core.foreign.files import text_of
from bench.data.cards import cards
from bench.data.mini import render
from bench.leaderboard.board import ID
from bench.leaderboard.published.places import PLACES
from bench.leaderboard.suite_results import SuiteResults

LEAST = 3
"""The least number of baselines to fit a line to."""


@dataclass(frozen=True)
class Baseline:
    """A model not fine-tuned from a zero-shot model; `values` are accuracies by evaluation set.

    Accuracies are fractions. `source` states where they were published.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import Baseline
    >>> Baseline("ResNet-50", "a paper", {"id": 0.76, "v2": 0.63}).covers(["v2"])
    True
    """

    model: str
    source: str
    values: Mapping[str, float]

    def covers(self, shifts: Iterable[str]) -> bool:
        """Return whether the model was measured on ID and on all of the shifts."""
        return self.values.keys() >= {ID, *shifts}


@dataclass(frozen=True)
class BaselineLine:
    """The line logit(OOD) = slope logit(ID) + offset, with the R^2 of its fit.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import BaselineLine
    >>> line = BaselineLine(slope=1.0, offset=0.0, r2=1.0)
    >>> line.expected(0.75)
    0.75
    """

    slope: float
    offset: float
    r2: float

    def at(self, x: float) -> float:
        """Return logit(OOD) at logit(ID) = `x`."""
        return self.slope * x + self.offset

    def expected(self, of_id: float) -> float:
        """Return the OOD accuracy of a baseline of ID accuracy `of_id`; both are fractions."""
        return 1 / (1 + math.exp(-self.at(_logit(of_id))))


def fit_line(pairs: Sequence[tuple[float, float]]) -> BaselineLine | None:
    """Fit a line to (ID, OOD) accuracies, fractions, by least squares on logits.

    None with fewer than `LEAST` pairs, or if all have the same ID accuracy.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import fit_line
    >>> line = fit_line([(0.5, 0.3), (0.6, 0.4), (0.7, 0.5)])
    >>> round(line.expected(0.6), 2)
    0.39
    >>> fit_line([(0.5, 0.3)]) is None
    True
    """
    x, y = [_logit(of_id) for of_id, _ in pairs], [_logit(ood) for _, ood in pairs]
    if len(x) < LEAST or len(set(x)) < 2:
        return None
    r2 = correlation(x, y) ** 2 if len(set(y)) > 1 else 1.0
    return BaselineLine(*linear_regression(x, y), r2)


def _logit(p: float) -> float:
    q = min(max(p, 0.0005), 0.9995)
    return math.log(q / (1 - q))


def usable_baselines(numbers: SuiteResults, given: Iterable[Baseline]) -> tuple[Baseline, ...]:
    """Return the baselines of a leaderboard: shipped ones if the data match, and those `given`.

    A given baseline replaces a shipped one of the same name. Baselines without a value on ID or on
    a shift of the mean are left out.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import Baseline, usable_baselines
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> given = [Baseline("ResNet-50", "a paper", {"id": 0.76, "v2": 0.63, "sketch": 0.24})]
    >>> [baseline.model for baseline in usable_baselines(results, given)]
    ['ResNet-50']
    """
    supplied = tuple(given)
    names = {baseline.model for baseline in supplied}
    shipped = shipped_baselines(numbers.board.suite) if same_data(numbers) else ()
    found = (*(b for b in shipped if b.model not in names), *supplied)
    return tuple(b for b in found if b.covers(numbers.board.over))


def same_data(numbers: SuiteResults) -> bool:
    """Return whether rows are accuracies on all images of the built-in suite of this name.

    The name alone does not prove it, because suite files and stored outputs may have any name.
    Synthetic, incomplete and limited data have a watermark and do not match.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import same_data
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> same_data(results)
    False
    """
    board = numbers.board
    places, expected = (ID, *board.over), images_per_set(board.suite)
    metric_of = dict(zip((ID, *board.shifts), board.metrics, strict=True))
    counted = {(r.shift, r.n) for r in numbers.records if r.shift in places}
    return (
        not board.notes
        and all(metric_of[place] == ACCURACY.name for place in places)
        and counted == {(place, expected.get(place)) for place in places}
    )


def images_per_set(suite: str) -> Mapping[str, int | str]:
    """Return the number of images of each evaluation set of a suite.

    It comes from the data set cards, for ``mini`` from the generator.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import images_per_set
    >>> images_per_set("cifar10")["id"], images_per_set("mini")["v2"]
    (10000, 1500)
    """
    if suite == "mini":
        return render.SPLITS | {ID: render.SPLITS["test"]}
    return {
        place.shift: cards()[place.card].images[place.split]
        for place in PLACES.values()
        if place.suite == suite and place.card is not None
    }


@cache
def shipped_baselines(suite: str) -> tuple[Baseline, ...]:
    """Return the baselines that ship with bench for a suite; most suites have none.

    Examples
    --------
    >>> from bench.leaderboard.published.baselines import shipped_baselines
    >>> len(shipped_baselines("mini")) > 2, shipped_baselines("fake")
    (True, ())
    """
    for file in files("bench.datasets").joinpath("baselines").iterdir():
        if file.name == f"{suite}.csv":
            with as_file(file) as path:
                return read_baselines(path)
    return ()


def read_baselines(path: Path) -> tuple[Baseline, ...]:
    r"""Read baselines from a CSV file with columns ``model``, ``source``, ``id`` and one per shift.

    Values are accuracies in percent; an empty value means not measured. Raises InputError, naming
    the file and line, for any other value and for a baseline without a model or source.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.leaderboard.published.baselines import read_baselines
    >>> _ = Path("baselines.csv").write_text("model,source,id,v2\nResNet-50,a paper,76,63")
    >>> read_baselines(Path("baselines.csv"))[0].values
    {'id': 0.76, 'v2': 0.63}
    """
    try:
        reader = csv.DictReader(io.StringIO(text_of(path)))
        columns = reader.fieldnames or []
        absent = [name for name in ("model", "source", ID) if name not in columns]
        if absent:
            raise InputError(
                f"{path}: no column {absent[0]!r}: expected the columns model, source, id and one "
                "per shift"
            )
        return tuple(_read(path, reader.line_num, line) for line in reader)
    except csv.Error as error:
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
            raise InputError(
                f"{where}: {name!r:.40} {text!r:.40} is not an accuracy in percent, 0 to 100"
            )
        values[str(name)] = percent / 100
    return Baseline(model, source, values)
