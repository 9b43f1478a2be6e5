"""Curves of trainings and rows of leaderboards in experiment trackers, by accelerate's classes.

``bench run --tracker NAME`` opens one experiment per output folder. In it, every training has a run
with loss and learning rate by step, and every row of a leaderboard has a run with its values.
Trackers read results and never change them: they enter no key and no record, and one that fails is
left out from then on.

Everything stays in ``OUT/trackers`` unless the trackers' own environment variables say otherwise
(`Trackers.defaults`). TensorBoard's files lie in ``tensorboard/``, those of W&B in ``wandb/``, the
SQLite store of MLflow in ``mlflow.db``.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError, one_line
from bench.core.records import MissingCell, Record
from bench.leaderboard.board import ID, MEAN, BoardRow, board_key
from bench.leaderboard.build import build_boards
from bench.leaderboard.severities import merge_severities

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker
    from torch import Tensor

    from bench.models.training.loop import Observe

log = logging.getLogger("bench")

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""The packages that each tracker needs; the extra `trackers` has them all."""
POINTS = 100
"""The most points of a curve: together they take 0.01 s (TensorBoard) to 0.5 s (MLflow)."""

Values = Mapping[str, float]
LogValues = Callable[[Values, int], None]
"""Logs values of a step."""


def require_packages(trackers: Iterable[str]) -> None:
    """Raise InputError if a package of one of the trackers is not installed."""
    for tracker in trackers:
        for package in PACKAGES[tracker]:
            found = find_spec(package)
            # W&B writes a folder "wandb", which Python would import as an empty package.
            if found is None or found.origin is None:
                raise InputError(
                    f"--tracker {tracker} needs {package}: pip install 'robust-ft-bench[trackers]'"
                )


@dataclass
class Trackers:
    """The trackers of a run.

    Attributes
    ----------
    names : keys of `PACKAGES`; none by default.
    folder : where their files go, ``OUT/trackers``.
    failed : the trackers that have failed. Each was warned about once.
    """

    names: tuple[str, ...] = ()
    folder: Path = Path("trackers")
    failed: set[str] = field(default_factory=set)

    @property
    def experiment(self) -> str:
        """The experiment of MLflow and the group of W&B: the name of the output folder."""
        return self.folder.resolve().parent.name

    @property
    def defaults(self) -> Mapping[str, str]:
        """Environment variables of the trackers where the user has not set them.

        They keep runs on this machine, send no usage data and print nothing.
        """
        return {
            "WANDB_MODE": "offline",
            "WANDB_PROJECT": "bench",
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_ERROR_REPORTING": "false",
            "MLFLOW_TRACKING_URI": f"sqlite:///{(self.folder / 'mlflow.db').resolve().as_posix()}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
            "MLFLOW_ENABLE_ASYNC_LOGGING": "true",  # SQLite takes 5 ms a point: in a thread
        }

    @contextmanager
    def training(self, name: str, config: Mapping[str, Any]) -> Iterator[Observe]:
        """Open a run for a training, and return what observes its steps.

        A curve has up to `POINTS` points, at the same steps for all seeds. The loss of a point is
        the mean over the steps since the last one. Trainings without steps (L-BFGS) have none.
        """
        if not self.names:
            yield lambda step, steps, loss, rate: None
            return
        with self._run(name, config) as write:
            losses: list[Tensor] = []

            def observe(step: int, steps: int, loss: Tensor, rate: float) -> None:
                losses.append(loss)
                if step % -(-steps // POINTS) == 0:
                    mean = float(sum(losses)) / len(losses)
                    write({"loss": mean, "learning rate": rate}, step)
                    losses.clear()

            yield observe

    def boards(self, records: Iterable[Record], missing: Iterable[MissingCell]) -> None:
        """Log each row of the leaderboards as a run with the values that the board shows.

        Values are means over seeds in the board's unit, by evaluation set; ``selection`` is the
        value on the selection split of what was chosen there.
        """
        records = list(records)
        for board in build_boards(*merge_severities(records, missing)) if self.names else ():
            columns = (ID, *board.shifts, *((MEAN,) if board.averaged else ()))
            for row in board.rows:
                cells = zip(columns, row.cells, strict=True)
                values = {name: cell.mean for name, cell in cells if cell.mean is not None}
                own = [r for r in records if board_key(r) == board.key]
                if chosen := _on_selection(row, own):
                    values["selection"] = fmean(chosen)
                config = {
                    **{name: getattr(board, name) for name in ("suite", "model", "protocol")},
                    "method": row.method,
                    "base": row.base or "",
                    "seeds": row.seeds,
                    "watermarks": ", ".join(board.notes),
                }
                name = f"{row.method}:{row.base}" if row.base else row.method
                with self._run(f"{board.suite}, {name}", config) as write:
                    write({k: v * board.scale.factor for k, v in values.items()}, 0)

    @contextmanager
    def _run(self, name: str, config: Mapping[str, Any]) -> Iterator[LogValues]:
        """Open a run of every tracker that has not failed; return what logs to them."""
        with _environment(self.defaults):
            opened: dict[str, GeneralTracker] = {}
            for tracker in self.names:
                self._attempt(tracker, partial(self._open, tracker, name, config, opened))

            def write(values: Values, step: int) -> None:
                for key, tracker in opened.items():
                    self._attempt(key, partial(tracker.log, dict(values), step=step))

            try:
                yield write
            finally:
                for key, tracker in opened.items():
                    self._attempt(key, tracker.finish, even_failed=True)

    def _attempt(self, name: str, act: Callable[[], object], even_failed: bool = False) -> None:
        """Call `act`. A tracker's first error is a warning, and the run goes on without it."""
        if name in self.failed and not even_failed:
            return
        try:
            act()
        except Exception as error:
            if name not in self.failed:
                log.warning("--tracker %s failed and is left out: %s", name, one_line(error))
            self.failed.add(name)

    def _open(
        self,
        tracker: str,
        name: str,
        config: Mapping[str, Any],
        opened: dict[str, GeneralTracker],
    ) -> None:
        """Start a run of one tracker and add it to `opened`."""
        from accelerate import PartialState, tracking

        PartialState()  # accelerate's trackers need it, also where no model was loaded
        self.folder.mkdir(parents=True, exist_ok=True)
        if tracker == "tensorboard":
            folder = re.sub(r"[^\w.+-]+", "-", name)
            made = tracking.TensorBoardTracker(folder, self.folder / "tensorboard")
        elif tracker == "wandb":
            place = {"group": self.experiment, "dir": str(self.folder)}
            made = tracking.WandBTracker(os.environ["WANDB_PROJECT"], name=name, **place)
        else:
            artifacts = str((self.folder / "mlflow").resolve())
            made = tracking.MLflowTracker(self.experiment, artifacts, run_name=name)
        made.start()
        opened[tracker] = made
        made.store_init_configuration({k: _parameter(v) for k, v in config.items()})


def _on_selection(row: BoardRow, records: Iterable[Record]) -> list[float]:
    """Return a row's values on the selection split by seed; empty if nothing was chosen on it."""
    return [
        record.chosen_on[record.primary_metric]
        for record in records
        if (record.method, record.base) == (row.method, row.base)
        and (record.shift, record.metric, record.kind) == (ID, record.primary_metric, "cell")
        and record.chosen_on is not None
        and record.primary_metric in record.chosen_on
    ]


def _parameter(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set the environment variables that are not set, for the time of the context."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
