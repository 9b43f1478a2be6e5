"""`run`, `plan`, `score` and `load`: what `import bench` offers for whole runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bench.core.environment import process_count
from bench.core.errors import CaveatWarning, InputError
from bench.core.progress import Progress
from bench.core.records import sort_key
from bench.front.display import live_display
from bench.front.executors.choice import chosen_executor
from bench.front.options import Names, RunOptions, config_of, load_plugins
from bench.front.plan import RunPlan
from bench.front.run import Run
from bench.report.run_folder import unloaded_plugins
from bench.runs.execution.jobs import LOGS
from bench.runs.session import Session, prepare_session, run_session
from bench.runs.study.score import score_study

if TYPE_CHECKING:
    from bench.models.devices.group import ProcessGroup

SCORE_OPTIONS = frozenset(
    {"shifts", "protocol", "select", "controls", "curves", "metrics", "set"}
    | {"out", "overwrite", "cache_dir", "plugin"}
)
"""The options of `run` that `score` takes, too."""


def run(*, progress: bool | None = None, **options: Unpack[RunOptions]) -> Run:
    """Train, evaluate and write a leaderboard: ``bench run`` in Python.

    `options` are those of the command line with underscores (`RunOptions`). Calling it again with
    the same options resumes a stopped run, and computes nothing if the run is finished. `progress`
    shows a live leaderboard: by default in a terminal or a notebook, and nothing elsewhere.

    Cells that fail do not stop the others: they are in `Run.missing`, and a RuntimeWarning names
    the first. Shifts whose data are not found are left out, with a RuntimeWarning each. Raises
    InputError for bad options and where several processes run it: start these with the command
    line. Raises `bench.core.errors.BenchError` for the rest.

    Examples
    --------
    >>> import bench
    >>> run = bench.run(suite="micro", limit=20, shifts="v2", methods="ose", curves=False,
    ...                 set={"e2e-ft": {"epochs": 1}})
    >>> run.path.name.startswith("micro-")
    True
    """
    return _shown(prepare_session(config_of(options)), progress)


def plan(**options: Unpack[RunOptions]) -> RunPlan:
    """Return what `run` would do with the same options, and its cost: ``bench plan`` in Python.

    Raises InputError for bad options. See `RunPlan` for an example.

    Examples
    --------
    >>> import bench
    >>> plan = bench.plan(suite="micro", methods="zero-shot", shifts="v2")
    >>> plan.summary()
    'to do: 0 training runs, 450 forward passes of 450 decoded images, 16 cells; ...
    """
    return RunPlan.of(prepare_session(config_of(options)))


def score(
    outputs: str | Path,
    *,
    progress: bool | None = None,
    methods: Names | None = None,
    **options: Any,
) -> Run:
    """Make leaderboards of a folder of outputs computed elsewhere: ``bench score`` in Python.

    `outputs` holds ``outputs.yaml`` and the arrays it names (docs/outputs.md); `methods` are
    post-hoc methods. Of the other options of `run` those apply that concern neither models nor
    training: shifts, protocol, select, controls, curves, metrics, set, out, overwrite, cache_dir
    and plugin. Raises InputError for bad options or outputs.

    Examples
    --------
    >>> import bench
    >>> bench.score("nowhere")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --outputs nowhere: the folder has no outputs.yaml ...
    """
    if foreign := sorted(options.keys() - SCORE_OPTIONS):
        expected = ", ".join(sorted(SCORE_OPTIONS))
        raise InputError(f"{foreign[0]}: not an option of score: expected {expected}")
    given = config_of({**options, "methods": methods}).model_dump(exclude_unset=True)
    config, study = score_study(Path(outputs), given)
    return _shown(prepare_session(config, (study,), Path(outputs)), progress)


def load(
    path: str | Path,
    *,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
    plugin: str | Path | Sequence[str | Path] = (),
) -> Run:
    """Read a finished run from its folder. Raises InputError if there is none.

    `data` and `cache_dir` are needed for `Run.outputs` alone, if they are not the default folders.
    `plugin` are the plugin files that the run used; without them, a RuntimeWarning says what its
    leaderboard lacks.

    Examples
    --------
    >>> import bench
    >>> bench.load("nowhere")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: no records at nowhere/records.jsonl: ...
    """
    load_plugins(plugin)
    for name in unloaded_plugins(Path(path)):
        warnings.warn(
            f"{path} used the plugin {name}: without plugin={name!r}, unchanged, its rows stand "
            "last and without differences",
            RuntimeWarning,
            2,
        )
    places = {"data": data, "cache_dir": cache_dir}
    return Run.load(Path(path), {k: Path(v) for k, v in places.items() if v is not None})


def carry_out(
    session: Session,
    shown: Callable[[], AbstractContextManager[Progress]],
    default: str | None = None,
    group: ProcessGroup | None = None,
) -> Run:
    """Carry out a session, its progress shown in the context that `shown` makes.

    `default` is the executor if its configuration names none; without one, this process computes.
    It is the first process of a `group`, if there are several.

    Examples
    --------
    >>> from bench.front.display import live_display
    >>> from bench.front.functions import carry_out
    >>> from bench.front.options import config_of
    >>> from bench.runs.session import prepare_session
    >>> config = config_of({"suite": "micro", "methods": "zero-shot", "shifts": "v2", "limit": 20})
    >>> run = carry_out(prepare_session(config), lambda: live_display([], progress=False))
    >>> run.status
    'complete'
    """
    config, logs = session.config, session.out.resolve() / LOGS
    name = None if session.scores_outputs else config.executor or default
    with chosen_executor(name, config.device, logs) as executor:
        outcomes, out = run_session(session, shown, executor, group)
    records = sorted((r for outcome in outcomes for r in outcome.records), key=sort_key)
    missing = tuple(cell for outcome in outcomes for cell in outcome.missing)
    return Run(out, tuple(records), missing, session)


def _shown(session: Session, progress: bool | None) -> Run:
    """Carry out a session with a live display; a RuntimeWarning names the first failed cell."""
    if process_count() > 1:
        raise InputError("bench.run is for one process: start several with python -m bench run")
    for study in session.studies:
        for shift, reason in study.suite.lacking.items():
            warnings.warn(f"{study.suite.name} without {shift}: {reason}", RuntimeWarning, 3)
    if unused := session.unused_settings():
        warnings.warn(unused.removeprefix("--"), RuntimeWarning, 3)
    # Before torch is imported: waiting threads must not spin for long beside other work.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    run = carry_out(session, lambda: live_display(session.expected(), progress, session.work()))
    for caveat in run.caveats:
        warnings.warn(caveat, CaveatWarning, 3)
    if run.missing:
        first = f"{run.missing[0].method} on {run.missing[0].shift}: {run.missing[0].reason}"
        warnings.warn(f"{len(run.missing)} cells failed; the first: {first}", RuntimeWarning, 3)
    return run
