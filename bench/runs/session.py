"""One run from its configuration to its files: configuration, plan, records, samples, reports.

Repeating a command writes byte-identical files, except for ``timings.jsonl``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.registry import datasets, loaded_plugins
from bench.core.errors import DataError, InputError, shortened
from bench.core.foreign.files import TABLE, read_bounded, without_waiting
from bench.core.hashing import key_of
from bench.core.paths import check_writable, write_atomic
from bench.core.progress import Progress, SilentProgress
from bench.core.records import MissingCell
from bench.core.store import Store
from bench.core.store.opening import store_at
from bench.core.trainings import TRAININGS
from bench.data.prompts import templates_digest
from bench.data.suites.yaml_schema import is_suite_file
from bench.leaderboard.board import PENDING
from bench.leaderboard.derived import oracle_records, pool_figures
from bench.leaderboard.published.layouts import Preset, find_preset
from bench.report.run_config import CONFIG, read_config
from bench.report.run_folder import FIGURES, MISSING, PLAN
from bench.report.staging import finish, staged
from bench.runs.costs.counts import Counts, pending_counts
from bench.runs.costs.rates import remember_samples
from bench.runs.execution.dispatch import Workers, workers_of
from bench.runs.execution.execute import Outcome, choice_lookup, execute_plan
from bench.runs.execution.jobs import Executor, context_of
from bench.runs.execution.runner import Runner
from bench.runs.items import CellItem
from bench.runs.measure import address_of
from bench.runs.plan import Plan, make_plan
from bench.runs.results.files import Results
from bench.runs.results.manifest import write_run_manifest
from bench.runs.results.plan_lines import plan_text
from bench.runs.results.replacing import PoorerError, check_replaceable, places_of, refuse_poorer
from bench.runs.study.config import RunConfig, load_config
from bench.runs.study.kept import FOLDER as KEPT
from bench.runs.study.kept import PLACES, InputCopies, KeptInputs, copy_inputs, kept_inputs
from bench.runs.study.outputs_folder import FILE
from bench.runs.study.precision import AUTO, with_measured_precision
from bench.runs.study.resolve import resolve_studies
from bench.runs.study.rows import methods_of
from bench.runs.study.score import GIVEN_DIGEST, score_study
from bench.runs.study.study import Study
from bench.runs.trackers import Trackers, require_packages

if TYPE_CHECKING:
    from bench.models.devices.group import ProcessGroup
    from bench.runs.engine import Engine

OUTDATED = (MISSING, TRAININGS, PLACES, KEPT, FIGURES)
"""What a run may have had before and does not write again."""

log = logging.getLogger("bench")


@dataclass(frozen=True)
class Session:
    """A resolved run: its configuration, studies, store and output folder.

    `resolved` is the content of its ``config.json`` and `copies` what it keeps of its inputs, both
    as they were when the run began.
    """

    config: RunConfig
    studies: tuple[Study, ...]
    store: Store
    out: Path
    resolved: Mapping[str, Any]
    copies: InputCopies

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The table of ``--table``, if one was requested."""
        return () if self.config.table is None else (find_preset(self.config.table),)

    @property
    def scores_outputs(self) -> bool:
        """Whether it scores outputs that were computed elsewhere, which needs no model."""
        return "outputs" in self.copies.places

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """The plan of each study, with placeholders for choices that were not made when asked."""
        return tuple(make_plan(study, choice_lookup(self.store)) for study in self.studies)

    def left(self) -> tuple[Counts, ...]:
        """Count the pending work of each study."""
        return tuple(pending_counts(plan, self.store) for plan in self.plans)

    def work(self) -> float:
        """All pending work that takes long, in forward passes of an image."""
        return sum(count.work for count in self.left())

    def unused_settings(self) -> str:
        """Say in one line which methods were given settings but are not run; empty if none."""
        run = {name for study in self.studies for name in methods_of(study.rows)}
        unused = [owner for owner in self.config.set if owner not in {*run, "protocol", "model"}]
        if not unused:
            return ""
        names, listed = ", ".join(unused), shortened(", ".join(sorted(run)), 200)
        return (
            f"--set {names}: changes nothing, because the methods of this run are {listed}: add "
            "it to --methods or leave the option out"
        )

    def expected(self) -> list[MissingCell]:
        """Return every leaderboard cell of the run as a pending one."""
        cells = [(p.study, cell) for p in self.plans for cell in p.cells if cell.chosen]
        return [
            _pending_cell(study, cell)
            for study, cell in cells
            if cell.metric.name == cell.shift.primary_metric
        ]


def _pending_cell(study: Study, cell: CellItem) -> MissingCell:
    """Return a cell of the plan as a missing one that is still to be computed."""
    return MissingCell.model_validate(address_of(study, cell) | {"reason": PENDING})


def prepare_session(
    config: RunConfig,
    found: tuple[Study, ...] | None = None,
    outputs: Path | None = None,
    *,
    writes: bool = True,
) -> Session:
    """Resolve a configuration to a session; `found` are its studies, if already resolved.

    `outputs` is the folder of outputs that they score, if they do. Unless it `writes`, as where a
    run is checked, cache and output folder need not be writable.

    Raises InputError for whatever is wrong with the configuration. Writes nothing, except the index
    of the user's own images to the cache.
    """
    require_packages(config.tracker)
    store = store_at(config.cache_dir, writes=writes)
    found = resolve_studies(config) if found is None else found
    if config.precision == AUTO:
        config, found = with_measured_precision(config, found, store)
    name = "+".join(study.suite.name for study in found)
    resolved = resolved_config(config, found)
    out = config.out or Path("results") / "runs" / f"{name}-{key_of(resolved)[:8]}"
    if writes:
        check_writable(out, "output folder")
    return Session(config, found, store, out, resolved, copy_inputs(config, outputs))


def session_of(folder: Path, options: Mapping[str, Any]) -> Session:
    """Return the session that repeats a finished run.

    `options` are places of its inputs: data, cache_dir. For a run of `bench score`, data is the
    folder of outputs, if it is no longer where it was. Raises InputError if its configuration
    cannot be read, or now resolves to other rows or models, and if those outputs are not there.
    Raises DataError if its templates have changed.
    """
    path = folder / CONFIG
    finish(folder)
    raw = read_config(folder)
    known = {k: v for k, v in raw.items() if k in RunConfig.model_fields and v is not None}
    if known.get("table"):
        known = {k: v for k, v in known.items() if k not in ("methods", "shifts")}
    loaded = {own.digest for own in loaded_plugins().values()}
    for plugin, digest in zip(known.pop("plugin", ()), raw.get("plugin_sha256", ()), strict=False):
        if digest not in loaded:
            raise InputError(
                f"{path}: the run used {plugin} (SHA-256 {digest[:12]}...): give this file, "
                "unchanged, with --plugin"
            )
    kept = kept_inputs(folder, known)
    if kept.outputs or _is_scored(folder, known):
        return _same_rows(_scored_session(path, kept, known, options), path, raw)
    changes = known.pop("set", {})
    given = {k: v for k, v in options.items() if v is not None}
    try:
        config = load_config(None, {**known, **kept.options, **given})
    except InputError as error:
        raise InputError(f"{path}: the run cannot be repeated: {error}") from error
    if config.templates is not None and templates_digest(config.templates) != raw.get(
        "templates_sha256"
    ):
        raise DataError(
            f"{config.templates} has changed since the run: restore the templates of the run"
        )
    config = config.model_copy(update={"set": changes})
    studies = resolve_studies(config, kept.origins)
    session = prepare_session(config, studies, writes=False)
    return _same_rows(session, path, raw)


def _is_scored(folder: Path, known: Mapping[str, Any]) -> bool:
    """Whether a run of an earlier version, which did not keep the folder, scored outputs."""
    names = known.get("suite", ())
    if any(name.partition("=")[0] in datasets() or is_suite_file(name) for name in names):
        return False
    try:
        return f'"{GIVEN_DIGEST}"' in read_bounded(folder / "records.jsonl", TABLE).decode()
    except (OSError, UnicodeDecodeError):
        return False


def _scored_session(
    path: Path, kept: KeptInputs, known: Mapping[str, Any], options: Mapping[str, Any]
) -> Session:
    """Return the session of a run of `bench score`. Raises InputError without its outputs."""
    was = kept.outputs
    given = options.get("data") or was
    if given is None or not (Path(given) / FILE).is_file():
        scored = f"the outputs in {was}" if was else "outputs computed elsewhere"
        place = f", and there is none in {given}" if given and given != was else ""
        raise InputError(
            f"{path}: the run scored {scored}{place}: name the folder that has their {FILE} with "
            "--data DIR"
        )
    named = {k: v for k, v in known.items() if k not in ("suite", "data")}
    folder = options.get("cache_dir") or kept.options.get("cache_dir")
    cache = {"cache_dir": folder} if folder else {}
    config, study = score_study(Path(given), {**named, **cache})
    return prepare_session(config, (study,), Path(given), writes=False)


def _same_rows(session: Session, path: Path, raw: Mapping[str, Any]) -> Session:
    """Return the session. Raises InputError if its rows or models are not those of the run."""
    now = session.resolved
    for name in ("backbones", "rows"):
        if now[name] != raw.get(name):
            then, here = (shortened(str(found), 100) for found in (raw.get(name), now[name]))
            raise InputError(
                f"{path}: the {name} of the run were {then}, but its configuration now gives "
                f"{here}: a run can only be repeated with the same suites, plugins and outputs"
            )
    return session


def resolved_config(config: RunConfig, found: Sequence[Study]) -> dict[str, Any]:
    """Return the content of ``config.json``: the configuration with its defaults filled in."""
    backbones = [f"{s.suite.name}: {s.model}" for s in found]
    rows = {s.suite.name: [row.name for row in s.rows] for s in found}
    filled = {"backbones": backbones, "rows": rows, "precision": config.precision or "fp32"}
    methods = [row.method for study in found for row in study.rows]
    modules = {type(getattr(method, "method", method)).__module__ for method in methods}
    given = {path.resolve() for path in config.plugin}
    # Of a file that was loaded earlier in this process, methods can be used without naming it.
    earlier = tuple(path for path, own in loaded_plugins().items()
                    if own.module in modules and path not in given)  # fmt: skip
    config = config.model_copy(update={"plugin": (*config.plugin, *earlier)})
    return config.results() | filled


def follow_session(session: Session, group: ProcessGroup) -> None:
    """Take part in a run of several processes as one that is not the first."""
    silent = SilentProgress()
    for study in session.studies:
        make = engine_maker(session, study, silent, [], Trackers())
        Runner(study, session.store, make, silent, group).follow()


def run_session(
    session: Session,
    shown: Callable[[], AbstractContextManager[Progress]],
    executor: Executor | None = None,
    group: ProcessGroup | None = None,
) -> tuple[list[Outcome], Path]:
    """Carry out a session and write its files; return the outcomes and the folder they are in.

    With an `executor`, its workers compute; this process plans and writes. In a `group`, the other
    processes `follow_session`. The folder is the session's, unless it has a run with cells that
    could not be computed now: a poorer outcome is written beside it. `shown` makes the context in
    which progress is displayed. Raises InputError if the folder has a run that this one should not
    replace.
    """
    with session.store.in_use():
        return _run_session(session, shown, executor, group)


def _run_session(
    session: Session,
    shown: Callable[[], AbstractContextManager[Progress]],
    executor: Executor | None,
    group: ProcessGroup | None,
) -> tuple[list[Outcome], Path]:
    outcomes, started = [], time.monotonic()
    session.store.sweep()
    finish(session.out)
    _check_replaceable(session)
    trackers = Trackers(session.config.tracker, session.out / "trackers")
    workers: Sequence[Workers | None] = [None] * len(session.plans)
    if executor is not None:
        context = context_of(session.config, session.store.place, session.out)
        workers = workers_of(executor, context, [count.work for count in session.left()])
    with shown() as progress:
        for plan, own in zip(session.plans, workers, strict=True):
            engines: list[Engine] = []
            make = engine_maker(session, plan.study, progress, engines, trackers)
            outcome = execute_plan(plan, session.store, make, progress, own, group)
            outcomes.append(_completed(outcome, session.config.controls))
            for engine in engines:
                remember_samples(session.store, plan.study, engine.device, engine.times)
    out = _write(session, outcomes, time.monotonic() - started)
    cells = [cell for outcome in outcomes for cell in outcome.missing]
    trackers.boards([record for outcome in outcomes for record in outcome.records], cells)
    return outcomes, out


def _completed(outcome: Outcome, with_oracles: bool) -> Outcome:
    """Return the outcome with derived records: pooled figures and, if requested, oracles."""
    found = outcome.records
    more = (*pool_figures(found), *(oracle_records(found) if with_oracles else ()))
    return replace(outcome, records=(*found, *more))


def engine_maker(
    session: Session, study: Study, progress: Progress, made: list[Engine], trackers: Trackers
) -> Callable[..., Engine]:
    """Return what makes the engine of a study once it is needed; it is appended to `made`, too."""
    config = session.config

    def make(opened: Any) -> Engine:
        from bench.runs.engine import Engine

        engine = Engine(
            backbone=study.backbone,
            store=session.store,
            device=config.device,
            precision=study.precision,
            batch_size=config.eval_batch_size,
            workers=config.workers,
            progress=progress,
            opened=opened,
            trackers=trackers,
            epoch_accuracy=config.epoch_accuracy,
            micro_batch=config.micro_batch,
        )
        made.append(engine)
        return engine

    return make


def engine_of(session: Session, study: Study, store: Store) -> Engine:
    """Return an engine for a study of a session that reads weights from `store`."""
    make = engine_maker(replace(session, store=store), study, SilentProgress(), [], Trackers())
    return make(lambda split: split.load())


def _check_replaceable(session: Session) -> None:
    if not session.config.overwrite:
        check_replaceable(session.out, session.resolved, session.expected())


def _write(session: Session, outcomes: Sequence[Outcome], seconds: float) -> Path:
    """Write the files of a run, all or none, and return their folder.

    Another run may end in the folder at any moment: it is asked last, when no other can.
    """
    results = Results(
        records=[r for outcome in outcomes for r in outcome.records],
        missing=[m for outcome in outcomes for m in outcome.missing],
        trainings=[t for outcome in outcomes for t in outcome.trainings],
    )
    plan = plan_text(outcome.plan for outcome in outcomes)

    def check(out: Path) -> None:
        _check_replaceable(session)
        if results.missing and not session.config.overwrite:
            refuse_poorer(results.records, out)

    for out in places_of(session.out):
        with suppress(PoorerError):
            check(out)
            with staged(out, OUTDATED, partial(check, out)) as new:
                resolved = json.dumps(session.resolved, indent=1, sort_keys=True)
                write_atomic(new / CONFIG, (resolved + "\n").encode())
                write_atomic(new / PLAN, plan.encode())
                results.write(new, out, session.store, session.presets)
                session.copies.write(new)
                write_run_manifest(new)
            break
    timing = {"finished": datetime.now(UTC).isoformat(), "seconds": round(seconds, 3)}
    try:
        with open(out / "timings.jsonl", "a", opener=without_waiting) as file:
            file.write(json.dumps(timing) + "\n")
    except OSError as error:  # how long it took is no result
        log.warning("timings are not recorded: %s", error)
    return out
