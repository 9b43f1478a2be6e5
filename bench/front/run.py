"""A finished run as a value: its records, tables, reports and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.api.dataset import Shift
from bench.api.method import PROBE, ZERO_SHOT
from bench.api.metrics import ACCURACY
from bench.api.recipe_parts import needs_outputs
from bench.api.recipes import Recipe
from bench.core.errors import CellError, InputError, unknown_name
from bench.core.progress import SilentProgress
from bench.core.records import MissingCell, Record
from bench.core.store import MissingOutput
from bench.front.exports.tables import data_frame
from bench.leaderboard.board import ID, Board
from bench.leaderboard.build import build_boards
from bench.leaderboard.severities import merge_severities
from bench.report.caveats import caveat_sentences
from bench.report.run_folder import read_presets, read_run, rewrite_reports
from bench.report.tables.leaderboard import leaderboard_table
from bench.report.tables.terminal import board_title
from bench.report.write import parse_formats
from bench.runs.execution.execute import choice_lookup
from bench.runs.items import CellItem
from bench.runs.measure import Measurement
from bench.runs.outputs import StoredOutputs
from bench.runs.plan import make_plan
from bench.runs.session import Session, session_of
from bench.runs.study.study import Study

if TYPE_CHECKING:
    import pandas

Status = Literal["complete", "incomplete"]
SELECTION = "selection"
"""The name of the selection split for `Run.outputs`."""


@dataclass(frozen=True)
class RowOutputs:
    """What a row of the leaderboard is computed from on one split of N samples.

    Attributes
    ----------
    features : raw image embeddings, float32 [N, D], of each classifier that the row reads, by the
        name of its row: ``zero-shot``, the base's name, or the row's own. Without those that
        outputs computed elsewhere lack.
    logits : float32 [N, C] of each over the task's C classes.
    log_probs : the row's log-probabilities [N, C'] in nats over the split's C' classes.
    weight : weight on the fine-tuned endpoint in [0, 1], one for all samples or [N].
    labels : int64 [N, L], the acceptable labels of each sample, filled up with -1.
    ids : the samples' ids.

    Examples
    --------
    >>> import bench
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> outputs = run.outputs("zero-shot", "v2")
    >>> outputs.features["zero-shot"].shape, outputs.labels.shape
    ((20, 96), (20, 1))
    """

    features: Mapping[str, NDArray[np.float32]]
    logits: Mapping[str, NDArray[np.float32]]
    log_probs: NDArray[np.floating]
    weight: float | NDArray[np.floating]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboards:
    """The leaderboards of a run, one per suite and model; notebooks show them as tables.

    ``str`` gives the tables of the terminal.

    Examples
    --------
    >>> import bench
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> boards = run.leaderboard()
    >>> boards.boards[0].columns, "Zero-shot" in str(boards)
    (('ID', 'v2', 'mean of 1'), True)
    """

    boards: tuple[Board, ...]
    text: str = field(repr=False)

    def __str__(self) -> str:
        """The tables as text."""
        return self.text

    def _repr_html_(self) -> str:
        """The tables as HTML, for notebooks."""
        return "".join(map(_html, self.boards))


@dataclass(frozen=True)
class Run:
    """A finished run; made by `bench.run`, `bench.score` and `bench.load`.

    Attributes
    ----------
    path : the run's folder, with ``records.jsonl``, ``report.html`` and more.
    records : one per measured cell, with everything that determined it.
    missing : cells that could not be computed, with the reasons.
    session : what it was computed by; None if it was loaded.
    places : the folders data and cache_dir of a loaded run, where they are not the default ones.

    Examples
    --------
    >>> import bench
    >>> run = bench.run(suite="micro", limit=20, shifts="v2", methods="ose", curves=False,
    ...                 set={"e2e-ft": {"epochs": 1}})
    >>> run.status, len(run.missing)
    ('complete', 0)
    >>> sorted({record.method for record in run.records})
    ['e2e-ft', 'ose', 'zero-shot']
    >>> run.outputs("ose", "v2").log_probs.shape
    (20, 20)
    """

    path: Path
    records: tuple[Record, ...] = field(repr=False)
    missing: tuple[MissingCell, ...] = field(default=(), repr=False)
    session: Session | None = field(default=None, repr=False, compare=False)
    places: Mapping[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path, places: Mapping[str, Path]) -> Run:
        """Read a run's folder. Raises InputError if it is none."""
        records, missing = read_run(path)
        return cls(path, tuple(records), tuple(missing), None, places)

    @property
    def status(self) -> Status:
        """``complete``, or ``incomplete`` if cells are missing."""
        return "incomplete" if self.missing else "complete"

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per measured cell of the leaderboards.

        The columns are those of all tables of records (docs/exchange.md): ``row`` (METHOD:BASE),
        ``scaled`` (if calibrated), ``low`` and ``high`` (exact 95% interval of an accuracy over the
        set's samples, NaN for other metrics) and the fields of `bench.core.records.Record`. Raises
        InputError if pandas is not installed.

        Examples
        --------
        >>> import bench
        >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
        >>> cells = run.to_pandas()
        >>> list(cells[(cells.metric == "top1") & ~cells.scaled]["shift"])
        ['id', 'v2']
        """
        return data_frame(r for r in self.records if r.kind in ("cell", "scaled"))

    def leaderboard(self) -> Leaderboards:
        """Return the leaderboards, with a paper's layout first if the run has one."""
        from bench.front.display import leaderboards_text

        boards = build_boards(*merge_severities(self.records, self.missing))
        text = leaderboards_text(self.records, self.missing, read_presets(self.path))
        return Leaderboards(tuple(boards), text)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader should know of the run's data, model and rows, each in a sentence."""
        found = [caveat_sentences(b, self.records) for b in build_boards(self.records)]
        return tuple(dict.fromkeys(text for texts in found for text in texts))

    def report(self, format: str = "html") -> Path:
        """Write the report in a format (md, html, tex, csv, json, svg or png) and return its path.

        For svg and png that is the folder of figures. Raises InputError for an unknown format.
        """
        written = rewrite_reports(self.path, [self.path], None, parse_formats(format))
        return written[0] if len(written) == 1 else written[0].parent

    def outputs(
        self, row: str, split: str, *, seed: int | None = None, suite: str | None = None
    ) -> RowOutputs:
        """Return what a row was computed from on a split; nothing is computed by a model.

        `row` is ``METHOD`` or ``METHOD:BASE``, `split` is ``id``, a shift's name or ``selection``.
        `seed` and `suite` are needed only where the run has several. Raises InputError for unknown
        names, and if the outputs are no longer in the cache.
        """
        study, cell = self.chosen(row, seed=seed, suite=suite)
        shifts = {shift.name: shift for shift in study.suite.evaluations()}
        shifts[SELECTION] = Shift(SELECTION, study.suite.task.selection)
        if split not in shifts:
            raise unknown_name(f"split of {study.suite.name}", split, shifts)
        at, store = shifts[split], self.own_session.store
        measurement = Measurement(study, store, lambda opened: opened.load(), SilentProgress())
        stored = StoredOutputs(store, measurement.arrays, at.split, study.precision, at.labels)
        models, method = cell.fit.models, cell.row.method
        names: dict[Recipe, str] = {models.zero_shot: PROBE if study.width else ZERO_SHOT}
        if cell.row.base is not None:
            names.setdefault(models.base, cell.row.base.name)
        reads = method.needs(models, cell.choice)
        try:
            (prediction,) = measurement.predicted(cell.row, cell.fit, stored, [cell.choice])
            named = {names.get(recipe, cell.row.name): recipe for recipe in reads}
            features = dict(_features(stored, named))
            logits = {name: stored.logits(recipe) for name, recipe in named.items()}
        except MissingOutput as error:
            raise InputError(
                f"{row} on {split}: its outputs are not in the cache {store.place}: name the run's "
                "cache (cache_dir), or run it again"
            ) from error
        manifest = at.split.load().manifest
        labels, log_probs = manifest.labels, prediction.log_probs
        return RowOutputs(features, logits, log_probs, prediction.weight, labels, manifest.ids)

    @cached_property
    def own_session(self) -> Session:
        """The session that repeats the run. Raises as `bench.runs.session.session_of` does."""
        return session_of(self.path, self.places) if self.session is None else self.session

    @cached_property
    def _chosen_cells(self) -> list[tuple[Study, CellItem]]:
        """The chosen cells of accuracy on the ID test sets, and their studies."""
        return [
            (study, cell)
            for study in self.own_session.studies
            for cell in make_plan(study, choice_lookup(self.own_session.store)).cells
            if cell.chosen and cell.scale is None and cell.metric == ACCURACY
            if cell.shift.name == ID
        ]

    def chosen(
        self, row: str, *, seed: int | None = None, suite: str | None = None
    ) -> tuple[Study, CellItem]:
        """Return a row's cell of accuracy on the ID test set, with its choice, and its study.

        Raises InputError unless the names fit one row.
        """
        cells = self._chosen_cells
        suites = {study.suite.name for study, _ in cells}
        if suite is None and len(suites) > 1:
            raise InputError(f"{row}: the run has {', '.join(sorted(suites))}: choose a suite")
        if suite is not None and suite not in suites:
            raise unknown_name("suite of the run", suite, suites)
        cells = [(study, cell) for study, cell in cells if suite in (None, study.suite.name)]
        rows = {cell.row.name for _, cell in cells}
        of_row = [(s, c) for s, c in cells if row in (c.row.name, c.row.method.name)]
        if not of_row:
            raise unknown_name("row of the run", row, rows)
        found = {cell.row.name for _, cell in of_row}
        if len(found) > 1:
            of_row = [(s, c) for s, c in of_row if c.row.name == row]
        of_seed = [(s, c) for s, c in of_row if seed is None or c.fit.seed in (None, seed)]
        if len(of_seed) != 1:
            names = sorted(found)
            seeds = sorted({c.fit.seed for _, c in cells if c.fit.seed is not None})
            raise InputError(
                f"{row!r} with seed {seed} is {len(of_seed)} rows: expected one of "
                f"{', '.join(names)} with a seed of {seeds}"
            )
        return of_seed[0]


def _features(
    stored: StoredOutputs, named: Mapping[str, Recipe]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield features by name; outputs computed elsewhere may have none."""
    for name, recipe in named.items():
        try:
            yield name, stored.features(recipe)
        except CellError:
            if not needs_outputs(recipe):
                raise


def _html(board: Board) -> str:
    """A leaderboard as HTML, with its watermarks; names from records are escaped."""
    from html import escape

    from tabulate import tabulate

    table = leaderboard_table(board)
    title = "<br>".join(map(escape, board_title(board).plain.splitlines()))
    lines: Iterable[list[str]] = (
        [f"{cell.text} {cell.small}".strip() for cell in line.items]
        for group in table.groups
        for line in group
    )
    body = str(tabulate(list(lines), table.columns, tablefmt="html", disable_numparse=True))
    return f"<p>{title}<br>{escape(table.caption)}</p>{body}"
