"""A published table reproduced in stages: the runs, what they cost, what was printed and measured.

Each stage is a run of ``bench run``. All of them share the store, so that a later stage computes
only what the earlier ones did not, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.api.method import DEFAULT_BASE, PROBE, ZERO_SHOT
from bench.core.errors import InputError, unknown_name
from bench.core.paths import format_bytes
from bench.front.check import frequent_reasons, published_entries, verdicts_summary
from bench.front.options import config_of
from bench.front.plan import cost_summary, duration_text
from bench.leaderboard.published.layouts import PRESETS, Preset
from bench.leaderboard.published.ledger import LedgerEntry, mean_weights
from bench.leaderboard.published.places import MODELS, PLACES, Counterpart
from bench.leaderboard.published.tables import PublishedTable, find_published_table
from bench.report.published_tables import render_table
from bench.report.tables.ledger import describe_entry, ledger_table
from bench.runs.costs.counts import Counts, counts_of
from bench.runs.costs.estimate import TimeEstimate, estimate_time
from bench.runs.costs.pending import pending
from bench.runs.costs.space import SpaceEstimate, estimate_space
from bench.runs.session import Session
from bench.runs.study.config import RunConfig

CLEAN = "clean"
"""The protocol of the runs beside those that follow the paper."""


@dataclass(frozen=True)
class StageRun:
    """A run of a stage; `note` says what it is, or what it is for.

    Examples
    --------
    >>> from bench.front.options import config_of
    >>> from bench.front.reproduce import StageRun
    >>> StageRun("zero-shot", config_of({"methods": "zero-shot"}), "as the paper").stage
    'zero-shot'
    """

    stage: str
    config: RunConfig
    note: str

    @property
    def is_compared(self) -> bool:
        """Whether it follows the paper, so that its cells may be compared with printed ones."""
        return self.config.protocol != CLEAN


@dataclass(frozen=True)
class Reproduction:
    """A published table and its layout.

    Examples
    --------
    >>> from bench.front.reproduce import find_reproduction
    >>> found = find_reproduction("wise-ft")
    >>> found.preset.name, found.suites, found.models
    ('wise-ft-table8', ('imagenet',), ('ViT-B-16/openai', 'ViT-L-14-336/openai'))
    >>> found.sets[:3]
    ('imagenet', 'imagenet-v2', 'imagenet-r')
    """

    preset: Preset
    table: PublishedTable

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of bench that measure its columns."""
        return tuple(dict.fromkeys(place.suite for place in self._places))

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets of its columns, by the names of their cards."""
        return tuple(dict.fromkeys(place.card for place in self._places if place.card))

    @property
    def models(self) -> tuple[str, ...]:
        """The models of its rows, as records name them."""
        return tuple(MODELS[name] for name in self.table.backbones)

    @property
    def _places(self) -> list[Counterpart]:
        names = [name for column in self.table.columns for name in mean_weights(column.dataset)]
        return [PLACES[name] for name in names if name in PLACES]

    def runs(
        self, options: Mapping[str, Any], *, clean_released: bool = False
    ) -> tuple[StageRun, ...]:
        """Return the runs of all stages, in order; those of released checkpoints if imported.

        `options` are those of `bench.run`; without a model it is the first of the table. They are
        run under the protocol that the table's file names. Zero-shot is also run under the protocol
        clean, and so are imported checkpoints with `clean_released`: this trains nothing. Raises
        InputError for bad options.
        """
        given = {name: value for name, value in options.items() if value is not None}
        imported = given.pop("imported", None)
        model: dict[str, Any]
        model = {name: given.pop(name) for name in ("model", "pretrained") if name in given}
        if "model" not in model:
            name, _, tag = self.models[0].partition("/")
            model = {"pretrained": tag, **model, "model": name}
        plain = re.sub(r"[^\w.]+", "-", model["model"].rpartition("/")[2])
        out = Path(given.pop("out", Path("results", "runs", f"{self.preset.name}-{plain}")))
        ours, methods = self.table.conditions.ours, self.preset.methods

        def run(stage: str, end: str, note: str, protocol: str, **own: Any) -> StageRun:
            place = {"suite": ",".join(self.suites), "out": out.with_name(out.name + end)}
            config = config_of({**given, **place, "protocol": protocol, **own})
            return StageRun(stage, config, note)

        curves = any(row.given for _, row in self.table.rows) or None
        first = [name for name in methods if name in (ZERO_SHOT, PROBE)]
        found = [
            run(ZERO_SHOT, f"-{ZERO_SHOT}", " and ".join(first), ours, methods=first, **model),
            run(ZERO_SHOT, f"-{ZERO_SHOT}-clean", ZERO_SHOT, CLEAN, methods=ZERO_SHOT, **model),
        ]
        if imported is not None:
            own = [name for name in methods if name.rpartition(":")[2] == DEFAULT_BASE]
            more = {"imported": imported, "methods": [ZERO_SHOT, *own], "curves": curves}
            what = f"the checkpoints {imported}"
            found.append(run("released", "-released", what, ours, **more))
            if clean_released:
                found.append(run("released", "-released-clean", what, CLEAN, **more))
        whole = {**model, "table": self.preset.name, "curves": curves}
        found.append(run("trainings", "", f"all rows of {self.preset.title}", ours, **whole))
        return tuple(found)

    def compared(self, run: Path) -> PublishedComparison:
        """Compare a finished run with the printed cells. Raises InputError if it is no run."""
        return PublishedComparison(self.table, published_entries([run], self.table))


@dataclass(frozen=True)
class PublishedComparison:
    """What a run says of the printed cells of a table; ``str`` gives it as text.

    Examples
    --------
    >>> from bench.front.reproduce import PublishedComparison
    >>> from bench.leaderboard.published.ledger import ledger
    >>> from bench.leaderboard.published.tables import find_published_table
    >>> table = find_published_table("vrf-table1")
    >>> str(PublishedComparison(table, ledger(table, [])))
    "No cell of VRF's Table 1 can be compared with this run: no record of top1 (70 cells)"
    """

    table: PublishedTable
    entries: tuple[LedgerEntry, ...]

    @property
    def contradictions(self) -> tuple[str, ...]:
        """The printed cells that differ by more than the tolerance, each in words."""
        missed = [entry for entry in self.entries if entry.verdict == "not reproduced"]
        return tuple(map(describe_entry, missed))

    def __str__(self) -> str:
        """The cells that were compared, in a table, and the contradicted ones in words."""
        attempted = [entry for entry in self.entries if entry.verdict != "not attempted"]
        if not attempted:
            why = frequent_reasons(self.entries)
            return f"No cell of {self.table.title} can be compared with this run: {why}"
        shown = render_table(ledger_table(self.table, attempted), wide=True)
        beyond = [f"contradicted, beyond the tolerance: {text}" for text in self.contradictions]
        return "\n".join((shown, verdicts_summary(self.entries), *beyond))


@dataclass(frozen=True)
class StageCost:
    """What a run of a stage still costs when those before it are done.

    `space` is None if the sizes of its model are not known.

    Examples
    --------
    >>> from bench.front.options import config_of
    >>> from bench.front.reproduce import StageCost, StageRun
    >>> from bench.runs.costs.estimate import TimeEstimate
    >>> run = StageRun("zero-shot", config_of({"methods": "zero-shot"}), "zero-shot")
    >>> print(StageCost(run, (), TimeEstimate(0, 0, 0, "measured"), None))
    zero-shot: zero-shot, protocol clean
      to do: nothing; every cell is in the cache
      disk and memory: not known for this model
    """

    run: StageRun
    left: tuple[Counts, ...]
    time: TimeEstimate
    space: SpaceEstimate | None

    def __str__(self) -> str:
        """The stage, its work, its time and its space, in three lines."""
        run = self.run
        lines = [
            f"{run.stage}: {run.note}, protocol {run.config.protocol}",
            f"  {cost_summary(self.left, self.time)}",
            f"  {_space_text(self.space)}",
        ]
        return "\n".join(lines)


def find_reproduction(name: str) -> Reproduction:
    """Return the reproduction of a table; the beginning of its name is enough where it is unique.

    Raises InputError, listing the valid names, if there is none.

    Examples
    --------
    >>> from bench.front.reproduce import find_reproduction
    >>> find_reproduction("vrf-table2")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown table 'vrf-table2': did you mean 'vrf-table1'? valid: ...
    """
    fitting = [known for known in PRESETS if known == name or known.startswith(f"{name}-")]
    if len(fitting) != 1:
        raise unknown_name("table", name, PRESETS)
    return Reproduction(PRESETS[fitting[0]], find_published_table(fitting[0]))


def stage_costs(runs: Sequence[tuple[StageRun, Session]]) -> tuple[StageCost, ...]:
    """Return what each run costs after those before it; they share a store.

    Examples
    --------
    >>> from bench.front.options import config_of
    >>> from bench.front.reproduce import StageRun, stage_costs
    >>> from bench.runs.session import prepare_session
    >>> config = config_of({"suite": "micro", "methods": "zero-shot", "shifts": "v2"})
    >>> run, session = StageRun("zero-shot", config, "zero-shot"), prepare_session(config)
    >>> [cost.left[0].forwards for cost in stage_costs([(run, session), (run, session)])]
    [450, 0]
    """
    seen, found = set[str](), list[StageCost]()
    for run, session in runs:
        left, spaces = list[Counts](), list[SpaceEstimate | None]()
        for plan in session.plans:
            todo = {k: v for k, v in pending(plan, session.store).items() if k not in seen}
            seen |= todo.keys()
            left.append(counts_of(list(todo.values()), session.store, {}))
            spaces.append(estimate_space(plan.study, todo.values()))
        time = estimate_time(session.studies, left, session.store, session.config.device)
        found.append(StageCost(run, tuple(left), time, _sum_of(spaces)))
    return tuple(found)


def costs_text(costs: Sequence[StageCost]) -> str:
    """Return the costs of all stages and their sum.

    Examples
    --------
    >>> from bench.front.reproduce import costs_text
    >>> print(costs_text([]))
    in all: nothing is left to compute
    """
    known = [cost for cost in costs if any(count.cells for count in cost.left)]
    if not known:
        return "\n".join([*map(str, costs), "in all: nothing is left to compute"])
    time = sum((cost.time for cost in known), TimeEstimate(0.0, 0.0, 0.0, "measured"))
    space = _space_text(_sum_of([cost.space for cost in costs]))
    return "\n".join([*map(str, costs), f"in all: {duration_text(time)}; {space}"])


def check_disk(costs: Sequence[StageCost], cache: Path) -> None:
    """Raise InputError if the disk of the cache has no room for what the stages will store.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.reproduce import check_disk
    >>> check_disk([], Path("cache"))
    """
    space = _sum_of([cost.space for cost in costs])
    nearest = next(place for place in (cache, *cache.absolute().parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    if space is not None and space.disk > free:
        raise InputError(
            f"the stages store at least {format_bytes(space.disk)}, but the cache {cache} has "
            f"{format_bytes(free)} free: free up disk space, name another --cache-dir, or go on "
            "with --ignore-disk"
        )


def _sum_of(spaces: Sequence[SpaceEstimate | None]) -> SpaceEstimate | None:
    known = [space for space in spaces if space is not None]
    return sum(known, SpaceEstimate()) if len(known) == len(spaces) else None


def _space_text(space: SpaceEstimate | None) -> str:
    if space is None:
        return "disk and memory: not known for this model"
    disk, memory, device = map(format_bytes, (space.disk, space.memory, space.device))
    return f"at least {disk} of disk, {memory} of memory, {device} on the device plus activations"
